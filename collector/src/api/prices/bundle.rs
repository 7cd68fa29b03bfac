//! `/api/v1/prices/bundle`: cards and selling rules that a trusted key has signed, all of them or none.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use farebox_pricing::rate_card::bundle::Bundle;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::force::{self, refresh};
use super::{invalid_card, read_card};
use crate::api::App;
use crate::api::operation::{Answer, Begun, begin};
use crate::api::params::{Content, Params};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::prices::PriceRevision;

/// What to do with a bundle.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Puts all of it in force too.
    #[serde(default)]
    activate: bool,
    /// Why, for the audit log.
    reason: Option<String>,
}

/// What was in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct BundleLoaded {
    /// Its cards and selling rules as they are here now.
    items: Vec<PriceRevision>,
}

/// Loads a signed bundle, and with `activate` puts all of it in force, in one transaction.
#[utoipa::path(post, path = "/api/v1/prices/bundle", tag = "prices", security(("bearer" = [])),
    params(Asked, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body(content = Object, description = "The file that `farebox price bundle sign` wrote."),
    responses((status = 200, description = "It is loaded.", body = BundleLoaded),
        (status = 400, description = "The message tells every mistake, one a line, each with its path.", body = ErrorBody),
        (status = 409, description = "No key of `collector.price_keys` signed it as it is (`not_signed`), or it cannot be in force here. Nothing changed.", body = ErrorBody)))]
pub(crate) async fn bundle(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let bundle = Bundle::from_json(text).map_err(|invalid| invalid_card(&invalid))?;
    let prices = bundle
        .verified(&app.price_keys)
        .map_err(|cause| ApiError::conflict("not_signed", cause.to_string()))?;
    let mut client = app.client().await?;
    let what = match asked.activate {
        true => "prices.bundle.activate",
        false => "prices.bundle",
    };
    let operation = match begin(&mut client, &principal, &headers, what, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let mut items = Vec::with_capacity(prices.len());
    for one in prices {
        items.push(
            force::load(&operation, &read_card(&one.canonical)?)
                .await?
                .1,
        );
    }
    if asked.activate {
        // After all are loaded, because one may fall back on another.
        for item in &mut items {
            let reason = asked.reason.as_deref();
            *item = force::activate(&operation, &item.revision, reason)
                .await?
                .revision;
        }
    }
    let answer = operation
        .finish(StatusCode::OK, &BundleLoaded { items })
        .await?;
    // The pool may have one connection; this asks for another.
    drop(client);
    if asked.activate {
        refresh(&app).await;
    }
    Ok(answer)
}
