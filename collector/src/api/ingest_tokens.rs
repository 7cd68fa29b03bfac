//! `/api/v1/ingest-tokens`: what proxies ship with. The operator issues and revokes them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::keys;
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::nodes::{self, IngestToken};

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A token to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// A name for people, usually the node's.
    name: String,
}

/// Ingest tokens, newest first.
#[utoipa::path(get, path = "/api/v1/ingest-tokens", tag = "ingest", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<IngestToken>),
        (status = 403, description = "Not the operator.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<IngestToken>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let items = nodes::list_tokens(&app.client().await?, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |token| {
        vec![token.token_id.to_string()]
    })))
}

/// Issues a token; its secret is in this answer only, and absent when the request is repeated.
#[utoipa::path(post, path = "/api/v1/ingest-tokens", tag = "ingest", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = NewToken,
    responses((status = 201, description = "Issued.", body = IngestToken),
        (status = 400, description = "No usable name.", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used with another request.", body = ErrorBody)))]
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: NewToken = read(&body)?;
    farebox_pricing::id::check(&asked.name)
        .map_err(|cause| ApiError::invalid("name", cause.to_string()))?;
    let mut client = app.client().await?;
    let operation = match begin(
        &mut client,
        &principal,
        &headers,
        "ingest-tokens.issue",
        &body,
    )
    .await?
    {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let secret = keys::draw_ingest_token().map_err(|cause| ApiError::internal(&cause))?;
    let token = nodes::insert_token(
        &operation.transaction,
        &asked.name,
        &keys::digest(secret.expose()),
        operation.actor(),
    )
    .await?;
    operation
        .record(&Change {
            action: "ingest_token.issue",
            tenant_id: None,
            entity_kind: "ingest_token",
            entity_id: &token.token_id.to_string(),
            before: Value::Null,
            after: value(&token)?,
            reason: None,
        })
        .await?;
    let kept = value(&token)?;
    let shown = value(&IngestToken {
        secret: Some(secret.expose().to_owned()),
        ..token
    })?;
    operation.finish_as(StatusCode::CREATED, shown, kept).await
}

/// Revokes a token; a proxy that ships with it is refused from now on and keeps its events.
#[utoipa::path(delete, path = "/api/v1/ingest-tokens/{token_id}", tag = "ingest", security(("bearer" = [])),
    params(("token_id" = Uuid, Path, description = "The token.")),
    responses((status = 200, description = "Revoked, now or before.", body = IngestToken),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(token_id): Segment,
) -> Answer {
    let token_id: Uuid = token_id.parse().map_err(|_| ApiError::not_found())?;
    let mut client = app.client().await?;
    let no_headers = HeaderMap::new();
    let operation = match begin(&mut client, &principal, &no_headers, "", &[]).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let (before, after) = nodes::revoke_token(&operation.transaction, token_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    operation
        .record(&Change {
            action: "ingest_token.revoke",
            tenant_id: None,
            entity_kind: "ingest_token",
            entity_id: &token_id.to_string(),
            before: value(&before)?,
            after: value(&after)?,
            reason: None,
        })
        .await?;
    operation.finish(StatusCode::OK, &after).await
}
