//! Adjustments as the API shows them, newest first.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// One signed correction of one meter of one event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Adjustment {
    /// Identifier.
    pub adjustment_id: Uuid,
    /// What was corrected together.
    pub batch_id: Uuid,
    /// The event it corrects.
    pub event_id: Uuid,
    /// `reprice`, `retag`, `reread` or `manual`.
    pub kind: String,
    /// Who booked it; null for a tenant.
    pub actor: Option<String>,
    /// Why.
    pub reason: String,
    /// The rate card or reader it was booked by; null for a tenant.
    pub old_revision: Option<String>,
    /// The rate card or reader it is corrected to; null for a tenant.
    pub new_revision: Option<String>,
    /// When it was booked.
    pub booked_at: String,
    /// When its event started.
    pub started_at: String,
    /// Its event's day.
    pub day: String,
    /// The month it is booked in.
    pub period: String,
    /// The month its event was booked in.
    pub event_period: String,
    /// The tenant it is booked to; null: unattributed.
    pub tenant_id: Option<String>,
    /// The customer.
    pub customer_id: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The virtual key.
    pub key_id: Option<Uuid>,
    /// `live` or `test`.
    pub environment: String,
    /// Who the provider bills.
    pub paid_by: String,
    /// The vendor.
    pub provider: String,
    /// The kind of call.
    pub endpoint: String,
    /// The model.
    pub model: Option<String>,
    /// Pricing of the row it moves in the sums.
    pub pricing: String,
    /// What is corrected; `calls` is the count of calls.
    pub meter: String,
    /// Signed change of the quantity, an exact decimal.
    pub quantity: String,
    /// Signed change of the cost; null for a tenant where the operator pays.
    pub cost_usd: Option<String>,
    /// Signed change of what is billed.
    pub billed_usd: String,
}

const COLUMNS: &str = r#"adjustment_id, batch_id, event_id, kind,
    case when not $1 then actor end, reason,
    case when not $1 then old_revision end, case when not $1 then new_revision end,
    to_char(booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    day::text, period::text, event_period::text, tenant_id, coalesce((
        select customers.customer_id
        from farebox_private.customers
        where customers.tenant_id = adjustments.tenant_id
            and customers.reference = adjustments.customer_id
    ), customer_id), project, key_id,
    environment, paid_by, provider, endpoint, model, pricing, meter, trim_scale(quantity)::text,
    case when not $1 or paid_by <> 'operator' then trim_scale(cost_usd)::text end,
    trim_scale(billed_usd)::text"#;

/// Which of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter<'a> {
    pub(crate) tenant: Option<&'a str>,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) batch_id: Option<Uuid>,
    pub(crate) kind: Option<&'a str>,
    /// The month booked in, by its first day.
    pub(crate) period: Option<&'a str>,
}

/// A page of them, newest first.
pub(crate) async fn list(
    client: &impl GenericClient,
    is_tenant: bool,
    filter: &Filter<'_>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Adjustment>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.adjustments
         where ($2::text is null or tenant_id = $2)
             and ($3::uuid is null or event_id = $3)
             and ($4::uuid is null or batch_id = $4)
             and ($5::text is null or kind = $5)
             and ($6::text is null or period = $6::text::date)
             and ($7::uuid is null or adjustment_id < $7)
         order by adjustment_id desc
         limit $8"
    );
    let rows = client
        .query(
            &sql,
            &[
                &is_tenant,
                &filter.tenant,
                &filter.event_id,
                &filter.batch_id,
                &filter.kind,
                &filter.period,
                &after,
                &(i64::from(limit) + 1),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Adjustment, Error> {
    Ok(Adjustment {
        adjustment_id: row.try_get(0)?,
        batch_id: row.try_get(1)?,
        event_id: row.try_get(2)?,
        kind: row.try_get(3)?,
        actor: row.try_get(4)?,
        reason: row.try_get(5)?,
        old_revision: row.try_get(6)?,
        new_revision: row.try_get(7)?,
        booked_at: row.try_get(8)?,
        started_at: row.try_get(9)?,
        day: row.try_get(10)?,
        period: row.try_get(11)?,
        event_period: row.try_get(12)?,
        tenant_id: row.try_get(13)?,
        customer_id: row.try_get(14)?,
        project: row.try_get(15)?,
        key_id: row.try_get(16)?,
        environment: row.try_get(17)?,
        paid_by: row.try_get(18)?,
        provider: row.try_get(19)?,
        endpoint: row.try_get(20)?,
        model: row.try_get(21)?,
        pricing: row.try_get(22)?,
        meter: row.try_get(23)?,
        quantity: row.try_get(24)?,
        cost_usd: row.try_get(25)?,
        billed_usd: row.try_get(26)?,
    })
}
