//! Limits: rows of the directory.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Limit {
    /// Identifier.
    pub limit_id: Uuid,
    /// The tenant it binds; null: every tenant.
    pub tenant_id: Option<String>,
    /// The customer it binds; null: all.
    pub customer_id: Option<String>,
    /// The project it binds; null: all.
    pub project: Option<String>,
    /// The agent it binds; null: all.
    pub agent: Option<String>,
    /// The virtual key it binds; null: all.
    pub key_id: Option<Uuid>,
    /// The vendor it binds; null: all.
    pub provider: Option<String>,
    /// The upstream it binds; null: all.
    pub upstream: Option<String>,
    /// The model it binds, by its name or a pattern; null: all.
    pub model: Option<String>,
    /// Dimensions each value of which has the amount for itself.
    pub per: Vec<String>,
    /// What is counted: `requests`, `concurrency`, `tokens`, a meter, or `usd`.
    pub meter: String,
    /// How much a window allows, an exact decimal.
    pub amount: String,
    /// `second`, `minute`, `hour`, `day`, `week`, `month`, or `concurrent`.
    pub window_kind: String,
    /// For `usd`: `billed` or `cost`.
    pub basis: String,
    /// `refuse` or `warn`.
    pub action: String,
    /// What holds while it cannot be checked: `closed` or `open`.
    pub fail: String,
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
pub(crate) struct LimitTerms {
    pub(crate) tenant_id: Option<String>,
    pub(crate) customer_id: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) provider: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) per: Vec<String>,
    pub(crate) meter: String,
    pub(crate) amount: String,
    pub(crate) window_kind: String,
    pub(crate) basis: String,
    pub(crate) action: String,
    pub(crate) fail: String,
    pub(crate) dry_run: bool,
    pub(crate) expires_at: Option<String>,
}

impl LimitTerms {
    /// Whether a limit of the same calls, meter, basis and window says the rest already.
    pub(crate) fn is_said_by(&self, limit: &Limit) -> bool {
        limit.amount == self.amount
            && limit.action == self.action
            && limit.fail == self.fail
            && limit.dry_run == self.dry_run
            && limit.expires_at == self.expires_at
    }

    /// What a limit is like another by: `$1` to `$12` of [`LIKENESS`].
    fn likeness(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.tenant_id,
            &self.customer_id,
            &self.project,
            &self.agent,
            &self.key_id,
            &self.provider,
            &self.upstream,
            &self.model,
            &self.per,
            &self.meter,
            &self.window_kind,
            &self.basis,
        ]
    }
}

const LIKENESS: &str = "tenant_id, customer_id, project, agent, key_id, provider, upstream, model, per, meter, window_kind, basis";

const COLUMNS: &str = r#"limit_id, tenant_id, customer_id, project, agent, key_id, provider, upstream, model, per,
    meter, trim_scale(amount)::text, window_kind, basis, action, fail, dry_run,
    to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    created_by,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;

fn read(row: &Row) -> Result<Limit, Error> {
    Ok(Limit {
        limit_id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        customer_id: row.try_get(2)?,
        project: row.try_get(3)?,
        agent: row.try_get(4)?,
        key_id: row.try_get(5)?,
        provider: row.try_get(6)?,
        upstream: row.try_get(7)?,
        model: row.try_get(8)?,
        per: row.try_get(9)?,
        meter: row.try_get(10)?,
        amount: row.try_get(11)?,
        window_kind: row.try_get(12)?,
        basis: row.try_get(13)?,
        action: row.try_get(14)?,
        fail: row.try_get(15)?,
        dry_run: row.try_get(16)?,
        expires_at: row.try_get(17)?,
        created_by: row.try_get(18)?,
        created_at: row.try_get(19)?,
        updated_at: row.try_get(20)?,
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
         where ($1::text is null or (tenant_id = $1 and basis <> 'cost'))
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

/// The limit, as far as its reader may see it.
pub(crate) async fn find(
    client: &impl GenericClient,
    own: Option<&str>,
    limit_id: Uuid,
) -> Result<Option<Limit>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.limits
         where limit_id = $1 and ($2::text is null or (tenant_id = $2 and basis <> 'cost'))"
    );
    let row = client.query_opt(&sql, &[&limit_id, &own]).await?;
    row.as_ref().map(read).transpose()
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

/// The limit of the same calls, meter and window, held until the transaction ends. Two requests that
/// make the same limit at once wait for each other here.
pub(crate) async fn lock_like(
    client: &impl GenericClient,
    terms: &LimitTerms,
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
         where ({LIKENESS}) is not distinct from (
             $1::text, $2::text, $3::text, $4::text, $5::uuid, $6::text, $7::text, $8::text, $9::text[],
             $10::text, $11::text, $12::text)
         order by limit_id
         limit 1
         for update"
    );
    let row = client.query_opt(&sql, &terms.likeness()).await?;
    row.as_ref().map(read).transpose()
}

/// Makes or replaces the limit of this id.
pub(crate) async fn put(
    client: &impl GenericClient,
    limit_id: Uuid,
    terms: &LimitTerms,
    actor: &str,
) -> Result<Limit, Error> {
    let sql = format!(
        "insert into farebox_private.limits
            ({LIKENESS}, limit_id, amount, action, fail, dry_run, expires_at, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
             $13, $14::text::numeric, $15, $16, $17, $18::text::timestamptz, $19)
         on conflict (limit_id) do update set
            tenant_id = excluded.tenant_id,
            customer_id = excluded.customer_id,
            project = excluded.project,
            agent = excluded.agent,
            key_id = excluded.key_id,
            provider = excluded.provider,
            upstream = excluded.upstream,
            model = excluded.model,
            per = excluded.per,
            meter = excluded.meter,
            amount = excluded.amount,
            window_kind = excluded.window_kind,
            basis = excluded.basis,
            action = excluded.action,
            fail = excluded.fail,
            dry_run = excluded.dry_run,
            expires_at = excluded.expires_at,
            updated_at = now()
         returning {COLUMNS}"
    );
    let mut values = terms.likeness().to_vec();
    values.extend([
        &limit_id as &(dyn ToSql + Sync),
        &terms.amount,
        &terms.action,
        &terms.fail,
        &terms.dry_run,
        &terms.expires_at,
        &actor,
    ]);
    read(&client.query_one(&sql, &values).await?)
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
