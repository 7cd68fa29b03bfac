//! A connection of its own for a WebSocket: HTTP/1.1 whatever else the upstream speaks, handed over as
//! it is once the upstream has switched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, StatusCode, response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ANSWER_HEAD_BYTES_MAX, Answer, Driven, Pool, SendFailure, Upstream, Wire, failure};
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
        let shaken = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(wire))
            .await;
        let Ok((mut sender, mut connection)) = shaken else {
            let request = Box::new(request);
            return Err(SendFailure::NotWritten(request, Code::UpstreamClosed));
        };
        let mut is_over = false;
        let sending = sender.try_send_request(request);
        let mut sending = std::pin::pin!(sending);
        let sent = std::future::poll_fn(|cx| {
            // A switch ends it as HTTP without closing what is below.
            is_over = is_over || connection.poll_without_shutdown(cx).is_ready();
            sending.as_mut().poll(cx)
        });
        let response = sent
            .await
            .map_err(|mut error| failure(error.take_message()))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let driven = Driven {
                sender,
                connection: (!is_over).then(|| Box::pin(connection)),
            };
            return Ok(Shaken::Answered(self.answer(
                upstream,
                response,
                Some(driven),
            )));
        }
        let parts = connection.into_parts();
        let socket = UpstreamSocket {
            first: parts.read_buf,
            wire: parts.io.into_inner(),
        };
        Ok(Shaken::Switched(response.into_parts().0, socket))
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
