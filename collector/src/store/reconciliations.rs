//! Comparisons with vendors' reports: what the ledger has to compare with, and what was found.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::usage::METERS;
use crate::reconcile::{Compared, LedgerRow};

/// Rows of the ledger in one comparison; more need a shorter span.
pub(crate) const ROWS_MAX: usize = 200_000;

/// A comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Reconciliation {
    /// Identifier.
    pub reconciliation_id: Uuid,
    /// The vendor.
    pub provider: String,
    /// First day compared, UTC.
    pub from_day: String,
    /// The day after the last one.
    pub to_day: String,
    /// Whether single calls were compared.
    pub by_id: bool,
    /// A difference of cost up to this is none.
    pub tolerance_usd: String,
    /// A difference up to this share of the vendor's is none.
    pub tolerance_percent: String,
    /// Lines compared.
    pub lines: i64,
    /// Lines with a cause.
    pub disagreeing: i64,
    /// Lines by cause: `{"coverage", "units", "rate"}`.
    #[schema(value_type = Object)]
    pub causes: Option<Box<RawValue>>,
    /// Sum of what the vendor reports; null: its report has no cost.
    pub vendor_cost_usd: Option<String>,
    /// Sum of what the ledger has for the same lines.
    pub cost_usd: Option<String>,
    /// Whether no line has a cause.
    pub is_within: bool,
    /// SHA-256 over the files compared.
    pub files_sha256: String,
    /// When.
    pub created_at: String,
    /// Who.
    pub created_by: String,
}

/// A compared line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReconciliationLine {
    /// Number of the line, from 1.
    pub line: i64,
    /// The day, UTC; null where calls are compared one by one.
    pub day: Option<String>,
    /// The vendor's request or response id; null where days are compared.
    pub id: Option<String>,
    /// The provider credential, where keys are told apart.
    pub credential: Option<String>,
    /// The model; null: the report does not say.
    pub model: Option<String>,
    /// What is counted; `cost` where the report has amounts without units.
    pub meter: String,
    /// Units that the vendor reports.
    pub vendor_quantity: Option<String>,
    /// Units in the ledger.
    pub quantity: Option<String>,
    /// What the vendor charges.
    pub vendor_cost_usd: Option<String>,
    /// Cost in the ledger.
    pub cost_usd: Option<String>,
    /// The vendor's units less the ledger's.
    pub quantity_difference: Option<String>,
    /// The vendor's cost less the ledger's.
    pub cost_difference_usd: Option<String>,
    /// `coverage`, `units` or `rate`; null: they agree.
    pub cause: Option<String>,
    /// What the vendor charged for one unit, in US dollars.
    pub implied_rate: Option<String>,
    /// What the ledger has for one unit, in US dollars.
    pub booked_rate: Option<String>,
}

/// What was asked for, as it is kept.
pub(crate) struct NewReconciliation<'a> {
    pub(crate) reconciliation_id: Uuid,
    pub(crate) provider: &'a str,
    pub(crate) from_day: &'a str,
    pub(crate) to_day: &'a str,
    pub(crate) by_id: bool,
    pub(crate) tolerance_usd: &'a str,
    pub(crate) tolerance_percent: &'a str,
    pub(crate) files_sha256: &'a str,
    pub(crate) created_by: &'a str,
}

/// The ledger's sums by UTC day, model and meter, from the roll-up: what the operator pays. Test traffic
/// reaches no vendor, and calls that used nothing are no calls to a vendor's report.
pub(crate) async fn by_day(
    client: &impl GenericClient,
    provider: &str,
    from_day: &str,
    to_day: &str,
) -> Result<Vec<LedgerRow>, Error> {
    let rows = client
        .query(
            "select
                utc_day::text,
                null::text,
                null::text,
                null::text,
                null::text,
                model,
                meter,
                trim_scale(sum(quantity))::text,
                trim_scale(sum(cost_usd))::text
             from farebox_private.usage_daily
             where utc_day >= $2::text::date
                and utc_day < $3::text::date
                and provider = $1
                and paid_by = 'operator'
                and environment = 'live'
                and not (meter = 'calls' and pricing in ('free', 'repeat'))
             group by utc_day, model, meter",
            &[&provider, &from_day, &to_day],
        )
        .await?;
    rows.iter().map(read_ledger).collect()
}

/// The same from the events: call by call with the ids it may be known by, or by credential.
pub(crate) async fn by_event(
    client: &impl GenericClient,
    provider: &str,
    from_day: &str,
    to_day: &str,
    by_id: bool,
) -> Result<Vec<LedgerRow>, Error> {
    let identity = match by_id {
        true => "usage_events.upstream_request_id, usage_events.response_id, usage_events.event_id",
        false => "null::text, null::text, null::uuid",
    };
    let sql = format!(
        "with counted_events as (
            select {EVENT_COLUMNS}, counted.model as counted_model, counted.meter, counted.quantity, counted.cost_usd as counted_cost_usd
            from farebox_private.usage_events
            cross join lateral ({METERS}) as counted
            where usage_events.event_id >= farebox_private.first_event_id($2::text::date::timestamp at time zone 'UTC')
                and usage_events.event_id < farebox_private.first_event_id($3::text::date::timestamp at time zone 'UTC')
                and usage_events.provider = $1
                and usage_events.paid_by = 'operator'
                and usage_events.environment = 'live'
                and not (counted.meter = 'calls' and usage_events.pricing in ('free', 'repeat'))
            union all
            select {EVENT_COLUMNS}, adjustments.model, adjustments.meter, adjustments.quantity, adjustments.cost_usd
            from farebox_private.adjustments
            join farebox_private.usage_events using (event_id)
            where usage_events.event_id >= farebox_private.first_event_id($2::text::date::timestamp at time zone 'UTC')
                and usage_events.event_id < farebox_private.first_event_id($3::text::date::timestamp at time zone 'UTC')
                and usage_events.provider = $1
                and usage_events.paid_by = 'operator'
                and usage_events.environment = 'live'
        ), identified as (
            select
                (usage_events.started_at at time zone 'UTC')::date::text as day,
                usage_events.credential_id,
                usage_events.counted_model as model,
                usage_events.meter,
                usage_events.quantity,
                usage_events.counted_cost_usd as cost_usd,
                identity.*
            from counted_events as usage_events
            cross join lateral (select {identity}) as identity (upstream_request_id, response_id, event_id)
        )
        select
            day,
            credential_id,
            upstream_request_id,
            response_id,
            event_id::text,
            model,
            meter,
            trim_scale(sum(quantity))::text,
            trim_scale(sum(cost_usd))::text
        from identified
        group by day, credential_id, upstream_request_id, response_id, event_id, model, meter
        limit {limit}",
        limit = ROWS_MAX + 1,
    );
    let rows = client.query(&sql, &[&provider, &from_day, &to_day]).await?;
    rows.iter().map(read_ledger).collect()
}

/// What of an event a comparison needs.
const EVENT_COLUMNS: &str =
    "usage_events.event_id, usage_events.started_at, usage_events.credential_id,
    usage_events.upstream_request_id, usage_events.response_id";

fn read_ledger(row: &Row) -> Result<LedgerRow, Error> {
    let mut ids = Vec::new();
    for index in 2..5 {
        ids.extend(row.try_get::<_, Option<String>>(index)?);
    }
    let decimal = |index| {
        let text: Option<&str> = row.try_get(index)?;
        // A sum beyond a decimal's bounds cannot come of bounded quantities.
        Ok::<_, Error>(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    };
    Ok(LedgerRow {
        day: row.try_get(0)?,
        credential: row.try_get(1)?,
        ids,
        model: row.try_get(5)?,
        meter: row.try_get(6)?,
        quantity: decimal(7)?,
        cost_usd: decimal(8)?,
    })
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    day: &'a Option<String>,
    id: &'a Option<String>,
    credential: &'a Option<String>,
    model: &'a Option<String>,
    meter: &'a str,
    vendor_quantity: Option<String>,
    quantity: Option<String>,
    vendor_cost_usd: Option<String>,
    cost_usd: Option<String>,
    cause: Option<crate::reconcile::Cause>,
}

/// Keeps a comparison and its lines; differences, rates and sums are computed here, exactly.
pub(crate) async fn keep(
    client: &impl GenericClient,
    new: &NewReconciliation<'_>,
    lines: &[Compared],
) -> Result<(), Error> {
    let text =
        |value: Option<farebox_pricing::money::Decimal>| value.map(|value| value.to_string());
    let written: Vec<Written<'_>> = lines
        .iter()
        .map(|line| Written {
            day: &line.subject.day,
            id: &line.subject.id,
            credential: &line.subject.credential,
            model: &line.subject.model,
            meter: &line.subject.meter,
            vendor_quantity: text(line.sides.vendor_quantity),
            quantity: text(line.sides.quantity),
            vendor_cost_usd: text(line.sides.vendor_cost_usd),
            cost_usd: text(line.sides.cost_usd),
            cause: line.cause,
        })
        .collect();
    let written = tokio_postgres::types::Json(&written);
    client
        .execute(
            "insert into farebox_private.reconciliations (
                reconciliation_id, provider, from_day, to_day, by_id, tolerance_usd, tolerance_percent,
                lines, disagreeing, vendor_cost_usd, cost_usd, is_within, files_sha256, created_by
            )
            select
                $1, $2, $3::text::date, $4::text::date, $5, $6::text::numeric, $7::text::numeric,
                count(*), count(line.cause),
                round(sum(line.vendor_cost_usd), 12),
                round(sum(line.cost_usd) filter (where line.vendor_cost_usd is not null), 12),
                count(line.cause) = 0, $8, $9
            from jsonb_to_recordset($10::jsonb) as line (cause text, vendor_cost_usd numeric, cost_usd numeric)",
            &[
                &new.reconciliation_id,
                &new.provider,
                &new.from_day,
                &new.to_day,
                &new.by_id,
                &new.tolerance_usd,
                &new.tolerance_percent,
                &new.files_sha256,
                &new.created_by,
                &written,
            ],
        )
        .await?;
    client
        .execute(
            "insert into farebox_private.reconciliation_lines (
                reconciliation_id, line, day, id, credential, model, meter, vendor_quantity, quantity,
                vendor_cost_usd, cost_usd, quantity_difference, cost_difference_usd, cause, implied_rate,
                booked_rate
            )
            select
                $1, numbered.line, line.day, line.id, line.credential, line.model, line.meter,
                line.vendor_quantity, line.quantity, line.vendor_cost_usd, line.cost_usd,
                line.vendor_quantity - coalesce(line.quantity, 0),
                line.vendor_cost_usd - coalesce(line.cost_usd, 0),
                line.cause,
                round(line.vendor_cost_usd / nullif(coalesce(line.vendor_quantity, line.quantity), 0), 18),
                round(line.cost_usd / nullif(line.quantity, 0), 18)
            from jsonb_array_elements($2::jsonb) with ordinality as numbered (value, line)
            cross join lateral jsonb_to_record(numbered.value) as line (
                day date, id text, credential text, model text, meter text, vendor_quantity numeric,
                quantity numeric, vendor_cost_usd numeric, cost_usd numeric, cause text
            )",
            &[&new.reconciliation_id, &written],
        )
        .await?;
    Ok(())
}

const SELECT: &str = r#"select
        reconciliation_id, provider, from_day::text, to_day::text, by_id, trim_scale(tolerance_usd)::text,
        trim_scale(tolerance_percent)::text, lines, disagreeing,
        (
            select jsonb_object_agg(cause.name, cause.lines)
            from (
                select named.name, count(found.cause) as lines
                from (values ('coverage'), ('units'), ('rate')) as named (name)
                left join farebox_private.reconciliation_lines as found
                    on found.reconciliation_id = reconciliations.reconciliation_id and found.cause = named.name
                group by named.name
            ) as cause
        )::text,
        trim_scale(vendor_cost_usd)::text, trim_scale(cost_usd)::text, is_within, files_sha256,
        to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), created_by
    from farebox_private.reconciliations"#;

fn read(row: &Row) -> Result<Reconciliation, Error> {
    let causes: Option<String> = row.try_get(9)?;
    Ok(Reconciliation {
        reconciliation_id: row.try_get(0)?,
        provider: row.try_get(1)?,
        from_day: row.try_get(2)?,
        to_day: row.try_get(3)?,
        by_id: row.try_get(4)?,
        tolerance_usd: row.try_get(5)?,
        tolerance_percent: row.try_get(6)?,
        lines: row.try_get(7)?,
        disagreeing: row.try_get(8)?,
        causes: causes.and_then(|text| RawValue::from_string(text).ok()),
        vendor_cost_usd: row.try_get(10)?,
        cost_usd: row.try_get(11)?,
        is_within: row.try_get(12)?,
        files_sha256: row.try_get(13)?,
        created_at: row.try_get(14)?,
        created_by: row.try_get(15)?,
    })
}

/// A page of comparisons, the latest first. Ids are UUIDv7.
pub(crate) async fn list(
    client: &impl GenericClient,
    provider: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Reconciliation>, Error> {
    let sql = format!(
        "{SELECT}
         where ($1::text is null or provider = $1)
            and ($2::uuid is null or reconciliation_id < $2)
         order by reconciliation_id desc
         limit $3"
    );
    let rows = client
        .query(&sql, &[&provider, &after, &(i64::from(limit) + 1)])
        .await?;
    rows.iter().map(read).collect()
}

/// The latest comparison of each of these vendors that overlaps a month, by vendor.
pub(crate) async fn of_month(
    client: &impl GenericClient,
    providers: &[&str],
    month: &str,
) -> Result<Vec<Reconciliation>, Error> {
    let sql = format!(
        "{SELECT}
         where reconciliation_id in (
             select distinct on (provider) reconciliation_id
             from farebox_private.reconciliations
             where provider = any($1)
                 and from_day < ($2::text::date + interval '1 month')
                 and to_day > $2::text::date
             order by provider, reconciliation_id desc)
         order by provider"
    );
    let rows = client.query(&sql, &[&providers, &month]).await?;
    rows.iter().map(read).collect()
}

/// One comparison.
pub(crate) async fn find(
    client: &impl GenericClient,
    reconciliation_id: Uuid,
) -> Result<Option<Reconciliation>, Error> {
    let sql = format!("{SELECT} where reconciliation_id = $1");
    let row = client.query_opt(&sql, &[&reconciliation_id]).await?;
    row.as_ref().map(read).transpose()
}

/// Lines of a comparison past one, those that differ or all.
pub(crate) async fn lines(
    client: &impl GenericClient,
    reconciliation_id: Uuid,
    all: bool,
    after: i64,
    limit: i64,
) -> Result<Vec<ReconciliationLine>, Error> {
    let rows = client
        .query(
            "select
                line, day::text, id, credential, model, meter, trim_scale(vendor_quantity)::text,
                trim_scale(quantity)::text, trim_scale(vendor_cost_usd)::text, trim_scale(cost_usd)::text,
                trim_scale(quantity_difference)::text, trim_scale(cost_difference_usd)::text, cause,
                trim_scale(implied_rate)::text, trim_scale(booked_rate)::text
             from farebox_private.reconciliation_lines
             where reconciliation_id = $1
                and ($2 or cause is not null)
                and line > $3
             order by line
             limit $4",
            &[&reconciliation_id, &all, &after, &limit],
        )
        .await?;
    let read = |row: &Row| {
        Ok(ReconciliationLine {
            line: row.try_get(0)?,
            day: row.try_get(1)?,
            id: row.try_get(2)?,
            credential: row.try_get(3)?,
            model: row.try_get(4)?,
            meter: row.try_get(5)?,
            vendor_quantity: row.try_get(6)?,
            quantity: row.try_get(7)?,
            vendor_cost_usd: row.try_get(8)?,
            cost_usd: row.try_get(9)?,
            quantity_difference: row.try_get(10)?,
            cost_difference_usd: row.try_get(11)?,
            cause: row.try_get(12)?,
            implied_rate: row.try_get(13)?,
            booked_rate: row.try_get(14)?,
        })
    };
    rows.iter().map(read).collect()
}
