//! The listener: plain or TLS, HTTP/1.1 and h2, one task a connection, and a drain that lets requests
//! in flight finish. Nothing a peer sends ends the accept loop.
//!
//! It also holds the one wrapper around every answer, which gives a request its id and counts it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::tls::Acceptor;

/// Connections at one time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Time a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between a connection's (or the last answer's) end and a complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after the kernel could not give a connection (descriptors used up).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT_REQUEST: String;
}

/// The id of the request this task is answering; empty outside of one.
pub(crate) fn current_request_id() -> String {
    CURRENT_REQUEST.try_with(Clone::clone).unwrap_or_default()
}

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Everything a connection needs.
#[derive(Clone)]
struct Serving {
    router: Router,
    metrics: Metrics,
    tls: Option<Arc<Acceptor>>,
}

/// Accepts until `shutdown`, then lets requests in flight finish for `drain` and cuts what is left.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    tls: Option<Arc<Acceptor>>,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let serving = Serving {
        router,
        metrics,
        tls,
    };
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // A finished connection's result is taken here, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::warn!(%cause, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let serving = serving.clone();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            serving.metrics.connections_open.inc();
            connection(&serving, stream, peer, &shutdown).await;
            serving.metrics.connections_open.dec();
            drop(slot);
        });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, finished).await.is_err() {
        tracing::warn!("cutting connections that did not finish in time");
        connections.shutdown().await;
    }
}

async fn connection(
    serving: &Serving,
    stream: TcpStream,
    peer: SocketAddr,
    shutdown: &CancellationToken,
) {
    // Small answers would wait for the peer's delayed acknowledgement otherwise.
    if let Err(cause) = stream.set_nodelay(true) {
        tracing::debug!(%cause, "no-delay was refused");
    }
    let Some(tls) = &serving.tls else {
        return exchange(serving, stream, peer, shutdown).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.current().accept(stream)).await {
        Ok(Ok(stream)) => exchange(serving, stream, peer, shutdown).await,
        Ok(Err(cause)) => tracing::debug!(%cause, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    serving: &Serving,
    stream: S,
    peer: SocketAddr,
    shutdown: &CancellationToken,
) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (router, metrics) = (serving.router.clone(), serving.metrics.clone());
        async move { Ok::<_, Infallible>(answer(router, metrics, peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "connection ended");
    }
}

/// The one wrapper: id, peer, count.
async fn answer(
    router: Router,
    metrics: Metrics,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let request_id = Uuid::now_v7().to_string();
    let method = request.method().as_str().to_owned();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    let answered = CURRENT_REQUEST.scope(
        request_id.clone(),
        tower_service::Service::call(&mut { router }, request),
    );
    let mut response = match answered.await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let route = response.extensions_mut().remove::<MatchedPath>();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    // A method is the peer's own text; only known ones become a series.
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") => known,
        _ => "other",
    };
    metrics
        .requests
        .with_label_values(&[route, method, response.status().as_str()])
        .inc();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
