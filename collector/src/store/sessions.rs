//! Sessions: the events of one conversation, added up. Amounts are current sums.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::gathered::{self, By, Filter};

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

/// The columns of [`read`], of what is counted into a session.
const COLUMNS: &str = r#"
    to_char(min(counted.started_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(max(counted.ended_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    sum(counted.requests)::bigint,
    trim_scale(sum(counted.cost_usd))::text,
    trim_scale(sum(counted.billed_usd))::text,
    max(coalesce(customers.customer_id, counted.customer_id)),
    max(counted.agent),
    sum(counted.errors)::bigint,
    array_agg(distinct farebox_private.modality(counted.endpoint)),
    max(counted.ended_at) > now() - farebox_private.session_idle(),
    case when max(counted.ended_at) <= now() - farebox_private.session_idle() then to_char(
        (max(counted.ended_at) + farebox_private.session_idle()) at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
    ) end"#;

/// A page of sessions, the latest begun first, each with the id of its first event.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<(Uuid, Session)>, Error> {
    let rows = gathered::list(client, By::Session, COLUMNS, filter).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, read(row)?)))
        .collect()
}

fn read(row: &Row) -> Result<Session, Error> {
    Ok(Session {
        tenant_id: row.try_get(1)?,
        session_id: row.try_get(2)?,
        started_at: row.try_get(3)?,
        ended_at: row.try_get(4)?,
        request_count: row.try_get(5)?,
        total_cost_usd: row.try_get(6)?,
        total_billed_usd: row.try_get(7)?,
        customer_id: row.try_get(8)?,
        agent: row.try_get(9)?,
        error_count: row.try_get(10)?,
        modalities: row.try_get(11)?,
        is_open: row.try_get(12)?,
        closed_at: row.try_get(13)?,
    })
}
