//! WebSockets on both sides of the proxy: an upstream that follows a script, and a client.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, handshake};

use crate::wire::{Headers, header};
use crate::{Error, Result};

/// One side of an open socket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Close that came from the other side.
    pub closed: Option<(u16, String)>,
}

impl Socket {
    /// Opens one as a client, with these headers.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::result::Result<(Self, Response), tungstenite::Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().map_err(tungstenite::http::Error::from)?;
            let value = HeaderValue::from_str(value).map_err(tungstenite::http::Error::from)?;
            request.headers_mut().insert(name, value);
        }
        let stream = TcpStream::connect(address).await?;
        let (stream, response) = tokio_tungstenite::client_async(request, stream).await?;
        let closed = None;
        Ok((Self { stream, closed }, response))
    }

    /// Sends a text.
    pub async fn text(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// Sends a value as a text.
    pub async fn json(&mut self, value: Value) -> Result<()> {
        self.text(&value.to_string()).await
    }

    /// Sends bytes.
    pub async fn binary(&mut self, bytes: Vec<u8>) -> Result<()> {
        Ok(self.stream.send(Message::binary(bytes)).await?)
    }

    /// Says the close; the rest is still to be read.
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<()> {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        Ok(self.stream.close(Some(frame)).await?)
    }

    /// The next text or binary message; none once the other side has closed or is gone.
    pub async fn next(&mut self) -> Option<Message> {
        while let Some(Ok(message)) = self.stream.next().await {
            match message {
                Message::Text(_) | Message::Binary(_) => return Some(message),
                Message::Close(frame) => {
                    self.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                _ => {}
            }
        }
        None
    }

    /// The next text as JSON.
    pub async fn next_json(&mut self) -> Result<Value> {
        match self.next().await {
            Some(Message::Text(text)) => Ok(serde_json::from_str(&text)?),
            other => Err(format!("no text but {other:?}").into()),
        }
    }

    /// Drops the connection without a word.
    pub fn hang_up(self) {}
}

/// What an upstream saw of one handshake and what followed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// All headers that arrived.
    pub headers: Headers,
    /// What the script noted.
    pub notes: Vec<String>,
}

impl Seen {
    /// A header that arrived.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The log of an upstream.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    /// Everything seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes something about the last handshake.
    pub fn note(&self, what: impl Into<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.last_mut() {
            last.notes.push(what.into());
        }
    }
}

/// An upstream that follows a script on each socket.
pub struct SocketUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it saw.
    pub log: Log,
}

impl SocketUpstream {
    /// Starts one on a free port; it chooses the first subprotocol that is offered.
    pub async fn start<F, Fut>(script: F) -> Result<Self>
    where
        F: Fn(Socket, Log) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let log = Log::default();
        let serving = log.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (script.clone(), serving.clone());
                tokio::spawn(async move {
                    let socket = accept(stream, &log).await?;
                    let outcome = script(socket, log.clone()).await;
                    if let Err(error) = &outcome {
                        log.note(format!("error: {error}"));
                    }
                    outcome
                });
            }
        });
        Ok(Self { address, log })
    }

    /// As a base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the library says what a callback returns"
)]
async fn accept(stream: TcpStream, log: &Log) -> Result<Socket> {
    let note = |request: &handshake::server::Request, mut response: handshake::server::Response| {
        let headers: Headers = request
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect();
        let offered = header(&headers, "sec-websocket-protocol").unwrap_or_default();
        let first = offered.split(',').next().unwrap_or_default().trim();
        if let (false, Ok(first)) = (first.is_empty(), HeaderValue::from_str(first)) {
            response
                .headers_mut()
                .insert("sec-websocket-protocol", first);
        }
        response
            .headers_mut()
            .insert("dg-request-id", HeaderValue::from_static("req-socket"));
        log.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Seen {
                path: request.uri().to_string(),
                headers,
                notes: Vec::new(),
            });
        Ok(response)
    };
    let stream = tokio_tungstenite::accept_hdr_async(stream, note)
        .await
        .map_err(Error::from)?;
    let closed = None;
    Ok(Socket { stream, closed })
}
