//! `/api/v1/sessions`: conversations, added up.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::App;
use crate::api::page::{self, Page};
use crate::api::params::Params;
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::bounded;
use crate::records::gathered::Filter;
use crate::records::sessions::{self, Session};

/// Which sessions.
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
    /// The one of this id.
    session: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Sessions, the latest begun first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "usage", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Session>),
        (status = 400, description = "A parameter cannot be used, `field` says which; or `too_much_to_read`: a shorter time is to be asked for.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Session>>, ApiError> {
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    page::all_clean([tenant, asked.session.as_deref()])?;
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        tenant,
        session: asked.session.as_deref(),
        run: None,
        from,
        to,
        after: page::after(asked.cursor.as_deref())?,
        limit: page::limit(asked.limit)?,
    };
    let mut client = app.client().await?;
    let items = bounded::read(&mut client, app.read_bound(), async |reading| {
        sessions::list(reading, &filter).await
    })
    .await
    .map_err(ApiError::of_reading)?;
    let page = Page::cut(items, filter.limit, |(first, _)| vec![first.to_string()]);
    Ok(Json(page.map(|(_, session)| session)))
}
