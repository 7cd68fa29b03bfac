//! HTTP/1.1 as bytes: requests written by hand, messages read to their end. No HTTP library, so that
//! tests can say and see what one would hide.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Result, tls};

/// Longest head a test deals with.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Anything bytes go through.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Headers in their order, names in lower case.
pub type Headers = Vec<(String, String)>;

/// The first value of a header.
#[must_use]
pub fn header<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

/// A request to be written.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A request with a JSON body.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            body: body.into(),
            ..Self::get(path)
        }
        .with("content-type", "application/json")
    }

    /// A request of another method, without a body.
    #[must_use]
    pub fn with_method(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            ..Self::get(path)
        }
    }

    /// The same with a body whose type is not said yet.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a virtual key where OpenAI's SDK puts it.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All headers but the framing ones.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// As HTTP/1.1.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A message read: a request or an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Headers.
    pub headers: Headers,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says it should.
    pub is_whole: bool,
}

impl Message {
    /// The status of an answer; 0 of anything else.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One side of a kept HTTP/1.1 connection.
pub struct Connection {
    io: Box<dyn Io>,
    held: Vec<u8>,
}

impl Connection {
    /// Over an open stream.
    #[must_use]
    pub fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            held: Vec::new(),
        }
    }

    /// A plain connection to `address`.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self::new(Box::new(socket)))
    }

    /// A TLS connection that trusts `ca`.
    pub async fn open_tls(address: SocketAddr, ca: &Path) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self::new(Box::new(
            tls::client(ca, &["http/1.1"])?
                .connect(tls::localhost(), socket)
                .await?,
        )))
    }

    /// Writes a request and reads the whole answer.
    pub async fn send(&mut self, request: &Request) -> Result<Message> {
        self.write(&request.bytes()).await?;
        self.answer().await
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.io.write_all(bytes).await?;
        Ok(self.io.flush().await?)
    }

    /// Reads an answer; one that breaks off is returned as not whole.
    pub async fn answer(&mut self) -> Result<Message> {
        let mut message = self.head().await?.ok_or("closed before an answer")?;
        let has_body = !matches!(message.status(), 100..=199 | 204 | 304);
        if has_body {
            self.body(&mut message, true).await?;
        }
        Ok(message)
    }

    /// Reads a request; `None` when the peer is done.
    pub async fn request(&mut self) -> Result<Option<Message>> {
        let Some(mut message) = self.head().await? else {
            return Ok(None);
        };
        self.body(&mut message, false).await?;
        Ok(Some(message))
    }

    /// Reads a head; its message is not whole until the body is read.
    pub async fn head(&mut self) -> Result<Option<Message>> {
        let end = loop {
            if let Some(at) = self
                .held
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at;
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err("a head without end".into());
            }
            match self.io.read_buf(&mut self.held).await {
                Ok(0) | Err(_) if self.held.is_empty() => return Ok(None),
                Ok(0) => return Err("closed inside a head".into()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let text = String::from_utf8_lossy(&self.held[..end]).into_owned();
        self.held.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Some(Message {
            start,
            headers,
            body: Vec::new(),
            is_whole: true,
        }))
    }

    /// Reads at least one byte more of whatever comes; false at the end.
    pub async fn more(&mut self, into: &mut Vec<u8>) -> Result<bool> {
        if !self.held.is_empty() {
            into.append(&mut self.held);
            return Ok(true);
        }
        Ok(self.io.read_buf(into).await? > 0)
    }

    async fn body(&mut self, message: &mut Message, is_answer: bool) -> Result<()> {
        let is_chunked = message
            .header("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"));
        if is_chunked {
            return self.chunks(message).await;
        }
        match message.header("content-length").map(str::parse::<usize>) {
            Some(length) => {
                let length = length?;
                while self.held.len() < length {
                    if !self.fill().await {
                        message.is_whole = false;
                        break;
                    }
                }
                let taken = length.min(self.held.len());
                message.body.extend(self.held.drain(..taken));
            }
            None if is_answer => {
                while self.fill().await {}
                message.body.append(&mut self.held);
            }
            None => {}
        }
        Ok(())
    }

    async fn chunks(&mut self, message: &mut Message) -> Result<()> {
        loop {
            let Some(line) = self.line().await else {
                message.is_whole = false;
                return Ok(());
            };
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            if size == 0 {
                // Trailers, if any, up to the empty line.
                while self.line().await.is_some_and(|line| !line.is_empty()) {}
                return Ok(());
            }
            while self.held.len() < size + 2 {
                if !self.fill().await {
                    message.is_whole = false;
                    message.body.append(&mut self.held);
                    return Ok(());
                }
            }
            message.body.extend(self.held.drain(..size));
            self.held.drain(..2);
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.held.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.held[..at]).into_owned();
                self.held.drain(..at + 2);
                return Some(line);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        matches!(self.io.read_buf(&mut self.held).await, Ok(read) if read > 0)
    }
}
