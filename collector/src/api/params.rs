//! Reading a request's parts, so that what cannot be read is answered in the API's own error shape.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;

/// The query string in its final type; unknown parameters are refused by the type.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(cause) => Err(unread(&cause.body_text())),
        }
    }
}

/// A query that cannot be read: `NAME: why`, or a sentence about `NAME`, behind what axum always says.
fn unread(cause: &str) -> ApiError {
    let mut error = ApiError::malformed(cause);
    let why = cause
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(cause);
    let is_name = |name: &&str| {
        let is_plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        !name.is_empty() && name.bytes().all(is_plain)
    };
    let first = why.split_once(": ").map(|(name, _)| name);
    let quoted = why.split('`').nth(1);
    error.field = first
        .filter(is_name)
        .or(quoted.filter(is_name))
        .map(str::to_owned);
    error
}

/// The one variable part of a path, percent-decoded.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            // A path that is no UTF-8 names nothing we have.
            Err(_) => Err(ApiError::not_found()),
        }
    }
}

/// The two variable parts of a path.
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((one, other))) => Ok(Self(one, other)),
            Err(_) => Err(ApiError::not_found()),
        }
    }
}

/// Tells null from absent.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The body, within its bound.
pub(crate) struct Content(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Content {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(body) => Ok(Self(body)),
            Err(cause) if cause.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "the request body is larger than this route takes",
            )),
            Err(_) => Err(ApiError::malformed("the body did not come whole")),
        }
    }
}
