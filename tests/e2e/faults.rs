//! Bad input and broken upstreams: each answers with its code, is counted, and leaves the row it must.

use std::time::Duration;

use farebox_tests::stack::{Key, Stack};
use farebox_tests::wait::{eventually, holds};
use farebox_tests::wire::{Connection, Message, Request};

use crate::{Result, chat, chat_stream, fresh, shared, text, with_key};

async fn answered(stack: &Stack, bytes: &[u8]) -> Result<Message> {
    let mut connection = Connection::open(stack.plain).await?;
    connection.write(bytes).await?;
    tokio::time::timeout(Duration::from_secs(20), connection.answer()).await?
}

fn raw(key: &Key, id: &str, framing: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nx-replay-id: {id}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n{body}",
        key.secret
    )
    .into_bytes()
}

async fn any_key(stack: &Stack) -> Result<Key> {
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    Ok(key)
}

#[tokio::test]
async fn what_is_refused_never_reaches_an_upstream() -> Result {
    let stack = shared().await?;
    let key = any_key(stack).await?;
    let id = fresh("refused");
    let forged = format!("{}AAAAAA", &key.secret[..29]);
    let to = |path: &str| Request::post(path, "{}").with("x-replay-id", &id);
    let chat_path = "/openai/v1/chat/completions";
    let cases = [
        (
            to("/nowhere/v1/chat/completions").bearer(&key.secret),
            404,
            "unknown_upstream",
        ),
        (
            to("/openai/v1/no/such/route").bearer(&key.secret),
            404,
            "unknown_route",
        ),
        (
            to("/openai/v1/realtime/client_secrets").bearer(&key.secret),
            403,
            "route_not_allowed",
        ),
        (
            to("/deepgram/v1/auth/grant").bearer(&key.secret),
            403,
            "route_not_allowed",
        ),
        (to(chat_path), 401, "missing_key"),
        (to(chat_path).bearer(&forged), 401, "invalid_key"),
        (to(chat_path).bearer("vk_short"), 401, "invalid_key"),
        (
            to(chat_path)
                .bearer(&key.secret)
                .with("x-farebox-metadata", "[1]"),
            400,
            "invalid_metadata",
        ),
        (
            to(chat_path)
                .bearer(&key.secret)
                .with("x-farebox-metadata", r#"{"a":{"b":1}}"#),
            400,
            "invalid_metadata",
        ),
    ];
    for (request, status, code) in cases {
        let answer = stack.send(&request).await?;
        assert_eq!(
            (answer.status(), answer.header("x-farebox-error")),
            (status, Some(code)),
            "{}: {}",
            request.path(),
            answer.text()
        );
        let body = answer.json();
        let told = body.pointer("/error/code").or_else(|| body.get("err_code"));
        assert_eq!(told.and_then(|told| told.as_str()), Some(code), "{body}");
        assert_eq!(answer.header("x-farebox-event"), None);
    }
    assert!(stack.replay.call(&id).is_none());
    let metrics = stack.metrics().await?;
    for code in [
        "unknown_upstream",
        "missing_key",
        "invalid_key",
        "route_not_allowed",
    ] {
        let counted = metrics
            .lines()
            .any(|line| line.starts_with("farebox_refusals_total") && line.contains(code));
        assert!(counted, "{code} is not counted");
    }
    // Anthropic's SDK reads its own shape.
    let answer = stack
        .send(&Request::post("/anthropic/v1/messages", "{}").with("x-api-key", &forged))
        .await?;
    assert_eq!(
        (answer.status(), &answer.json()["type"]),
        (401, &"error".into()),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.json()["error"]["type"],
        "authentication_error",
        "{}",
        answer.text()
    );
    Ok(())
}

#[tokio::test]
async fn a_message_with_two_lengths_is_never_forwarded_with_both() -> Result {
    let stack = shared().await?;
    let key = any_key(stack).await?;
    let id = fresh("lengths");
    let body = "2\r\n{}\r\n0\r\n\r\nGET /openai/v1/models HTTP/1.1\r\nhost: smuggled\r\n\r\n";
    let mut connection = Connection::open(stack.plain).await?;
    connection
        .write(&raw(
            &key,
            &id,
            "content-length: 5\r\ntransfer-encoding: chunked",
            body,
        ))
        .await?;
    let first = connection.answer().await?;
    match stack.replay.call(&id) {
        None => assert_eq!(first.status(), 400, "{}", first.text()),
        Some(call) => {
            assert!(
                farebox_tests::wire::header(&call.headers, "content-length").is_none()
                    || call.body == b"{}",
                "{call:?}"
            );
        }
    }
    assert!(
        connection.answer().await.is_err(),
        "the connection is closed; nothing after it is read"
    );
    for framing in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: -1",
        "content-length: 5, 6",
        "transfer-encoding: chunked, gzip",
    ] {
        let id = fresh("framing");
        let answer = answered(stack, &raw(&key, &id, framing, "{}")).await?;
        assert!(
            answer.status() == 400 || answer.status() == 501,
            "{framing}: {}",
            answer.start
        );
        assert!(stack.replay.call(&id).is_none(), "{framing}");
    }
    Ok(())
}

#[tokio::test]
async fn a_head_that_does_not_parse_gets_a_bare_answer() -> Result {
    let stack = shared().await?;
    let heads: [(&[u8], u16); 4] = [
        (b"NOT HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (
            b"GET /openai/v1/models HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
            400,
        ),
        (b"GET /openai/v1/models HTTP/1.1\r\n folded: x\r\n\r\n", 400),
    ];
    for (head, status) in heads {
        let answer = answered(stack, head).await?;
        assert_eq!(
            answer.status(),
            status,
            "{:?}",
            String::from_utf8_lossy(head)
        );
    }
    let long = format!(
        "GET /openai/v1/models HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let answer = answered(stack, long.as_bytes()).await?;
    assert_eq!(answer.status(), 431);
    Ok(())
}

#[tokio::test]
async fn bad_chunks_in_a_request_end_the_call() -> Result {
    let stack = shared().await?;
    let key = any_key(stack).await?;
    for body in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}xx0\r\n\r\n",
    ] {
        let id = fresh("chunks");
        let answer = answered(stack, &raw(&key, &id, "transfer-encoding: chunked", body)).await;
        // Closing without an answer is as good.
        if let Ok(answer) = answer {
            assert!(answer.status() >= 400, "{body:?}: {}", answer.start);
        }
        let written = stack.replay.call(&id).is_some_and(|call| call.is_written);
        assert!(!written, "{body:?} became a whole request upstream");
    }
    Ok(())
}

#[tokio::test]
async fn broken_upstreams_have_codes_and_rows() -> Result {
    let (stack, key) = with_key(&[
        ("proxy.first_byte_timeout_ms", "700"),
        ("proxy.upstream_idle_timeout_ms", "700"),
    ])
    .await?;
    // manner, stream, status the caller gets, code, ending
    let cases = [
        (
            "close",
            false,
            502,
            Some("upstream_closed"),
            "upstream_failed",
        ),
        ("hold", false, 504, Some("upstream_timeout"), "timeout"),
        ("refuse", false, 429, None, "refused_by_upstream"),
        ("fail", false, 500, None, "refused_by_upstream"),
        ("cut", true, 200, None, "upstream_failed"),
        ("pause", true, 200, None, "timeout"),
        ("error-event", true, 200, None, "upstream_failed"),
        ("short", false, 200, None, "upstream_failed"),
        ("no-usage", false, 200, None, "complete"),
    ];
    for (manner, is_stream, status, code, ending) in cases {
        let id = fresh(manner);
        let request = if is_stream {
            chat_stream(&key, &id)
        } else {
            chat(&key, &id)
        };
        let answer = stack
            .send(&request.with("x-replay", manner))
            .await
            .map_err(|error| format!("{manner}: {error}"))?;
        assert_eq!(
            (answer.status(), answer.header("x-farebox-error")),
            (status, code),
            "{manner}: {}",
            answer.text()
        );
        assert!(
            answer.header("x-farebox-event").is_some(),
            "{manner}: its intent is in the spool"
        );
        if matches!(manner, "cut" | "pause" | "short") {
            assert!(!answer.is_whole, "{manner}: a broken answer is not mended");
        }
        if manner == "refuse" {
            assert_eq!(
                answer.header("retry-after"),
                Some("7"),
                "the vendor's own words pass"
            );
        }
        stack.replay.release(&id);
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        assert_eq!(text(&rows[0], "ending"), ending, "{manner}: {}", rows[0]);
        let seen = [text(&rows[0], "usage_source"), text(&rows[0], "pricing")];
        match manner {
            "refuse" | "fail" => assert_eq!(seen, ["none", "free"], "{manner}: {}", rows[0]),
            "no-usage" | "close" | "hold" => {
                assert_eq!(seen, ["missing", "unknown"], "{manner}: {}", rows[0]);
                assert!(rows[0]["billed_usd"].is_null(), "{manner}: {}", rows[0]);
            }
            // A part of a stream was seen: charged by what is known, with its bounds, never as reported.
            _ => assert!(
                seen[0] != "reported" && seen[0] != "none",
                "{manner}: {}",
                rows[0]
            ),
        }
    }
    let listed = stack
        .sql()
        .await?
        .query_one("select count(*) from farebox.unpriced_usage", &[])
        .await?;
    assert!(listed.get::<_, i64>(0) > 0, "missing usage is listed");
    Ok(())
}

#[tokio::test]
async fn an_upstream_answer_with_two_lengths_or_bad_chunks_is_not_passed_on_as_whole() -> Result {
    let stack = shared().await?;
    let key = any_key(stack).await?;
    for manner in ["both-lengths", "bad-chunk"] {
        let id = fresh(manner);
        let answer = stack
            .send(&chat(&key, &id).with("x-replay", manner))
            .await
            .map_err(|error| format!("{manner}: {error}"))?;
        let both = answer.header("content-length").is_some()
            && answer.header("transfer-encoding").is_some();
        assert!(!both, "{manner}: {:?}", answer.headers);
        if manner == "bad-chunk" {
            assert!(
                answer.status() == 502 || !answer.is_whole,
                "{manner}: {}",
                answer.start
            );
        }
        stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502_and_a_row() -> Result {
    let (stack, key) = with_key(&[("upstreams.openai.base_url", "http://127.0.0.1:1")]).await?;
    let answer = stack.send(&chat(&key, "down")).await?;
    assert_eq!(
        (answer.status(), answer.header("x-farebox-error")),
        (502, Some("upstream_unreachable")),
        "{}",
        answer.text()
    );
    let rows = stack.rows_when("session_id = 'down'", 1).await?;
    assert_eq!(
        (text(&rows[0], "ending"), text(&rows[0], "usage_source")),
        ("upstream_failed".into(), "none".into())
    );
    assert!(
        stack
            .metrics()
            .await?
            .contains("farebox_upstream_errors_total")
    );
    Ok(())
}

#[tokio::test]
async fn slow_callers_meet_named_bounds() -> Result {
    let (stack, key) = with_key(&[
        ("proxy.head_timeout_ms", "400"),
        ("proxy.body_timeout_ms", "400"),
    ])
    .await?;
    let slow_head = answered(
        &stack,
        b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: a\r\n",
    )
    .await?;
    assert_eq!(slow_head.status(), 408, "{}", slow_head.start);
    assert_eq!(slow_head.header("x-farebox-error"), None);
    let id = fresh("slow");
    let answer = answered(
        &stack,
        &raw(&key, &id, "content-length: 100", "{\"model\":"),
    )
    .await?;
    assert_eq!(
        (answer.status(), answer.header("x-farebox-error")),
        (408, Some("request_timeout")),
        "{}",
        answer.start
    );
    Ok(())
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_row() -> Result {
    let stack = shared().await?;
    let key = any_key(stack).await?;
    let id = fresh("gone");
    let mut connection = Connection::open(stack.plain).await?;
    connection
        .write(&chat_stream(&key, &id).with("x-replay", "pause").bytes())
        .await?;
    connection.head().await?.ok_or("no answer")?;
    drop(connection);
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    stack.replay.release(&id);
    assert_eq!(text(&rows[0], "ending"), "downstream_gone", "{}", rows[0]);
    let source = text(&rows[0], "usage_source");
    assert!(source != "reported" && source != "none", "{}", rows[0]);
    assert!(
        !rows[0]["usage_high"].is_null(),
        "what it may have cost has a bound: {}",
        rows[0]
    );
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_drains_gets_the_providers_count_without_its_caller() -> Result {
    let stack = shared().await?;
    let tenant = fresh("drains");
    stack.done(&[
        "tenant",
        "create",
        &tenant,
        "--setting",
        "on_downstream_gone=drain",
    ])?;
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let id = fresh("gone");
    let mut connection = Connection::open(stack.plain).await?;
    connection
        .write(&chat_stream(&key, &id).with("x-replay", "pause").bytes())
        .await?;
    connection.head().await?.ok_or("no answer")?;
    drop(connection);
    // The upstream goes on only after the proxy has learnt that its caller is gone.
    eventually("the caller is gone", Duration::from_secs(10), || async {
        let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
        metrics
            .contains("farebox_abandoned_answers_open 1")
            .then_some(())
            .ok_or_else(|| "it is not read on yet".to_owned())
    })
    .await?;
    stack.replay.release(&id);
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(text(&rows[0], "ending"), "downstream_gone", "{}", rows[0]);
    assert_eq!(text(&rows[0], "usage_source"), "reported", "{}", rows[0]);
    let call = stack.replay.call(&id).ok_or("the upstream saw no call")?;
    assert!(call.is_written, "the upstream was let finish");
    assert_eq!(
        crate::quantity(&rows[0], "output_tokens"),
        call.output_tokens.to_string(),
        "{}",
        rows[0]
    );
    Ok(())
}

#[tokio::test]
async fn a_full_spool_follows_each_tenants_choice() -> Result {
    let settings = [
        ("spool.bytes_max", "8388608"),
        ("spool.segment_bytes", "1048576"),
    ];
    let (mut stack, key) = with_key(&settings).await?;
    for (tenant, choice) in [("strict", "refuse"), ("lenient", "allow")] {
        stack.done(&["tenant", "create", tenant])?;
        stack.done(&[
            "tenant",
            "set",
            tenant,
            "--setting",
            &format!("on_unrecordable={choice}"),
        ])?;
    }
    stack.collector()?.kill();
    let mut connection = Connection::open(stack.plain).await?;
    let strict = |id: &str| chat(&key, id).with("x-farebox-tenant", "strict");
    // A settlement takes less than was kept for it and may land after its answer: the spool is full
    // when a call is refused while none is open.
    let mut recorded = 0;
    let mut was_quiet = false;
    let refused = loop {
        let answer = connection.send(&strict(&fresh("fill"))).await?;
        if answer.status() == 200 {
            recorded += 1;
            was_quiet = false;
            assert!(recorded < 20_000, "the spool never filled");
        } else if was_quiet {
            break answer;
        } else {
            connection = Connection::open(stack.plain).await?;
            eventually("no call is open", Duration::from_secs(10), || async {
                let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
                let open = metrics
                    .lines()
                    .find(|line| line.starts_with("farebox_intents_open "));
                holds(open == Some("farebox_intents_open 0"), open)
            })
            .await?;
            was_quiet = true;
        }
    };
    assert_eq!(
        (refused.status(), refused.header("x-farebox-error")),
        (503, Some("cannot_record")),
        "{}",
        refused.text()
    );
    // Its records are no shorter than the ones that found no room.
    let lenient = chat(&key, &fresh("open")).with("x-farebox-tenant", "lenient");
    let mut connection = Connection::open(stack.plain).await?;
    for _ in 0..5 {
        let answer = connection.send(&lenient).await?;
        assert_eq!(
            (answer.status(), answer.header("x-farebox-event")),
            (200, None),
            "{}",
            answer.text()
        );
    }
    assert!(
        stack
            .metrics()
            .await?
            .lines()
            .any(|line| line.starts_with("farebox_unrecorded_calls_total")
                && line.contains("lenient"))
    );

    stack.start_collector().await?;
    stack.rows_when("tenant_id = 'strict'", recorded).await?;
    eventually(
        "the calls that passed unrecorded have their minute row",
        Duration::from_secs(90),
        || async {
            let rows = stack
                .rows("tenant_id = 'lenient' and usage_reason = 'unrecorded'")
                .await
                .map_err(|error| error.to_string())?;
            let calls: u64 = rows
                .iter()
                .filter_map(|row| {
                    row.pointer("/metadata/calls")?
                        .to_string()
                        .trim_matches('"')
                        .parse::<u64>()
                        .ok()
                })
                .sum();
            if calls == 5 {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        },
    )
    .await
}
