//! Invoices: a tenant's month as it stands, and closed for good.
//!
//! Closing holds the month's row for update, ingest holds it for share: what was booked before is on
//! the invoice, what comes later goes to the next open month. A closed invoice never changes; its
//! hashes say so.

use deadpool_postgres::{GenericClient, Transaction};
use farebox_pricing::money::Usd;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

mod close;
mod hash;

pub(crate) use close::{Closing, Obstacle, close};

/// A closed invoice, without its lines.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Invoice {
    /// Identifier.
    pub invoice_id: Uuid,
    /// The number on it.
    pub number: String,
    /// The tenant.
    pub tenant_id: String,
    /// The month, by its first day.
    pub period: String,
    /// The month's begin in the tenant's zone.
    pub from_at: String,
    /// Its end, exclusive.
    pub to_at: String,
    /// `USD`.
    pub currency: String,
    /// Sum of the lines.
    pub billed_usd: String,
    /// SHA-256 over the lines.
    pub lines_sha256: String,
    /// SHA-256 over the list of events and adjustments with their amounts.
    pub events_sha256: String,
    /// How many these are.
    pub events: i64,
    /// Events of which no usage was known; they are on no line.
    pub unknown_events: i64,
    /// When it was closed.
    pub closed_at: String,
    /// Who closed it; null for a tenant.
    pub closed_by: Option<String>,
    /// Nodes that had not shipped past its end; null for a tenant.
    pub despite: Option<Vec<String>>,
}

/// A line of an invoice, closed or not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct InvoiceLine {
    /// From 1.
    pub line: i64,
    /// `usage`, `allowance`, `credit` or `debit`; in a preview `unpriced` and `unknown` too, which are
    /// on no invoice.
    pub kind: String,
    /// The vendor.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// What is counted.
    pub meter: Option<String>,
    /// How much of it.
    pub quantity: Option<String>,
    /// The amount.
    pub billed_usd: Option<String>,
    /// The earlier month that a credit or debit is for.
    pub corrects: Option<String>,
    /// What a person reads.
    pub text: Option<String>,
    /// In a preview: events that wait for a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unpriced_events: Option<i64>,
    /// In a preview: the least that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity_low: Option<String>,
    /// In a preview: the most that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity_high: Option<String>,
}

impl InvoiceLine {
    /// Whether it is of an invoice, and not only of its preview.
    pub(crate) fn is_billed(&self) -> bool {
        !matches!(self.kind.as_str(), "unpriced" | "unknown")
    }
}

const COLUMNS: &str = r#"invoice_id, number, tenant_id, period::text,
    to_char(from_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(to_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    currency, trim_scale(billed_usd)::text, lines_sha256, events_sha256, events, unknown_events,
    to_char(closed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), closed_by, despite"#;

fn read(row: &Row) -> Result<Invoice, Error> {
    Ok(Invoice {
        invoice_id: row.try_get(0)?,
        number: row.try_get(1)?,
        tenant_id: row.try_get(2)?,
        period: row.try_get(3)?,
        from_at: row.try_get(4)?,
        to_at: row.try_get(5)?,
        currency: row.try_get(6)?,
        billed_usd: row.try_get(7)?,
        lines_sha256: row.try_get(8)?,
        events_sha256: row.try_get(9)?,
        events: row.try_get(10)?,
        unknown_events: row.try_get(11)?,
        closed_at: row.try_get(12)?,
        closed_by: row.try_get(13)?,
        despite: row.try_get(14)?,
    })
}

/// A page of invoices, newest first.
pub(crate) async fn list(
    client: &impl GenericClient,
    tenant: Option<&str>,
    month: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Invoice>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.invoices
         where ($1::text is null or tenant_id = $1)
             and ($2::text is null or period = $2::text::date)
             and ($3::uuid is null or invoice_id < $3)
         order by invoice_id desc
         limit $4"
    );
    let limit = i64::from(limit) + 1;
    let rows = client
        .query(&sql, &[&tenant, &month, &after, &limit])
        .await?;
    rows.iter().map(read).collect()
}

/// The invoice of that id or number, when `tenant` may see it.
pub(crate) async fn find(
    client: &impl GenericClient,
    tenant: Option<&str>,
    name: &str,
) -> Result<Option<Invoice>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.invoices
         where ($1::text is null or tenant_id = $1)
             and (invoice_id::text = $2 or number = $2)"
    );
    let row = client.query_opt(&sql, &[&tenant, &name]).await?;
    row.as_ref().map(read).transpose()
}

/// Its lines.
pub(crate) async fn lines(
    client: &impl GenericClient,
    invoice_id: Uuid,
) -> Result<Vec<InvoiceLine>, Error> {
    let rows = client
        .query(
            "select line::bigint, kind, provider, model, meter, trim_scale(quantity)::text,
                 trim_scale(billed_usd)::text, corrects::text, text
             from farebox_private.invoice_lines
             where invoice_id = $1
             order by line",
            &[&invoice_id],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(InvoiceLine {
                unpriced_events: None,
                quantity_low: None,
                quantity_high: None,
                ..line(row)?
            })
        })
        .collect()
}

/// A tenant's month as it stands.
pub(crate) async fn preview(
    client: &impl GenericClient,
    tenant: &str,
    month: &str,
) -> Result<Vec<InvoiceLine>, Error> {
    let rows = client
        .query(
            "select line, kind, provider, model, meter, quantity::text, billed_usd::text,
                 corrects::text, text, unpriced_events, quantity_low::text, quantity_high::text
             from farebox.invoice_preview($1, $2::text::date)",
            &[&tenant, &month],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let line = line(row)?;
            let is_billed = line.is_billed();
            Ok(InvoiceLine {
                unpriced_events: row.try_get(9).map(|count| (!is_billed).then_some(count))?,
                quantity_low: row.try_get(10)?,
                quantity_high: row.try_get(11)?,
                ..line
            })
        })
        .collect()
}

fn line(row: &Row) -> Result<InvoiceLine, Error> {
    Ok(InvoiceLine {
        line: row.try_get(0)?,
        kind: row.try_get(1)?,
        provider: row.try_get(2)?,
        model: row.try_get(3)?,
        meter: row.try_get(4)?,
        quantity: row.try_get(5)?,
        billed_usd: row.try_get(6)?,
        corrects: row.try_get(7)?,
        text: row.try_get(8)?,
        unpriced_events: None,
        quantity_low: None,
        quantity_high: None,
    })
}

/// The exact sum of what is billed.
pub(crate) fn total(lines: &[InvoiceLine]) -> Option<Usd> {
    let amounts = lines
        .iter()
        .filter(|line| line.is_billed())
        .filter_map(|line| line.billed_usd.as_deref());
    amounts
        .map(str::parse)
        .try_fold(Usd::ZERO, |sum, amount| sum.checked_add(amount.ok()?))
}

/// Writes the lines of a closed invoice.
async fn insert_lines(
    transaction: &Transaction<'_>,
    invoice_id: Uuid,
    tenant: &str,
    lines: &[InvoiceLine],
) -> Result<(), Error> {
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.invoice_lines (
                 invoice_id, line, tenant_id, kind, provider, model, meter, quantity, billed_usd,
                 corrects, text)
             values ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9::text::numeric,
                 $10::text::date, $11)",
        )
        .await?;
    for line in lines {
        let number = i32::try_from(line.line).unwrap_or(i32::MAX);
        let billed = line.billed_usd.as_deref().unwrap_or("0");
        transaction
            .execute(
                &statement,
                &[
                    &invoice_id,
                    &number,
                    &tenant,
                    &line.kind,
                    &line.provider,
                    &line.model,
                    &line.meter,
                    &line.quantity,
                    &billed,
                    &line.corrects,
                    &line.text,
                ],
            )
            .await?;
    }
    Ok(())
}
