//! Answers kept for 24 hours under the caller's `Idempotency-Key`, one space of keys for each
//! principal. The row is written first and in the write's own transaction, so that a second request
//! with the same key waits for the first to commit.

use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, Transaction};

/// What the key says about this request.
pub(crate) enum Kept {
    /// Not seen within 24 hours.
    New,
    /// Seen with this very request; what it was answered.
    Same(Option<i32>, Option<Value>),
    /// Seen with another request.
    Other,
}

/// Takes the key for this request, or says what it was used for.
pub(crate) async fn keep(
    transaction: &Transaction<'_>,
    principal: &str,
    key: &str,
    request_sha256: &[u8],
) -> Result<Kept, Error> {
    transaction
        .execute(
            "delete from farebox_private.idempotency_keys
             where created_at < now() - interval '24 hours'",
            &[],
        )
        .await?;
    let inserted = transaction
        .execute(
            "insert into farebox_private.idempotency_keys (principal, idempotency_key, request_sha256)
             values ($1, $2, $3)
             on conflict do nothing",
            &[&principal, &key, &request_sha256],
        )
        .await?;
    if inserted == 1 {
        return Ok(Kept::New);
    }
    let row = transaction
        .query_one(
            "select request_sha256, status, response
             from farebox_private.idempotency_keys
             where principal = $1 and idempotency_key = $2",
            &[&principal, &key],
        )
        .await?;
    if row.try_get::<_, &[u8]>(0)? != request_sha256 {
        return Ok(Kept::Other);
    }
    let response: Option<Json<Value>> = row.try_get(2)?;
    Ok(Kept::Same(
        row.try_get(1)?,
        response.map(|Json(value)| value),
    ))
}

/// Keeps the answer.
pub(crate) async fn answer(
    transaction: &Transaction<'_>,
    principal: &str,
    key: &str,
    status: i32,
    response: &Value,
) -> Result<(), Error> {
    transaction
        .execute(
            "update farebox_private.idempotency_keys
             set status = $3, response = $4
             where principal = $1 and idempotency_key = $2",
            &[&principal, &key, &status, &Json(response)],
        )
        .await?;
    Ok(())
}
