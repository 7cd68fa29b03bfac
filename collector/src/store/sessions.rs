//! Sessions: the events of one conversation, added up. Amounts are current sums.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;

/// A conversation of a tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// The tenant; null: unattributed.
    pub tenant_id: Option<String>,
    /// The caller's own id of it, unique in its tenant.
    pub session_id: String,
    /// Its first call.
    pub started_at: String,
    /// The end of its last call, or that call's beginning where the end is not known.
    pub ended_at: String,
    /// Its calls.
    pub request_count: i64,
    /// What the providers charge, as far as priced; for a tenant, where it pays them itself.
    pub total_cost_usd: Option<String>,
    /// What the operator charges, as far as priced; null when nothing is.
    pub total_billed_usd: Option<String>,
    /// The tenant's end customer.
    pub customer_id: Option<String>,
    /// An agent of the tenant.
    pub agent: Option<String>,
    /// Events that did not end `complete`.
    pub error_count: i64,
    /// `text`, `speech_to_text`, `text_to_speech`, `voice`, `image`, …
    pub modalities: Vec<String>,
    /// Whether something happened in the last 30 minutes.
    pub is_open: bool,
    /// When it counted as closed, 30 minutes after `ended_at`; null while open.
    pub closed_at: Option<String>,
}

/// Which sessions; `None` filters nothing.
pub(crate) struct Filter<'a> {
    pub(crate) is_tenant: bool,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) session: Option<&'a str>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// `started_at`, tenant (empty: none) and session of the last row of the page before.
    pub(crate) after: Option<[String; 3]>,
    pub(crate) limit: u32,
}

/// A page of sessions, the latest begun first.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Session>, Error> {
    let (from, to) = (
        filter.from.map(|at| at.to_string()),
        filter.to.map(|at| at.to_string()),
    );
    let [started_at, tenant_id, session_id] = match &filter.after {
        Some(after) => after.each_ref().map(|part| Some(part.as_str())),
        None => [None; 3],
    };
    let rows = client
        .query(
            r#"with page as (
                select
                    tenant_id,
                    session_id,
                    min(started_at) as started_at,
                    max(coalesce(ended_at, started_at)) as ended_at,
                    count(*) filter (where attempt = 1 and part = 1) as request_count,
                    case
                        when $1::boolean then sum(cost_usd) filter (where paid_by <> 'operator')
                        else sum(cost_usd)
                    end as cost_usd,
                    sum(billed_usd) as billed_usd,
                    max(coalesce(customers.name, customer_id)) as customer_id,
                    max(agent) as agent,
                    count(*) filter (where ending not in ('complete', 'continues')) as error_count,
                    array_agg(distinct farebox_private.modality(endpoint)) as modalities
                from farebox_private.usage_events
                left join (
                    select tenant_id as of_tenant, reference, customer_id as name
                    from farebox_private.customers
                ) as customers
                    on customers.of_tenant = tenant_id and customers.reference = customer_id
                where session_id is not null
                    and ($2::text is null or tenant_id = $2)
                    and ($3::text is null or session_id = $3)
                group by tenant_id, session_id
                having ($4::text is null or min(started_at) >= $4::text::timestamptz)
                    and ($5::text is null or min(started_at) < $5::text::timestamptz)
                    and (
                        $6::text is null
                        or (min(started_at), coalesce(tenant_id, ''), session_id)
                            < ($6::text::timestamptz, $7::text, $8::text)
                    )
                order by min(started_at) desc, coalesce(tenant_id, '') desc, session_id desc
                limit $9
            )
            select
                page.tenant_id,
                page.session_id,
                to_char(page.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(page.ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                page.request_count,
                trim_scale(
                    case when page.cost_usd is null and adjusted.cost_usd is null then null
                    else coalesce(page.cost_usd, 0) + coalesce(adjusted.cost_usd, 0) end
                )::text,
                trim_scale(
                    case when page.billed_usd is null and adjusted.billed_usd is null then null
                    else coalesce(page.billed_usd, 0) + coalesce(adjusted.billed_usd, 0) end
                )::text,
                page.customer_id,
                page.agent,
                page.error_count,
                page.modalities,
                page.ended_at > now() - farebox_private.session_idle(),
                case when page.ended_at <= now() - farebox_private.session_idle() then to_char(
                    (page.ended_at + farebox_private.session_idle()) at time zone 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                ) end
            from page
            cross join lateral (
                select
                    sum(adjustments.cost_usd) filter (where not $1::boolean or adjustments.paid_by <> 'operator')
                        as cost_usd,
                    sum(adjustments.billed_usd) as billed_usd
                from farebox_private.usage_events
                join farebox_private.adjustments
                    on adjustments.event_id = usage_events.event_id
                    and adjustments.tenant_id is not distinct from usage_events.tenant_id
                where usage_events.session_id = page.session_id
                    -- Each arm can go through the index, `is not distinct from` cannot.
                    and (
                        usage_events.tenant_id = page.tenant_id
                        or (usage_events.tenant_id is null and page.tenant_id is null)
                    )
            ) as adjusted
            order by page.started_at desc, coalesce(page.tenant_id, '') desc, page.session_id desc"#,
            &[
                &filter.is_tenant,
                &filter.tenant,
                &filter.session,
                &from,
                &to,
                &started_at,
                &tenant_id,
                &session_id,
                &(i64::from(filter.limit) + 1),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Session, Error> {
    Ok(Session {
        tenant_id: row.try_get(0)?,
        session_id: row.try_get(1)?,
        started_at: row.try_get(2)?,
        ended_at: row.try_get(3)?,
        request_count: row.try_get(4)?,
        total_cost_usd: row.try_get(5)?,
        total_billed_usd: row.try_get(6)?,
        customer_id: row.try_get(7)?,
        agent: row.try_get(8)?,
        error_count: row.try_get(9)?,
        modalities: row.try_get(10)?,
        is_open: row.try_get(11)?,
        closed_at: row.try_get(12)?,
    })
}
