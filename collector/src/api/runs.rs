//! `/api/v1/runs`: runs of agents and their steps.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::page::{self, Page};
use crate::api::params::{Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::bounded;
use crate::records::gathered::Filter;
use crate::records::runs::{self, Run, Span};

/// Which runs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Begun at or after, RFC 3339 or a day.
    from: Option<String>,
    /// Begun before.
    to: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this session.
    session: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A run with its steps. Two tenants may have a run of the same id: the operator sees both.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunTree {
    /// The run, one item a tenant.
    items: Vec<Run>,
    /// Its steps, parents before children.
    spans: Vec<Span>,
}

/// Runs, the latest begun first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "usage", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Run>),
        (status = 400, description = "A parameter cannot be used, `field` says which; or `too_much_to_read`: a shorter time is to be asked for.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Run>>, ApiError> {
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    page::all_clean([tenant, asked.session.as_deref()])?;
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        tenant,
        run: None,
        session: asked.session.as_deref(),
        from,
        to,
        after: page::after(asked.cursor.as_deref())?,
        limit: page::limit(asked.limit)?,
    };
    let mut client = app.client().await?;
    let items = bounded::read(&mut client, app.read_bound(), async |reading| {
        runs::list(reading, &filter).await
    })
    .await
    .map_err(ApiError::of_reading)?;
    let page = Page::cut(items, filter.limit, |(first, _)| vec![first.to_string()]);
    Ok(Json(page.map(|(_, run)| run)))
}

/// One run and its steps.
#[utoipa::path(get, path = "/api/v1/runs/{run_id}", tag = "usage", security(("bearer" = [])),
    params(("run_id" = String, Path, description = "The run, percent-encoded.")),
    responses((status = 200, description = "The run.", body = RunTree),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(run_id): Segment,
) -> Result<Json<RunTree>, ApiError> {
    page::all_clean([Some(run_id.as_str())]).map_err(|_| ApiError::not_found())?;
    let client = app.client().await?;
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        tenant: principal.tenant(),
        run: Some(&run_id),
        session: None,
        from: None,
        to: None,
        after: None,
        limit: page::LIMIT_MAX,
    };
    let items = runs::list(&client, &filter).await?;
    if items.is_empty() {
        return Err(ApiError::not_found());
    }
    let spans = runs::spans(&client, &run_id, principal.tenant(), principal.is_tenant()).await?;
    Ok(Json(RunTree {
        items: items.into_iter().map(|(_, run)| run).collect(),
        spans,
    }))
}
