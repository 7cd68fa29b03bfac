//! The relay: bytes pass both ways until one side is through, a bound of ours passes, or we cut.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use farebox_pricing::event::Ending;
use farebox_pricing::id::{self, TenantId};
use http::HeaderMap;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use super::flow::{End, Flow, Passed};
use super::gate::Verdict;
use super::parts::Parts;
use super::{BLOCKED_MAX, CLOSE_ANSWER_MAX, From, IDLE_MAX};
use crate::downstream::CallerSocket;
use crate::failure::Code;
use crate::framing::websocket::inflate::{Extensions, Inflater};
use crate::framing::websocket::{Framing, Kind, Message};
use crate::settle::Call;
use crate::upstream::UpstreamSocket;

/// A socket whose upstream has switched and whose caller will have, once our 101 is written.
pub struct Relay {
    upstream: UpstreamSocket,
    parts: Parts,
    extensions: Extensions,
}

impl Relay {
    /// Takes over the call with the upstream's connection; `answer` is the head of its 101.
    pub(super) fn new(
        upstream: UpstreamSocket,
        mut call: Box<Call>,
        extensions: Extensions,
        answer: &HeaderMap,
    ) -> Self {
        let event = &mut call.event;
        event.status = Some(101);
        event.upstream_request_id = answer
            .get(call.provider.request_id_header)
            .and_then(|value| value.to_str().ok())
            .map(|text| id::sanitise(text, id::SCALARS_MAX).0);
        Self {
            upstream,
            parts: Parts::new(call),
            extensions,
        }
    }

    /// Runs until the socket has ended. A caller that went away before our 101 was written leaves its
    /// row by the call's own drop.
    pub(crate) async fn run(self, caller: CallerSocket) {
        let (caller_framing, upstream_framing) = match self.extensions {
            Extensions::None => (Framing::new(None), Framing::new(None)),
            Extensions::Deflate(negotiated) => (
                Framing::new(Some(Inflater::new(negotiated.caller_takes_over))),
                Framing::new(Some(Inflater::new(negotiated.upstream_takes_over))),
            ),
            Extensions::Unknown => (Framing::unread(), Framing::unread()),
        };
        let is_gated = self.parts.holds_messages();
        let mut running = Box::new(Running {
            caller,
            upstream: self.upstream,
            up: Flow::new(From::Caller, caller_framing, is_gated),
            down: Flow::new(From::Upstream, upstream_framing, false),
            cut: CutWatch::default(),
            timer: None,
            last_byte: Instant::now(),
            closed_by: None,
            closing_since: None,
            is_caller_through: false,
            is_upstream_through: false,
            is_upstream_deaf: false,
            parts: self.parts,
        });
        running.parts.open();
        let stop = std::future::poll_fn(|cx| running.poll(cx)).await;
        running.close(stop).await;
    }
}

/// Why the relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Both sides have said their close, or one had its time to answer.
    Closed,
    /// The caller's connection ended.
    CallerGone,
    /// The upstream's connection ended.
    UpstreamGone,
    /// We end it, and why.
    Cut(Code),
    /// A bound of ours passed.
    Late,
}

/// A socket while bytes pass.
pub(super) struct Running {
    pub(super) caller: CallerSocket,
    pub(super) upstream: UpstreamSocket,
    /// From the caller to the upstream.
    pub(super) up: Flow,
    /// From the upstream to the caller.
    pub(super) down: Flow,
    pub(super) parts: Parts,
    pub(super) cut: CutWatch,
    /// The armed timer and when it wakes us.
    timer: Option<(Pin<Box<Sleep>>, Instant)>,
    last_byte: Instant,
    /// Who closed first, and how.
    closed_by: Option<(From, Option<u16>)>,
    closing_since: Option<Instant>,
    /// The caller's close has gone up.
    pub(super) is_caller_through: bool,
    /// The upstream's close has come.
    pub(super) is_upstream_through: bool,
    /// The upstream takes nothing more; what it still says is read.
    pub(super) is_upstream_deaf: bool,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if let Some(code) = self.cut.poll(cx, &self.parts) {
            return Poll::Ready(Stop::Cut(code));
        }
        match self.poll_down(cx, false) {
            Poll::Ready(End::Write) => return Poll::Ready(Stop::CallerGone),
            Poll::Ready(_) => return Poll::Ready(Stop::UpstreamGone),
            Poll::Pending => {}
        }
        if let Some(code) = self.parts.wanted_cut() {
            return Poll::Ready(Stop::Cut(code));
        }
        if !self.is_upstream_deaf {
            match self.poll_up(cx, false) {
                Poll::Ready(End::Write) => {
                    // It may have said why before it hung up.
                    self.is_upstream_deaf = true;
                    self.closing_since.get_or_insert_with(Instant::now);
                }
                Poll::Ready(End::Refused(code)) => return Poll::Ready(Stop::Cut(code)),
                Poll::Ready(_) => return Poll::Ready(Stop::CallerGone),
                Poll::Pending => {}
            }
            if let Some(code) = self.parts.wanted_cut() {
                return Poll::Ready(Stop::Cut(code));
            }
        }
        let is_answered = self.is_caller_through && self.is_upstream_through;
        if is_answered && self.up.is_drained() && self.down.is_drained() {
            return Poll::Ready(Stop::Closed);
        }
        self.poll_bounds(cx)
    }

    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>, is_holding: bool) -> Poll<End> {
        let mut watch = Watch {
            from: From::Upstream,
            parts: &mut self.parts,
            last_byte: &mut self.last_byte,
            closed_by: &mut self.closed_by,
            closing_since: &mut self.closing_since,
            is_through: &mut self.is_upstream_through,
        };
        let on = &mut |passed: Passed<'_>| watch.saw(passed);
        self.down
            .poll(cx, &mut self.upstream, &mut self.caller, is_holding, on)
    }

    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>, is_holding: bool) -> Poll<End> {
        let mut watch = Watch {
            from: From::Caller,
            parts: &mut self.parts,
            last_byte: &mut self.last_byte,
            closed_by: &mut self.closed_by,
            closing_since: &mut self.closing_since,
            is_through: &mut self.is_caller_through,
        };
        let on = &mut |passed: Passed<'_>| watch.saw(passed);
        self.up
            .poll(cx, &mut self.caller, &mut self.upstream, is_holding, on)
    }

    /// Nothing can be moved now: which bound of ours comes next, and whether one has passed. The timer
    /// is armed once for a wait.
    fn poll_bounds(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        loop {
            let now = Instant::now();
            let checkpoint = self.parts.next_checkpoint();
            if now >= checkpoint {
                self.note_unusual();
                self.parts.checkpoint(now);
                if let Some(code) = self.parts.wanted_cut() {
                    return Poll::Ready(Stop::Cut(code));
                }
                continue;
            }
            let late = [
                Some(self.last_byte + IDLE_MAX),
                self.up.blocked.map(|since| since + BLOCKED_MAX),
                self.down.blocked.map(|since| since + BLOCKED_MAX),
            ];
            let late = late.into_iter().flatten().min().unwrap_or(checkpoint);
            let closed = self.closing_since.map(|since| since + CLOSE_ANSWER_MAX);
            if closed.is_some_and(|closed| now >= closed) {
                return Poll::Ready(Stop::Closed);
            }
            if now >= late {
                return Poll::Ready(Stop::Late);
            }
            let deadline = checkpoint.min(late).min(closed.unwrap_or(late));
            match &mut self.timer {
                // One that wakes us too early is armed anew then.
                Some((_, armed)) if *armed <= deadline && now < *armed => return Poll::Pending,
                Some((timer, armed)) => {
                    timer.as_mut().reset(deadline.into());
                    *armed = deadline;
                }
                None => {
                    let timer = Box::pin(tokio::time::sleep_until(deadline.into()));
                    self.timer = Some((timer, deadline));
                }
            }
            if let Some((timer, _)) = &mut self.timer
                && timer.as_mut().poll(cx).is_pending()
            {
                return Poll::Pending;
            }
        }
    }

    /// What the copies could not be read for goes into the evidence.
    pub(super) fn note_unusual(&mut self) {
        self.parts.note_unusual(self.up.framing.unusual());
        self.parts.note_unusual(self.down.framing.unusual());
    }

    /// How the socket ended, by who said it first: 1000 and 1001 are an end in order, and so is a close
    /// without a code, which is how browsers close.
    pub(super) fn ending(&self, stop: Stop) -> Ending {
        match (stop, self.closed_by) {
            (Stop::Cut(_), _) => Ending::Cut,
            (_, Some((_, None | Some(1000 | 1001)))) => Ending::Complete,
            (_, Some((From::Caller, _))) => Ending::DownstreamGone,
            (_, Some((From::Upstream, _))) => Ending::UpstreamFailed,
            (Stop::Late, None) => Ending::Timeout,
            (Stop::CallerGone, None) => Ending::DownstreamGone,
            (Stop::UpstreamGone | Stop::Closed, None) => Ending::UpstreamFailed,
        }
    }
}

/// What is noted of the bytes of one direction.
struct Watch<'a> {
    from: From,
    parts: &'a mut Parts,
    last_byte: &'a mut Instant,
    closed_by: &'a mut Option<(From, Option<u16>)>,
    closing_since: &'a mut Option<Instant>,
    is_through: &'a mut bool,
}

impl Watch<'_> {
    fn saw(&mut self, passed: Passed<'_>) -> Verdict {
        match passed {
            Passed::Bytes(bytes) => {
                *self.last_byte = Instant::now();
                self.parts.passed(self.from, bytes);
            }
            Passed::Asked(message) => return self.parts.judge(&message),
            Passed::Unreadable(code) => return self.parts.unreadable(code),
            Passed::Message(message) if message.kind == Kind::Close => self.saw_close(&message),
            Passed::Message(message) => self.parts.heard(self.from, &message),
        }
        Verdict::Goes
    }

    fn saw_close(&mut self, message: &Message<'_>) {
        *self.is_through = true;
        self.closed_by
            .get_or_insert((self.from, message.close_code()));
        self.closing_since.get_or_insert_with(Instant::now);
        if self.from == From::Upstream {
            // Nothing can follow it, so the row is there before the caller sees it.
            let ending = match *self.closed_by {
                Some((_, None | Some(1000 | 1001))) => Ending::Complete,
                Some((From::Caller, _)) => Ending::DownstreamGone,
                _ => Ending::UpstreamFailed,
            };
            self.parts.finish(ending);
        }
    }
}

/// Looks whether a socket has to end, whenever somebody says that one may have to.
#[derive(Default)]
pub(super) struct CutWatch {
    notified: Option<Pin<Box<OwnedNotified>>>,
    seen: u64,
}

impl CutWatch {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, parts: &Parts) -> Option<Code> {
        let shared = parts.shared();
        let cuts = shared.cuts();
        if self.notified.is_some() && self.seen == cuts {
            return None;
        }
        let mut notified = Box::pin(Arc::clone(&shared.cut).notified_owned());
        // Registered before the state is looked at, so that no cut falls between the two.
        let _ = notified.as_mut().poll(cx);
        self.notified = Some(notified);
        self.seen = cuts;
        if shared.is_cutting_all() {
            return Some(Code::Draining);
        }
        let event = parts.event();
        let tenant = event.tenant_id.as_ref().map(TenantId::as_str);
        shared.directory.cut_for(event.key_id, tenant)
    }
}

/// Waits for something at most so long; `None` when it took longer.
pub(super) async fn within<T>(bound: Duration, what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(bound, what).await.ok()
}
