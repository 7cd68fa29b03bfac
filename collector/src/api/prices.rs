//! `/api/v1/prices`: rate cards and selling rules. The operator's alone: they hold purchase prices.

use std::fmt::Write;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::MethodRouter;
use axum::{Extension, Json};
use farebox_pricing::rate_card::{CARD_BYTES_MAX, InvalidCard};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::cards::Read;
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::prices::{self, PriceRevision};

mod ask;
mod bundle;
mod compare;
mod force;

pub(crate) use ask::{__path_gaps, __path_quote, gaps, quote};
pub(crate) use bundle::{__path_bundle, bundle};
pub(crate) use compare::{__path_diff, __path_reprice, diff, reprice, target};
pub(crate) use force::{declare, refresh};

/// Fewest characters that name a revision.
const REVISION_CHARS_MIN: usize = 8;
/// Mistakes of a card that an answer tells.
const MISTAKES_MAX: usize = 200;

/// A route that takes whole cards.
pub(crate) fn large(handler: MethodRouter<App>) -> MethodRouter<App> {
    // Twice: a comparison may bring both.
    handler.layer(DefaultBodyLimit::max(2 * CARD_BYTES_MAX))
}

/// Which revisions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Only this vendor's; `*` for selling rules.
    provider: Option<String>,
    /// Only those in force.
    #[serde(default)]
    active: bool,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A revision with its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeRevision {
    /// What it is.
    revision: PriceRevision,
    /// The card, or the selling rules, as the revision is the hash of.
    #[schema(value_type = Object)]
    card: Box<RawValue>,
}

/// A revision to put in force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// The revision, or its first characters, at least eight.
    revision: String,
    /// Why, for the audit log.
    reason: Option<String>,
}

/// What an activation did.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activated {
    /// The revision in force now.
    revision: PriceRevision,
    /// The one before; null: there was none.
    before: Option<String>,
}

/// Revisions of rate cards and of the selling rules, by vendor.
#[utoipa::path(get, path = "/api/v1/prices", tag = "prices", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<PriceRevision>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<PriceRevision>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let after = page::cursor::<2>(asked.cursor.as_deref())?;
    let after = after
        .as_ref()
        .map(|after| after.each_ref().map(String::as_str));
    let client = app.client().await?;
    let provider = asked.provider.as_deref();
    let items = prices::list(&client, provider, asked.active, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.provider.clone(), item.revision.clone()]
    })))
}

/// One revision with its text, by its first characters.
#[utoipa::path(get, path = "/api/v1/prices/{revision}", tag = "prices", security(("bearer" = [])),
    params(("revision" = String, Path, description = "The revision, or its first characters, at least eight.")),
    responses((status = 200, description = "The revision.", body = WholeRevision),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segment(revision): Segment,
) -> Result<Json<WholeRevision>, ApiError> {
    let client = app.client().await?;
    let found = prices::find(&client, &start_of_revision(&revision)?).await?;
    let (revision, canonical) = the_one(found)?;
    let card = RawValue::from_string(canonical).map_err(|cause| ApiError::internal(&cause))?;
    Ok(Json(WholeRevision { revision, card }))
}

/// Loads a rate card or selling rules: checked, kept by their revision, not in force yet.
#[utoipa::path(post, path = "/api/v1/prices", tag = "prices", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body(content = Object, description = "The file as it is: a rate card, or selling rules (`kind` is `price`)."),
    responses((status = 200, description = "It was there.", body = PriceRevision),
        (status = 201, description = "Loaded.", body = PriceRevision),
        (status = 400, description = "The message tells every mistake, one a line, each with its path.", body = ErrorBody),
        (status = 409, description = "Prices are taken here in signed bundles only.", body = ErrorBody)))]
pub(crate) async fn load(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    force::check_unsigned(&app)?;
    let card = read_card(std::str::from_utf8(&body).unwrap_or_default())?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "prices.load", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let (is_new, loaded) = force::load(&operation, &card).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    operation.finish(status, &loaded).await
}

/// Puts a loaded revision in force: on every proxy within a second. Calls that run keep theirs.
#[utoipa::path(post, path = "/api/v1/prices/activate", tag = "prices", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Activation,
    responses((status = 200, description = "It is in force; it was already when `before` is the same.", body = Activated),
        (status = 404, description = "There is no such revision.", body = ErrorBody),
        (status = 409, description = "It cannot be in force here; the revision before stays.", body = ErrorBody)))]
pub(crate) async fn activate(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Activation = read(&body)?;
    let start = start_of_revision(&asked.revision)?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "prices.activate", &body).await?
    {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let activated = force::activate(&operation, &start, asked.reason.as_deref()).await?;
    let answer = operation.finish(StatusCode::OK, &activated).await?;
    // The pool may have one connection; this asks for another.
    drop(client);
    refresh(&app).await;
    Ok(answer)
}

/// What a revision may be named by.
fn start_of_revision(text: &str) -> Result<String, ApiError> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() < REVISION_CHARS_MIN || !is_hex {
        return Err(ApiError::invalid(
            "revision",
            "a revision, or at least its first eight characters",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// The one that was found.
fn the_one(mut found: Vec<(PriceRevision, String)>) -> Result<(PriceRevision, String), ApiError> {
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ApiError::not_found()),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "revision",
            "begins more than one revision",
        )),
    }
}

/// What this program cannot use is not put in force.
fn usable(canonical: &str) -> Result<Read, ApiError> {
    read_card(canonical).map_err(|cause| {
        let message = format!("this program cannot use it: {}", cause.message);
        ApiError::conflict("unusable_rate_card", message)
    })
}

/// A card as this program reads it, or all of its mistakes.
fn read_card(text: &str) -> Result<Read, ApiError> {
    Read::from_json(text).map_err(|invalid| invalid_card(&invalid))
}

/// All mistakes, one a line.
fn invalid_card(invalid: &InvalidCard) -> ApiError {
    let mut message = String::new();
    for mistake in invalid.0.iter().take(MISTAKES_MAX) {
        let joint = if message.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(message, "{joint}{mistake}");
    }
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_rate_card", message)
}
