//! Header fields as they were parsed, and what both sides read in them.

use bytes::{Bytes, BytesMut};
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
pub(crate) const MARKS: usize = 2;

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

/// Room for a field that is put together before it is written.
const FIELD_BYTES: usize = 192;
/// Most digits of a length.
const LENGTH_DIGITS: usize = 20;

/// Writes a field. Most are short and go in as one piece, which costs half of four.
pub(crate) fn put_field(text: &mut BytesMut, name: &[u8], value: &[u8]) {
    let mut field = [0; FIELD_BYTES];
    let parts = [name, b": ", value, b"\r\n"];
    let mut len = 0;
    for part in parts {
        let Some(place) = field.get_mut(len..len + part.len()) else {
            parts.iter().for_each(|part| text.extend_from_slice(part));
            return;
        };
        place.copy_from_slice(part);
        len += part.len();
    }
    text.extend_from_slice(&field[..len]);
}

/// Writes `content-length`.
pub(crate) fn put_length(text: &mut BytesMut, mut length: u64) {
    let mut digits = [0; LENGTH_DIGITS];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        digits[at] = b'0' + (length % 10) as u8;
        length /= 10;
        if length == 0 {
            break;
        }
    }
    put_field(text, header::CONTENT_LENGTH.as_ref(), &digits[at..]);
}

/// A field's first value, found by looking at those there are: to look a name up that is no standard one, a
/// map parses and hashes it first.
pub(crate) fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let found = headers.iter().find(|(known, _)| known.as_str() == name);
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_whatever_their_length() {
        for len in (0..300).chain([4096]) {
            let value = "v".repeat(len);
            let mut text = BytesMut::from("before\r\n");
            put_field(&mut text, b"x-name", value.as_bytes());
            assert_eq!(text, format!("before\r\nx-name: {value}\r\n"));
        }
    }

    #[test]
    fn lengths_are_decimal() {
        for length in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut text = BytesMut::new();
            put_length(&mut text, length);
            assert_eq!(text, format!("content-length: {length}\r\n"));
        }
    }

    #[test]
    fn the_first_value_of_a_field_is_found() {
        let mut headers = HeaderMap::new();
        headers.append("a", HeaderValue::from_static("0"));
        headers.append("x-b", HeaderValue::from_static("1"));
        headers.append("x-b", HeaderValue::from_static("2"));
        assert_eq!(first(&headers, "x-b"), headers.get("x-b"));
        assert_eq!(first(&headers, "x-c"), None);
    }
}
