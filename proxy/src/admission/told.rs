//! What the store tells of counters that this proxy did not ask about: what it may spend of those there
//! were before it came, and which of them others want more of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use uuid::Uuid;

use super::Admission;
use super::calendar::Window;
use super::exchange::pico_of;
use super::gauge::{Cell, Gauge, ScopeText, find};
use crate::directory::unix_millis;

/// What was asked for is not given up so soon; as long as others are told that it is asked for.
const CONTENTION_MILLIS: i64 = 5_000;

/// A counter as the store names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Counter {
    limit_id: Uuid,
    scope: String,
    start: i64,
    end: Option<i64>,
    /// What this proxy may spend of it.
    #[serde(default)]
    granted: Option<String>,
}

/// Counters of limits that the directory does not know yet: the store may be ahead of it. What was told
/// of them has to hold when it does, or the first call would take a share of what is used already.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<Uuid, Vec<Counter>>>);

/// What the last reports said.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    report_no: AtomicU64,
    share_of: AtomicU32,
}

impl Reported {
    pub(crate) fn next(&self) -> u64 {
        self.report_no.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The share to be reported. Of two the larger, until everything begun under it is in a report.
    pub(crate) fn share(&self, now: u32, is_whole: bool) -> u32 {
        let before = self.share_of.load(Ordering::Relaxed);
        let share = match (before, now) {
            _ if is_whole => now,
            (0, now) => now,
            (before, 0) => before,
            (before, now) => before.min(now),
        };
        self.share_of.store(share, Ordering::Relaxed);
        share
    }
}

impl Counter {
    fn window(&self) -> Window {
        Window {
            start: self.start,
            end: self.end.unwrap_or(i64::MAX),
        }
    }

    /// As a lease, where there is none that is known better.
    fn take_into(self, gauge: &Gauge) -> bool {
        let mut cells = gauge.lock();
        if find(&mut cells, &self.scope, self.start).is_some() {
            return false;
        }
        let granted = self.granted.as_deref().and_then(pico_of).unwrap_or(0);
        let mut cell = Cell::new(self.window(), granted);
        cell.has_row = true;
        if granted == 0 {
            // A word of asking brings a share of what is free.
            cell.wanted = 1;
            cell.is_dirty = true;
        }
        let is_dirty = cell.is_dirty;
        let scope = ScopeText::Owned(self.scope);
        cells.entry(scope).or_default().push(cell);
        is_dirty
    }
}

impl Cell {
    /// Whether a need that could not be met is still to be asked for; then it is.
    pub(crate) fn asks_again(&mut self, amount: i128, now: i64) -> bool {
        let free = self.granted.saturating_sub(self.committed());
        let is_recent = now.saturating_sub(self.unmet_at) < CONTENTION_MILLIS;
        if !is_recent || free >= self.unmet || self.left(amount) < self.unmet {
            return false;
        }
        self.wanted = self.wanted.max(self.unmet.saturating_sub(free.max(0)));
        self.is_dirty = true;
        true
    }
}

impl Admission {
    /// A counter that there was before this proxy had a share: what it may spend of it is a lease.
    pub(super) fn take_told(&self, counter: Counter) {
        let limit = {
            let mut strangers = self.strangers.lock();
            match self.directory.limit(counter.limit_id) {
                Some(limit) => limit,
                None => {
                    let own = strangers.entry(counter.limit_id).or_default();
                    own.retain(|known| {
                        (&known.scope, known.start) != (&counter.scope, counter.start)
                    });
                    own.push(counter);
                    return;
                }
            }
        };
        if !limit.is_rate() && counter.take_into(&self.gauge(&limit)) {
            self.around.mark();
        }
    }

    /// What was told of a limit before it was known.
    pub(super) fn remember_told(&self, gauge: &Gauge) {
        let own = self.strangers.lock().remove(&gauge.limit.limit_id);
        for counter in own.into_iter().flatten() {
            if counter.take_into(gauge) {
                self.around.mark();
            }
        }
    }

    /// Others ask for more than is free: what is not needed here is theirs.
    pub(super) fn give_up(&self, contended: &Counter) {
        let Some(limit) = self.directory.limit(contended.limit_id) else {
            return;
        };
        if limit.is_soft() || limit.is_rate() {
            return;
        }
        let gauge = self.gauge(&limit);
        if give_up(&gauge, contended, unix_millis()) {
            self.around.mark();
            self.around.urgent.notify_one();
        }
    }
}

fn give_up(gauge: &Arc<Gauge>, contended: &Counter, now: i64) -> bool {
    let mut cells = gauge.lock();
    let window = contended.window();
    let Some(cell) = find(&mut cells, &contended.scope, window.start) else {
        // Nothing of it was used here: its share goes back as a lease of nothing.
        let mut cell = Cell::new(window, 0);
        cell.is_dirty = true;
        let scope = ScopeText::Owned(contended.scope.clone());
        cells.entry(scope).or_default().push(cell);
        return true;
    };
    let free = cell.granted.saturating_sub(cell.committed());
    let is_asking = now.saturating_sub(cell.unmet_at) < CONTENTION_MILLIS;
    let is_of_use = is_asking && free >= cell.unmet;
    if free <= 0 || is_of_use {
        return false;
    }
    cell.granted = cell.committed();
    cell.is_dirty = true;
    true
}

impl Strangers {
    /// Forgets windows that are over.
    pub(crate) fn prune(&self, now: i64) {
        self.lock().retain(|_, own| {
            own.retain(|counter| counter.window().end > now);
            !own.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Vec<Counter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
