//! Callers' connections: accepted under a limit, handed to the worker with the fewest, served as
//! HTTP/1.1 or HTTP/2, drained at the end.
//!
//! Bounds of a connection: a head must be complete within `head_timeout_ms` (which is also how long an
//! idle connection is kept), a body may pause `body_timeout_ms`, a caller that takes nothing for
//! `downstream_write_timeout_ms` is cut. At each of them the connection is closed.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::Worker;
use crate::failure::Code;
use crate::observe::AnswerBody;
use crate::request;
use crate::socket::Relay;
use crate::tls::{self, Acceptor};

mod turns;

pub(crate) use turns::Turns;

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
            _ = beat.tick() => continue,
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
    let Ok(stream) = TcpStream::from_std(accepted.stream) else {
        return;
    };
    let peer = accepted.peer.ip();
    let head_timeout = Duration::from_millis(worker.shared.config.proxy.head_timeout_ms);
    match accepted.acceptor {
        Some(acceptor) => {
            let accepting = worker.turns.run(acceptor.current().accept(stream));
            match tokio::time::timeout(head_timeout, Box::pin(accepting)).await {
                Ok(Ok(stream)) if tls::server_speaks_h2(&stream) => {
                    Box::pin(serve_h2(worker, peer, stream)).await
                }
                Ok(Ok(stream)) => Box::pin(serve_h1(worker, peer, stream)).await,
                Ok(Err(error)) => tracing::debug!(%error, "caller's TLS handshake failed"),
                Err(_) => tracing::debug!("caller's TLS handshake took too long"),
            }
        }
        None => match tokio::time::timeout(head_timeout, begins_as_h2(&stream)).await {
            Ok(true) => Box::pin(serve_h2(worker, peer, stream)).await,
            Ok(false) => Box::pin(serve_h1(worker, peer, stream)).await,
            Err(_) => worker.shared.metrics.refusal(None, Code::RequestTimeout),
        },
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

async fn serve_h1<S>(worker: Arc<Worker>, peer: IpAddr, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::clone(&worker.shared);
    let phase = Arc::new(Phase::default());
    let io = Guarded::new(stream, Arc::clone(&phase), &shared.config.proxy);
    let switched: Arc<Mutex<Option<Box<Relay>>>> = Arc::default();
    let relay = Arc::clone(&switched);
    let service = service_fn(move |request: Request<Incoming>| {
        phase.enter(Phase::BUSY);
        // On the heap, so that a connection that streams does not keep the walk's room.
        let answer = Box::pin(request::answer(Arc::clone(&worker), peer, request));
        let phase = Arc::clone(&phase);
        let switched = Arc::clone(&switched);
        async move {
            let mut answer = answer.await;
            match answer.body_mut() {
                AnswerBody::Observed(Some(observed)) => observed.when_over(EndOfAnswer(phase)),
                AnswerBody::Whole(_) | AnswerBody::Observed(None) => phase.enter(Phase::HEAD),
                // The connection stays busy: what follows is no HTTP.
                AnswerBody::Switch(relay) => {
                    *switched.lock().unwrap_or_else(PoisonError::into_inner) = relay.take();
                }
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    // At most 100 header fields, hyper's own bound: another one costs an allocation for each head.
    let connection = http1::Builder::new()
        .half_close(false)
        .auto_date_header(false)
        .max_buf_size(shared.config.proxy.head_bytes_max.max(8 * 1024))
        .serve_connection(io, service)
        .with_upgrades();
    // On the heap, so that a socket does not keep the connection's room.
    let mut connection = Box::pin(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    drop(connection);
    // In the connection's own task, so that it is counted as open until the socket ends.
    let relay = relay.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Ok(()), Some(relay)) = (&result, relay) {
        Box::pin(relay.run()).await;
    }
    if let Err(error) = result {
        if error.is_parse_too_large() {
            shared.metrics.refusal(None, Code::HeadTooLarge);
        } else if error.is_parse() {
            shared.metrics.refusal(None, Code::MalformedRequest);
        }
        tracing::debug!(%error, "caller's connection ended");
    }
}

async fn serve_h2<S>(worker: Arc<Worker>, peer: IpAddr, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::clone(&worker.shared);
    // Pings find a dead peer; a stream's own bounds are those of its call.
    let phase = Arc::new(Phase::default());
    phase.enter(Phase::OPEN);
    let io = Guarded::new(stream, phase, &shared.config.proxy);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Box::pin(request::answer(Arc::clone(&worker), peer, request));
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
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

/// What the connection waits for; decides which bound holds. Counts up with each change, so that
/// each wait for a head has a bound of its own.
#[derive(Default)]
pub struct Phase(AtomicU32);

impl Phase {
    /// A head, or the next one.
    const HEAD: u32 = 0;
    /// A request is served.
    const BUSY: u32 = 1;
    /// Streams of HTTP/2, with bounds of their own.
    const OPEN: u32 = 2;
    const MASK: u32 = 3;

    fn enter(&self, phase: u32) {
        let turn = (self.0.load(Ordering::Relaxed) & !Self::MASK).wrapping_add(Self::MASK + 1);
        self.0.store(turn | phase, Ordering::Relaxed);
    }

    /// The turn, when it is a head that is awaited.
    fn head_turn(&self) -> Option<u32> {
        let turn = self.0.load(Ordering::Relaxed);
        (turn & Self::MASK == Self::HEAD).then_some(turn)
    }
}

/// Dropped with the answer: the next head may come.
pub struct EndOfAnswer(Arc<Phase>);

impl Drop for EndOfAnswer {
    fn drop(&mut self) {
        self.0.enter(Phase::HEAD);
    }
}

/// A socket with its bounds. Timers are armed only when the socket makes us wait.
struct Guarded<S> {
    io: TokioIo<S>,
    phase: Arc<Phase>,
    head_timeout: Duration,
    write_timeout: Duration,
    /// In which turn and since when a head is awaited, as of the first wait for it.
    head_awaited: Option<(u32, Instant)>,
    blocked: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    fn new(stream: S, phase: Arc<Phase>, config: &crate::config::ProxyConfig) -> Self {
        Self {
            io: TokioIo::new(stream),
            phase,
            head_timeout: Duration::from_millis(config.head_timeout_ms),
            write_timeout: Duration::from_millis(config.downstream_write_timeout_ms),
            head_awaited: None,
            blocked: None,
            read_timer: None,
            write_timer: None,
        }
    }

    /// Only a head has a bound here: a body's pause is bounded where the body is read.
    fn poll_head_bound(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Error> {
        let Some(turn) = self.phase.head_turn() else {
            return Poll::Pending;
        };
        let since = match self.head_awaited {
            Some((awaited, since)) if awaited == turn => since,
            _ => self.head_awaited.insert((turn, Instant::now())).1,
        };
        poll_deadline(&mut self.read_timer, since + self.head_timeout, cx)
    }
}

fn poll_deadline(
    timer: &mut Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    cx: &mut Context<'_>,
) -> Poll<std::io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= deadline {
            return Poll::Ready(std::io::ErrorKind::TimedOut.into());
        }
        timer.as_mut().reset(deadline.into());
    }
    Poll::Pending
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => this.poll_head_bound(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        match polled {
            Poll::Ready(written) => {
                self.blocked = None;
                Poll::Ready(written)
            }
            Poll::Pending => {
                let since = *self.blocked.get_or_insert_with(Instant::now);
                poll_deadline(&mut self.write_timer, since + self.write_timeout, cx).map(Err)
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Guarded<S> {
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
