//! Takes a content-encoding off, as bytes come: for the reader's copy, and for an answer that goes
//! on decoded because it was amended.
//!
//! Output is handed on in pieces, so that a small input that unfolds into a huge one costs time,
//! never memory; a bound on the sum ends even that.

use std::fmt;
use std::io::Write;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Room for one piece of output.
const PIECE_BYTES: usize = 16 * 1024;
/// Input given to a deflate decoder at a time; it unfolds at most about a thousandfold.
const DEFLATE_STEP_BYTES: usize = 1024;
/// Largest zstd window taken, as a power of two (8 MiB, what RFC 8878 asks decoders to support).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A decoder of one body.
pub struct Decoder {
    kind: Kind,
    left: u64,
}

/// Why a body cannot be decoded further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It is not what its header says.
    Invalid,
    /// It unfolds to more than the bound.
    TooLarge,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "body does not match its content-encoding",
            Self::TooLarge => "body unfolds beyond its bound",
        })
    }
}

impl std::error::Error for DecodeError {}

enum Kind {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Named deflate, and either zlib or bare; the first byte tells.
    DeflateUnknown,
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    Deflate(Box<DeflateDecoder<Vec<u8>>>),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
}

struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    total: usize,
    is_done: bool,
}

struct Zstd {
    decoder: ZstdDecoder<'static>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// For a `content-encoding` of one coding; `None` for others and for `identity`. Hands on at
    /// most `bytes_max` bytes.
    #[must_use]
    pub fn new(content_encoding: &str, bytes_max: u64) -> Option<Self> {
        let name = content_encoding.trim();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let kind = if is("gzip") || is("x-gzip") {
            Kind::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
        } else if is("deflate") {
            Kind::DeflateUnknown
        } else if is("br") {
            Kind::Brotli(Box::new(Brotli {
                // Without the windows of up to 1 GiB that are no part of RFC 7932.
                state: BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                ),
                total: 0,
                is_done: false,
            }))
        } else if is("zstd") {
            let mut decoder = ZstdDecoder::new().ok()?;
            let window = zstd::zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
            decoder.set_parameter(window).ok()?;
            Kind::Zstd(Box::new(Zstd { decoder }))
        } else {
            return None;
        };
        Some(Self {
            kind,
            left: bytes_max,
        })
    }

    /// Whether an encoding leaves the bytes as they are.
    #[must_use]
    pub fn is_identity(content_encoding: &str) -> bool {
        let name = content_encoding.trim();
        name.is_empty() || name.eq_ignore_ascii_case("identity")
    }

    /// Decodes what came and hands on everything that it makes.
    pub fn push(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        if input.is_empty() {
            return Ok(());
        }
        if matches!(self.kind, Kind::DeflateUnknown) {
            // A zlib header's low four bits are 8; bare deflate of a final dynamic block never so
            // begins with 0x78 in practice.
            self.kind = if input[0] & 0x0f == 8 {
                Kind::Zlib(Box::new(ZlibDecoder::new(Vec::new())))
            } else {
                Kind::Deflate(Box::new(DeflateDecoder::new(Vec::new())))
            };
        }
        let left = &mut self.left;
        let mut bounded = |piece: &[u8]| -> Result<(), DecodeError> {
            if piece.is_empty() {
                return Ok(());
            }
            *left = left
                .checked_sub(piece.len() as u64)
                .ok_or(DecodeError::TooLarge)?;
            sink(piece);
            Ok(())
        };
        match &mut self.kind {
            Kind::Gzip(decoder) => {
                for step in input.chunks(DEFLATE_STEP_BYTES) {
                    write_all(decoder.as_mut(), step)?;
                    bounded(decoder.get_ref())?;
                    empty(decoder.get_mut());
                }
                Ok(())
            }
            Kind::Zlib(decoder) => {
                for step in input.chunks(DEFLATE_STEP_BYTES) {
                    write_all(decoder.as_mut(), step)?;
                    bounded(decoder.get_ref())?;
                    empty(decoder.get_mut());
                }
                Ok(())
            }
            Kind::Deflate(decoder) => {
                for step in input.chunks(DEFLATE_STEP_BYTES) {
                    write_all(decoder.as_mut(), step)?;
                    bounded(decoder.get_ref())?;
                    empty(decoder.get_mut());
                }
                Ok(())
            }
            Kind::Brotli(brotli) => brotli.push(input, &mut bounded),
            Kind::Zstd(zstd) => zstd.push(input, &mut bounded),
            Kind::DeflateUnknown => Ok(()),
        }
    }
}

fn write_all(decoder: &mut impl Write, step: &[u8]) -> Result<(), DecodeError> {
    decoder.write_all(step).map_err(|_| DecodeError::Invalid)?;
    decoder.flush().map_err(|_| DecodeError::Invalid)
}

fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(PIECE_BYTES);
}

impl Brotli {
    fn push(
        &mut self,
        input: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut piece = vec![0; PIECE_BYTES];
        let (mut taken, mut available) = (0, input.len());
        while !self.is_done {
            let (mut made, mut room) = (0, piece.len());
            let result = BrotliDecompressStream(
                &mut available,
                &mut taken,
                input,
                &mut room,
                &mut made,
                &mut piece,
                &mut self.total,
                &mut self.state,
            );
            sink(&piece[..made])?;
            match result {
                BrotliResult::ResultSuccess => self.is_done = true,
                BrotliResult::NeedsMoreOutput => {}
                // Where the piece is full, more of what is known already may wait behind it.
                BrotliResult::NeedsMoreInput if room == 0 => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(DecodeError::Invalid),
            }
        }
        Ok(())
    }
}

impl Zstd {
    fn push(
        &mut self,
        input: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut from = InBuffer::around(input);
        loop {
            let mut to = OutBuffer::around(piece.as_mut_slice());
            let before = from.pos();
            self.decoder
                .run(&mut from, &mut to)
                .map_err(|_| DecodeError::Invalid)?;
            let made = to.pos();
            let is_full = made == PIECE_BYTES;
            sink(&piece[..made])?;
            let is_stuck = from.pos() == before && made == 0;
            if is_stuck || (from.pos() == input.len() && !is_full) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str, input: &[u8], bytes_max: u64) -> (u64, u64, Result<(), DecodeError>) {
        let mut decoder = Decoder::new(encoding, bytes_max).expect("a known encoding");
        let (mut made, mut largest) = (0, 0);
        let result = decoder.push(input, &mut |piece| {
            made += piece.len() as u64;
            largest = largest.max(piece.len() as u64);
        });
        (made, largest, result)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_brotli_window_beyond_the_standard_is_refused() {
        // Eleven bytes that ask for a window of 128 MiB.
        let input = [
            0x11, 0x1b, 0x02, 0x20, 0xac, 0x84, 0x72, 0xe3, 0xb2, 0xb2, 0x1d,
        ];
        assert_eq!(decode("br", &input, 1024).2, Err(DecodeError::Invalid));
    }

    #[test]
    fn a_bomb_is_handed_on_in_pieces_and_stopped_at_the_bound() {
        let zeros = vec![0; 32 * 1024 * 1024];
        for (encoding, bomb) in [
            ("gzip", gzip(&zeros)),
            ("zstd", zstd::encode_all(zeros.as_slice(), 1).unwrap()),
        ] {
            let (made, largest, result) = decode(encoding, &bomb, 8 * 1024 * 1024);
            assert_eq!(result, Err(DecodeError::TooLarge), "{encoding}");
            assert!(made <= 8 * 1024 * 1024, "{encoding} made {made}");
            assert!(largest <= 2 * 1024 * 1024, "{encoding} at once {largest}");
            let (made, _, result) = decode(encoding, &bomb, u64::MAX);
            assert_eq!((made, result), (zeros.len() as u64, Ok(())), "{encoding}");
        }
    }

    #[test]
    fn several_gzip_members_are_one_body() {
        let body = [gzip(b"one "), gzip(b"two")].concat();
        let mut text = Vec::new();
        let mut decoder = Decoder::new("x-gzip", 100).unwrap();
        for byte in body.chunks(1) {
            decoder
                .push(byte, &mut |piece| text.extend_from_slice(piece))
                .unwrap();
        }
        assert_eq!(text, b"one two");
    }

    #[test]
    fn deflate_is_read_with_and_without_its_header() {
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        bare.write_all(b"hello").unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"hello").unwrap();
        for body in [bare.finish().unwrap(), zlib.finish().unwrap()] {
            assert_eq!(decode("deflate", &body, 100), (5, 5, Ok(())));
        }
    }

    #[test]
    fn what_is_not_what_it_says_ends_in_an_error() {
        for encoding in ["gzip", "br", "zstd", "deflate"] {
            let (_, _, result) = decode(encoding, &[0x7f; 64], 1 << 20);
            assert_eq!(result, Err(DecodeError::Invalid), "{encoding}");
        }
    }

    #[test]
    fn only_single_known_encodings_are_decoded() {
        for encoding in ["identity", "", "gzip, br", "compress"] {
            assert!(Decoder::new(encoding, 1).is_none(), "{encoding}");
        }
        assert!(Decoder::new(" GZIP ", 1).is_some());
        assert!(Decoder::is_identity(" Identity") && !Decoder::is_identity("gzip"));
    }
}
