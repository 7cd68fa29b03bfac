//! `/api/v1/keys`: virtual keys. The operator manages all of them, a tenant's key with the scope
//! `admin` its tenant's. A secret is in the answer that issues it and nowhere else: a repeated
//! request with the same `Idempotency-Key` is answered with the key and without its secret.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::key::KeySecrets;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, Operation, begin, read, read_or_default, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::keys as secrets;
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::keys::{self, NewKey, VirtualKey};
use crate::records::tenants;

pub(crate) mod audit;
mod rights;
pub(crate) mod rotate;

use rights::{Issue, Rights};
pub(crate) use rights::{KeyPatch, STALE_DAYS};

/// Times a key is drawn again because its prefix is taken: of 33 million prefixes that many in a row
/// are not taken by chance.
const DRAWS_MAX: usize = 16;

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's keys.
    tenant: Option<String>,
    /// Revoked ones too; false when not given.
    #[serde(default)]
    revoked: bool,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How to revoke.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Revoke {
    /// Why; kept in the audit log.
    reason: Option<String>,
    /// `cut` or `finish`, instead of what the key says.
    revoke_streams: Option<String>,
}

/// Virtual keys, newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<VirtualKey>),
        (status = 403, description = "A key without the scope `admin`.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<VirtualKey>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let items = keys::list(&app.client().await?, tenant, asked.revoked, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |key| {
        vec![key.key_id.to_string()]
    })))
}

/// One virtual key, by id or visible prefix.
#[utoipa::path(get, path = "/api/v1/keys/{key}", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix.")),
    responses((status = 200, description = "The key, without its secret.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
) -> Result<Json<VirtualKey>, ApiError> {
    let found = keys::find(&app.client().await?, &key, principal.tenant()).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// Issues a virtual key. The answer is the only place that ever shows its secret.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours; its answer lacks `secret`.")),
    request_body = Issue,
    responses((status = 201, description = "Issued.", body = VirtualKey),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used with another request.", body = ErrorBody)))]
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let mut asked: Issue = read(&body)?;
    if let Some(own) = principal.scope(asked.tenant_id.as_deref())? {
        asked.tenant_id = Some(own.to_owned());
    }
    if principal.is_tenant() && asked.own_credential {
        return Err(own_credential_refused());
    }
    let rights = Rights::of(&asked)?;
    let secrets_of_deployment = app.key_secrets.clone().ok_or_else(|| {
        ApiError::unavailable("key_secret_missing", "the collector has no key secret")
    })?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "keys.issue", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    if let Some(tenant_id) = &asked.tenant_id
        && !tenants::exists(&operation.transaction, tenant_id).await?
    {
        let mut missing = ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_tenant",
            "there is no such tenant; create it first",
        );
        missing.field = Some("tenant_id".to_owned());
        return Err(missing);
    }
    let (key, secret) = draw(&operation, secrets_of_deployment, &rights, &asked, None).await?;
    let kept = value(&key)?;
    let key_id = key.key_id.to_string();
    operation
        .record(&change(
            "key.issue",
            &key,
            &key_id,
            Value::Null,
            kept.clone(),
        ))
        .await?;
    let shown = value(&VirtualKey { secret, ..key })?;
    operation.finish_as(StatusCode::CREATED, shown, kept).await
}

/// Changes what a key may do. Proxies go by it within a second.
#[utoipa::path(patch, path = "/api/v1/keys/{key}", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = KeyPatch,
    responses((status = 200, description = "Changed.", body = VirtualKey),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: KeyPatch = read(&body)?;
    let mut client = app.client().await?;
    let route = format!("keys.set {key}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = keys::lock(&operation.transaction, &key, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let after = set_rights(&operation, &principal, &before, asked).await?;
    operation.finish(StatusCode::OK, &after).await
}

/// Changes a key that is held, with its audit row.
pub(crate) async fn set_rights(
    operation: &Operation<'_>,
    principal: &Principal,
    before: &VirtualKey,
    patch: KeyPatch,
) -> Result<VirtualKey, ApiError> {
    let asked = patch.onto(before);
    if principal.is_tenant() && asked.own_credential && !before.own_credential {
        return Err(own_credential_refused());
    }
    let rights = Rights::of(&asked)?;
    let new = rights.key(&asked, &before.prefix, "", operation.actor());
    let after = keys::set_rights(&operation.transaction, before.key_id, &new).await?;
    let (was, is) = (value(before)?, value(&after)?);
    if was != is {
        let key_id = after.key_id.to_string();
        operation
            .record(&change("key.set", &after, &key_id, was, is))
            .await?;
    }
    Ok(after)
}

fn own_credential_refused() -> ApiError {
    ApiError::forbidden("`own_credential` is the operator's to give")
}

fn change<'a>(
    action: &'static str,
    key: &'a VirtualKey,
    entity_id: &'a str,
    before: Value,
    after: Value,
) -> Change<'a> {
    Change {
        action,
        tenant_id: key.tenant_id.as_deref(),
        entity_kind: "key",
        entity_id,
        before,
        after,
        reason: None,
    }
}

/// Draws a key until its prefix is not taken, and keeps it. The key and its secret.
async fn draw(
    operation: &Operation<'_>,
    deployment: KeySecrets,
    rights: &Rights,
    asked: &Issue,
    rotated_from: Option<Uuid>,
) -> Result<(VirtualKey, Option<String>), ApiError> {
    for _ in 0..DRAWS_MAX {
        let deployment = deployment.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            let key = secrets::draw(&deployment)?;
            let hash = secrets::hash(key.reveal())?;
            Ok::<_, secrets::KeyFault>((key, hash))
        });
        let (secret, hash) = drawn
            .await
            .map_err(|cause| ApiError::internal(&cause))?
            .map_err(|cause| ApiError::internal(&cause))?;
        let new = NewKey {
            rotated_from,
            ..rights.key(asked, secret.prefix(), &hash, operation.actor())
        };
        if let Some(key) = keys::insert(&operation.transaction, &new).await? {
            return Ok((key, Some(secret.reveal().to_owned())));
        }
    }
    Err(ApiError::internal(&"every drawn prefix was taken"))
}

/// Revokes a virtual key: proxies refuse it within a second of their database seeing it.
#[utoipa::path(post, path = "/api/v1/keys/{key}/revoke", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Revoke,
    responses((status = 200, description = "Revoked, now or before.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Revoke = read_or_default(&body)?;
    revoke_as(&app, &principal, &key, &headers, &body, &asked).await
}

/// Revokes a virtual key, as `POST …/revoke` without a body does. The row stays.
#[utoipa::path(delete, path = "/api/v1/keys/{key}", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix.")),
    responses((status = 200, description = "Revoked, now or before.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn revoke_now(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
) -> Answer {
    let (headers, asked) = (HeaderMap::new(), Revoke::default());
    revoke_as(&app, &principal, &key, &headers, &[], &asked).await
}

async fn revoke_as(
    app: &App,
    principal: &Principal,
    key: &str,
    headers: &HeaderMap,
    body: &[u8],
    asked: &Revoke,
) -> Answer {
    if let Some(streams) = &asked.revoke_streams {
        one_of("revoke_streams", streams, &["cut", "finish"])?;
    }
    let mut client = app.client().await?;
    let route = format!("keys.revoke {key}");
    let operation = match begin(&mut client, principal, headers, &route, body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = keys::find(&operation.transaction, key, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let after = keys::revoke(
        &operation.transaction,
        before.key_id,
        operation.actor(),
        asked.revoke_streams.as_deref(),
    )
    .await?;
    operation
        .record(&Change {
            action: "key.revoke",
            tenant_id: after.tenant_id.as_deref(),
            entity_kind: "key",
            entity_id: &after.key_id.to_string(),
            before: value(&before)?,
            after: value(&after)?,
            reason: asked.reason.as_deref(),
        })
        .await?;
    operation.finish(StatusCode::OK, &after).await
}

/// A member of a closed set.
pub(crate) fn one_of(field: &str, text: &str, members: &[&str]) -> Result<(), ApiError> {
    if members.contains(&text) {
        return Ok(());
    }
    Err(ApiError::invalid(
        field,
        format!("one of {}", members.join(", ")),
    ))
}
