//! Arithmetic of measurements, in integers: percentiles, medians, ratios.

use std::fmt;
use std::time::Duration;

/// Latencies of one round.
#[derive(Clone, Default)]
pub(crate) struct Latencies {
    sorted_ns: Vec<u64>,
}

impl Latencies {
    /// Sorts what was measured.
    pub(crate) fn new(measured: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted_ns: Vec<u64> = measured.into_iter().map(nanoseconds).collect();
        sorted_ns.sort_unstable();
        Self { sorted_ns }
    }

    /// The value below which `per_mille` of a thousand lie.
    pub(crate) fn at(&self, per_mille: usize) -> u64 {
        let last = self.sorted_ns.len().saturating_sub(1);
        self.sorted_ns
            .get(last * per_mille / 1000)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {} p99 {} max {}",
            micros(self.at(500)),
            micros(self.at(990)),
            micros(self.at(1000))
        )
    }
}

/// The middle value; of an even number the lower of the two.
pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// `part / whole` with two decimals.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    let hundredths = (part * 100 + whole / 2)
        .checked_div(whole)
        .unwrap_or_default();
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Nanoseconds as microseconds with one decimal.
pub(crate) fn micros(ns: u64) -> String {
    format!("{}.{} µs", ns / 1000, ns % 1000 / 100)
}

/// The difference of two latencies in whole microseconds, with its sign.
pub(crate) fn micros_above(ns: u64, base_ns: u64) -> String {
    if ns >= base_ns {
        format!("{}", (ns - base_ns) / 1000)
    } else {
        format!("-{}", (base_ns - ns) / 1000)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_sorted_values() {
        let latencies = Latencies::new((1..=101).rev().map(Duration::from_micros));
        assert_eq!(latencies.at(500), 51_000);
        assert_eq!(latencies.at(990), 100_000);
        assert_eq!(Latencies::default().at(990), 0);
    }

    #[test]
    fn ratios_are_rounded_to_hundredths() {
        assert_eq!(ratio(125, 100), "1.25");
        assert_eq!(ratio(2, 3), "0.67");
        assert_eq!(ratio(1, 0), "0.00");
        assert_eq!(median(vec![9, 1, 5]), 5);
    }
}
