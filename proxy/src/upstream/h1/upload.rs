//! A request on its way up: head and body in as few writes as their arrival allows.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Method, header, request};
use http_body::Body;

use super::{Broken, UpstreamWire};
use crate::body::RequestBody;
use crate::http1::{Outbox, put_field, put_length};

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
    body: Option<(RequestBody, Framing)>,
    outbox: Outbox,
    has_written: bool,
    /// Part of the body was taken and not yet written.
    is_body_begun: bool,
}

impl Upload {
    /// `write` writes the request's line and its fields, without its length where that is not kept.
    pub(super) fn begin(&mut self, body: RequestBody, write: impl FnOnce(&mut BytesMut, Length)) {
        let framing = framing_of(&body);
        self.outbox = Outbox::default();
        let body_bytes = match framing {
            Some(Framing::Length(length)) => Some(length),
            Some(Framing::Chunked) | None => None,
        };
        let text = self.outbox.head(body_bytes);
        write(
            text,
            match framing {
                None => Length::Kept,
                Some(_) => Length::LeftOut,
            },
        );
        end_head(text, framing);
        self.body = Some((body, framing.unwrap_or(Framing::Length(0))));
        self.has_written = false;
        self.is_body_begun = false;
    }

    /// The request's body, when no byte of the request was written and all of it is there.
    pub(super) fn take_unwritten(&mut self) -> Option<RequestBody> {
        if self.has_written || self.is_body_begun {
            return None;
        }
        self.body.take().map(|(body, _)| body)
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
                self.has_written = true;
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

/// What happens to the length that the head of a request names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It goes on: there is no body, and `content-length: 0` is the caller's to say.
    Kept,
    /// The body's own is written in its place.
    LeftOut,
}

/// `None` where neither a length nor a coding belongs.
fn framing_of(body: &RequestBody) -> Option<Framing> {
    if body.is_end_stream() {
        return None;
    }
    let length = body.size_hint().exact();
    Some(length.map_or(Framing::Chunked, Framing::Length))
}

/// A head that stands in parts.
pub(super) fn write_parts(head: &request::Parts, text: &mut BytesMut, length: Length) {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    write_line(text, &head.method, |text| {
        text.extend_from_slice(path.as_bytes());
    });
    for (name, value) in &head.headers {
        if name != header::CONTENT_LENGTH || length == Length::Kept {
            put_field(text, name.as_ref(), value.as_bytes());
        }
    }
}

/// The first line of a head; `write_path` writes the path and query.
pub(crate) fn write_line(
    text: &mut BytesMut,
    method: &Method,
    write_path: impl FnOnce(&mut BytesMut),
) {
    text.extend_from_slice(method.as_str().as_bytes());
    text.extend_from_slice(b" ");
    write_path(text);
    text.extend_from_slice(b" HTTP/1.1\r\n");
}

fn end_head(text: &mut BytesMut, framing: Option<Framing>) {
    match framing {
        None => {}
        Some(Framing::Length(length)) => {
            put_length(text, length);
        }
        Some(Framing::Chunked) => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    text.extend_from_slice(b"\r\n");
}
