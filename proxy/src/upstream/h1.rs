//! One HTTP/1.1 connection to an upstream, and the exchange on it.
//!
//! Whoever holds it drives it: there is no task, no channel and no buffer behind it. What arrives is
//! read into one scratch buffer of the thread and handed on as it is, so an open stream that is silent
//! holds no buffer at all. Requests go up as they come, while the answer is already coming down.
//!
//! Holds true: nothing is passed on as whole that its framing did not end; a connection on which
//! anything went other than by the letter never serves a second call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};

use super::UpstreamWire;
use crate::answer;
use crate::body::RequestBody;
use crate::http1::{Piece, Transfer};

mod head;
mod upload;

use head::{Head, HeadError};
use upload::Upload;
pub(super) use upload::{Length, write_line};

/// Heads of the 1xx kind before the answer's own; an upstream that sends more is broken.
const INTERIM_HEADS_MAX: u32 = 32;

/// Why an exchange ended before its answer did.
#[derive(Debug)]
pub(super) enum Broken {
    /// The socket failed.
    Io(io::Error),
    /// The upstream closed in the middle.
    Closed,
    /// What the upstream sent is no HTTP/1.1.
    Malformed(&'static str),
    /// The caller's own body broke off.
    Upload,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("closed in the middle of an answer"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::Upload => f.write_str("the request's body broke off"),
        }
    }
}

/// A connection, idle or with one exchange on it.
pub(super) struct Connection {
    wire: UpstreamWire,
    upload: Upload,
    reading: Reading,
}

/// What was read of the answer and what it means.
struct Reading {
    /// What was read and not yet used: the beginning of a head, what came behind one, nothing else.
    unused: BytesMut,
    transfer: Transfer,
    interim_heads: u32,
    /// The request asked for no body of its answer.
    is_head_request: bool,
    /// The answer's head came, and nothing so far forbids another request on this connection.
    can_reuse: bool,
    /// Told once what came before it has gone down.
    broken: Option<Broken>,
}

impl Connection {
    pub(super) fn new(wire: UpstreamWire) -> Box<Self> {
        Box::new(Self {
            wire,
            upload: Upload::default(),
            reading: Reading::new(),
        })
    }

    /// Whether an idle connection is still good: nothing came on it, not even its end.
    pub(super) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(&mut self.wire)
            .poll_read(cx, &mut buffer)
            .is_pending()
    }

    /// Takes the next request, whose head `write` writes. What was on the connection before is through.
    pub(super) fn begin(
        &mut self,
        method: &Method,
        body: RequestBody,
        write: impl FnOnce(&mut BytesMut, Length),
    ) {
        self.reading.is_head_request = method == Method::HEAD;
        self.reading.interim_heads = 0;
        self.reading.can_reuse = false;
        self.reading.transfer = Transfer::NONE;
        self.upload.begin(body, write);
    }

    /// The same with a request that is already made.
    pub(super) fn begin_made(&mut self, request: Request<RequestBody>) {
        let (head, body) = request.into_parts();
        self.begin(&head.method, body, |text, length| {
            upload::write_parts(&head, text, length);
        });
    }

    /// The body of a request of which no byte was written, when all of it is still there.
    pub(super) fn take_unwritten(&mut self) -> Option<RequestBody> {
        self.upload.take_unwritten()
    }

    /// Sends the request and waits for the answer's head; the body may still be going up then.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<answer::Head, Broken>> {
        let Self {
            wire,
            upload,
            reading,
            ..
        } = self;
        let mut sent = upload.poll(wire, cx);
        loop {
            match &mut sent {
                Err(Broken::Io(_)) if upload.has_written() => {}
                // No answer can come to what was not sent whole, or not at all.
                Err(_) => std::mem::replace(&mut sent, Ok(()))?,
                Ok(()) => {}
            }
            let taken = wire.poll_take(cx, |read| match read {
                [] => None,
                read => Some(reading.head_of(read)),
            });
            match ready!(taken).map_err(Broken::Io)? {
                Some(head) => {
                    if let Some(head) = head? {
                        return Poll::Ready(Ok(head));
                    }
                }
                // An upstream that refuses early closes while we write: the end says more than the write.
                None => return Poll::Ready(Err(sent.err().unwrap_or(Broken::Closed))),
            }
        }
    }

    /// The answer's next piece; `None` at its end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        if !self.upload.is_done()
            && let Err(broken) = self.upload.poll(&mut self.wire, cx)
        {
            // An answer may end before the upstream has read all; then only the connection is lost.
            self.reading.can_reuse = false;
            if matches!(broken, Broken::Upload) {
                return Poll::Ready(Some(Err(broken)));
            }
            self.upload.give_up();
        }
        loop {
            if let Some(broken) = self.reading.broken.take() {
                self.reading.can_reuse = false;
                return Poll::Ready(Some(Err(broken)));
            }
            if let Some(trailers) = self.reading.transfer.take_trailers() {
                return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
            }
            if self.is_end() {
                return Poll::Ready(None);
            }
            let data = if self.reading.unused.is_empty() {
                match ready!(self.poll_data(cx)) {
                    Ok(data) => data,
                    Err(broken) => {
                        self.reading.can_reuse = false;
                        return Poll::Ready(Some(Err(broken)));
                    }
                }
            } else {
                self.reading.next_of_unused()
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Piece::Data(data))));
            }
        }
    }

    /// The answer's framing has come to its end.
    pub(super) fn is_end(&self) -> bool {
        self.reading.broken.is_none() && self.reading.transfer.is_end()
    }

    /// Bytes still to come, where the framing says so.
    pub(super) fn left(&self) -> Option<u64> {
        self.reading.transfer.left()
    }

    /// Both sides of the exchange are through and the connection may serve another.
    pub(super) fn is_reusable(&self) -> bool {
        self.reading.can_reuse
            && self.is_end()
            && self.upload.is_done()
            && self.reading.unused.is_empty()
    }

    /// The socket below, and what was read behind the head of a 101.
    pub(super) fn into_parts(self) -> (UpstreamWire, Bytes) {
        (self.wire, self.reading.unused.freeze())
    }

    /// Reads and decodes at once; empty when only framing was read.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        let Self { wire, reading, .. } = self;
        let taken = wire.poll_take(cx, |read| {
            if read.is_empty() {
                if let Transfer::UntilClose { is_closed } = &mut reading.transfer {
                    *is_closed = true;
                    return Ok(Bytes::new());
                }
                return Err(Broken::Closed);
            }
            let (data, used) = reading.decode(read);
            if used < read.len() {
                // More than the answer: nobody asked for it.
                reading.can_reuse = false;
            }
            Ok(data)
        });
        Poll::Ready(ready!(taken).map_err(Broken::Io)?)
    }
}

impl Reading {
    fn new() -> Self {
        Self {
            unused: BytesMut::new(),
            transfer: Transfer::NONE,
            interim_heads: 0,
            is_head_request: false,
            can_reuse: false,
            broken: None,
        }
    }

    /// The answer's head, once all of it is here; what stands behind it is kept.
    fn head_of(&mut self, read: &[u8]) -> Result<Option<answer::Head>, Broken> {
        if self.unused.is_empty() {
            // Most heads come whole in one read, and are parsed where they lie.
            let (head, used) = self.take_head(read)?;
            self.unused = BytesMut::from(read.get(used..).unwrap_or_default());
            return Ok(head);
        }
        let mut unused = std::mem::take(&mut self.unused);
        unused.extend_from_slice(read);
        let (head, used) = self.take_head(&unused)?;
        if head.is_some() {
            // A part of the buffer would keep the head with it.
            self.unused = BytesMut::from(unused.get(used..).unwrap_or_default());
        } else {
            self.keep_behind(unused, used);
        }
        Ok(head)
    }

    /// The head at the front of what was read, and how much of that is used; interim ones are passed over.
    fn take_head(&mut self, read: &[u8]) -> Result<(Option<answer::Head>, usize), Broken> {
        let mut used = 0;
        loop {
            let rest = read.get(used..).unwrap_or_default();
            let (head, len) = match head::parse(rest, self.is_head_request) {
                Ok(parsed) => parsed,
                Err(HeadError::Partial) => return Ok((None, used)),
                Err(HeadError::Malformed(what)) => return Err(Broken::Malformed(what)),
            };
            used += len;
            let Head {
                head,
                transfer,
                can_reuse,
            } = head;
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim_heads += 1;
                if self.interim_heads > INTERIM_HEADS_MAX {
                    return Err(Broken::Malformed("too many interim heads"));
                }
                continue;
            }
            self.transfer = transfer;
            self.can_reuse = can_reuse;
            return Ok((Some(head), used));
        }
    }

    /// The body's bytes of what was read before.
    fn next_of_unused(&mut self) -> Bytes {
        let unused = std::mem::take(&mut self.unused);
        if let Transfer::Length(left) = &mut self.transfer
            && let Some(rest) = left.checked_sub(unused.len() as u64)
        {
            *left = rest;
            return unused.freeze();
        }
        let (data, used) = self.decode(&unused);
        self.keep_behind(unused, used);
        data
    }

    /// Keeps what is not used; empty, it would keep its memory.
    fn keep_behind(&mut self, mut unused: BytesMut, used: usize) {
        if used < unused.len() {
            unused.advance(used);
            self.unused = unused;
        }
    }

    /// The body's bytes of what was read, and how much of it belongs to this answer.
    fn decode(&mut self, read: &[u8]) -> (Bytes, usize) {
        self.transfer.decode(read).unwrap_or_else(|(data, what)| {
            self.broken = Some(Broken::Malformed(what));
            (data, read.len())
        })
    }
}

#[cfg(test)]
mod tests;
