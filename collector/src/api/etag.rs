//! `ETag` on reads: a hash over the answer, so that who asks again with `If-None-Match` gets 304 and no
//! body while nothing changed. Answers that stream have none.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::keys::hex;

/// Bytes of the hash that stand in the tag.
const TAG_BYTES: usize = 16;
/// Largest answer that is tagged.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Runs around every handler behind a guard.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    let is_read = request.method() == Method::GET && request.uri().path().starts_with("/api/");
    let asked = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    // Only what is whole already has an exact length; a stream must not be gathered here.
    let is_whole = response.body().size_hint().exact().is_some();
    if !is_read || response.status() != StatusCode::OK || !is_whole {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match axum::body::to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(cause) => return ApiError::internal(&cause).into_response(),
    };
    let tag = format!("\"{}\"", hex(&Sha256::digest(&bytes)[..TAG_BYTES]));
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    parts.headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    if asked.is_some_and(|asked| matches(&asked, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// `*`, or a list of tags; weak ones compare as strong ones do (RFC 9110 section 13.1.2).
fn matches(asked: &HeaderValue, tag: &str) -> bool {
    let Ok(asked) = asked.to_str() else {
        return false;
    };
    let same = |one: &str| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    };
    asked.split(',').any(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_matches_by_any() {
        let check = |asked: &'static str, expected| {
            let asked = HeaderValue::from_static(asked);
            assert_eq!(matches(&asked, "\"a1\""), expected, "{asked:?}");
        };
        check("\"a1\"", true);
        check("\"b\", W/\"a1\"", true);
        check("*", true);
        check("\"b\"", false);
        check("a1", false);
    }
}
