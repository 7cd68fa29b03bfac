//! Closing a month, and what stands against it.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use tokio_postgres::Error;
use uuid::Uuid;

use super::{Invoice, InvoiceLine, find, hash, insert_lines, preview, total};
use crate::ingest::months;
use crate::store::ingest::tenants::calendar;

/// Unpriced models that a refusal names.
const UNPRICED_NAMED_MAX: i64 = 100;

/// What is to be closed.
pub(crate) struct Closing<'a> {
    pub(crate) tenant: &'a str,
    /// By its first day.
    pub(crate) month: &'a str,
    /// Nodes that are not waited for.
    pub(crate) despite: &'a [String],
    pub(crate) actor: &'a str,
}

/// Why a month was not closed.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// There is no such tenant.
    NoTenant,
    /// It was closed before, by the invoice of that number.
    Closed(String),
    /// It has not ended in the tenant's zone.
    NotOver(String),
    /// Live nodes that may still ship something of it.
    NodesBehind(Vec<String>),
    /// Usage without a price: provider, model, events.
    Unpriced(Vec<(String, String, i64)>),
    /// The sum is larger than any that is kept.
    TooLarge,
    /// The database.
    Database(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// A month of a tenant, with its instants as texts.
pub(super) struct Month {
    pub(super) first_day: String,
    pub(super) from_at: String,
    pub(super) to_at: String,
}

/// Closes the month: checks, lines, hashes, and the month's row. All of it or nothing.
pub(crate) async fn close(
    transaction: &Transaction<'_>,
    closing: &Closing<'_>,
) -> Result<(Invoice, Vec<InvoiceLine>), Obstacle> {
    let month = bounds(transaction, closing).await?;
    // From here on nobody books into it.
    hold(transaction, closing).await?;
    let despite = check_nodes(transaction, closing, &month).await?;
    check_prices(transaction, closing).await?;
    let all = preview(transaction, closing.tenant, closing.month).await?;
    let unknown = unknown_events(transaction, closing).await?;
    let mut lines: Vec<InvoiceLine> = all.into_iter().filter(InvoiceLine::is_billed).collect();
    for (number, line) in (1..).zip(&mut lines) {
        line.line = number;
    }
    let billed = total(&lines).ok_or(Obstacle::TooLarge)?.to_string();
    let invoice_id = Uuid::now_v7();
    let number = next_number(transaction, closing.month).await?;
    let entries = hash::of_entries(transaction, closing.tenant, &month).await?;
    transaction
        .execute(
            "update farebox_private.periods
             set state = 'closed', closed_at = now(), closed_by = $3, despite = $4
             where tenant_id = $1 and period = $2::text::date",
            &[&closing.tenant, &closing.month, &closing.actor, &despite],
        )
        .await?;
    // The lines' hash is over what the database has, so they come before their invoice.
    insert_lines(transaction, invoice_id, closing.tenant, &lines).await?;
    let lines_sha256 = hash::of_lines(transaction, invoice_id).await?;
    transaction
        .execute(
            "insert into farebox_private.invoices (
                 invoice_id, number, tenant_id, period, billed_usd, lines_sha256, events_sha256,
                 closed_at, closed_by, from_at, to_at, events, unknown_events, despite)
             values ($1, $2, $3, $4::text::date, $5::text::numeric, $6, $7, now(), $8,
                 $9::text::timestamptz, $10::text::timestamptz, $11, $12, $13)",
            &[
                &invoice_id,
                &number,
                &closing.tenant,
                &closing.month,
                &billed,
                &lines_sha256,
                &entries.sha256,
                &closing.actor,
                &month.from_at,
                &month.to_at,
                &entries.count,
                &unknown,
                &despite,
            ],
        )
        .await?;
    let invoice = find(transaction, None, &number).await?;
    invoice
        .map(|invoice| (invoice, lines))
        .ok_or(Obstacle::NoTenant)
}

/// The month's instants in the tenant's zone, by the calendar that ingest has, or why it is too early.
async fn bounds(transaction: &Transaction<'_>, closing: &Closing<'_>) -> Result<Month, Obstacle> {
    let row = transaction
        .query_opt(
            "select tenant_id, time_zone, time_zone_before, time_zone_from - date '2000-01-01',
                 (extract(epoch from now()) * 1000)::bigint
             from farebox_private.tenants
             where tenant_id = $1",
            &[&closing.tenant],
        )
        .await?;
    let row = row.ok_or(Obstacle::NoTenant)?;
    let calendar = calendar(&row);
    let month = months::Month::of_day(closing.month).ok_or(Obstacle::NoTenant)?;
    let (from_at, to_at) = (calendar.begins(month), calendar.begins(month.next()));
    if to_at.as_millis() > row.try_get(4)? {
        return Err(Obstacle::NotOver(to_at.to_string()));
    }
    Ok(Month {
        first_day: closing.month.to_owned(),
        from_at: from_at.to_string(),
        to_at: to_at.to_string(),
    })
}

/// Waits for whoever books into the month now, and keeps the others out.
async fn hold(transaction: &Transaction<'_>, closing: &Closing<'_>) -> Result<(), Obstacle> {
    transaction
        .execute(
            "insert into farebox_private.periods (tenant_id, period)
             values ($1, $2::text::date)
             on conflict do nothing",
            &[&closing.tenant, &closing.month],
        )
        .await?;
    let row = transaction
        .query_one(
            "select state = 'closed'
             from farebox_private.periods
             where tenant_id = $1 and period = $2::text::date
             for update",
            &[&closing.tenant, &closing.month],
        )
        .await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(());
    }
    let number = transaction
        .query_opt(
            "select number from farebox_private.invoices
             where tenant_id = $1 and period = $2::text::date",
            &[&closing.tenant, &closing.month],
        )
        .await?;
    let number = number.map(|row| row.try_get(0)).transpose()?;
    Err(Obstacle::Closed(number.unwrap_or_default()))
}

/// The nodes that are behind and were named; any other one refuses the close.
async fn check_nodes(
    transaction: &Transaction<'_>,
    closing: &Closing<'_>,
    month: &Month,
) -> Result<Vec<String>, Obstacle> {
    let rows = transaction
        .query(
            "select node
             from farebox_private.nodes
             where retired_at is null
                 and (open_since is null or open_since < $1::text::timestamptz)
             order by node",
            &[&month.to_at],
        )
        .await?;
    let behind: Vec<String> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let named: BTreeSet<&String> = closing.despite.iter().collect();
    let (despite, waited_for): (Vec<String>, Vec<String>) =
        behind.into_iter().partition(|node| named.contains(node));
    match waited_for.is_empty() {
        true => Ok(despite),
        false => Err(Obstacle::NodesBehind(waited_for)),
    }
}

/// Usage that has no price yet, adjustments included.
async fn check_prices(
    transaction: &Transaction<'_>,
    closing: &Closing<'_>,
) -> Result<(), Obstacle> {
    let rows = transaction
        .query(
            "select provider, coalesce(model, ''), sum(unpriced_events)::bigint
             from farebox_private.usage_daily
             where tenant_id = $1
                 and period = $2::text::date
                 and environment = 'live'
             group by provider, model
             having sum(unpriced_events) <> 0
             order by 3 desc, 1, 2
             limit $3",
            &[&closing.tenant, &closing.month, &UNPRICED_NAMED_MAX],
        )
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let unpriced = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
        .collect::<Result<_, Error>>()?;
    Err(Obstacle::Unpriced(unpriced))
}

async fn unknown_events(
    transaction: &Transaction<'_>,
    closing: &Closing<'_>,
) -> Result<i64, Error> {
    let row = transaction
        .query_one(
            "select count(*)
             from farebox.unpriced_usage
             where tenant_id = $1
                 and period = $2::text::date
                 and environment = 'live'
                 and pricing = 'unknown'",
            &[&closing.tenant, &closing.month],
        )
        .await?;
    row.try_get(0)
}

/// Without gaps within a year: two closes wait for each other here.
async fn next_number(transaction: &Transaction<'_>, month: &str) -> Result<String, Error> {
    transaction
        .execute(
            "select pg_advisory_xact_lock(hashtextextended('farebox_invoice_numbers', 0))",
            &[],
        )
        .await?;
    let year = month.get(..4).unwrap_or_default();
    let row = transaction
        .query_one(
            "select coalesce(max(split_part(number, '-', 2)::bigint), 0) + 1
             from farebox_private.invoices
             where number like $1 || '-%'",
            &[&year],
        )
        .await?;
    let next: i64 = row.try_get(0)?;
    Ok(format!("{year}-{next:06}"))
}
