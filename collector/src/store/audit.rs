//! The audit log: who did what, with the object before and after. It only grows, and holds no secret
//! and no hash of one.

use serde_json::{Value, json};
use tokio_postgres::Error;
use tokio_postgres::types::Json;

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
