//! What was said in a call, and every secret, stays out of spool, logs, tables and metrics.

use farebox_tests::corpus::{Corpus, Piece, RUN_HEADER, Script};
use farebox_tests::exchange;
use farebox_tests::leftovers::Leftovers;
use farebox_tests::socket::{Socket, SocketUpstream};
use farebox_tests::stack::{PROVIDER_CREDENTIAL, Stack};
use farebox_tests::wire::Request;
use serde_json::json;

use crate::{Result, fresh, with_key};

const SAID: &str = "canary-of-what-was-said-91c4";

#[tokio::test]
async fn nothing_that_was_said_and_no_secret_is_kept_anywhere() -> Result {
    let (mut stack, key) = with_key(&[("spool.ship_records_max", "1000")]).await?;
    let body = |is_stream: bool| {
        format!(
            r#"{{"model":"gpt-4o-mini","stream":{is_stream},"user":"{SAID}","messages":[{{"role":"user","content":"{SAID}"}}]}}"#
        )
    };
    let path = "/openai/v1/chat/completions";
    for manner in ["", "cut", "fail", "error-event", "bad-chunk"] {
        for is_stream in [false, true] {
            let request = Request::post(path, body(is_stream))
                .bearer(&key.secret)
                .with("x-replay", manner)
                .with("x-replay-id", &fresh("c"));
            // Whatever the answer is: it must leave no trace of what was said.
            let _ = stack.send(&request).await;
        }
    }
    // A body that is no JSON, an upstream that does not exist, a key that is wrong.
    let _ = stack
        .send(&Request::post(path, SAID).bearer(&key.secret))
        .await?;
    let _ = stack
        .send(&Request::post(&format!("/nowhere/{SAID}"), SAID).bearer(&key.secret))
        .await?;
    let wrong = "vk_WRONGWRONGWRONGWRONGWRONGWRONG22";
    assert_eq!(
        stack
            .send(&Request::post(path, SAID).bearer(wrong))
            .await?
            .status(),
        401
    );
    stack.rows_when("true", stack.replay.count()).await?;
    look_through(&mut stack, &[key.secret.as_str(), wrong]).await
}

/// An upstream that says what it is told in the middle of everything it says.
fn talkative(form: &str, is_complete: bool) -> Script {
    let event = |data: &str| Piece::visible(format!("data: {data}\n\n").into_bytes());
    let (status, content_type, pieces) = match form {
        "stream" => (
            200,
            "text/event-stream",
            vec![
                event(&format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":"{SAID}"}}}}]}}"#)),
                event(&format!(r#"{{"id":"c","choices":[],"usage":{{"prompt_tokens":3,"note":"{SAID} {SAID} {SAID}","completion_tokens":2}}}}"#)),
                event("[DONE]"),
            ],
        ),
        "error" => (400, "application/json", vec![Piece::visible(format!(r#"{{"error":{{"message":"{SAID}"}}}}"#).into_bytes())]),
        "no JSON" => (200, "application/json", vec![Piece::visible(SAID.as_bytes().to_vec())]),
        _ => (
            200,
            "application/json",
            vec![Piece::visible(
                format!(r#"{{"id":"c","model":"m","choices":[{{"message":{{"content":"{SAID}"}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":2}},"{SAID}":1}}"#)
                    .into_bytes(),
            )],
        ),
    };
    Script {
        status,
        headers: vec![
            ("content-type".to_owned(), content_type.to_owned()),
            ("x-said".to_owned(), SAID.to_owned()),
        ],
        pieces,
        is_chunked: true,
        is_complete,
    }
}

#[tokio::test]
async fn nothing_of_an_answer_an_upload_or_a_socket_is_kept_anywhere() -> Result {
    let corpus = Corpus::start().await?;
    let sockets = SocketUpstream::start(|mut socket: Socket, _| async move {
        while socket.next().await.is_some() {
            socket
                .json(json!({"type": "Results", "start": 0, "duration": 1.0, "channel_index": [0, 1],
                             "channel": {"alternatives": [{"transcript": SAID}]}, "metadata": {"request_id": "r"}}))
                .await?;
        }
        Ok(())
    })
    .await?;
    let settings = [
        (
            "upstreams.openai.base_url",
            format!("http://{}", corpus.address),
        ),
        ("upstreams.deepgram.base_url", sockets.base_url()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (mut stack, key) = with_key(&settings).await?;
    let limit = std::fs::read_to_string(format!("/proc/{}/limits", stack.proxy()?.pid()))?;
    let core = limit
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap_or_default();
    let bounds: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(
        bounds,
        ["0", "0"],
        "the proxy's memory could be dumped: {core}"
    );

    let mut calls = 0;
    for form in ["stream", "error", "no JSON", "whole"] {
        for is_complete in [true, false] {
            let id = fresh("said");
            let run = corpus.play(&id, talkative(form, is_complete), |_, script| {
                script.clone()
            });
            let body = format!(
                r#"{{"model":"m","stream":{},"messages":[]}}"#,
                form == "stream"
            );
            let request = Request::post("/openai/v1/chat/completions", body)
                .bearer(&key.secret)
                .with(RUN_HEADER, &id);
            let received = exchange::http1(stack.plain, &request, &run).await?;
            assert!(
                String::from_utf8_lossy(&received.body).contains(SAID),
                "{form}: {received:?}"
            );
            calls += 1;
        }
    }
    let id = fresh("form");
    let run = corpus.play(&id, talkative("whole", true), |_, script| script.clone());
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\n{SAID}\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{SAID}\"\r\n\r\n{SAID}\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b--\r\n"
    );
    let request = Request::with_method("POST", "/openai/v1/audio/transcriptions")
        .with_body(form)
        .with("content-type", "multipart/form-data; boundary=b")
        .with(RUN_HEADER, &id)
        .bearer(&key.secret);
    assert_eq!(
        exchange::http1(stack.plain, &request, &run).await?.status,
        200
    );

    let authorization = format!("Token {}", key.secret);
    let path = format!(
        "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&keyterm={SAID}"
    );
    let (mut socket, _) = Socket::open(
        stack.plain,
        &path,
        &[("authorization", authorization.as_str())],
    )
    .await?;
    for _ in 0..3 {
        socket
            .text(&format!(r#"{{"type":"KeepAlive","note":"{SAID}"}}"#))
            .await?;
        assert!(socket.next_json().await?.to_string().contains(SAID));
    }
    socket.close(4000, SAID).await?;
    assert!(socket.next().await.is_none());
    stack.rows_when("is_final", calls + 2).await?;
    look_through(&mut stack, &[key.secret.as_str()]).await
}

/// Everything that a deployment leaves: none of it says what was said, or a secret.
async fn look_through(stack: &mut Stack, secrets: &[&str]) -> Result {
    let metrics = stack.metrics().await?;
    stack.proxy()?.stop().await?;

    let left = Leftovers::of(stack)?.and("the metrics", metrics);
    let kept = left.place_of("POST /v1/chat/completions");
    assert!(kept.is_some(), "what is kept is found");
    for word in [SAID, PROVIDER_CREDENTIAL].iter().chain(secrets) {
        assert_eq!(left.place_of(word), None, "{word}");
    }
    Ok(())
}
