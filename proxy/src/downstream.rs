//! Callers' connections: accepted under a limit, handed to the worker with the fewest, served as
//! HTTP/1.1 or HTTP/2, drained at the end. HTTP/1.1 is ours (`h1`), HTTP/2 is hyper's.
//!
//! Bounds of a connection: a head must be complete within `head_timeout_ms` (which is also how long an
//! idle connection is kept), a body may pause `body_timeout_ms`, a caller that takes nothing for
//! `downstream_write_timeout_ms` is cut. At each of them the connection is closed.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::Worker;
use crate::bound::Bound;
use crate::failure::Code;
use crate::http1::{Socket, Wire};
use crate::request::{self, CallerHead};
use crate::tls::{self, Acceptor, ServerStream};

mod body;
mod h1;
mod turns;

pub use body::{CallerBody, CallerError};
pub(crate) use turns::Turns;

/// A caller's side of a WebSocket.
pub(crate) type CallerSocket = Socket<ServerStream>;

/// How HTTP/2 with prior knowledge begins (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams one HTTP/2 connection may have open; more are refused by the protocol.
const H2_STREAMS_MAX: u32 = 1_000;
/// Bytes of one HTTP/2 stream that may be on their way up unread.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of one HTTP/2 connection that may be on their way up unread.
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// An HTTP/2 connection without traffic is pinged this often.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How often a worker's timer runs out at least. While one runs that is over sooner than those of a call,
/// setting those wakes nobody; else each call that finds its worker idle makes the runtime wake itself, by
/// a write and a turn more.
const BEAT: Duration = Duration::from_millis(500);
/// Time after a failed accept, so that a full descriptor table is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection on its way to a worker.
pub struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    acceptor: Option<Arc<Acceptor>>,
}

/// A worker as the listeners see it.
#[derive(Clone)]
pub struct Seat {
    /// Hands a connection over.
    pub hand_over: mpsc::UnboundedSender<Accepted>,
    /// Connections it has now.
    pub open: Arc<AtomicUsize>,
}

/// Accepts until the drain begins. Above `connections_max` open connections new ones wait in the
/// listener's backlog.
pub async fn listen(
    listener: TcpListener,
    acceptor: Option<Arc<Acceptor>>,
    seats: Vec<Seat>,
    connections_max: usize,
    shared: Arc<crate::Shared>,
) {
    loop {
        let open: usize = seats
            .iter()
            .map(|seat| seat.open.load(Ordering::Relaxed))
            .sum();
        if open >= connections_max {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.draining.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without this small chunks wait up to 200 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let Some(seat) = seats
            .iter()
            .min_by_key(|seat| seat.open.load(Ordering::Relaxed))
        else {
            return;
        };
        seat.open.fetch_add(1, Ordering::Relaxed);
        // A worker ends only with the process.
        let _ = seat.hand_over.send(Accepted {
            stream,
            peer,
            acceptor: acceptor.clone(),
        });
    }
}

/// What a worker does: serves every connection it is handed until all are gone after the drain.
pub async fn serve(
    worker: Arc<Worker>,
    mut handed: mpsc::UnboundedReceiver<Accepted>,
    open: Arc<AtomicUsize>,
) {
    let draining = worker.shared.draining.clone();
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let accepted = tokio::select! {
            accepted = handed.recv() => accepted,
            () = draining.cancelled() => break,
            _ = beat.tick() => {
                worker.view.refresh();
                continue;
            }
        };
        let Some(accepted) = accepted else { break };
        let worker = Arc::clone(&worker);
        let open = OpenConnection(Arc::clone(&open));
        tokio::spawn(async move {
            let _open = open;
            serve_connection(worker, accepted).await;
        });
    }
    while open.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Each way of serving lies on the heap: a connection keeps no room for those it does not go.
async fn serve_connection(worker: Arc<Worker>, accepted: Accepted) {
    let peer = accepted.peer.ip();
    match Box::pin(begin(&worker, accepted)).await {
        Some((wire, true)) => Box::pin(serve_h2(worker, peer, wire)).await,
        Some((wire, false)) => Box::pin(h1::serve(worker, peer, wire)).await,
        None => {}
    }
}

/// The connection ready to be served, under TLS where the listener is, and whether it speaks HTTP/2.
async fn begin(worker: &Worker, accepted: Accepted) -> Option<(Wire<ServerStream>, bool)> {
    let stream = TcpStream::from_std(accepted.stream).ok()?;
    let head_timeout = Duration::from_millis(worker.shared.config.proxy.head_timeout_ms);
    let Some(acceptor) = accepted.acceptor else {
        let begun = tokio::time::timeout(head_timeout, begins_as_h2(&stream)).await;
        let Ok(is_h2) = begun else {
            worker.shared.metrics.refusal(None, Code::RequestTimeout);
            return None;
        };
        return Some((Wire::Plain(stream), is_h2));
    };
    let accepting = worker.turns.run(acceptor.current().accept(stream));
    match tokio::time::timeout(head_timeout, accepting).await {
        Ok(Ok(stream)) => {
            let is_h2 = tls::server_speaks_h2(&stream);
            Some((Wire::Tls(Box::new(stream)), is_h2))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "caller's TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("caller's TLS handshake took too long");
            None
        }
    }
}

/// Whether the caller speaks HTTP/2 with prior knowledge. No HTTP/1 method shares its first bytes.
async fn begins_as_h2(stream: &TcpStream) -> bool {
    let mut seen = [0; H2_PREFACE.len()];
    loop {
        let Ok(len) = stream.peek(&mut seen).await else {
            return false;
        };
        let len = len.min(H2_PREFACE.len());
        if len == 0 || seen[..len] != H2_PREFACE[..len] {
            return false;
        }
        // `PRI` alone tells: no method begins so, and peeking again would not wait for more.
        if len >= 3 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn serve_h2(worker: Arc<Worker>, peer: IpAddr, wire: Wire<ServerStream>) {
    let shared = Arc::clone(&worker.shared);
    // Pings find a dead peer; a stream's own bounds are those of its call.
    let io = Guarded {
        io: TokioIo::new(wire),
        write_timeout: Duration::from_millis(shared.config.proxy.downstream_write_timeout_ms),
        blocked_since: None,
        bound: Bound::default(),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = CallerBody::H2(body);
        let (worker, head) = (Arc::clone(&worker), Arc::new(CallerHead::new(head)));
        Box::pin(async move {
            let mut timer = Bound::default();
            let answer = request::answer(worker, peer, head, body, &mut timer).await;
            Ok::<http::Response<_>, std::convert::Infallible>(answer.into())
        })
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(shared.config.proxy.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(H2_PING_INTERVAL)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "caller's connection ended");
    }
}

/// A socket whose caller must take what there is for it within a bound.
struct Guarded {
    io: TokioIo<Wire<ServerStream>>,
    write_timeout: Duration,
    blocked_since: Option<Instant>,
    bound: Bound,
}

impl Guarded {
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        match polled {
            Poll::Ready(written) => {
                self.blocked_since = None;
                Poll::Ready(written)
            }
            Poll::Pending => {
                let since = *self.blocked_since.get_or_insert_with(Instant::now);
                let over = self.bound.poll_over(since + self.write_timeout, cx);
                over.map(|()| Err(std::io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl Read for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl Write for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        this.watch_write(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.watch_write(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_shutdown(cx);
        this.watch_write(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.watch_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
