//! One write: its transaction, its `Idempotency-Key`, its audit row. All three commit together, or
//! nothing happened.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::principal::Principal;
use crate::records::audit::{self, Change};
use crate::records::idempotency::{self, Kept};
use crate::store::{Client, Transaction};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Says that the answer is the one given before.
const REPLAYED: &str = "idempotency-replayed";

/// What a write answers with.
pub(crate) type Answer = Result<Response, ApiError>;

/// Reads a JSON body into its final type; unknown members are refused.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|cause| ApiError::malformed(format!("body: {cause}")))
}

/// As [`read`]; no body at all is the default.
pub(crate) fn read_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    read(body)
}

/// A write that has begun.
pub(crate) struct Operation<'a> {
    pub(crate) transaction: Transaction<'a>,
    actor: String,
    idempotency_key: Option<String>,
}

/// What became of a request to begin.
pub(crate) enum Begun<'a> {
    /// It is new: do it.
    Fresh(Operation<'a>),
    /// It was done before, with the same body: this was the answer.
    Replay(Response),
}

/// Begins a write. `route` and `body` are what makes two requests the same.
pub(crate) async fn begin<'a>(
    client: &'a mut Client,
    principal: &Principal,
    headers: &HeaderMap,
    route: &str,
    body: &[u8],
) -> Result<Begun<'a>, ApiError> {
    let key = idempotency_key(headers)?;
    let actor = principal.actor();
    let transaction = client.transaction().await?;
    if let Some(key) = &key {
        let mut request = Sha256::new();
        request.update(route.as_bytes());
        request.update([0]);
        request.update(body);
        match idempotency::keep(&transaction, &actor, key, &request.finalize()).await? {
            Kept::New => {}
            Kept::Same(status, answer) => {
                transaction.rollback().await?;
                return Ok(Begun::Replay(replay(status, answer)));
            }
            Kept::Other => {
                return Err(ApiError::conflict(
                    "idempotency_conflict",
                    "this Idempotency-Key was used with another request",
                ));
            }
        }
    }
    Ok(Begun::Fresh(Operation {
        transaction,
        actor,
        idempotency_key: key,
    }))
}

impl Operation<'_> {
    /// Who is writing, as the audit log names it.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// Writes the audit row of one change.
    pub(crate) async fn record(&self, change: &Change<'_>) -> Result<(), ApiError> {
        let request_id = crate::server::current_request_id();
        audit::record(&self.transaction, &self.actor, &request_id, change).await?;
        Ok(())
    }

    /// Commits and answers.
    pub(crate) async fn finish<T: Serialize>(self, status: StatusCode, answer: &T) -> Answer {
        let answer = value(answer)?;
        self.finish_as(status, answer.clone(), answer).await
    }

    /// Takes everything back and answers: a preview.
    pub(crate) async fn abandon<T: Serialize>(self, status: StatusCode, answer: &T) -> Answer {
        let answer = value(answer)?;
        self.transaction.rollback().await?;
        Ok((status, Json(answer)).into_response())
    }

    /// Commits and answers; `kept` is what a repeated request is answered with, so that a secret is
    /// shown once and stored nowhere.
    pub(crate) async fn finish_as(self, status: StatusCode, answer: Value, kept: Value) -> Answer {
        if let Some(key) = &self.idempotency_key {
            let code = i32::from(status.as_u16());
            idempotency::answer(&self.transaction, &self.actor, key, code, &kept).await?;
        }
        self.transaction.commit().await?;
        Ok((status, Json(answer)).into_response())
    }
}

/// JSON of one of our own types.
pub(crate) fn value<T: Serialize>(answer: &T) -> Result<Value, ApiError> {
    serde_json::to_value(answer).map_err(|cause| ApiError::internal(&cause))
}

fn replay(status: Option<i32>, answer: Option<Value>) -> Response {
    let status = status
        .and_then(|code| u16::try_from(code).ok())
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    let mut response = (status, Json(answer.unwrap_or(Value::Null))).into_response();
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(ApiError::invalid(
            "Idempotency-Key",
            "between 1 and 255 visible ASCII characters",
        ));
    }
    Ok(Some(text.to_owned()))
}
