//! Tenants: the directory's rows with what has been seen of each.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;

/// A tenant, with its totals as far as the asker may see them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Tenant {
    /// The identifier used on the wire.
    pub tenant_id: String,
    /// A name for people.
    pub name: Option<String>,
    /// `active`, `suspended` or `archived`.
    pub status: String,
    /// Why it is suspended or archived; told to its callers.
    pub status_reason: Option<String>,
    /// Selling rules may go by it.
    pub plan: Option<String>,
    /// IANA name; decides the tenant's days and months.
    pub time_zone: String,
    /// First month for which `time_zone` holds; null: always.
    pub time_zone_from: Option<String>,
    /// Settings by name.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// When it was made.
    pub created_at: String,
    /// Earliest call; null: never seen.
    pub first_seen: Option<String>,
    /// Latest call; null: never seen.
    pub last_seen: Option<String>,
    /// `last_seen` when the list was begun.
    #[serde(skip)]
    pub(crate) place: Option<String>,
    /// Sessions seen, those of events that retention removed included.
    pub session_count: i64,
    /// Calls seen.
    pub request_count: i64,
    /// What the providers charge, as far as priced; a tenant sees what it pays itself.
    pub total_cost_usd: Option<String>,
    /// What the operator charges, as far as priced.
    pub total_billed_usd: Option<String>,
}

/// Usage of nobody: calls whose tenant is not known.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Unattributed {
    /// Calls.
    pub request_count: i64,
    /// What the providers charge for them.
    pub total_cost_usd: String,
    /// What would be billed for them.
    pub total_billed_usd: String,
}

/// A tenant's own row, without totals: what the audit log keeps.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantRow {
    pub(crate) tenant_id: String,
    pub(crate) name: Option<String>,
    pub(crate) status: String,
    pub(crate) status_reason: Option<String>,
    pub(crate) plan: Option<String>,
    pub(crate) time_zone: String,
    pub(crate) settings: Value,
}

/// Which tenants a list shows.
pub(crate) struct Filter<'a> {
    /// The asker's own tenant; `None` sees all.
    pub(crate) own: Option<&'a str>,
    /// One status; `None`: all but archived.
    pub(crate) status: Option<&'a str>,
    /// When the list was begun: it goes by what was seen until then, so that calls meanwhile move nothing.
    pub(crate) begun_at: &'a str,
    /// Last row of the page before: when it had been seen (or the empty text) and its id.
    pub(crate) after: Option<[&'a str; 2]>,
    /// Rows of a page.
    pub(crate) limit: u32,
}

const SELECT: &str = r#"
    select
        page.tenant_id,
        page.name,
        page.status,
        page.plan,
        page.time_zone,
        page.time_zone_from::text,
        page.settings,
        to_char(page.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(page.first_seen at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(page.last_seen at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(page.place at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        sessions.session_count,
        totals.request_count,
        totals.cost_usd::text,
        totals.billed_usd::text,
        page.status_reason
    from page
    cross join lateral (
        select (
            select count(*)
            from farebox_private.tenant_sessions as sessions
            where sessions.tenant_id = page.tenant_id
        ) + (
            -- Of those that a correction moved here or away: whether anything of it is here, and whether it is counted.
            select coalesce(sum(
                (0 < (
                    select count(*)
                    from farebox_private.usage_events as events
                    where events.tenant_id = page.tenant_id and events.session_id = moved.session_id
                ) + (
                    select coalesce(sum(adjustments.events), 0)
                    from farebox_private.adjustments
                    where adjustments.tenant_id = page.tenant_id and adjustments.session_id = moved.session_id
                ))::integer
                - (exists (
                    select
                    from farebox_private.tenant_sessions as sessions
                    where sessions.tenant_id = page.tenant_id
                        and sessions.session = farebox_private.session_digest(moved.session_id)
                ))::integer
            ), 0)
            from (
                select distinct adjustments.session_id
                from farebox_private.adjustments
                where adjustments.tenant_id = page.tenant_id
                    and adjustments.events <> 0
                    and adjustments.session_id is not null
            ) as moved
        ) as session_count
    ) as sessions
    cross join lateral (
        select
            coalesce(sum(usage_totals.quantity) filter (where usage_totals.meter = 'calls'), 0)::bigint
                as request_count,
            case
                when $1::boolean
                then trim_scale(sum(usage_totals.cost_usd) filter (where usage_totals.paid_by <> 'operator'))
                else trim_scale(coalesce(sum(usage_totals.cost_usd), 0))
            end as cost_usd,
            trim_scale(coalesce(sum(usage_totals.billed_usd), 0)) as billed_usd
        from farebox_private.usage_totals
        where usage_totals.tenant_id = page.tenant_id
    ) as totals
    order by coalesce(page.place, '-infinity') desc, page.tenant_id"#;

fn read(row: &Row) -> Result<Tenant, Error> {
    let Json(settings) = row.try_get(6)?;
    Ok(Tenant {
        tenant_id: row.try_get(0)?,
        name: row.try_get(1)?,
        status: row.try_get(2)?,
        plan: row.try_get(3)?,
        time_zone: row.try_get(4)?,
        time_zone_from: row.try_get(5)?,
        settings,
        created_at: row.try_get(7)?,
        first_seen: row.try_get(8)?,
        last_seen: row.try_get(9)?,
        place: row.try_get(10)?,
        session_count: row.try_get(11)?,
        request_count: row.try_get(12)?,
        total_cost_usd: row.try_get(13)?,
        total_billed_usd: row.try_get(14)?,
        status_reason: row.try_get(15)?,
    })
}

/// A page of tenants, most recently seen first. Ties and tenants never seen go by id.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Tenant>, Error> {
    // What changed since the list was begun is looked up as it was then; that is few.
    let sql = format!(
        "with page as (
            select
                tenants.tenant_id, tenants.name, tenants.status, tenants.plan, tenants.time_zone,
                tenants.time_zone_from, tenants.settings, tenants.created_at, tenants.status_reason,
                tenant_activity.first_seen, tenant_activity.last_seen, placed.place
            from farebox_private.tenants
            left join farebox_private.tenant_activity using (tenant_id)
            cross join lateral (
                select case
                    when tenant_activity.changed_at < $7::text::timestamptz then tenant_activity.last_seen
                    else (
                        select usage_events.started_at
                        from farebox_private.usage_events
                        where usage_events.tenant_id = tenants.tenant_id
                            and usage_events.received_at < $7::text::timestamptz
                        order by usage_events.started_at desc
                        limit 1
                    )
                end as place
                offset 0
            ) as placed
            where ($2::text is null or tenants.tenant_id = $2)
                and (tenants.status = $3 or ($3::text is null and tenants.status <> 'archived'))
                and (
                    $5::text is null
                    or coalesce(placed.place, '-infinity')
                        < coalesce(nullif($4::text, '')::timestamptz, '-infinity')
                    or (
                        coalesce(placed.place, '-infinity')
                            = coalesce(nullif($4::text, '')::timestamptz, '-infinity')
                        and tenants.tenant_id > $5
                    )
                )
            order by coalesce(placed.place, '-infinity') desc, tenants.tenant_id
            limit $6
        ) {SELECT}"
    );
    let (place, tenant_id) = match filter.after {
        Some([place, tenant_id]) => (Some(place), Some(tenant_id)),
        None => (None, None),
    };
    let rows = client
        .query(
            &sql,
            &[
                &filter.own.is_some(),
                &filter.own,
                &filter.status,
                &place,
                &tenant_id,
                &(i64::from(filter.limit) + 1),
                &filter.begun_at,
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// One tenant, whatever its status.
pub(crate) async fn find(
    client: &impl GenericClient,
    tenant_id: &str,
    is_tenant: bool,
) -> Result<Option<Tenant>, Error> {
    let sql = format!(
        "with page as (
            select
                tenants.tenant_id, tenants.name, tenants.status, tenants.plan, tenants.time_zone,
                tenants.time_zone_from, tenants.settings, tenants.created_at, tenants.status_reason,
                tenant_activity.first_seen, tenant_activity.last_seen,
                tenant_activity.last_seen as place
            from farebox_private.tenants
            left join farebox_private.tenant_activity using (tenant_id)
            where tenants.tenant_id = $2
        ) {SELECT}"
    );
    let row = client.query_opt(&sql, &[&is_tenant, &tenant_id]).await?;
    row.as_ref().map(read).transpose()
}

/// What nobody's calls come to.
pub(crate) async fn unattributed(client: &impl GenericClient) -> Result<Unattributed, Error> {
    let row = client
        .query_one(
            "select
                coalesce(sum(quantity) filter (where meter = 'calls'), 0)::bigint,
                trim_scale(coalesce(sum(cost_usd), 0))::text,
                trim_scale(coalesce(sum(billed_usd), 0))::text
             from farebox_private.usage_totals
             where tenant_id is null",
            &[],
        )
        .await?;
    Ok(Unattributed {
        request_count: row.try_get(0)?,
        total_cost_usd: row.try_get(1)?,
        total_billed_usd: row.try_get(2)?,
    })
}

fn read_row(row: &Row) -> Result<TenantRow, Error> {
    let Json(settings) = row.try_get(5)?;
    Ok(TenantRow {
        tenant_id: row.try_get(0)?,
        name: row.try_get(1)?,
        status: row.try_get(2)?,
        plan: row.try_get(3)?,
        time_zone: row.try_get(4)?,
        settings,
        status_reason: row.try_get(6)?,
    })
}

/// Makes a tenant; `None` when there is one of that id.
pub(crate) async fn create(
    client: &impl GenericClient,
    tenant: &TenantRow,
    actor: &str,
) -> Result<Option<TenantRow>, Error> {
    let row = client
        .query_opt(
            "insert into farebox_private.tenants
                (tenant_id, name, status, plan, time_zone, settings, created_by, status_reason)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (tenant_id) do nothing
             returning tenant_id, name, status, plan, time_zone, settings, status_reason",
            &[
                &tenant.tenant_id,
                &tenant.name,
                &tenant.status,
                &tenant.plan,
                &tenant.time_zone,
                &Json(&tenant.settings),
                &actor,
                &tenant.status_reason,
            ],
        )
        .await?;
    row.as_ref().map(read_row).transpose()
}

/// The row, held until the transaction ends.
pub(crate) async fn lock(
    client: &impl GenericClient,
    tenant_id: &str,
) -> Result<Option<TenantRow>, Error> {
    let row = client
        .query_opt(
            "select tenant_id, name, status, plan, time_zone, settings, status_reason
             from farebox_private.tenants
             where tenant_id = $1
             for update",
            &[&tenant_id],
        )
        .await?;
    row.as_ref().map(read_row).transpose()
}

/// Writes the row as it stands.
pub(crate) async fn update(client: &impl GenericClient, tenant: &TenantRow) -> Result<(), Error> {
    client
        .execute(
            "update farebox_private.tenants
             set name = $2, status = $3, plan = $4, time_zone = $5, settings = $6, status_reason = $7
             where tenant_id = $1",
            &[
                &tenant.tenant_id,
                &tenant.name,
                &tenant.status,
                &tenant.plan,
                &tenant.time_zone,
                &Json(&tenant.settings),
                &tenant.status_reason,
            ],
        )
        .await?;
    Ok(())
}

/// Whether there is such a tenant.
pub(crate) async fn exists(client: &impl GenericClient, tenant_id: &str) -> Result<bool, Error> {
    let row = client
        .query_one(
            "select exists (select from farebox_private.tenants where tenant_id = $1)",
            &[&tenant_id],
        )
        .await?;
    row.try_get(0)
}

/// The plan of a tenant, where it is there and has one.
pub(crate) async fn plan(
    client: &impl GenericClient,
    tenant: &str,
) -> Result<Option<String>, Error> {
    let row = client
        .query_opt(
            "select plan from farebox_private.tenants where tenant_id = $1",
            &[&tenant],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
}
