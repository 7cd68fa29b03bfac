//! The head of an answer, and what it says of the body (RFC 9112 sections 4 and 6.3).

use std::mem::MaybeUninit;

use http::{HeaderName, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;

use crate::answer::{self, Fields};
use crate::http1::{Chunked, FieldError, Transfer, may_end};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Header fields of an answer.
const HEADERS_MAX: usize = 128;

/// An answer's head.
pub(super) struct Head {
    pub(super) head: answer::Head,
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
    let fields = Fields::of(&read[..len], answer.headers).map_err(|error| {
        HeadError::Malformed(match error {
            FieldError::Malformed => "header field",
            FieldError::TooMany => "too many header fields",
        })
    })?;
    let framers = Framers::of(answer.headers)?;
    let is_chunked = match framers.has_coding {
        true => fields.ends_chunked(),
        false => None,
    };
    let (transfer, is_unambiguous) =
        transfer(status, version, is_chunked, framers.length, is_head_request)?;
    let keeps_alive = match framers.has_connection {
        true => fields.keeps_alive(version),
        false => version != Version::HTTP_10,
    };
    let can_reuse =
        is_unambiguous && !matches!(transfer, Transfer::UntilClose { .. }) && keeps_alive;
    let head = Head {
        head: answer::Head {
            status,
            reason,
            fields,
        },
        transfer,
        can_reuse,
    };
    Ok((head, len))
}

/// How the body ends; and whether nobody can read it in another way.
fn transfer(
    status: StatusCode,
    version: Version,
    is_chunked: Option<bool>,
    length: Option<u64>,
    is_head_request: bool,
) -> Result<(Transfer, bool), HeadError> {
    let is_bodiless = is_head_request
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if let Some(is_chunked) = is_chunked {
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

/// What the fields say of the body and the connection. One pass over them as they were parsed: to look up the
/// names in a map costs more, and most are not there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Framers {
    /// The one length that all fields give.
    length: Option<u64>,
    has_coding: bool,
    has_connection: bool,
}

impl Framers {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, HeadError> {
        let mut framers = Self::default();
        for field in fields {
            let is = |name: &HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
            if is(&header::CONTENT_LENGTH) {
                for text in field.value.split(|byte| *byte == b',') {
                    framers.add_length(text.trim_ascii())?;
                }
            } else if is(&header::TRANSFER_ENCODING) {
                framers.has_coding = true;
            } else if is(&header::CONNECTION) {
                framers.has_connection = true;
            }
        }
        Ok(framers)
    }

    fn add_length(&mut self, digits: &[u8]) -> Result<(), HeadError> {
        const WRONG: HeadError = HeadError::Malformed("content-length");
        let given = digits.iter().try_fold(0_u64, |length, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        });
        let given = given.filter(|_| !digits.is_empty()).ok_or(WRONG)?;
        if self.length.is_some_and(|before| before != given) {
            return Err(WRONG);
        }
        self.length = Some(given);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{HeadBuffer, ends_chunked, keeps_alive};

    /// The length as a map of the fields has it.
    fn length_in(headers: &HeaderMap) -> Result<Option<u64>, ()> {
        let mut length = None;
        for value in headers.get_all(header::CONTENT_LENGTH) {
            for text in value.to_str().map_err(|_| ())?.split(',') {
                let text = text.trim();
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(());
                }
                let given: u64 = text.parse().map_err(|_| ())?;
                if length.is_some_and(|before| before != given) {
                    return Err(());
                }
                length = Some(given);
            }
        }
        Ok(length)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_a_map_does(
            fields in prop::collection::vec((
                prop::sample::select(vec![
                    "content-length", "Content-Length", "connection", "CONNECTION", "transfer-encoding", "te", "date",
                ]),
                prop_oneof![
                    prop::sample::select(vec![
                        "7", "7", "07", "7, 7", "7,8", " 7\t,7 ", "", ",", "+7", "-1", "7x", "close", "keep-alive",
                        "chunked", "gzip, chunked", "18446744073709551615", "18446744073709551616",
                        "000000000000000000000000000007",
                    ]).prop_map(|text| text.as_bytes().to_vec()),
                    prop::collection::vec(prop::sample::select(b"0179, \tx\x80\xff".to_vec()), 0..6),
                ],
            ), 0..5),
            version in prop::sample::select(vec![(0, Version::HTTP_10), (1, Version::HTTP_11)]),
        ) {
            let (minor, version) = version;
            let mut text = format!("HTTP/1.{minor} 200 OK\r\n").into_bytes();
            for (name, value) in &fields {
                text.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            text.extend_from_slice(b"\r\n");
            let mut parsed = [httparse::EMPTY_HEADER; 8];
            let mut answer = httparse::Response::new(&mut parsed);
            prop_assert!(answer.parse(&text).is_ok_and(|status| status.is_complete()));
            let headers = HeadBuffer::new(&text).fields(answer.headers).unwrap();
            let framers = Framers::of(answer.headers).ok();
            prop_assert_eq!(framers.as_ref().map(|framers| framers.length), length_in(&headers).ok());
            if let Some(framers) = framers {
                prop_assert_eq!(framers.has_coding, ends_chunked(&headers).is_some());
                prop_assert_eq!(framers.has_connection, headers.contains_key(header::CONNECTION));
                // What is assumed where there is none.
                if !framers.has_connection {
                    prop_assert_eq!(keeps_alive(version, &headers), version != Version::HTTP_10);
                }
            }
        }
    }
}
