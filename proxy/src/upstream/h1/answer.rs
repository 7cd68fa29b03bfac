//! The head of an answer, and what it says of the body (RFC 9112 sections 4 and 6.3).

use std::mem::MaybeUninit;

use http::{HeaderMap, Response, StatusCode, Version, header, response};
use hyper::ext::ReasonPhrase;

use crate::http1::{Chunked, FieldError, HeadBuffer, Transfer, ends_chunked, keeps_alive, may_end};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Header fields of an answer.
const HEADERS_MAX: usize = 128;

/// An answer's head.
pub(super) struct Head {
    pub(super) parts: response::Parts,
    pub(super) transfer: Transfer,
    pub(super) can_reuse: bool,
}

pub(super) enum HeadError {
    /// More of it must come.
    Partial,
    Malformed(&'static str),
}

/// The head at the front of `read`, and its length.
pub(super) fn parse(read: &[u8], is_head_request: bool) -> Result<(Head, usize), HeadError> {
    // Looked for first, so that a head that comes byte by byte is not parsed for each of them.
    if !may_end(read, 0) {
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
        // Empty lines before a head are passed over, however its end was looked for.
        Ok(httparse::Status::Partial) if read.len() > HEAD_BYTES_MAX => {
            return Err(HeadError::Malformed("head too large"));
        }
        Ok(httparse::Status::Partial) => return Err(HeadError::Partial),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::Malformed("too many header fields"));
        }
        Err(_) => return Err(HeadError::Malformed("no head")),
    };
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
    let headers = HeadBuffer::new(&read[..len])
        .fields(answer.headers)
        .map_err(|error| {
            HeadError::Malformed(match error {
                FieldError::Malformed => "header field",
                FieldError::TooMany => "too many header fields",
            })
        })?;
    let (transfer, is_unambiguous) = transfer(status, version, &headers, is_head_request)?;
    let can_reuse = is_unambiguous
        && !matches!(transfer, Transfer::UntilClose { .. })
        && keeps_alive(version, &headers);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    let head = Head {
        parts: response.into_parts().0,
        transfer,
        can_reuse,
    };
    Ok((head, len))
}

/// How the body ends; and whether nobody can read it in another way.
fn transfer(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    is_head_request: bool,
) -> Result<(Transfer, bool), HeadError> {
    let is_bodiless = is_head_request
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let length = content_length(headers)?;
    if let Some(is_chunked) = ends_chunked(headers) {
        if version == Version::HTTP_10 {
            return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
        }
        if is_bodiless {
            return Ok((Transfer::NONE, length.is_none()));
        }
        // With both, the chunks hold, and the connection serves nobody else.
        return Ok(if is_chunked {
            (Transfer::Chunked(Chunked::new()), length.is_none())
        } else {
            (Transfer::UntilClose { is_closed: false }, false)
        });
    }
    Ok(match length {
        _ if is_bodiless => (Transfer::NONE, true),
        Some(length) => (Transfer::Length(length), true),
        None => (Transfer::UntilClose { is_closed: false }, true),
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
