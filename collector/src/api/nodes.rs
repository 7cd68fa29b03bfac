//! `/api/v1/nodes`: the proxies that ship, and which of them a close no longer waits for.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::nodes::{self, Hole, Node};

/// Numbers that a list of holes names at most.
const HOLES_MAX: i64 = 1_000;

/// A page of nodes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What is missing of a node's numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Holes {
    /// Numbers that are missing, at most 1000 runs of them.
    items: Vec<Hole>,
}

/// Proxies that ship or shipped, by name.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Node>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Node>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?.map(|[node]| node);
    let client = app.client().await?;
    let items = nodes::list_nodes(&client, after.as_deref(), limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.node.clone()]
    })))
}

/// Settlements of a node that were numbered and have not arrived.
#[utoipa::path(get, path = "/api/v1/nodes/{node}/holes", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The proxy's name.")),
    responses((status = 200, description = "Its holes.", body = Holes)))]
pub(crate) async fn holes(
    State(app): State<App>,
    Segment(node): Segment,
) -> Result<Json<Holes>, ApiError> {
    if node.contains('\0') {
        return Err(ApiError::not_found());
    }
    let client = app.client().await?;
    let items = nodes::holes(&client, &node, HOLES_MAX).await?;
    Ok(Json(Holes { items }))
}

/// Retires a node: closes no longer wait for it. It is live again when it ships again.
#[utoipa::path(post, path = "/api/v1/nodes/{node}/retire", tag = "nodes", security(("bearer" = [])),
    params(("node" = String, Path, description = "The proxy's name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    responses((status = 200, description = "Retired.", body = Node),
        (status = 404, description = "There is no such node.", body = ErrorBody)))]
pub(crate) async fn retire(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(node): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    if node.contains('\0') {
        return Err(ApiError::not_found());
    }
    let mut client = app.client().await?;
    let route = format!("nodes.retire {node}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let retired = nodes::retire(&operation.transaction, &node, operation.actor()).await?;
    let (before, after) = retired.ok_or_else(ApiError::not_found)?;
    operation
        .record(&Change {
            action: "node.retire",
            tenant_id: None,
            entity_kind: "node",
            entity_id: &node,
            before: value(&before)?,
            after: value(&after)?,
            reason: None,
        })
        .await?;
    operation.finish(StatusCode::OK, &after).await
}
