//! `/api/v1/credentials`: provider credentials, the operator's and the tenants' own. A secret comes in
//! and never goes out: it is sealed before it is stored, and shown by its last characters.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use farebox_pricing::vault::{Binding, MasterKeys, Randomness};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::customers::tenants_missing;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::api::{App, Shared};
use crate::error::{ApiError, ErrorBody};
use crate::keys::random;
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::credentials::{self, Credential, Filter, Secret};
use crate::records::tenants;

/// Longest secret.
const SECRET_BYTES_MAX: usize = 8 * 1024;
/// Characters of a secret that are shown.
const HINT_CHARS: usize = 4;
/// Of a shorter secret none are shown.
const HINTED_CHARS_MIN: usize = 16;

/// Which credentials.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's own.
    tenant: Option<String>,
    /// For this upstream.
    upstream: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A credential to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetCredential {
    /// The configured upstream it is for.
    upstream: String,
    /// The tenant whose own it is; the operator's when not given.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// What the provider takes: visible ASCII without spaces.
    secret: String,
    /// A name for people.
    name: Option<String>,
    /// Host, and port where its URL has one, that it may be sent to; that of the configured upstream when not given.
    host: Option<String>,
}

/// A new secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateCredential {
    /// What the provider takes from now on.
    secret: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rewrapped {
    /// Credentials whose data key is under the first master key since now.
    rewrapped: usize,
}

/// Provider credentials, newest first.
#[utoipa::path(get, path = "/api/v1/credentials", tag = "credentials", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own.", body = Page<Credential>),
        (status = 403, description = "A key without the scope `admin`.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Credential>>, ApiError> {
    principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let filter = Filter {
        own: principal.tenant(),
        tenant: asked.tenant.as_deref(),
        upstream: asked.upstream.as_deref(),
        after,
        limit: page::limit(asked.limit)?,
    };
    let items = credentials::list(&app.client().await?, &filter).await?;
    Ok(Json(Page::cut(items, filter.limit, |last| {
        vec![last.credential_id.to_string()]
    })))
}

/// Sets the credential of a tenant (or the operator) for an upstream; one that is there keeps its id and gets the new secret.
#[utoipa::path(post, path = "/api/v1/credentials", tag = "credentials", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = SetCredential,
    responses((status = 200, description = "Replaced.", body = Credential),
        (status = 201, description = "Made.", body = Credential),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used with another request.", body = ErrorBody),
        (status = 503, description = "The collector has no master key.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: SetCredential = read(&body)?;
    let tenant_id = principal.scope(asked.tenant_id.as_deref())?;
    for (field, text) in [
        ("upstream", Some(&asked.upstream)),
        ("name", asked.name.as_ref()),
    ] {
        if let Some(text) = text {
            id::check(text).map_err(|cause| ApiError::invalid(field, cause.to_string()))?;
        }
    }
    let host = host(&app, &asked.upstream, asked.host.as_deref())?;
    check_secret(&asked.secret)?;
    let masters = masters(&app)?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "credentials.set", &body).await?
    {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    if let Some(tenant_id) = tenant_id {
        let is_known = id::check(tenant_id).is_ok()
            && tenants::exists(&operation.transaction, tenant_id).await?;
        if !is_known {
            return Err(tenants_missing());
        }
    }
    let transaction = &operation.transaction;
    let before = credentials::lock_like(transaction, tenant_id, &asked.upstream).await?;
    let binding = Binding {
        credential_id: before
            .as_ref()
            .map_or_else(Uuid::now_v7, |found| found.credential_id),
        tenant: tenant_id,
        upstream: &asked.upstream,
        host: &host,
    };
    let sealed = masters.seal(&binding, &asked.secret, &randomness()?);
    let secret = Secret {
        sealed: &sealed,
        hint: hint(&asked.secret),
    };
    let (name, actor) = (asked.name.as_deref(), operation.actor());
    let (after, status) = match &before {
        Some(_) => (
            credentials::replace(transaction, &binding, name, &secret, actor).await?,
            StatusCode::OK,
        ),
        None => (
            credentials::insert(transaction, &binding, name, &secret, actor).await?,
            StatusCode::CREATED,
        ),
    };
    record(&operation, "credential.set", before.as_ref(), Some(&after)).await?;
    operation.finish(status, &after).await
}

/// One provider credential.
#[utoipa::path(get, path = "/api/v1/credentials/{credential_id}", tag = "credentials", security(("bearer" = [])),
    params(("credential_id" = Uuid, Path, description = "The credential.")),
    responses((status = 200, description = "The credential, masked.", body = Credential),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(credential_id): Segment,
) -> Result<Json<Credential>, ApiError> {
    let credential_id = credential_id.parse().map_err(|_| ApiError::not_found())?;
    let client = app.client().await?;
    let found = credentials::lock(&client, credential_id, principal.tenant()).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// Replaces a credential's secret. Its id stays, so that what was charged before is not charged again.
#[utoipa::path(post, path = "/api/v1/credentials/{credential_id}/rotate", tag = "credentials", security(("bearer" = [])),
    params(("credential_id" = Uuid, Path, description = "The credential."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = RotateCredential,
    responses((status = 200, description = "Replaced.", body = Credential),
        (status = 400, description = "The secret cannot be used.", body = ErrorBody),
        (status = 404, description = "There is none.", body = ErrorBody),
        (status = 503, description = "The collector has no master key.", body = ErrorBody)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(credential_id): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let credential_id: Uuid = credential_id.parse().map_err(|_| ApiError::not_found())?;
    let asked: RotateCredential = read(&body)?;
    check_secret(&asked.secret)?;
    let masters = masters(&app)?;
    let mut client = app.client().await?;
    let route = format!("credentials.rotate {credential_id}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let transaction = &operation.transaction;
    let before = credentials::lock(transaction, credential_id, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let sealed = masters.seal(&before.binding(), &asked.secret, &randomness()?);
    let secret = Secret {
        sealed: &sealed,
        hint: hint(&asked.secret),
    };
    let actor = operation.actor();
    let after = credentials::replace(transaction, &before.binding(), None, &secret, actor).await?;
    record(&operation, "credential.rotate", Some(&before), Some(&after)).await?;
    operation.finish(StatusCode::OK, &after).await
}

/// Removes a credential; calls that need it go by the operator's, or are refused.
#[utoipa::path(delete, path = "/api/v1/credentials/{credential_id}", tag = "credentials", security(("bearer" = [])),
    params(("credential_id" = Uuid, Path, description = "The credential.")),
    responses((status = 200, description = "Removed; this was it.", body = Credential),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(credential_id): Segment,
) -> Answer {
    let credential_id: Uuid = credential_id.parse().map_err(|_| ApiError::not_found())?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &HeaderMap::new(), "", &[]).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = credentials::lock(&operation.transaction, credential_id, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    credentials::remove(&operation.transaction, credential_id).await?;
    record(&operation, "credential.remove", Some(&before), None).await?;
    operation.finish(StatusCode::OK, &before).await
}

/// Wraps every data key under the first master key, after one was put before the old one.
#[utoipa::path(post, path = "/api/v1/credentials/rewrap", tag = "credentials", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    responses((status = 200, description = "Done; the secrets are as they were.", body = Rewrapped),
        (status = 409, description = "A credential is under a master key that is not here; nothing was done.", body = ErrorBody),
        (status = 503, description = "The collector has no master key.", body = ErrorBody)))]
pub(crate) async fn rewrap(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let masters = masters(&app)?;
    let mut client = app.client().await?;
    let operation = match begin(
        &mut client,
        &principal,
        &headers,
        "credentials.rewrap",
        &body,
    )
    .await?
    {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let transaction = &operation.transaction;
    let found = credentials::under_other_master_keys(transaction, masters.sealing_id()).await?;
    let mut rewrapped = 0;
    for (before, sealed) in found {
        let nonce = random().map_err(|cause| ApiError::internal(&cause))?;
        let moved = masters
            .rewrap(&before.binding(), &sealed, nonce)
            .map_err(|cause| {
                ApiError::conflict(
                    "master_key_missing",
                    format!("credential {}: {cause}", before.credential_id),
                )
            })?;
        let Some(moved) = moved else { continue };
        credentials::set_wrapping(transaction, before.credential_id, &moved).await?;
        let after = Credential {
            master_key_id: moved.master_key_id,
            ..before.clone()
        };
        record(&operation, "credential.rewrap", Some(&before), Some(&after)).await?;
        rewrapped += 1;
    }
    operation
        .finish(StatusCode::OK, &Rewrapped { rewrapped })
        .await
}

/// A name that a file declares for a credential that is there.
pub(crate) async fn declare(
    operation: &Operation<'_>,
    tenant_id: Option<&str>,
    upstream: &str,
    name: &str,
) -> Result<(Credential, Credential), ApiError> {
    id::check(name).map_err(|cause| ApiError::invalid("name", cause.to_string()))?;
    let transaction = &operation.transaction;
    let before = credentials::lock_like(transaction, tenant_id, upstream).await?;
    let before = before.ok_or_else(|| {
        let message = "there is no such credential; its secret is set by `farebox credential set`";
        ApiError::invalid("upstream", message)
    })?;
    if before.name.as_deref() == Some(name) {
        return Ok((before.clone(), before));
    }
    let after = credentials::set_name(transaction, before.credential_id, Some(name)).await?;
    record(operation, "credential.name", Some(&before), Some(&after)).await?;
    Ok((before, after))
}

async fn record(
    operation: &Operation<'_>,
    action: &'static str,
    before: Option<&Credential>,
    after: Option<&Credential>,
) -> Result<(), ApiError> {
    let Some(shown) = after.or(before) else {
        return Ok(());
    };
    let as_json = |credential: Option<&Credential>| credential.map_or(Ok(Value::Null), value);
    operation
        .record(&Change {
            action,
            tenant_id: shown.tenant_id.as_deref(),
            entity_kind: "credential",
            entity_id: &shown.credential_id.to_string(),
            before: as_json(before)?,
            after: as_json(after)?,
            reason: None,
        })
        .await
}

fn masters(app: &Shared) -> Result<&MasterKeys, ApiError> {
    app.master_keys.as_deref().ok_or_else(|| {
        ApiError::unavailable(
            "master_key_missing",
            "the collector has no master key for credentials",
        )
    })
}

fn randomness() -> Result<Randomness, ApiError> {
    let internal = |cause| ApiError::internal(&cause);
    Ok(Randomness {
        data_key: random().map_err(internal)?,
        wrapping: random().map_err(internal)?,
        text: random().map_err(internal)?,
    })
}

fn host(app: &Shared, upstream: &str, asked: Option<&str>) -> Result<String, ApiError> {
    let host = asked
        .or_else(|| app.upstream_hosts.get(upstream).map(String::as_str))
        .ok_or_else(|| {
            let message = "the collector does not know this upstream's address; say it";
            ApiError::invalid("host", message)
        })?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if id::check(host).is_err() || !host.chars().all(is_host) {
        return Err(ApiError::invalid(
            "host",
            "a host, with its port where the URL has one",
        ));
    }
    Ok(host.to_owned())
}

fn check_secret(secret: &str) -> Result<(), ApiError> {
    let is_visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX || !is_visible {
        return Err(ApiError::invalid(
            "secret",
            "visible ASCII without spaces, at most 8 KiB",
        ));
    }
    Ok(())
}

fn hint(secret: &str) -> &str {
    match secret.len() {
        ..HINTED_CHARS_MIN => "",
        // It is ASCII.
        length => secret.get(length - HINT_CHARS..).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_shows_nothing_of_itself() {
        assert_eq!(hint("sk-0123456789abcdef"), "cdef");
        assert_eq!(hint("sk-0123456789"), "");
    }

    #[test]
    fn a_secret_fits_into_a_header() {
        assert!(check_secret("sk-abc_DEF.123").is_ok());
        for wrong in ["", "a b", "a\nb", "é", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert!(check_secret(wrong).is_err(), "{}", wrong.len());
        }
    }
}
