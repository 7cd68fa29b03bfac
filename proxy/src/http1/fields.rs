//! Header fields as they were parsed, and what both sides read in them.

use bytes::Bytes;
use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What is wrong with a head's fields.
#[derive(Debug)]
pub(crate) enum FieldError {
    /// A name or a value.
    Malformed,
    /// More than a map takes.
    TooMany,
}

/// Fields that are added to a head at most.
const MARKS: usize = 2;

/// The buffer of a head that was parsed at the front of `read`: names and values are parts of it.
pub(crate) struct HeadBuffer {
    bytes: Bytes,
    start: usize,
}

impl HeadBuffer {
    /// Copies the head, so that it keeps nothing of what was read behind it.
    pub(crate) fn new(head: &[u8]) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(head),
            start: head.as_ptr() as usize,
        }
    }

    /// `text`, a part of what was parsed, as a part of the buffer.
    pub(crate) fn part(&self, text: &[u8]) -> Bytes {
        // An empty text may point anywhere.
        if text.is_empty() {
            return Bytes::new();
        }
        let at = text.as_ptr() as usize - self.start;
        self.bytes.slice(at..at + text.len())
    }

    /// The fields, in their order.
    pub(crate) fn fields(&self, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, FieldError> {
        // Room for what an answer is marked with, so that the map does not grow for it.
        let mut headers = HeaderMap::with_capacity(parsed.len() + MARKS);
        for field in parsed {
            let name =
                HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| FieldError::Malformed)?;
            let value = HeaderValue::from_maybe_shared(self.part(field.value))
                .map_err(|_| FieldError::Malformed)?;
            headers
                .try_append(name, value)
                .map_err(|_| FieldError::TooMany)?;
        }
        Ok(headers)
    }
}

/// Whether who sends these keeps the connection for another message.
pub(crate) fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
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

/// Whether the last transfer coding is chunked; `None` where there is no coding.
pub(crate) fn ends_chunked(headers: &HeaderMap) -> Option<bool> {
    let last = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .next_back()?;
    let coding = last.to_str().ok().and_then(|text| text.rsplit(',').next());
    Some(coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked")))
}

/// Whether a head may end in `read`; what lies before `from` was looked at.
pub(crate) fn may_end(read: &[u8], from: usize) -> bool {
    // An end begins at most two bytes before what is new.
    let from = from.saturating_sub(3).min(read.len());
    memchr::memchr_iter(b'\n', &read[from..]).any(|at| {
        let rest = &read[from + at + 1..];
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}
