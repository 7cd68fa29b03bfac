//! An answer on its way down a caller's wire: its head, then its body in the framing that the caller
//! understands (RFC 9112 section 6).
//!
//! Holds true: what is not whole is never ended as if it were. An answer that breaks off, or gives more or
//! less than it announced, takes the connection with it, behind what came before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode, Version};
use http_body::Body;

use super::{Asked, SharedLine};
use crate::answer::{Answer, Fields, Head};
use crate::http1::{Outbox, put_field, put_length};
use crate::observe::AnswerBody;

/// Fields that mean something only in a head (RFC 9110 section 6.5.1).
const NO_TRAILERS: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::SET_COOKIE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// How the caller knows the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none, whatever the head says.
    None,
    /// Bytes still to come.
    Length(u64),
    Chunked,
    /// The connection's end is the body's.
    UntilClose,
}

/// An answer that is being sent.
pub(super) struct Down {
    body: AnswerBody,
    framing: Framing,
    outbox: Outbox,
    takes_trailers: bool,
    follows: bool,
    /// Everything is in the outbox.
    is_filled: bool,
    /// The answer broke off; told once what came before it has gone.
    broken: Option<io::Error>,
    /// Since when the caller takes nothing.
    blocked_since: Option<Instant>,
}

impl Down {
    /// The answer to what `asked` says of its request; `is_last` when nothing may follow it here.
    pub(super) fn new(answer: Answer<AnswerBody>, asked: Asked, is_last: bool) -> Self {
        let Answer { head, body } = answer;
        let framing = framing_of(&head, &body, asked);
        let is_switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let follows = !is_last
            && asked.keeps_alive
            && framing != Framing::UntilClose
            && (is_switching || !says_close(&head.fields));
        let mut outbox = Outbox::default();
        let body_bytes = match framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        write_head(outbox.head(body_bytes), &head, asked, framing, follows);
        Self {
            // An answer that has no body for this caller is still read to its end, which settles it.
            is_filled: body.is_end_stream()
                && matches!(framing, Framing::None | Framing::Length(0)),
            body,
            framing,
            outbox,
            takes_trailers: asked.takes_trailers,
            follows,
            broken: None,
            blocked_since: None,
        }
    }

    /// A status without anything else.
    pub(super) fn bare(status: StatusCode) -> Self {
        let mut response = Response::new(AnswerBody::Whole(None));
        *response.status_mut() = status;
        let asked = Asked {
            version: Version::HTTP_11,
            is_head_request: false,
            takes_trailers: false,
            keeps_alive: false,
        };
        Self::new(response.into(), asked, true)
    }

    /// Another answer may follow on this connection.
    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    /// Since when the caller takes nothing of what there is for it.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Sends what there is; ready when all of it is with the socket.
    pub(super) fn poll(&mut self, line: &SharedLine, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Without the line: the answer may be waiting for the body of its own request.
            let is_waiting = self.fill(cx);
            let mut line = line.lock();
            let mut written = line.poll_write(&mut self.outbox, cx);
            if written.is_ready() && (is_waiting || self.is_filled) {
                written = match written {
                    Poll::Ready(Ok(())) => line.poll_flush(&mut self.outbox, cx),
                    failed => failed,
                };
            }
            match written {
                Poll::Ready(Ok(())) => self.blocked_since = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
            if let Some(broken) = self.broken.take() {
                return Poll::Ready(Err(broken));
            }
            if self.is_filled {
                return Poll::Ready(Ok(()));
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }

    /// Takes in what the answer has; whether it has to be waited for.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.is_filled && !self.outbox.is_full() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() || self.framing == Framing::None => {}
                    Ok(data) => {
                        if let Framing::Length(left) = &mut self.framing {
                            let Some(rest) = left.checked_sub(data.len() as u64) else {
                                self.break_off("longer than announced");
                                continue;
                            };
                            *left = rest;
                        }
                        let is_chunk = self.framing == Framing::Chunked;
                        self.outbox.put_piece(data, is_chunk);
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.end(Some(&trailers));
                        }
                    }
                },
                Poll::Ready(Some(Err(error))) => self.break_off(error),
                Poll::Ready(None) => self.end(None),
            }
        }
        false
    }

    /// The body has come to its end.
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        match self.framing {
            Framing::Length(1..) => return self.break_off("shorter than announced"),
            Framing::Length(0) | Framing::None | Framing::UntilClose => {}
            Framing::Chunked => {
                let mut last = BytesMut::from(&b"0\r\n"[..]);
                if let Some(trailers) = trailers.filter(|_| self.takes_trailers) {
                    write_fields(&mut last, trailers, |name| !NO_TRAILERS.contains(name));
                }
                last.put_slice(b"\r\n");
                self.outbox.put(&last);
            }
        }
        self.is_filled = true;
    }

    fn break_off(&mut self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.broken = Some(io::Error::other(why));
        self.is_filled = true;
    }
}

fn framing_of(head: &Head, body: &AnswerBody, asked: Asked) -> Framing {
    let is_bodiless = asked.is_head_request
        || head.status.is_informational()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if is_bodiless {
        return Framing::None;
    }
    let announced = head.fields.text(header::CONTENT_LENGTH.as_str());
    let announced = announced.and_then(|digits| digits.parse().ok());
    // An answer without a body ends with its head, and its length is known however it came.
    match announced.or_else(|| match body.is_end_stream() {
        true => Some(0),
        false => body.size_hint().exact(),
    }) {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

fn says_close(fields: &Fields) -> bool {
    fields
        .get(header::CONNECTION.as_str())
        .is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}

fn write_head(to: &mut BytesMut, head: &Head, asked: Asked, framing: Framing, follows: bool) {
    let is_old = asked.version == Version::HTTP_10;
    write_status(to, head, is_old);
    let is_switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    // These two are ours to say, but for the length of a body that is not sent.
    let has_length_of_none = framing == Framing::None && head.status != StatusCode::NO_CONTENT;
    head.fields.write(to, |name| match name {
        b"content-length" => has_length_of_none,
        b"connection" => is_switching,
        _ => true,
    });
    match framing {
        Framing::Length(length) => {
            put_length(to, length);
        }
        Framing::Chunked => to.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    if is_switching {
    } else if !follows {
        to.put_slice(b"connection: close\r\n");
    } else if is_old {
        to.put_slice(b"connection: keep-alive\r\n");
    }
    to.put_slice(b"\r\n");
}

fn write_status(to: &mut BytesMut, head: &Head, is_old: bool) {
    let reason = head.reason.as_ref();
    // Nearly every answer, in one piece.
    if head.status == StatusCode::OK && reason.is_none() && !is_old {
        return to.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    to.put_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    to.put_slice(head.status.as_str().as_bytes());
    to.put_u8(b' ');
    match reason {
        Some(reason) => to.put_slice(reason.as_bytes()),
        None => to.put_slice(head.status.canonical_reason().unwrap_or("").as_bytes()),
    }
    to.put_slice(b"\r\n");
}

fn write_fields(to: &mut BytesMut, fields: &HeaderMap, is_wanted: impl Fn(&HeaderName) -> bool) {
    for (name, value) in fields {
        if is_wanted(name) {
            put_field(to, name.as_ref(), value.as_bytes());
        }
    }
}
