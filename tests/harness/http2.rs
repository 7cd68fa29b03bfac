//! One request over HTTP/2, by prior knowledge or over TLS.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::wire::{Io, Message, Request};
use crate::{Result, tls};

/// Sends `request` over a connection of its own; `ca` means TLS.
pub async fn send(address: SocketAddr, ca: Option<&Path>, request: &Request) -> Result<Message> {
    let socket = TcpStream::connect(address).await?;
    let io: Box<dyn Io> = match ca {
        None => Box::new(socket),
        Some(ca) => Box::new(
            tls::client(ca, &["h2"])?
                .connect(tls::localhost(), socket)
                .await?,
        ),
    };
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let mut built = hyper::Request::builder()
        .method(request.method())
        .uri(format!("http://localhost{}", request.path()));
    for (name, value) in request.headers() {
        built = built.header(name, value);
    }
    let answer = sender
        .send_request(built.body(Full::new(Bytes::copy_from_slice(request.body())))?)
        .await?;
    let (parts, body) = answer.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let start = format!("HTTP/2 {}", parts.status.as_u16());
    match body.collect().await {
        Ok(whole) => Ok(Message {
            start,
            headers,
            body: whole.to_bytes().to_vec(),
            is_whole: true,
        }),
        Err(_) => Ok(Message {
            start,
            headers,
            body: Vec::new(),
            is_whole: false,
        }),
    }
}
