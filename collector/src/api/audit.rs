//! `/api/v1/audit`: who did what, for the operator.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::App;
use crate::api::page::{self, Page};
use crate::api::params::Params;
use crate::error::{ApiError, ErrorBody};
use crate::records::audit::{self, Entry, Filter};

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Done by this one.
    actor: Option<String>,
    /// `noun.verb`, such as `key.revoke` or `call.refused`.
    action: Option<String>,
    /// Concerning this tenant.
    tenant: Option<String>,
    /// Done to things of this kind.
    entity_kind: Option<String>,
    /// Done to this thing.
    entity: Option<String>,
    /// At or after, RFC 3339 or a day.
    from: Option<String>,
    /// Before.
    to: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The audit log, newest first: each change with the object before and after, and refused calls, at most one row a minute for each key and code.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Entry>),
        (status = 400, description = "A parameter cannot be used; `field` says which.", body = ErrorBody),
        (status = 403, description = "Not the operator.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<i64>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let filter = Filter {
        actor: asked.actor.as_deref(),
        action: asked.action.as_deref(),
        tenant: asked.tenant.as_deref(),
        entity_kind: asked.entity_kind.as_deref(),
        entity_id: asked.entity.as_deref(),
        from,
        to,
        after,
        limit: page::limit(asked.limit)?,
    };
    let items = audit::list(&app.client().await?, &filter).await?;
    Ok(Json(Page::cut(items, filter.limit, |last| {
        vec![last.audit_id.to_string()]
    })))
}
