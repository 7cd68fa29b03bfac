//! A chat's usage that says only one of input and output: the total tells the other, or the row says that
//! it is not known.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Meter, Usage, UsageDraft, UsageSource};

use crate::providers::facts::{BYTES_PER_TOKEN, Counted};

use super::tokens::{self, INPUT, OUTPUT};

/// The reasons of a row without one of them.
const NO_INPUT: &str = "input_not_reported";
const NO_OUTPUT: &str = "output_not_reported";

/// Fills in the half that is not there; `output_bounds` tells what an output lies between.
pub(super) fn complete(
    evidence: &Evidence,
    counted: &mut Counted<'_>,
    output_bounds: fn(&Evidence) -> (u64, u64),
    draft: &mut UsageDraft,
) {
    let is_set = |meter| {
        draft
            .lines
            .iter()
            .any(|line| line.usage.quantity(meter).is_some())
    };
    // Each is set where its half was there.
    if is_set(Meter::InputTokens) && is_set(Meter::OutputTokens) {
        return;
    }
    let mut top = |names: &[&str]| tokens::top(counted, names);
    let (meter, known, reason) = match (top(&INPUT), top(&OUTPUT)) {
        (Some(input), None) => (Meter::OutputTokens, input, NO_OUTPUT),
        (None, Some(output)) => (Meter::InputTokens, output, NO_INPUT),
        _ => return,
    };
    let Some(line) = draft.lines.first_mut() else {
        return;
    };
    if let Some(total) = top(&["total_tokens"]) {
        // Of a total that is all input there is nothing else.
        if let Some(rest) = total.checked_sub(known).filter(|rest| *rest > 0) {
            line.usage.set(meter, rest);
        }
        return;
    }
    let (low, high, estimate) = match meter {
        Meter::OutputTokens => {
            let (low, high) = output_bounds(evidence);
            (low, high.max(low), low)
        }
        _ => {
            let bytes = evidence.counts.request_bytes;
            (0, bytes, bytes / BYTES_PER_TOKEN)
        }
    };
    draft.low = Some(line.usage.iter().chain([(meter, low.into())]).collect());
    if meter == Meter::OutputTokens || !evidence.request.is_set(tokens::UNBOUNDED_INPUT) {
        let high = (meter, high.into());
        draft.high = Some(line.usage.iter().chain([high]).collect::<Usage>());
    }
    if estimate > 0 {
        line.usage.set(meter, estimate);
    }
    draft.source = UsageSource::Partial;
    draft.reason = Some(reason);
}
