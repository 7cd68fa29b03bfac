//! A connection of its own for a WebSocket: HTTP/1.1 whatever else the upstream speaks, handed over as
//! it is once the upstream has switched.

use std::sync::Arc;

use http::{Request, StatusCode, response};

use super::{Incoming, Pool, SendFailure, Upstream, failure, h1};
use crate::answer::Answer;
use crate::body::RequestBody;
use crate::failure::Code;
use crate::http1::Socket;
use crate::tls::ClientStream;

/// What an upstream made of a handshake.
pub(crate) enum Shaken {
    /// It switched: the head of its 101, and the connection, on which frames pass from now on.
    Switched(response::Parts, UpstreamSocket),
    /// It said something else.
    Answered(Answer<Incoming>),
}

impl Pool {
    /// Sends a handshake on a new connection.
    pub(crate) async fn shake_hands(
        self: &Arc<Self>,
        upstream: &Upstream,
        request: Request<RequestBody>,
    ) -> Result<Shaken, SendFailure> {
        let dialled =
            tokio::time::timeout(self.connect_timeout, super::dial(upstream, false)).await;
        let wire = match dialled.unwrap_or(Err(Code::UpstreamUnreachable)) {
            Ok(wire) => wire,
            Err(code) => return Err(SendFailure::NotWritten(request.into_body(), code)),
        };
        let mut connection = h1::Connection::new(wire);
        connection.begin_made(request);
        let head = match std::future::poll_fn(|cx| connection.poll_head(cx)).await {
            Ok(head) => head,
            Err(broken) => {
                tracing::debug!(upstream = upstream.name, %broken, "no answer to a handshake");
                return Err(failure(connection.take_unwritten()));
            }
        };
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            let body = Incoming::on_h1(self, upstream.index, connection);
            return Ok(Shaken::Answered(Answer { head, body }));
        }
        let (wire, first) = connection.into_parts();
        Ok(Shaken::Switched(
            head.into_parts(),
            Socket::new(first, wire),
        ))
    }
}

/// The upstream's side of a socket.
pub(crate) type UpstreamSocket = Socket<ClientStream>;
