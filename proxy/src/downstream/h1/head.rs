//! The head of a request, and what it says of the body (RFC 9112 sections 3 and 6.3).
//!
//! Whatever two readers could understand differently is refused, or read in the one safe way and the
//! connection ends behind it.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri, Version};

use crate::chunked::Chunked;

/// Header fields of a request; with more it is answered 431.
const HEADERS_MAX: usize = 100;

/// How the end of a request's body is known.
pub(super) enum Framing {
    /// Bytes still to come; zero when it is through.
    Length(u64),
    Chunked(Chunked),
}

/// A request's head.
pub(super) struct Head {
    pub(super) parts: Arc<Parts>,
    pub(super) framing: Framing,
    /// Another request may follow on this connection.
    pub(super) keeps_alive: bool,
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

/// Whether a head may end in `read`; what lies before `from` was looked at.
pub(super) fn may_end(read: &[u8], from: usize) -> bool {
    // An end begins at most two bytes before what is new.
    let from = from.saturating_sub(3).min(read.len());
    memchr::memchr_iter(b'\n', &read[from..]).any(|at| {
        let rest = &read[from + at + 1..];
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
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
    // One buffer for all, of which names and values are parts.
    let start = read.as_ptr() as usize;
    let all = Bytes::copy_from_slice(&read[..len]);
    let part = |text: &[u8]| {
        let at = text.as_ptr() as usize - start;
        all.slice(at..at + text.len())
    };
    let method = request.method.ok_or(NoHead::MALFORMED)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| NoHead::MALFORMED)?;
    let target = request.path.ok_or(NoHead::MALFORMED)?;
    if target.len() >= usize::from(u16::MAX) {
        return Err(NoHead(StatusCode::URI_TOO_LONG));
    }
    let uri = Uri::from_maybe_shared(part(target.as_bytes())).map_err(|_| NoHead::MALFORMED)?;
    let version = match request.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    let mut length_at = None;
    let mut lengths = 0;
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| NoHead::MALFORMED)?;
        // An empty value has no place in the buffer.
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(part(field.value)).map_err(|_| NoHead::MALFORMED)?
        };
        if name == header::CONTENT_LENGTH {
            let at = field.value.as_ptr() as usize - start;
            length_at = Some(at..at + field.value.len());
            lengths += 1;
        }
        headers
            .try_append(name, value)
            .map_err(|_| NoHead::TOO_LARGE)?;
    }
    let (framing, is_unambiguous) = framing(version, &mut headers)?;
    let keeps_alive = is_unambiguous && keeps_alive(version, &headers);
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
        parts: Arc::new(request.into_parts().0),
        framing,
        keeps_alive,
        is_expecting,
        length_at: length_at.filter(|_| lengths == 1),
    };
    Ok(Some((head, len)))
}

/// How the body ends; and whether nobody can read it in another way. One length stays in the headers,
/// and none beside chunks.
fn framing(version: Version, headers: &mut HeaderMap) -> Result<(Framing, bool), NoHead> {
    if let Some(last) = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .next_back()
    {
        let is_chunked = last
            .to_str()
            .ok()
            .and_then(|text| text.rsplit(',').next())
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
        if version == Version::HTTP_10 || !is_chunked {
            return Err(NoHead::MALFORMED);
        }
        // With both, the chunks hold, and the connection serves nobody else.
        let is_alone = headers.remove(header::CONTENT_LENGTH).is_none();
        return Ok((Framing::Chunked(Chunked::new()), is_alone));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok((Framing::Length(0), true));
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
    Ok((Framing::Length(length), true))
}

fn length_of(value: &HeaderValue) -> Result<u64, NoHead> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NoHead::MALFORMED);
    }
    let text = std::str::from_utf8(digits).map_err(|_| NoHead::MALFORMED)?;
    text.parse().map_err(|_| NoHead::MALFORMED)
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let has = |token: &str| {
        headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    !has("close") && (version != Version::HTTP_10 || has("keep-alive"))
}
