//! Quantities that no ledger row can hold, from whoever sent them: a vendor that counts in its smallest
//! coin, an answer that lies, a request that asks for a maximum beyond all models.
//!
//! Holds true: what leaves here can be booked. A count that cannot be is a row without one, `missing` with
//! its reason; it stays in the evidence. A record that the collector refuses would be in no row at all.

use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{
    Line, QUANTITY_DIGITS_MAX, Usage, UsageDraft, UsageSource, is_bookable,
};

/// The reason of a row whose count is beyond what can be booked.
const TOO_LARGE: &str = "quantity_too_large";
/// What an upper bound is at most.
const QUANTITY_MAX: u64 = 10u64.pow(QUANTITY_DIGITS_MAX) - 1;

/// The draft, or what is left of it.
pub(super) fn within(mut draft: UsageDraft) -> UsageDraft {
    draft.low = draft.low.map(lowered);
    draft.high = draft.high.map(lowered);
    if are_bookable(&draft.lines) {
        return draft;
    }
    UsageDraft {
        lines: Vec::new(),
        source: UsageSource::Missing,
        reason: Some(TOO_LARGE),
        ..draft
    }
}

/// Each line, and their sum by meter.
fn are_bookable(lines: &[Line]) -> bool {
    let mut total = Usage::new();
    lines
        .iter()
        .flat_map(|line| line.usage.iter())
        .all(|(meter, quantity)| {
            if lines.len() == 1 {
                return is_bookable(quantity);
            }
            is_bookable(quantity) && total.add(meter, quantity).is_some_and(is_bookable)
        })
}

/// Bounds beyond what can be booked end there.
fn lowered(bounds: Usage) -> Usage {
    if bounds.iter().all(|(_, quantity)| is_bookable(quantity)) {
        return bounds;
    }
    bounds
        .iter()
        .map(|(meter, quantity)| {
            let bound = match is_bookable(quantity) {
                true => quantity,
                false => Decimal::from(QUANTITY_MAX),
            };
            (meter, bound)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use farebox_pricing::usage::Meter;

    use super::*;

    fn line(quantity: u64) -> Line {
        Line {
            usage: [(Meter::Credits, quantity.into())].into_iter().collect(),
            ..Line::default()
        }
    }

    fn reported(lines: Vec<Line>) -> UsageDraft {
        UsageDraft {
            lines,
            source: UsageSource::Reported,
            ..UsageDraft::default()
        }
    }

    #[test]
    fn a_count_beyond_the_ledger_is_a_row_without_one() {
        let most = reported(vec![line(QUANTITY_MAX)]);
        assert_eq!(within(most.clone()), most);
        for lines in [
            vec![line(QUANTITY_MAX + 1)],
            vec![line(1), line(u64::MAX)],
            vec![line(QUANTITY_MAX), line(1)],
        ] {
            let draft = within(reported(lines));
            assert_eq!(draft.source, UsageSource::Missing);
            assert_eq!(draft.reason, Some("quantity_too_large"));
            assert!(draft.lines.is_empty());
        }
    }

    #[test]
    fn a_bound_beyond_the_ledger_ends_there() {
        let draft = within(UsageDraft {
            low: Some(line(7).usage),
            high: Some(line(u64::MAX).usage),
            ..UsageDraft::default()
        });
        assert_eq!(draft.low, Some(line(7).usage));
        assert_eq!(draft.high, Some(line(QUANTITY_MAX).usage));
    }
}
