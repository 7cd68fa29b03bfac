//! A request's body as it comes from its caller, whatever HTTP that speaks.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::h1::{Broken, SharedLine};
use crate::http1::Piece;

/// The body of a request.
pub enum CallerBody {
    /// It came with its head; `None` once it was taken.
    Here(Option<Bytes>),
    /// It is still coming over HTTP/1.1, as that of the request of this number.
    H1(H1Body),
    /// It comes over HTTP/2.
    H2(hyper::body::Incoming),
}

/// A body on a connection's wire.
pub struct H1Body {
    line: SharedLine,
    turn: u64,
}

/// Why a body broke off.
#[derive(Debug)]
pub struct CallerError(Cause);

#[derive(Debug)]
enum Cause {
    H1(Broken),
    H2(hyper::Error),
}

impl fmt::Display for CallerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::H1(broken) => broken.fmt(f),
            Cause::H2(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallerError {}

impl CallerBody {
    /// All of it.
    pub(super) fn here(bytes: Bytes) -> Self {
        Self::Here((!bytes.is_empty()).then_some(bytes))
    }

    /// What is still to come of request `turn`.
    pub(super) fn on_line(line: SharedLine, turn: u64) -> Self {
        Self::H1(H1Body { line, turn })
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = CallerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerError>>> {
        let polled = match self.get_mut() {
            Self::Here(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::H1(body) => {
                ready!(body.line.lock().poll_piece(body.turn, cx)).map(|piece| match piece {
                    Ok(Piece::Data(data)) => Ok(Frame::data(data)),
                    Ok(Piece::Trailers(trailers)) => Ok(Frame::trailers(trailers)),
                    Err(broken) => Err(Cause::H1(broken)),
                })
            }
            Self::H2(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Cause::H2))
            }
        };
        Poll::Ready(polled.map(|frame| frame.map_err(CallerError)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Here(bytes) => bytes.is_none(),
            Self::H1(body) => body.line.lock().is_end(body.turn),
            Self::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Here(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::H1(body) => {
                let left = body.line.lock().left(body.turn);
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Self::H2(body) => body.size_hint(),
        }
    }
}
