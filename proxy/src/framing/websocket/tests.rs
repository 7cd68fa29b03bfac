use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::inflate::{Extensions, Failure, INFLATED_BYTES_MAX, Inflater, Negotiated};
use super::write::{self, To};
use super::*;

type Seen = (Kind, Vec<u8>, u64);

/// One frame as a sender writes it.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        match self.payload.len() {
            len @ 0..=125 => bytes.push(mask_bit | len as u8),
            len @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(self.mask.as_ref().map_or(&[], <[u8; 4]>::as_slice));
        for (at, byte) in self.payload.iter().enumerate() {
            bytes.push(byte ^ self.mask.map_or(0, |mask| mask[at % 4]));
        }
        bytes
    }
}

fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let sent = Sent {
        first,
        mask: None,
        payload: payload.to_vec(),
    };
    sent.bytes()
}

fn read_pieces<'a>(
    mut framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Framing) {
    let mut seen = Vec::new();
    for piece in pieces {
        framing.push(piece, &mut |message| {
            seen.push((message.kind, message.data.to_vec(), message.len));
        });
    }
    (seen, framing)
}

fn read(bytes: &[u8]) -> Vec<Seen> {
    read_pieces(Framing::new(None), [bytes]).0
}

/// What a sender does that keeps its window or not.
struct Deflater(Compress, bool);

impl Deflater {
    fn new(takes_over: bool) -> Self {
        Self(Compress::new(Compression::fast(), false), takes_over)
    }

    fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 1024);
        self.0
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        if !self.1 {
            self.0.reset();
        }
        out
    }
}

#[test]
fn fragments_come_together_around_what_stands_between_them() {
    let mut bytes = plain(0x01, b"{\"a\"");
    bytes.extend(plain(0x89, b"hi"));
    bytes.extend(plain(0x00, b":"));
    bytes.extend(plain(0x8a, b""));
    bytes.extend(plain(0x80, b"1}"));
    bytes.extend(plain(0x88, &[0x03, 0xe8, b'b', b'y', b'e']));
    let seen = read(&bytes);
    let expected: Vec<Seen> = vec![
        (Kind::Ping, b"hi".to_vec(), 2),
        (Kind::Pong, Vec::new(), 0),
        (Kind::Text, b"{\"a\":1}".to_vec(), 7),
        (Kind::Close, vec![0x03, 0xe8, b'b', b'y', b'e'], 5),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_close_tells_its_code_or_none() {
    let code = |payload: &[u8]| {
        let mut code = None;
        Framing::new(None).push(&plain(0x88, payload), &mut |message| {
            code = Some(message.close_code());
        });
        code
    };
    assert_eq!(code(&[0x03, 0xe9]), Some(Some(1001)));
    assert_eq!(code(&[]), Some(None));
    assert_eq!(code(&[3]), Some(None));
}

#[test]
fn of_a_binary_message_only_the_start_is_kept_unless_it_is_json() {
    let audio = vec![7; 1000];
    let mut bytes = plain(0x82, &audio);
    bytes.extend(plain(0x82, b"{\"usageMetadata\":{}}"));
    bytes.extend(plain(0x82, b""));
    let whole = read(&bytes);
    assert_eq!(
        whole,
        [
            (Kind::Binary, vec![7; BINARY_START_BYTES], 1000),
            (Kind::Binary, b"{\"usageMetadata\":{}}".to_vec(), 20),
            (Kind::Binary, Vec::new(), 0),
        ]
    );
    assert_eq!(read_pieces(Framing::new(None), bytes.chunks(3)).0, whole);
}

#[test]
fn a_message_that_is_too_large_is_counted_and_not_kept() {
    let large = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    let mut bytes = plain(0x81, &large);
    bytes.extend(plain(0x81, b"after"));
    let (seen, framing) = read_pieces(Framing::new(None), bytes.chunks(1 << 16));
    assert_eq!(
        seen,
        [
            (Kind::Text, Vec::new(), large.len() as u64),
            (Kind::Text, b"after".to_vec(), 5)
        ]
    );
    assert!(framing.unusual().has_large);
    assert!(!framing.is_broken());
    assert!(framing.buffer.capacity() <= BUFFER_KEPT_BYTES);
}

#[test]
fn what_is_no_frame_is_said_and_read_no_further() {
    for garbage in [
        plain(0x80, b"continues nothing"),
        plain(0x83, b"reserved opcode"),
        plain(0xa1, b"reserved bit"),
        plain(0xc1, b"compressed though nobody agreed"),
        plain(0x08, b"a close in pieces"),
        plain(0x89, &[0; 126]),
        [plain(0x01, b"a"), plain(0x81, b"b")].concat(),
        vec![0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let mut bytes = plain(0x81, b"before");
        bytes.extend(&garbage);
        bytes.extend(plain(0x81, b"after"));
        let (seen, framing) = read_pieces(Framing::new(None), [&bytes[..]]);
        assert_eq!(seen, [(Kind::Text, b"before".to_vec(), 6)], "{garbage:?}");
        assert!(framing.is_broken());
    }
}

#[test]
fn boundaries_are_told_between_frames_and_inside() {
    let mut framing = Framing::new(None);
    let bytes = plain(0x01, &[b'x'; 300]);
    assert_eq!(framing.wanted(), None);
    for (at, expected) in [(1, 1), (2, 2), (3, 1), (4, 300), (10, 294), (303, 1)] {
        framing = Framing::new(None);
        framing.push(&bytes[..at], &mut |_| {});
        assert_eq!(framing.wanted(), Some(expected), "after {at}");
    }
    framing.push(&bytes[303..], &mut |_| {});
    assert_eq!((framing.wanted(), framing.is_in_message()), (None, true));
    framing.push(&plain(0x80, b""), &mut |_| {});
    assert_eq!((framing.wanted(), framing.is_in_message()), (None, false));
}

#[test]
fn compressed_messages_lean_on_those_before_only_as_agreed() {
    let messages: [&[u8]; 4] = [
        b"{\"type\":\"response.done\"}",
        b"{\"type\":\"response.done\"}",
        b"",
        b"{\"type\":\"response.done\",\"x\":1}",
    ];
    for takes_over in [true, false] {
        let mut deflater = Deflater::new(takes_over);
        let mut bytes = Vec::new();
        for message in messages {
            let packed = deflater.message(message);
            let (head, tail) = packed.split_at(packed.len() / 2);
            bytes.extend(plain(0x41, head));
            bytes.extend(plain(0x89, b"between"));
            bytes.extend(plain(0x80, tail));
        }
        // A sender may leave a message as it is.
        bytes.extend(plain(0x81, b"as it is"));
        let framing = Framing::new(Some(Inflater::new(takes_over)));
        let (seen, framing) = read_pieces(framing, bytes.chunks(5));
        let texts: Vec<&[u8]> = seen
            .iter()
            .filter(|(kind, ..)| *kind == Kind::Text)
            .map(|(_, data, _)| data.as_slice())
            .collect();
        assert_eq!(texts[..4], messages);
        assert_eq!(texts[4], b"as it is");
        assert_eq!(framing.unusual(), Unusual::default());
    }
}

#[test]
fn a_bomb_is_given_up_and_the_frames_go_on() {
    let mut deflater = Deflater::new(true);
    let zeros = vec![0; INFLATED_BYTES_MAX as usize + 1];
    let mut bytes = plain(0xc2, &deflater.message(&zeros));
    bytes.extend(plain(0xc1, &deflater.message(b"after")));
    bytes.extend(plain(0x81, b"plain"));
    let (seen, framing) = read_pieces(
        Framing::new(Some(Inflater::new(true))),
        bytes.chunks(1 << 16),
    );
    assert_eq!(framing.unusual().not_inflated, Some(Failure::TooLarge));
    assert!(!framing.is_broken());
    assert_eq!(seen.len(), 3);
    assert!(seen[1].1.is_empty());
    assert_eq!(seen[2].1, b"plain");
}

#[test]
fn what_is_no_deflate_is_given_up() {
    let bytes = plain(0xc1, &[0xff; 20]);
    let (seen, framing) = read_pieces(Framing::new(Some(Inflater::new(true))), [&bytes[..]]);
    assert_eq!(framing.unusual().not_inflated, Some(Failure::Invalid));
    assert!(seen[0].1.is_empty());
}

#[test]
fn extensions_are_read_as_agreed() {
    let both = |caller_takes_over, upstream_takes_over| {
        Extensions::Deflate(Negotiated {
            caller_takes_over,
            upstream_takes_over,
        })
    };
    let cases = [
        (vec![], Extensions::None),
        (vec!["permessage-deflate"], both(true, true)),
        (
            vec!["Permessage-Deflate; client_no_context_takeover; server_max_window_bits=12"],
            both(false, true),
        ),
        (
            vec!["permessage-deflate;server_no_context_takeover"],
            both(true, false),
        ),
        (vec!["permessage-deflate, x-other"], Extensions::Unknown),
        (vec!["x-webkit-deflate-frame"], Extensions::Unknown),
    ];
    for (values, expected) in cases {
        assert_eq!(Extensions::parse(values.iter().copied()), expected);
    }
}

#[test]
fn what_we_write_is_read_as_it_was_meant() {
    let reason = "ü".repeat(100);
    for to in [To::Caller, To::Upstream] {
        for text in ["{}".to_owned(), "x".repeat(300), "y".repeat(70_000)] {
            let mut bytes = write::text(to, text.as_bytes());
            assert_eq!(bytes[1] & 0x80 != 0, to == To::Upstream);
            bytes.extend(write::close(to, 1008, &reason));
            let seen = read(&bytes);
            assert_eq!(
                seen[0],
                (Kind::Text, text.clone().into_bytes(), text.len() as u64)
            );
            let (kind, payload, _) = &seen[1];
            assert_eq!(
                (*kind, &payload[..2]),
                (Kind::Close, &1008u16.to_be_bytes()[..])
            );
            assert!(payload.len() <= CONTROL_BYTES_MAX);
            assert!(std::str::from_utf8(&payload[2..]).is_ok());
        }
    }
}

/// Messages in fragments with control frames between them, masked or not, compressed or not.
fn conversation() -> impl Strategy<Value = (Vec<u8>, Option<bool>)> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 120..140),
        "\\{\"[a-z]{1,20}\":[0-9]{1,9}\\}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 65_530..65_545),
    ];
    let message = (
        prop_oneof![Just(TEXT), Just(BINARY)],
        payload,
        prop::option::of(any::<[u8; 4]>()),
        1..4usize,
        any::<bool>(),
        any::<bool>(),
    );
    (
        prop::option::of(any::<bool>()),
        prop::collection::vec(message, 0..6),
    )
        .prop_map(|(takes_over, messages)| {
            let mut deflater = takes_over.map(Deflater::new);
            let mut bytes = Vec::new();
            for (opcode, payload, mask, pieces, has_ping, packs) in messages {
                let (bit, payload) = match &mut deflater {
                    Some(deflater) if packs => (0x40, deflater.message(&payload)),
                    _ => (0, payload),
                };
                let size = payload.len().div_ceil(pieces).max(1);
                let mut parts: Vec<Vec<u8>> = payload.chunks(size).map(<[u8]>::to_vec).collect();
                if parts.is_empty() {
                    parts.push(Vec::new());
                }
                let last = parts.len() - 1;
                for (at, payload) in parts.into_iter().enumerate() {
                    let fin = if at == last { 0x80 } else { 0 };
                    let first = if at == 0 { opcode | bit } else { CONTINUATION };
                    bytes.extend(
                        Sent {
                            first: fin | first,
                            mask,
                            payload,
                        }
                        .bytes(),
                    );
                    if has_ping {
                        let payload = b"ping".to_vec();
                        bytes.extend(
                            Sent {
                                first: 0x89,
                                mask,
                                payload,
                            }
                            .bytes(),
                        );
                    }
                }
            }
            (bytes, takes_over)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_messages(
        (bytes, takes_over) in conversation(),
        sizes in prop::collection::vec(1..3000usize, 1..40),
    ) {
        let framing = || Framing::new(takes_over.map(Inflater::new));
        let (whole, ended) = read_pieces(framing(), [&bytes[..]]);
        prop_assert_eq!(ended.unusual(), Unusual::default());
        prop_assert_eq!((ended.wanted(), ended.is_in_message()), (None, false));
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, left) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&read_pieces(framing(), pieces).0, &whole);
        if bytes.len() < 2000 {
            prop_assert_eq!(&read_pieces(framing(), bytes.chunks(1)).0, &whole);
        }
    }

    #[test]
    fn garbage_neither_panics_nor_grows(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        packs in prop::option::of(any::<bool>()),
        size in 1..100usize,
    ) {
        let framing = Framing::new(packs.map(Inflater::new));
        let (seen, framing) = read_pieces(framing, bytes.chunks(size));
        let whole = read_pieces(Framing::new(packs.map(Inflater::new)), [&bytes[..]]).0;
        prop_assert_eq!(seen, whole);
        let held = framing.message.map_or(0, |message| message.data.capacity());
        prop_assert!(held <= 2 * MESSAGE_BYTES_MAX);
    }
}
