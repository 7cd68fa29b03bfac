//! `/metrics`, `/healthz` and `/readyz`, on an address of their own.
//!
//! Ready means: there is a directory of whatever age, the spool's disk takes records, and no drain
//! has begun. Postgres and the collector are never asked: a proxy without them serves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::config::Secret;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must be here within this, and a kept connection asks again within it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After a failed accept, which is a want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped with this future: no connection outlives the stop.
    let mut connections = JoinSet::new();
    loop {
        let seat = Arc::clone(&seats).acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (seat.await, listener.accept().await) } => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => return,
        };
        match accepted {
            (Ok(seat), Ok((stream, _))) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    serve_connection(stream, shared).await;
                    drop(seat);
                });
            }
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::warn!(%error, "operations listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared).await) }
    });
    // A peer that breaks the protocol or goes away is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<B>(request: &Request<B>, shared: &Arc<Shared>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(
            StatusCode::METHOD_NOT_ALLOWED,
            JSON,
            error("method_not_allowed"),
        );
    }
    match request.uri().path() {
        "/healthz" => respond(StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned()),
        "/readyz" => ready(shared),
        "/metrics" => {
            let token = shared.config.metrics.token.as_ref();
            if !token.is_none_or(|token| is_authorized(request.headers(), token)) {
                return unauthorized();
            }
            metrics(shared).await
        }
        _ => respond(StatusCode::NOT_FOUND, JSON, error("not_found")),
    }
}

fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    let reasons = [
        (!shared.directory.is_loaded(), "directory_not_loaded"),
        (shared.spool.stats().is_failing, "spool_failing"),
        (shared.is_draining(), "draining"),
    ];
    let reasons: Vec<&str> = reasons
        .into_iter()
        .filter_map(|(holds, reason)| holds.then_some(reason))
        .collect();
    if reasons.is_empty() {
        return respond(StatusCode::OK, JSON, r#"{"status":"ready"}"#.to_owned());
    }
    let body = serde_json::json!({"status": "not_ready", "reasons": reasons});
    respond(StatusCode::SERVICE_UNAVAILABLE, JSON, body.to_string())
}

async fn metrics(shared: &Arc<Shared>) -> Response<Full<Bytes>> {
    let shared = Arc::clone(shared);
    // The spool's numbers need the disk, and many series take a while to print.
    let encoding = tokio::task::spawn_blocking(move || {
        let (metrics, admission) = (&shared.metrics, &shared.admission);
        let mut text = metrics.encode(&shared.spool.stats(), shared.directory.age());
        metrics.encode_limits(&admission.gauged(), admission.is_store_away(), &mut text);
        text
    });
    match encoding.await {
        Ok(text) => respond(StatusCode::OK, TEXT, text),
        Err(failure) => {
            tracing::error!(error = %failure, "metrics cannot be encoded");
            respond(StatusCode::INTERNAL_SERVER_ERROR, JSON, error("internal"))
        }
    }
}

/// Compares digests, so that the time it takes says nothing of the token.
fn is_authorized(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let Some((scheme, shown)) = shown.and_then(|value| value.split_at_checked(7)) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"bearer ")
        && Sha256::digest(shown) == Sha256::digest(token.expose().as_bytes())
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::UNAUTHORIZED, JSON, error("unauthorized"));
    let bearer = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    response
}

fn error(code: &str) -> String {
    serde_json::json!({"error": {"code": code}}).to_string()
}

fn respond(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens_the_metrics() {
        let token = Secret::new("a token".into());
        let check = |value: Option<&str>, expected| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(is_authorized(&headers, &token), expected, "{value:?}");
        };
        check(Some("Bearer a token"), true);
        check(Some("bearer a token"), true);
        check(Some("Bearer another"), false);
        check(Some("Bearer "), false);
        check(Some("Basic a token"), false);
        check(Some("a token"), false);
        check(None, false);
    }
}
