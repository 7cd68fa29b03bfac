//! Every recorded session under `tests/fixtures/sockets`, in every form its frames may come in, and what
//! no bytes whatever may do.

use std::collections::BTreeMap;
use std::path::Path;

use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use farebox_pricing::usage::UsageDraft;
use flate2::{Compress, Compression, FlushCompress};
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{From, Heard, Socket, Turn};
use crate::framing::websocket::inflate::Inflater;
use crate::framing::websocket::{Framing, Kind, Message};
use crate::provider::{ALL, Asked, Endpoint, find};
use crate::settle::next_part;

/// What every socket has.
const CASES: [&str; 3] = ["plain", "cut_short", "error"];
/// Where a bound is as many tokens as bytes came.
const RESPONSE_BYTES: &str = "@response_bytes";

/// One message as it was said.
#[derive(Clone, Debug)]
struct Said {
    from: From,
    is_text: bool,
    payload: Vec<u8>,
}

struct Case {
    name: String,
    endpoint: &'static Endpoint,
    path: String,
    query: Option<String>,
    said: Vec<Said>,
    open_ms: u64,
    unseen_ms: u64,
    parts: Vec<Value>,
}

impl Case {
    fn load(vendor: &str, path: &Path) -> Self {
        let name = path.display().to_string();
        let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).expect(&name);
        let text = |name: &str| recorded[name].as_str().map(str::to_owned);
        let number = |name: &str| recorded[name].to_string().parse().unwrap_or(0);
        let path = text("path").unwrap();
        let endpoint = find(vendor).unwrap().endpoint(&Method::GET, &path);
        Self {
            endpoint: endpoint
                .filter(|found| found.socket.is_some())
                .expect(&name),
            path,
            query: text("query"),
            said: recorded["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(said)
                .collect(),
            open_ms: number("open_ms"),
            unseen_ms: number("unseen_ms"),
            parts: recorded["parts"].as_array().unwrap().clone(),
            name,
        }
    }

    fn socket(&self) -> &'static Socket {
        self.endpoint.socket.unwrap()
    }

    fn session(&self) -> Session {
        let asked = Asked {
            path: &self.path,
            query: self.query.as_deref(),
            ..Asked::default()
        };
        Session::open(self.endpoint, &asked, self.open_ms)
    }

    /// The drafts of the parts, read from frames that are written and split in some way.
    fn read(&self, mut wire: Wire) -> Vec<Value> {
        let mut session = self.session();
        let inflater = || wire.deflaters.is_some().then(|| Inflater::new(true));
        let mut up = Framing::new(inflater());
        let mut down = Framing::new(inflater());
        for said in &self.said {
            let framing = match said.from {
                From::Caller => &mut up,
                From::Upstream => &mut down,
            };
            for piece in wire.write(said).chunks(wire.piece) {
                framing.push(piece, &mut |message| session.hear(said.from, &message));
            }
        }
        assert!(!up.is_broken() && !down.is_broken(), "{}", self.name);
        session.evidence.counts.unseen_ms = self.unseen_ms;
        session.end()
    }

    fn expected(&self) -> Vec<Value> {
        let mut session = self.session();
        let mut bytes = Vec::new();
        let mut sum = 0;
        for said in &self.said {
            let before = session.drafts.len();
            let len = said.payload.len() as u64;
            sum += if said.from == From::Upstream { len } else { 0 };
            session.hear(said.from, &message(said));
            if session.drafts.len() > before {
                bytes.push(std::mem::take(&mut sum));
            }
        }
        bytes.push(sum);
        let parts = self.parts.iter().zip(bytes);
        parts
            .map(|(part, bytes)| {
                let text = part.to_string().replace(RESPONSE_BYTES, &bytes.to_string());
                serde_json::from_str(&text).unwrap()
            })
            .collect()
    }

    fn check(&self, how: &str, wire: Wire) {
        assert_eq!(self.read(wire), self.expected(), "{} {how}", self.name);
    }
}

fn said(recorded: &Value) -> Said {
    let from = match recorded["from"].as_str() {
        Some("caller") => From::Caller,
        _ => From::Upstream,
    };
    let of = |is_text, payload: Vec<u8>| Said {
        from,
        is_text,
        payload,
    };
    if let Some(text) = recorded["text"].as_str() {
        return of(true, text.as_bytes().to_vec());
    }
    if recorded["json"].is_object() {
        return of(true, recorded["json"].to_string().into_bytes());
    }
    if recorded["binary_json"].is_object() {
        return of(false, recorded["binary_json"].to_string().into_bytes());
    }
    let len: usize = recorded["bytes"].to_string().parse().unwrap();
    of(false, vec![0xaa; len])
}

fn message(said: &Said) -> Message<'_> {
    Message {
        kind: if said.is_text {
            Kind::Text
        } else {
            Kind::Binary
        },
        data: &said.payload,
        len: said.payload.len() as u64,
    }
}

/// A session as its parts are read.
struct Session {
    endpoint: &'static Endpoint,
    evidence: Evidence,
    open_ms: u64,
    drafts: Vec<Value>,
}

impl Session {
    fn open(endpoint: &'static Endpoint, asked: &Asked<'_>, open_ms: u64) -> Self {
        let mut evidence = Evidence::default();
        (endpoint.request_facts)(&mut evidence, asked);
        evidence.response.insert("status", 101_u64);
        Self {
            endpoint,
            evidence,
            open_ms,
            drafts: Vec::new(),
        }
    }

    fn hear(&mut self, from: From, message: &Message<'_>) {
        let is_text = match message.kind {
            Kind::Text => true,
            Kind::Binary => false,
            _ => return,
        };
        let heard = Heard {
            from,
            is_text,
            data: message.data,
            len: message.len,
        };
        if from == From::Upstream {
            self.evidence.counts.response_bytes += heard.len;
        }
        let socket = self.endpoint.socket.unwrap();
        if socket.read(&heard, &mut self.evidence) == Turn::Ends {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.evidence.counts.open_ms = self.open_ms;
        let next = next_part(&self.evidence);
        let evidence = std::mem::replace(&mut self.evidence, next);
        let draft = self.endpoint.draft(&evidence);
        // What is stored is read again by the same code.
        let stored = serde_json::to_string(&evidence).unwrap();
        assert!(stored.len() <= EVIDENCE_BYTES_MAX, "{} bytes", stored.len());
        let reread: Evidence = serde_json::from_str(&stored).unwrap();
        assert_eq!(self.endpoint.draft(&reread), draft);
        assert!(!stored.contains("vk_"), "{stored}");
        check_bounds(&draft);
        self.drafts.push(as_json(&draft));
    }

    fn end(mut self) -> Vec<Value> {
        self.settle();
        self.drafts
    }
}

fn check_bounds(draft: &UsageDraft) {
    if let (Some(low), Some(high)) = (&draft.low, &draft.high) {
        for (meter, quantity) in low.iter() {
            let high = high.quantity(meter).unwrap();
            let room = high.checked_sub(quantity).unwrap();
            assert!(!quantity.is_negative() && !room.is_negative(), "{draft:?}");
        }
    }
}

fn as_json(draft: &UsageDraft) -> Value {
    let lines: Vec<Value> = draft
        .lines
        .iter()
        .map(
            |line| json!({"model": line.model, "conditions": line.conditions, "usage": line.usage}),
        )
        .collect();
    let mut value = json!({"source": draft.source, "lines": lines});
    for (name, member) in [
        ("reason", json!(draft.reason)),
        ("low", json!(draft.low)),
        ("high", json!(draft.high)),
    ] {
        if !member.is_null() {
            value[name] = member;
        }
    }
    value
}

/// How messages become frames.
struct Wire {
    /// Bytes pushed at a time.
    piece: usize,
    /// Frames a message is cut into, with a ping before each but the first.
    fragments: usize,
    /// One a direction.
    deflaters: Option<[Compress; 2]>,
}

impl Wire {
    fn whole() -> Self {
        Self {
            piece: usize::MAX,
            fragments: 1,
            deflaters: None,
        }
    }

    fn write(&mut self, said: &Said) -> Vec<u8> {
        let is_masked = said.from == From::Caller;
        let payload = match &mut self.deflaters {
            None => said.payload.clone(),
            Some(deflaters) => deflate(&mut deflaters[usize::from(is_masked)], &said.payload),
        };
        let opcode = if said.is_text { 1 } else { 2 };
        let first = opcode | if self.deflaters.is_some() { 0x40 } else { 0 };
        let size = payload.len().div_ceil(self.fragments).max(1);
        let mut pieces: Vec<&[u8]> = payload.chunks(size).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let mut bytes = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
            if at > 0 {
                bytes.extend(frame(0x89, b"still there", is_masked));
            }
            bytes.extend(frame(
                fin | if at == 0 { first } else { 0 },
                piece,
                is_masked,
            ));
        }
        bytes
    }
}

fn deflate(deflater: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1024);
    deflater
        .compress_vec(payload, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// One frame.
pub(super) fn frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mask_bit = if is_masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(mask_bit | len as u8),
        len @ 126..=0xffff => {
            frame.push(mask_bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(mask_bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = if is_masked {
        [0x5a, 0xc3, 0x0f, 0x91]
    } else {
        [0; 4]
    };
    if is_masked {
        frame.extend(mask);
    }
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

fn cases() -> Vec<(String, Case)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sockets");
    let mut cases = Vec::new();
    for vendor in std::fs::read_dir(root).unwrap() {
        let vendor = vendor.unwrap();
        let name = vendor.file_name().into_string().unwrap();
        for file in std::fs::read_dir(vendor.path()).unwrap() {
            cases.push((name.clone(), Case::load(&name, &file.unwrap().path())));
        }
    }
    cases.sort_by(|one, other| one.1.name.cmp(&other.1.name));
    cases
}

#[test]
fn every_socket_has_its_cases() {
    let mut seen: BTreeMap<(String, usize), Vec<String>> = BTreeMap::new();
    for (vendor, case) in cases() {
        let key = (vendor, std::ptr::from_ref(case.socket()) as usize);
        seen.entry(key).or_default().push(case.name);
    }
    for provider in ALL {
        for endpoint in provider.endpoints {
            let Some(socket) = endpoint.socket else {
                continue;
            };
            let key = (
                provider.name.to_owned(),
                std::ptr::from_ref(socket) as usize,
            );
            let names = seen.get(&key).cloned().unwrap_or_default();
            for wanted in CASES {
                let ending = format!("_{wanted}.json");
                assert!(
                    names.iter().any(|name| name.ends_with(&ending)),
                    "{} {} lacks {wanted}",
                    provider.name,
                    endpoint.path
                );
            }
        }
    }
}

#[test]
fn parts_are_what_the_session_says() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|(_, case)| {
            let (read, expected) = (case.read(Wire::whole()), case.expected());
            let show = |parts: &[Value]| json!(parts).to_string();
            let is_right = read == expected && case.parts.len() == read.len();
            (!is_right).then(|| {
                format!(
                    "{}\n     is {}\n not {}",
                    case.name,
                    show(&read),
                    show(&expected)
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn parts_are_the_same_however_frames_are_written_and_split() {
    for (_, case) in cases() {
        for piece in [1, 2, 3, 7, 1021] {
            case.check(
                "in pieces",
                Wire {
                    piece,
                    ..Wire::whole()
                },
            );
        }
        for fragments in [2, 3, 9] {
            let fragmented = Wire {
                piece: 5,
                fragments,
                ..Wire::whole()
            };
            case.check("in fragments", fragmented);
        }
        let deflaters = || {
            let one = || Compress::new(Compression::fast(), false);
            Some([one(), one()])
        };
        for (piece, fragments) in [(usize::MAX, 1), (3, 1), (11, 4)] {
            let compressed = Wire {
                piece,
                fragments,
                deflaters: deflaters(),
            };
            case.check("compressed", compressed);
        }
    }
}

/// Messages that look enough like a vendor's to get past the first check.
fn message_text() -> impl Strategy<Value = Vec<u8>> {
    let recorded: Vec<Vec<u8>> = cases()
        .into_iter()
        .flat_map(|(_, case)| case.said)
        .filter(|said| said.payload.len() < 4096)
        .map(|said| said.payload)
        .collect();
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"type\"",
        "\"usage\"",
        "null",
        "-1",
        "1e400",
        "0.5",
        "99999999999999999999",
        "\"response.done\"",
        "\"text\"",
        "\"\\ud800\"",
        "\u{feff}",
        " ",
    ]);
    let damaged = (
        prop::sample::select(recorded.clone()),
        any::<prop::sample::Index>(),
        any::<u8>(),
    )
        .prop_map(|(mut payload, at, byte)| {
            if !payload.is_empty() {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            payload
        });
    prop_oneof![
        3 => prop::sample::select(recorded),
        2 => damaged,
        1 => prop::collection::vec(words, 0..16).prop_map(|words| words.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn socket_endpoint() -> impl Strategy<Value = &'static Endpoint> {
    let sockets = ALL.iter().flat_map(|provider| provider.endpoints);
    let sockets: Vec<_> = sockets
        .filter(|endpoint| endpoint.socket.is_some())
        .collect();
    prop::sample::select(sockets)
}

proptest! {
    #[test]
    fn any_messages_are_read_without_a_panic(
        endpoint in socket_endpoint(),
        said in prop::collection::vec((any::<bool>(), any::<bool>(), message_text()), 0..24),
        query in message_text(),
    ) {
        let query = String::from_utf8_lossy(&query).into_owned();
        let asked = Asked { path: endpoint.path, query: Some(&query), ..Asked::default() };
        let mut session = Session::open(endpoint, &asked, 1_000);
        for (is_caller, is_text, payload) in said {
            let payload = String::from_utf8_lossy(&payload).replace("vk_", "k_").into_bytes();
            let from = if is_caller { From::Caller } else { From::Upstream };
            session.hear(from, &message(&Said { from, is_text, payload }));
        }
        session.end();
    }

    #[test]
    fn garbage_frames_leave_no_usage_out_of_nothing(
        endpoint in socket_endpoint(),
        garbage in prop::collection::vec(any::<u8>(), 0..256),
        pieces in 1usize..64,
    ) {
        let asked = Asked { path: endpoint.path, ..Asked::default() };
        let mut session = Session::open(endpoint, &asked, 1_000);
        let mut framing = Framing::new(None);
        for piece in garbage.chunks(pieces) {
            framing.push(piece, &mut |message| session.hear(From::Upstream, &message));
        }
        for draft in session.end() {
            prop_assert_ne!(&draft["source"], &json!("reported"));
        }
    }
}
