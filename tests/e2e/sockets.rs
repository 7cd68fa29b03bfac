//! WebSockets through the real proxy: bytes as they are, parts as rows, ends as they were.

use std::time::{Duration, Instant};

use farebox_tests::socket::{Socket, SocketUpstream};
use farebox_tests::stack::{Key, PROVIDER_CREDENTIAL, SHIPPED_MAX, Stack};
use farebox_tests::wait;
use farebox_tests::wire::{Connection, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::{Result, fresh, quantity, text, with_key};

const LISTEN: &str = "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
/// Bytes of a second of it.
const SECOND: usize = 32_000;

async fn with_upstream(name: &str, base_url: &str) -> Result<(Stack, Key)> {
    with_key(&[(&format!("upstreams.{name}.base_url"), base_url)]).await
}

fn handshake(key: &str, id: &str) -> Request {
    Request::get(LISTEN)
        .with("authorization", &format!("Token {key}"))
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .with("x-farebox-session", id)
}

async fn open(stack: &Stack, key: &Key, path: &str, id: &str) -> Result<Socket> {
    let authorization = format!("Bearer {}", key.secret);
    let headers = [
        ("authorization", authorization.as_str()),
        ("x-farebox-session", id),
    ];
    let (socket, response) = Socket::open(stack.plain, path, &headers).await?;
    let event = response.headers().get("x-farebox-event");
    assert!(event.is_some(), "{response:?}");
    Ok(socket)
}

/// Deepgram's live transcription, as far as its messages go: one result for each second, the metadata
/// when it is asked to end.
async fn deepgram() -> Result<SocketUpstream> {
    SocketUpstream::start(|mut socket: Socket, log| async move {
        let mut seconds = 0u32;
        while let Some(message) = socket.next().await {
            match message {
                Message::Binary(audio) if audio.len() == SECOND => {
                    socket
                        .json(json!({
                            "type": "Results", "channel_index": [0, 1], "start": seconds, "duration": 1.0,
                            "is_final": true, "speech_final": false,
                            "channel": {"alternatives": [{"transcript": "hi", "confidence": 0.9, "words": []}]},
                            "metadata": {"request_id": "dg-live", "model_info": {"name": "general-nova-3", "version": "v", "arch": "nova-3"}},
                        }))
                        .await?;
                    seconds += 1;
                }
                Message::Binary(_) => {}
                Message::Text(text) => {
                    log.note(text.to_string());
                    if text.contains("CloseStream") {
                        socket
                            .json(json!({
                                "type": "Metadata", "transaction_key": "deprecated", "request_id": "dg-live",
                                "sha256": "00", "created": "2026-11-22T00:00:05Z", "duration": 4.8, "channels": 1,
                            }))
                            .await?;
                        socket.close(1000, "").await?;
                    }
                }
                _ => {}
            }
        }
        log.note(format!("closed {:?}", socket.closed));
        Ok(())
    })
    .await
}

/// An upstream that accepts any handshake and sends back every byte.
async fn echo(extensions: &'static str) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{extensions}\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Ok(address)
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
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

/// `Hello` as RFC 7692 section 7.2.3.1 compresses it.
const DEFLATED: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[tokio::test]
async fn bytes_pass_as_they_are() -> Result {
    for extensions in ["", "sec-websocket-extensions: permessage-deflate\r\n"] {
        let address = echo(extensions).await?;
        let (stack, key) = with_upstream("deepgram", &format!("http://{address}")).await?;
        let id = fresh("echo");
        let mut frames = vec![
            frame(0x81, b"{\"type\":\"KeepAlive\"}"),
            frame(0x82, &[7; 70_000]),
            frame(0x01, b"in "),
            frame(0x89, b"ping between fragments"),
            frame(0x00, b"three "),
            frame(0x80, b"pieces"),
            frame(0x8a, b""),
            frame(0x82, b""),
        ];
        if !extensions.is_empty() {
            frames.push(frame(0xc1, &DEFLATED));
            frames.push(frame(0x41, &DEFLATED[..3]));
            frames.push(frame(0x80, &DEFLATED[3..]));
        }
        frames.push(frame(0x88, &[&4001u16.to_be_bytes()[..], b"bye"].concat()));
        let sent = frames.concat();

        let mut stream = TcpStream::connect(stack.plain).await?;
        stream
            .write_all(&handshake(&key.secret, &id).bytes())
            .await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        assert_eq!(
            head.contains("permessage-deflate"),
            !extensions.is_empty(),
            "{head}"
        );
        assert!(head.contains("x-farebox-event: "), "{head}");
        let (mut from, mut to) = stream.split();
        let writing = async {
            for piece in sent.chunks(1021) {
                to.write_all(piece).await?;
                to.flush().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let mut back = vec![0; sent.len()];
        let (written, read) = tokio::join!(writing, from.read_exact(&mut back));
        written?;
        read?;
        assert!(back == sent, "what came back is not what was sent");
        let mut rest = Vec::new();
        from.read_to_end(&mut rest).await?;
        assert!(rest.is_empty(), "{rest:?}");

        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        let row = &rows[0];
        assert_eq!(text(row, "ending"), "downstream_gone", "{row}");
        assert_eq!(text(row, "transport"), "websocket");
        assert_eq!(text(row, "status"), "101");
        assert_eq!(text(row, "request_bytes"), sent.len().to_string());
        assert_eq!(row["evidence"]["flags"], Value::Null, "{row}");
        assert_eq!(row["evidence"]["counts"]["audio_bytes"], json!(70_000));
    }
    Ok(())
}

#[tokio::test]
async fn a_live_transcription_is_one_priced_row() -> Result {
    let upstream = deepgram().await?;
    let (stack, key) = with_upstream("deepgram", &upstream.base_url()).await?;
    let id = fresh("live");
    let mut socket = open(&stack, &key, LISTEN, &id).await?;
    for _ in 0..4 {
        socket.binary(vec![0; SECOND]).await?;
        assert_eq!(socket.next_json().await?["type"], "Results");
    }
    let open_now = stack.metrics().await?;
    assert!(
        open_now.contains("farebox_streams_open{transport=\"websocket\"} 1"),
        "{open_now}"
    );
    socket.json(json!({"type": "CloseStream"})).await?;
    assert_eq!(socket.next_json().await?["type"], "Metadata");
    assert!(socket.next().await.is_none());
    assert_eq!(socket.closed, Some((1000, String::new())));

    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    let row = &rows[0];
    assert_eq!(text(row, "ending"), "complete", "{row}");
    assert_eq!(text(row, "usage_source"), "reported");
    assert_eq!(quantity(row, "audio_seconds"), "4.8");
    assert_eq!(text(row, "model"), "nova-3");
    assert_eq!(text(row, "pricing"), "priced");
    assert_eq!(text(row, "cost_usd"), "0.000384", "{row}");
    assert_eq!(text(row, "response_id"), "dg-live");
    assert_eq!(text(row, "upstream_request_id"), "req-socket");
    assert_eq!(row["evidence"]["counts"]["audio_bytes"], json!(4 * SECOND));
    assert!(row["evidence"]["counts"]["open_ms"].is_number(), "{row}");
    wait::eventually("no socket is open", Duration::from_secs(10), || async {
        let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
        metrics
            .contains("farebox_streams_open{transport=\"websocket\"} 0")
            .then_some(())
            .ok_or_else(|| "one is".to_owned())
    })
    .await?;
    let seen = upstream.log.seen();
    assert_eq!(seen[0].path, LISTEN.trim_start_matches("/deepgram"));
    assert_eq!(
        seen[0].header("authorization"),
        Some(&*format!("Token {PROVIDER_CREDENTIAL}"))
    );
    assert_eq!(seen[0].header("x-farebox-session"), None);
    Ok(())
}

#[tokio::test]
async fn a_realtime_session_has_a_row_for_each_response_and_one_for_its_end() -> Result {
    let upstream = SocketUpstream::start(|mut socket: Socket, _| async move {
        let session = json!({"type": "realtime", "model": "gpt-realtime-2"});
        socket.json(json!({"type": "session.created", "session": session})).await?;
        let mut number = 0;
        while let Some(Message::Text(text)) = socket.next().await {
            if !text.contains("response.create") {
                continue;
            }
            number += 1;
            socket.json(json!({"type": "response.created", "response": {"id": format!("resp_{number}")}})).await?;
            socket.json(json!({"type": "response.output_audio.delta", "delta": "QUJD"})).await?;
            socket
                .json(json!({"type": "response.done", "response": {"id": format!("resp_{number}"), "status": "completed", "usage": {
                    "total_tokens": 340, "input_tokens": 240, "output_tokens": 100,
                    "input_token_details": {"text_tokens": 100, "audio_tokens": 140, "image_tokens": 0, "cached_tokens": 128,
                        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 64, "image_tokens": 0}},
                    "output_token_details": {"text_tokens": 20, "audio_tokens": 80}}}}))
                .await?;
        }
        Ok(())
    })
    .await?;
    let (stack, _) = with_upstream("openai", &upstream.base_url()).await?;
    let tenant = fresh("talker");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let id = fresh("realtime");
    // A browser's way to send a key.
    let protocols = format!("realtime, openai-insecure-api-key.{}", key.secret);
    let headers = [
        ("sec-websocket-protocol", protocols.as_str()),
        ("x-farebox-session", &id),
    ];
    let path = "/openai/v1/realtime?model=gpt-realtime-2";
    let (mut socket, response) = Socket::open(stack.plain, path, &headers).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    assert_eq!(socket.next_json().await?["type"], "session.created");
    for number in 1..=2 {
        socket.json(json!({"type": "response.create"})).await?;
        let done = loop {
            let event = socket.next_json().await?;
            if event["type"] == "response.done" {
                break event;
            }
        };
        assert_eq!(done["response"]["id"], format!("resp_{number}"));
        // The row of a part is there while the socket goes on.
        let filter = format!("session_id = '{id}'");
        stack.rows_when(&filter, number).await?;
    }
    socket.close(1000, "done").await?;
    assert!(socket.next().await.is_none());
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 3).await?;
    for (number, row) in rows.iter().enumerate() {
        let is_last = number == 2;
        assert_eq!(text(row, "part"), (number + 1).to_string());
        assert_eq!(row["is_final"], json!(is_last), "{row}");
        assert_eq!(text(row, "call_id"), text(&rows[0], "event_id"));
        assert_eq!(
            text(row, "ending"),
            if is_last { "complete" } else { "continues" }
        );
        if !is_last {
            assert_eq!(text(row, "response_id"), format!("resp_{}", number + 1));
            assert_eq!(text(row, "cost_usd"), "0.0082272", "{row}");
        }
    }
    assert_eq!(text(&rows[2], "usage_source"), "none");
    assert_eq!(text(&rows[2], "cost_usd"), "0");
    let calls = "select sum(quantity)::text from farebox.usage_hourly where meter = 'calls' and tenant_id = $1";
    let calls: String = stack
        .sql()
        .await?
        .query_one(calls, &[&tenant])
        .await?
        .get(0);
    assert_eq!(calls, "1");
    let seen = upstream.log.seen();
    let protocols = seen[0].header("sec-websocket-protocol");
    let swapped = format!("realtime, openai-insecure-api-key.{PROVIDER_CREDENTIAL}");
    assert_eq!(protocols, Some(swapped.as_str()));
    assert_eq!(seen[0].header("authorization"), None);
    Ok(())
}

#[tokio::test]
async fn a_revoked_keys_socket_is_cut_and_its_vendor_says_the_count() -> Result {
    let upstream = deepgram().await?;
    let (stack, _) = with_upstream("deepgram", &upstream.base_url()).await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let id = fresh("cut");
    let mut socket = open(&stack, &key, LISTEN, &id).await?;
    socket.binary(vec![0; SECOND]).await?;
    assert_eq!(socket.next_json().await?["type"], "Results");
    let since = Instant::now();
    stack.done(&["key", "revoke", key.prefix()])?;
    let last = socket.next_json().await?;
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("Error"), &json!("revoked_key"))
    );
    assert!(socket.next().await.is_none());
    assert_eq!(socket.closed, Some((1008, "revoked_key".to_owned())));
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    let row = &rows[0];
    assert_eq!(text(row, "ending"), "cut", "{row}");
    assert_eq!(text(row, "usage_source"), "reported", "{row}");
    assert_eq!(quantity(row, "audio_seconds"), "4.8");
    let notes = &upstream.log.seen()[0].notes;
    assert_eq!(notes[0], r#"{"type":"CloseStream"}"#, "{notes:?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_proxys_socket_has_its_last_checkpoint() -> Result {
    let upstream = deepgram().await?;
    let settings = [
        ("upstreams.deepgram.base_url", upstream.base_url()),
        ("proxy.socket_settle_seconds", "1".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (mut stack, key) = with_key(&settings).await?;
    let id = fresh("killed");
    let mut socket = open(&stack, &key, LISTEN, &id).await?;
    socket.binary(vec![0; SECOND]).await?;
    assert_eq!(socket.next_json().await?["type"], "Results");
    let spool = stack.spool();
    let needle = format!("\"audio_bytes\":{SECOND}");
    wait::eventually("a checkpoint in the spool", SHIPPED_MAX, || async {
        let files = std::fs::read_dir(&spool).map_err(|error| error.to_string())?;
        let has_it = files
            .flatten()
            .filter_map(|file| std::fs::read(file.path()).ok())
            .any(|bytes| {
                bytes
                    .windows(needle.len())
                    .any(|window| window == needle.as_bytes())
            });
        wait::holds(has_it, "none yet")
    })
    .await?;
    stack.proxy()?.kill();
    stack.start_proxy().await?;
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    let row = &rows[0];
    assert_eq!(text(row, "ending"), "interrupted", "{row}");
    assert_eq!(text(row, "usage_source"), "partial");
    assert_eq!(text(row, "usage_reason"), "interrupted");
    assert_eq!(quantity(row, "audio_seconds"), "1", "{row}");
    assert_eq!(text(&row["usage_low"], "audio_seconds"), "1");
    assert_eq!(text(&row["usage_high"], "audio_seconds"), "2", "{row}");
    Ok(())
}

#[tokio::test]
async fn ends_are_told_apart() -> Result {
    // What the upstream does is in the first message.
    let upstream = SocketUpstream::start(|mut socket: Socket, log| async move {
        let Some(Message::Text(order)) = socket.next().await else {
            return Ok(());
        };
        match order.strip_prefix("close ").map(str::parse) {
            Some(code) => socket.close(code?, "said so").await?,
            None if order == "hang up" => return Ok(()),
            None => {}
        }
        while socket.next().await.is_some() {}
        log.note(format!("closed {:?}", socket.closed));
        Ok(())
    })
    .await?;
    let (stack, key) = with_upstream("deepgram", &upstream.base_url()).await?;
    for (order, own_close, ending, closed) in [
        ("close 1000", None, "complete", Some(1000)),
        ("close 1001", None, "complete", Some(1001)),
        ("close 1011", None, "upstream_failed", Some(1011)),
        ("close 4008", None, "upstream_failed", Some(4008)),
        ("hang up", None, "upstream_failed", None),
        ("wait", Some(1000), "complete", Some(1000)),
        ("wait", Some(1001), "complete", Some(1001)),
        ("wait", Some(4000), "downstream_gone", Some(4000)),
        ("wait", None, "downstream_gone", None),
    ] {
        let id = fresh("end");
        let mut socket = open(&stack, &key, LISTEN, &id).await?;
        socket.text(order).await?;
        match (order, own_close) {
            (_, Some(code)) => {
                socket.close(code, "").await?;
                assert!(socket.next().await.is_none());
                assert_eq!(socket.closed.as_ref().map(|(code, _)| *code), closed);
            }
            ("wait", None) => socket.hang_up(),
            _ => {
                assert!(socket.next().await.is_none());
                assert_eq!(
                    socket.closed.as_ref().map(|(code, _)| *code),
                    closed,
                    "{order}"
                );
            }
        }
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        assert_eq!(
            text(&rows[0], "ending"),
            ending,
            "{order} {own_close:?}: {}",
            rows[0]
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_refused_before_the_switch_is_plain_http() -> Result {
    let (stack, key) = with_key(&[]).await?;
    let id = fresh("refused");
    for (request, status, code) in [
        (handshake("vk_WRONG", &id), 401, "invalid_key"),
        (
            Request::get("/openai/v1/models")
                .bearer(&key.secret)
                .with("connection", "Upgrade")
                .with("upgrade", "websocket")
                .with("sec-websocket-version", "13")
                .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            400,
            "bad_handshake",
        ),
        (
            Request::get(LISTEN)
                .bearer(&key.secret)
                .with("connection", "Upgrade")
                .with("upgrade", "websocket")
                .with("sec-websocket-version", "13")
                .with("sec-websocket-key", "short"),
            400,
            "bad_handshake",
        ),
        (
            Request::get("/deepgram/v9/unheard")
                .bearer(&key.secret)
                .with("connection", "Upgrade")
                .with("upgrade", "websocket")
                .with("sec-websocket-version", "13")
                .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            404,
            "unknown_route",
        ),
    ] {
        let answer = Connection::open(stack.plain).await?.send(&request).await?;
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert_eq!(answer.header("x-farebox-error"), Some(code));
    }
    // An upstream that does not switch is heard as it is.
    let refusing = handshake(&key.secret, &id).with("x-replay", "refuse");
    let answer = Connection::open(stack.plain).await?.send(&refusing).await?;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.header("retry-after"), Some("7"));
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(
        text(&rows[0], "ending"),
        "refused_by_upstream",
        "{}",
        rows[0]
    );
    assert_eq!(text(&rows[0], "transport"), "http");
    assert_eq!(text(&rows[0], "usage_source"), "none");
    Ok(())
}

#[tokio::test]
async fn a_draining_proxy_cuts_a_socket_and_says_why() -> Result {
    let upstream = deepgram().await?;
    let settings = [
        ("upstreams.deepgram.base_url", upstream.base_url()),
        ("proxy.drain_seconds", "0".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (mut stack, key) = with_key(&settings).await?;
    let id = fresh("drained");
    let mut socket = open(&stack, &key, LISTEN, &id).await?;
    socket.binary(vec![0; SECOND]).await?;
    assert_eq!(socket.next_json().await?["type"], "Results");
    stack.proxy()?.signal("TERM")?;
    assert_eq!(socket.next_json().await?["code"], "draining");
    assert!(socket.next().await.is_none());
    assert_eq!(socket.closed, Some((1008, "draining".to_owned())));
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(text(&rows[0], "ending"), "cut", "{}", rows[0]);
    assert_eq!(quantity(&rows[0], "audio_seconds"), "4.8");
    Ok(())
}

#[tokio::test]
async fn an_unlisted_socket_follows_the_policy_for_unknown_routes() -> Result {
    let upstream = deepgram().await?;
    let settings = [
        ("upstreams.deepgram.base_url", upstream.base_url()),
        ("proxy.unknown_routes", "forward".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (stack, key) = with_key(&settings).await?;
    let id = fresh("unlisted");
    let mut socket = open(&stack, &key, "/deepgram/v9/unheard", &id).await?;
    socket.binary(vec![0; SECOND]).await?;
    assert_eq!(socket.next_json().await?["type"], "Results");
    socket.close(1000, "").await?;
    assert!(socket.next().await.is_none());
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(text(&rows[0], "usage_source"), "missing");
    assert_eq!(text(&rows[0], "usage_reason"), "unknown_route");
    assert_eq!(text(&rows[0], "transport"), "websocket");
    Ok(())
}
