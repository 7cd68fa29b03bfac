//! Refused calls, for the audit log: at most one row a minute for each key and code, with how many
//! there were. Bounded; what finds no room is in the metrics alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use farebox_pricing::id::TenantId;
use uuid::Uuid;

use crate::failure::Code;

/// Time between two rows of one key and code.
const ROW_INTERVAL: Duration = Duration::from_secs(60);
/// Pairs of key and code that are kept count of.
const PAIRS_MAX: usize = 10_000;

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The virtual key; `None`: none, or none that is known.
    pub key_id: Option<Uuid>,
    /// The tenant of the call that was refused last, as far as it was known.
    pub tenant: Option<TenantId>,
    /// Why.
    pub code: Code,
    /// Calls refused since the row before.
    pub calls: u64,
}

/// Counts between rows. One for the process.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<(Option<Uuid>, Code), Count>>);

struct Count {
    tenant: Option<TenantId>,
    calls: u64,
    written_at: Option<Instant>,
}

impl Refusals {
    /// Counts one refused call.
    pub fn note(&self, key_id: Option<Uuid>, tenant: Option<&TenantId>, code: Code) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= PAIRS_MAX && !counts.contains_key(&(key_id, code)) {
            return;
        }
        let count = counts.entry((key_id, code)).or_insert(Count {
            tenant: None,
            calls: 0,
            written_at: None,
        });
        count.calls += 1;
        if let Some(tenant) = tenant {
            count.tenant = Some(tenant.clone());
        }
    }

    /// The rows that are due.
    #[must_use]
    pub fn take(&self, now: Instant) -> Vec<Row> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |count: &Count| {
            let since = count.written_at.map(|at| now.saturating_duration_since(at));
            since.is_some_and(|since| since < ROW_INTERVAL)
        };
        counts.retain(|_, count| count.calls > 0 || is_recent(count));
        let mut rows = Vec::new();
        for ((key_id, code), count) in counts.iter_mut() {
            if count.calls == 0 || is_recent(count) {
                continue;
            }
            rows.push(Row {
                key_id: *key_id,
                tenant: count.tenant.take(),
                code: *code,
                calls: std::mem::take(&mut count.calls),
            });
            count.written_at = Some(now);
        }
        rows
    }

    /// The rows could not be written: their calls are in the next ones, which are due at once.
    pub fn put_back(&self, rows: Vec<Row>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            if let Some(count) = counts.get_mut(&(row.key_id, row.code)) {
                count.calls += row.calls;
                count.written_at = None;
                if count.tenant.is_none() {
                    count.tenant = row.tenant;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_a_minute_for_each_key_and_code() {
        let refusals = Refusals::default();
        let key = Some(Uuid::from_u128(1));
        let start = Instant::now();
        for _ in 0..5 {
            refusals.note(key, None, Code::TenantConflict);
        }
        refusals.note(key, None, Code::RateLimited);
        refusals.note(None, None, Code::TenantConflict);
        let mut calls: Vec<u64> = refusals.take(start).iter().map(|row| row.calls).collect();
        calls.sort_unstable();
        assert_eq!(calls, [1, 1, 5]);
        refusals.note(key, None, Code::TenantConflict);
        assert!(refusals.take(start + ROW_INTERVAL / 2).is_empty());
        let later = refusals.take(start + ROW_INTERVAL);
        assert_eq!(later.len(), 1);
        assert_eq!((later[0].code, later[0].calls), (Code::TenantConflict, 1));
        assert!(refusals.take(start + 3 * ROW_INTERVAL).is_empty());
    }

    #[test]
    fn rows_that_could_not_be_written_come_again_with_all_their_calls() {
        let refusals = Refusals::default();
        let start = Instant::now();
        refusals.note(None, None, Code::MissingKey);
        refusals.put_back(refusals.take(start));
        refusals.note(None, None, Code::MissingKey);
        assert_eq!(refusals.take(start)[0].calls, 2);
    }

    #[test]
    fn there_is_room_for_so_many_and_it_is_given_back() {
        let refusals = Refusals::default();
        let start = Instant::now();
        for key in 0..2 * PAIRS_MAX as u128 {
            refusals.note(Some(Uuid::from_u128(key)), None, Code::RateLimited);
        }
        assert_eq!(refusals.take(start).len(), PAIRS_MAX);
        assert!(refusals.take(start + ROW_INTERVAL).is_empty());
        refusals.note(None, None, Code::RateLimited);
        assert_eq!(refusals.take(start + ROW_INTERVAL).len(), 1);
    }
}
