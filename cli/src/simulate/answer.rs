//! One answer of the simulated upstream: status, headers, and a body that leaves in steps.
//!
//! Test traffic can ask for behaviour of its own by `x-simulate-…` headers; without them every
//! answer is whole and immediate.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::time::Sleep;

use super::truth::{Served, ServedCall};

/// Longest pause between two chunks that a caller can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Between chunks of an answer that is going to be cut, so that what came before the cut is sent.
const CUT_PAUSE: Duration = Duration::from_millis(5);
/// Most content chunks of a stream that a caller can ask for.
pub(super) const CHUNKS_MAX: usize = 10_000;

/// What a caller asked for by header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behaviour {
    /// `x-simulate-status`: answer with this failure.
    pub(super) status: Option<u16>,
    /// `x-simulate-chunks`: content chunks of a stream.
    pub(super) chunks: Option<usize>,
    /// `x-simulate-pause-ms`: before the first chunk and between chunks.
    pause: Option<Duration>,
    /// `x-simulate-cut-after`: break the connection after this many chunks.
    cut_after: Option<usize>,
}

impl Behaviour {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.parse().ok() };
        let count = |name: &str| number(name).and_then(|value| usize::try_from(value).ok());
        Self {
            status: number("x-simulate-status")
                .and_then(|value| u16::try_from(value).ok())
                .filter(|status| (400..600).contains(status)),
            chunks: count("x-simulate-chunks").map(|chunks| chunks.min(CHUNKS_MAX)),
            pause: number("x-simulate-pause-ms")
                .map(|millis| Duration::from_millis(millis).min(PAUSE_MAX)),
            cut_after: count("x-simulate-cut-after"),
        }
    }
}

/// An answer before it leaves.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    chunks: VecDeque<Bytes>,
    /// What the truth log keeps of it; `None` for what no vendor bills.
    pub(super) served: Option<Served>,
}

impl Answer {
    /// A whole JSON answer.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            chunks: VecDeque::from([Bytes::from(body.to_string())]),
            served: None,
        }
    }

    /// A stream of server-sent events.
    pub(super) fn events(chunks: VecDeque<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: "text/event-stream; charset=utf-8",
            headers: Vec::new(),
            chunks,
            served: None,
        }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn serving(mut self, served: Served) -> Self {
        self.served = Some(served);
        self
    }

    /// All that will leave.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.chunks.iter().flatten().copied().collect();
        String::from_utf8(bytes).unwrap()
    }

    pub(super) fn into_response(self, call: Option<ServedCall>) -> Response<Script> {
        self.into_response_with(Behaviour::default(), call)
    }

    pub(super) fn into_response_with(
        self,
        behaviour: Behaviour,
        call: Option<ServedCall>,
    ) -> Response<Script> {
        let mut response = Response::new(Script {
            chunks: self.chunks,
            pause: behaviour.pause.or(behaviour.cut_after.map(|_| CUT_PAUSE)),
            sleep: None,
            left_before_cut: behaviour.cut_after,
            call,
        });
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// A body that leaves chunk by chunk, as scripted.
pub(super) struct Script {
    chunks: VecDeque<Bytes>,
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    left_before_cut: Option<usize>,
    call: Option<ServedCall>,
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let is_cut = this.left_before_cut == Some(0);
        if let Some(pause) = this.pause
            && (is_cut || !this.chunks.is_empty())
        {
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
        if is_cut {
            return Poll::Ready(Some(Err(std::io::Error::other("cut as asked"))));
        }
        let Some(chunk) = this.chunks.pop_front() else {
            return Poll::Ready(None);
        };
        if let Some(left) = &mut this.left_before_cut {
            *left -= 1;
        }
        if this.chunks.is_empty()
            && let Some(call) = this.call.take()
        {
            call.finish();
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.left_before_cut != Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        // A stream has no length up front, and neither has an answer that is going to be cut or
        // slowed: only whole JSON is sent with one.
        match (self.chunks.len(), self.left_before_cut) {
            (0, None) => SizeHint::with_exact(0),
            (1, None) => SizeHint::with_exact(self.chunks[0].len() as u64),
            _ => SizeHint::default(),
        }
    }
}
