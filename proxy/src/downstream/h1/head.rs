//! The head of a request, and what it says of the body (RFC 9112 sections 3 and 6.3).
//!
//! Whatever two readers could understand differently is refused, or read in the one safe way and the
//! connection ends behind it.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};

use crate::headers;
use crate::http1::{Chunked, FieldError, HeadBuffer, Transfer, ends_chunked, keeps_alive};
use crate::request::CallerHead;

/// Header fields of a request; with more it is answered 431.
const HEADERS_MAX: usize = 100;

/// A request's head.
pub(super) struct Head {
    pub(super) head: Arc<CallerHead>,
    pub(super) transfer: Transfer,
    /// Another request may follow on this connection.
    pub(super) keeps_alive: bool,
    pub(super) takes_trailers: bool,
    /// The caller waits for `100 Continue` before it sends the body.
    pub(super) is_expecting: bool,
    /// Where the digits of the one length stand.
    pub(super) length_at: Option<Range<usize>>,
}

/// What came is no head; the status that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoHead(pub(super) StatusCode);

impl NoHead {
    const MALFORMED: Self = Self(StatusCode::BAD_REQUEST);
    pub(super) const TOO_LARGE: Self = Self(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

/// The head that `read` begins with and its length; `None` when more of it must come.
pub(super) fn parse(read: &[u8], bytes_max: usize) -> Result<Option<(Head, usize)>, NoHead> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut request,
        read,
        &mut fields,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= bytes_max => len,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(NoHead::TOO_LARGE);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(NoHead::MALFORMED),
    };
    let buffer = HeadBuffer::new(&read[..len]);
    let method = request.method.ok_or(NoHead::MALFORMED)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| NoHead::MALFORMED)?;
    let target = request.path.ok_or(NoHead::MALFORMED)?;
    if target.len() >= usize::from(u16::MAX) {
        return Err(NoHead(StatusCode::URI_TOO_LONG));
    }
    let uri =
        Uri::from_maybe_shared(buffer.part(target.as_bytes())).map_err(|_| NoHead::MALFORMED)?;
    let version = match request.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut headers = buffer
        .fields(request.headers)
        .map_err(|error| match error {
            FieldError::Malformed => NoHead::MALFORMED,
            FieldError::TooMany => NoHead::TOO_LARGE,
        })?;
    let length_at = length_at(read, request.headers);
    let (transfer, is_unambiguous) = transfer(version, &mut headers)?;
    let keeps_alive = is_unambiguous && keeps_alive(version, &headers);
    let takes_trailers = headers::takes_trailers(&headers);
    let is_expecting = version == Version::HTTP_11
        && headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    let head = Head {
        head: Arc::new(CallerHead::new(request.into_parts().0)),
        transfer,
        keeps_alive,
        takes_trailers,
        is_expecting,
        length_at,
    };
    Ok(Some((head, len)))
}

/// Where the digits of the length stand in `read`, when there is one length.
fn length_at(read: &[u8], fields: &[httparse::Header<'_>]) -> Option<Range<usize>> {
    let is_length = |field: &&httparse::Header<'_>| {
        field
            .name
            .eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str())
    };
    let mut lengths = fields.iter().filter(is_length);
    let (only, None) = (lengths.next()?, lengths.next()) else {
        return None;
    };
    let at = only.value.as_ptr() as usize - read.as_ptr() as usize;
    Some(at..at + only.value.len())
}

/// How the body ends; and whether nobody can read it in another way. One length stays in the headers,
/// and none beside chunks.
fn transfer(version: Version, headers: &mut HeaderMap) -> Result<(Transfer, bool), NoHead> {
    if let Some(is_chunked) = ends_chunked(headers) {
        if version == Version::HTTP_10 || !is_chunked {
            return Err(NoHead::MALFORMED);
        }
        // With both, the chunks hold, and the connection serves nobody else.
        let is_alone = headers.remove(header::CONTENT_LENGTH).is_none();
        return Ok((Transfer::Chunked(Chunked::new()), is_alone));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok((Transfer::Length(0), true));
    };
    let length = length_of(first)?;
    let mut is_repeated = false;
    for other in lengths {
        if length_of(other)? != length {
            return Err(NoHead::MALFORMED);
        }
        is_repeated = true;
    }
    if is_repeated {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok((Transfer::Length(length), true))
}

fn length_of(value: &HeaderValue) -> Result<u64, NoHead> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NoHead::MALFORMED);
    }
    let text = std::str::from_utf8(digits).map_err(|_| NoHead::MALFORMED)?;
    text.parse().map_err(|_| NoHead::MALFORMED)
}
