//! One direction of a socket: bytes go from one side to the other as they are, a copy goes to the
//! framing. Nothing is read before what was read is written, so a slow side slows the other, and an idle
//! direction holds no buffer.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::From;
use super::gate::{Gate, Verdict};
use crate::failure::Code;
use crate::framing::websocket::{Framing, Message};

/// Read at a time, by all sockets of a worker in turn.
const PIECE_BYTES: usize = 64 * 1024;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_BYTES]);
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing more will be read.
    Read,
    /// Nothing more can be written.
    Write,
    /// It stands between two frames, as was asked for.
    Held,
    /// A message may not pass.
    Refused(Code),
}

/// One direction.
pub(super) struct Flow {
    from: From,
    /// Reads the copy.
    pub(super) framing: Framing,
    /// Holds each message until it is known whether it may pass, where that has to be.
    gate: Option<Gate>,
    /// Read and not yet written.
    pending: Vec<u8>,
    written: usize,
    needs_flush: bool,
    /// Since when the receiving side takes nothing.
    pub(super) blocked: Option<Instant>,
}

impl Flow {
    pub(super) fn new(from: From, framing: Framing, is_gated: bool) -> Self {
        Self {
            from,
            framing,
            gate: is_gated.then(Gate::default),
            pending: Vec::new(),
            written: 0,
            needs_flush: false,
            blocked: None,
        }
    }

    /// Everything that was read is written, as far as the receiving connection takes it.
    pub(super) fn is_drained(&self) -> bool {
        self.pending.is_empty() && !self.needs_flush
    }

    /// What was written ends between two frames, so that a close may follow it.
    pub(super) fn is_between_frames(&self) -> bool {
        let is_between = match &self.gate {
            Some(gate) if gate.is_between() => true,
            _ => !self.framing.is_broken() && self.framing.wanted().is_none(),
        };
        is_between && self.pending.is_empty()
    }

    /// What was written ends between two messages, so that one of ours may follow it.
    pub(super) fn is_between_messages(&self) -> bool {
        let is_gated = self.gate.as_ref().is_some_and(Gate::is_between);
        self.is_between_frames() && (is_gated || !self.framing.is_in_message())
    }

    /// Moves what can be moved; `on` gets each message and the number of bytes of each piece.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        is_holding: bool,
        on: &mut dyn FnMut(Passed<'_>) -> Verdict,
    ) -> Poll<End> {
        loop {
            if self.poll_pending(cx, to).is_err() {
                return Poll::Ready(End::Write);
            }
            if !self.pending.is_empty() {
                return Poll::Pending;
            }
            if let Some(code) = self.gate.as_ref().and_then(Gate::refused) {
                return Poll::Ready(if is_holding {
                    End::Held
                } else {
                    End::Refused(code)
                });
            }
            let is_gated = self.gate.as_ref().is_some_and(Gate::is_between);
            let wanted = if is_holding && is_gated {
                return Poll::Ready(End::Held);
            } else if is_holding {
                match self.framing.wanted() {
                    _ if self.framing.is_broken() => return Poll::Ready(End::Held),
                    None => return Poll::Ready(End::Held),
                    Some(wanted) => usize::try_from(wanted).unwrap_or(PIECE_BYTES),
                }
            } else {
                PIECE_BYTES
            };
            let is_through = PIECE.with_borrow_mut(|piece| {
                let mut buf = ReadBuf::new(&mut piece[..wanted.min(PIECE_BYTES)]);
                match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                    Poll::Pending => return Some(Poll::Pending),
                    Poll::Ready(Err(_)) => return Some(Poll::Ready(End::Read)),
                    Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                        return Some(Poll::Ready(End::Read));
                    }
                    Poll::Ready(Ok(())) => {}
                }
                let bytes = buf.filled();
                on(Passed::Bytes(bytes.len()));
                // What the upstream says is settled before the caller can see it; what the caller
                // says goes up first.
                if let Some(gate) = &mut self.gate {
                    gate.push(bytes, &mut self.framing, &mut self.pending, on);
                    self.needs_flush = true;
                    return None;
                }
                if self.from == From::Upstream {
                    self.framing.push(bytes, &mut |message| {
                        on(Passed::Message(message));
                    });
                }
                let taken = match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(Ok(taken)) if taken > 0 => taken,
                    Poll::Ready(_) => return Some(Poll::Ready(End::Write)),
                    Poll::Pending => 0,
                };
                self.needs_flush = true;
                if self.from == From::Caller {
                    self.framing.push(bytes, &mut |message| {
                        on(Passed::Message(message));
                    });
                }
                if taken < bytes.len() {
                    self.pending.extend_from_slice(&bytes[taken..]);
                }
                None
            });
            if let Some(end) = is_through {
                return end;
            }
        }
    }

    /// Writes what is left, and flushes.
    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        while self.written < self.pending.len() {
            match Pin::new(&mut *to).poll_write(cx, &self.pending[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => {
                    self.written += taken;
                    self.blocked = None;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.blocked.get_or_insert_with(Instant::now);
                    return Ok(());
                }
            }
        }
        if self.written > 0 {
            // The room goes back: most directions are never blocked again.
            self.pending = Vec::new();
            self.written = 0;
        }
        self.blocked = None;
        if self.needs_flush
            && let Poll::Ready(flushed) = Pin::new(&mut *to).poll_flush(cx)
        {
            self.needs_flush = false;
            return flushed;
        }
        Ok(())
    }
}

/// What a direction hands to whoever watches it.
pub(super) enum Passed<'a> {
    /// So many bytes passed.
    Bytes(usize),
    /// A message that is held; what becomes of it is asked.
    Asked(Message<'a>),
    /// A message ended in them, and passes.
    Message(Message<'a>),
    /// What comes cannot be held or read, for this reason; whether it may pass is asked.
    Unreadable(Code),
}
