//! The parts of a socket's call: what was heard becomes evidence, a part that ends becomes a row and
//! the next intent in one append, and a running part leaves checkpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_pricing::event::{Ending, Event, Transport};

use super::flow::Passed;
use super::gate::Verdict;
use super::rules::{Moment, Rules};
use super::{From, Heard, Socket, Turn};
use crate::Shared;
use crate::failure::Code;
use crate::framing::websocket::inflate::Failure;
use crate::framing::websocket::{Kind, Message, Unusual};
use crate::providers::READER_VERSION;
use crate::settle::Call;

/// Between two looks at a socket's limits at most, while messages come.
const COVER_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes that pass between two looks at most.
const COVER_BYTES: usize = 32 * 1024;

static UNKNOWN: Socket = Socket::DEFAULT;

/// A call that is a socket.
pub(super) struct Parts {
    call: Box<Call>,
    settle_interval: Duration,
    /// When the present part began.
    began: Instant,
    checkpoint_at: Instant,
    is_open: bool,
    is_finished: bool,
    rules: Rules,
    /// Why the socket has to end, once it has to.
    cut: Option<Code>,
    coverage: Coverage,
}

/// When a socket's limits were last looked at.
struct Coverage {
    at: Instant,
    bytes: usize,
}

impl Parts {
    pub(super) fn new(mut call: Box<Call>) -> Self {
        let settle_interval =
            Duration::from_secs(call.worker.shared.config.proxy.socket_settle_seconds.max(1));
        let now = Instant::now();
        call.evidence.reader_version = READER_VERSION;
        call.evidence.response.insert("status", 101_u64);
        Self {
            rules: Rules::new(&call),
            cut: None,
            call,
            settle_interval,
            began: now,
            checkpoint_at: now + settle_interval,
            is_open: false,
            is_finished: false,
            coverage: Coverage { at: now, bytes: 0 },
        }
    }

    /// The caller has switched too.
    pub(super) fn open(&mut self) {
        self.is_open = true;
        self.call
            .worker
            .shared
            .metrics
            .stream_opened(Transport::Websocket);
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.call.worker.shared
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    pub(super) fn event(&self) -> &Event {
        &self.call.event
    }

    pub(super) fn socket(&self) -> &'static Socket {
        self.call.endpoint.socket.unwrap_or(&UNKNOWN)
    }

    /// Looks at the limits every so often, by time and by bytes.
    fn keep_covered(&mut self) {
        let coverage = &mut self.coverage;
        let now = Instant::now();
        let is_due = coverage.bytes >= COVER_BYTES || now >= coverage.at + COVER_INTERVAL;
        if !is_due || self.cut.is_some() || !self.call.permit.can_run_out() {
            return;
        }
        (coverage.at, coverage.bytes) = (now, 0);
        self.seal(now);
        self.cut = self.call.cover();
    }

    /// Bytes passed, frames' heads and all.
    pub(super) fn passed(&mut self, from: From, bytes: usize) {
        self.coverage.bytes += bytes;
        let counts = &mut self.call.evidence.counts;
        match from {
            From::Caller => counts.request_bytes += bytes as u64,
            From::Upstream => counts.response_bytes += bytes as u64,
        }
    }

    /// Whether messages of the caller are looked at before they go up.
    pub(super) fn holds_messages(&self) -> bool {
        Rules::holds_messages(self.socket(), &self.call)
    }

    /// What becomes of a message of the caller that is held.
    pub(super) fn judge(&mut self, message: &Message<'_>) -> Verdict {
        let socket = self.socket();
        let heard = heard(From::Caller, message);
        self.rules.before(socket, &self.call, &heard)
    }

    /// What becomes of bytes of the caller that cannot be read.
    pub(super) fn unreadable(&self, code: Code) -> Verdict {
        Rules::unreadable(self.socket(), &self.call, code)
    }

    /// Why the socket has to end, if it has to.
    pub(super) fn wanted_cut(&self) -> Option<Code> {
        self.cut
    }

    fn ask(&mut self, moment: Moment) {
        if self.cut.is_none() && !self.is_finished {
            self.cut = self.rules.after(&self.call, moment);
        }
    }

    /// A message passed.
    pub(super) fn heard(&mut self, from: From, message: &Message<'_>) {
        if !matches!(message.kind, Kind::Text | Kind::Binary) || self.is_finished {
            return;
        }
        let heard = heard(from, message);
        let turn = self.socket().read(&heard, &mut self.call.evidence);
        if self.call.clock.first_output.is_none() && self.call.evidence.counts.output_frames > 0 {
            self.call.clock.first_output = Some(Instant::now());
        }
        match turn {
            Turn::Ends => self.turn(),
            Turn::Goes => self.ask(Moment::Heard),
        }
        self.keep_covered();
    }

    /// What passes after we cut; true once the upstream has said its close.
    pub(super) fn heard_last(&mut self, passed: &Passed<'_>) -> bool {
        match passed {
            Passed::Bytes(bytes) => self.passed(From::Upstream, *bytes),
            Passed::Message(message) if message.kind == Kind::Close => return true,
            Passed::Message(message) => self.heard(From::Upstream, message),
            // Only what the caller says is held.
            Passed::Asked(_) | Passed::Unreadable(_) => {}
        }
        false
    }

    /// Notes what could not be read of a direction.
    pub(super) fn note_unusual(&mut self, unusual: Unusual) {
        let flags = [
            (unusual.is_broken, "invalid_frames"),
            (unusual.has_large, "message_too_large"),
            (
                unusual.not_inflated == Some(Failure::Invalid),
                "invalid_encoding",
            ),
            (
                unusual.not_inflated == Some(Failure::TooLarge),
                "decoded_too_large",
            ),
        ];
        for (is_so, flag) in flags {
            if is_so {
                self.call.evidence.flag(flag);
            }
        }
    }

    /// The present part carried its own final usage.
    fn turn(&mut self) {
        let now = Instant::now();
        self.seal(now);
        if let Err(code) = self.call.settle_part(self.settle_interval) {
            // The next part does not run: this one was the last.
            self.is_finished = true;
            self.cut = Some(code);
            return;
        }
        self.began = now;
        self.checkpoint_at = now + self.settle_interval;
        self.ask(Moment::Part);
    }

    pub(super) fn next_checkpoint(&self) -> Instant {
        self.checkpoint_at
    }

    /// What a crash would leave from now on.
    pub(super) fn checkpoint(&mut self, now: Instant) {
        self.checkpoint_at = now + self.settle_interval;
        if !self.is_finished {
            self.seal(now);
            self.call.checkpoint(self.settle_interval);
            self.ask(Moment::Checkpoint);
        }
    }

    pub(super) fn checkpoint_now(&mut self) {
        self.checkpoint(Instant::now());
    }

    /// The socket has ended, in whichever way; only the first word counts.
    pub(super) fn finish(&mut self, ending: Ending) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        self.seal(Instant::now());
        self.call.evidence.counts.is_complete = ending == Ending::Complete;
        self.call.settle_socket(ending);
    }

    fn seal(&mut self, now: Instant) {
        let open = now.saturating_duration_since(self.began).as_millis();
        self.call.evidence.counts.open_ms = u64::try_from(open).unwrap_or(u64::MAX);
    }
}

fn heard<'a>(from: From, message: &Message<'a>) -> Heard<'a> {
    Heard {
        from,
        is_text: message.kind == Kind::Text,
        data: message.data,
        len: message.len,
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // The process ends or the worker was told to: the caller is gone in any case.
        self.finish(Ending::DownstreamGone);
        if self.is_open {
            self.call
                .worker
                .shared
                .metrics
                .stream_closed(Transport::Websocket);
        }
    }
}
