//! Deepgram's streaming speech to text, `/v1/listen` and `/v2/listen` (Flux).
//!
//! Three quantities are kept: audio as we counted it, audio as the vendor did (`Metadata.duration`, or how
//! far its results reach), and the time the socket was open. The first version is billed by the vendor's
//! duration; where it was never said, by how far the final results reach, else by the bytes. The second
//! never says a duration: the bytes are what is billed, the last window is a lower bound.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::listen;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::facts::{is_present, keep_response_text};
use crate::providers::sockets::{
    self, bounded, decimal, keep_farthest, larger, only, plus, sent_seconds, times,
};
use crate::socket::{From, Heard, KeyProtocol, LastWords, Socket, Turn};

/// `/v1/listen`.
pub(super) static V1: Socket = Socket {
    collect: collect_v1,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Session(r#"{"type":"CloseStream"}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// `/v2/listen`.
pub(super) static V2: Socket = Socket {
    collect: collect_v2,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Session(r#"{"type":"CloseStream"}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// Browsers send `token, KEY` or `bearer, JWT`.
pub(super) const KEY_PROTOCOL: KeyProtocol = KeyProtocol::After(&["token", "bearer"]);

/// Its error message, as its clients know it.
pub(super) fn cut_message(error: &ErrorText<'_>) -> String {
    serde_json::json!({
        "type": "Error",
        "code": error.code,
        "description": error.message,
        "message": error.message,
    })
    .to_string()
}

/// What the audio is, beside what decides the price.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    listen::request_facts(evidence, asked);
    for pair in asked.query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = match name {
            "sample_rate" => "sample_rate",
            "channels" => "channels",
            _ => continue,
        };
        if let Ok(count) = value.parse::<u64>() {
            evidence.request.insert(name, count);
        }
    }
}

fn collect_v1(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match heard.from {
        From::Caller => from_caller(heard, evidence),
        From::Upstream => {
            if let Some(message) = Message::read(heard) {
                message.keep_v1(evidence);
            }
        }
    }
    Turn::Goes
}

fn collect_v2(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match heard.from {
        From::Caller => from_caller(heard, evidence),
        From::Upstream => {
            if let Some(message) = Message::read(heard) {
                message.keep_v2(evidence);
            }
        }
    }
    Turn::Goes
}

/// Audio in binary messages, whatever they begin with; a text may switch the keyterm add-on on.
fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    if !heard.is_text {
        return sockets::add_audio(evidence, heard.data, heard.len);
    }
    let Some(picked) = pick(heard.data, ["type", "keyterms"]) else {
        return;
    };
    let [kind, keyterms] = picked.members;
    let is_configure = kind
        .and_then(text_of)
        .is_some_and(|kind| kind == "Configure");
    if is_configure && keyterms.is_some_and(|terms| terms.get().len() > "[]".len()) {
        evidence.request.insert("keyterm", true);
    }
}

/// The members of a message that we look at.
struct Message<'a> {
    kind: std::borrow::Cow<'a, str>,
    whole: &'a str,
    request_id: Option<Raw<'a>>,
    metadata: Option<Raw<'a>>,
    start: Option<Raw<'a>>,
    duration: Option<Raw<'a>>,
    is_final: Option<Raw<'a>>,
    window_end: Option<Raw<'a>>,
}

impl<'a> Message<'a> {
    fn read(heard: &Heard<'a>) -> Option<Self> {
        const NAMES: [&str; 7] = [
            "type",
            "request_id",
            "metadata",
            "start",
            "duration",
            "is_final",
            "audio_window_end",
        ];
        let [
            kind,
            request_id,
            metadata,
            start,
            duration,
            is_final,
            window_end,
        ] = pick(heard.data, NAMES)?.members;
        Some(Self {
            kind: kind.and_then(text_of)?,
            whole: std::str::from_utf8(heard.data).ok()?,
            request_id,
            metadata,
            start,
            duration,
            is_final,
            window_end,
        })
    }

    fn keep_v1(&self, evidence: &mut Evidence) {
        match &*self.kind {
            "Results" => {
                evidence.counts.output_frames += 1;
                if let Some(of) = self
                    .metadata
                    .and_then(|raw| pick_in(raw, ["request_id", "model_info"]))
                {
                    keep_response_text(evidence, "id", of.members[0]);
                    let served = of.members[1].and_then(|raw| pick_in(raw, ["arch"]));
                    keep_response_text(evidence, "arch", served.and_then(|of| of.members[0]));
                }
                let is_final = self.is_final.is_some_and(|raw| raw.get() == "true");
                if let (true, Some(start), Some(duration)) =
                    (is_final, decimal(self.start), decimal(self.duration))
                {
                    keep_farthest(evidence, "heard_seconds", plus(start, duration));
                }
            }
            "Metadata" => {
                keep_response_text(evidence, "id", self.request_id);
                if let Some(kept) = Kept::of(self.whole) {
                    let members = ["duration", "channels"];
                    let members = members
                        .iter()
                        .filter_map(|name| Some((*name, kept.json().get(name)?)));
                    evidence.replace_object("metadata", Kept::object(members));
                }
            }
            "Error" => evidence.flag("error_message"),
            _ => {}
        }
    }

    fn keep_v2(&self, evidence: &mut Evidence) {
        match &*self.kind {
            "Connected" => keep_response_text(evidence, "id", self.request_id),
            "TurnInfo" => {
                evidence.counts.output_frames += 1;
                if is_present(self.request_id) {
                    keep_response_text(evidence, "id", self.request_id);
                }
                if let Some(end) = decimal(self.window_end) {
                    keep_farthest(evidence, "heard_seconds", end);
                }
            }
            "Error" => evidence.flag("error_message"),
            _ => {}
        }
    }
}

/// How often each second is billed.
fn billed_channels(evidence: &Evidence) -> u64 {
    if !listen::is_on(evidence, "multichannel") {
        return 1;
    }
    let reported = evidence.object("metadata");
    let reported = reported.and_then(|metadata| metadata.get("channels")?.count());
    reported
        .or_else(|| evidence.request.count("channels"))
        .unwrap_or(1)
        .max(1)
}

/// The line of one `/v1/listen`.
pub(super) fn usage_of_v1(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let channels = billed_channels(evidence);
    let duration = evidence.object("metadata");
    let duration = duration.and_then(|metadata| metadata.get("duration")?.decimal());
    if let Some(duration) = duration.filter(|duration| !duration.is_negative()) {
        return sockets::reported(vec![line_v1(evidence, times(duration, channels))]);
    }
    let heard = heard_seconds(evidence);
    let sent = sent_seconds(evidence);
    let draft = |source, seconds, low, high| {
        let line = line_v1(evidence, times(seconds, channels));
        let (low, high) = (times(low, channels), times(high, channels));
        bounded(
            source,
            NO_METADATA,
            line,
            Meter::AudioSeconds,
            low,
            Some(high),
        )
    };
    let unseen = unseen(evidence);
    match (heard, sent) {
        (Some(heard), Some(sent)) => {
            let high = plus(larger(sent, heard), unseen);
            draft(UsageSource::Partial, heard, heard, high)
        }
        (Some(heard), None) => {
            let open = plus(larger(sockets::open_seconds(evidence), heard), unseen);
            draft(UsageSource::Partial, heard, heard, open)
        }
        (None, Some(sent)) => {
            let high = plus(sent, unseen);
            draft(UsageSource::Measured, sent, Decimal::ZERO, high)
        }
        (None, None) => {
            let open = sockets::open_seconds(evidence);
            let high = plus(open, unseen);
            draft(UsageSource::Estimated, open, Decimal::ZERO, high)
        }
    }
}

/// The line of one `/v2/listen`.
pub(super) fn usage_of_v2(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |seconds| Line {
        model: evidence
            .request_text("model")
            .unwrap_or_default()
            .to_owned(),
        conditions: listen::heard_in(evidence, STREAMING),
        usage: only(Meter::AudioSeconds, seconds),
    };
    sockets::sent_audio(evidence, line, heard_seconds(evidence))
}

/// The vendor never said its final duration.
const NO_METADATA: &str = "no_final_metadata";

fn heard_seconds(evidence: &Evidence) -> Option<Decimal> {
    evidence.response.get("heard_seconds")?.as_decimal()
}

/// What may follow a checkpoint, at the pace of speech.
fn unseen(evidence: &Evidence) -> Decimal {
    sockets::unseen_seconds(evidence)
}

fn line_v1(evidence: &Evidence, seconds: Decimal) -> Line {
    let mut conditions = listen::heard_in(evidence, STREAMING);
    if evidence.request_text("language") == Some("multi") {
        conditions.insert("language".into(), "multi".into());
    }
    Line {
        model: listen::billed_model(
            evidence.response_text("arch"),
            evidence.request_text("model"),
        ),
        conditions,
        usage: only(Meter::AudioSeconds, seconds),
    }
}

/// The way in which a socket's audio comes.
const STREAMING: &str = "streaming";
