//! Nobody but the configuration says where a call goes: whatever a caller writes, the proxy connects to
//! the configured upstream or to nothing, and follows no redirect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farebox_tests::wire::{Connection, Request};
use tokio::net::TcpListener;

use crate::{Result, chat, chat_body, fresh, with_key};

/// Longest answer to one try.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A listener that nobody should reach; how many did.
async fn trap() -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    Ok((address, reached))
}

/// An upstream that sends every call elsewhere; the requests it got.
async fn elsewhere(trap: SocketAddr) -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                while let Ok(Some(_)) = connection.request().await {
                    let status =
                        [301, 302, 303, 307, 308][count.fetch_add(1, Ordering::SeqCst) % 5];
                    let answer = format!(
                        "HTTP/1.1 {status} Elsewhere\r\nlocation: http://{trap}/stolen\r\ncontent-length: 0\r\n\r\n"
                    );
                    if connection.write(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok((address, asked))
}

#[tokio::test]
async fn a_caller_cannot_choose_where_a_call_goes() -> Result {
    let (trap, reached) = trap().await?;
    let (stack, key) = with_key(&[]).await?;
    let host = trap.to_string();
    let targets = [
        format!("http://{host}/openai/v1/chat/completions"),
        format!("http://{host}/v1/chat/completions"),
        format!("//{host}/openai/v1/chat/completions"),
        format!("/http://{host}/v1/chat/completions"),
        format!("/http:%2f%2f{host}/v1/chat/completions"),
        format!("/{host}/v1/chat/completions"),
        format!("/openai/http://{host}/v1/chat/completions"),
        format!("/openai/@{host}/v1/chat/completions"),
        format!("/openai@{host}/v1/chat/completions"),
        format!("/openai/..//{host}/v1/chat/completions"),
        format!("/openai//{host}/v1/chat/completions"),
        format!("/openai/%2e%2e/%2f%2f{host}/"),
        format!("/openai\\@{host}/v1/chat/completions"),
        format!("/openai/v1/chat/completions?base_url=http://{host}&url=http://{host}"),
        format!("/openai/v1/chat/completions?farebox-upstream=http://{host}"),
        format!("/openai/v1/chat/completions#@{host}/"),
        format!("/t/acme/http://{host}/v1/chat/completions"),
        format!("/s/{host}/openai/v1/chat/completions"),
        "/openai/v1/../../../v1/models".to_owned(),
    ];
    let body = chat_body(false);
    let mut tries: Vec<String> = targets
        .iter()
        .map(|target| format!("POST {target} HTTP/1.1\r\nhost: localhost\r\n"))
        .collect();
    let own = "POST /openai/v1/chat/completions HTTP/1.1\r\n";
    tries.push(format!("{own}host: {host}\r\n"));
    for name in [
        "x-forwarded-host",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-farebox-upstream",
        "x-farebox-base-url",
        "helicone-target-url",
        "proxy-authorization",
        "x-real-ip",
    ] {
        tries.push(format!(
            "{own}host: localhost\r\n{name}: http://{host}/\r\n"
        ));
    }
    tries.push(format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n"));
    for head in &tries {
        let request = format!(
            "{head}authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            key.secret,
            body.len()
        );
        let mut connection = Connection::open(stack.plain).await?;
        connection.write(request.as_bytes()).await?;
        // Refused, or answered by the configured upstream: either way there is an answer or an end.
        let answer = tokio::time::timeout(ANSWER_MAX, connection.answer()).await?;
        if let Ok(answer) = answer {
            assert_ne!(
                answer.status(),
                502,
                "{head}: it tried to connect somewhere"
            );
        }
        assert_eq!(reached.load(Ordering::SeqCst), 0, "{head}");
    }
    // What did go up went to the configured upstream, without anything of ours.
    for call in stack.replay.calls() {
        for (name, value) in &call.headers {
            assert!(!name.starts_with("x-farebox-"), "{name}: {value}");
            assert!(!value.contains(&key.secret), "{name}");
        }
    }
    // It still serves.
    assert_eq!(
        stack.send(&chat(&key, &fresh("after"))).await?.status(),
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_redirect_is_the_callers_and_is_never_followed() -> Result {
    let (trap, reached) = trap().await?;
    let (upstream, asked) = elsewhere(trap).await?;
    let base_url = format!("http://{upstream}");
    let settings = [
        ("upstreams.openai.base_url", base_url.as_str()),
        ("upstreams.deepgram.base_url", base_url.as_str()),
    ];
    let (stack, key) = with_key(&settings).await?;
    for turn in 1..=5 {
        let answer = stack.send(&chat(&key, &fresh("redirect"))).await?;
        assert!(
            (301..=308).contains(&answer.status()),
            "{}",
            answer.status()
        );
        assert_eq!(
            answer.header("location"),
            Some(format!("http://{trap}/stolen").as_str())
        );
        assert_eq!(asked.load(Ordering::SeqCst), turn);
    }
    // Neither is that of a handshake.
    let socket = Request::get("/deepgram/v1/listen?model=nova-3")
        .bearer(&key.secret)
        .with("connection", "upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = stack.send(&socket).await?;
    assert_ne!(answer.status(), 101, "{}", answer.text());
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    Ok(())
}
