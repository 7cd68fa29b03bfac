//! Sockets whose frames and messages are not what they should be: the caller gets every byte, and the row says
//! how its quantity is known.

use std::net::SocketAddr;

use farebox_tests::measure::Family;
use farebox_tests::stack::Stack;
use farebox_tests::wire::{Connection, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::GROWTH_MAX;
use crate::sockets::frame;
use crate::{Result, fresh, text, with_key};

const LISTEN: &str = "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
const REALTIME: &str = "/openai/v1/realtime?model=gpt-realtime";
/// Bytes of a second of what is listened to.
const SECOND: usize = 32_000;
/// More than a reader holds of one message.
const LONG: usize = 20 * 1024 * 1024;

/// What an upstream says on a socket, and what its rows tell.
struct Case {
    name: &'static str,
    path: &'static str,
    said: Vec<u8>,
    /// Source, reason and quantities of each row that is about something.
    told: (&'static str, &'static str, Value),
}

/// An upstream's frame, whatever it is of.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    frame
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(len)
    .collect()
}

fn cases() -> Vec<Case> {
    let heard = |name, said| Case {
        name,
        path: LISTEN,
        said,
        told: (
            "measured",
            "no_final_metadata",
            json!({"audio_seconds": "1"}),
        ),
    };
    let text = |text: &str| unmasked(0x81, text.as_bytes());
    let metadata = |duration: &str| {
        text(&format!(
            r#"{{"type":"Metadata","request_id":"r","duration":{duration},"channels":1}}"#
        ))
    };
    let done = |usage: &str| {
        text(&format!(
            r#"{{"type":"response.done","response":{{"id":"r","status":"completed","usage":{usage}}}}}"#
        ))
    };
    let answered = |name, said, told| Case {
        name,
        path: REALTIME,
        said,
        told,
    };
    let unknown = || ("missing", "no_usage_in_answer", json!({}));
    vec![
        heard("bits that are reserved", unmasked(0xf1, b"hello")),
        heard("an opcode of nobody", unmasked(0x83, b"hello")),
        heard(
            "a length beyond all",
            vec![
                0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2,
            ],
        ),
        heard(
            "a length below zero",
            vec![
                0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2,
            ],
        ),
        heard(
            "a masked frame from a server",
            frame(0x81, b"{\"type\":\"Metadata\"}"),
        ),
        heard("a text that is none", unmasked(0x81, &[0xff, 0xfe, 0xfd])),
        heard("a text that is no JSON", text("{\"type\":")),
        heard(
            "a message that never ends",
            unmasked(0x01, b"{\"type\":\"Results\""),
        ),
        heard("an end of nothing", unmasked(0x80, b"}")),
        heard("a ping of a thousand bytes", unmasked(0x89, &[7; 1000])),
        heard("nothing but noise", noise(64 * 1024)),
        heard(
            "a message without an end",
            unmasked(0x81, &vec![b' '; LONG]),
        ),
        heard("a duration that is a text", metadata("\"4.5\"")),
        heard("a duration below zero", metadata("-3")),
        heard("a duration beyond all", metadata("1e300")),
        heard("a duration of nothing", metadata("null")),
        answered("a usage that is a text", done("\"12\""), unknown()),
        answered("a usage without counts", done("{}"), unknown()),
        answered(
            "a count below zero",
            done(r#"{"input_tokens":-5,"output_tokens":3}"#),
            (
                "reported",
                "negative_clamped",
                json!({"input_tokens": "0", "output_tokens": "3"}),
            ),
        ),
        answered(
            "a count beyond numbers",
            done(r#"{"input_tokens":1e300,"output_tokens":3}"#),
            ("partial", "count_not_read", json!({"output_tokens": "3"})),
        ),
    ]
}

/// Switches, hears what the caller sends, says what the case says and is gone.
async fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                let head = connection.head().await?.ok_or("no handshake")?;
                let name = head.header("x-case").unwrap_or_default();
                let cases = cases();
                let case = cases
                    .iter()
                    .find(|case| case.name == name)
                    .ok_or("no such case")?;
                connection
                    .write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                    .await?;
                let mut heard = Vec::new();
                while heard.len() < spoken(case.path).len() && connection.more(&mut heard).await? {}
                connection.write(&case.said).await?;
                Result::Ok(())
            });
        }
    });
    Ok(address)
}

/// What the caller says first.
fn spoken(path: &str) -> Vec<u8> {
    match path {
        LISTEN => frame(0x82, &[0; SECOND]),
        _ => frame(0x81, br#"{"type":"response.create"}"#),
    }
}

/// All that came to the caller behind the handshake.
async fn heard(stack: &Stack, request: &Request, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(stack.plain).await?;
    stream.write_all(&request.bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    stream.write_all(&spoken(path)).await?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(all)
}

#[tokio::test]
async fn no_socket_makes_a_quantity_silently_zero() -> Result {
    let base_url = format!("http://{}", upstream().await?);
    let (mut stack, key) = with_key(&[
        ("upstreams.deepgram.base_url", &base_url),
        ("upstreams.openai.base_url", &base_url),
    ])
    .await?;
    let proxy = Family::of(stack.proxy()?.pid());
    let before = proxy.peak_resident_bytes()?;
    let run = fresh("hostile-socket");
    let mut wrong = Vec::new();
    for case in cases() {
        let id = format!("{run} {}", case.name);
        let handshake = Request::get(case.path)
            .bearer(&key.secret)
            .with("connection", "Upgrade")
            .with("upgrade", "websocket")
            .with("sec-websocket-version", "13")
            .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .with("x-case", case.name)
            .with("x-farebox-session", &id);
        let all = heard(&stack, &handshake, case.path).await?;
        assert!(
            all == case.said,
            "{}: {} of {} bytes",
            case.name,
            all.len(),
            case.said.len()
        );
        let ended = format!("session_id = '{id}' and is_final");
        stack.rows_when(&ended, 1).await?;
        let rows = stack
            .rows(&format!("session_id = '{id}' and usage_source <> 'none'"))
            .await?;
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    text(row, "usage_source"),
                    text(row, "usage_reason"),
                    row["usage"].clone(),
                )
            })
            .collect();
        let (source, reason, quantities) = case.told;
        if told != [(source.to_owned(), reason.to_owned(), quantities)] {
            wrong.push(format!("{}: {told:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let grown = proxy.peak_resident_bytes()?.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the proxy grew by {grown} bytes");
    Ok(())
}
