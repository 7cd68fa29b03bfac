//! Corrections of booked events: append-only rows whose sums bring the ledger to where it should be.
//!
//! An event never changes. How it stands is its row, or its latest correction; a correction says how
//! it should stand, and what is booked is the difference of the two, by the same code that sums what
//! is ingested. So a correction that is booked twice books nothing the second time, whoever asked.
//!
//! Corrections wait for each other (one advisory lock), then take locks in the order of ingest:
//! customers, months, hours, days.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use farebox_pricing::event::{Charge, Event, Pricing, RateCards};
use farebox_pricing::id::TenantId;
use farebox_pricing::money::Usd;
use farebox_pricing::price::Priced;
use farebox_pricing::usage::{Line, UsageSource};
use uuid::Uuid;

use super::ingest::tenants::References;
use super::ingest::{BatchError, sums, tenants};
use crate::ingest::months::{Month, hour, month_of_day};
use crate::rollup::{self, Counted, Group, Sign, Sum};

mod by_hand;
mod list;
mod rows;
mod select;
mod standing;

pub(crate) use by_hand::{ByHand, book_by_hand};
pub(crate) use list::{Adjustment, Filter, list};
pub(crate) use select::{Selection, selected, undoing};
pub(crate) use standing::standings;

/// Why events are corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By other rates.
    Reprice,
    /// To another tenant, customer or project.
    Retag,
    /// By what a newer reader sees in the evidence.
    Reread,
    /// By amounts that somebody names.
    Manual,
}

impl Kind {
    /// The name in JSON and SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reprice => "reprice",
            Self::Retag => "retag",
            Self::Reread => "reread",
            Self::Manual => "manual",
        }
    }
}

/// What to do where the month that an event was booked in is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedMonths {
    /// Book nothing at all.
    Refuse,
    /// Book into the first open month after it.
    UseNext,
}

/// What is corrected together.
#[derive(Clone, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) batch_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) actor: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) closed_months: ClosedMonths,
    /// The batch that it takes back.
    pub(crate) undoes: Option<Uuid>,
}

/// How an event stands now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Attribution, lines and revisions as they stand; without what no correction reads.
    pub(crate) event: Event,
    pub(crate) charges: Vec<Charge>,
    pub(crate) cost_usd: Option<Usd>,
    pub(crate) billed_usd: Option<Usd>,
    /// How far it is priced, as booked or corrected.
    pub(crate) pricing: Pricing,
    /// Since 2000-01-01.
    pub(crate) day: i32,
    /// The month it was first booked in.
    pub(crate) period: Month,
    /// Who it was first booked to.
    pub(crate) first_tenant: Option<String>,
    /// Corrections so far.
    pub(crate) corrections: i32,
}

/// How an event should stand.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) customer_id: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) usage_source: UsageSource,
    pub(crate) charges: Vec<Charge>,
    pub(crate) cost_usd: Option<Usd>,
    pub(crate) billed_usd: Option<Usd>,
    pub(crate) pricing: Pricing,
    pub(crate) rate_cards: RateCards,
    /// What it is corrected from and to, for people.
    pub(crate) old_revision: Option<String>,
    pub(crate) new_revision: Option<String>,
}

impl Standing {
    /// As it stands.
    pub(crate) fn as_target(&self) -> Target {
        Target {
            tenant_id: self.event.tenant_id.clone(),
            customer_id: self.event.customer_id.clone(),
            project: self.event.project.clone(),
            lines: self.event.lines.clone(),
            usage_source: self.event.usage_source,
            charges: self.charges.clone(),
            cost_usd: self.cost_usd,
            billed_usd: self.billed_usd,
            pricing: self.pricing,
            rate_cards: self.event.rate_cards.clone(),
            old_revision: None,
            new_revision: None,
        }
    }

    /// Priced anew, otherwise as it stands.
    pub(crate) fn priced(&self, priced: Priced) -> Target {
        let old = revision_text(&self.event.rate_cards);
        let new = revision_text(&priced.rate_cards);
        Target {
            charges: priced.charges,
            cost_usd: priced.cost_usd,
            billed_usd: priced.billed_usd,
            pricing: priced.pricing,
            rate_cards: priced.rate_cards,
            old_revision: old,
            new_revision: new,
            ..self.as_target()
        }
    }

    fn tenant(&self) -> Option<&str> {
        self.event.tenant_id.as_ref().map(TenantId::as_str)
    }

    /// The month that `tenant` has the event in: as booked for who had it first, else that of its day.
    fn own_month(&self, tenant: Option<&str>) -> Month {
        if tenant == self.first_tenant.as_deref() {
            self.period
        } else {
            month_of_day(self.day)
        }
    }

    fn is_other(&self, target: &Target) -> bool {
        target.tenant_id != self.event.tenant_id
            || target.customer_id != self.event.customer_id
            || target.project != self.event.project
            || target.lines != self.event.lines
            || target.usage_source != self.event.usage_source
    }
}

/// Both revisions as one text.
pub(crate) fn revision_text(cards: &RateCards) -> Option<String> {
    match (&cards.cost, &cards.price) {
        (Some(cost), Some(price)) => Some(format!("{cost}+{price}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_string()),
        (None, None) => None,
    }
}

/// Why nothing was booked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Months that are closed, by tenant.
    Closed(Vec<(Option<String>, String)>),
    /// The database, or a sum that does not fit.
    Batch(BatchError),
}

impl<E: Into<BatchError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Batch(error.into())
    }
}

/// What a batch moved for one tenant and month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) events: i64,
    pub(crate) cost_usd: Usd,
    pub(crate) billed_usd: Usd,
}

/// What was booked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Events that stand otherwise now.
    pub(crate) changed: usize,
    /// Adjustments booked.
    pub(crate) adjustments: usize,
    /// By tenant, month booked into, and month corrected.
    pub(crate) moved: BTreeMap<(Option<String>, String, String), Moved>,
}

/// A row of the adjustments.
struct Row<'a> {
    standing: &'a Standing,
    group: Group<'a>,
    event_period: Month,
    model: Option<&'a str>,
    meter: &'static str,
    by: Sum,
    old_revision: Option<&'a str>,
    new_revision: Option<&'a str>,
}

/// Lets corrections wait for each other; before the events are read.
pub(crate) async fn lock(transaction: &Transaction<'_>) -> Result<(), Failure> {
    transaction
        .execute(
            "select pg_advisory_xact_lock(hashtextextended('farebox_adjustments', 0))",
            &[],
        )
        .await?;
    Ok(())
}

/// Books the differences. With the transaction rolled back it is a preview.
pub(crate) async fn book(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    corrections: &[(Standing, Target)],
) -> Result<Report, Failure> {
    let customers = tenants::references(transaction, pairs_of(corrections)).await?;
    let open = open_months(transaction, batch.closed_months, corrections).await?;
    let mut report = Report::default();
    let mut changed = Vec::new();
    let mut rows = Vec::new();
    let mut sums = rollup::Batch::default();
    for (standing, target) in corrections {
        let before = counted_before(standing, &open, &customers);
        let after = counted_after(standing, target, &open, &customers);
        let mut own = rollup::Batch::default();
        own.count(&after, Sign::Plus).map_err(BatchError::from)?;
        own.count(&before, Sign::Minus).map_err(BatchError::from)?;
        let own = own.hourly().map_err(BatchError::from)?;
        let differences = own.into_iter().filter(|(_, by)| !by.is_nothing());
        let first = rows.len();
        for (key, by) in differences {
            let slots = (before.hour, standing.day);
            sums.grow(key.group, slots, (key.model, key.meter), &by)
                .map_err(BatchError::from)?;
            rows.push(Row {
                standing,
                group: key.group,
                event_period: standing.own_month(key.group.tenant_id),
                model: key.model,
                meter: key.meter,
                by,
                old_revision: target.old_revision.as_deref(),
                new_revision: target.new_revision.as_deref(),
            });
        }
        if rows.len() > first || standing.is_other(target) {
            changed.push((standing, target));
        }
    }
    report.changed = changed.len();
    note(&mut report, &rows)?;
    if changed.is_empty() {
        return Ok(report);
    }
    rows::insert_corrections(transaction, batch, &changed, &customers).await?;
    rows::insert_adjustments(transaction, batch, &rows).await?;
    sums::write(transaction, &sums).await?;
    rows::note_activity(transaction, batch).await?;
    Ok(report)
}

/// Customers that the events have and get; those they are moved to are made, as ingest makes them.
fn pairs_of(corrections: &[(Standing, Target)]) -> BTreeSet<(&str, &str)> {
    let both = corrections.iter().flat_map(|(standing, target)| {
        [
            standing.tenant().zip(standing.event.customer_id.as_deref()),
            tenant_of(target).zip(target.customer_id.as_deref()),
        ]
    });
    both.flatten().collect()
}

type OpenMonths<'a> = std::collections::HashMap<(Option<&'a str>, Month), Month>;

/// The month that each is booked into, held open from here on.
async fn open_months<'a>(
    transaction: &Transaction<'_>,
    closed_months: ClosedMonths,
    corrections: &'a [(Standing, Target)],
) -> Result<OpenMonths<'a>, Failure> {
    let mut wanted = BTreeSet::new();
    for (standing, target) in corrections {
        for tenant in [standing.tenant(), tenant_of(target)] {
            wanted.insert((tenant, standing.own_month(tenant)));
        }
    }
    let open = tenants::hold_open_months(transaction, wanted).await?;
    if closed_months == ClosedMonths::Refuse {
        let closed: BTreeSet<(Option<String>, String)> = open
            .iter()
            .filter(|((_, wanted), open)| wanted != *open)
            .map(|((tenant, wanted), _)| (tenant.map(str::to_owned), wanted.to_string()))
            .collect();
        if !closed.is_empty() {
            return Err(Failure::Closed(closed.into_iter().collect()));
        }
    }
    Ok(open)
}

fn tenant_of(target: &Target) -> Option<&str> {
    target.tenant_id.as_ref().map(TenantId::as_str)
}

fn group<'a>(
    event: &'a Event,
    (tenant_id, customer_id, project): (Option<&'a str>, Option<&'a str>, Option<&'a str>),
    pricing: Pricing,
    period: Month,
) -> Group<'a> {
    Group {
        tenant_id,
        period,
        customer_id,
        project,
        key_id: event.key_id,
        environment: event.environment.name(),
        paid_by: event.paid_by.name(),
        provider: &event.provider,
        endpoint: event.endpoint.name(),
        pricing: pricing.name(),
    }
}

fn counted_before<'a>(
    standing: &'a Standing,
    open: &OpenMonths<'a>,
    customers: &'a References,
) -> Counted<'a> {
    let event = &standing.event;
    let tenant = standing.tenant();
    let whose = (
        tenant,
        customers.of(tenant, event.customer_id.as_deref()),
        event.project.as_deref(),
    );
    let period = period_of(standing, tenant, open);
    Counted {
        group: group(event, whose, standing.pricing, period),
        hour: hour(event.started_at),
        day: standing.day,
        model: event.model.as_deref(),
        is_first: event.attempt == 1 && event.part == 1,
        pricing: standing.pricing,
        lines: &event.lines,
        charges: &standing.charges,
    }
}

fn counted_after<'a>(
    standing: &'a Standing,
    target: &'a Target,
    open: &OpenMonths<'a>,
    customers: &'a References,
) -> Counted<'a> {
    let event = &standing.event;
    let tenant = tenant_of(target);
    let whose = (
        tenant,
        customers.of(tenant, target.customer_id.as_deref()),
        target.project.as_deref(),
    );
    let period = period_of(standing, tenant, open);
    Counted {
        group: group(event, whose, target.pricing, period),
        hour: hour(event.started_at),
        day: standing.day,
        model: event.model.as_deref(),
        is_first: event.attempt == 1 && event.part == 1,
        pricing: target.pricing,
        lines: &target.lines,
        charges: &target.charges,
    }
}

fn period_of<'a>(standing: &Standing, tenant: Option<&'a str>, open: &OpenMonths<'a>) -> Month {
    let own = standing.own_month(tenant);
    open.get(&(tenant, own)).copied().unwrap_or(own)
}

fn note(report: &mut Report, rows: &[Row<'_>]) -> Result<(), Failure> {
    report.adjustments = rows.len();
    for row in rows {
        let key = (
            row.group.tenant_id.map(str::to_owned),
            row.group.period.to_string(),
            row.event_period.to_string(),
        );
        let moved = report.moved.entry(key).or_default();
        let add = |sum: Usd, by: Usd| sum.checked_add(by).ok_or(rollup::Overflow);
        moved.events += row.by.events;
        moved.cost_usd = add(moved.cost_usd, row.by.cost_usd).map_err(BatchError::from)?;
        moved.billed_usd = add(moved.billed_usd, row.by.billed_usd).map_err(BatchError::from)?;
    }
    Ok(())
}
