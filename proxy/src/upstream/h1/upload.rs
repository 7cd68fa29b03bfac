//! A request on its way up: head and body in as few writes as their arrival allows.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Request, header, request};
use http_body::Body;

use super::{Broken, UpstreamWire};
use crate::body::RequestBody;
use crate::http1::Outbox;

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
    outbox: Outbox,
    has_written: bool,
    /// Part of the body was taken and not yet written.
    is_body_begun: bool,
}

impl Upload {
    pub(super) fn begin(&mut self, request: Request<RequestBody>) {
        let (mut head, body) = request.into_parts();
        let framing = frame(&mut head.headers, &body);
        self.outbox = Outbox::default();
        write_head(&head, framing, self.outbox.head());
        self.head = Some(Box::new(head));
        self.body = Some((body, framing.unwrap_or(Framing::Length(0))));
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
        self.body.is_none() && self.outbox.is_flushed()
    }

    /// Nothing more of it goes up.
    pub(super) fn give_up(&mut self) {
        *self = Self {
            outbox: Outbox::flushed(),
            ..Self::default()
        };
    }

    /// Writes what can be written now. `Ok` says nothing of the end: see [`Self::is_done`].
    pub(super) fn poll(
        &mut self,
        wire: &mut UpstreamWire,
        cx: &mut Context<'_>,
    ) -> Result<(), Broken> {
        loop {
            let is_waiting = self.fill(cx)?;
            while self.outbox.has_bytes() {
                match self.outbox.poll_write(wire, cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Err(error)) => return Err(Broken::Io(error)),
                    Poll::Ready(Ok(())) => {}
                }
                if !std::mem::replace(&mut self.has_written, true) {
                    self.head = None;
                }
            }
            if is_waiting || self.body.is_none() {
                return match self.outbox.poll_flush(wire, cx) {
                    Poll::Ready(Err(error)) => Err(Broken::Io(error)),
                    Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
                };
            }
        }
    }

    /// Takes what the body has for now into the next write; `true` when the caller must send more first.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        while let Some((body, framing)) = &mut self.body {
            if self.outbox.is_full() {
                return Ok(false);
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Err(Broken::Upload),
                Poll::Ready(None) => {
                    match framing {
                        Framing::Chunked => self.outbox.put(b"0\r\n\r\n"),
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
            if let Framing::Length(left) = framing {
                match left.checked_sub(data.len() as u64) {
                    Some(rest) => *left = rest,
                    None => return Err(Broken::Upload),
                }
            }
            let is_chunk = *framing == Framing::Chunked;
            self.outbox.put_piece(data, is_chunk);
        }
        Ok(false)
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
