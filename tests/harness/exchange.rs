//! One exchange as a caller sees it, byte by byte as it comes, over HTTP/1.1 written by hand or over HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::Result;
use crate::corpus::Run;
use crate::wire::{Connection, Headers, Request};

/// Everything that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// What followed it.
    pub trailers: Headers,
    /// Whether it ended as its framing should.
    pub is_whole: bool,
}

/// Over HTTP/1.1. The request's body goes in two halves, the second after the upstream has the first.
pub async fn http1(address: SocketAddr, request: &Request, run: &Run) -> Result<Received> {
    let mut connection = Connection::open(address).await?;
    let bytes = request.bytes();
    let half = request.body().len() / 2;
    let (first, second) = bytes.split_at(bytes.len() - (request.body().len() - half));
    connection.write(first).await?;
    run.uploaded(half).await?;
    connection.write(second).await?;
    let head = connection.head().await?.ok_or("closed before an answer")?;
    let mut received = Received {
        status: head.status(),
        headers: head.headers.clone(),
        ..Received::default()
    };
    let length: Option<usize> = match head.header("content-length") {
        Some(length) => Some(length.parse()?),
        None => None,
    };
    let mut raw = Vec::new();
    loop {
        let is_over = match length {
            Some(length) => {
                received.body.clone_from(&raw);
                raw.len() >= length
            }
            None => unchunk(&raw, &mut received)?,
        };
        run.received(received.body.len());
        if is_over {
            received.is_whole = true;
            return Ok(received);
        }
        // A reset is how a broken answer may end, as well as a plain end.
        if !connection.more(&mut raw).await.unwrap_or(false) {
            return Ok(received);
        }
    }
}

/// Reads what is in of a chunked body; true when it has come to its end.
fn unchunk(raw: &[u8], received: &mut Received) -> Result<bool> {
    received.body.clear();
    let mut rest = raw;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?.trim(), 16)?;
        rest = &rest[end + 2..];
        if size == 0 {
            let text = std::str::from_utf8(rest)?;
            let Some(trailers) = text.strip_suffix("\r\n") else {
                return Ok(false);
            };
            let is_over = trailers.is_empty() || trailers.ends_with("\r\n");
            received.trailers = trailers
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            return Ok(is_over);
        }
        let taken = size.min(rest.len());
        received.body.extend_from_slice(&rest[..taken]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    Ok(false)
}

/// Over HTTP/2 by prior knowledge.
pub async fn http2(address: SocketAddr, request: &Request, run: &Run) -> Result<Received> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let mut built = hyper::Request::builder()
        .method(request.method())
        .uri(format!("http://localhost{}", request.path()));
    for (name, value) in request.headers() {
        built = built.header(name, value);
    }
    let body = Full::new(Bytes::copy_from_slice(request.body()));
    let answer = sender.send_request(built.body(body)?).await?;
    let (parts, mut body) = answer.into_parts();
    let mut received = Received {
        status: parts.status.as_u16(),
        headers: pairs(&parts.headers),
        ..Received::default()
    };
    loop {
        match body.frame().await {
            None => {
                received.is_whole = true;
                return Ok(received);
            }
            Some(Err(_)) => return Ok(received),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    received.trailers = pairs(trailers);
                }
                if let Some(piece) = frame.data_ref() {
                    received.body.extend_from_slice(piece);
                    run.received(received.body.len());
                }
            }
        }
    }
}

pub(crate) fn pairs(headers: &hyper::HeaderMap) -> Headers {
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}
