//! One kept connection to the collector, and what an answer over it means.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use farebox_pricing::time::Timestamp;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::batch::{Packing, Receipt, receipts};
use crate::config::{ShipCompression, ShipTo};
use crate::tls::Connector;

const EVENTS: &str = "/ingest/v1/events";
const OWNERS: &str = "/ingest/v1/owners";
/// Connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From a batch's first byte out to its receipts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer: receipts with their reasons for a full batch.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of an answer that refuses, so much is kept with the record.
const REFUSAL_CHARS_MAX: usize = 1_000;

/// The collector's address cannot be used.
#[derive(Debug)]
pub(crate) struct InvalidTarget(Cow<'static, str>);

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "collector address: {}", self.0)
    }
}

/// What each request says of this proxy.
pub(super) struct Stamp<'a> {
    pub(super) node: &'a str,
    pub(super) epoch: u64,
    pub(super) sent_at: Timestamp,
    pub(super) open_since: Timestamp,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Sent {
    /// One receipt for each record, in their order.
    Receipts(Vec<Receipt>),
    /// Refused as a whole, with status and answer; the same bytes will be refused again.
    Refused(u16, String),
    /// Nobody answered, or not now; with the time after which to come back, when it was said.
    Away(Option<Duration>),
}

/// The connection, made when it is needed.
pub(crate) struct Link {
    host: String,
    port: u16,
    authority: HeaderValue,
    events: Uri,
    owners: Uri,
    tls: Option<Connector>,
    token: HeaderValue,
    packing: Packing,
    open: Option<Open>,
    /// Whether the last try failed, so that an outage is logged once.
    is_away: bool,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    connection: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Link {
    pub(crate) fn new(
        ship_to: &ShipTo,
        compression: ShipCompression,
    ) -> Result<Self, InvalidTarget> {
        let invalid = |why: &'static str| InvalidTarget(why.into());
        let uri: Uri = ship_to
            .collector_url
            .parse()
            .map_err(|_| invalid("not a URL"))?;
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
            let connector = Connector::new(ship_to.ca_file.as_ref(), false);
            Some(connector.map_err(|error| InvalidTarget(error.to_string().into()))?)
        } else {
            None
        };
        let token = format!("Bearer {}", ship_to.ingest_token.expose());
        let mut token = HeaderValue::from_str(&token)
            .map_err(|_| invalid("the ingest token holds characters that no header may"))?;
        token.set_sensitive(true);
        let at = |path: &str| {
            let path = format!("{}{path}", uri.path().trim_end_matches('/'));
            path.parse().map_err(|_| invalid("not a path"))
        };
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| invalid("no host"))?,
            events: at(EVENTS)?,
            owners: at(OWNERS)?,
            tls,
            token,
            packing: Packing::choose(compression, authority.host()),
            open: None,
            is_away: false,
        })
    }

    /// Sends a batch and reads what became of it.
    pub(super) async fn post(&mut self, stamp: &Stamp<'_>, body: Bytes, records: usize) -> Sent {
        let body = self.packing.pack(body);
        // Sending twice is harmless: the second time every record is a duplicate.
        let answer = match self.request(stamp, body) {
            Ok(request) => self.exchange_again(request).await,
            Err(failure) => Err(failure),
        };
        let sent = match answer {
            Ok((status, headers, answer)) => understood(status, &headers, &answer, records),
            Err(failure) => Err((failure, None)),
        };
        match sent {
            Ok(sent) => {
                if std::mem::take(&mut self.is_away) {
                    tracing::info!("the collector is back");
                }
                sent
            }
            Err((failure, retry_after)) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(%failure, "the collector takes nothing now, events stay in the spool");
                }
                Sent::Away(retry_after)
            }
        }
    }

    /// Asks who owns what; status and answer. The caller bounds the time.
    pub(crate) async fn ask_owners(&mut self, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.owners.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::AUTHORIZATION, self.token.clone());
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let (status, _, answer) = self.exchange_again(request).await?;
        Ok((status, answer))
    }

    /// A kept connection may have been closed meanwhile; then a new one is tried.
    async fn exchange_again(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let was_kept = self.open.is_some();
        match self.exchange(request.clone()).await {
            Err(_) if was_kept => self.exchange(request).await,
            answer => answer,
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        // Taken, so that a call that ends early leaves no connection half used.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match timeout(CONNECT_TIMEOUT, self.connect()).await {
                Ok(open) => open?,
                Err(_) => return Err("connecting took too long".into()),
            },
        };
        let exchange = async {
            open.sender.ready().await?;
            let answer = open.sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok::<_, Failure>((head.status, head.headers, body.to_bytes()))
        };
        let answer = match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err("the answer took too long".into()),
        };
        if !open.sender.is_closed() {
            self.open = Some(open);
        }
        Ok(answer)
    }

    fn request(
        &self,
        stamp: &Stamp<'_>,
        (body, encoding): (Bytes, Option<&'static str>),
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(self.events.clone())
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, &self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-farebox-epoch", stamp.epoch)
            .header("x-farebox-sent-at", stamp.sent_at.to_string())
            .header("x-farebox-open-since", stamp.open_since.to_string())
            .body(Full::new(body))?;
        // A node's name may hold what only the bytes of a header can.
        let node = HeaderValue::from_bytes(stamp.node.as_bytes())?;
        request.headers_mut().insert("x-farebox-node", node);
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            request
                .headers_mut()
                .insert(header::CONTENT_ENCODING, encoding);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<Open, Failure> {
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => shake_hands(tls.connect(&self.host, stream).await?).await,
            None => shake_hands(stream).await,
        }
    }
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn shake_hands<S>(stream: S) -> Result<Open, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(async move {
        // How it ended shows in the request's own result.
        let _ = connection.await;
    });
    Ok(Open {
        sender,
        connection: connection.abort_handle(),
    })
}

fn understood(
    status: StatusCode,
    headers: &HeaderMap,
    answer: &[u8],
    records: usize,
) -> Result<Sent, (Failure, Option<Duration>)> {
    match status.as_u16() {
        200 => match receipts(answer, records) {
            Ok(receipts) => Ok(Sent::Receipts(receipts)),
            Err(why) => Err((format!("the answer cannot be read: {why}").into(), None)),
        },
        status @ (400 | 413 | 422) => {
            let text = String::from_utf8_lossy(answer);
            Ok(Sent::Refused(
                status,
                text.chars().take(REFUSAL_CHARS_MAX).collect(),
            ))
        }
        // Of us or of the collector, never of a record: a token, an address, a load.
        status => Err((format!("status {status}").into(), retry_after(headers))),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
