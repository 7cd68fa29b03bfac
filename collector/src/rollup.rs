//! What events add to the hourly and daily sums.
//!
//! Every event adds one row of the meter `calls`, which carries its count; its other meters carry
//! quantity and money. A repeat adds its count only. Sums of one batch are made here, so that a row
//! of the database is touched once a batch, in the order of `Key`, which all collectors share:
//! that order is why two of them cannot block each other.

use std::collections::BTreeMap;

use farebox_pricing::event::{Charge, Event, Pricing};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::usage::Line;
use uuid::Uuid;

use crate::ingest::months::{Month, hour};

const HOURS_A_DAY: i64 = 24;
/// The meter that only roll-ups have.
pub const CALLS: &str = "calls";

/// What all rows of an event share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group<'a> {
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) period: Month,
    /// As it is kept, by reference.
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) project: Option<&'a str>,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) environment: &'static str,
    pub(crate) paid_by: &'static str,
    pub(crate) provider: &'a str,
    pub(crate) endpoint: &'static str,
    pub(crate) pricing: &'static str,
}

/// A row of a roll-up. `slot` is the hour (since the Unix epoch) or the tenant's day (since 2000-01-01),
/// `utc_day` the day in UTC (since the Unix epoch) that the hour, or this part of the tenant's day, is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key<'a> {
    pub(crate) slot: i64,
    pub(crate) group: Group<'a>,
    pub(crate) model: Option<&'a str>,
    pub(crate) meter: &'static str,
    pub(crate) utc_day: i64,
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

impl Sum {
    /// Whether it changes nothing.
    pub(crate) fn is_nothing(&self) -> bool {
        self.quantity.is_zero()
            && self.cost_usd == Usd::ZERO
            && self.billed_usd == Usd::ZERO
            && self.events == 0
            && self.unpriced_events == 0
    }
}

/// An event as the sums see it: booked, or as a correction leaves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) group: Group<'a>,
    /// Since the Unix epoch.
    pub(crate) hour: i64,
    /// Since 2000-01-01.
    pub(crate) day: i32,
    pub(crate) model: Option<&'a str>,
    /// The call's first attempt and part.
    pub(crate) is_first: bool,
    pub(crate) pricing: Pricing,
    pub(crate) lines: &'a [Line],
    pub(crate) charges: &'a [Charge],
}

/// Whether an event is added to the sums or taken out of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

impl Sign {
    fn of(self, sum: Sum) -> Result<Sum, Overflow> {
        match self {
            Self::Plus => Ok(sum),
            Self::Minus => Ok(Sum {
                quantity: Decimal::ZERO.checked_sub(sum.quantity).ok_or(Overflow)?,
                cost_usd: Usd::from_pico(-sum.cost_usd.as_pico()),
                billed_usd: Usd::from_pico(-sum.billed_usd.as_pico()),
                events: -sum.events,
                unpriced_events: -sum.unpriced_events,
            }),
        }
    }
}

/// Sums of a batch, by row.
pub(crate) type Sums<'a> = BTreeMap<Key<'a>, Sum>;

/// Sums by model and meter.
pub(crate) type Meters<'a> = BTreeMap<(Option<&'a str>, &'static str), Sum>;

/// What a batch adds to one hour, day and set of dimensions.
pub(crate) struct Set<'b, 'a> {
    pub(crate) group: Group<'a>,
    /// Since the Unix epoch.
    pub(crate) hour: i64,
    /// Since 2000-01-01.
    pub(crate) day: i64,
    pub(crate) meters: &'b Meters<'a>,
}

/// A batch added up by what its events share, hour and day: an event looks its group up once.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    groups: BTreeMap<(Group<'a>, i64, i64), Meters<'a>>,
}

/// A sum past what a decimal holds; quantities and amounts are bounded so that a batch cannot reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl<'a> Batch<'a> {
    /// Adds an event that is counted on a day (since 2000-01-01) and in a period; its customer as it is
    /// kept.
    pub(crate) fn add(
        &mut self,
        event: &'a Event,
        customer: Option<&'a str>,
        charges: &'a [Charge],
        pricing: Pricing,
        day: i32,
        period: Month,
    ) -> Result<(), Overflow> {
        let group = Group {
            tenant_id: event.tenant_id.as_ref().map(|id| id.as_str()),
            period,
            customer_id: customer,
            project: event.project.as_deref(),
            key_id: event.key_id,
            environment: event.environment.name(),
            paid_by: event.paid_by.name(),
            provider: &event.provider,
            endpoint: event.endpoint.name(),
            pricing: pricing.name(),
        };
        let counted = Counted {
            group,
            hour: hour(event.started_at),
            day,
            model: event.model.as_deref(),
            is_first: event.attempt == 1 && event.part == 1,
            pricing,
            lines: &event.lines,
            charges,
        };
        self.count(&counted, Sign::Plus)
    }

    /// Adds an event as it is counted, or takes it away.
    pub(crate) fn count(&mut self, counted: &Counted<'a>, sign: Sign) -> Result<(), Overflow> {
        let slots = (counted.group, counted.hour, i64::from(counted.day));
        let meters = self.groups.entry(slots).or_default();
        let calls = meters.entry((counted.model, CALLS)).or_default();
        calls.grow(&sign.of(Sum {
            quantity: Decimal::from(u64::from(counted.is_first)),
            events: 1,
            unpriced_events: i64::from(is_unpriced(counted.pricing)),
            ..Sum::default()
        })?)?;
        if counted.pricing == Pricing::Repeat {
            return Ok(());
        }
        // Two lines of one model differ in their conditions only; their sums are one row.
        for line in counted.lines {
            for (meter, quantity) in line.usage.iter() {
                let sum = meters.entry((Some(&line.model), meter.name())).or_default();
                sum.grow(&sign.of(Sum {
                    quantity,
                    ..Sum::default()
                })?)?;
            }
        }
        for charge in counted.charges {
            let key = (Some(&*charge.model), charge.meter.name());
            meters.entry(key).or_default().grow(&sign.of(Sum {
                cost_usd: charge.cost_usd.unwrap_or(Usd::ZERO),
                billed_usd: charge.billed_usd.unwrap_or(Usd::ZERO),
                ..Sum::default()
            })?)?;
        }
        Ok(())
    }

    /// Adds one row's growth.
    pub(crate) fn grow(
        &mut self,
        group: Group<'a>,
        (hour, day): (i64, i32),
        (model, meter): (Option<&'a str>, &'static str),
        by: &Sum,
    ) -> Result<(), Overflow> {
        let meters = self
            .groups
            .entry((group, hour, i64::from(day)))
            .or_default();
        meters.entry((model, meter)).or_default().grow(by)
    }

    /// How many rows it has by hour.
    pub(crate) fn len(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    /// What it adds, not parted into rows.
    pub(crate) fn sets(&self) -> impl Iterator<Item = Set<'_, 'a>> {
        let groups = self.groups.iter();
        groups.map(|((group, hour, day), meters)| Set {
            group: *group,
            hour: *hour,
            day: *day,
            meters,
        })
    }

    /// The rows by hour.
    pub(crate) fn hourly(&self) -> Result<Sums<'a>, Overflow> {
        self.by(|hour, _| hour)
    }

    /// The rows by the tenants' days, each parted by the days of UTC in it.
    pub(crate) fn daily(&self) -> Result<Sums<'a>, Overflow> {
        self.by(|_, day| day)
    }

    fn by(&self, slot: impl Fn(i64, i64) -> i64) -> Result<Sums<'a>, Overflow> {
        let mut sums = Sums::new();
        for ((group, hour, day), meters) in &self.groups {
            for ((model, meter), sum) in meters {
                let key = Key {
                    slot: slot(*hour, *day),
                    group: *group,
                    model: *model,
                    meter,
                    utc_day: hour.div_euclid(HOURS_A_DAY),
                };
                sums.entry(key).or_default().grow(sum)?;
            }
        }
        Ok(sums)
    }
}

/// Daily sums over all customers, projects and keys.
pub(crate) fn totals<'a>(daily: &Sums<'a>) -> Result<Sums<'a>, Overflow> {
    let mut sums = Sums::new();
    for (key, sum) in daily {
        let group = Group {
            customer_id: None,
            project: None,
            key_id: None,
            ..key.group
        };
        sums.entry(Key { group, ..*key }).or_default().grow(sum)?;
    }
    Ok(sums)
}

/// Whether an event of this pricing blocks the close of its month.
fn is_unpriced(pricing: Pricing) -> bool {
    matches!(pricing, Pricing::Unpriced | Pricing::Partial)
}

impl Sum {
    fn grow(&mut self, by: &Self) -> Result<(), Overflow> {
        self.quantity = self.quantity.checked_add(by.quantity).ok_or(Overflow)?;
        self.cost_usd = self.cost_usd.checked_add(by.cost_usd).ok_or(Overflow)?;
        self.billed_usd = self.billed_usd.checked_add(by.billed_usd).ok_or(Overflow)?;
        self.events += by.events;
        self.unpriced_events += by.unpriced_events;
        Ok(())
    }
}
