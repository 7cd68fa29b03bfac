//! `/api/v1/customers/erase`: an end customer's id is erased; what is booked keeps a reference that leads
//! nowhere.

use axum::extract::State;
use axum::{Extension, Json};
use farebox_pricing::id;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::App;
use crate::api::operation::read;
use crate::api::params::Content;
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::retention::{self, Erased};

/// Whose id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erase {
    /// The tenant.
    #[serde(alias = "tenant")]
    tenant_id: String,
    /// The customer.
    #[serde(alias = "customer")]
    customer_id: String,
}

/// Erases a customer's id and name. What is booked holds a random reference and stays as it is, invoices and
/// their hashes with it. It cannot be taken back; calls that name the id again are another customer's.
#[utoipa::path(post, path = "/api/v1/customers/erase", tag = "customers", security(("bearer" = [])),
    request_body = Erase,
    responses((status = 200, description = "Erased.", body = Erased),
        (status = 404, description = "There is no such customer.", body = ErrorBody),
        (status = 503, description = "The collector's login does not have the retention role.", body = ErrorBody)))]
pub(crate) async fn erase(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Content(body): Content,
) -> Result<Json<Erased>, ApiError> {
    let asked: Erase = read(&body)?;
    for (field, text) in [
        ("tenant_id", &asked.tenant_id),
        ("customer_id", &asked.customer_id),
    ] {
        id::check(text).map_err(|cause| ApiError::invalid(field, cause.to_string()))?;
    }
    let store = app.retention().ok_or_else(|| {
        ApiError::unavailable("retention_off", "collector.retention_role names no role")
    })?;
    let mut client = store.client().await?;
    let erased = retention::erase_customer(
        &mut client,
        &asked.tenant_id,
        &asked.customer_id,
        &principal.actor(),
        &crate::server::current_request_id(),
    )
    .await?;
    erased.map(Json).ok_or_else(ApiError::not_found)
}
