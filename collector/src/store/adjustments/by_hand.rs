//! Amounts that somebody names: a credit or a debit on one event.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::usage::Meter;

use super::{Batch, ClosedMonths, Failure, Report, Row, Standing, group, note, rows};
use crate::ingest::months::{Month, hour};
use crate::rollup::{self, Sum};
use crate::store::ingest::{BatchError, sums, tenants};

/// What is booked.
pub(crate) struct ByHand<'a> {
    pub(crate) meter: Meter,
    pub(crate) quantity: Decimal,
    pub(crate) cost_usd: Usd,
    pub(crate) billed_usd: Usd,
    /// The caller's own reference; the same one on the same event books nothing the second time.
    pub(crate) reference: Option<&'a str>,
}

/// Books it on an event. How the event stands is not touched: a later correction adds to it.
pub(crate) async fn book_by_hand(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    standing: &Standing,
    amounts: &ByHand<'_>,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    if amounts.reference.is_some() {
        let known = transaction
            .query_opt(
                "select from farebox_private.adjustments
                 where event_id = $1 and kind = 'manual' and new_revision = $2",
                &[&standing.event.event_id, &amounts.reference],
            )
            .await?;
        if known.is_some() {
            return Ok(report);
        }
    }
    let event = &standing.event;
    let tenant = standing.tenant();
    let own = standing.own_month(tenant);
    let open = tenants::hold_open_months(transaction, BTreeSet::from([(tenant, own)])).await?;
    let period: Month = open.get(&(tenant, own)).copied().unwrap_or(own);
    if period != own && batch.closed_months == ClosedMonths::Refuse {
        let closed = (tenant.map(str::to_owned), own.to_string());
        return Err(Failure::Closed(vec![closed]));
    }
    let pairs = tenant.zip(event.customer_id.as_deref());
    let customers = tenants::references(transaction, pairs.into_iter().collect()).await?;
    let whose = (
        tenant,
        customers.of(tenant, event.customer_id.as_deref()),
        event.project.as_deref(),
    );
    let row = Row {
        standing,
        group: group(event, whose, standing.pricing, period),
        event_period: own,
        model: event.model.as_deref(),
        meter: amounts.meter.name(),
        by: Sum {
            quantity: amounts.quantity,
            cost_usd: amounts.cost_usd,
            billed_usd: amounts.billed_usd,
            ..Sum::default()
        },
        old_revision: None,
        new_revision: amounts.reference,
    };
    let mut grown = rollup::Batch::default();
    let slots = (hour(event.started_at), standing.day);
    grown
        .grow(row.group, slots, (row.model, row.meter), &row.by)
        .map_err(BatchError::from)?;
    let booked = [row];
    report.changed = 1;
    note(&mut report, &booked)?;
    rows::insert_adjustments(transaction, batch, &booked).await?;
    sums::write(transaction, &grown).await?;
    Ok(report)
}
