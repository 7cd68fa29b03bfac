//! `/api/v1/keys/{key}/rotate`: a new key with the rights of an old one, and a time in which both work.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::rights::{Issue, Rights};
use super::{change, draw};
use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read_or_default, value};
use crate::api::page;
use crate::api::params::{Content, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::keys::{self, VirtualKey};

/// Seconds in which both keys work when nothing is said.
const OVERLAP_SECONDS_DEFAULT: i64 = 24 * 60 * 60;
/// Most seconds in which both keys work.
const OVERLAP_SECONDS_MAX: i64 = 90 * 24 * 60 * 60;

/// How to rotate.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rotate {
    /// Seconds in which the old key still works; 86400 when not given, 0 revokes it at once.
    overlap_seconds: Option<i64>,
    /// When the new key stops working; as long after now as the old one was given when not given.
    expires_at: Option<String>,
}

/// Issues a key with the rights and limits of another one, which stops working after an overlap. The
/// answer is the new key, and the only place that ever shows its secret.
#[utoipa::path(post, path = "/api/v1/keys/{key}/rotate", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The old key's id or visible prefix."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours; its answer lacks `secret`.")),
    request_body = Rotate,
    responses((status = 201, description = "Issued; `rotated_from` is the old key.", body = VirtualKey),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is none.", body = ErrorBody),
        (status = 409, description = "The old key is revoked or has expired.", body = ErrorBody)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Rotate = read_or_default(&body)?;
    let overlap = asked.overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT);
    if !(0..=OVERLAP_SECONDS_MAX).contains(&overlap) {
        return Err(ApiError::invalid(
            "overlap_seconds",
            "between 0 and 7776000",
        ));
    }
    let deployment = app.key_secrets.clone().ok_or_else(|| {
        ApiError::unavailable("key_secret_missing", "the collector has no key secret")
    })?;
    let mut client = app.client().await?;
    let route = format!("keys.rotate {key}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = keys::lock(&operation.transaction, &key, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let now = crate::ingest::now();
    let expires = page::time("expires_at", before.expires_at.as_deref())?;
    if before.revoked_at.is_some() || expires.is_some_and(|at| at <= now) {
        return Err(ApiError::conflict(
            "key_ended",
            "the key is revoked or has expired; issue a new one",
        ));
    }
    let mut rights_asked = Issue::of(&before);
    rights_asked.expires_at = match (asked.expires_at, expires) {
        (Some(asked), _) => Some(asked),
        (None, Some(at)) => {
            let issued = page::time("created_at", Some(&before.created_at))?.unwrap_or(now);
            let term = at.as_millis() - issued.as_millis();
            Some(farebox_pricing::time::Timestamp::from_millis(now.as_millis() + term).to_string())
        }
        (None, None) => None,
    };
    let rights = Rights::of(&rights_asked)?;
    let old_key = Some(before.key_id);
    let (new, secret) = draw(&operation, deployment, &rights, &rights_asked, old_key).await?;
    keys::copy_limits(&operation.transaction, before.key_id, new.key_id).await?;
    let after = match overlap {
        0 => {
            keys::revoke(
                &operation.transaction,
                before.key_id,
                operation.actor(),
                None,
            )
            .await?
        }
        seconds => keys::expire_within(&operation.transaction, before.key_id, seconds).await?,
    };
    let old_id = before.key_id.to_string();
    operation
        .record(&change(
            "key.rotate",
            &before,
            &old_id,
            value(&before)?,
            value(&after)?,
        ))
        .await?;
    let (kept, new_id) = (value(&new)?, new.key_id.to_string());
    operation
        .record(&change(
            "key.issue",
            &new,
            &new_id,
            Value::Null,
            kept.clone(),
        ))
        .await?;
    let shown = value(&VirtualKey { secret, ..new })?;
    operation.finish_as(StatusCode::CREATED, shown, kept).await
}
