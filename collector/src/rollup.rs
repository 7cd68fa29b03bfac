//! What an event adds to the hourly and daily sums.
//!
//! Every event adds one row of the meter `calls`, which carries its count; its other meters carry
//! quantity and money. A repeat adds its count only. Sums of one batch are made here, so that a row
//! of the database is touched once a batch, in the order of `Key`, which all collectors share:
//! that order is why two of them cannot block each other.

use std::collections::BTreeMap;

use farebox_pricing::event::{Charge, Event, Pricing};
use farebox_pricing::money::{Decimal, Usd};
use uuid::Uuid;

use crate::ingest::months::Month;

/// The meter that only roll-ups have.
pub const CALLS: &str = "calls";

/// A row of a roll-up. `slot` is the hour (since the Unix epoch) or the day (since 2000-01-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key<'a> {
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) slot: i64,
    pub(crate) period: Month,
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) project: Option<&'a str>,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) environment: &'static str,
    pub(crate) paid_by: &'static str,
    pub(crate) provider: &'a str,
    pub(crate) endpoint: &'static str,
    pub(crate) model: Option<&'a str>,
    pub(crate) pricing: &'static str,
    pub(crate) meter: &'static str,
}

/// What a row grows by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) quantity: Decimal,
    pub(crate) cost_usd: Usd,
    pub(crate) billed_usd: Usd,
    pub(crate) events: i64,
    pub(crate) unpriced_events: i64,
}

/// Sums of a batch, by row.
pub(crate) type Sums<'a> = BTreeMap<Key<'a>, Sum>;

/// A sum past what a decimal holds; quantities and amounts are bounded so that a batch cannot reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Adds an event in one slot.
pub(crate) fn add<'a>(
    sums: &mut Sums<'a>,
    event: &'a Event,
    charges: &'a [Charge],
    pricing: Pricing,
    slot: i64,
    period: Month,
) -> Result<(), Overflow> {
    let key = |model: Option<&'a str>, meter: &'static str| Key {
        tenant_id: event.tenant_id.as_ref().map(|id| id.as_str()),
        slot,
        period,
        customer_id: event.customer_id.as_deref(),
        project: event.project.as_deref(),
        key_id: event.key_id,
        environment: event.environment.name(),
        paid_by: event.paid_by.name(),
        provider: &event.provider,
        endpoint: event.endpoint.name(),
        model,
        pricing: pricing.name(),
        meter,
    };
    let calls = sums.entry(key(event.model.as_deref(), CALLS)).or_default();
    let is_first = event.attempt == 1 && event.part == 1;
    calls.grow(Decimal::from(u64::from(is_first)), None, None)?;
    calls.events += 1;
    calls.unpriced_events += i64::from(is_unpriced(pricing));
    if pricing == Pricing::Repeat {
        return Ok(());
    }
    // Two lines of one model differ in their conditions only; their sums are one row.
    for line in &event.lines {
        for (meter, quantity) in line.usage.iter() {
            sums.entry(key(Some(&line.model), meter.name()))
                .or_default()
                .grow(quantity, None, None)?;
        }
    }
    for charge in charges {
        sums.entry(key(Some(&charge.model), charge.meter.name()))
            .or_default()
            .grow(Decimal::ZERO, charge.cost_usd, charge.billed_usd)?;
    }
    Ok(())
}

/// Whether an event of this pricing blocks the close of its month.
fn is_unpriced(pricing: Pricing) -> bool {
    matches!(pricing, Pricing::Unpriced | Pricing::Partial)
}

impl Sum {
    fn grow(
        &mut self,
        quantity: Decimal,
        cost_usd: Option<Usd>,
        billed_usd: Option<Usd>,
    ) -> Result<(), Overflow> {
        self.quantity = self.quantity.checked_add(quantity).ok_or(Overflow)?;
        let add = |sum: Usd, amount: Option<Usd>| {
            sum.checked_add(amount.unwrap_or(Usd::ZERO)).ok_or(Overflow)
        };
        self.cost_usd = add(self.cost_usd, cost_usd)?;
        self.billed_usd = add(self.billed_usd, billed_usd)?;
        Ok(())
    }
}
