//! What goes up is what may, whole and in order, however it comes.

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::super::tests::frame;
use super::*;
use crate::framing::websocket::inflate::Inflater;

const SECRET: &[u8] = b"{\"key\":\"vk_A\"}";
const SWAPPED: &[u8] = b"{\"key\":\"real\"}";
const FORBIDDEN: &[u8] = b"{\"model\":\"forbidden\"}";

/// What the vendor would read of what went up, and why it ended.
fn pass(bytes: &[u8], piece: usize, is_compressed: bool) -> (Vec<(Kind, Vec<u8>)>, Option<Code>) {
    let inflater = || is_compressed.then(|| Inflater::new(true));
    let mut framing = Framing::new(inflater());
    let mut gate = Gate::default();
    let mut up = Vec::new();
    for piece in bytes.chunks(piece) {
        gate.push(piece, &mut framing, &mut up, &mut |passed| match passed {
            Passed::Asked(message) if message.data == SECRET => Verdict::Becomes(SWAPPED.to_vec()),
            Passed::Asked(message) if message.data == FORBIDDEN => {
                Verdict::Refused(Code::ModelNotAllowed)
            }
            Passed::Unreadable(code) => Verdict::Refused(code),
            _ => Verdict::Goes,
        });
    }
    let mut seen = Vec::new();
    let mut vendor = Framing::new(inflater());
    vendor.push(&up, &mut |message| {
        assert!(message.is_whole() || message.kind == Kind::Binary);
        seen.push((message.kind, message.data.to_vec()));
    });
    assert!(!vendor.is_broken() && vendor.unusual().not_inflated.is_none());
    (seen, gate.refused())
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, true)
}

#[test]
fn messages_pass_as_they_are_become_others_or_end_it() {
    let bytes = [
        masked(0x81, b"{\"a\":1}"),
        masked(0x01, b"{\"key\":"),
        masked(0x89, b"ping"),
        masked(0x80, b"\"vk_A\"}"),
        masked(0x82, &[7; 300]),
        masked(0x81, b"close"),
        masked(0x81, FORBIDDEN),
        masked(0x81, b"never"),
    ]
    .concat();
    for piece in [1, 2, 5, 64, usize::MAX] {
        let (seen, refused) = pass(&bytes, piece, false);
        let seen: Vec<_> = seen
            .iter()
            .map(|(kind, data)| (*kind, &data[..data.len().min(20)]))
            .collect();
        let expected: Vec<(Kind, &[u8])> = vec![
            (Kind::Text, b"{\"a\":1}"),
            (Kind::Ping, b"ping"),
            (Kind::Text, SWAPPED),
            (Kind::Binary, &[7; 20]),
            (Kind::Text, b"close"),
        ];
        assert_eq!(seen, expected, "in pieces of {piece}");
        assert_eq!(refused, Some(Code::ModelNotAllowed));
    }
}

#[test]
fn a_compressed_message_that_becomes_another_leaves_the_rest_readable() {
    let mut deflater = Compress::new(Compression::fast(), false);
    let mut compressed = |payload: &[u8]| {
        let mut out = Vec::with_capacity(1024);
        deflater
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .unwrap();
        out.truncate(out.len() - 4);
        masked(0xc1, &out)
    };
    let bytes = [
        compressed(b"{\"text\":\"hello\"}"),
        compressed(SECRET),
        compressed(b"{\"text\":\"hello\"}"),
        masked(0x81, b"plain"),
        compressed(b"{\"text\":\"hello again\"}"),
    ]
    .concat();
    for piece in [1, 3, usize::MAX] {
        let (seen, refused) = pass(&bytes, piece, true);
        let seen: Vec<&[u8]> = seen.iter().map(|(_, data)| &data[..]).collect();
        let expected: Vec<&[u8]> = vec![
            b"{\"text\":\"hello\"}",
            SWAPPED,
            b"{\"text\":\"hello\"}",
            b"plain",
            b"{\"text\":\"hello again\"}",
        ];
        assert_eq!((seen, refused), (expected, None), "in pieces of {piece}");
    }
}

#[test]
fn what_cannot_be_read_does_not_pass_a_rule() {
    // A reserved opcode, and a compressed message that is no deflate.
    for (bytes, is_compressed) in [
        (masked(0x83, b"x"), false),
        (masked(0xc1, &[0xff; 9]), true),
    ] {
        let (seen, refused) = pass(&bytes, 1, is_compressed);
        assert_eq!((seen, refused), (Vec::new(), Some(Code::MalformedRequest)));
    }
}

/// Frames that may be in any order and of any kind, some of them no frames at all.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..20);
    let opcode = prop::sample::select(vec![0u8, 0, 0, 1, 1, 2, 8, 9, 10]);
    let part = prop_oneof![
        8 => (opcode, any::<bool>(), any::<bool>(), payload()).prop_map(
            |(opcode, is_last, is_masked, payload)| {
                let fin = u8::from(is_last || opcode >= 8) << 7;
                frame(fin | opcode, &payload, is_masked)
            }
        ),
        1 => payload(),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// What went up where every message may, and what is held of the last one.
fn let_up(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
    let mut framing = Framing::new(None);
    let mut gate = Gate::default();
    let mut up = Vec::new();
    for piece in bytes.chunks(piece) {
        gate.push(piece, &mut framing, &mut up, &mut |_| Verdict::Goes);
    }
    (up, [gate.message, gate.frame].concat())
}

/// The vendor reads the messages that the caller said and no byte is added or lost, however they come.
fn stands(bytes: &[u8], piece: usize) {
    let read = |bytes: &[u8]| {
        let mut messages = Vec::new();
        Framing::new(None).push(bytes, &mut |message| {
            messages.push((message.kind, message.data.to_vec(), message.len));
        });
        messages
    };
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    let (up, held) = let_up(bytes, piece);
    assert_eq!((up.clone(), held.clone()), let_up(bytes, usize::MAX));
    assert_eq!(read(&up), read(bytes));
    // A control frame goes up before the frames of a message that it stands in: nothing else moves.
    assert_eq!(sorted([up, held].concat()), sorted(bytes.to_vec()));
}

#[test]
fn a_control_frame_goes_up_before_the_message_it_stands_in() {
    // 117 bytes of a text that goes on, an empty part of it, and a ping.
    let mut bytes = vec![1, 245];
    bytes.resize(2 + 4 + 117, 0);
    bytes.extend([0, 0]);
    bytes.extend([0x89, 0]);
    for piece in [1, 14, usize::MAX] {
        stands(&bytes, piece);
        let (up, held) = let_up(&bytes, piece);
        assert_eq!((&up[..], &held[..]), (&[0x89, 0][..], &bytes[..125]));
    }
}

proptest! {
    #[test]
    fn allowed_messages_go_up_byte_for_byte(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), 1usize..4), 0..6),
        piece in 1usize..64,
    ) {
        let mut bytes = Vec::new();
        for (is_text, payload, fragments) in &messages {
            let size = payload.len().div_ceil(*fragments).max(1);
            let chunks: Vec<&[u8]> = payload.chunks(size).collect();
            for (at, chunk) in chunks.iter().enumerate() {
                let opcode = if at > 0 { 0 } else { 2 - u8::from(*is_text) };
                let fin = if at + 1 == chunks.len() { 0x80 } else { 0 };
                bytes.extend(masked(fin | opcode, chunk));
            }
        }
        let mut framing = Framing::new(None);
        let mut gate = Gate::default();
        let mut up = Vec::new();
        for piece in bytes.chunks(piece) {
            gate.push(piece, &mut framing, &mut up, &mut |_| Verdict::Goes);
        }
        prop_assert_eq!(up, bytes);
        prop_assert!(gate.is_between());
    }

    #[test]
    fn no_bytes_break_the_gate(bytes in anything(), piece in 1usize..32) {
        stands(&bytes, piece);
    }
}
