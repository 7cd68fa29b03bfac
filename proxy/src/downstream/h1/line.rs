//! The caller's end of the wire, as the task that serves it and the body of its request share it.
//!
//! Whoever needs a byte of the caller's reads the wire itself: there is no channel between the two. They
//! run in turns of one thread, so nobody ever waits for the lock. Once a body is through only the
//! serving task reads, to hear of the caller's going away.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::head::{self, NoHead};
use super::known::Known;
use crate::http1::{Outbox, Piece, Socket, Transfer, Wire, may_end};
use crate::request::CallerHead;
use crate::tls::ServerStream;

/// Bytes of later requests that are read while one is being answered.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// What tells a caller to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a request's body broke off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The socket failed.
    Io(io::Error),
    /// The caller went away in the middle.
    Closed,
    /// What it sent is no HTTP.
    Malformed(&'static str),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("closed in the middle of a body"),
            Self::Malformed(what) => write!(f, "malformed body: {what}"),
        }
    }
}

/// What comes next on a connection.
pub(super) enum Next {
    /// A request; its body, when all of it is here already.
    Request(Taken, Option<Bytes>),
    /// The caller's end of the connection.
    End,
    /// What came is no request.
    NoHead(NoHead),
}

/// The head of a request that has begun.
pub(super) struct Taken {
    pub(super) head: Arc<CallerHead>,
    /// Another request may follow on this connection.
    pub(super) keeps_alive: bool,
    pub(super) takes_trailers: bool,
}

/// A caller's connection, shared.
#[derive(Clone)]
pub(crate) struct SharedLine(Arc<Mutex<Line>>);

impl SharedLine {
    pub(super) fn new(wire: Wire<ServerStream>, head_bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Line {
            wire: Some(wire),
            reading: Reading {
                unused: BytesMut::new(),
                looked_at: 0,
                head_bytes_max,
                turn: 0,
                body: Transfer::NONE,
                broken: None,
                is_lost: false,
                is_expecting: false,
                known: Known::default(),
            },
            interim: Outbox::flushed(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller's connection.
pub(crate) struct Line {
    /// `None` once the connection is over: a body that is still asked for ends broken.
    wire: Option<Wire<ServerStream>>,
    reading: Reading,
    /// `100 Continue`, where it is owed.
    interim: Outbox,
}

/// What was read and what it means.
struct Reading {
    /// What was read and not yet used.
    unused: BytesMut,
    /// How much of it holds no end of a head.
    looked_at: usize,
    head_bytes_max: usize,
    /// Counts requests, so that a body left over from an earlier one reads nothing of a later.
    turn: u64,
    /// What is still to come of the present request's body.
    body: Transfer,
    /// Told once what came before it was.
    broken: Option<Broken>,
    /// Nobody can say where the body ends: nothing more of this connection is read as HTTP.
    is_lost: bool,
    /// The caller has not been told to send its body.
    is_expecting: bool,
    known: Known,
}

impl Line {
    /// The next request's head.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Self { wire, reading, .. } = self;
        if let Some(next) = reading.next_of_unused() {
            return Poll::Ready(next);
        }
        loop {
            let Some(wire) = wire else {
                return Poll::Ready(Next::End);
            };
            match ready!(wire.poll_take(cx, |read| reading.next_of(read))) {
                Ok(None) => {}
                Ok(Some(next)) => return Poll::Ready(next),
                Err(_) => return Poll::Ready(Next::End),
            }
        }
    }

    /// Part of a request has come, and nothing more since.
    pub(super) fn has_begun(&self) -> bool {
        !self.reading.unused.is_empty()
    }

    /// The present request's number.
    pub(super) fn turn(&self) -> u64 {
        self.reading.turn
    }

    /// The present request's body is through, or there is none.
    pub(super) fn is_body_through(&self) -> bool {
        self.reading.body.is_end() && !self.reading.is_lost
    }

    /// Whether the present request's body is through, once what is here of it is forgotten: nobody reads it
    /// any more.
    pub(super) fn is_through_or_here(&mut self, cx: &mut Context<'_>) -> bool {
        let turn = self.turn();
        let mut left = AHEAD_BYTES_MAX;
        // A caller that waits to be told sends none of it, or all where the next request belongs.
        while left > 0 && !self.reading.is_expecting {
            match self.poll_piece(turn, cx) {
                Poll::Ready(Some(Ok(Piece::Data(data)))) => left = left.saturating_sub(data.len()),
                Poll::Ready(Some(Ok(Piece::Trailers(_)))) => {}
                Poll::Ready(Some(Err(_)) | None) | Poll::Pending => break,
            }
        }
        self.is_body_through()
    }

    /// Ready when the caller has gone away. Only looked for behind the body, which finds out by itself.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { wire, reading, .. } = self;
        let Some(wire) = wire else {
            return Poll::Ready(());
        };
        if !reading.body.is_end() {
            return Poll::Pending;
        }
        while reading.unused.len() < AHEAD_BYTES_MAX {
            let taken = wire.poll_take(cx, |read| {
                reading.unused.extend_from_slice(read);
                !read.is_empty()
            });
            if !ready!(taken).unwrap_or(false) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Reads and forgets what a caller still sends; ready when it has closed, or at the bound.
    pub(super) fn poll_forget(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(());
        };
        while *left > 0 {
            match ready!(wire.poll_take(cx, <[u8]>::len)) {
                Ok(len) if len > 0 => *left = left.saturating_sub(len),
                Ok(_) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Writes what the outbox holds. An interim answer that was begun goes first.
    pub(super) fn poll_write(
        &mut self,
        outbox: &mut Outbox,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while self.interim.has_bytes() {
            ready!(self.interim.poll_write(wire, cx))?;
        }
        while outbox.has_bytes() {
            ready!(outbox.poll_write(wire, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes what was written.
    pub(super) fn poll_flush(
        &mut self,
        outbox: &mut Outbox,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Some(wire) => outbox.poll_flush(wire, cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Says that nothing more will be written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Some(wire) => Pin::new(wire).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Ends the connection for whoever still holds a part of it.
    pub(super) fn close(&mut self) {
        self.wire = None;
    }

    /// The socket, which speaks no HTTP from now on, and what was read behind the head.
    pub(super) fn switch(&mut self) -> Option<Socket<ServerStream>> {
        let first = std::mem::take(&mut self.reading.unused).freeze();
        Some(Socket::new(first, self.wire.take()?))
    }

    /// The next piece of the body of request `turn`; `None` at its end.
    pub(crate) fn poll_piece(
        &mut self,
        turn: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        if turn != self.reading.turn {
            return Poll::Ready(None);
        }
        let Self {
            wire,
            reading,
            interim,
        } = self;
        loop {
            if let Some(piece) = reading.next_piece() {
                return Poll::Ready(piece);
            }
            let Some(wire) = wire.as_mut().filter(|_| !reading.is_lost) else {
                return Poll::Ready(Some(Err(Broken::Closed)));
            };
            if std::mem::take(&mut reading.is_expecting) {
                interim.put(CONTINUE);
            }
            while interim.has_bytes() {
                match interim.poll_write(wire, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Some(Err(Broken::Io(error))));
                    }
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = interim.poll_flush(wire, cx) {
                return Poll::Ready(Some(Err(Broken::Io(error))));
            }
            let taken = wire.poll_take(cx, |read| reading.piece_of(read));
            match ready!(taken) {
                Ok(Some(piece)) => return Poll::Ready(Some(piece)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Broken::Io(error)))),
            }
        }
    }

    /// Bytes still to come of the body of request `turn`, where the framing says so.
    pub(crate) fn left(&self, turn: u64) -> Option<u64> {
        if turn == self.reading.turn {
            self.reading.body.left()
        } else {
            Some(0)
        }
    }

    /// The body of request `turn` has come to its end.
    pub(crate) fn is_end(&self, turn: u64) -> bool {
        turn != self.reading.turn || self.is_body_through()
    }
}

impl Reading {
    /// What comes next, of what was read before.
    fn next_of_unused(&mut self) -> Option<Next> {
        if self.unused.is_empty() {
            return None;
        }
        let mut unused = std::mem::take(&mut self.unused);
        let (next, used) = self.take_head(&unused);
        unused.advance(used);
        // Empty, it would keep its memory.
        if !unused.is_empty() {
            self.unused = unused;
        }
        next
    }

    /// What comes next, with what was just read.
    fn next_of(&mut self, read: &[u8]) -> Option<Next> {
        if read.is_empty() {
            return Some(Next::End);
        }
        if !self.unused.is_empty() {
            self.unused.extend_from_slice(read);
            return self.next_of_unused();
        }
        // Most heads come whole in one read, and are parsed where they lie.
        let (next, used) = self.take_head(read);
        self.unused.extend_from_slice(&read[used..]);
        next
    }

    /// The request at the front of `read`, and how much of `read` it takes.
    fn take_head(&mut self, read: &[u8]) -> (Option<Next>, usize) {
        let parsed = match self.known.find(read) {
            Some(known) => Ok(Some(known)),
            None if may_end(read, self.looked_at) => {
                let parsed = head::parse(read, self.head_bytes_max);
                if let Ok(Some((head, len))) = &parsed {
                    self.known.remember(&read[..*len], head);
                }
                parsed
            }
            None => Ok(None),
        };
        let (head, len) = match parsed {
            Ok(Some(parsed)) => parsed,
            Ok(None) if read.len() <= self.head_bytes_max => {
                self.looked_at = read.len();
                return (None, 0);
            }
            Ok(None) => return (Some(Next::NoHead(NoHead::TOO_LARGE)), 0),
            Err(no_head) => return (Some(Next::NoHead(no_head)), 0),
        };
        self.looked_at = 0;
        self.turn += 1;
        let rest = &read[len..];
        self.body = head.transfer;
        self.is_expecting = head.is_expecting;
        let mut used = len;
        let mut body = None;
        if let Transfer::Length(left) = &mut self.body
            && let Ok(bytes) = usize::try_from(*left)
            && let Some(whole) = rest.get(..bytes)
        {
            *left = 0;
            used += bytes;
            body = Some(Bytes::copy_from_slice(whole));
        }
        let taken = Taken {
            head: head.head,
            keeps_alive: head.keeps_alive,
            takes_trailers: head.takes_trailers,
        };
        (Some(Next::Request(taken, body)), used)
    }

    /// A piece of the body that was read before, its end, or what is wrong with it.
    fn next_piece(&mut self) -> Option<Option<Result<Piece, Broken>>> {
        loop {
            if let Some(broken) = self.broken.take() {
                return Some(Some(Err(broken)));
            }
            if let Some(trailers) = self.body.take_trailers() {
                return Some(Some(Ok(Piece::Trailers(trailers))));
            }
            if self.body.is_end() {
                return Some(None);
            }
            if self.unused.is_empty() {
                return None;
            }
            let mut unused = std::mem::take(&mut self.unused);
            let (data, used) = self.decode(&unused);
            unused.advance(used);
            if !unused.is_empty() {
                self.unused = unused;
            }
            if !data.is_empty() {
                return Some(Some(Ok(Piece::Data(data))));
            }
        }
    }

    /// A piece of the body in what was just read, when there is one.
    fn piece_of(&mut self, read: &[u8]) -> Option<Result<Piece, Broken>> {
        if read.is_empty() {
            return Some(Err(Broken::Closed));
        }
        let (data, used) = self.decode(read);
        self.unused.extend_from_slice(&read[used..]);
        (!data.is_empty()).then_some(Ok(Piece::Data(data)))
    }

    /// The body's bytes of what was read, and how much of it belongs to this body.
    fn decode(&mut self, read: &[u8]) -> (Bytes, usize) {
        self.body.decode(read).unwrap_or_else(|(data, what)| {
            self.broken = Some(Broken::Malformed(what));
            self.is_lost = true;
            (data, read.len())
        })
    }
}
