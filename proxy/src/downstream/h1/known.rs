//! The head that the requests of a connection share: a client sends the same one again and again, but for
//! the length of its body. One that is the same by the byte means the same, and need not be parsed again.

use std::sync::Arc;

use http::header;

use super::head::Head;
use crate::http1::Transfer;
use crate::request::CallerHead;

/// A longer head is parsed each time.
const KNOWN_BYTES_MAX: usize = 4 * 1024;
/// Heads that are remembered and then not sent again, until no more are.
const VAIN_MAX: u32 = 4;
/// Digits of a length; with more it is for the parser to say what it means.
const LENGTH_DIGITS_MAX: usize = 18;

/// What is remembered. The default is nothing.
#[derive(Default)]
pub(super) struct Known {
    head: Option<Box<KnownHead>>,
    /// Of the connection; the first one's head is not worth remembering, there may be no second.
    has_parsed: bool,
    vain: u32,
}

struct KnownHead {
    /// The head's bytes up to the digits of the body's length; all of it, when it says none.
    before: Box<[u8]>,
    /// What stands behind them.
    after: Box<[u8]>,
    /// The length that `head` says.
    length: Option<u64>,
    head: Arc<CallerHead>,
    keeps_alive: bool,
    takes_trailers: bool,
}

impl Known {
    /// The head that `read` begins with and its length in bytes, when it is the known one.
    pub(super) fn find(&mut self, read: &[u8]) -> Option<(Head, usize)> {
        let known = self.head.as_mut()?;
        let rest = read.strip_prefix(&*known.before)?;
        let mut len = known.before.len();
        if known.length.is_some() {
            let (length, digits) = length_at_front(rest)?;
            rest[digits..].strip_prefix(&*known.after)?;
            len += digits + known.after.len();
            known.say_length(length);
        }
        self.vain = 0;
        let head = Head {
            head: Arc::clone(&known.head),
            transfer: Transfer::Length(known.length.unwrap_or(0)),
            keeps_alive: known.keeps_alive,
            takes_trailers: known.takes_trailers,
            is_expecting: false,
            length_at: None,
        };
        Some((head, len))
    }

    /// Remembers a head that had to be parsed, where it may come again.
    pub(super) fn remember(&mut self, read: &[u8], head: &Head) {
        let is_first = !std::mem::replace(&mut self.has_parsed, true);
        let Transfer::Length(length) = head.transfer else {
            return;
        };
        if is_first || head.is_expecting || read.len() > KNOWN_BYTES_MAX || self.vain >= VAIN_MAX {
            return;
        }
        let (before, after, length) = match &head.length_at {
            Some(at) => (&read[..at.start], &read[at.end..], Some(length)),
            // More than one length, which became one.
            None if head
                .head
                .parts()
                .headers
                .contains_key(header::CONTENT_LENGTH) =>
            {
                return;
            }
            None => (read, &read[..0], None),
        };
        self.vain += 1;
        self.head = Some(Box::new(KnownHead {
            before: before.into(),
            after: after.into(),
            length,
            head: Arc::clone(&head.head),
            keeps_alive: head.keeps_alive,
            takes_trailers: head.takes_trailers,
        }));
    }
}

impl KnownHead {
    fn say_length(&mut self, length: u64) {
        if self.length == Some(length) {
            return;
        }
        self.length = Some(length);
        Arc::make_mut(&mut self.head).say_length(length);
    }
}

/// A length as one writes it, and its digits.
fn length_at_front(text: &[u8]) -> Option<(u64, usize)> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX || (digits > 1 && text[0] == b'0') {
        return None;
    }
    let length = text[..digits]
        .iter()
        .fold(0, |length, digit| length * 10 + u64::from(digit - b'0'));
    Some((length, digits))
}
