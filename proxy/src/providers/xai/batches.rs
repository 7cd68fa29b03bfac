//! xAI's batches: requests are put into one, and once none of them waits the batch says what all of them
//! cost, to the tick. Its results come page by page, each as the call alone would have been answered; they
//! are not added up, since the batch has the whole.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{pick, pick_in};
use crate::providers::facts::{self, keep_count, keep_error, keep_response_text};

/// Facts of a batch: how many requests it has, how many of them wait, and what it cost.
const REQUESTS: &str = "num_requests";
const WAITING: &str = "num_pending";
const TICKS: &str = "total_cost_usd_ticks";
/// What stands for the models of a batch, which may be several.
const MODEL: &str = "batch";

/// Keeps what the batch says of itself.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["batch_id", "state", "cost_breakdown", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, state, cost, error] = picked.members;
    keep_error(evidence, error);
    keep_response_text(evidence, "id", id);
    evidence.response.insert("finished", true);
    let state = state.and_then(|state| pick_in(state, [REQUESTS, WAITING]));
    let [requests, waiting] = state.map(|state| state.members).unwrap_or_default();
    let ticks = cost.and_then(|cost| pick_in(cost, [TICKS])?.members[0]);
    for (name, raw) in [(REQUESTS, requests), (WAITING, waiting), (TICKS, ticks)] {
        keep_count(evidence, name, raw);
    }
}

/// A batch that was looked at: its cost once it has ended, and nothing before, or while its cost is not
/// worked out.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if evidence.response_text("id").is_none() {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    }
    let fact = |name| facts::response_count(evidence, name);
    // Before its input is read, a batch has no requests at all; zero is said by leaving it out.
    let has_ended =
        fact(REQUESTS).is_some_and(|count| count > 0) && fact(WAITING).unwrap_or(0) == 0;
    let Some(ticks) = fact(TICKS).filter(|_| has_ended) else {
        return UsageDraft {
            source: UsageSource::None,
            reason: Some("not_finished"),
            ..UsageDraft::default()
        };
    };
    let mut line = Line {
        model: MODEL.into(),
        ..Line::default()
    };
    line.conditions.insert("batch".into(), "true".into());
    line.usage.set(Meter::Credits, Decimal::from(ticks));
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}
