//! What endpoints that speak a text share: its characters, counted in Unicode scalar values out of
//! the request and never kept, unless the vendor tells its own count.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{Raw, text_of};
use crate::providers::facts;

/// The fact of a request that counts what is to be spoken.
pub(super) const CHARACTERS: &str = "characters";

/// What a vendor charges of an answer that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// The whole text.
    Whole,
    /// As much as was spoken.
    Spoken,
}

/// Unicode scalar values of a JSON text; `None` where it is none.
pub(super) fn scalars(text: Raw<'_>) -> Option<u64> {
    Some(text_of(text)?.chars().count() as u64)
}

/// Keeps how many characters a text has.
pub(super) fn keep(evidence: &mut Evidence, text: Option<Raw<'_>>) {
    if let Some(count) = text.and_then(scalars) {
        evidence.request.insert(CHARACTERS, count);
    }
}

/// A whole number in a header of the answer.
pub(super) fn header_count(evidence: &Evidence, name: &str) -> Option<u64> {
    evidence.headers.get(name)?.trim().parse().ok()
}

/// The draft of a spoken text: the vendor's own count in its own meter, else ours of the request.
pub(super) fn draft(
    evidence: &Evidence,
    line: Line,
    reported: Option<(Meter, Decimal)>,
    charged: Charged,
) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if let Some((meter, count)) = reported {
        let mut line = line;
        line.usage.set(meter, count);
        return UsageDraft {
            lines: vec![line],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
    }
    let of = |count: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::Characters, count);
        usage
    };
    let Some(count) = facts::request_count(evidence, CHARACTERS) else {
        return facts::missing("request_not_read", None, None);
    };
    let is_answered = facts::status(evidence).is_some_and(|status| status < 400);
    if !is_answered || facts::is_set(evidence, "error") {
        let reason = if is_answered {
            "error_in_answer"
        } else {
            facts::why_no_usage(evidence)
        };
        return facts::missing(reason, Some(of(0)), Some(of(count)));
    }
    let is_whole = evidence.counts.is_complete || facts::is_set(evidence, "finished");
    let is_charged_whole = is_whole || charged == Charged::Whole;
    let mut line = line;
    line.usage.set(Meter::Characters, count);
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Measured,
        reason: (!is_whole).then_some(facts::CUT),
        low: Some(of(if is_charged_whole { count } else { 0 })),
        high: Some(of(count)),
    }
}
