//! What the API answers when it does not do what was asked, and how database failures become that.
//!
//! A message never holds a secret, a statement or another tenant's name: what the database said goes
//! to the log, under the request's id.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::ingest::BatchError;
use crate::store::{DatabaseError, PoolError, SqlState, StoreError};

/// Seconds after which a caller may try again while the database is away.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;

/// The body of every answer that is an error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// A stable code.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The parameter or member it is about.
    pub field: Option<String>,
    /// The request's id, as in `x-request-id`.
    pub request_id: String,
}

/// A request that is not answered with what it asked for.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
    pub(crate) retry_after: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
            retry_after: None,
        }
    }

    /// A parameter or member whose value cannot be used.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        error.field = Some(field.to_owned());
        error
    }

    /// A request that cannot be read at all.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", message)
    }

    /// No such object, or one of another tenant: the two are not told apart.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such object",
        )
    }

    /// Nobody, or somebody we do not know.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "a bearer token or a virtual key is required",
        )
    }

    /// Somebody we know, asking for what is not theirs to do.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Something that stands against it.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Not now, soon again.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        error.retry_after = Some(RETRY_AFTER_SECONDS);
        error
    }

    /// A mistake of ours; the cause is logged, not told.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the collector failed; its log says why",
        )
    }

    /// A question that reads the events within a bound. Asked again it would take as long.
    pub(crate) fn of_reading(cause: DatabaseError) -> Self {
        if cause.code() != Some(&SqlState::QUERY_CANCELED) {
            return cause.into();
        }
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "too_much_to_read",
            "finding this takes longer than it may: ask for a shorter time with `from` and `to`, or for one tenant",
        );
        error.field = Some("from".to_owned());
        error
    }

    fn database_away(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%cause, "database is away");
        Self::unavailable("database_unavailable", "the database cannot be reached")
    }
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
        Self::database_away(&error)
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        let Some(state) = error.code() else {
            // No SQLSTATE: the connection broke, or a value did not convert.
            return if error.is_closed() || std::error::Error::source(&error).is_some_and(is_io) {
                Self::database_away(&error)
            } else {
                Self::internal(&error)
            };
        };
        let detail = error.as_db_error().map(|db| db.message().to_owned());
        let detail = detail.unwrap_or_default();
        if is_away(state) {
            return Self::database_away(&detail);
        }
        // Postgres takes no NUL, and JSON and percent-encoding can write one.
        if *state == SqlState::CHARACTER_NOT_IN_REPERTOIRE {
            return Self::malformed("a text holds a character that cannot be stored");
        }
        if *state == SqlState::QUERY_CANCELED {
            return Self::unavailable("query_timeout", "the query took longer than its bound");
        }
        Self::internal(&format!("{}: {detail}", state.code()))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(cause) => cause.into(),
            StoreError::Failed(cause) => cause.into(),
            StoreError::Address(_) | StoreError::SumTooLarge | StoreError::Unreadable(_) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<BatchError> for ApiError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Again(cause) => {
                tracing::warn!(%cause, "another transaction was in the way");
                Self::unavailable("busy", "another change was in the way; send this one again")
            }
            BatchError::Data(cause) | BatchError::Store(cause) => cause.into(),
        }
    }
}

fn is_io(source: &(dyn std::error::Error + 'static)) -> bool {
    source.is::<std::io::Error>()
}

/// Connection failures, a server that stops or starts, and one that is out of room; each passes.
fn is_away(state: &SqlState) -> bool {
    let code = state.code();
    code.starts_with("08") || code.starts_with("57P") || code.starts_with("53")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code.to_owned(),
                message: self.message,
                field: self.field,
                // The one wrapper of all answers knows the id and writes it here.
                request_id: crate::server::current_request_id(),
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"farebox\""),
            );
        }
        response
    }
}
