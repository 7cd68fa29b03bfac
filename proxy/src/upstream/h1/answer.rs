//! The head of an answer, and what it says of the body (RFC 9112 sections 4 and 6.3).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, response};
use hyper::ext::ReasonPhrase;

use crate::chunked::Chunked;

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Header fields of an answer.
const HEADERS_MAX: usize = 128;

/// How the end of a body is known.
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// Bytes left.
    Length(u64),
    Chunked(Chunked),
    /// By the end of the connection.
    UntilClose {
        is_closed: bool,
    },
}

/// An answer's head.
pub(super) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    pub(super) can_reuse: bool,
}

pub(super) enum HeadError {
    /// More of it must come.
    Partial,
    Malformed(&'static str),
}

/// Takes a head off the front of `read`.
pub(super) fn parse(read: &mut BytesMut, is_head_request: bool) -> Result<Head, HeadError> {
    // Looked for first, so that a head that comes byte by byte is not parsed for each of them.
    if !has_end(read) {
        if read.len() > HEAD_BYTES_MAX {
            return Err(HeadError::Malformed("head too large"));
        }
        return Err(HeadError::Partial);
    }
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        read,
        &mut fields,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES_MAX => len,
        Ok(httparse::Status::Complete(_)) => return Err(HeadError::Malformed("head too large")),
        Ok(httparse::Status::Partial) => return Err(HeadError::Partial),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::Malformed("too many header fields"));
        }
        Err(_) => return Err(HeadError::Malformed("no head")),
    };
    let start = read.as_ptr() as usize;
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(HeadError::Malformed("no status"))?;
    let version = if answer.version == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let reason = answer
        .reason
        .filter(|reason| !reason.is_empty() && status.canonical_reason() != Some(reason))
        .and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    // Where the fields lie, so that their values can be parts of the one buffer.
    let places: Vec<_> = answer
        .headers
        .iter()
        .map(|field| {
            let name = field.name.as_ptr() as usize - start;
            let value = field.value.as_ptr() as usize - start;
            (
                name..name + field.name.len(),
                value..value + field.value.len(),
            )
        })
        .collect();
    let head: Bytes = read.split_to(len).freeze();
    let mut headers = HeaderMap::with_capacity(places.len() + 2);
    for (name, value) in places {
        let name =
            HeaderName::from_bytes(&head[name]).map_err(|_| HeadError::Malformed("header name"))?;
        // An empty value has no place in the buffer.
        let value = if value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(head.slice(value))
                .map_err(|_| HeadError::Malformed("header value"))?
        };
        headers.append(name, value);
    }
    let (framing, is_unambiguous) = framing(status, version, &headers, is_head_request)?;
    let can_reuse = is_unambiguous
        && !matches!(framing, Framing::UntilClose { .. })
        && keeps_alive(version, &headers);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    Ok(Head {
        parts: response.into_parts().0,
        framing,
        can_reuse,
    })
}

fn has_end(read: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', read).any(|at| {
        let rest = &read[at + 1..];
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// How the body ends; and whether nobody can read it in another way.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    is_head_request: bool,
) -> Result<(Framing, bool), HeadError> {
    let is_bodiless = is_head_request
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let length = content_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().peekable();
    if codings.peek().is_some() {
        if version == Version::HTTP_10 {
            return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
        }
        if is_bodiless {
            return Ok((Framing::Empty, length.is_none()));
        }
        let is_chunked = codings
            .next_back()
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.rsplit(',').next())
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
        // With both, the chunks hold, and the connection serves nobody else.
        return Ok(if is_chunked {
            (Framing::Chunked(Chunked::new()), length.is_none())
        } else {
            (Framing::UntilClose { is_closed: false }, false)
        });
    }
    Ok(match length {
        _ if is_bodiless => (Framing::Empty, true),
        Some(length) => (Framing::Length(length), true),
        None => (Framing::UntilClose { is_closed: false }, true),
    })
}

/// The one length that all fields give.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    const WRONG: HeadError = HeadError::Malformed("content-length");
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| WRONG)?;
        for text in text.split(',') {
            let text = text.trim();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(WRONG);
            }
            let given: u64 = text.parse().map_err(|_| WRONG)?;
            if length.is_some_and(|before| before != given) {
                return Err(WRONG);
            }
            length = Some(given);
        }
    }
    Ok(length)
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let mut tokens = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim);
    if version == Version::HTTP_10 {
        tokens.any(|token| token.eq_ignore_ascii_case("keep-alive"))
    } else {
        !tokens.any(|token| token.eq_ignore_ascii_case("close"))
    }
}
