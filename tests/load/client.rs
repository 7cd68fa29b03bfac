//! One HTTP/1.1 connection of the generator: a prepared request out, an answer's end found.
//!
//! Invariants: it keeps no body; a connection is reused until the peer closes it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_tests::{Result, tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// One JSON answer.
    Json,
    /// A stream whose chunks come at once.
    Stream,
    /// A stream with a chunk a second.
    SlowStream,
}

/// Where to send, and what.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    address: SocketAddr,
    tls: Option<TlsConnector>,
    request: Arc<Vec<u8>>,
}

impl Target {
    /// A target without a request; `ca` means TLS.
    pub(crate) fn new(name: &'static str, address: SocketAddr, ca: Option<&Path>) -> Result<Self> {
        let tls = ca
            .map(|file| tls::client(file, &["http/1.1"]))
            .transpose()?;
        Ok(Self {
            name,
            address,
            tls,
            request: Arc::default(),
        })
    }

    /// The same target with a prepared request.
    pub(crate) fn with_request(&self, path: &str, key: &str, ask: Ask) -> Self {
        let stream = match ask {
            Ask::Json => "",
            Ask::Stream | Ask::SlowStream => {
                r#""stream":true,"stream_options":{"include_usage":true},"#
            }
        };
        let slow = if ask == Ask::SlowStream {
            "x-load-slow: 1\r\n"
        } else {
            ""
        };
        let body = format!(
            r#"{{"model":"gpt-4o-mini",{stream}"messages":[{{"role":"system","content":"You are a concise assistant for a benchmark that measures proxies."}},{{"role":"user","content":"Say a few words about metering."}}]}}"#
        );
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: farebox-load\r\naccept: application/json\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{slow}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            request: Arc::new(request.into_bytes()),
            ..self.clone()
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(socket),
            Some(connector) => Box::new(connector.connect(tls::localhost(), socket).await?),
        };
        Ok(Connection {
            io,
            held: Vec::with_capacity(4096),
            request: Arc::clone(&self.request),
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A kept connection.
pub(crate) struct Connection {
    io: Box<dyn Io>,
    held: Vec<u8>,
    request: Arc<Vec<u8>>,
}

impl Connection {
    /// Sends the prepared request and reads the whole answer, which must be a 200; the time it took.
    pub(crate) async fn exchange(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let mut body = self.begin().await?;
        while !body.is_over(&mut self.held)? {
            self.fill().await?;
        }
        Ok(started.elapsed())
    }

    /// Sends the prepared request and reads up to the first byte of the body.
    pub(crate) async fn begin_stream(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.begin().await?;
        while self.held.is_empty() {
            self.fill().await?;
        }
        Ok(started.elapsed())
    }

    /// Reads and drops what comes until the peer is done.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        loop {
            self.held.clear();
            self.fill().await?;
        }
    }

    async fn begin(&mut self) -> Result<Body> {
        self.held.clear();
        self.io.write_all(&self.request).await?;
        self.io.flush().await?;
        self.fill().await?;
        let head_end = loop {
            if let Some(at) = self
                .held
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = std::str::from_utf8(&self.held[..head_end])?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            let code = head
                .lines()
                .find(|line| line.starts_with("x-farebox-error"));
            let status = head.lines().next().unwrap_or_default();
            return Err(format!(
                "the answer is not 200: {status} {}",
                code.unwrap_or_default()
            )
            .into());
        }
        let body = match head.split_once("content-length:") {
            Some((_, rest)) => {
                let length = rest.lines().next().unwrap_or_default().trim().parse()?;
                Body::Sized(length)
            }
            None => Body::Chunked,
        };
        self.held.drain(..head_end);
        Ok(body)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.io.read_buf(&mut self.held).await? == 0 {
            return Err("the connection was closed inside an answer".into());
        }
        Ok(())
    }
}

enum Body {
    Sized(usize),
    Chunked,
}

impl Body {
    /// Takes whole pieces off the front of `held`; true when the answer is over.
    fn is_over(&mut self, held: &mut Vec<u8>) -> Result<bool> {
        match self {
            Self::Sized(length) => Ok(held.len() >= *length),
            Self::Chunked => {
                let mut at = 0;
                let is_over = loop {
                    let rest = &held[at..];
                    let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
                        break false;
                    };
                    let size =
                        usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
                    if rest.len() < line + 2 + size + 2 {
                        break false;
                    }
                    at += line + 2 + size + 2;
                    if size == 0 {
                        break true;
                    }
                };
                held.drain(..at);
                Ok(is_over)
            }
        }
    }
}
