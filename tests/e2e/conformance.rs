//! WebSocket conformance: the cases of the Autobahn suite, through Farebox and without it. Whatever a caller
//! sends, an endpoint behind Farebox sees the same bytes and the caller sees the same bytes of it, to the end.

use std::net::SocketAddr;

use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::Request;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::{Result, fresh, with_key};

const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// A first byte without FIN.
const MORE: u8 = 0x7f;

/// A frame's head and payload, masked as a caller's are, or not.
fn frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let mask_bit = if is_masked { 0x80 } else { 0 };
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
    if !is_masked {
        frame.extend(payload);
        return frame;
    }
    let mask = [0x5a, 0xc3, 0x0f, 0x91];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

fn close(code: u16, reason: &[u8]) -> (u8, Vec<u8>) {
    (CLOSE, [&code.to_be_bytes()[..], reason].concat())
}

/// One case: what is sent, frame by frame.
struct Case {
    name: String,
    frames: Vec<(u8, Vec<u8>)>,
}

/// The suite's sections 1 to 7 and 9; compression (12, 13) has its own test.
fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name: String, frames: Vec<(u8, Vec<u8>)>| all.push(Case { name, frames });
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 262_144, 1_048_576] {
        add(format!("1/9 text of {len}"), vec![(TEXT, vec![b'*'; len])]);
        add(
            format!("1/9 binary of {len}"),
            vec![(BINARY, vec![0xfe; len])],
        );
    }
    for (name, payload) in [
        ("empty", vec![]),
        ("text", b"Hello".to_vec()),
        ("bytes", vec![0, 255, 254, 253]),
        ("full", vec![0xfe; 125]),
        ("too long", vec![0xfe; 126]),
    ] {
        add(format!("2 ping, {name}"), vec![(PING, payload.clone())]);
        add(
            format!("2 pong nobody asked for, {name}"),
            vec![(PONG, payload)],
        );
    }
    add(
        "2 ten pings".into(),
        (0..10).map(|n| (PING, vec![n])).collect(),
    );
    for bits in [0x40, 0x20, 0x10, 0x70] {
        for (what, first) in [("text", TEXT), ("ping", PING), ("close", CLOSE)] {
            add(
                format!("3 reserved bits {bits:#x} of a {what}"),
                vec![(TEXT, b"before".to_vec()), (first | bits, vec![])],
            );
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(
            format!("4 opcode {opcode}"),
            vec![
                (TEXT, b"before".to_vec()),
                (0x80 | opcode, vec![]),
                (PING, vec![]),
            ],
        );
        add(
            format!("4 opcode {opcode} with a payload"),
            vec![(0x80 | opcode, b"payload".to_vec())],
        );
    }
    add(
        "5 a ping in fragments".into(),
        vec![(PING & MORE, b"one".to_vec()), (0x80, b"two".to_vec())],
    );
    add(
        "5 a text in fragments".into(),
        vec![(TEXT & MORE, b"one ".to_vec()), (0x80, b"two".to_vec())],
    );
    add(
        "5 a ping between fragments".into(),
        vec![
            (TEXT & MORE, b"one ".to_vec()),
            (PING, b"ping".to_vec()),
            (0x00, vec![]),
            (0x80, b"two".to_vec()),
        ],
    );
    add(
        "5 empty fragments".into(),
        vec![(BINARY & MORE, vec![]), (0x00, vec![]), (0x80, vec![])],
    );
    add(
        "5 a continuation of nothing".into(),
        vec![(0x80, b"what".to_vec()), (TEXT, b"after".to_vec())],
    );
    add(
        "5 a continuation of nothing that goes on".into(),
        vec![(0x00, b"what".to_vec()), (TEXT, b"after".to_vec())],
    );
    add(
        "5 a text inside a text".into(),
        vec![(TEXT & MORE, b"one".to_vec()), (TEXT, b"two".to_vec())],
    );
    add(
        "5 a close inside a text".into(),
        vec![(TEXT & MORE, b"one".to_vec()), close(1000, b"")],
    );
    add(
        "5 many fragments".into(),
        std::iter::once((TEXT & MORE, vec![b'a'; 64]))
            .chain((0..1000).map(|_| (0x00, vec![b'b'; 64])))
            .chain([(0x80, vec![])])
            .collect(),
    );
    for (name, bytes) in [
        ("good", "Hello-µ@ßöäüàá-UTF-8!! 👋".as_bytes().to_vec()),
        ("cut off", b"\xce\xba\xe1\xbd".to_vec()),
        ("a surrogate", b"a\xed\xa0\x80b".to_vec()),
        ("overlong", b"a\xc0\xafb".to_vec()),
        ("beyond the last", b"\xf4\x90\x80\x80".to_vec()),
        ("a lone continuation", b"\x80".to_vec()),
        ("the last", b"\xf4\x8f\xbf\xbf".to_vec()),
        ("noncharacters", b"\xef\xbf\xbe\xef\xbf\xbf".to_vec()),
    ] {
        let middle = bytes.len() / 2;
        add(format!("6 UTF-8 {name}"), vec![(TEXT, bytes.clone())]);
        add(
            format!("6 UTF-8 {name}, cut in two"),
            vec![
                (TEXT & MORE, bytes[..middle].to_vec()),
                (0x80, bytes[middle..].to_vec()),
            ],
        );
        add(format!("7 close, reason {name}"), vec![close(1000, &bytes)]);
    }
    add("7 close without a code".into(), vec![(CLOSE, vec![])]);
    add("7 close with half a code".into(), vec![(CLOSE, vec![3])]);
    add(
        "7 close, longest reason".into(),
        vec![close(1000, &[b'r'; 123])],
    );
    add(
        "7 close, reason too long".into(),
        vec![close(1000, &[b'r'; 124])],
    );
    add(
        "7 a text after the close".into(),
        vec![close(1000, b""), (TEXT, b"after".to_vec())],
    );
    add(
        "7 a ping after the close".into(),
        vec![close(1000, b""), (PING, vec![])],
    );
    for code in [
        0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
        1014, 1015, 1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535,
    ] {
        add(format!("7 close {code}"), vec![close(code, b"why")]);
    }
    all
}

/// What is no frame of a list: heads that lie.
fn broken_heads() -> Vec<Case> {
    let raw: [(&str, &[u8]); 5] = [
        (
            "a length with the top bit set",
            &[BINARY, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5],
        ),
        (
            "a length longer than it needs to be",
            &[BINARY, 0xfe, 0, 1, 1, 2, 3, 4, 5],
        ),
        (
            "a length in eight bytes longer than it needs to be",
            &[BINARY, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5],
        ),
        ("no mask", &[TEXT, 1, b'a']),
        ("no frames at all", b"GET / HTTP/1.1\r\n\r\n"),
    ];
    raw.into_iter()
        .map(|(name, bytes)| Case {
            name: name.to_owned(),
            frames: vec![(0, bytes.to_vec())],
        })
        .collect()
}

fn bytes_of(case: &Case, is_masked: bool, is_raw: bool) -> Vec<u8> {
    let each = |(first, payload): &(u8, Vec<u8>)| {
        if is_raw {
            payload.clone()
        } else {
            frame(*first, payload, is_masked)
        }
    };
    case.frames.iter().flat_map(each).collect()
}

/// All cases as bytes, for one direction.
fn all(is_masked: bool) -> Vec<(String, Vec<u8>)> {
    let framed = cases()
        .into_iter()
        .map(|case| (case.name.clone(), bytes_of(&case, is_masked, false)));
    let broken = broken_heads()
        .into_iter()
        .map(|case| (case.name.clone(), bytes_of(&case, is_masked, true)));
    framed.chain(broken).collect()
}

/// An upstream that switches and then does what the query says: `echo` is a real endpoint that sends each
/// message back, `say` sends the bytes of a case, `hear` sends back a sum over the raw bytes it got.
async fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

async fn serve(mut stream: TcpStream) -> Result {
    stream.set_nodelay(true)?;
    let head = read_head(&mut stream).await?;
    let parameter = |name: &str| {
        let start = head.find(&format!("{name}="))? + name.len() + 1;
        head[start..].split(['&', ' ']).next()
    };
    let accept = derive_accept_key(NONCE.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    match parameter("mode") {
        Some("echo") => {
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await?;
                }
            }
            // What it has to say of a broken frame goes out, and nothing unread makes a reset of it.
            let _ = socket.close(None).await;
            end(socket.get_mut()).await?;
        }
        Some("say") => {
            let number: usize = parameter("case").unwrap_or_default().parse()?;
            let bytes = all(false).swap_remove(number).1;
            for piece in bytes.chunks(40_000) {
                stream.write_all(piece).await?;
            }
            end(&mut stream).await?;
        }
        _ => {
            let mut heard = vec![0; parameter("len").unwrap_or_default().parse()?];
            stream.read_exact(&mut heard).await?;
            stream
                .write_all(format!("{}", checksum(&heard)).as_bytes())
                .await?;
            end(&mut stream).await?;
        }
    }
    Ok(())
}

/// Says that no more comes, and waits until the other side has hung up too.
async fn end(stream: &mut TcpStream) -> Result {
    stream.shutdown().await?;
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Opens a socket without a library, so that anything can be sent.
async fn open(address: SocketAddr, path: &str, authorization: &str, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = Request::get(path)
        .with("authorization", authorization)
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", NONCE)
        .with("x-farebox-session", id);
    stream.write_all(&request.bytes()).await?;
    let head = read_head(&mut stream).await?;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok(stream)
}

/// Where a case is sent.
struct Way<'a> {
    address: SocketAddr,
    prefix: &'a str,
    authorization: String,
    id: String,
}

impl Way<'_> {
    async fn open(&self, query: &str) -> Result<TcpStream> {
        let path = format!(
            "{}/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&{query}",
            self.prefix
        );
        open(self.address, &path, &self.authorization, &self.id).await
    }
}

/// Sends bytes, then the close that ends what is still open; everything that comes back until the end.
async fn talk(mut stream: TcpStream, sent: &[u8]) -> Result<Vec<u8>> {
    let (mut from, mut to) = stream.split();
    let last = frame(CLOSE, &1000_u16.to_be_bytes(), true);
    let writing = async {
        for piece in sent.chunks(50_000).chain([last.as_slice()]) {
            // An endpoint that has had enough hangs up.
            if to.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut heard = Vec::new();
        // A reset behind the last bytes is an end too.
        let _ = from.read_to_end(&mut heard).await;
        heard
    };
    let both = async { tokio::join!(writing, reading).1 };
    Ok(tokio::time::timeout(farebox_tests::stack::SHIPPED_MAX, both).await?)
}

fn ways(stack: &Stack, key: &Key, upstream: SocketAddr) -> [Way<'static>; 2] {
    [
        Way {
            address: upstream,
            prefix: "",
            authorization: "Token direct".to_owned(),
            id: String::new(),
        },
        Way {
            address: stack.plain,
            prefix: "/deepgram",
            authorization: format!("Token {}", key.secret),
            id: fresh("conformance"),
        },
    ]
}

async fn start() -> Result<(Stack, Key, SocketAddr)> {
    let upstream = upstream().await?;
    let (stack, key) =
        with_key(&[("upstreams.deepgram.base_url", &format!("http://{upstream}"))]).await?;
    Ok((stack, key, upstream))
}

#[tokio::test]
async fn an_endpoint_behaves_as_if_farebox_were_not_there() -> Result {
    let (stack, key, upstream) = start().await?;
    let [direct, ours] = ways(&stack, &key, upstream);
    let mut differences = Vec::new();
    let all = all(true);
    for (name, sent) in &all {
        let expected = talk(direct.open("mode=echo").await?, sent).await?;
        let seen = talk(ours.open("mode=echo").await?, sent).await?;
        assert!(!expected.is_empty(), "{name}: the endpoint said nothing");
        if seen != expected {
            let show = |bytes: &[u8]| {
                format!(
                    "{} bytes, the last {:x?}",
                    bytes.len(),
                    &bytes[bytes.len().saturating_sub(12)..]
                )
            };
            differences.push(format!(
                "{name}: {} is not {}",
                show(&seen),
                show(&expected)
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {}: {differences:#?}",
        differences.len(),
        all.len()
    );
    // Each of them is in the ledger.
    stack
        .rows_when(
            &format!("session_id = '{}' and is_final", ours.id),
            all.len(),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn whatever_a_caller_sends_arrives_byte_for_byte() -> Result {
    let (stack, key, upstream) = start().await?;
    let [_, ours] = ways(&stack, &key, upstream);
    for (name, sent) in all(true) {
        let mut stream = ours.open(&format!("mode=hear&len={}", sent.len())).await?;
        stream.write_all(&sent).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        assert_eq!(heard, checksum(&sent).to_string(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn whatever_an_upstream_sends_arrives_byte_for_byte() -> Result {
    let (stack, key, upstream) = start().await?;
    let [_, ours] = ways(&stack, &key, upstream);
    for (number, (name, sent)) in all(false).into_iter().enumerate() {
        let mut stream = ours.open(&format!("mode=say&case={number}")).await?;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(
            heard == sent,
            "{name}: {} bytes are not {}",
            heard.len(),
            sent.len()
        );
    }
    Ok(())
}
