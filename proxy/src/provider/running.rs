//! Counts that grow from chunk to chunk: of a stream that broke off between two of them they are what was
//! counted so far, and more may have been made.
//!
//! Holds true: a running count is reported only when the stream ended as its dialect ends, or its framing
//! did without an error in it.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Meter, UsageDraft, UsageSource};

use crate::framing::json::{Raw, items, pick_in};
use crate::providers::facts::{self, is_present};

/// The fact of a count in whose chunk no choice had ended.
const RUNNING: &str = "running";

/// Notes whether a count that came with these choices was the last.
pub(crate) fn note(evidence: &mut Evidence, choices: Option<Raw<'_>>) {
    let mut runs = false;
    for choice in choices.into_iter().flat_map(items) {
        let reason = pick_in(choice, ["finish_reason"]).and_then(|picked| picked.members[0]);
        runs = !is_present(reason);
        if !runs {
            break;
        }
    }
    if runs || evidence.response.contains_key(RUNNING) {
        evidence.response.insert(RUNNING, runs);
    }
}

/// The draft, which is a lower bound where the count was not the last.
pub(super) fn told(mut draft: UsageDraft, evidence: &Evidence) -> UsageDraft {
    if draft.source != UsageSource::Reported || !facts::is_set(evidence, RUNNING) {
        return draft;
    }
    let is_ended = facts::is_set(evidence, "finished")
        || (evidence.counts.is_complete && !facts::is_set(evidence, "error"));
    if is_ended {
        return draft;
    }
    let low = draft.total();
    let choices = facts::request_count(evidence, "n").unwrap_or(1).max(1);
    let most = match facts::request_count(evidence, "max_output_tokens") {
        Some(max) => max.saturating_mul(choices),
        None => facts::output_high(evidence),
    };
    let most = Decimal::from(most);
    let counted = low.quantity(Meter::OutputTokens).unwrap_or_default();
    let mut high = low.clone();
    high.set(Meter::OutputTokens, counted.max(most));
    draft.source = UsageSource::Partial;
    draft.reason = Some(facts::CUT);
    draft.low = Some(low);
    draft.high = Some(high);
    draft
}
