//! The end of a call: evidence becomes usage, usage becomes money, both become the settlement in the
//! spool. Whatever happens to a call, exactly one of its ways out runs through [`Call::settle`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use farebox_pricing::event::{self, Ending, Event};
use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use farebox_pricing::json::Text;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::price;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{UsageDraft, UsageSource};
use uuid::Uuid;

use crate::Worker;
use crate::admission::Permit;
use crate::body::Upload;
use crate::config::OnDownstreamGone;
use crate::failure::Code;
use crate::headers::Credentials;
use crate::objects;
use crate::provider::{Asked, Endpoint, Keeps, Provider};
use crate::request::{Chosen, TenantView};
use crate::spool::Ticket;
use crate::upstream::Upstream;

mod part;

pub use part::next_part;

/// Most bytes of one record; the spool keeps this much room for every open intent.
pub const SETTLEMENT_BYTES_MAX: usize = EVIDENCE_BYTES_MAX + 16 * 1024;
/// Bytes that an intent mostly takes.
pub const INTENT_BYTES: usize = 768;
/// Bytes that a settlement mostly takes.
const SETTLEMENT_BYTES: usize = 2 * 1024;
/// Evidence said the answer's framing came to its own end (`[DONE]`, `message_stop`).
const FINISHED: &str = "finished";
/// Evidence said the upstream reported an error inside a successful answer.
const ERROR: &str = "error";

/// Why nothing is billed: no upstream saw the call.
pub const NOT_REACHED: &str = "upstream_not_reached";
/// Why nothing is billed: the upstream reset the HTTP/2 stream and said that it did nothing with it.
pub const REFUSED_STREAM: &str = "refused_stream";

/// The present, in milliseconds since the Unix epoch.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// UUIDv7 of the millisecond, so that a partition can be told from the id.
#[must_use]
pub fn new_event_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    let mut random = [0; 10];
    random[..8].copy_from_slice(&fastrand::u64(..).to_ne_bytes());
    random[8..].copy_from_slice(&fastrand::u16(..).to_ne_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// When things happened to a call, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The request's head was in.
    pub began: Instant,
    /// The request went to the upstream's connection.
    pub sent: Option<Instant>,
    /// The answer's head was in.
    pub head: Option<Instant>,
    /// The first generated output was in.
    pub first_output: Option<Instant>,
    /// The answer's head was handed down.
    pub answered: Option<Instant>,
    /// The answer's last byte was in; where nobody knows, the call ends when it is settled.
    pub ended: Option<Instant>,
}

impl Clock {
    /// Starts with the head of the request.
    #[must_use]
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            sent: None,
            head: None,
            first_output: None,
            answered: None,
            ended: None,
        }
    }

    fn millis_until(&self, instant: Option<Instant>) -> Option<Decimal> {
        let micros = instant?.saturating_duration_since(self.began).as_micros();
        Decimal::new(i128::try_from(micros).ok()?, 3).ok()
    }

    /// Time that is ours alone: until the request went up, and from the answer's head until it was
    /// handed down. Waiting for the caller's body is counted as ours only where a decision held it.
    fn overhead(&self) -> Option<Decimal> {
        let up = self.sent?.saturating_duration_since(self.began);
        let down = match (self.head, self.answered) {
            (Some(head), Some(answered)) => answered.saturating_duration_since(head),
            _ => std::time::Duration::ZERO,
        };
        Decimal::new(i128::try_from((up + down).as_micros()).ok()?, 3).ok()
    }
}

/// What a request asks beside its body.
pub struct Line {
    /// The path after our own prefix.
    pub path: Box<str>,
    /// The query as the upstream saw it.
    pub query: Option<Box<str>>,
    /// What the caller said its body is.
    pub content_type: Option<Box<str>>,
}

/// A call between its intent and its settlement. Dropped unsettled, it settles as `downstream_gone`.
pub struct Call {
    /// The worker that serves it, by which everything is reached.
    pub(crate) worker: Arc<Worker>,
    /// The vendor whose dialect it speaks.
    pub provider: &'static Provider,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// What happens to the caller's credentials.
    pub credentials: Credentials,
    /// What goes in for them.
    pub(crate) credential: Option<Arc<Chosen>>,
    /// Usage is to be asked for where the request does not.
    pub is_asking: bool,
    /// Its intent is in the spool.
    pub is_recorded: bool,
    /// The endpoint that reads it.
    pub endpoint: &'static Endpoint,
    /// The record so far, in the form of an interrupted call.
    pub event: Box<Event>,
    /// Facts of the request, until the reader takes them.
    pub evidence: Evidence,
    /// The intent; `None` on a call that could not be recorded.
    pub ticket: Option<Ticket>,
    /// What held when it began: it is priced by those rate cards, whatever is activated meanwhile.
    pub(crate) view: Arc<TenantView>,
    /// What admission handed out for it.
    pub permit: Permit,
    /// What went up.
    pub upload: Arc<Upload>,
    /// What else was asked, where facts of the request are read when its body is through.
    pub asked: Option<Line>,
    /// When things happened.
    pub clock: Clock,
    /// What the provider charges for it, once priced; for the metrics alone.
    pub cost_usd: Option<Usd>,
    /// What happens to the answer when its caller goes away.
    pub on_downstream_gone: OnDownstreamGone,
    /// Its caller went away and it is read to its end.
    pub is_abandoned: bool,
    /// Whether [`Self::settle`] ran.
    pub is_settled: bool,
}

impl Call {
    /// The answer came to its end, in whichever way. `evidence` is the reader's, when it got that far.
    pub fn settle(&mut self, ending: Ending, evidence: Option<Evidence>) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let mut evidence = evidence.unwrap_or_else(|| std::mem::take(&mut self.evidence));
        let uploaded = self.upload.bytes();
        if uploaded > 0 || evidence.counts.request_bytes == 0 {
            evidence.counts.request_bytes = uploaded;
        }
        self.add_request_facts(&mut evidence);
        let draft = self.endpoint.draft(&evidence);
        let is_finished = evidence.response.is_set(FINISHED);
        let has_error = evidence.response.is_set(ERROR);
        let event = &mut self.event;
        event.ending = match ending {
            // The caller stopped reading after the last event: nothing was missed.
            Ending::DownstreamGone if is_finished && !self.is_abandoned => Ending::Complete,
            Ending::Complete if has_error => Ending::UpstreamFailed,
            // The stream's framing closed before the stream had said its end or its usage.
            Ending::Complete
                if event.streaming
                    && !is_finished
                    && draft.source != UsageSource::Reported
                    && self.endpoint.is_read =>
            {
                Ending::UpstreamFailed
            }
            other => other,
        };
        self.fill_end(draft, evidence);
        self.record();
    }

    /// Reads the facts of a request that was copied on its way up, once it is through. The copy goes.
    pub fn add_request_facts(&self, evidence: &mut Evidence) {
        let Some(line) = &self.asked else {
            return;
        };
        let Some(body) = self.upload.sniffed() else {
            return;
        };
        let asked = Asked {
            path: &line.path,
            query: line.query.as_deref(),
            content_type: line.content_type.as_deref(),
            body: Some(&body),
        };
        (self.endpoint.request_facts)(evidence, &asked);
    }

    /// Fills in what is known at the end.
    fn fill_end(&mut self, draft: UsageDraft, evidence: Evidence) {
        let event = &mut self.event;
        let ended = self.clock.ended.unwrap_or_else(Instant::now);
        event.ended_at = Some(now());
        event.duration_ms = self.clock.millis_until(Some(ended));
        event.ttfb_ms = self.clock.millis_until(self.clock.head);
        event.ttft_ms = self.clock.millis_until(self.clock.first_output);
        event.overhead_ms = self.clock.overhead();
        event.request_bytes = Some(evidence.counts.request_bytes);
        event.response_bytes = Some(evidence.counts.response_bytes);
        let requested = evidence.request_text("model");
        // Nearly always the one it began with.
        if event.model_requested.as_deref() != requested {
            event.model_requested = requested.map(str::to_owned);
        }
        event.model = evidence
            .response_text("model")
            .map(str::to_owned)
            .or_else(|| draft.lines.first().map(|line| line.model.clone()))
            .or_else(|| event.model_requested.clone());
        event.service_tier = evidence
            .response_text("service_tier")
            .map(str::to_owned)
            .or_else(|| {
                draft
                    .lines
                    .first()
                    .and_then(|line| line.conditions.get("service_tier").cloned())
            });
        event.response_id = evidence.response_text("id").map(str::to_owned);
        event.objects = objects::made(self.endpoint, &evidence);
        self.worker.shared.owners.learn(&self.event);
        self.fill_usage(draft, evidence);
    }

    /// A stream that goes on has named what it made: its caller may work on that at once.
    pub fn learn_early(&mut self, evidence: &Evidence) {
        if self.event.objects.is_empty() && self.endpoint.keeps == Keeps::Creates {
            self.event.objects = objects::made(self.endpoint, evidence);
            self.worker.shared.owners.learn(&self.event);
        }
    }

    /// No upstream worked on it, so there is nothing to bill; the reason says why.
    pub fn settle_unreached(&mut self, ending: Ending, reason: &'static str) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let evidence = std::mem::take(&mut self.evidence);
        let event = &mut self.event;
        event.ending = ending;
        event.ended_at = Some(now());
        event.duration_ms = self.clock.millis_until(Some(Instant::now()));
        event.model_requested = evidence.request_text("model").map(str::to_owned);
        event.request_bytes = Some(match reason {
            NOT_REACHED => 0,
            _ => self.upload.bytes(),
        });
        let draft = UsageDraft {
            source: UsageSource::None,
            reason: Some(reason),
            ..UsageDraft::default()
        };
        self.fill_usage(draft, evidence);
        self.record();
    }

    fn fill_usage(&mut self, draft: UsageDraft, evidence: Evidence) {
        let event = &mut self.event;
        event.usage = draft.total();
        event.lines = draft.lines;
        event.usage_source = draft.source;
        event.usage_reason = draft.reason.map(Cow::Borrowed);
        let is_bounded = !matches!(draft.source, UsageSource::Reported | UsageSource::None);
        event.usage_low = draft.low.filter(|_| is_bounded);
        event.usage_high = draft.high.filter(|_| is_bounded);
        event.evidence = Some(evidence);
        let priced = price::event_amounts(event, &self.view.cards);
        event.claimed_usd = priced.billed_usd;
        event.pricing = priced.pricing;
        event.rate_cards = priced.rate_cards;
        self.cost_usd = priced.cost_usd;
    }

    fn record(&mut self) {
        self.worker
            .shared
            .metrics
            .record_event(&self.event, self.cost_usd);
        self.permit.settle(&self.event, self.cost_usd);
        if let Some(ticket) = self.ticket.take() {
            self.append_settlement(ticket);
        }
    }

    fn append_settlement(&mut self, ticket: Ticket) {
        let event_id = self.event.event_id;
        let spool = &self.worker.spool;
        spool.announce(SETTLEMENT_BYTES);
        let at = self.event.ended_at.unwrap_or_else(now).as_millis();
        let at = u64::try_from(at).unwrap_or(0);
        let appended = with_record(&mut self.event, |record| {
            spool.append_settlement_at(ticket, record, at).map(|_| ())
        });
        if let Err(error) = appended {
            // The intent stays and becomes an interrupted row: late and bounded, but not lost.
            tracing::error!(%event_id, %error, "settlement cannot be spooled");
        }
    }

    /// The first attempt got nowhere: it keeps its row, the next one gets an intent of its own.
    pub fn begin_next_attempt(&mut self, reason: &'static str) {
        let evidence = self.evidence.clone();
        let mut next = self.event.clone();
        // What is held stays held for the next attempt.
        let permit = std::mem::take(&mut self.permit);
        self.settle_unreached(Ending::UpstreamFailed, reason);
        self.permit = permit;
        next.started_at = now();
        next.event_id = new_event_id(next.started_at);
        next.attempt += 1;
        let event_id = next.event_id;
        let spool = &self.worker.spool;
        let appended = with_record(&mut next, |record| spool.append_intent(event_id, record));
        if let Err(error) = &appended {
            self.worker.shared.note_unrecorded(&next, error);
        }
        self.ticket = appended.ok();
        self.event = next;
        self.evidence = evidence;
        self.is_settled = false;
    }

    /// The failure of ours that the caller is told, recorded with the ending that fits it.
    pub fn fail(&mut self, code: Code, is_seen: bool) {
        let ending = match code {
            Code::UpstreamTimeout => Ending::Timeout,
            Code::RequestTimeout | Code::MalformedRequest => Ending::DownstreamGone,
            _ => Ending::UpstreamFailed,
        };
        if is_seen {
            self.settle(ending, None)
        } else {
            self.settle_unreached(ending, NOT_REACHED)
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.settle(Ending::DownstreamGone, None);
    }
}

thread_local! {
    static RECORD: RefCell<Text> = const { RefCell::new(Text::new()) };
}

/// Writes the event as its record and hands it on. One that is too large gives up its evidence, then
/// its metadata: the money part always fits.
pub fn with_record<T>(event: &mut Event, take: impl FnOnce(&[u8]) -> T) -> T {
    RECORD.with_borrow_mut(|buffer| {
        write(event, buffer);
        if buffer.as_bytes().len() > SETTLEMENT_BYTES_MAX {
            if let Some(evidence) = &mut event.evidence {
                evidence.objects.clear();
                evidence.request.clear();
                evidence.flag("evidence_dropped");
            }
            write(event, buffer);
        }
        if buffer.as_bytes().len() > SETTLEMENT_BYTES_MAX {
            event.evidence = None;
            event.metadata.clear();
            event.sanitised = true;
            write(event, buffer);
        }
        take(buffer.as_bytes())
    })
}

fn write(event: &Event, buffer: &mut Text) {
    buffer.clear();
    event::write(event, buffer);
}
