//! `/api/v1/events`: the ledger's rows.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::page::{self, Page};
use crate::api::params::{Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::bounded;
use crate::records::events::{self, Filter, FilterColumn, UsageEvent};
use crate::records::explanations::{self, Step};

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Started at or after, RFC 3339 or a day.
    from: Option<String>,
    /// Started before.
    to: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this customer.
    customer: Option<String>,
    /// Of this project.
    project: Option<String>,
    /// Of this vendor.
    provider: Option<String>,
    /// Of this model.
    model: Option<String>,
    /// Of this session.
    session: Option<String>,
    /// The id in the provider's answer.
    response_id: Option<String>,
    /// The provider's request id header.
    upstream_request_id: Option<String>,
    /// This kind of call.
    endpoint: Option<String>,
    /// `live` or `test`.
    environment: Option<String>,
    /// How the answer ended.
    ending: Option<String>,
    /// How far it is priced.
    pricing: Option<String>,
    /// Of this agent.
    agent: Option<String>,
    /// Of this section.
    section: Option<String>,
    /// Of this run.
    run: Option<String>,
    /// By the virtual key of this id.
    key: Option<String>,
    /// Attempts and parts of this call.
    call: Option<String>,
    /// Through this configured upstream.
    upstream: Option<String>,
    /// With this HTTP status.
    status: Option<String>,
    /// Whose quantities are known in this way.
    usage_source: Option<String>,
    /// Whose tenant came from there.
    attribution: Option<String>,
    /// Only those without a tenant.
    unattributed: Option<bool>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Events, the latest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "usage", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<UsageEvent>),
        (status = 400, description = "A parameter cannot be used, `field` says which; or `too_much_to_read`: a shorter time is to be asked for.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<UsageEvent>>, ApiError> {
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let after = page::after(asked.cursor.as_deref())?;
    let equal = [
        (FilterColumn::Tenant, tenant),
        (FilterColumn::Customer, asked.customer.as_deref()),
        (FilterColumn::Project, asked.project.as_deref()),
        (FilterColumn::Provider, asked.provider.as_deref()),
        (FilterColumn::Model, asked.model.as_deref()),
        (FilterColumn::Session, asked.session.as_deref()),
        (FilterColumn::Response, asked.response_id.as_deref()),
        (
            FilterColumn::UpstreamRequest,
            asked.upstream_request_id.as_deref(),
        ),
        (FilterColumn::Endpoint, asked.endpoint.as_deref()),
        (FilterColumn::Environment, asked.environment.as_deref()),
        (FilterColumn::Ending, asked.ending.as_deref()),
        (FilterColumn::Pricing, asked.pricing.as_deref()),
        (FilterColumn::Agent, asked.agent.as_deref()),
        (FilterColumn::Section, asked.section.as_deref()),
        (FilterColumn::Run, asked.run.as_deref()),
        (FilterColumn::Key, asked.key.as_deref()),
        (FilterColumn::Call, asked.call.as_deref()),
        (FilterColumn::Upstream, asked.upstream.as_deref()),
        (FilterColumn::Status, asked.status.as_deref()),
        (FilterColumn::UsageSource, asked.usage_source.as_deref()),
        (FilterColumn::Attribution, asked.attribution.as_deref()),
    ];
    for (field, value) in [("key", &asked.key), ("call", &asked.call)] {
        if let Some(text) = value {
            text.parse::<Uuid>()
                .map_err(|_| ApiError::invalid(field, "an id"))?;
        }
    }
    if let Some(text) = &asked.status {
        text.parse::<u16>()
            .map_err(|_| ApiError::invalid("status", "an HTTP status"))?;
    }
    page::all_clean(equal.iter().map(|(_, value)| *value))?;
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        from,
        to,
        after,
        unattributed: asked.unattributed == Some(true),
        equal: &equal,
        limit: page::limit(asked.limit)?,
    };
    let mut client = app.client().await?;
    let items = bounded::read(&mut client, app.read_bound(), async |reading| {
        events::list(reading, &filter).await
    })
    .await
    .map_err(ApiError::of_reading)?;
    Ok(Json(Page::cut(items, filter.limit, |event| {
        vec![event.event_id.to_string()]
    })))
}

/// One event.
#[utoipa::path(get, path = "/api/v1/events/{event_id}", tag = "usage", security(("bearer" = [])),
    params(("event_id" = Uuid, Path, description = "The event, as in `x-farebox-event`.")),
    responses((status = 200, description = "The event.", body = UsageEvent),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(event_id): Segment,
) -> Result<Json<UsageEvent>, ApiError> {
    let event_id: Uuid = event_id.parse().map_err(|_| ApiError::not_found())?;
    let found = events::find(&app.client().await?, event_id, principal.tenant()).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// Why one event is what it is: attribution, limits, what was seen, meters, rates, charges, invoice.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// Step by step, as `farebox.explain` gives it.
    steps: Vec<Step>,
}

/// Explains one event step by step, from bytes to the invoice's line.
#[utoipa::path(get, path = "/api/v1/events/{event_id}/explain", tag = "usage", security(("bearer" = [])),
    params(("event_id" = Uuid, Path, description = "The event, as in `x-farebox-event`.")),
    responses((status = 200, description = "The steps; a tenant's key sees no purchase price.", body = Explanation),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn explain(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(event_id): Segment,
) -> Result<Json<Explanation>, ApiError> {
    let event_id: Uuid = event_id.parse().map_err(|_| ApiError::not_found())?;
    let client = app.client().await?;
    let event = events::find(&client, event_id, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let hides_cost = principal.is_tenant() && event.paid_by == "operator";
    let steps = explanations::steps(&client, event_id, principal.is_tenant(), hides_cost).await?;
    Ok(Json(Explanation { steps }))
}
