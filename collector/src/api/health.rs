//! The routes that are about the collector itself: alive, ready, its numbers, its document.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{App, openapi_json};
use crate::error::{ApiError, ErrorBody};
use crate::metrics::CONTENT_TYPE;
use crate::records;

/// Time the database gets to say that it is there.
const READY_WAIT: Duration = Duration::from_secs(2);

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "It does.", body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests can be served: the database answers and has the schema.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "They can.", body = String),
        (status = 503, description = "The database is away or not migrated.", body = String),
    ))]
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let asked = async {
        records::nodes::check_schema(&app.client().await?).await?;
        Ok::<(), ApiError>(())
    };
    match tokio::time::timeout(READY_WAIT, asked).await {
        Ok(Ok(())) => "ready\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// The collector's metrics in the Prometheus text format.
///
/// Open on a loopback listener; elsewhere it asks for the metrics token or the operator's.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(("bearer" = [])),
    responses((status = 200, description = "Metrics.", body = String),
        (status = 401, description = "No metrics token.", body = ErrorBody)))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app
        .metrics
        .render()
        .map_err(|cause| ApiError::internal(&cause))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(("bearer" = [])),
    responses((status = 200, description = "The OpenAPI document.", body = Object),
        (status = 401, description = "Nobody known.", body = ErrorBody)))]
pub(crate) async fn openapi() -> Result<Response, ApiError> {
    let text = openapi_json().map_err(|cause| ApiError::internal(&cause))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Any path that is no route.
pub(crate) async fn missing() -> ApiError {
    ApiError::not_found()
}

/// A route, asked in a way it has not.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not answer that method",
    )
}
