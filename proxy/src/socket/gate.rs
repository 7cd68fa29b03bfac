//! Holds each message of the caller until it is known whether it may go up: only where a message may
//! name a model the key is not for, or carry a credential that is not ours to pass on.
//!
//! What goes up is the caller's own bytes, frame by frame as they came, but for a message that becomes
//! another one. Control frames never wait for a message. After a compressed message has become another
//! one, the vendor's window lacks it: everything compressed that follows goes up unfolded.

use super::flow::Passed;
use crate::failure::Code;
use crate::framing::websocket::write::{self, To};
use crate::framing::websocket::{Framing, Kind, MESSAGE_BYTES_MAX, Message};

/// Most bytes held of one message, its frames' heads included.
const HELD_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;
/// The bit of a frame's first byte that says it is compressed (RFC 7692 section 7.2).
const COMPRESSED: u8 = 0x40;

/// What becomes of a message, or of bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes.
    Goes,
    /// This payload goes up in its place.
    Becomes(Vec<u8>),
    /// The socket ends here.
    Refused(Code),
}

/// One caller's messages.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whole frames of a message that is not whole.
    message: Vec<u8>,
    /// Of the frame that is not whole.
    frame: Vec<u8>,
    /// The vendor's window lacks a message.
    is_unfolding: bool,
    /// Nothing is held any more: what comes cannot be read.
    is_open: bool,
    refused: Option<Code>,
}

impl Gate {
    /// Why nothing goes up any more.
    pub(super) fn refused(&self) -> Option<Code> {
        self.refused
    }

    /// What went up ends between two messages.
    pub(super) fn is_between(&self) -> bool {
        !self.is_open
    }

    /// Takes bytes of the caller and puts out what may go up.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        framing: &mut Framing,
        out: &mut Vec<u8>,
        on: &mut dyn FnMut(Passed<'_>) -> Verdict,
    ) {
        while !bytes.is_empty() && self.refused.is_none() {
            if framing.is_broken() && !self.is_open {
                self.give_up(Code::MalformedRequest, out, on);
                continue;
            }
            if self.is_open {
                framing.push(bytes, &mut |message| {
                    on(Passed::Message(message));
                });
                out.extend_from_slice(bytes);
                return;
            }
            let wanted = framing.wanted().unwrap_or(1);
            let len = usize::try_from(wanted)
                .unwrap_or(usize::MAX)
                .clamp(1, bytes.len());
            let (piece, rest) = bytes.split_at(len);
            bytes = rest;
            self.frame.extend_from_slice(piece);
            let first = self.message.first().or(self.frame.first());
            let is_compressed = first.is_some_and(|byte| byte & COMPRESSED != 0);
            let mut ended = None;
            framing.push(piece, &mut |message| {
                ended = Some(judge(message, is_compressed && self.is_unfolding, on));
            });
            let is_unread = is_compressed && framing.unusual().not_inflated.is_some();
            if is_unread && (self.is_unfolding || is_refused(Code::MalformedRequest, on)) {
                self.refuse(Code::MalformedRequest);
                return;
            }
            match ended {
                Some(Ended::Control) => out.append(&mut self.frame),
                Some(Ended::Message(verdict)) => self.end_message(verdict, is_compressed, out),
                Some(Ended::Rewritten(frame)) => self.put(frame, is_compressed, out),
                None if framing.wanted().is_none() && !framing.is_broken() => {
                    self.message.append(&mut self.frame);
                }
                None => {}
            }
            if self.message.len() + self.frame.len() > HELD_BYTES_MAX {
                self.give_up(Code::RequestTooLarge, out, on);
            }
        }
    }

    fn end_message(&mut self, verdict: Verdict, is_compressed: bool, out: &mut Vec<u8>) {
        match verdict {
            Verdict::Refused(code) => self.refuse(code),
            Verdict::Goes if is_compressed && self.is_unfolding => {
                // It could not be read whole, so it cannot be written anew.
                self.refuse(Code::MalformedRequest);
            }
            Verdict::Goes | Verdict::Becomes(_) => {
                out.append(&mut self.message);
                out.append(&mut self.frame);
            }
        }
    }

    /// A message of ours in place of the caller's.
    fn put(&mut self, frame: Vec<u8>, is_compressed: bool, out: &mut Vec<u8>) {
        self.message.clear();
        self.frame.clear();
        self.is_unfolding |= is_compressed;
        out.extend(frame);
    }

    fn refuse(&mut self, code: Code) {
        self.refused = Some(code);
        self.message = Vec::new();
        self.frame = Vec::new();
    }

    /// What comes cannot be held or read: it passes as it is, unless a rule leans on it.
    fn give_up(
        &mut self,
        code: Code,
        out: &mut Vec<u8>,
        on: &mut dyn FnMut(Passed<'_>) -> Verdict,
    ) {
        if self.is_unfolding || is_refused(code, on) {
            self.refuse(code);
            return;
        }
        self.is_open = true;
        out.append(&mut self.message);
        out.append(&mut self.frame);
    }
}

fn is_refused(code: Code, on: &mut dyn FnMut(Passed<'_>) -> Verdict) -> bool {
    on(Passed::Unreadable(code)) != Verdict::Goes
}

/// What ended with a frame.
enum Ended {
    Control,
    Message(Verdict),
    /// The frame that goes up in its place.
    Rewritten(Vec<u8>),
}

fn judge(
    message: Message<'_>,
    must_unfold: bool,
    on: &mut dyn FnMut(Passed<'_>) -> Verdict,
) -> Ended {
    let write = match message.kind {
        Kind::Text => write::text,
        Kind::Binary => write::binary,
        Kind::Close | Kind::Ping | Kind::Pong => {
            on(Passed::Message(message));
            return Ended::Control;
        }
    };
    let verdict = on(Passed::Asked(message));
    if matches!(verdict, Verdict::Refused(_)) {
        return Ended::Message(verdict);
    }
    on(Passed::Message(message));
    match verdict {
        Verdict::Becomes(payload) => Ended::Rewritten(write(To::Upstream, &payload)),
        Verdict::Goes if must_unfold && message.is_whole() => {
            Ended::Rewritten(write(To::Upstream, message.data))
        }
        verdict => Ended::Message(verdict),
    }
}

#[cfg(test)]
mod tests;
