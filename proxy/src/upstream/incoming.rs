//! An answer's body as it comes from an upstream, and the connection it comes on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::h1;
use super::{Idle, Pool};
use crate::http1::Piece;

/// The body of an answer. Dropped before its end it closes an HTTP/1.1 connection or resets its HTTP/2
/// stream: nothing more is generated.
pub struct Incoming {
    on: On,
    pool: Arc<Pool>,
    index: usize,
}

enum On {
    /// `None` once it was given back.
    H1(Option<Box<h1::Connection>>),
    H2(hyper::body::Incoming),
}

/// Why an answer broke off.
#[derive(Debug)]
pub struct AnswerError(Cause);

#[derive(Debug)]
enum Cause {
    H1(h1::Broken),
    H2(hyper::Error),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::H1(broken) => broken.fmt(f),
            Cause::H2(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AnswerError {}

impl Incoming {
    pub(super) fn on_h1(pool: &Arc<Pool>, index: usize, connection: Box<h1::Connection>) -> Self {
        Self {
            on: On::H1(Some(connection)),
            pool: Arc::clone(pool),
            index,
        }
    }

    pub(super) fn on_h2(pool: &Arc<Pool>, index: usize, body: hyper::body::Incoming) -> Self {
        Self {
            on: On::H2(body),
            pool: Arc::clone(pool),
            index,
        }
    }

    /// The call is through with it, the last byte of it came at `since`: a connection on which both sides ended as their framing says may
    /// serve the next call.
    pub fn give_back(&mut self, since: Instant) {
        let On::H1(connection) = &mut self.on else {
            return;
        };
        let Some(connection) = connection.take_if(|connection| connection.is_reusable()) else {
            return;
        };
        self.pool.keep(self.index, Idle { connection, since });
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let polled = match &mut self.get_mut().on {
            On::H1(None) => None,
            On::H1(Some(connection)) => ready!(connection.poll_piece(cx)).map(|piece| {
                piece
                    .map(|piece| match piece {
                        Piece::Data(data) => Frame::data(data),
                        Piece::Trailers(trailers) => Frame::trailers(trailers),
                    })
                    .map_err(Cause::H1)
            }),
            On::H2(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Cause::H2))
            }
        };
        Poll::Ready(polled.map(|frame| frame.map_err(AnswerError)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.on {
            On::H1(connection) => connection.as_ref().is_none_or(|it| it.is_end()),
            On::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.on {
            On::H1(connection) => {
                let left = connection.as_ref().map_or(Some(0), |it| it.left());
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            On::H2(body) => body.size_hint(),
        }
    }
}
