//! `POST /ingest/v1/owners`: a proxy asks whose a thing is that another one saw being made.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use farebox_pricing::event::OBJECTS_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{App, operation};
use crate::error::{ApiError, ErrorBody};
use crate::records::owners::{self, Owner};

/// Which things.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// The vendor.
    provider: String,
    /// The provider credential, as in `credential_id`.
    account: String,
    /// The vendor's names of it, at most 8.
    object_ids: Vec<String>,
}

/// Those of which somebody is known to be the owner.
#[derive(Serialize, ToSchema)]
pub(crate) struct Owners {
    /// In the order of their names.
    owners: Vec<Owner>,
}

/// Who made things that a vendor keeps.
#[utoipa::path(post, path = "/ingest/v1/owners", tag = "ingest", security(("bearer" = [])),
    request_body(content = Question),
    responses(
        (status = 200, description = "Those that are known; the others are missing.", body = Owners),
        (status = 400, description = "No question.", body = ErrorBody),
        (status = 401, description = "No ingest token.", body = ErrorBody),
        (status = 503, description = "The database is away; see `retry-after`.", body = ErrorBody),
    ))]
pub(crate) async fn find(State(app): State<App>, body: Bytes) -> Result<Json<Owners>, ApiError> {
    let asked: Question = operation::read(&body)?;
    if asked.object_ids.len() > OBJECTS_MAX {
        return Err(ApiError::invalid("object_ids", "at most 8 names"));
    }
    let texts = asked
        .object_ids
        .iter()
        .chain([&asked.provider, &asked.account]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(ApiError::malformed("a name holds NUL"));
    }
    let client = app.client().await?;
    let owners = owners::find(&client, &asked.provider, &asked.account, &asked.object_ids).await?;
    Ok(Json(Owners { owners }))
}
