//! Reads one answer from a copy of what passes: bytes → decoded → frames → evidence. A large JSON
//! body loses its bulk as it comes, so that an answer of any size is read in constant memory.
//!
//! It never fails and never holds more than its bounds; what went wrong is a flag in the evidence.
//! Facts it sets in `Evidence::response` beside those of the endpoint's `collect`: `status`,
//! `decoded_bytes` (of a compressed answer). `collect` sets `error: true` when the answer carries
//! an error (also inside a stream of status 200) and `finished: true` when the answer ended as its
//! dialect ends (`[DONE]`, `message_stop`, a whole JSON body). A status of 400 or above goes before
//! `error`: such an answer is a refusal by the upstream, not a failure of it.

use bytes::{Bytes, BytesMut};
use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, EVIDENCE_TEXT_BYTES_MAX, Evidence};

use crate::decode::{DecodeError, Decoder};
use crate::framing::array::ArrayFraming;
use crate::framing::aws::{self, AwsFraming};
use crate::framing::lines::LinesFraming;
use crate::framing::prune::Pruner;
use crate::framing::sse::SseFraming;
use crate::framing::{Ended, Frame, INVALID_BODY, Origin};
use crate::provider::{Endpoint, ErrorText, Form, Glance, Provider};
use crate::providers::READER_VERSION;

/// Largest JSON body held as it is; of a larger one the bulk is left out.
pub const JSON_BODY_BYTES_MAX: usize = 512 * 1024;
/// Most bytes the copy of a compressed answer may unfold to.
pub const DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Room for usage objects inside the evidence; facts and counts share the rest.
const OBJECTS_BYTES_MAX: usize = EVIDENCE_BYTES_MAX - 6 * 1024;
/// What an object's place and value stand in: `{"at":"","value":},`.
const OBJECT_FRAME_BYTES: usize = 20;
/// The flag of an answer whose type has no reader, and whose bytes look like none that has.
const UNKNOWN_TYPE: &str = "unknown_type";
/// Events parsed at a stream's beginning until one has named the model.
const NAMING_EVENTS_MAX: u64 = 4;

mod sniff;
mod steady;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use steady::Steady;

/// The reader of one answer.
#[derive(Debug)]
pub struct Reader {
    endpoint: &'static Endpoint,
    evidence: Evidence,
    decoder: Option<Decoder>,
    decoded_bytes: u64,
    body: Body,
    steady: Steady,
    is_stream: bool,
}

#[derive(Debug)]
enum Body {
    /// Its first byte will tell, as its type does not, or may be wrong.
    Unnamed { form: Form, is_json: bool },
    /// A stream of events.
    Events(SseFraming),
    /// An array that grows.
    Elements(ArrayFraming),
    /// JSON lines.
    Lines(LinesFraming),
    /// AWS messages.
    Messages(AwsFraming),
    /// A JSON body in one piece so far, found by its first byte; a copy is made only when a second one comes.
    Whole(Bytes),
    /// A JSON body in several pieces.
    Pieces(BytesMut),
    /// A large JSON body, without its bulk.
    Pruned(Pruner),
    /// Not read: another type, not decodable, too large.
    Unread,
}

impl Reader {
    /// Starts reading an answer. Facts of the request are in the evidence already.
    #[must_use]
    pub fn new(
        endpoint: &'static Endpoint,
        mut evidence: Evidence,
        status: u16,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
    ) -> Self {
        evidence.reader_version = READER_VERSION;
        evidence.response.insert("status", u64::from(status));
        let media_type = content_type.map_or("", media_type);
        // Of some only the name of what was made is read.
        let is_looked_at = endpoint.is_read || endpoint.names_things();
        let mut body = if is_looked_at {
            Body::of(endpoint.form, media_type, status)
        } else {
            Body::Unread
        };
        if matches!(body, Body::Unread)
            && endpoint.is_read
            && !matches!(endpoint.form, Form::Opaque | Form::Lines)
        {
            evidence.flag(UNKNOWN_TYPE);
        }
        let is_stream = body.is_stream(endpoint.form, media_type, &evidence);
        let encoding = content_encoding.filter(|encoding| !Decoder::is_identity(encoding));
        let decoder = encoding
            .filter(|_| is_looked_at)
            .and_then(|encoding| Decoder::new(encoding, DECODED_BYTES_MAX));
        if encoding.is_some() && decoder.is_none() && is_looked_at {
            evidence.flag("unknown_encoding");
            body = Body::Unread;
        }
        Self {
            endpoint,
            evidence,
            decoder,
            decoded_bytes: 0,
            body,
            steady: Steady::default(),
            is_stream,
        }
    }

    /// Keeps the headers of the answer that the endpoint names.
    pub fn keep_headers<'a>(&mut self, find: impl Fn(&str) -> Option<&'a str>) {
        for name in self.endpoint.answer_headers {
            if let Some(value) = find(name).filter(|value| value.len() <= EVIDENCE_TEXT_BYTES_MAX) {
                self.evidence
                    .headers
                    .insert((*name).to_owned(), value.to_owned());
            }
        }
    }

    /// The answer is a stream of events, whatever they are framed by.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What was seen so far.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Some generated output has come.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.evidence.counts.output_frames > 0
    }

    /// What is written behind the bytes that came, so that the answer ends here with an error in the
    /// dialect's words; `None` where its form has no room for one.
    #[must_use]
    pub fn cut_event(&self, provider: &Provider, error: &ErrorText<'_>) -> Option<Vec<u8>> {
        // Plain bytes behind compressed ones are no end but damage.
        if self.decoder.is_some() {
            return None;
        }
        match &self.body {
            Body::Events(_) => (provider.cut_event)(error),
            Body::Elements(framing) => framing.end_with(&(provider.error_body)(error)),
            Body::Messages(framing) if framing.is_between() => {
                let name = aws::exception_name(error.status);
                Some(aws::exception(name, &(provider.error_body)(error)))
            }
            _ => None,
        }
    }

    /// Takes a copy of what passes.
    pub fn push(&mut self, bytes: &Bytes) {
        self.evidence.counts.response_bytes += bytes.len() as u64;
        if matches!(self.body, Body::Unread) || bytes.is_empty() {
            return;
        }
        let Some(mut decoder) = self.decoder.take() else {
            return self.read(Piece::Shared(bytes));
        };
        let result = decoder.push(bytes, &mut |piece| {
            self.decoded_bytes += piece.len() as u64;
            self.read(Piece::Lent(piece));
        });
        match result {
            Ok(()) => self.decoder = Some(decoder),
            Err(error) => {
                self.evidence.flag(match error {
                    DecodeError::Invalid => "invalid_encoding",
                    DecodeError::TooLarge => "decoded_too_large",
                });
                self.body = Body::Unread;
            }
        }
    }

    /// Takes a copy of what passes, and nothing comes behind it: a JSON body that is all in it is read at once, where
    /// it lies. [`Self::finish`] follows as ever.
    pub fn push_last(&mut self, bytes: &Bytes) {
        let is_whole = match self.body {
            Body::Unnamed { form, is_json } => {
                matches!(sniff::body(bytes, form, is_json), Some(Body::Whole(_)))
            }
            _ => false,
        };
        if !is_whole || self.decoder.is_some() || bytes.len() > JSON_BODY_BYTES_MAX {
            return self.push(bytes);
        }
        self.evidence.counts.response_bytes += bytes.len() as u64;
        self.body = Body::Unread;
        self.read_body(bytes, true);
    }

    /// Ends the answer; `is_complete` says that its HTTP framing ended as it should.
    #[must_use]
    pub fn finish(mut self, is_complete: bool) -> Evidence {
        self.evidence.counts.is_complete = is_complete;
        if self.decoded_bytes > 0 {
            self.evidence
                .response
                .insert("decoded_bytes", self.decoded_bytes);
        }
        let (endpoint, evidence, steady) = (self.endpoint, &mut self.evidence, &mut self.steady);
        match std::mem::replace(&mut self.body, Body::Unread) {
            Body::Events(framing) => {
                let skipped =
                    framing.finish(&mut |data| read_event(endpoint, evidence, steady, data));
                note_end(
                    evidence,
                    Ended {
                        skipped,
                        is_broken: false,
                    },
                );
            }
            Body::Elements(framing) => note_end(evidence, framing.finish()),
            Body::Lines(framing) => {
                let ended =
                    framing.finish(&mut |data| read_event(endpoint, evidence, steady, data));
                note_end(evidence, ended);
            }
            Body::Messages(framing) => note_end(evidence, framing.finish()),
            Body::Whole(body) => self.read_body(&body, is_complete),
            Body::Pieces(body) => self.read_body(&body, is_complete),
            Body::Pruned(pruner) => match pruner.finish() {
                Some(body) => self.read_body(&body, is_complete),
                None => evidence.flag("body_too_large"),
            },
            Body::Unnamed { is_json: false, .. } => evidence.flag(UNKNOWN_TYPE),
            Body::Unnamed { .. } | Body::Unread => {}
        }
        bound_objects(&mut self.evidence);
        self.evidence
    }

    fn read(&mut self, piece: Piece<'_>) {
        if let Body::Unnamed { form, is_json } = self.body {
            let Some(body) = sniff::body(piece.bytes(), form, is_json) else {
                return;
            };
            if matches!(body, Body::Unread) {
                self.evidence.flag(UNKNOWN_TYPE);
            }
            self.body = body;
        }
        let (endpoint, evidence, steady) = (self.endpoint, &mut self.evidence, &mut self.steady);
        let mut each = |data: &[u8]| read_event(endpoint, evidence, steady, data);
        match &mut self.body {
            Body::Events(framing) => framing.push(piece.bytes(), &mut each),
            Body::Elements(framing) => framing.push(piece.bytes(), &mut each),
            Body::Lines(framing) => framing.push(piece.bytes(), &mut each),
            Body::Messages(framing) => framing.push(piece.bytes(), &mut each),
            Body::Whole(first) if first.is_empty() => match piece {
                Piece::Shared(bytes) => self.body = Body::Whole(bytes.clone()),
                Piece::Lent(bytes) => self.body = Body::Pieces(BytesMut::from(bytes)),
            },
            Body::Whole(first) => {
                let mut pieces = BytesMut::with_capacity(first.len() + piece.bytes().len());
                pieces.extend_from_slice(first);
                self.body = Body::Pieces(pieces);
                self.read(piece);
                return;
            }
            Body::Pieces(pieces) => pieces.extend_from_slice(piece.bytes()),
            Body::Pruned(pruner) => pruner.push(piece.bytes()),
            Body::Unnamed { .. } | Body::Unread => {}
        }
        let held: &[u8] = match &self.body {
            Body::Whole(first) => first,
            Body::Pieces(pieces) => pieces,
            _ => &[],
        };
        if held.len() > JSON_BODY_BYTES_MAX {
            let mut pruner = Pruner::default();
            pruner.push(held);
            self.body = Body::Pruned(pruner);
        }
    }

    fn read_body(&mut self, body: &[u8], is_complete: bool) {
        if body.is_empty() {
            return;
        }
        self.evidence.counts.frames += 1;
        let frame = Frame {
            origin: Origin::Body,
            data: body,
        };
        (self.endpoint.collect)(&frame, &mut self.evidence);
        if !is_complete {
            // Half a body is no JSON; that is no news.
            self.evidence.flags.retain(|flag| flag != INVALID_BODY);
        }
    }
}

impl Body {
    /// How an answer is read, by its type; where that says little, by what the endpoint sends.
    fn of(form: Form, media_type: &str, status: u16) -> Self {
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        if is(SSE) {
            Self::Events(SseFraming::default())
        } else if is(AWS) {
            Self::Messages(AwsFraming::default())
        } else if LINES.iter().any(|name| is(name)) || is_by_the_line(form, media_type, status) {
            Self::Lines(LinesFraming::default())
        } else if form == Form::Opaque && !is_json(media_type) || sniff::is_media(media_type) {
            Self::Unread
        } else {
            Self::Unnamed {
                form,
                is_json: is_json(media_type),
            }
        }
    }
}

impl Body {
    /// Whether what is read piece by piece also came so: a file of lines and a text are no streams, an
    /// array is one where it was asked for as one.
    fn is_stream(&self, form: Form, media_type: &str, evidence: &Evidence) -> bool {
        match self {
            Self::Events(_) | Self::Messages(_) => true,
            Self::Lines(_) => {
                let is_typed = LINES
                    .iter()
                    .any(|name| media_type.eq_ignore_ascii_case(name));
                is_typed && form != Form::Lines
            }
            Self::Elements(_)
            | Self::Unnamed {
                form: Form::Elements,
                ..
            } => evidence.request.is_set("stream"),
            Self::Unnamed { .. } | Self::Whole(_) | Self::Pieces(_) | Self::Pruned(_) => false,
            // Not read, and yet known by its name.
            Self::Unread => [SSE, AWS]
                .iter()
                .any(|name| media_type.eq_ignore_ascii_case(name)),
        }
    }
}

/// Whether a body whose type is no kind of lines is read by the line all the same.
fn is_by_the_line(form: Form, media_type: &str, status: u16) -> bool {
    const TEXTS: [&str; 3] = ["text/plain", "text/vtt", "application/x-subrip"];
    let is_text = || {
        TEXTS
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    };
    status < 400 && (form == Form::Lines || (form == Form::JsonOrText && is_text()))
}

/// The type of server-sent events.
const SSE: &str = "text/event-stream";
/// The type of AWS messages.
const AWS: &str = "application/vnd.amazon.eventstream";
/// Types of JSON lines.
const LINES: [&str; 6] = [
    "application/stream+json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
];

enum Piece<'a> {
    Shared(&'a Bytes),
    Lent(&'a [u8]),
}

impl Piece<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Lent(bytes) => bytes,
        }
    }
}

fn note_end(evidence: &mut Evidence, ended: Ended) {
    if ended.skipped > 0 {
        evidence.flag("frame_too_large");
    }
    if ended.is_broken {
        evidence.flag(INVALID_BODY);
    }
}

fn read_event(endpoint: &Endpoint, evidence: &mut Evidence, steady: &mut Steady, data: &[u8]) {
    evidence.counts.frames += 1;
    let glance = match endpoint.is_steady {
        true if steady.knows(data) => Glance::Output,
        true => {
            let glance = (endpoint.glance)(data);
            if glance == Glance::Output {
                steady.learn(data);
            }
            glance
        }
        false => (endpoint.glance)(data),
    };
    let is_naming = evidence.counts.frames <= NAMING_EVENTS_MAX
        && !evidence.response.contains_key("model")
        && !data.is_empty();
    if glance == Glance::Telling || is_naming {
        let frame = Frame {
            origin: Origin::Event,
            data,
        };
        (endpoint.collect)(&frame, evidence);
    } else if glance == Glance::Output {
        evidence.counts.output_frames += 1;
    }
}

/// Leaves out the usage objects that do not fit into an event's evidence.
fn bound_objects(evidence: &mut Evidence) {
    let mut room = OBJECTS_BYTES_MAX;
    let before = evidence.objects.len();
    evidence.objects.retain(|object| {
        let bytes = object.at.len() + object.value.text().len() + OBJECT_FRAME_BYTES;
        let fits = bytes <= room;
        room -= if fits { bytes } else { 0 };
        fits
    });
    if evidence.objects.len() < before {
        evidence.flag("objects_dropped");
    }
}

fn media_type(content_type: &str) -> &str {
    let end = memchr::memchr(b';', content_type.as_bytes()).unwrap_or(content_type.len());
    content_type.get(..end).unwrap_or_default().trim()
}

/// JSON by its name, or unnamed: the readers find out.
fn is_json(media_type: &str) -> bool {
    let ends_in_json = media_type
        .len()
        .checked_sub(5)
        .and_then(|at| media_type.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    media_type.is_empty() || media_type.eq_ignore_ascii_case("application/json") || ends_in_json
}
