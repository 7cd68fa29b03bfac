//! Runs of agents, and the steps they are made of. Amounts are current sums.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;

/// Steps of one run that are shown at most.
pub(crate) const SPANS_MAX: i64 = 10_000;

/// A run of an agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// The tenant; null: unattributed.
    pub tenant_id: Option<String>,
    /// The caller's own id of it, or the trace id; unique in its tenant.
    pub run_id: String,
    /// A conversation.
    pub session_id: Option<String>,
    /// An agent of the tenant.
    pub agent: Option<String>,
    /// Its first call.
    pub started_at: String,
    /// The end of its last call, or that call's beginning where the end is not known.
    pub ended_at: String,
    /// Steps in which something was called.
    pub span_count: i64,
    /// Its calls.
    pub request_count: i64,
    /// Events that did not end `complete`.
    pub error_count: i64,
    /// What the providers charge, as far as priced; for a tenant, where it pays them itself.
    pub total_cost_usd: Option<String>,
    /// What the operator charges, as far as priced; null when nothing is.
    pub total_billed_usd: Option<String>,
}

/// A step of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Span {
    /// The tenant; null: unattributed.
    pub tenant_id: Option<String>,
    /// Identifier in its run.
    pub span_id: String,
    /// The step above it.
    pub parent_span_id: Option<String>,
    /// As sent, such as `agent:planner`.
    pub section: Option<String>,
    /// `agent`, `tool` or `step`.
    pub kind: Option<String>,
    /// The section without its kind.
    pub name: Option<String>,
    /// Ids from the root to this step.
    pub path: Vec<String>,
    /// Sections from the root to this step.
    pub sections: Vec<String>,
    /// Its first call.
    pub started_at: String,
    /// The end of its last call.
    pub ended_at: String,
    /// Its own calls.
    pub request_count: i64,
    /// Events that did not end `complete`.
    pub error_count: i64,
    /// What the providers charge for its own calls; null for a tenant's key.
    pub total_cost_usd: Option<String>,
    /// What the operator charges for its own calls.
    pub total_billed_usd: Option<String>,
}

/// Which runs; `None` filters nothing.
pub(crate) struct Filter<'a> {
    pub(crate) is_tenant: bool,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) run: Option<&'a str>,
    pub(crate) session: Option<&'a str>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// `started_at`, tenant (empty: none) and run of the last row of the page before.
    pub(crate) after: Option<[String; 3]>,
    pub(crate) limit: u32,
}

/// A page of runs, the latest begun first.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Run>, Error> {
    let (from, to) = (
        filter.from.map(|at| at.to_string()),
        filter.to.map(|at| at.to_string()),
    );
    let [started_at, tenant_id, run_id] = match &filter.after {
        Some(after) => after.each_ref().map(|part| Some(part.as_str())),
        None => [None; 3],
    };
    let rows = client
        .query(
            r#"with page as (
                select
                    tenant_id,
                    run_id,
                    max(session_id) as session_id,
                    max(agent) as agent,
                    min(started_at) as started_at,
                    max(coalesce(ended_at, started_at)) as ended_at,
                    count(distinct coalesce(span_id, parent_span_id)) as span_count,
                    count(*) filter (where attempt = 1 and part = 1) as request_count,
                    count(*) filter (where ending not in ('complete', 'continues')) as error_count,
                    case
                        when $1::boolean then sum(cost_usd) filter (where paid_by <> 'operator')
                        else sum(cost_usd)
                    end as cost_usd,
                    sum(billed_usd) as billed_usd
                from farebox_private.usage_events
                where run_id is not null
                    and ($2::text is null or tenant_id = $2)
                    and ($3::text is null or run_id = $3)
                    and ($10::text is null or session_id = $10)
                group by tenant_id, run_id
                having ($4::text is null or min(started_at) >= $4::text::timestamptz)
                    and ($5::text is null or min(started_at) < $5::text::timestamptz)
                    and (
                        $6::text is null
                        or (min(started_at), coalesce(tenant_id, ''), run_id)
                            < ($6::text::timestamptz, $7::text, $8::text)
                    )
                order by min(started_at) desc, coalesce(tenant_id, '') desc, run_id desc
                limit $9
            )
            select
                page.tenant_id,
                page.run_id,
                page.session_id,
                page.agent,
                to_char(page.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(page.ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                page.span_count,
                page.request_count,
                page.error_count,
                trim_scale(
                    case when page.cost_usd is null and adjusted.cost_usd is null then null
                    else coalesce(page.cost_usd, 0) + coalesce(adjusted.cost_usd, 0) end
                )::text,
                trim_scale(
                    case when page.billed_usd is null and adjusted.billed_usd is null then null
                    else coalesce(page.billed_usd, 0) + coalesce(adjusted.billed_usd, 0) end
                )::text
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
                where usage_events.tenant_id is not distinct from page.tenant_id
                    and usage_events.run_id = page.run_id
            ) as adjusted
            order by page.started_at desc, coalesce(page.tenant_id, '') desc, page.run_id desc"#,
            &[
                &filter.is_tenant,
                &filter.tenant,
                &filter.run,
                &from,
                &to,
                &started_at,
                &tenant_id,
                &run_id,
                &(i64::from(filter.limit) + 1),
                &filter.session,
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Run, Error> {
    Ok(Run {
        tenant_id: row.try_get(0)?,
        run_id: row.try_get(1)?,
        session_id: row.try_get(2)?,
        agent: row.try_get(3)?,
        started_at: row.try_get(4)?,
        ended_at: row.try_get(5)?,
        span_count: row.try_get(6)?,
        request_count: row.try_get(7)?,
        error_count: row.try_get(8)?,
        total_cost_usd: row.try_get(9)?,
        total_billed_usd: row.try_get(10)?,
    })
}

/// The steps of one run, parents before children, at most [`SPANS_MAX`].
pub(crate) async fn spans(
    client: &impl GenericClient,
    run: &str,
    tenant: Option<&str>,
    is_tenant: bool,
) -> Result<Vec<Span>, Error> {
    let rows = client
        .query(
            r#"select
                tenant_id,
                span_id,
                parent_span_id,
                section,
                kind,
                name,
                path,
                sections,
                to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                request_count,
                error_count,
                case when not $3 then total_cost_usd end::text,
                total_billed_usd::text
            from farebox.spans
            where run_id = $1
                and ($2::text is null or tenant_id = $2)
            order by tenant_id nulls first, path
            limit $4"#,
            &[&run, &tenant, &is_tenant, &SPANS_MAX],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Span {
            tenant_id: row.try_get(0)?,
            span_id: row.try_get(1)?,
            parent_span_id: row.try_get(2)?,
            section: row.try_get(3)?,
            kind: row.try_get(4)?,
            name: row.try_get(5)?,
            path: row.try_get(6)?,
            sections: row.try_get(7)?,
            started_at: row.try_get(8)?,
            ended_at: row.try_get(9)?,
            request_count: row.try_get(10)?,
            error_count: row.try_get(11)?,
            total_cost_usd: row.try_get(12)?,
            total_billed_usd: row.try_get(13)?,
        })
    };
    rows.iter().map(read).collect()
}
