//! When limits warned, refused, or would have: the first time in each window, and of rates once a
//! minute; kept until the next report takes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::calendar::Window;
use super::gauge::{Gauge, ScopeText, State, find};
use super::pico;
use crate::directory::{Limit, WindowKind};

/// Kept at most until they are reported; past it they are only counted by the metrics of refusals.
const EVENTS_MAX: usize = 10_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Warning = 1,
    Refusal = 2,
    DryRun = 4,
}

impl Kind {
    /// What reaching a limit means.
    pub(crate) fn of(limit: &Limit) -> Self {
        match (limit.dry_run, limit.is_soft()) {
            (true, _) => Self::DryRun,
            (false, true) => Self::Warning,
            (false, false) => Self::Refusal,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Refusal => "refusal",
            Self::DryRun => "dry_run",
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct LimitEvent {
    pub(crate) kind: Kind,
    pub(crate) limit_id: Uuid,
    pub(crate) tenant: Option<String>,
    pub(crate) scope: ScopeText,
    pub(crate) used: Option<String>,
    pub(crate) window: Window,
    pub(crate) at: i64,
}

/// Those that are not reported yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: Mutex<Vec<LimitEvent>>,
    /// The minute in which a rate's last event was.
    rates: Mutex<HashMap<(Uuid, Kind), i64>>,
}

impl Events {
    pub(crate) fn note(
        &self,
        kind: Kind,
        gauge: &Gauge,
        scope: &ScopeText,
        state: State,
        tenant: Option<&str>,
        now: i64,
    ) {
        // What runs at the same time has no window; it is told once a minute, as rates are.
        if gauge.limit.window == WindowKind::Concurrent {
            return self.note_rate(kind, &gauge.limit, scope, tenant, now);
        }
        {
            let mut cells = gauge.lock();
            let cell = find(&mut cells, scope, state.window.start);
            if !cell.is_some_and(|cell| cell.is_first(kind as u8)) {
                return;
            }
        }
        self.push(LimitEvent {
            kind,
            limit_id: gauge.limit.limit_id,
            tenant: tenant.map(str::to_owned),
            scope: scope.clone(),
            used: Some(pico::text(state.used)),
            window: state.window,
            at: now,
        });
    }

    pub(crate) fn note_rate(
        &self,
        kind: Kind,
        limit: &Limit,
        scope: &ScopeText,
        tenant: Option<&str>,
        now: i64,
    ) {
        let window = Window::around(WindowKind::Minute, now, None);
        {
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            if rates.len() > EVENTS_MAX {
                rates.clear();
            }
            let last = rates.insert((limit.limit_id, kind), window.start);
            if last == Some(window.start) {
                return;
            }
        }
        self.push(LimitEvent {
            kind,
            limit_id: limit.limit_id,
            tenant: tenant.map(str::to_owned),
            scope: scope.clone(),
            used: None,
            window,
            at: now,
        });
    }

    fn push(&self, event: LimitEvent) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < EVENTS_MAX {
            waiting.push(event);
        }
    }

    pub(crate) fn take(&self) -> Vec<LimitEvent> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// They could not be reported.
    pub(crate) fn put_back(&self, events: Vec<LimitEvent>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = EVENTS_MAX.saturating_sub(waiting.len());
        waiting.extend(events.into_iter().take(room));
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}
