//! Which changes have been seen.
//!
//! The numbers of `directory_changes` are given out before their transactions commit, so a lower
//! number can become visible after a higher one. Whatever was skipped is asked for again until it
//! appears or has been missing for longer than a transaction may run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A number skipped this long belongs to a transaction that was rolled back.
const GAP_LIFETIME: Duration = Duration::from_secs(600);
/// Most skipped numbers asked for; more of them means loading everything again is cheaper.
const GAPS_MAX: usize = 4_096;
/// How far below the highest number the first look goes for numbers still in flight.
pub(super) const LOOK_BACK: i64 = 1_000;

/// The highest change seen and those below it that were not.
#[derive(Debug)]
pub(super) struct Seen {
    last: i64,
    missing: BTreeMap<i64, Instant>,
}

/// So much was skipped that everything has to be loaded again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyGaps;

impl Seen {
    /// After a full load: `ids` are the changes visible to it above `floor`.
    pub(super) fn new(floor: i64, ids: &[i64], now: Instant) -> Result<Self, TooManyGaps> {
        let mut seen = Self {
            last: floor,
            missing: BTreeMap::new(),
        };
        seen.note(ids, now)?;
        Ok(seen)
    }

    /// Changes above this were never seen.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Changes below it that may still appear.
    pub(super) fn missing(&self) -> Vec<i64> {
        self.missing.keys().copied().collect()
    }

    /// Notes what a poll returned.
    pub(super) fn note(&mut self, ids: &[i64], now: Instant) -> Result<(), TooManyGaps> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        for id in ids {
            if id <= self.last {
                self.missing.remove(&id);
                continue;
            }
            let skipped = usize::try_from(id - self.last - 1).unwrap_or(usize::MAX);
            if skipped.saturating_add(self.missing.len()) > GAPS_MAX {
                return Err(TooManyGaps);
            }
            self.missing
                .extend((self.last + 1..id).map(|gap| (gap, now)));
            self.last = id;
        }
        self.missing
            .retain(|_, since| now.duration_since(*since) < GAP_LIFETIME);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_skipped_change_is_asked_for_until_it_is_old() {
        let now = Instant::now();
        let mut seen = Seen::new(10, &[12, 14], now).unwrap();
        assert_eq!((seen.last(), seen.missing()), (14, vec![11, 13]));
        seen.note(&[13], now).unwrap();
        assert_eq!(seen.missing(), [11]);
        seen.note(&[15], now + GAP_LIFETIME).unwrap();
        assert_eq!((seen.last(), seen.missing()), (15, vec![]));
    }

    #[test]
    fn a_leap_asks_for_a_full_load() {
        let now = Instant::now();
        let mut seen = Seen::new(0, &[], now).unwrap();
        assert_eq!(seen.note(&[i64::MAX], now), Err(TooManyGaps));
    }

    proptest! {
        #[test]
        fn every_change_is_seen_or_asked_for(order in Just((1..=60i64).collect::<Vec<_>>()).prop_shuffle(), cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let now = Instant::now();
            let mut seen = Seen::new(0, &[], now).unwrap();
            let mut visible = Vec::new();
            let mut cuts = cuts;
            cuts.push(60);
            cuts.sort_unstable();
            for cut in cuts {
                let fresh = &order[visible.len().min(cut)..cut];
                visible.extend_from_slice(fresh);
                seen.note(fresh, now).unwrap();
                for id in 1..=60 {
                    let is_covered = visible.contains(&id) || id > seen.last() || seen.missing().contains(&id);
                    prop_assert!(is_covered, "{id} is lost");
                }
                for id in seen.missing() {
                    prop_assert!(!visible.contains(&id));
                }
            }
        }
    }
}
