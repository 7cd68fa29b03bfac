//! The answer on its way down: each byte goes on at once, a copy feeds the reader, and the end is
//! settled before the caller sees the last byte.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use farebox_pricing::event::Ending;
use farebox_pricing::id::TenantId;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::futures::OwnedNotified;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::amend::UsageStripper;
use crate::decode::Decoder;
use crate::failure::Code;
use crate::provider::ErrorText;
use crate::reader::Reader;
use crate::settle::Call;
use crate::socket::Relay;
use crate::upstream::Incoming;

mod abandoned;

pub use abandoned::Abandoned;
pub(crate) use abandoned::{ABANDONED_BYTES_MAX, ABANDONED_TIME_MAX, Place};

/// The answer broke off; the caller's connection ends the same way.
#[derive(Debug)]
pub struct BrokenOff(Code);

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl std::error::Error for BrokenOff {}

/// The one body type that goes down.
pub enum AnswerBody {
    /// A refusal or a failure of ours, or an answer without a body.
    Whole(Option<Bytes>),
    /// An upstream's answer; `None` once it is given up.
    Observed(Option<Box<Observed>>),
    /// The head of a 101; the relay runs once it is written.
    Switch(Option<Box<Relay>>),
}

/// Takes away what asking for usage added; a compressed answer is decoded for it.
pub struct Rewrite {
    /// For a compressed answer.
    pub decoder: Option<Decoder>,
    /// Removes the usage.
    pub stripper: UsageStripper,
}

/// An upstream's answer while it passes.
pub struct Observed {
    call: Box<Call>,
    incoming: Incoming,
    reader: Option<Reader>,
    rewrite: Option<Rewrite>,
    queue: VecDeque<Bytes>,
    is_over: bool,
    is_undecodable: bool,
    /// What follows the last chunk.
    trailers: Option<Frame<Bytes>>,
    /// How the answer broke off, until the caller's connection is told.
    broken: Option<BrokenOff>,
    last_byte: Instant,
    /// The armed timer and when it wakes us.
    idle: Option<(Pin<Box<Sleep>>, Instant)>,
    cut: Option<Pin<Box<OwnedNotified>>>,
    cuts_seen: u64,
}

impl Observed {
    /// Watches `incoming` for `call`.
    pub fn new(
        call: Box<Call>,
        incoming: Incoming,
        reader: Reader,
        rewrite: Option<Rewrite>,
    ) -> Box<Self> {
        call.worker
            .shared
            .metrics
            .stream_opened(call.event.transport);
        let last_byte = call.clock.answered.unwrap_or_else(Instant::now);
        Box::new(Self {
            call,
            incoming,
            reader: Some(reader),
            rewrite,
            queue: VecDeque::new(),
            is_over: false,
            is_undecodable: false,
            trailers: None,
            broken: None,
            last_byte,
            idle: None,
            cut: None,
            cuts_seen: 0,
        })
    }

    /// Whether nothing will follow, so that the call can be settled with the head.
    pub fn is_empty(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The head was all there is.
    pub fn end_with_head(&mut self) {
        self.call.clock.ended = Some(self.last_byte);
        self.end(self.whole_ending());
    }

    /// Ends the call. Only a whole exchange gives its connection back.
    fn end(&mut self, ending: Ending) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let is_whole = matches!(ending, Ending::Complete | Ending::RefusedByUpstream);
        let ending = if self.call.is_abandoned {
            Ending::DownstreamGone
        } else {
            ending
        };
        let evidence = self.reader.take().map(|reader| reader.finish(is_whole));
        self.call.settle(ending, evidence);
        self.call
            .worker
            .shared
            .metrics
            .stream_closed(self.call.event.transport);
        if is_whole && self.call.upload.is_done() {
            self.incoming.give_back(self.last_byte);
        }
    }

    fn whole_ending(&self) -> Ending {
        if self.call.event.status.is_some_and(|status| status >= 400) {
            Ending::RefusedByUpstream
        } else {
            Ending::Complete
        }
    }

    /// A chunk came: the reader gets its copy, the caller what it would have got. Given back is the chunk
    /// itself; what was made of it is in the queue.
    fn saw(&mut self, chunk: Bytes) -> Option<Bytes> {
        self.last_byte = Instant::now();
        let reader = self.reader.as_mut()?;
        let mut passed = None;
        match &mut self.rewrite {
            None if self.incoming.is_end_stream() => {
                reader.push_last(&chunk);
                passed = Some(chunk);
            }
            None => {
                reader.push(&chunk);
                passed = Some(chunk);
            }
            Some(Rewrite { decoder, stripper }) => {
                let mut out = Vec::new();
                match decoder {
                    None => {
                        reader.push(&chunk);
                        stripper.push(chunk, &mut out);
                    }
                    Some(decoder) => {
                        let decoded = decoder.push(&chunk, &mut |plain| {
                            let plain = Bytes::copy_from_slice(plain);
                            reader.push(&plain);
                            stripper.push(plain, &mut out);
                        });
                        if decoded.is_err() {
                            // What was promised decoded cannot be had; half an answer is none.
                            self.is_undecodable = true;
                        }
                    }
                }
                self.queue.extend(out);
            }
        }
        if let Some(reader) = self.reader.as_ref().filter(|reader| reader.is_stream()) {
            self.call.learn_early(reader.evidence());
        }
        if self.call.clock.first_output.is_none()
            && self.reader.as_ref().is_some_and(Reader::has_output)
        {
            self.call.clock.first_output = Some(self.last_byte);
        }
        passed
    }

    fn flush_rewrite(&mut self) {
        if let Some(rewrite) = &mut self.rewrite {
            let mut out = Vec::new();
            rewrite.stripper.finish(&mut out);
            self.queue.extend(out);
        }
    }

    /// Nothing to read now: whether something of ours ends the answer. Timer and notification are
    /// registered once for a wait; polling them again for each chunk would cost more than the chunk.
    fn poll_bounds(&mut self, cx: &mut Context<'_>) -> Option<(Ending, Code)> {
        let shared = &self.call.worker.shared;
        let cuts = shared.cuts();
        if self.cut.is_none() || self.cuts_seen != cuts {
            let mut notified = Box::pin(Arc::clone(&shared.cut).notified_owned());
            // Registered before the state is looked at, so that no cut falls between the two.
            let _ = notified.as_mut().poll(cx);
            self.cut = Some(notified);
            self.cuts_seen = cuts;
            if shared.is_cutting_all() {
                return Some((Ending::Cut, Code::Draining));
            }
            let event = &self.call.event;
            let tenant = event.tenant_id.as_ref().map(TenantId::as_str);
            if let Some(code) = shared.directory.cut_for(event.key_id, tenant) {
                return Some((Ending::Cut, code));
            }
        }
        let bound = Duration::from_millis(shared.config.proxy.upstream_idle_timeout_ms);
        let now = Instant::now();
        if let Some((_, armed)) = &self.idle
            && now < *armed
        {
            return None;
        }
        let deadline = self.last_byte + bound;
        if now >= deadline {
            return Some((Ending::Timeout, Code::UpstreamTimeout));
        }
        let mut sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        // Also in a task that has used up its turn: it is not polled again before it is over.
        let _ = Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx);
        self.idle = Some((sleep, deadline));
        None
    }

    /// The upstream's answer ends in the middle. What came before goes down first, in a turn of its
    /// own: the connection forgets what it has not written when it is told of an error.
    fn break_off(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.end(Ending::UpstreamFailed);
        self.broken = Some(BrokenOff(Code::UpstreamClosed));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends an answer that we cut: in the dialect's words where the form has room for them.
    fn cut(&mut self, ending: Ending, code: Code) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let error = ErrorText {
            status: code.status(),
            code: code.name(),
            message: code.message(),
            request_id: None,
        };
        let provider = self.call.provider;
        let last = self
            .reader
            .as_ref()
            .and_then(|reader| reader.cut_event(provider, &error));
        self.end(ending);
        match last {
            Some(bytes) if ending == Ending::Cut => {
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
            }
            _ => Poll::Ready(Some(Err(BrokenOff(code)))),
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // Dropping `incoming` unread closes the upstream's connection: nothing more is generated.
        self.end(Ending::DownstreamGone);
    }
}

impl Body for Observed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = this.queue.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if let Some(trailers) = this.trailers.take() {
                return Poll::Ready(Some(Ok(trailers)));
            }
            if this.is_over {
                return Poll::Ready(this.broken.take().map(Err));
            }
            match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        let passed = this.saw(chunk);
                        if this.is_undecodable {
                            return this.break_off(cx);
                        }
                        if this.incoming.is_end_stream() {
                            this.flush_rewrite();
                            this.call.clock.ended = Some(this.last_byte);
                            this.end(this.whole_ending());
                        }
                        if let Some(chunk) = passed {
                            return Poll::Ready(Some(Ok(Frame::data(chunk))));
                        }
                    }
                    Err(trailers) => {
                        // Trailers are the last thing: the answer is whole.
                        this.flush_rewrite();
                        this.end(this.whole_ending());
                        this.trailers = Some(trailers);
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(event_id = %this.call.event.event_id, %error, "answer broke off");
                    return this.break_off(cx);
                }
                Poll::Ready(None) => {
                    this.flush_rewrite();
                    this.end(this.whole_ending());
                }
                Poll::Pending => match this.poll_bounds(cx) {
                    Some((ending, code)) => return this.cut(ending, code),
                    None => return Poll::Pending,
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.queue.is_empty() && self.trailers.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rewrite.is_some() || self.is_over {
            SizeHint::default()
        } else {
            self.incoming.size_hint()
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Self::Observed(observed) = self
            && let Some(observed) = observed.take()
        {
            abandoned::give_up(observed);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Observed(Some(observed)) => Pin::new(&mut **observed).poll_frame(cx),
            Self::Observed(None) => Poll::Ready(None),
            Self::Switch(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Observed(observed) => observed
                .as_ref()
                .is_none_or(|observed| observed.is_end_stream()),
            Self::Switch(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Observed(observed) => observed
                .as_ref()
                .map_or_else(SizeHint::default, |observed| observed.size_hint()),
            Self::Switch(_) => SizeHint::with_exact(0),
        }
    }
}
