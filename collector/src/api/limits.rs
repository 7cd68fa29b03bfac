//! `/api/v1/limits`: how much a tenant may do in a window of time. The operator sets them; a tenant
//! sees its own.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::api::App;
use crate::api::customers::tenants_missing;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::limit_status::{self, LimitEvent, LimitStatus};
use crate::records::limits::{self, Limit, LimitTerms};
use crate::records::tenants;

pub(crate) mod terms;

pub(crate) use terms::SetLimit;

/// Which limits.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's limits.
    tenant: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Limits, newest first.
#[utoipa::path(get, path = "/api/v1/limits", tag = "limits", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own.", body = Page<Limit>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Limit>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let client = app.client().await?;
    let tenant = asked.tenant.as_deref();
    let items = limits::list(&client, principal.tenant(), tenant, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.limit_id.to_string()]
    })))
}

/// How far limits are used.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Watching {
    /// One tenant's limits.
    tenant: Option<String>,
    /// One limit.
    limit_id: Option<Uuid>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One limit.
#[utoipa::path(get, path = "/api/v1/limits/{limit_id}", tag = "limits", security(("bearer" = [])),
    params(("limit_id" = Uuid, Path, description = "The limit.")),
    responses((status = 200, description = "The limit.", body = Limit),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(limit_id): Segment,
) -> Result<Json<Limit>, ApiError> {
    let limit_id: Uuid = limit_id.parse().map_err(|_| ApiError::not_found())?;
    let client = app.client().await?;
    let found = limits::find(&client, principal.tenant(), limit_id).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// How far each limit is used in its present window: the rows of the view `limit_status`.
#[utoipa::path(get, path = "/api/v1/limits/status", tag = "limits", security(("bearer" = [])),
    params(Watching),
    responses((status = 200, description = "A page; a tenant's key sees its own limits, but none on cost.", body = Page<LimitStatus>)))]
pub(crate) async fn status(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Watching>,
) -> Result<Json<Page<LimitStatus>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<2>(asked.cursor.as_deref())?;
    let after = match &after {
        None => None,
        Some([limit_id, scope]) if scope.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some((cursor_id(limit_id)?, scope.as_str()))
        }
        Some(_) => return Err(ApiError::invalid("cursor", "not a cursor of this list")),
    };
    let client = app.client().await?;
    let (own, tenant) = (principal.tenant(), asked.tenant.as_deref());
    let items = limit_status::status(&client, own, tenant, asked.limit_id, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.limit_id.to_string(), item.scope.clone()]
    })))
}

/// When limits warned, refused, or would have; newest first: the rows of the view `limit_events`.
#[utoipa::path(get, path = "/api/v1/limits/events", tag = "limits", security(("bearer" = [])),
    params(Watching),
    responses((status = 200, description = "A page; a tenant's key sees those of its own limits, but none on cost.", body = Page<LimitEvent>)))]
pub(crate) async fn events(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Watching>,
) -> Result<Json<Page<LimitEvent>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<2>(asked.cursor.as_deref())?;
    let after = match &after {
        None => None,
        Some([at, id]) => {
            page::time("cursor", Some(at))?;
            Some((at.as_str(), cursor_id(id)?))
        }
    };
    let client = app.client().await?;
    let (own, tenant) = (principal.tenant(), asked.tenant.as_deref());
    let items = limit_status::events(&client, own, tenant, asked.limit_id, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.triggered_at.clone(), item.limit_event_id.to_string()]
    })))
}

fn cursor_id(text: &str) -> Result<Uuid, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))
}

/// Sets a limit: replaces the one of the same calls, meter, basis and window, or makes it.
#[utoipa::path(post, path = "/api/v1/limits", tag = "limits", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = SetLimit,
    responses((status = 200, description = "Replaced.", body = Limit),
        (status = 201, description = "Made.", body = Limit),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let terms = read::<SetLimit>(&body)?.checked()?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "limits.set", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock_like(&operation.transaction, &terms).await?;
    let limit_id = before
        .as_ref()
        .map_or_else(Uuid::now_v7, |limit| limit.limit_id);
    finish(operation, limit_id, before, &terms).await
}

/// Makes or replaces the limit of that id.
#[utoipa::path(put, path = "/api/v1/limits/{limit_id}", tag = "limits", security(("bearer" = [])),
    params(("limit_id" = Uuid, Path, description = "The limit."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = SetLimit,
    responses((status = 200, description = "Replaced.", body = Limit),
        (status = 201, description = "Made.", body = Limit),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody)))]
pub(crate) async fn put(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(limit_id): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let limit_id: Uuid = limit_id
        .parse()
        .map_err(|_| ApiError::invalid("limit_id", "a UUID"))?;
    let terms = read::<SetLimit>(&body)?.checked()?;
    let mut client = app.client().await?;
    let route = format!("limits.put {limit_id}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock(&operation.transaction, limit_id).await?;
    finish(operation, limit_id, before, &terms).await
}

/// Removes a limit.
#[utoipa::path(delete, path = "/api/v1/limits/{limit_id}", tag = "limits", security(("bearer" = [])),
    params(("limit_id" = Uuid, Path, description = "The limit.")),
    responses((status = 200, description = "Removed; this was it.", body = Limit),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(limit_id): Segment,
) -> Answer {
    let limit_id: Uuid = limit_id.parse().map_err(|_| ApiError::not_found())?;
    let mut client = app.client().await?;
    let no_headers = HeaderMap::new();
    let operation = match begin(&mut client, &principal, &no_headers, "", &[]).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock(&operation.transaction, limit_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    limits::remove(&operation.transaction, limit_id).await?;
    operation
        .record(&Change {
            action: "limit.remove",
            tenant_id: before.tenant_id.as_deref(),
            entity_kind: "limit",
            entity_id: &limit_id.to_string(),
            before: value(&before)?,
            after: Value::Null,
            reason: None,
        })
        .await?;
    operation.finish(StatusCode::OK, &before).await
}

async fn finish(
    operation: Operation<'_>,
    limit_id: Uuid,
    before: Option<Limit>,
    terms: &LimitTerms,
) -> Answer {
    let status = match &before {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    let after = keep(&operation, limit_id, before.as_ref(), terms).await?;
    operation.finish(status, &after).await
}

/// A limit as a file declares it: made, or put in the place of the one like it.
pub(crate) async fn declare(
    operation: &Operation<'_>,
    asked: SetLimit,
) -> Result<(Option<Limit>, Limit), ApiError> {
    let terms = asked.checked()?;
    let before = limits::lock_like(&operation.transaction, &terms).await?;
    if let Some(before) = &before
        && terms.is_said_by(before)
    {
        return Ok((Some(before.clone()), before.clone()));
    }
    let limit_id = before
        .as_ref()
        .map_or_else(Uuid::now_v7, |limit| limit.limit_id);
    let after = keep(operation, limit_id, before.as_ref(), &terms).await?;
    Ok((before, after))
}

async fn keep(
    operation: &Operation<'_>,
    limit_id: Uuid,
    before: Option<&Limit>,
    terms: &LimitTerms,
) -> Result<Limit, ApiError> {
    if let Some(tenant_id) = &terms.tenant_id
        && !tenants::exists(&operation.transaction, tenant_id).await?
    {
        return Err(tenants_missing());
    }
    let actor = operation.actor();
    let after = limits::put(&operation.transaction, limit_id, terms, actor).await?;
    operation
        .record(&Change {
            action: "limit.set",
            tenant_id: after.tenant_id.as_deref(),
            entity_kind: "limit",
            entity_id: &limit_id.to_string(),
            before: value(&before)?,
            after: value(&after)?,
            reason: None,
        })
        .await?;
    Ok(after)
}
