//! A connection of its own for a WebSocket: HTTP/1.1 whatever else the upstream speaks, handed over as
//! it is once the upstream has switched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Answer, Incoming, Pool, SendFailure, Upstream, Wire, failure, h1};
use crate::body::RequestBody;
use crate::failure::Code;

/// What an upstream made of a handshake.
pub enum Shaken {
    /// It switched: the head of its 101, and the connection, on which frames pass from now on.
    Switched(response::Parts, UpstreamSocket),
    /// It said something else.
    Answered(Answer),
}

impl Pool {
    /// Sends a handshake on a new connection.
    pub async fn shake_hands(
        self: &Arc<Self>,
        upstream: &Upstream,
        request: Request<RequestBody>,
    ) -> Result<Shaken, SendFailure> {
        let dialled =
            tokio::time::timeout(self.connect_timeout, super::dial(upstream, false)).await;
        let wire = match dialled.unwrap_or(Err(Code::UpstreamUnreachable)) {
            Ok(wire) => wire,
            Err(code) => return Err(SendFailure::NotWritten(Box::new(request), code)),
        };
        let mut connection = h1::Connection::new(wire);
        connection.begin(request);
        let head = match std::future::poll_fn(|cx| connection.poll_head(cx)).await {
            Ok(head) => head,
            Err(broken) => {
                tracing::debug!(upstream = upstream.name, %broken, "no answer to a handshake");
                return Err(failure(connection.take_unwritten()));
            }
        };
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            let body = Incoming::on_h1(self, upstream.index, connection);
            return Ok(Shaken::Answered(Response::from_parts(head, body)));
        }
        let (wire, first) = connection.into_parts();
        Ok(Shaken::Switched(head, UpstreamSocket { first, wire }))
    }
}

/// The upstream's side of a socket.
pub struct UpstreamSocket {
    /// Frames that came with the head.
    first: Bytes,
    wire: Wire,
}

impl AsyncRead for UpstreamSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.has_remaining() {
            let len = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first.split_to(len));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for UpstreamSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}
