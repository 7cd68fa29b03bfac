//! The audit log: who did what, with the object before and after. It only grows, and holds no secret
//! and no hash of one.

use farebox_pricing::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Error;
use tokio_postgres::types::Json;
use utoipa::ToSchema;

/// One change of one object.
pub(crate) struct Change<'a> {
    /// `noun.verb`.
    pub(crate) action: &'static str,
    /// The tenant it concerns.
    pub(crate) tenant_id: Option<&'a str>,
    /// The object's kind.
    pub(crate) entity_kind: &'static str,
    /// The object's id.
    pub(crate) entity_id: &'a str,
    /// The object as it was; null when it was made.
    pub(crate) before: Value,
    /// The object as it is; null when it was removed.
    pub(crate) after: Value,
    /// Why, in the actor's words.
    pub(crate) reason: Option<&'a str>,
}

/// Writes the row.
pub(crate) async fn record(
    client: &impl deadpool_postgres::GenericClient,
    actor: &str,
    request_id: &str,
    change: &Change<'_>,
) -> Result<(), Error> {
    let mut details = json!({"before": change.before, "after": change.after});
    if let Some(reason) = change.reason {
        details["reason"] = reason.into();
    }
    client
        .execute(
            "insert into farebox_private.audit_log
                (actor, action, tenant_id, entity_kind, entity_id, request_id, details)
             values ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &actor,
                &change.action,
                &change.tenant_id,
                &change.entity_kind,
                &change.entity_id,
                &request_id,
                &Json(details),
            ],
        )
        .await?;
    Ok(())
}

/// One row of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Grows.
    pub audit_id: i64,
    /// When.
    pub at: String,
    /// Who: `operator`, `key:…`, `tenant:…`, `anonymous`, ….
    pub actor: String,
    /// What, as `noun.verb`.
    pub action: String,
    /// The tenant it concerns.
    pub tenant_id: Option<String>,
    /// Kind of the thing it was done to.
    pub entity_kind: Option<String>,
    /// The thing it was done to.
    pub entity_id: Option<String>,
    /// The API request.
    pub request_id: Option<String>,
    /// `before`, `after` and `reason` of a change; of refused calls `code`, `status` and `calls`.
    #[schema(value_type = Object)]
    pub details: Value,
}

/// Which rows a list shows.
pub(crate) struct Filter<'a> {
    pub(crate) actor: Option<&'a str>,
    pub(crate) action: Option<&'a str>,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) entity_kind: Option<&'a str>,
    pub(crate) entity_id: Option<&'a str>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// Last of the page before.
    pub(crate) after: Option<i64>,
    /// Rows of a page.
    pub(crate) limit: u32,
}

/// A page of the audit log, newest first.
pub(crate) async fn list(
    client: &impl deadpool_postgres::GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Entry>, Error> {
    let [from, to] = [filter.from, filter.to].map(|at| at.map(|at| at.to_string()));
    let rows = client
        .query(
            r#"select audit_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), actor, action,
                tenant_id, entity_kind, entity_id, request_id, details
             from farebox_private.audit_log
             where ($1::text is null or actor = $1)
                 and ($2::text is null or action = $2)
                 and ($3::text is null or tenant_id = $3)
                 and ($4::text is null or entity_kind = $4)
                 and ($5::text is null or entity_id = $5)
                 and ($6::text is null or at >= $6::text::timestamptz)
                 and ($7::text is null or at < $7::text::timestamptz)
                 and ($8::bigint is null or audit_id < $8)
             order by audit_id desc
             limit $9"#,
            &[
                &filter.actor,
                &filter.action,
                &filter.tenant,
                &filter.entity_kind,
                &filter.entity_id,
                &from,
                &to,
                &filter.after,
                &(i64::from(filter.limit) + 1),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let Json(details) = row.try_get(8)?;
            Ok(Entry {
                audit_id: row.try_get(0)?,
                at: row.try_get(1)?,
                actor: row.try_get(2)?,
                action: row.try_get(3)?,
                tenant_id: row.try_get(4)?,
                entity_kind: row.try_get(5)?,
                entity_id: row.try_get(6)?,
                request_id: row.try_get(7)?,
                details,
            })
        })
        .collect()
}
