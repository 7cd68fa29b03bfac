//! Whether a call may go on: rates, calls at the same time, quantities and budgets.
//!
//! All limits that match a call hold, the shortest window first. What a call may use at most is
//! reserved before the upstream sees it and settled when its amounts are known. Nothing here waits: a
//! limit is looked at in memory, within what this proxy was granted; [`exchange`] is how the leases
//! are renewed in the background. `docs/limits.md` says what that guarantees.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use farebox_pricing::time::Timestamp;
use uuid::Uuid;

use crate::config::Limits;
use crate::directory::{
    Dimension, Directory, Limit, LimitAction, Subject, Tenant, TimeZones, unix_millis,
};
use crate::failure::Refusal;

pub mod agents;
mod calendar;
pub mod ceiling;
mod events;
pub mod exchange;
mod gauge;
mod notes;
mod permit;
mod pico;
mod rates;
mod refusals;
mod standing;
mod told;

use agents::Agents;
use ceiling::Ceiling;
use events::{Events, Kind};
use gauge::{Around, Gauge, ScopeText, Verdict};
use notes::{Earlier, Notes};
use rates::{Rates, Reached};
use told::{Reported, Strangers};

pub(crate) use ceiling::Shape;
pub use permit::{Permit, SoFar};

/// Above so many gauges, those of limits that are gone are thrown away before one is added.
const GAUGES_PRUNED_ABOVE: usize = 1_024;
/// The values of a limit that all its calls share.
const SHARED: ScopeText = Cow::Borrowed("[]");

/// The counters of all limits. One for the process; every worker uses it.
pub struct Admission {
    is_on: bool,
    directory: Arc<Directory>,
    rates: Rates,
    gauges: RwLock<HashMap<Uuid, Arc<Gauge>>>,
    around: Arc<Around>,
    events: Events,
    /// Agents of tenants that may have only so many.
    pub agents: Agents,
    earlier: Mutex<Earlier>,
    strangers: Strangers,
    reported: Reported,
}

/// What a call has to do with limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Some of its limits ask for facts of its body.
    pub asks_for_body: bool,
}

impl Admission {
    /// With the deployment's switch, over the directory's limits.
    #[must_use]
    pub fn new(limits: Limits, directory: Arc<Directory>) -> Self {
        Self {
            is_on: limits == Limits::On,
            directory,
            rates: Rates::default(),
            gauges: RwLock::default(),
            around: Arc::default(),
            events: Events::default(),
            agents: Agents::default(),
            earlier: Mutex::default(),
            strangers: Strangers::default(),
            reported: Reported::default(),
        }
    }

    /// Notes what is spent in a folder, and reads there what earlier starts had spent.
    #[must_use]
    pub fn noting(mut self, folder: &Path, epoch: u64) -> Self {
        self.earlier = Mutex::new(Earlier::read(folder, epoch));
        let notes = Notes::begin(folder, epoch).unwrap_or_else(|error| {
            tracing::warn!(%error, "what is spent of limits is not noted on this disk");
            Notes::default()
        });
        self.around = Arc::new(Around {
            notes,
            ..Around::default()
        });
        self
    }

    /// Limits are applied.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The limits that may bind a call; `None`: there are none, and nothing more has to be asked.
    #[must_use]
    pub fn limits_of(&self, tenant: Option<&str>) -> Option<Arc<[Arc<Limit>]>> {
        if !self.is_on {
            return None;
        }
        let limits = self.directory.limits_of(tenant);
        (!limits.is_empty()).then_some(limits)
    }

    /// Counts a call under the limits that need nothing of its body.
    pub fn begin(
        &self,
        limits: &[Arc<Limit>],
        call: &Subject<'_>,
        tenant: Option<&Tenant>,
        permit: &mut Permit,
    ) -> Result<Matched, Refusal> {
        let now = unix_millis();
        let mut matched = Matched::default();
        for limit in limits {
            if !is_in_force(limit, now) || !limit.binds(call) {
                continue;
            }
            if limit.meter.is_settled() || limit.asks_for_model() {
                matched.asks_for_body = true;
                continue;
            }
            self.apply(limit, call, tenant, pico::ONE, now, permit)?;
        }
        Ok(matched)
    }

    /// Reserves what a call may use at most under the others.
    pub(crate) fn reserve(
        &self,
        limits: &[Arc<Limit>],
        call: &Subject<'_>,
        tenant: Option<&Tenant>,
        shape: &Shape<'_>,
        permit: &mut Permit,
    ) -> Result<(), Refusal> {
        let now = unix_millis();
        let mut ceiling = None;
        for limit in limits {
            let is_late = limit.meter.is_settled() || limit.asks_for_model();
            if !is_late || !is_in_force(limit, now) || !limit.binds(call) {
                continue;
            }
            if !limit.binds_model(call.model) {
                continue;
            }
            let ceiling = ceiling.get_or_insert_with(|| Ceiling::of(shape));
            let need = ceiling.of_limit(limit, shape.paid_by);
            self.apply(limit, call, tenant, need, now, permit)?;
        }
        Ok(())
    }

    fn apply(
        &self,
        limit: &Arc<Limit>,
        call: &Subject<'_>,
        tenant: Option<&Tenant>,
        need: i128,
        now: i64,
        permit: &mut Permit,
    ) -> Result<(), Refusal> {
        let scope = scope_of(limit, call);
        if limit.is_rate() {
            let live = self.around.standing.live();
            let Err(Reached(wait)) = self.rates.count(limit, &scope, live) else {
                return Ok(());
            };
            let kind = Kind::of(limit);
            self.events.note_rate(kind, limit, &scope, call.tenant, now);
            return match (limit.dry_run, limit.action) {
                (true, _) => Ok(()),
                (false, LimitAction::Warn) => {
                    permit.warn(&self.around, limit);
                    Ok(())
                }
                (false, LimitAction::Refuse) => Err(refusals::of_rate(limit, wait)),
            };
        }
        let gauge = self.gauge(limit);
        let zones = zones_of(limit, tenant);
        let (verdict, start) = gauge.hold(&scope, need, now, zones, &self.around);
        match verdict {
            Verdict::Held => {}
            Verdict::Soft(state) => {
                self.events
                    .note(Kind::of(limit), &gauge, &scope, state, call.tenant, now);
                if !limit.dry_run {
                    permit.warn(&self.around, limit);
                }
            }
            Verdict::Reached(state) => {
                self.events
                    .note(Kind::Refusal, &gauge, &scope, state, call.tenant, now);
                return Err(refusals::of_counter(limit, state, now));
            }
            Verdict::Unavailable => return Err(refusals::unavailable(limit)),
        }
        permit.hold(&self.around, gauge, scope, start, need);
        Ok(())
    }

    fn gauge(&self, limit: &Arc<Limit>) -> Arc<Gauge> {
        {
            let gauges = self.gauges.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(gauge) = gauges.get(&limit.limit_id)
                && Arc::ptr_eq(&gauge.limit, limit)
            {
                return Arc::clone(gauge);
            }
        }
        self.renew(limit)
    }

    /// Makes the gauge of a limit that is new or has changed.
    fn renew(&self, limit: &Arc<Limit>) -> Arc<Gauge> {
        let mut gauges = self.gauges.write().unwrap_or_else(PoisonError::into_inner);
        if gauges.len() > GAUGES_PRUNED_ABOVE {
            gauges.retain(|limit_id, gauge| {
                let is_known = self.directory.limit(*limit_id).is_some();
                if !is_known {
                    // Reported once more: the store says that it is gone, and so are its counters.
                    gauge.give_all_up();
                }
                is_known || gauge.is_in_use()
            });
            self.around.mark();
            self.rates
                .retain(|limit_id| self.directory.limit(limit_id).is_some());
        }
        let before = gauges.get(&limit.limit_id);
        let gauge = Arc::new(Gauge::new(
            Arc::clone(limit),
            before.map(Arc::as_ref),
            &self.around,
        ));
        self.remember_told(&gauge);
        gauges.insert(limit.limit_id, Arc::clone(&gauge));
        gauge
    }
}

fn is_in_force(limit: &Limit, now: i64) -> bool {
    limit
        .expires_at
        .is_none_or(|expires_at| expires_at > Timestamp::from_millis(now))
}

/// The values a limit counts a call for.
fn scope_of(limit: &Limit, call: &Subject<'_>) -> ScopeText {
    if limit.per.is_empty() {
        return SHARED;
    }
    let values: Vec<Option<Cow<'_, str>>> = limit
        .per
        .iter()
        .map(|dimension| call.value(*dimension))
        .collect();
    Cow::Owned(serde_json::to_string(&values).unwrap_or_default())
}

/// Windows of a tenant's counters are the tenant's; others are UTC's.
fn zones_of<'a>(limit: &Limit, tenant: Option<&'a Tenant>) -> Option<&'a TimeZones> {
    let is_tenants = limit.tenant_id.is_some() || limit.per.contains(&Dimension::Tenant);
    tenant.filter(|_| is_tenants).map(Tenant::zones)
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
