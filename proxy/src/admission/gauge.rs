//! What is used of one limit, in this proxy: for each value it is counted for and each window what is
//! spent, what is reserved, and how much both may come to before the store has to be asked.
//!
//! Invariant: of a limit that refuses, `spent + reserved <= granted` whenever a reservation is made,
//! but where `fail = "open"` lets a call pass. Only the store raises `granted`; this proxy lowers it
//! first and reports it then.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calendar::Window;
use super::notes::{Notes, Slot};
use super::pico;
use super::standing::Standing;
use crate::directory::{Fail, Limit, TimeZones, unix_millis};

/// Counters of one limit at most; past it a new value's calls are as if the store were away.
pub(crate) const CELLS_MAX: usize = 100_000;
/// A lease is asked to grow when less than one part in so many of it is left.
const LOW_PARTS: i128 = 4;

/// What could not be met is asked for at once, and then no more often than this.
const UNMET_MILLIS: i64 = 1_000;

/// The values a limit is counted for: a JSON array in text.
pub(crate) type ScopeText = Cow<'static, str>;

/// One counter in one window.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) window: Window,
    pub(crate) granted: i128,
    pub(crate) spent: i128,
    pub(crate) reserved: i128,
    /// More that is asked of the store.
    pub(crate) wanted: i128,
    /// The last need that could not be met, and when.
    pub(crate) unmet: i128,
    pub(crate) unmet_at: i64,
    /// Used and reserved by others, and what was left for all, when the store last answered.
    pub(crate) others_used: i128,
    pub(crate) others_reserved: i128,
    left_at_contact: Option<i128>,
    /// It was reported, or told by the store: what may be spent of it is a lease and no share.
    pub(crate) has_row: bool,
    /// The first report that said it is over; 0: none yet.
    pub(crate) done_no: u64,
    pub(crate) is_dirty: bool,
    pub(crate) would_refuse: u64,
    /// Kinds of events already told in this window, a bit each.
    told: u8,
    slot: Option<Slot>,
}

impl Cell {
    pub(crate) fn new(window: Window, granted: i128) -> Self {
        Self {
            window,
            granted,
            spent: 0,
            reserved: 0,
            wanted: 0,
            unmet: 0,
            unmet_at: 0,
            others_used: 0,
            others_reserved: 0,
            left_at_contact: None,
            has_row: false,
            done_no: 0,
            is_dirty: false,
            would_refuse: 0,
            told: 0,
            slot: None,
        }
    }

    pub(crate) fn committed(&self) -> i128 {
        self.spent.saturating_add(self.reserved)
    }

    /// Left for everybody, as far as is known.
    pub(crate) fn left(&self, amount: i128) -> i128 {
        amount
            .saturating_sub(self.others_used)
            .saturating_sub(self.others_reserved)
            .saturating_sub(self.committed())
    }

    pub(crate) fn contacted(&mut self, amount: i128) {
        self.left_at_contact = Some(self.left(amount));
    }

    /// Whether an event of this kind is the first of the window.
    pub(crate) fn is_first(&mut self, kind: u8) -> bool {
        let is_first = self.told & kind == 0;
        self.told |= kind;
        is_first
    }

    fn state(&self) -> State {
        State {
            used: self.others_used.saturating_add(self.spent),
            reserved: self.others_reserved.saturating_add(self.reserved),
            window: self.window,
        }
    }
}

/// How far a counter is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) used: i128,
    pub(crate) reserved: i128,
    pub(crate) window: Window,
}

/// How a limit answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It fits; reserved.
    Held,
    /// It does not, and the limit lets it pass; reserved.
    Soft(State),
    /// It does not.
    Reached(State),
    /// Nobody can say now.
    Unavailable,
}

pub(crate) type Cells = HashMap<ScopeText, Vec<Cell>>;

/// One limit's counters. A limit that is changed goes on with the counters it had.
#[derive(Debug)]
pub(crate) struct Gauge {
    pub(crate) limit: Arc<Limit>,
    amount: i128,
    cells: Arc<Mutex<Cells>>,
}

/// What every gauge reaches.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) standing: Standing,
    pub(crate) notes: Notes,
    /// Something is to be reported.
    pub(crate) is_dirty: AtomicBool,
    pub(crate) wake: tokio::sync::Notify,
    /// A call waits for no lease, but the next one shall find it.
    pub(crate) urgent: tokio::sync::Notify,
}

impl Around {
    pub(crate) fn mark(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }
}

impl Gauge {
    /// Of a limit, going on where one before it counted the same.
    pub(crate) fn new(limit: Arc<Limit>, before: Option<&Self>, around: &Around) -> Self {
        let amount = pico::of(limit.amount);
        let kept = before.filter(|before| before.limit.counts_as(&limit));
        let gauge = Self {
            limit,
            amount,
            cells: kept.map_or_else(Arc::default, |before| Arc::clone(&before.cells)),
        };
        if kept.is_some() {
            let now = unix_millis();
            for cell in gauge.lock().values_mut().flatten() {
                if cell.has_row {
                    // A word of asking brings a part of what the change has freed.
                    cell.wanted = cell.wanted.max(1);
                } else {
                    cell.granted = around.standing.share(amount, now);
                }
                cell.left_at_contact = None;
                cell.is_dirty = true;
            }
            around.mark();
        }
        gauge
    }

    pub(crate) fn amount(&self) -> i128 {
        self.amount
    }

    // A panic while the lock was held can only have come from an allocation; the sums are whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves what a call may need, in the window of this instant; also where that window began.
    pub(crate) fn hold(
        &self,
        scope: &ScopeText,
        need: i128,
        now: i64,
        zones: Option<&TimeZones>,
        around: &Around,
    ) -> (Verdict, i64) {
        let mut cells = self.lock();
        let is_full = cells.len() >= CELLS_MAX && !cells.contains_key(scope);
        if is_full {
            let passes = self.limit.is_soft() || self.limit.fail == Fail::Open;
            let verdict = if passes {
                Verdict::Held
            } else {
                Verdict::Unavailable
            };
            return (verdict, 0);
        }
        let own = match cells.get_mut(scope) {
            Some(own) => own,
            None => cells.entry(scope.clone()).or_default(),
        };
        let at = match own.iter().rposition(|cell| cell.window.holds(now)) {
            Some(at) => at,
            None => {
                let window = Window::around(self.limit.window, now, zones);
                let share = around.standing.share(self.amount, now);
                own.push(Cell::new(window, share));
                own.len() - 1
            }
        };
        let cell = &mut own[at];
        let verdict = self.reserve(cell, need, now, around);
        if verdict != Verdict::Unavailable || cell.is_dirty {
            around.mark();
        }
        (verdict, cell.window.start)
    }

    /// Reserves more for a call that runs.
    pub(crate) fn hold_more(
        &self,
        scope: &ScopeText,
        start: i64,
        need: i128,
        now: i64,
        around: &Around,
    ) -> Verdict {
        let mut cells = self.lock();
        let Some(cell) = find(&mut cells, scope, start) else {
            return Verdict::Held;
        };
        let verdict = self.reserve(cell, need, now, around);
        around.mark();
        verdict
    }

    fn reserve(&self, cell: &mut Cell, need: i128, now: i64, around: &Around) -> Verdict {
        if need == 0 {
            return Verdict::Held;
        }
        let standing = &around.standing;
        cell.is_dirty = true;
        if self.limit.is_soft() {
            let is_over = cell.left(self.amount) < need;
            cell.reserved = cell.reserved.saturating_add(need);
            if !is_over {
                return Verdict::Held;
            }
            if self.limit.dry_run {
                cell.would_refuse += 1;
            }
            return Verdict::Soft(cell.state());
        }
        let free = cell.granted.saturating_sub(cell.committed());
        if free >= need && standing.is_valid(now) {
            cell.reserved = cell.reserved.saturating_add(need);
            let is_low = cell.granted.saturating_sub(cell.committed()) < cell.granted / LOW_PARTS;
            if is_low && standing.live() > 1 {
                cell.wanted = cell.wanted.max(need);
            }
            return Verdict::Held;
        }
        cell.wanted = cell.wanted.max(need.saturating_sub(free.max(0)));
        let is_away = standing.is_away() || !standing.is_valid(now);
        let is_first = now.saturating_sub(cell.unmet_at) > UNMET_MILLIS;
        (cell.unmet, cell.unmet_at) = (need, now);
        let is_spent = if is_away {
            // The store had said so before it went away.
            cell.left_at_contact.is_some_and(|left| left < need)
        } else {
            cell.left(self.amount) < need
        };
        if is_spent {
            return Verdict::Reached(cell.state());
        }
        if is_first && !is_away {
            around.urgent.notify_one();
        }
        match self.limit.fail {
            Fail::Closed => Verdict::Unavailable,
            Fail::Open => {
                cell.reserved = cell.reserved.saturating_add(need);
                Verdict::Held
            }
        }
    }

    /// Nothing of any counter may be spent beyond what is, before the store says so again.
    pub(crate) fn give_all_up(&self) {
        for cell in self.lock().values_mut().flatten() {
            cell.granted = cell.granted.min(cell.committed());
            cell.is_dirty = true;
        }
    }

    /// A reservation, or a part of it, ends; `spent` of it, or more, was used.
    pub(crate) fn settle(
        &self,
        scope: &ScopeText,
        start: i64,
        back: i128,
        spent: i128,
        around: &Around,
    ) {
        let mut cells = self.lock();
        let Some(cell) = find(&mut cells, scope, start) else {
            return;
        };
        cell.reserved = cell.reserved.saturating_sub(back).max(0);
        cell.spent = cell.spent.saturating_add(spent.max(0));
        cell.is_dirty = true;
        if spent > 0 {
            let end = cell.window.end;
            let name = || super::notes::Name {
                limit_id: self.limit.limit_id,
                scope: scope.to_string(),
                start,
                end: (end != i64::MAX).then_some(end),
            };
            around.notes.write(&mut cell.slot, name, cell.spent);
        }
        around.mark();
    }

    /// Whether anything is counted here that the store has not taken over.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.lock().is_empty()
    }

    /// How far a counter is used.
    #[cfg(test)]
    pub(crate) fn state(&self, scope: &str, now: i64) -> Option<State> {
        let cells = self.lock();
        let own = cells.get(scope)?;
        own.iter()
            .rfind(|cell| cell.window.holds(now))
            .map(Cell::state)
    }
}

/// The counter of a window, which may have ended.
pub(crate) fn find<'a>(cells: &'a mut Cells, scope: &str, start: i64) -> Option<&'a mut Cell> {
    let own = cells.get_mut(scope)?;
    own.iter_mut().rfind(|cell| cell.window.start == start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::limit;
    use crate::directory::{LimitAction, WindowKind};

    const NOW: i64 = 1_795_317_480_000;
    const ALL: &ScopeText = &Cow::Borrowed("[]");

    fn around(standing: Standing) -> Around {
        Around {
            standing,
            ..Around::default()
        }
    }

    fn gauge(amount: u64, around: &Around) -> Gauge {
        Gauge::new(
            Arc::new(limit(1, Some("acme"), amount, WindowKind::Day)),
            None,
            around,
        )
    }

    fn hold(gauge: &Gauge, need: i128, around: &Around) -> Verdict {
        gauge.hold(ALL, need, NOW, None, around).0
    }

    #[test]
    fn exactly_what_fits_is_held_from_any_number_of_threads() {
        let around = around(Standing::alone());
        let gauge = gauge(10, &around);
        let held: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10)
                            .filter(|_| hold(&gauge, pico::ONE, &around) == Verdict::Held)
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(held, 10);
        let state = gauge.state("[]", NOW).unwrap();
        assert_eq!((state.used, state.reserved), (0, 10 * pico::ONE));
        gauge.settle(ALL, state.window.start, pico::ONE, pico::ONE / 2, &around);
        assert!(
            matches!(hold(&gauge, pico::ONE, &around), Verdict::Reached(state) if state.used == pico::ONE / 2)
        );
        assert_eq!(hold(&gauge, pico::ONE / 2, &around), Verdict::Held);
    }

    #[test]
    fn the_next_window_begins_with_nothing_used() {
        let around = around(Standing::alone());
        let gauge = gauge(1, &around);
        assert_eq!(hold(&gauge, pico::ONE, &around), Verdict::Held);
        let (verdict, start) = gauge.hold(ALL, pico::ONE, NOW + 86_400_000, None, &around);
        assert_eq!(verdict, Verdict::Held);
        assert!(start > NOW);
    }

    #[test]
    fn a_share_is_spent_and_then_the_limit_says_what_holds() {
        let check = |fail, expected| {
            let standing = Standing::default();
            standing.renewed(2, 2, i64::MAX);
            let around = around(standing);
            let limit = Limit {
                fail,
                ..limit(1, Some("acme"), 4, WindowKind::Day)
            };
            let gauge = Gauge::new(Arc::new(limit), None, &around);
            assert_eq!(hold(&gauge, pico::ONE, &around), Verdict::Held);
            assert_eq!(hold(&gauge, pico::ONE, &around), Verdict::Held);
            around.standing.lost();
            assert_eq!(hold(&gauge, pico::ONE, &around), expected);
        };
        check(Fail::Closed, Verdict::Unavailable);
        check(Fail::Open, Verdict::Held);
    }

    #[test]
    fn without_any_word_from_the_store_nothing_may_be_spent() {
        let around = Around::default();
        assert_eq!(
            hold(&gauge(4, &around), pico::ONE, &around),
            Verdict::Unavailable
        );
    }

    #[test]
    fn what_was_spent_before_the_store_went_away_stays_spent() {
        let around = around(Standing::alone());
        let open = Limit {
            fail: Fail::Open,
            ..limit(1, Some("acme"), 1, WindowKind::Day)
        };
        let gauge = Gauge::new(Arc::new(open), None, &around);
        assert_eq!(hold(&gauge, pico::ONE, &around), Verdict::Held);
        gauge
            .lock()
            .values_mut()
            .flatten()
            .for_each(|cell| cell.contacted(pico::ONE));
        around.standing.lost();
        assert!(matches!(
            hold(&gauge, pico::ONE, &around),
            Verdict::Reached(_)
        ));
    }

    #[test]
    fn warnings_and_dry_runs_let_pass_and_count() {
        let around = around(Standing::alone());
        for (action, dry_run) in [(LimitAction::Warn, false), (LimitAction::Refuse, true)] {
            let limit = Limit {
                action,
                dry_run,
                ..limit(1, None, 1, WindowKind::Day)
            };
            let gauge = Gauge::new(Arc::new(limit), None, &around);
            assert_eq!(hold(&gauge, pico::ONE, &around), Verdict::Held);
            assert!(matches!(hold(&gauge, pico::ONE, &around), Verdict::Soft(_)));
            let would_refuse = gauge.lock()["[]"][0].would_refuse;
            assert_eq!(would_refuse, u64::from(dry_run));
        }
    }

    #[test]
    fn a_changed_amount_keeps_what_is_counted_and_another_window_does_not() {
        let around = around(Standing::alone());
        let before = gauge(1, &around);
        assert_eq!(hold(&before, pico::ONE, &around), Verdict::Held);
        let more = limit(1, Some("acme"), 2, WindowKind::Day);
        let after = Gauge::new(Arc::new(more), Some(&before), &around);
        assert_eq!(hold(&after, pico::ONE, &around), Verdict::Held);
        assert!(matches!(
            hold(&after, pico::ONE, &around),
            Verdict::Reached(_)
        ));
        let hour = limit(1, Some("acme"), 1, WindowKind::Hour);
        let other = Gauge::new(Arc::new(hour), Some(&after), &around);
        assert_eq!(hold(&other, pico::ONE, &around), Verdict::Held);
    }
}
