//! Limits: rows of the directory.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Limit {
    /// Identifier.
    pub limit_id: Uuid,
    /// The tenant it binds; null: every tenant, each for itself.
    pub tenant_id: Option<String>,
    /// What is counted.
    pub meter: String,
    /// How much a window allows, an exact decimal.
    pub amount: String,
    /// `second`, `minute`, `hour` or `day`.
    pub window_kind: String,
    /// `refuse` or `warn`.
    pub action: String,
    /// Counted and reported, never enforced.
    pub dry_run: bool,
    /// When it stops to hold; null: never.
    pub expires_at: Option<String>,
    /// Who made it.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// What a limit says, without who made it and when.
pub(crate) struct LimitTerms<'a> {
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) meter: &'a str,
    pub(crate) amount: &'a str,
    pub(crate) window_kind: &'a str,
    pub(crate) action: &'a str,
    pub(crate) dry_run: bool,
    pub(crate) expires_at: Option<&'a str>,
}

const COLUMNS: &str = r#"limit_id, tenant_id, meter, trim_scale(amount)::text, window_kind, action, dry_run,
    to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    created_by,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;

fn read(row: &Row) -> Result<Limit, Error> {
    Ok(Limit {
        limit_id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        meter: row.try_get(2)?,
        amount: row.try_get(3)?,
        window_kind: row.try_get(4)?,
        action: row.try_get(5)?,
        dry_run: row.try_get(6)?,
        expires_at: row.try_get(7)?,
        created_by: row.try_get(8)?,
        created_at: row.try_get(9)?,
        updated_at: row.try_get(10)?,
    })
}

/// A page of limits, newest first. `own` holds it to one tenant and hides limits on cost and those
/// that bind more than the tenant; `tenant` only filters.
pub(crate) async fn list(
    client: &impl GenericClient,
    own: Option<&str>,
    tenant: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Limit>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.limits
         where ($1::text is null or (tenant_id = $1 and meter <> 'cost'))
             and ($2::text is null or tenant_id = $2)
             and ($3::uuid is null or limit_id < $3)
         order by limit_id desc
         limit $4"
    );
    let rows = client
        .query(&sql, &[&own, &tenant, &after, &(i64::from(limit) + 1)])
        .await?;
    rows.iter().map(read).collect()
}

/// The limit, held until the transaction ends.
pub(crate) async fn lock(
    client: &impl GenericClient,
    limit_id: Uuid,
) -> Result<Option<Limit>, Error> {
    let sql =
        format!("select {COLUMNS} from farebox_private.limits where limit_id = $1 for update");
    let row = client.query_opt(&sql, &[&limit_id]).await?;
    row.as_ref().map(read).transpose()
}

/// The limit of the same tenant, meter and window, held until the transaction ends. Two requests
/// that make the same limit at once wait for each other here.
pub(crate) async fn lock_like(
    client: &impl GenericClient,
    terms: &LimitTerms<'_>,
) -> Result<Option<Limit>, Error> {
    client
        .query_one(
            "select pg_advisory_xact_lock(hashtextextended('farebox_limits', 0))::text",
            &[],
        )
        .await?;
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.limits
         where tenant_id is not distinct from $1
             and meter = $2
             and window_kind = $3
             and customer_id is null
             and key_id is null
             and upstream is null
             and model is null
         order by limit_id
         limit 1
         for update"
    );
    let row = client
        .query_opt(&sql, &[&terms.tenant_id, &terms.meter, &terms.window_kind])
        .await?;
    row.as_ref().map(read).transpose()
}

/// Makes or replaces the limit of this id.
pub(crate) async fn put(
    client: &impl GenericClient,
    limit_id: Uuid,
    terms: &LimitTerms<'_>,
    actor: &str,
) -> Result<Limit, Error> {
    let sql = format!(
        "insert into farebox_private.limits
            (limit_id, tenant_id, meter, amount, window_kind, action, dry_run, expires_at, created_by)
         values ($1, $2, $3, $4::text::numeric, $5, $6, $7, $8::text::timestamptz, $9)
         on conflict (limit_id) do update set
            tenant_id = excluded.tenant_id,
            meter = excluded.meter,
            amount = excluded.amount,
            window_kind = excluded.window_kind,
            action = excluded.action,
            dry_run = excluded.dry_run,
            expires_at = excluded.expires_at,
            updated_at = now()
         returning {COLUMNS}"
    );
    let row = client
        .query_one(
            &sql,
            &[
                &limit_id,
                &terms.tenant_id,
                &terms.meter,
                &terms.amount,
                &terms.window_kind,
                &terms.action,
                &terms.dry_run,
                &terms.expires_at,
                &actor,
            ],
        )
        .await?;
    read(&row)
}

/// Removes the limit.
pub(crate) async fn remove(client: &impl GenericClient, limit_id: Uuid) -> Result<(), Error> {
    client
        .execute(
            "delete from farebox_private.limits where limit_id = $1",
            &[&limit_id],
        )
        .await?;
    Ok(())
}
