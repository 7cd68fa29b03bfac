//! Pooled connections to upstreams: one pool a worker, so no request crosses a thread.
//!
//! An HTTP/1.1 connection is idle in the pool or lent to one call; it comes back only when both the
//! request and the answer ended as their framing says. Whoever holds it drives it: the call's own task
//! polls the connection, so no chunk waits for another task's turn, an answer that is already here
//! goes down in one write with its head, and a call that is dropped closes its connection at once. An
//! HTTP/2 connection is shared and has a task of its own. Redirects are never followed: an answer is
//! an answer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::body::RequestBody;
use crate::bound::Bound;
use crate::config::{Secret, StreamUsage};
use crate::failure::Code;
use crate::http1::Wire;
use crate::provider::{Endpoint, Provider};
use crate::tls::{self, ClientStream, Connector};

pub(crate) mod configured;
mod h1;
mod h2;
mod handshake;
mod incoming;
mod outgoing;

pub(crate) use handshake::{Shaken, UpstreamSocket};
pub use incoming::{AnswerError, Incoming};
pub use outgoing::Outgoing;

/// An HTTP/2 connection without traffic is pinged this often.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// A configured upstream in its final form.
#[derive(Clone)]
pub struct Upstream {
    /// Its place in the pools.
    pub index: usize,
    /// The configured name.
    pub name: String,
    /// The vendor's table.
    pub provider: &'static Provider,
    /// Where it is.
    pub origin: Origin,
    /// The same upstream at its provider's other hosts, by the base URL of the endpoints there. A
    /// configured base URL takes all of them.
    pub elsewhere: Vec<(&'static str, Arc<Self>)>,
    /// The operator's credential.
    pub credential: Option<Secret>,
    /// Whether usage is asked for on streams.
    pub stream_usage: StreamUsage,
    /// Every tenant reaches every stored object.
    pub has_shared_state: bool,
    /// Routes that mint tokens are forwarded.
    pub forwards_escape_routes: bool,
    /// For the event.
    pub region: Option<String>,
}

impl Upstream {
    /// The upstream at the host that serves an endpoint.
    #[must_use]
    pub fn serving<'a>(self: &'a Arc<Self>, endpoint: &Endpoint) -> &'a Arc<Self> {
        let base_url = endpoint.base_url;
        let mut elsewhere = self.elsewhere.iter();
        elsewhere
            .find(|(known, _)| Some(*known) == base_url)
            .map_or(self, |(_, upstream)| upstream)
    }

    /// The same upstream, its references and those of its other hosts counted apart.
    #[must_use]
    pub fn apart(&self) -> Arc<Self> {
        let elsewhere = self.elsewhere.iter();
        Arc::new(Self {
            elsewhere: elsewhere
                .map(|(base_url, other)| (*base_url, other.apart()))
                .collect(),
            ..self.clone()
        })
    }

    /// The places in the pools that it and its other hosts take, and those before it.
    #[must_use]
    pub fn slots(&self) -> usize {
        let elsewhere = self.elsewhere.iter().map(|(_, other)| other.index);
        elsewhere.fold(self.index, usize::max) + 1
    }
}

/// Scheme, host, port and path prefix of a base URL.
#[derive(Clone)]
pub struct Origin {
    /// Host without port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For `host` and `:authority`: the port only where it is not the scheme's own.
    pub authority: HeaderValue,
    /// Path prefix without a closing slash.
    pub path: String,
    /// Trust, when the scheme is https.
    pub tls: Option<Connector>,
}

/// A base URL that cannot be used.
#[derive(Debug)]
pub struct InvalidBaseUrl(pub String);

impl fmt::Display for InvalidBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidBaseUrl {}

impl Origin {
    /// Reads `scheme://host[:port][/path]`. Userinfo, query and fragment are refused.
    pub fn parse(
        base_url: &str,
        ca_file: Option<&std::path::PathBuf>,
    ) -> Result<Self, InvalidBaseUrl> {
        let invalid = |why: &str| InvalidBaseUrl(format!("base_url {base_url}: {why}"));
        let uri: http::Uri = base_url.parse().map_err(|_| invalid("not a URL"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(invalid("userinfo and query are not allowed"));
        }
        let tls = if is_https {
            Some(Connector::new(ca_file, true).map_err(|error| invalid(&error.to_string()))?)
        } else {
            None
        };
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| invalid("not a host"))?,
            path: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }
}

/// An idle connection and since when.
struct Idle {
    connection: Box<h1::Connection>,
    since: Instant,
}

#[derive(Default)]
struct Slot {
    idle: Vec<Idle>,
    shared: Option<http2::SendRequest<RequestBody>>,
}

/// The connections of one worker.
pub struct Pool {
    slots: Vec<Mutex<Slot>>,
    idle_max: usize,
    keepalive: Duration,
    connect_timeout: Duration,
}

/// The wait for an answer's head.
pub struct Wait<'a> {
    /// The request goes up now.
    pub began: Instant,
    /// Longest time until the head is there.
    pub bound: Duration,
    /// Of the task that waits; a call that finds it armed arms none.
    pub(crate) timer: &'a mut Bound,
}

/// Why a request got no answer.
pub enum SendFailure {
    /// No byte of it was written: it can be repeated with this body.
    NotWritten(RequestBody, Code),
    /// HTTP/2 said that nothing was done with it (`REFUSED_STREAM`), and all of its body is still held.
    Refused(RequestBody),
    /// The upstream may have seen it.
    Written(Code),
    /// No answer began in time; the upstream may have seen it.
    TimedOut,
}

enum Sender {
    H1(Box<h1::Connection>),
    H2(http2::SendRequest<RequestBody>),
}

impl Pool {
    /// Room for `upstreams` upstreams.
    pub fn new(
        upstreams: usize,
        idle_max: usize,
        keepalive: Duration,
        connect_timeout: Duration,
    ) -> Arc<Self> {
        let slots = (0..upstreams).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            slots,
            idle_max,
            keepalive,
            connect_timeout,
        })
    }

    fn slot(&self, index: usize) -> std::sync::MutexGuard<'_, Slot> {
        self.slots[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends on an idle connection, else on a new one; on a new one at once when `is_repeat`.
    pub async fn send(
        self: &Arc<Self>,
        upstream: &Upstream,
        outgoing: &Outgoing<'_>,
        body: RequestBody,
        is_repeat: bool,
        wait: Wait<'_>,
    ) -> Result<Answer<Incoming>, SendFailure> {
        let until = wait.began + wait.bound;
        let pooled = if is_repeat {
            None
        } else {
            self.take_idle(upstream.index, wait.began).await
        };
        let sender = match pooled {
            Some(sender) => sender,
            // On the heap, so that the calls that find a connection do not carry the room to make one.
            None => match timeout_at(until.into(), Box::pin(self.connect(upstream))).await {
                Err(_) => return Err(SendFailure::TimedOut),
                Ok(Ok(sender)) => sender,
                Ok(Err(code)) => return Err(SendFailure::NotWritten(body, code)),
            },
        };
        match sender {
            Sender::H1(mut connection) => {
                connection.begin(&outgoing.head.parts().method, body, |text, length| {
                    outgoing.write(&upstream.origin, text, length);
                });
                self.exchange(upstream, connection, until, wait.timer).await
            }
            Sender::H2(sender) => {
                let request = outgoing.request(&upstream.origin, body);
                let request = with_absolute_uri(upstream, request);
                let exchange = h2::exchange(sender, request, is_repeat);
                let answer = timeout_at(until.into(), Box::pin(exchange)).await;
                let answer = answer.unwrap_or(Err(SendFailure::TimedOut))?;
                let answer = answer.map(|body| Incoming::on_h2(self, upstream.index, body));
                Ok(answer.into())
            }
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        upstream: &Upstream,
        mut connection: Box<h1::Connection>,
        until: Instant,
        timer: &mut Bound,
    ) -> Result<Answer<Incoming>, SendFailure> {
        let head = std::future::poll_fn(|cx| match connection.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => timer.poll_over(until, cx).map(|()| None),
        });
        match head.await {
            None => Err(SendFailure::TimedOut),
            Some(Ok(head)) => {
                let body = Incoming::on_h1(self, upstream.index, connection);
                Ok(Answer { head, body })
            }
            Some(Err(broken)) => {
                tracing::debug!(upstream = upstream.name, %broken, "no answer");
                Err(failure(connection.take_unwritten()))
            }
        }
    }

    /// Keeps a connection for the next call, while there is room.
    fn keep(&self, index: usize, idle: Idle) {
        let mut slot = self.slot(index);
        if slot.idle.len() < self.idle_max {
            slot.idle.push(idle);
        }
    }

    async fn take_idle(&self, index: usize, now: Instant) -> Option<Sender> {
        loop {
            let mut idle = {
                let mut slot = self.slot(index);
                if let Some(shared) = &slot.shared {
                    if !shared.is_closed() {
                        return Some(Sender::H2(shared.clone()));
                    }
                    slot.shared = None;
                }
                slot.idle.pop()?
            };
            if now.saturating_duration_since(idle.since) > self.keepalive {
                continue;
            }
            // A poll tells whether the upstream has closed it meanwhile.
            let is_open =
                std::future::poll_fn(|cx| std::task::Poll::Ready(idle.connection.is_open(cx)));
            if is_open.await {
                return Some(Sender::H1(idle.connection));
            }
        }
    }

    async fn connect(&self, upstream: &Upstream) -> Result<Sender, Code> {
        match tokio::time::timeout(self.connect_timeout, self.connect_unbounded(upstream)).await {
            Ok(result) => result,
            Err(_) => Err(Code::UpstreamUnreachable),
        }
    }

    async fn connect_unbounded(&self, upstream: &Upstream) -> Result<Sender, Code> {
        let stream = match dial(upstream, true).await? {
            Wire::Tls(stream) if tls::client_speaks_h2(&stream) => stream,
            wire => return Ok(Sender::H1(h1::Connection::new(wire))),
        };
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(H2_PING_INTERVAL)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Code::UpstreamClosed)?;
        tokio::spawn(async move {
            // How a connection ends is told by the calls on it.
            let _ = connection.await;
        });
        self.slot(upstream.index).shared = Some(sender.clone());
        Ok(Sender::H2(sender))
    }
}

/// Opens a connection; without `with_h2` one that surely speaks HTTP/1.1.
async fn dial(upstream: &Upstream, with_h2: bool) -> Result<UpstreamWire, Code> {
    let origin = &upstream.origin;
    let host = origin.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, origin.port))
        .await
        .map_err(|error| {
            tracing::warn!(upstream = upstream.name, %error, "upstream cannot be reached");
            Code::UpstreamUnreachable
        })?;
    // Without this small chunks wait up to 200 ms for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(connector) = &origin.tls else {
        return Ok(Wire::Plain(stream));
    };
    let connected = if with_h2 {
        connector.connect(&origin.host, stream).await
    } else {
        connector.without_h2().connect(&origin.host, stream).await
    };
    let stream = connected.map_err(|error| {
        tracing::warn!(upstream = upstream.name, %error, "upstream's TLS handshake failed");
        Code::UpstreamTls
    })?;
    Ok(Wire::Tls(Box::new(stream)))
}

/// A socket to an upstream, plain or not.
type UpstreamWire = Wire<ClientStream>;

fn failure(unsent: Option<RequestBody>) -> SendFailure {
    match unsent {
        Some(body) => SendFailure::NotWritten(body, Code::UpstreamClosed),
        None => SendFailure::Written(Code::UpstreamClosed),
    }
}

/// HTTP/2 takes scheme and authority from the URI, and knows no `host`.
fn with_absolute_uri(
    upstream: &Upstream,
    mut request: Request<RequestBody>,
) -> Request<RequestBody> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    parts.authority = http::uri::Authority::try_from(upstream.origin.authority.as_bytes()).ok();
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(http::header::HOST);
    request
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An upstream that is never connected to.
    pub(crate) fn upstream(name: &str) -> Arc<Upstream> {
        Arc::new(Upstream {
            index: 0,
            name: name.to_owned(),
            provider: crate::provider::ALL[0],
            origin: Origin::parse("http://127.0.0.1:1/base/", None).unwrap(),
            elsewhere: Vec::new(),
            credential: None,
            stream_usage: StreamUsage::Untouched,
            has_shared_state: false,
            forwards_escape_routes: false,
            region: None,
        })
    }

    #[test]
    fn base_urls_keep_their_path_and_refuse_what_is_no_origin() {
        let origin = Origin::parse("http://127.0.0.1:81/v1/", None).unwrap();
        assert_eq!(
            (origin.host.as_str(), origin.port, origin.path.as_str()),
            ("127.0.0.1", 81, "/v1")
        );
        assert_eq!(Origin::parse("http://h", None).unwrap().port, 80);
        for wrong in ["ftp://h", "h:1", "http://u:p@h", "http://h/?q", ""] {
            assert!(Origin::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
