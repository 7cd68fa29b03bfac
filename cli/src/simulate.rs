//! The simulated upstream: OpenAI chat, Anthropic messages and Deepgram listen on one address, told
//! apart by path, over HTTP/1.1 and h2c.
//!
//! What it answers follows from the request alone, and everything it served stands in its truth log
//! (`GET /_truth`). It knows nothing of tenants or virtual keys: a credential that begins with
//! `vk_` means that a virtual key leaked, and is refused as a wrong one.

mod answer;
mod anthropic;
mod deepgram;
mod openai;
pub(crate) mod truth;
mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use answer::{Answer, Behaviour, Script};
use truth::Truth;

/// Largest JSON request it reads; above it 413.
const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most connections at once; above it they wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16_384;
/// Running answers may finish this long after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// What the simulated upstream can be told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Address to listen on; port 0 means any free one.
    pub(crate) listen: SocketAddr,
    /// The only credential it takes; `None`: any that is no virtual key.
    pub(crate) credential: Option<String>,
}

/// A simulated upstream that listens.
pub(crate) struct Running {
    /// The bound address.
    pub(crate) addr: SocketAddr,
    /// What it served.
    pub(crate) truth: Arc<Truth>,
    server: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Returns when the server has stopped.
    pub(crate) async fn finished(self) {
        // A panic in the accept loop has been printed by its thread; there is nothing to add.
        let _ = self.server.await;
    }
}

/// Binds and serves until `shutdown`.
pub(crate) async fn run(config: Config, shutdown: CancellationToken) -> io::Result<Running> {
    let listener = TcpListener::bind(config.listen).await?;
    let addr = listener.local_addr()?;
    let truth = Arc::new(Truth::default());
    let shared = Arc::new(Shared {
        credential: config.credential,
        truth: Arc::clone(&truth),
    });
    let server = tokio::spawn(serve(listener, shared, shutdown));
    Ok(Running {
        addr,
        truth,
        server,
    })
}

struct Shared {
    credential: Option<String>,
    truth: Arc<Truth>,
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "simulated upstream cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let shared = Arc::clone(&shared);
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            connection(stream, shared, shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, shutdown: CancellationToken) {
    // Without this small events wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(answer(request, &shared).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut is_closing = false;
    loop {
        tokio::select! {
            // A caller that goes away is the caller's business.
            _ = connection.as_mut() => return,
            () = shutdown.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Which vendor's shape an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    OpenAi,
    Anthropic,
    Deepgram,
}

impl Vendor {
    fn of(path: &str, headers: &HeaderMap) -> Self {
        if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
            Self::Anthropic
        } else if path.starts_with("/v1/listen") {
            Self::Deepgram
        } else {
            Self::OpenAi
        }
    }

    fn error(self, status: u16, message: &str) -> Answer {
        match self {
            Self::OpenAi => openai::error(status, message),
            Self::Anthropic => anthropic::error(status, message),
            Self::Deepgram => deepgram::error(status, message),
        }
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Script> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/_truth" {
        return Answer::json(200, &shared.truth.to_json()).into_response(None);
    }
    let vendor = Vendor::of(path, &head.headers);
    let behaviour = Behaviour::of(&head.headers);
    let refused = if !is_authorised(&head.headers, shared.credential.as_deref()) {
        Some(vendor.error(401, "Incorrect API key provided."))
    } else {
        behaviour
            .status
            .map(|status| vendor.error(status, "The caller asked for this failure."))
    };
    if let Some(refused) = refused {
        // Read to the end first: closing under a caller that still writes resets the connection.
        let _ = Limited::new(body, JSON_BYTES_MAX).collect().await;
        return refused.into_response(None);
    }
    let answer = match (&head.method, path) {
        (&Method::POST, "/v1/chat/completions") => match json_body(vendor, body).await {
            Ok(body) => openai::chat(&body, &behaviour),
            Err(refused) => refused,
        },
        (&Method::POST, "/v1/messages") => match json_body(vendor, body).await {
            Ok(body) => anthropic::messages(&body, &behaviour),
            Err(refused) => refused,
        },
        (&Method::POST, "/v1/messages/count_tokens") => match json_body(vendor, body).await {
            Ok(body) => anthropic::count_tokens(&body),
            Err(refused) => refused,
        },
        (&Method::POST, "/v1/listen") => {
            deepgram::listen(head.uri.query().unwrap_or_default(), &head.headers, body).await
        }
        (&Method::GET, "/v1/models") if vendor == Vendor::Anthropic => anthropic::models(),
        (&Method::GET, "/v1/models") => openai::models(),
        _ => vendor.error(404, "The simulated upstream has no such route."),
    };
    let served = answer
        .served
        .clone()
        .map(|served| shared.truth.record(served));
    answer.into_response_with(behaviour, served)
}

async fn json_body(vendor: Vendor, body: Incoming) -> Result<Bytes, Answer> {
    match Limited::new(body, JSON_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(vendor.error(
            413,
            "The request is larger than the simulated upstream reads.",
        )),
        Err(_) => Err(vendor.error(400, "The request body broke off.")),
    }
}

fn is_authorised(headers: &HeaderMap, wanted: Option<&str>) -> bool {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .map(|(_, credential)| credential.trim());
    let api_key = headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok());
    match bearer.or(api_key) {
        Some(credential) => match wanted {
            Some(wanted) => credential == wanted,
            None => !credential.is_empty() && !credential.starts_with("vk_"),
        },
        None => false,
    }
}
