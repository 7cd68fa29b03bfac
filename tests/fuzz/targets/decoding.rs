//! Content encodings: what comes out does not depend on the pieces and stays below the bound.

use std::io::Write;

use farebox_fuzz::memory::peak;
use farebox_fuzz::{magnitude, pieces, run, signature};
use farebox_proxy::decode::Decoder;

use crate::seeds;

/// Most that one input may unfold to here.
const DECODED_BYTES_MAX: u64 = 256 * 1024;
/// The largest window of any of them, and room around it.
const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

fn fuzz(name: &str, encoding: &str, seeds: Vec<Vec<u8>>) {
    run(name, seeds, |input, random| {
        let decoded = |pieces: &[&[u8]]| {
            let mut decoder = Decoder::new(encoding, DECODED_BYTES_MAX).unwrap();
            let mut out = Vec::new();
            let mut end = Ok(());
            for piece in pieces {
                end = decoder.push(piece, &mut |plain| out.extend_from_slice(plain));
                if end.is_err() {
                    break;
                }
            }
            (out, end)
        };
        let (whole, grown) = peak(|| decoded(&[input]));
        assert!(whole.0.len() as u64 <= DECODED_BYTES_MAX);
        assert!(
            grown <= MEMORY_BYTES_MAX,
            "{grown} bytes for {}",
            input.len()
        );
        let cut = decoded(&pieces(input, random));
        // Bytes that are wrong behind the bound may or may not be seen before it is reached.
        assert_eq!(whole.1.is_ok(), cut.1.is_ok());
        if whole.1.is_ok() {
            assert_eq!(whole.0, cut.0, "what comes out depends on the pieces");
        }
        signature(&(magnitude(whole.0.len()), format!("{:?}", whole.1)))
    });
}

fn plain() -> Vec<Vec<u8>> {
    seeds::answers("sse").into_iter().take(20).collect()
}

#[test]
fn gzip() {
    let pack = |bytes: Vec<u8>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    fuzz("gzip", "gzip", plain().into_iter().map(pack).collect());
}

#[test]
fn deflate() {
    let pack = |bytes: Vec<u8>| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    fuzz(
        "deflate",
        "deflate",
        plain().into_iter().map(pack).collect(),
    );
}

#[test]
fn brotli() {
    fuzz("brotli", "br", seeds::answers("sse.br"));
}

#[test]
fn zstd() {
    let pack = |bytes: Vec<u8>| zstd::encode_all(bytes.as_slice(), 1).unwrap();
    fuzz("zstd", "zstd", plain().into_iter().map(pack).collect());
}
