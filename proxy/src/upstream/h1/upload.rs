//! A request on its way up: head and body in as few writes as their arrival allows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, header, request};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::{Broken, Wire};
use crate::body::RequestBody;

/// A piece of a body up to this goes into one write with what stands before it; a larger one is written
/// from where it lies.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// Room for a head that is written in one go.
const HEAD_BYTES: usize = 1024;

/// How the upstream knows the body's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Bytes that are still to be handed over.
    Length(u64),
    Chunked,
}

/// One request. The default is one that is through.
#[derive(Default)]
pub(super) struct Upload {
    /// Kept until the first byte of it is written, so that it can be had back.
    head: Option<Box<request::Parts>>,
    body: Option<(RequestBody, Framing)>,
    /// To be written: text, then data that is not copied, then what closes its chunk.
    text: BytesMut,
    data: Bytes,
    closing: &'static [u8],
    is_flushed: bool,
    has_written: bool,
    /// Part of the body was taken and not yet written.
    is_body_begun: bool,
}

impl Upload {
    pub(super) fn begin(&mut self, request: Request<RequestBody>) {
        let (mut head, body) = request.into_parts();
        let framing = frame(&mut head.headers, &body);
        self.text = BytesMut::with_capacity(HEAD_BYTES);
        write_head(&head, framing, &mut self.text);
        self.data = Bytes::new();
        self.closing = b"";
        self.head = Some(Box::new(head));
        self.body = Some((body, framing.unwrap_or(Framing::Length(0))));
        self.is_flushed = false;
        self.has_written = false;
        self.is_body_begun = false;
    }

    /// The request, when no byte of it was written and its body is whole.
    pub(super) fn take_unwritten(&mut self) -> Option<Request<RequestBody>> {
        if self.has_written || self.is_body_begun {
            return None;
        }
        let (head, (body, _)) = (self.head.take()?, self.body.take()?);
        Some(Request::from_parts(*head, body))
    }

    /// At least one byte of it was written.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    /// All of it is with the upstream's socket.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_flushed
    }

    /// Nothing more of it goes up.
    pub(super) fn give_up(&mut self) {
        *self = Self {
            is_flushed: true,
            ..Self::default()
        };
    }

    /// Writes what can be written now. `Ok` says nothing of the end: see [`Self::is_done`].
    pub(super) fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<(), Broken> {
        loop {
            let is_waiting = self.fill(cx)?;
            while self.has_bytes() {
                match self.poll_write(wire, cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Err(error)) => return Err(Broken::Io(error)),
                    Poll::Ready(Ok(())) => {}
                }
            }
            if is_waiting || self.body.is_none() {
                return self.flush(wire, cx);
            }
        }
    }

    /// Takes what the body has for now into the next write; `true` when the caller must send more first.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        while let Some((body, framing)) = &mut self.body {
            if self.text.len() > COPY_BYTES_MAX || !self.data.is_empty() {
                return Ok(false);
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Err(Broken::Upload),
                Poll::Ready(None) => {
                    match framing {
                        Framing::Chunked => self.text.extend_from_slice(b"0\r\n\r\n"),
                        Framing::Length(0) => {}
                        Framing::Length(_) => return Err(Broken::Upload),
                    }
                    self.body = None;
                    return Ok(false);
                }
            };
            // A caller's trailers are not part of the call: no provider reads them.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.is_empty() {
                continue;
            }
            self.is_body_begun = true;
            self.is_flushed = false;
            match framing {
                Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                    Some(rest) => *left = rest,
                    None => return Err(Broken::Upload),
                },
                Framing::Chunked => {
                    let size = format!("{:x}\r\n", data.len());
                    self.text.extend_from_slice(size.as_bytes());
                }
            }
            let closing: &[u8] = match framing {
                Framing::Length(_) => b"",
                Framing::Chunked => b"\r\n",
            };
            if data.len() <= COPY_BYTES_MAX {
                self.text.extend_from_slice(&data);
                self.text.extend_from_slice(closing);
            } else {
                self.data = data;
                self.closing = closing;
            }
        }
        Ok(false)
    }

    fn has_bytes(&self) -> bool {
        !self.text.is_empty() || !self.data.is_empty() || !self.closing.is_empty()
    }

    fn poll_write(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pieces = [
            io::IoSlice::new(&self.text),
            io::IoSlice::new(&self.data),
            io::IoSlice::new(self.closing),
        ];
        let written = if self.data.is_empty() && self.closing.is_empty() {
            Pin::new(&mut *wire).poll_write(cx, &self.text)
        } else {
            Pin::new(&mut *wire).poll_write_vectored(cx, &pieces)
        };
        let mut written = match written {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(written)) => written,
        };
        self.is_flushed = false;
        if !self.has_written {
            self.has_written = true;
            self.head = None;
        }
        let len = written.min(self.text.len());
        self.text.advance(len);
        written -= len;
        if self.text.is_empty() {
            // An open stream that has sent its request holds no buffer.
            self.text = BytesMut::new();
        }
        let len = written.min(self.data.len());
        self.data.advance(len);
        written -= len;
        if self.data.is_empty() {
            self.data = Bytes::new();
            self.closing = &self.closing[written.min(self.closing.len())..];
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.is_flushed {
            return Ok(());
        }
        match Pin::new(wire).poll_flush(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.is_flushed = true;
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(Broken::Io(error)),
        }
    }
}

/// Decides the framing and makes the headers say it. `None` where neither header belongs.
fn frame(headers: &mut HeaderMap, body: &RequestBody) -> Option<Framing> {
    if body.is_end_stream() {
        // `content-length: 0`, where the caller said so, goes on.
        return None;
    }
    match body.size_hint().exact() {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            Some(Framing::Length(length))
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            Some(Framing::Chunked)
        }
    }
}

fn write_head(head: &request::Parts, framing: Option<Framing>, text: &mut BytesMut) {
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.extend_from_slice(b" ");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    text.extend_from_slice(path.as_bytes());
    text.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    if framing == Some(Framing::Chunked) {
        text.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    text.extend_from_slice(b"\r\n");
}
