//! WebSocket framing and the readers of sockets.

use farebox_fuzz::memory::peak;
use farebox_fuzz::{magnitude, pieces, run, signature};
use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use farebox_proxy::framing::websocket::inflate::Inflater;
use farebox_proxy::framing::websocket::write::{self, To};
use farebox_proxy::framing::websocket::{Framing, Kind};
use farebox_proxy::provider::{ALL, Asked, Endpoint};
use farebox_proxy::socket::{From, Heard};

use crate::readers::check;

/// Memory a direction may take for an input of this size: a message, its inflated form, a window.
const MEMORY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// `Hello` as RFC 7692 section 7.2.3.1 compresses it.
const DEFLATED: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(u8::try_from(len).unwrap()),
        len => {
            frame.push(126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn frames() -> Vec<Vec<u8>> {
    let text = br#"{"type":"response.done","response":{"id":"r","usage":{"total_tokens":3}}}"#;
    let mut seeds = vec![
        write::text(To::Upstream, text),
        write::text(To::Caller, text),
        write::close(To::Upstream, 1000, "bye"),
        frame(0x82, &[7; 300]),
        [
            frame(0x01, b"in "),
            frame(0x89, b"ping"),
            frame(0x00, b"three "),
            frame(0x80, b"pieces"),
        ]
        .concat(),
        [frame(0xc1, &DEFLATED), frame(0xc1, &DEFLATED)].concat(),
        [frame(0x41, &DEFLATED[..3]), frame(0x80, &DEFLATED[3..])].concat(),
        vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0],
        vec![0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
    ];
    seeds.push(seeds.concat());
    seeds
}

#[test]
fn websocket() {
    run("websocket", frames(), |input, random| {
        let is_deflated = input.first().is_some_and(|byte| byte & 0x40 != 0);
        let read = |pieces: &[&[u8]]| {
            let mut framing = Framing::new(is_deflated.then(|| Inflater::new(true)));
            let mut messages = Vec::new();
            for piece in pieces {
                framing.push(piece, &mut |message| {
                    assert!(message.data.len() as u64 <= message.len);
                    messages.push((message.kind, message.data.to_vec(), message.len));
                });
            }
            (messages, framing.unusual(), framing.is_in_message())
        };
        let (whole, grown) = peak(|| read(&[input]));
        assert_eq!(
            whole,
            read(&pieces(input, random)),
            "the messages depend on the pieces"
        );
        let kept: usize = whole.0.iter().map(|(_, data, _)| data.len() + 64).sum();
        assert!(
            grown <= MEMORY_BYTES_MAX + kept * 2,
            "{grown} bytes for {}",
            input.len()
        );
        let kinds: Vec<String> = whole
            .0
            .iter()
            .take(6)
            .map(|(kind, ..)| format!("{kind:?}"))
            .collect();
        signature(&(kinds, format!("{:?}", whole.1), whole.2))
    });
}

/// A talk is lines: the first byte says who speaks and whether it is a text.
#[test]
fn talks() {
    let endpoints: Vec<&'static Endpoint> = ALL
        .iter()
        .flat_map(|provider| provider.endpoints)
        .filter(|endpoint| endpoint.socket.is_some())
        .collect();
    assert!(!endpoints.is_empty());
    let said = [
        r#"u{"type":"session.created","session":{"model":"gpt-realtime"}}"#,
        r#"c{"type":"input_audio_buffer.append","audio":"AAAAAAAA"}"#,
        r#"u{"type":"response.done","response":{"id":"r1","usage":{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":{"text_tokens":20,"audio_tokens":0,"cached_tokens":0},"output_token_details":{"text_tokens":10,"audio_tokens":0}}}}"#,
        r#"u{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"tokens","total_tokens":4,"input_tokens":3,"output_tokens":1}}"#,
        r#"u{"type":"response.completed","response":{"id":"r2","model":"m","usage":{"input_tokens":5,"output_tokens":6}}}"#,
        r#"u{"type":"Results","start":0,"duration":1.5,"channel_index":[0,1],"metadata":{"request_id":"q","model_info":{"name":"n","arch":"nova-3"}}}"#,
        r#"u{"type":"Metadata","duration":4.8,"channels":1,"request_id":"q"}"#,
        r#"c{"type":"Speak","text":"Hello 👋"}"#,
        r#"u{"type":"Flushed","sequence_id":0}"#,
        r#"u{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":12,"responseTokenCount":8,"totalTokenCount":20}}"#,
        r#"c{"text":"Hello ","voice_settings":{}}"#,
        r#"u{"audio":"AAAA","isFinal":true,"alignment":{"chars":["a"]}}"#,
        r#"u{"type":"Termination","audio_duration_seconds":3,"session_duration_seconds":4}"#,
        r#"u{"type":"error","error":{"message":"m"}}"#,
    ];
    let seeds = (0..endpoints.len())
        .map(|number| {
            [
                &[u8::try_from(number).unwrap()][..],
                said.join("\n").as_bytes(),
            ]
            .concat()
        })
        .chain([[&[0][..], "A1234567890\nB\n".as_bytes()].concat()])
        .collect();
    run("talks", seeds, |input, _| {
        let Some((number, talk)) = input.split_first() else {
            return 0;
        };
        let endpoint = endpoints[usize::from(*number) % endpoints.len()];
        let socket = endpoint.socket.expect("only those with one");
        let mut evidence = Evidence::default();
        let asked = Asked {
            path: endpoint.path,
            query: Some("model=nova-3&encoding=linear16&sample_rate=16000&channels=2"),
            ..Asked::default()
        };
        (endpoint.request_facts)(&mut evidence, &asked);
        evidence.response.insert("status", 101_u64);
        let mut turns = Vec::new();
        for line in talk.split(|byte| *byte == b'\n') {
            let Some((who, data)) = line.split_first() else {
                continue;
            };
            let from = if who.is_ascii_lowercase() && *who == b'u' {
                From::Upstream
            } else {
                From::Caller
            };
            let kind = if who.is_ascii_lowercase() {
                Kind::Text
            } else {
                Kind::Binary
            };
            let heard = Heard {
                from,
                is_text: kind == Kind::Text,
                data,
                len: data.len() as u64,
            };
            turns.push((socket.collect)(&heard, &mut evidence));
            check(&endpoint.draft(&evidence));
        }
        evidence.counts.is_complete = true;
        let draft = endpoint.draft(&evidence);
        let stored = serde_json::to_string(&evidence).unwrap();
        assert!(stored.len() <= EVIDENCE_BYTES_MAX, "{} bytes", stored.len());
        let reread: Evidence = serde_json::from_str(&stored).unwrap();
        assert_eq!(endpoint.draft(&reread), draft, "read again it is another");
        let turns = turns
            .iter()
            .map(|turn| format!("{turn:?}"))
            .collect::<Vec<_>>();
        signature(&(
            endpoint.path,
            check(&draft),
            magnitude(turns.len()),
            turns.last().cloned(),
        ))
    });
}
