//! The chunked coding of a body (RFC 9112 section 7.1), by the letter: whatever another reader might
//! take for something else is refused.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u32 = 16;
/// Bytes of extensions in all the chunks of a body.
const EXTENSION_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of the trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Trailer fields.
const TRAILERS_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// In the digits; how many came.
    Size(u32),
    /// Behind the digits, until the line's end.
    Extension,
    SizeLf,
    /// In the data; how much is left.
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    End,
}

/// Where the decoder stands.
pub(crate) struct Chunked {
    step: Step,
    size: u64,
    extension_bytes: u64,
    trailer_text: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            step: Step::Size(0),
            size: 0,
            extension_bytes: 0,
            trailer_text: Vec::new(),
            trailers: None,
        }
    }

    /// The last chunk and its trailers are through.
    pub(crate) fn is_end(&self) -> bool {
        self.step == Step::End && self.trailers.is_none()
    }

    /// What followed the last chunk, once.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The data in `read`, put together, and how many bytes of `read` belong to the body. What is wrong
    /// comes with the data before it.
    pub(crate) fn decode(&mut self, read: &[u8]) -> Result<(Bytes, usize), (Bytes, &'static str)> {
        // One chunk a read is what streams are made of: it is copied once, where it lies.
        let mut first = Bytes::new();
        let mut more: Option<BytesMut> = None;
        let mut at = 0;
        while at < read.len() && self.step != Step::End {
            if let Step::Data(left) = self.step {
                let rest = &read[at..];
                let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                let data = &rest[..len];
                if first.is_empty() {
                    first = Bytes::copy_from_slice(data);
                } else {
                    more.get_or_insert_with(|| BytesMut::from(&first[..]))
                        .extend_from_slice(data);
                }
                at += len;
                let left = left - len as u64;
                self.step = if left == 0 {
                    Step::DataCr
                } else {
                    Step::Data(left)
                };
                continue;
            }
            if let Err(what) = self.step(read[at]) {
                return Err((more.map_or(first, BytesMut::freeze), what));
            }
            at += 1;
        }
        Ok((more.map_or(first, BytesMut::freeze), at))
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        self.step = match (self.step, byte) {
            (Step::Size(digits), _) if byte.is_ascii_hexdigit() => {
                if digits >= SIZE_DIGITS_MAX {
                    return Err("chunk size too large");
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                self.size = if digits == 0 {
                    digit
                } else {
                    (self.size << 4) | digit
                };
                Step::Size(digits + 1)
            }
            (Step::Size(0), _) => return Err("chunk without a size"),
            (Step::Size(_), b'\r') => Step::SizeLf,
            (Step::Size(_), b';' | b' ' | b'\t') => Step::Extension,
            (Step::Size(_), _) => return Err("chunk size with a strange digit"),
            (Step::Extension, b'\r') => Step::SizeLf,
            (Step::Extension, b'\n') => return Err("bare line feed in a chunk extension"),
            (Step::Extension, _) => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err("chunk extensions too long");
                }
                Step::Extension
            }
            (Step::SizeLf, b'\n') if self.size == 0 => Step::Trailers,
            (Step::SizeLf, b'\n') => Step::Data(self.size),
            (Step::SizeLf, _) => return Err("chunk size without a line end"),
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::Size(0),
            (Step::DataCr | Step::DataLf, _) => return Err("chunk without a line end"),
            (Step::Trailers, _) => return self.trailer(byte),
            (Step::Data(_) | Step::End, _) => self.step,
        };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.trailer_text.len() >= TRAILER_BYTES_MAX {
            return Err("trailers too long");
        }
        self.trailer_text.push(byte);
        if self.trailer_text == b"\r\n" {
            self.step = Step::End;
            self.trailer_text = Vec::new();
        } else if self.trailer_text.ends_with(b"\r\n\r\n") {
            self.trailers = Some(parse_trailers(&self.trailer_text)?);
            self.step = Step::End;
            self.trailer_text = Vec::new();
        } else if byte == b'\n' && !self.trailer_text.ends_with(b"\r\n") {
            return Err("bare line feed in a trailer");
        }
        Ok(())
    }
}

fn parse_trailers(text: &[u8]) -> Result<HeaderMap, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(text, &mut fields)
    else {
        return Err("trailers that are no header fields");
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err("trailers that are no header fields");
        };
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_decode_the_same_however_they_are_split(
            pieces in prop::collection::vec("[a-z\r\n0-9]{1,40}", 0..6),
            cuts in prop::collection::vec(1_usize..60, 1..8),
            has_trailers in any::<bool>(),
        ) {
            let mut text = Vec::new();
            for piece in &pieces {
                text.extend_from_slice(format!("{:X};q=\"1\"\r\n{piece}\r\n", piece.len()).as_bytes());
            }
            text.extend_from_slice(if has_trailers { b"0\r\na: b\r\n\r\n" } else { b"0\r\n\r\n" });
            text.extend_from_slice(b"behind");
            let mut chunked = Chunked::new();
            let (mut data, mut trailers) = (Vec::new(), None);
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                let part = &rest[..(*cut).min(rest.len())];
                let (bytes, used) = chunked.decode(part).map_err(|(_, what)| TestCaseError::fail(what))?;
                data.extend_from_slice(&bytes);
                trailers = chunked.take_trailers().or(trailers);
                rest = &rest[used..];
                if chunked.is_end() {
                    break;
                }
                prop_assert_eq!(used, part.len());
            }
            prop_assert_eq!(rest, b"behind");
            prop_assert_eq!(data, pieces.concat().into_bytes());
            prop_assert_eq!(trailers.is_some(), has_trailers);
        }

        #[test]
        fn no_bytes_panic_or_are_read_twice(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0_usize..300,
        ) {
            let cut = cut.min(bytes.len());
            let mut chunked = Chunked::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                match chunked.decode(part) {
                    Ok((data, used)) => prop_assert!(data.len() <= used && used <= part.len()),
                    Err(_) => break,
                }
            }
        }
    }
}
