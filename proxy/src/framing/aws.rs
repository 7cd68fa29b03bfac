//! AWS event streams: binary messages of a prelude, headers and a payload, each under a checksum
//! (`application/vnd.amazon.eventstream`).
//!
//! A message is handed on as vendors' clients show it, an object of one member named by its type:
//! `{"metadata":{…}}`; an exception or error as `{"error":{"type":"throttlingException"}}`, its text
//! left out. Where a checksum or a length is wrong nothing behind it can be found: the rest is not
//! read, and said.

use super::Ended;

/// Largest message put together from several pieces, in bytes; of a larger one only the place where
/// it ends is looked for.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// No sender makes a larger message: a prelude that says so is none.
const MESSAGE_BYTES_SENT_MAX: usize = 32 * 1024 * 1024;
/// Room kept between messages; what a large one took beyond it is given back.
const KEPT_BYTES: usize = 4 * 1024;
/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end of each message.
const CHECKSUM_BYTES: usize = 4;
/// Longest name of a type that is read.
const TYPE_BYTES_MAX: usize = 128;

/// Splits a stream into its messages.
#[derive(Debug, Default)]
pub struct AwsFraming {
    /// The unfinished message.
    message: Vec<u8>,
    /// Bytes left of a message over the bound.
    to_skip: usize,
    /// The object that is handed on.
    object: Vec<u8>,
    skipped: u64,
    is_broken: bool,
}

impl AwsFraming {
    /// Takes a piece and hands on each message that it ends, as an object.
    pub fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8])) {
        let mut rest = piece;
        while !rest.is_empty() && !self.is_broken {
            if self.to_skip > 0 {
                let skipped = self.to_skip.min(rest.len());
                self.to_skip -= skipped;
                rest = &rest[skipped..];
            } else if self.message.is_empty() && rest.len() >= PRELUDE_BYTES {
                rest = self.whole(rest, each);
            } else {
                rest = self.gather(rest, each);
            }
        }
    }

    /// Ends the stream; an unfinished message is dropped.
    #[must_use]
    pub fn finish(self) -> Ended {
        Ended {
            skipped: self.skipped,
            is_broken: self.is_broken,
        }
    }

    /// Nothing of an unfinished message has come.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.message.is_empty() && self.to_skip == 0 && !self.is_broken
    }

    /// A message begins here: read where it lies when it is whole.
    fn whole<'a>(&mut self, rest: &'a [u8], each: &mut dyn FnMut(&[u8])) -> &'a [u8] {
        let Some(total) = message_bytes(rest) else {
            self.is_broken = true;
            return &[];
        };
        match rest.get(..total) {
            Some(message) => {
                self.hand_on(message, each);
                &rest[total..]
            }
            None if total > MESSAGE_BYTES_MAX => {
                self.skipped += 1;
                self.to_skip = total - rest.len();
                &[]
            }
            None => {
                self.message.extend_from_slice(rest);
                &[]
            }
        }
    }

    /// Adds to an unfinished message: its prelude first, which says how much more there is.
    fn gather<'a>(&mut self, rest: &'a [u8], each: &mut dyn FnMut(&[u8])) -> &'a [u8] {
        // A prelude that was gathered is a good one, see below.
        let wanted = match self.message.len() {
            0..PRELUDE_BYTES => PRELUDE_BYTES,
            _ => message_bytes(&self.message).unwrap_or(PRELUDE_BYTES),
        };
        let missing = wanted.saturating_sub(self.message.len()).min(rest.len());
        self.message.extend_from_slice(&rest[..missing]);
        if self.message.len() == wanted && wanted == PRELUDE_BYTES {
            match message_bytes(&self.message) {
                None => self.is_broken = true,
                Some(total) if total > MESSAGE_BYTES_MAX => {
                    self.skipped += 1;
                    self.to_skip = total - PRELUDE_BYTES;
                    self.message = Vec::new();
                }
                Some(_) => {}
            }
        } else if self.message.len() == wanted {
            let message = std::mem::take(&mut self.message);
            self.hand_on(&message, each);
            self.message = message;
            self.message.clear();
            self.message.shrink_to(KEPT_BYTES);
        }
        &rest[missing..]
    }

    fn hand_on(&mut self, message: &[u8], each: &mut dyn FnMut(&[u8])) {
        let Some(read) = read(message) else {
            self.is_broken = true;
            return;
        };
        self.object.clear();
        self.object.shrink_to(KEPT_BYTES);
        write(&read, &mut self.object);
        each(&self.object);
    }
}

/// The length a prelude gives, when its checksum agrees.
fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let total = be_u32(bytes, 0)?;
    let headers = be_u32(bytes, 4)?;
    if crc32fast::hash(bytes.get(..8)?) != be_u32(bytes, 8)? {
        return None;
    }
    let total = usize::try_from(total).ok()?;
    let least = usize::try_from(headers)
        .ok()?
        .checked_add(PRELUDE_BYTES + CHECKSUM_BYTES)?;
    (total >= least && total <= MESSAGE_BYTES_SENT_MAX).then_some(total)
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// What a message says of itself, and its payload.
#[derive(Default)]
struct Message<'a> {
    event_type: &'a str,
    exception_type: &'a str,
    error_code: &'a str,
    payload: &'a [u8],
}

/// Reads a message of which the length is known; `None` when it is not what its checksum says.
fn read(message: &[u8]) -> Option<Message<'_>> {
    let (body, checksum) = message.split_at_checked(message.len().checked_sub(CHECKSUM_BYTES)?)?;
    if crc32fast::hash(body) != be_u32(checksum, 0)? {
        return None;
    }
    let headers_bytes = usize::try_from(be_u32(body, 4)?).ok()?;
    let (mut headers, payload) = body.get(PRELUDE_BYTES..)?.split_at_checked(headers_bytes)?;
    let mut message = Message {
        payload,
        ..Message::default()
    };
    while !headers.is_empty() {
        let (name, text, rest) = header(headers)?;
        headers = rest;
        match name {
            b":event-type" => message.event_type = text,
            b":exception-type" => message.exception_type = text,
            b":error-code" => message.error_code = text,
            _ => {}
        }
    }
    Some(message)
}

/// The first header: its name, its value when that is a text, and what follows.
fn header(bytes: &[u8]) -> Option<(&[u8], &str, &[u8])> {
    let (name_bytes, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_bytes))?;
    let (kind, rest) = rest.split_first()?;
    let (value_bytes, rest) = match kind {
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        5 | 8 => (8, rest),
        9 => (16, rest),
        6 | 7 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (
                usize::from(u16::from_be_bytes(length.try_into().ok()?)),
                rest,
            )
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(value_bytes)?;
    let text = match kind {
        7 => std::str::from_utf8(value).unwrap_or_default(),
        _ => "",
    };
    Some((name, text, rest))
}

fn write(message: &Message<'_>, object: &mut Vec<u8>) {
    let failure = [message.exception_type, message.error_code]
        .into_iter()
        .find(|name| !name.is_empty());
    match failure {
        Some(name) => {
            object.extend_from_slice(b"{\"error\":{\"type\":\"");
            object.extend_from_slice(word(name).as_bytes());
            object.extend_from_slice(b"\"}}");
        }
        None => {
            object.extend_from_slice(b"{\"");
            object.extend_from_slice(word(message.event_type).as_bytes());
            object.extend_from_slice(b"\":");
            let payload = message.payload.trim_ascii();
            object.extend_from_slice(if payload.is_empty() { b"null" } else { payload });
            object.push(b'}');
        }
    }
}

/// A type's name, when it is one that needs no escapes.
fn word(name: &str) -> &str {
    let is_word = name.len() <= TYPE_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:#".contains(&byte));
    if is_word { name } else { "" }
}

/// What the vendor calls a failure of a status.
#[must_use]
pub fn exception_name(status: u16) -> &'static str {
    match status {
        400 | 413 | 431 => "ValidationException",
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 | 504 => "ModelTimeoutException",
        429 => "ThrottlingException",
        502 | 503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// A message with an exception, on which a client raises; in a stream its name has no capital.
#[must_use]
pub fn exception(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut kind = name.to_owned();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    encode(
        &[
            (":exception-type", &kind),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ],
        payload,
    )
}

fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        let (Ok(name_bytes), Ok(value_bytes)) =
            (u8::try_from(name.len()), u16::try_from(value.len()))
        else {
            continue;
        };
        head.push(name_bytes);
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&value_bytes.to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = PRELUDE_BYTES + head.len() + payload.len() + CHECKSUM_BYTES;
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut message = Vec::with_capacity(total);
    message.extend_from_slice(&length(total));
    message.extend_from_slice(&length(head.len()));
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&head);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

/// A message with an event, for tests and fixtures.
#[cfg(test)]
pub(crate) fn event(kind: &str, payload: &[u8]) -> Vec<u8> {
    encode(
        &[
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ],
        payload,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pieces: &[&[u8]]) -> (Vec<String>, Ended) {
        let mut messages = Vec::new();
        let mut framing = AwsFraming::default();
        for piece in pieces {
            framing.push(piece, &mut |message| {
                messages.push(String::from_utf8_lossy(message).into_owned());
            });
        }
        (messages, framing.finish())
    }

    fn stream() -> Vec<u8> {
        [
            event("messageStart", br#"{"role":"assistant"}"#),
            event("messageStop", b""),
            exception("throttlingException", br#"{"message":"slow down"}"#),
        ]
        .concat()
    }

    #[test]
    fn messages_are_named_by_their_type() {
        let stream = stream();
        let expected = [
            r#"{"messageStart":{"role":"assistant"}}"#,
            r#"{"messageStop":null}"#,
            r#"{"error":{"type":"throttlingException"}}"#,
        ];
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            let (read, ended) = messages(&[head, tail]);
            assert_eq!(read, expected, "split at {at}");
            assert!(!ended.is_broken);
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(messages(&single).0, expected);
    }

    #[test]
    fn a_message_of_the_vendors_documentation_is_read() {
        // The one of the format's own description: no headers, no payload.
        let empty = [
            0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
        ];
        assert_eq!(messages(&[&empty]).0, [r#"{"":null}"#]);
    }

    #[test]
    fn any_flipped_byte_ends_the_reading() {
        let stream = stream();
        let first = event("messageStart", br#"{"role":"assistant"}"#).len();
        for at in 0..first {
            let mut flipped = stream.clone();
            flipped[at] ^= 1;
            for pieces in [vec![&flipped[..]], flipped.chunks(1).collect()] {
                let (read, ended) = messages(&pieces);
                assert!(read.is_empty() && ended.is_broken, "{at}: {read:?}");
            }
        }
    }

    #[test]
    fn a_message_over_the_bound_is_skipped_and_the_next_is_read() {
        let payload = vec![b' '; MESSAGE_BYTES_MAX];
        let stream = [event("chunk", &payload), event("last", b"1")].concat();
        for size in [7, 60_000] {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let (read, ended) = messages(&pieces);
            assert_eq!((read, ended.skipped), (vec![r#"{"last":1}"#.to_owned()], 1));
        }
    }

    #[test]
    fn names_that_need_escapes_are_not_written() {
        let stream = [event("a\"b", b"1"), exception("x\n", b"{}")].concat();
        let expected = [r#"{"":1}"#, r#"{"error":{"type":""}}"#];
        assert_eq!(messages(&[&stream]).0, expected);
    }
}
