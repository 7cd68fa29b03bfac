//! Durations in buckets, as integers: observed under its series' lock, so it needs no atomics.

use farebox_pricing::money::Decimal;

/// Upper bounds in microseconds of whole calls, and of their first bytes.
pub(super) const CALL_BOUNDS: [u64; 16] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];
/// Upper bounds in microseconds of the time that is ours alone.
pub(super) const OVERHEAD_BOUNDS: [u64; 13] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000,
];

/// How many durations lie in which bucket, each counted in its lowest one only.
#[derive(Clone, Copy)]
pub(super) struct Histogram<const N: usize> {
    pub(super) counts: [u64; N],
    /// Those above the highest bound too.
    pub(super) count: u64,
    pub(super) sum_micros: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            counts: [0; N],
            count: 0,
            sum_micros: 0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    pub(super) fn observe(&mut self, bounds: &[u64; N], millis: Option<Decimal>) {
        let Some(micros) = millis.and_then(micros_of) else {
            return;
        };
        let place = bounds.iter().position(|bound| micros <= *bound);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.count += other.count;
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }
}

/// Milliseconds with three decimals, as events have them; what is finer is cut off.
fn micros_of(millis: Decimal) -> Option<u64> {
    let mantissa = u64::try_from(millis.mantissa()).ok()?;
    match [1_000, 100, 10, 1].get(usize::from(millis.scale())) {
        Some(unit) => mantissa.checked_mul(*unit),
        None => Some(mantissa / 10u64.pow(u32::from(millis.scale()) - 3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_up_to_its_bound() {
        let mut histogram = Histogram::default();
        for (mantissa, scale) in [
            (10, 3),
            (11, 3),
            (1_000, 0),
            (5_000, 0),
            (-1, 0),
            (10_999, 6),
        ] {
            let millis = Decimal::new(mantissa, scale).ok();
            histogram.observe(&OVERHEAD_BOUNDS, millis);
        }
        histogram.observe(&OVERHEAD_BOUNDS, None);
        assert_eq!(histogram.counts[..2], [2, 1]);
        assert_eq!(histogram.counts[12], 1);
        assert_eq!(histogram.count, 5);
        assert_eq!(histogram.sum_micros, 10 + 11 + 1_000_000 + 5_000_000 + 10);
    }

    #[test]
    fn bounds_rise() {
        assert!(CALL_BOUNDS.is_sorted() && OVERHEAD_BOUNDS.is_sorted());
    }
}
