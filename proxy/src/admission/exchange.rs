//! What this proxy tells the store of limits and what it is told: amounts used under its leases go
//! out, what it may spend comes in. Plain values; the connection is `directory::leases`.
//!
//! Every amount is absolute, so a report that comes twice counts once. A lease is lowered here first
//! and reported then; only an answer raises it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::events::LimitEvent;
use super::gauge::{Cell, Gauge, ScopeText, find};
use super::notes::Recovered;
use super::told::Counter;
use super::{Admission, pico};
use crate::directory::{Limit, unix_millis};

/// Counters in one report; the rest follows in the next.
pub(crate) const LEASES_MAX: usize = 500;

/// A report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    report_no: u64,
    share_of: u32,
    grace_seconds: u64,
    is_leaving: bool,
    leases: Vec<LeaseReport>,
    events: Vec<EventReport>,
    agents: Vec<(String, String)>,
    agents_after: i64,
    recovered: Vec<Recovered>,
    #[serde(skip)]
    sent: Sent,
}

/// What a report was made of, to be put back when it does not arrive.
#[derive(Debug, Default)]
struct Sent {
    leases: Vec<(Arc<Gauge>, ScopeText, i64, i128)>,
    events: Vec<LimitEvent>,
    is_whole: bool,
}

#[derive(Debug, Serialize)]
struct LeaseReport {
    limit_id: Uuid,
    scope: ScopeText,
    values: Map<String, Value>,
    start: i64,
    end: Option<i64>,
    granted: String,
    spent: String,
    reserved: String,
    wanted: String,
    would_refuse: u64,
    is_done: bool,
    done_no: u64,
}

#[derive(Debug, Serialize)]
struct EventReport {
    limit_id: Uuid,
    tenant_id: Option<String>,
    scope: ScopeText,
    kind: &'static str,
    used: Option<String>,
    start: i64,
    end: i64,
    at: i64,
}

/// The store's answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// A later start of this proxy has spoken: this one is over.
    #[serde(default)]
    pub(crate) is_stale: bool,
    /// A later report was faster.
    #[serde(default)]
    pub(crate) is_late: bool,
    /// The store had given this proxy up meanwhile.
    #[serde(default)]
    has_lapsed: bool,
    #[serde(default)]
    live: u32,
    #[serde(default)]
    share_of: u32,
    #[serde(default)]
    leases: Vec<Option<LeaseAnswer>>,
    #[serde(default)]
    contended: Vec<Counter>,
    #[serde(default)]
    counters: Vec<Counter>,
    #[serde(default)]
    agents: Vec<(String, String)>,
    #[serde(default)]
    agents_last: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct LeaseAnswer {
    granted: String,
    used: String,
    reserved: String,
}

/// How far a limit is used, for the metrics.
#[derive(Debug)]
pub struct Gauged {
    /// The limit.
    pub limit_id: Uuid,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Used of the amount by all proxies, in millionths; of several values the largest.
    pub used_ppm: u64,
    /// What is granted to this proxy and not yet spent, in units of 1e-12.
    pub unspent: u128,
    /// What is reserved in this proxy, in units of 1e-12.
    pub reserved: u128,
    /// Calls that a dry run would have refused in this proxy, in windows it still has.
    pub would_refuse: u64,
}

impl Admission {
    /// Waits until a call had to be refused for want of a lease, or others want what is not needed here.
    pub(crate) async fn urgent(&self) {
        self.around.urgent.notified().await;
    }

    /// Other proxies spend from the same limits.
    pub(crate) fn is_shared(&self) -> bool {
        self.around.standing.live() > 1
    }

    /// Waits until there is something to report.
    pub(crate) async fn changed(&self) {
        if !self.around.is_dirty.load(Ordering::Acquire) {
            self.around.wake.notified().await;
        }
    }

    /// Whether there is much of earlier starts to take over, which takes its time.
    pub(crate) fn has_much_to_recover(&self) -> bool {
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.spent.len() > LEASES_MAX
    }

    /// What is to be reported now.
    pub(crate) fn report(&self, grace_seconds: u64, agents_after: i64, is_leaving: bool) -> Report {
        self.around.is_dirty.store(false, Ordering::Release);
        let now = unix_millis();
        if self.around.standing.has_lapsed(now) {
            self.give_all_up();
        }
        let report_no = self.reported.next();
        let mut leases = Vec::new();
        let mut sent = Sent {
            is_whole: true,
            ..Sent::default()
        };
        for gauge in self.all_gauges() {
            let mut cells = gauge.lock();
            for (scope, own) in cells.iter_mut() {
                // What ended without ever being reported or used leaves no trace.
                own.retain(|cell| {
                    cell.has_row
                        || cell.committed() > 0
                        || cell.would_refuse > 0
                        || cell.window.holds(now)
                });
                for cell in own {
                    let is_done = !cell.window.holds(now) && cell.reserved == 0;
                    if !cell.is_dirty && !is_done {
                        continue;
                    }
                    if leases.len() >= LEASES_MAX {
                        sent.is_whole = false;
                        break;
                    }
                    cell.is_dirty = false;
                    cell.has_row = true;
                    if is_done && cell.done_no == 0 {
                        cell.done_no = report_no;
                    }
                    leases.push(report_of(&gauge, scope, cell, is_done));
                    sent.leases.push((
                        Arc::clone(&gauge),
                        scope.clone(),
                        cell.window.start,
                        cell.granted,
                    ));
                    cell.wanted = 0;
                }
            }
            cells.retain(|_, own| !own.is_empty());
        }
        if !sent.is_whole {
            self.around.is_dirty.store(true, Ordering::Release);
        }
        sent.events = self.events.take();
        let events = sent.events.iter().map(EventReport::of).collect();
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let recovered = earlier.spent.iter().map(|((epoch, name), spent)| {
            let limit = self.directory.limit(name.limit_id);
            let values = limit.map(|limit| values_of(&limit, &name.scope));
            Recovered::new(*epoch, name, *spent, values)
        });
        let recovered = recovered.collect();
        // A share is only given up once everything that was begun under it has been reported.
        let share_of = self
            .reported
            .share(self.around.standing.share_of(), sent.is_whole);
        Report {
            report_no,
            share_of,
            grace_seconds,
            is_leaving,
            leases,
            events,
            agents: self.agents.take_new(),
            agents_after,
            recovered,
            sent,
        }
    }

    /// The report did not arrive: everything in it is to be reported again.
    pub(crate) fn not_reported(&self, report: Report) {
        self.around.standing.lost();
        for (gauge, scope, start, _) in report.sent.leases {
            if let Some(cell) = find(&mut gauge.lock(), &scope, start) {
                cell.is_dirty = true;
            }
        }
        self.events.put_back(report.sent.events);
        self.agents.put_back(report.agents);
        self.around.is_dirty.store(true, Ordering::Release);
    }

    /// The store's answer to a report.
    pub(crate) fn answered(&self, report: Report, answer: Answer, valid_until: i64) -> i64 {
        let now = unix_millis();
        let mut is_asking = false;
        for ((gauge, scope, start, granted), answer) in
            report.sent.leases.into_iter().zip(answer.leases)
        {
            let mut cells = gauge.lock();
            let Some(answer) = answer else {
                // The limit is gone.
                cells.remove(&scope);
                continue;
            };
            let Some(cell) = find(&mut cells, &scope, start) else {
                continue;
            };
            let told = pico_of(&answer.granted).unwrap_or(0);
            // What was lowered here meanwhile stays lowered.
            cell.granted = cell
                .granted
                .saturating_add(told.saturating_sub(granted))
                .max(0);
            cell.others_used = pico_of(&answer.used).unwrap_or(cell.others_used);
            cell.others_reserved = pico_of(&answer.reserved).unwrap_or(cell.others_reserved);
            cell.contacted(gauge.amount());
            if cell.asks_again(gauge.amount(), now) {
                is_asking = true;
            }
            let is_over = !cell.window.holds(now) && cell.reserved == 0 && !cell.is_dirty;
            if is_over && let Some(own) = cells.get_mut(&scope) {
                own.retain(|cell| cell.window.start != start);
            }
        }
        if is_asking {
            self.around.mark();
        }
        if answer.has_lapsed {
            self.give_all_up();
        }
        // Before the larger share holds, so that no call takes it of what is used already.
        if !answer.counters.is_empty() {
            self.strangers.prune(now);
        }
        for counter in answer.counters {
            self.take_told(counter);
        }
        // A smaller share holds at once; the store hears of it with the next whole report.
        let standing = &self.around.standing;
        standing.renewed(answer.share_of, answer.live, valid_until);
        for contended in &answer.contended {
            self.give_up(contended);
        }
        self.agents.learn(answer.agents);
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if earlier.has_files() {
            earlier.remove();
        }
        if report.is_leaving {
            self.around.notes.remove();
        }
        answer.agents_last.unwrap_or(report.agents_after)
    }

    /// What was granted is others' by now.
    fn give_all_up(&self) {
        self.around.standing.forget_share();
        for gauge in self.all_gauges() {
            gauge.give_all_up();
        }
        self.around.mark();
    }

    /// Whether everything that was asked for has been answered.
    pub(crate) fn is_settled_in(&self) -> bool {
        self.around.standing.share_of() > 0 && !self.around.is_dirty.load(Ordering::Acquire)
    }

    fn all_gauges(&self) -> Vec<Arc<Gauge>> {
        let gauges = self.gauges.read().unwrap_or_else(PoisonError::into_inner);
        gauges.values().cloned().collect()
    }

    /// How far each limit is used, for the metrics.
    #[must_use]
    pub fn gauged(&self) -> Vec<Gauged> {
        let now = unix_millis();
        let mut all: Vec<Gauged> = self
            .all_gauges()
            .iter()
            .filter(|gauge| self.directory.limit(gauge.limit.limit_id).is_some())
            .map(|gauge| gauged(gauge, now))
            .collect();
        all.sort_by_key(|gauged| gauged.limit_id);
        all
    }

    /// The store cannot be reached.
    pub(crate) fn lost(&self) {
        self.around.standing.lost();
    }

    /// There may be an agent to tell of.
    pub(crate) fn agents_changed(&self) {
        self.around.mark();
    }

    /// The store has not answered since.
    #[must_use]
    pub fn is_store_away(&self) -> bool {
        self.around.standing.is_away()
    }
}

fn gauged(gauge: &Gauge, now: i64) -> Gauged {
    let amount = gauge.amount().max(1);
    let mut gauged = Gauged {
        limit_id: gauge.limit.limit_id,
        tenant: gauge.limit.tenant_id.as_ref().map(ToString::to_string),
        used_ppm: 0,
        unspent: 0,
        reserved: 0,
        would_refuse: 0,
    };
    for cell in gauge.lock().values().flatten() {
        gauged.would_refuse += cell.would_refuse;
        gauged.reserved += cell.reserved.unsigned_abs();
        if !cell.window.holds(now) {
            continue;
        }
        let unspent = cell.granted.saturating_sub(cell.spent).max(0);
        gauged.unspent = gauged.unspent.saturating_add(unspent.unsigned_abs());
        let used = cell.others_used.saturating_add(cell.spent).max(0);
        let ppm = used.saturating_mul(1_000_000) / amount;
        gauged.used_ppm = gauged.used_ppm.max(u64::try_from(ppm).unwrap_or(u64::MAX));
    }
    gauged
}

fn report_of(gauge: &Gauge, scope: &ScopeText, cell: &Cell, is_done: bool) -> LeaseReport {
    let limit = &gauge.limit;
    LeaseReport {
        limit_id: limit.limit_id,
        scope: scope.clone(),
        values: values_of(limit, scope),
        start: cell.window.start,
        end: (cell.window.end != i64::MAX).then_some(cell.window.end),
        granted: pico::text(cell.granted.max(0)),
        spent: pico::text(cell.spent),
        reserved: pico::text(cell.reserved),
        wanted: pico::text(cell.wanted.max(0)),
        would_refuse: cell.would_refuse,
        is_done,
        done_no: cell.done_no,
    }
}

/// The values of a counter by their names.
fn values_of(limit: &Limit, scope: &str) -> Map<String, Value> {
    let values: Vec<Value> = serde_json::from_str(scope).unwrap_or_default();
    let names = limit
        .per
        .iter()
        .map(|dimension| dimension.name().to_owned());
    names.zip(values).collect()
}

impl EventReport {
    fn of(event: &LimitEvent) -> Self {
        Self {
            limit_id: event.limit_id,
            tenant_id: event.tenant.clone(),
            scope: event.scope.clone(),
            kind: event.kind.name(),
            used: event.used.clone(),
            start: event.window.start,
            end: event.window.end,
            at: event.at,
        }
    }
}

pub(super) fn pico_of(text: &str) -> Option<i128> {
    text.parse().ok().map(pico::of)
}
