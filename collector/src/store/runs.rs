//! Runs of agents, and the steps they are made of. Amounts are current sums.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::gathered::{self, By, Filter};

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

/// The columns of [`read`], of what is counted into a run.
const COLUMNS: &str = r#"
    max(counted.session_id),
    max(counted.agent),
    to_char(min(counted.started_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(max(counted.ended_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    count(distinct counted.span_id),
    sum(counted.requests)::bigint,
    sum(counted.errors)::bigint,
    trim_scale(sum(counted.cost_usd))::text,
    trim_scale(sum(counted.billed_usd))::text"#;

/// A page of runs, the latest begun first, each with the id of its first event.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<(Uuid, Run)>, Error> {
    let rows = gathered::list(client, By::Run, COLUMNS, filter).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, read(row)?)))
        .collect()
}

fn read(row: &Row) -> Result<Run, Error> {
    Ok(Run {
        tenant_id: row.try_get(1)?,
        run_id: row.try_get(2)?,
        session_id: row.try_get(3)?,
        agent: row.try_get(4)?,
        started_at: row.try_get(5)?,
        ended_at: row.try_get(6)?,
        span_count: row.try_get(7)?,
        request_count: row.try_get(8)?,
        error_count: row.try_get(9)?,
        total_cost_usd: row.try_get(10)?,
        total_billed_usd: row.try_get(11)?,
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
