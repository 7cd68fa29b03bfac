//! How the end of a body is known while it is read (RFC 9112 section 6).

use bytes::Bytes;
use http::HeaderMap;

use super::Chunked;

/// A piece of a body.
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// What is still to come of a body.
pub(crate) enum Transfer {
    /// So many bytes; none where there is no body, or it is through.
    Length(u64),
    Chunked(Chunked),
    /// Whatever comes before the connection ends.
    UntilClose {
        is_closed: bool,
    },
}

impl Transfer {
    /// No body.
    pub(crate) const NONE: Self = Self::Length(0);

    /// It has come to its end.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_end(),
            Self::UntilClose { is_closed } => *is_closed,
        }
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose { .. } => None,
        }
    }

    /// What followed the last chunk, once.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Chunked(chunked) => chunked.take_trailers(),
            Self::Length(_) | Self::UntilClose { .. } => None,
        }
    }

    /// The body's bytes in `read`, and how many bytes of `read` belong to it. What is wrong comes with the
    /// data before it.
    pub(crate) fn decode(&mut self, read: &[u8]) -> Result<(Bytes, usize), (Bytes, &'static str)> {
        match self {
            Self::Length(left) => {
                let len = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                *left -= len as u64;
                Ok((Bytes::copy_from_slice(&read[..len]), len))
            }
            Self::Chunked(chunked) => chunked.decode(read),
            Self::UntilClose { .. } => Ok((Bytes::copy_from_slice(read), read.len())),
        }
    }
}
