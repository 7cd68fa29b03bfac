//! How far limits are used, and when they spoke: the same rows as the views of those names.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// One counter in its present window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LimitStatus {
    /// The limit.
    pub limit_id: Uuid,
    /// The tenant it counts; null: several.
    pub tenant_id: Option<String>,
    /// The values of the limit's `per` that are counted here, by name; null: nothing is counted yet.
    #[schema(value_type = Option<Object>)]
    pub scope_values: Option<Value>,
    /// What is counted.
    pub meter: String,
    /// For `usd`: `billed` or `cost`.
    pub basis: String,
    /// How much a window allows.
    pub amount: String,
    /// The window.
    pub window_kind: String,
    /// `refuse` or `warn`.
    pub action: String,
    /// Counted and reported, never enforced.
    pub dry_run: bool,
    /// Settled in this window, as last reported.
    pub used: String,
    /// Held for calls that run, as last reported.
    pub reserved: String,
    /// What is left, never below zero.
    pub remaining: String,
    /// Used in percent of the amount; null where the amount is nothing.
    pub percent: Option<String>,
    /// When the window began; null: it has none.
    pub window_start: Option<String>,
    /// When the next window begins; null: it has none.
    pub resets_at: Option<String>,
    /// What proxies may spend without asking; null for tenants.
    pub leased: Option<String>,
    /// Calls that a dry run would have refused.
    pub would_refuse: i64,
    /// When the limit stops to hold; null: never.
    pub expires_at: Option<String>,
    /// When a proxy last reported; null: not yet.
    pub reported_at: Option<String>,
    #[serde(skip)]
    pub scope: String,
}

/// A limit warned, refused, or would have.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LimitEvent {
    /// Identifier.
    pub limit_event_id: Uuid,
    /// The limit.
    pub limit_id: Uuid,
    /// The tenant that met it.
    pub tenant_id: Option<String>,
    /// `warning`, `refusal`, `cut`, `dry_run` or `reset`.
    pub kind: String,
    /// What was counted.
    pub meter: String,
    /// How much was used; null where only the proxy counts.
    pub used: Option<String>,
    /// How much is allowed.
    pub amount: Option<String>,
    /// When.
    pub triggered_at: String,
    /// When the proxy's report of it came in.
    pub sent_at: Option<String>,
    /// When the window ends.
    pub expires_at: Option<String>,
    /// The proxy; null for tenants.
    pub node: Option<String>,
}

/// A page of counters, by limit and values. `own` holds it to what one tenant may see.
pub(crate) async fn status(
    client: &impl GenericClient,
    own: Option<&str>,
    tenant: Option<&str>,
    limit_id: Option<Uuid>,
    after: Option<(Uuid, &str)>,
    limit: u32,
) -> Result<Vec<LimitStatus>, Error> {
    let (after_id, after_scope) = after.unzip();
    let rows = client
        .query(
            r#"select limit_id, status.tenant_id, scope_values, meter, status.basis, trim_scale(amount)::text,
                window_kind, action, dry_run, trim_scale(used)::text, trim_scale(reserved)::text,
                trim_scale(remaining)::text, percent::text,
                to_char(window_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(resets_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                case when $1::text is null then trim_scale(leased)::text end,
                would_refuse,
                to_char(status.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(reported_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                md5(coalesce(scope_values::text, ''))
             from farebox.limit_status as status
             where ($1::text is null or (
                    status.tenant_id = $1 and status.basis <> 'cost'
                    and exists (
                        select from farebox_private.limits as own
                        where own.limit_id = status.limit_id and own.tenant_id = $1
                    )))
                and ($2::text is null or status.tenant_id = $2)
                and ($3::uuid is null or limit_id = $3)
                and ($4::uuid is null or (limit_id, md5(coalesce(scope_values::text, ''))) > ($4, $5::text))
             order by limit_id, md5(coalesce(scope_values::text, ''))
             limit $6"#,
            &[
                &own,
                &tenant,
                &limit_id,
                &after_id,
                &after_scope,
                &(i64::from(limit) + 1),
            ],
        )
        .await?;
    rows.iter().map(read_status).collect()
}

fn read_status(row: &Row) -> Result<LimitStatus, Error> {
    Ok(LimitStatus {
        limit_id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        scope_values: row.try_get(2)?,
        meter: row.try_get(3)?,
        basis: row.try_get(4)?,
        amount: row.try_get(5)?,
        window_kind: row.try_get(6)?,
        action: row.try_get(7)?,
        dry_run: row.try_get(8)?,
        used: row.try_get(9)?,
        reserved: row.try_get(10)?,
        remaining: row.try_get(11)?,
        percent: row.try_get(12)?,
        window_start: row.try_get(13)?,
        resets_at: row.try_get(14)?,
        leased: row.try_get(15)?,
        would_refuse: row.try_get(16)?,
        expires_at: row.try_get(17)?,
        reported_at: row.try_get(18)?,
        scope: row.try_get(19)?,
    })
}

/// A page of events, newest first. `own` holds it to what one tenant may see.
pub(crate) async fn events(
    client: &impl GenericClient,
    own: Option<&str>,
    tenant: Option<&str>,
    limit_id: Option<Uuid>,
    after: Option<(&str, Uuid)>,
    limit: u32,
) -> Result<Vec<LimitEvent>, Error> {
    let (after_at, after_id) = after.unzip();
    let rows = client
        .query(
            r#"select limit_event_id, limit_id, event.tenant_id, kind, meter, trim_scale(used)::text,
                trim_scale(amount)::text,
                to_char(triggered_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(sent_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(event.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                case when $1::text is null then node end
             from farebox.limit_events as event
             where ($1::text is null or (event.tenant_id = $1 and exists (
                    select from farebox_private.limits as own
                    where own.limit_id = event.limit_id and own.tenant_id = $1 and own.basis <> 'cost'
                )))
                and ($2::text is null or event.tenant_id = $2)
                and ($3::uuid is null or limit_id = $3)
                and ($4::text is null
                    or (date_trunc('milliseconds', triggered_at), limit_event_id) < ($4::text::timestamptz, $5::uuid))
             order by date_trunc('milliseconds', triggered_at) desc, limit_event_id desc
             limit $6"#,
            &[
                &own,
                &tenant,
                &limit_id,
                &after_at,
                &after_id,
                &(i64::from(limit) + 1),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(LimitEvent {
                limit_event_id: row.try_get(0)?,
                limit_id: row.try_get(1)?,
                tenant_id: row.try_get(2)?,
                kind: row.try_get(3)?,
                meter: row.try_get(4)?,
                used: row.try_get(5)?,
                amount: row.try_get(6)?,
                triggered_at: row.try_get(7)?,
                sent_at: row.try_get(8)?,
                expires_at: row.try_get(9)?,
                node: row.try_get(10)?,
            })
        })
        .collect()
}
