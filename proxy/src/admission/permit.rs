//! The right to go on, and what is reserved for it. Whatever becomes of the call, dropping its permit
//! gives back what was not used.

use std::sync::Arc;

use farebox_pricing::event::{Event, PaidBy};
use farebox_pricing::money::Usd;
use farebox_pricing::usage::{Usage, UsageSource};

use super::gauge::{Around, Gauge, ScopeText, Verdict};
use super::{ceiling, pico};
use crate::directory::{Basis, Counted, Limit, unix_millis};
use crate::failure::Code;

/// The right to go on. Dropped when the call has ended; what is reserved for it is given back then.
#[derive(Debug, Default)]
#[must_use = "a permit that is dropped at once reserves nothing"]
pub struct Permit {
    /// Set where anything is held, so that calls without limits carry one empty word.
    inner: Option<Box<Inner>>,
}

#[derive(Debug)]
struct Inner {
    around: Arc<Around>,
    holds: Vec<Hold>,
    warning: Option<String>,
}

/// What is reserved under one limit.
#[derive(Debug)]
struct Hold {
    gauge: Arc<Gauge>,
    scope: ScopeText,
    start: i64,
    held: i128,
    /// The call itself is counted already.
    is_counted: bool,
}

impl Permit {
    /// For `x-farebox-warning`: the limits in warning. Visible ASCII.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.inner.as_ref()?.warning.as_deref()
    }

    /// Whether it has to be asked as the call goes on.
    #[must_use]
    pub fn can_run_out(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| {
            let mut holds = inner.holds.iter();
            holds.any(|hold| hold.gauge.limit.meter.is_settled())
        })
    }

    fn inner(&mut self, around: &Arc<Around>) -> &mut Inner {
        self.inner.get_or_insert_with(|| {
            Box::new(Inner {
                around: Arc::clone(around),
                holds: Vec::new(),
                warning: None,
            })
        })
    }

    pub(super) fn hold(
        &mut self,
        around: &Arc<Around>,
        gauge: Arc<Gauge>,
        scope: ScopeText,
        start: i64,
        held: i128,
    ) {
        self.inner(around).holds.push(Hold {
            gauge,
            scope,
            start,
            held,
            is_counted: false,
        });
    }

    /// A limit on cost, or wider than its tenant, is not named.
    pub(super) fn warn(&mut self, around: &Arc<Around>, limit: &Limit) {
        let text = if limit.is_told() {
            format!("limit {} is reached", limit.limit_id)
        } else {
            "a limit is reached".to_owned()
        };
        let warning = &mut self.inner(around).warning;
        *warning = Some(match warning.take() {
            Some(before) => format!("{before}, {text}"),
            None => text,
        });
    }

    /// A part of the call has its amounts, and others follow.
    pub fn spend(&mut self, event: &Event, cost: Option<Usd>) {
        let Some(inner) = &mut self.inner else {
            return;
        };
        for hold in &mut inner.holds {
            let spent = hold.spent(event, cost);
            hold.gauge
                .settle(&hold.scope, hold.start, 0, spent, &inner.around);
        }
    }

    /// The call has ended and has its amounts; nothing is held for it any more.
    pub fn settle(&mut self, event: &Event, cost: Option<Usd>) {
        let Some(inner) = &mut self.inner else {
            return;
        };
        for mut hold in inner.holds.drain(..) {
            let spent = hold.spent(event, cost);
            hold.gauge
                .settle(&hold.scope, hold.start, hold.held, spent, &inner.around);
        }
    }

    /// Takes more where what has passed by now comes near to what is held. The code of the limit that
    /// has no more.
    #[must_use]
    pub fn cover(&mut self, so_far: &SoFar) -> Option<Code> {
        let inner = self.inner.as_mut()?;
        for hold in &mut inner.holds {
            let limit = &hold.gauge.limit;
            if !limit.meter.is_settled() {
                continue;
            }
            let lacking = so_far.amount(limit).saturating_sub(hold.held);
            if lacking <= 0 {
                continue;
            }
            let verdict = hold.gauge.hold_more(
                &hold.scope,
                hold.start,
                lacking,
                unix_millis(),
                &inner.around,
            );
            match verdict {
                Verdict::Held | Verdict::Soft(_) => hold.held = hold.held.saturating_add(lacking),
                Verdict::Reached(_) | Verdict::Unavailable => {
                    return Some(super::refusals::code(limit));
                }
            }
        }
        None
    }
}

/// What has passed of a call that runs.
#[derive(Debug)]
pub struct SoFar {
    /// Quantities.
    pub usage: Usage,
    /// What the tenant owes for them.
    pub billed: Option<Usd>,
    /// What the provider charges for them.
    pub cost: Option<Usd>,
    /// Whom it charges.
    pub paid_by: PaidBy,
}

impl SoFar {
    fn amount(&self, limit: &Limit) -> i128 {
        let amount = |usd: Option<Usd>| usd.map_or(0, Usd::as_pico);
        match limit.meter {
            Counted::Requests | Counted::Concurrency => 0,
            Counted::Tokens => ceiling::tokens(&self.usage),
            Counted::Meter(meter) => self.usage.quantity(meter).map_or(0, pico::of),
            Counted::Usd if limit.basis == Basis::Billed => amount(self.billed),
            Counted::Usd if self.paid_by == PaidBy::Operator => amount(self.cost),
            Counted::Usd => 0,
        }
    }
}

impl Hold {
    /// What an event used of the limit; all that is held where nobody knows.
    fn spent(&mut self, event: &Event, cost: Option<Usd>) -> i128 {
        let limit = &self.gauge.limit;
        let model = event.model.as_deref().or(event.model_requested.as_deref());
        // Held for a model that was not known yet, and it was another.
        if model.is_some() && !limit.binds_model(model) {
            return 0;
        }
        let is_known = !matches!(
            event.usage_source,
            UsageSource::Missing | UsageSource::Pending
        );
        match limit.meter {
            Counted::Concurrency => 0,
            Counted::Requests if std::mem::replace(&mut self.is_counted, true) => 0,
            Counted::Requests => pico::ONE,
            Counted::Usd if limit.basis == Basis::Billed => {
                event.claimed_usd.map_or(self.held, Usd::as_pico)
            }
            Counted::Usd if event.paid_by == PaidBy::Operator => {
                cost.map_or(self.held, Usd::as_pico)
            }
            Counted::Usd => 0,
            _ if !is_known => self.held,
            Counted::Tokens => ceiling::tokens(&event.usage),
            Counted::Meter(meter) => event.usage.quantity(meter).map_or(0, pico::of),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for hold in self.holds.drain(..) {
            hold.gauge
                .settle(&hold.scope, hold.start, hold.held, 0, &self.around);
        }
    }
}
