//! One call from the SDK's bytes to its row: transparency, usage, attribution under load.

use farebox_tests::stack::PROVIDER_CREDENTIAL;
use farebox_tests::wire::{Connection, Request};
use farebox_tests::{Error, http2};
use tokio::task::JoinSet;

use crate::{Result, chat, chat_body, chat_stream, fresh, quantity, shared, text};

#[tokio::test]
async fn bytes_pass_untouched_and_only_our_headers_are_added_and_removed() -> Result {
    let stack = shared().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let (id, tenant) = (fresh("bytes"), fresh("acme"));
    // Spaces, order and escapes that a re-serialisation would lose.
    let body = "{ \"messages\":[{\"content\":\"h\\u00e9llo\",\"role\":\"user\"}] ,\"model\" : \"gpt-4o-mini\",\"temperature\":1.0e0 }";
    let request = Request::post("/openai/v1/chat/completions?a=%20b&a=c", body)
        .bearer(&key.secret)
        .with("x-replay-id", &id)
        .with("x-farebox-tenant", &tenant)
        .with("X-Farebox-Customer", "end-1")
        .with("x-farebox-project", "p")
        .with("x-farebox-agent", "a")
        .with("x-farebox-revision", "r1")
        .with("x-farebox-run", "run-1")
        .with("x-farebox-section", "agent:x")
        .with("x-farebox-metadata", r#"{"plan":"pro"}"#)
        .with("x-llmobserve-tenant-id", &tenant)
        .with("x-customer-id", "end-1")
        .with(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .with("connection", "keep-alive, x-hop")
        .with("x-hop", "1")
        .with("x-kept", "yes");
    let answer = stack.send(&request).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let call = stack.replay.call(&id).ok_or("not seen")?;
    assert_eq!(call.line, "POST /v1/chat/completions?a=%20b&a=c HTTP/1.1");
    assert_eq!(String::from_utf8_lossy(&call.body), body);
    let value = |name: &str| farebox_tests::wire::header(&call.headers, name);
    for name in call.headers.iter().map(|(name, _)| name.as_str()) {
        assert!(
            !name.starts_with("x-farebox") && !name.starts_with("x-llmobserve"),
            "{name} went upstream"
        );
    }
    assert_eq!((value("x-customer-id"), value("x-hop")), (None, None));
    assert_eq!(value("x-kept"), Some("yes"));
    assert_eq!(
        value("traceparent"),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    );
    assert_eq!(
        value("authorization"),
        Some(format!("Bearer {PROVIDER_CREDENTIAL}").as_str())
    );
    assert!(answer.text().contains(&call.response_id));
    assert_eq!(answer.header("x-request-id"), Some("req-replay"));
    assert_eq!(answer.header("x-farebox-error"), None);

    let event = answer
        .header("x-farebox-event")
        .ok_or("no x-farebox-event")?;
    let rows = stack.rows_when(&format!("event_id = '{event}'"), 1).await?;
    let row = &rows[0];
    let expected = [
        ("tenant_id", tenant.as_str()),
        ("customer_id", "end-1"),
        ("project", "p"),
        ("agent", "a"),
        ("revision", "r1"),
        ("run_id", "run-1"),
        ("section", "agent:x"),
        ("attribution", "header"),
        ("paid_by", "operator"),
        ("endpoint", "chat"),
        ("ending", "complete"),
        ("status", "200"),
        ("usage_source", "reported"),
        ("pricing", "priced"),
        ("model", "gpt-4o-mini"),
        ("upstream_request_id", "req-replay"),
        ("response_id", call.response_id.as_str()),
    ];
    for (field, value) in expected {
        assert_eq!(text(row, field), value, "{field} of {row}");
    }
    assert_eq!(
        row.pointer("/metadata/plan").and_then(|plan| plan.as_str()),
        Some("pro")
    );
    assert_eq!(quantity(row, "input_tokens"), call.input_tokens.to_string());
    assert_eq!(
        quantity(row, "output_tokens"),
        call.output_tokens.to_string()
    );
    Ok(())
}

#[tokio::test]
async fn a_stream_is_metered_as_its_json_answer_would_be() -> Result {
    let stack = shared().await?;
    let tenant = fresh("streams");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let messages = |is_stream: bool| {
        let body = format!(
            r#"{{"model":"claude-sonnet-4-6","max_tokens":64,"stream":{is_stream},"messages":[{{"role":"user","content":"hello"}}]}}"#
        );
        Request::post("/anthropic/v1/messages", body)
            .with("x-api-key", &key.secret)
            .with("anthropic-version", "2023-06-01")
    };
    let unasked =
        r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    let path = "/openai/v1/chat/completions";
    let requests = [
        (
            "openai json",
            Request::post(path, chat_body(false)).bearer(&key.secret),
        ),
        (
            "openai stream",
            Request::post(path, chat_body(true)).bearer(&key.secret),
        ),
        (
            "openai stream that did not ask for usage",
            Request::post(path, unasked).bearer(&key.secret),
        ),
        ("anthropic json", messages(false)),
        ("anthropic stream", messages(true)),
    ];
    for (what, request) in requests {
        let id = fresh("wire");
        let answer = stack
            .send(
                &request
                    .with("x-replay-id", &id)
                    .with("x-farebox-session", &id),
            )
            .await?;
        assert_eq!(
            (answer.status(), answer.is_whole),
            (200, true),
            "{what}: {}",
            answer.text()
        );
        let call = stack.replay.call(&id).ok_or("not seen")?;
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        let row = &rows[0];
        assert_eq!(
            quantity(row, "input_tokens"),
            call.input_tokens.to_string(),
            "{what}: {row}"
        );
        assert_eq!(
            quantity(row, "output_tokens"),
            call.output_tokens.to_string(),
            "{what}: {row}"
        );
        assert_eq!(text(row, "usage_source"), "reported", "{what}");
        assert_eq!(text(row, "response_id"), call.response_id, "{what}");
        if what.contains("did not ask") {
            assert_eq!(text(row, "request_amended"), "true");
            assert!(
                !answer.text().contains("\"usage\""),
                "what the amendment adds is removed: {}",
                answer.text()
            );
            assert!(
                answer.text().ends_with("data: [DONE]\n\n"),
                "{}",
                answer.text()
            );
            let body = String::from_utf8_lossy(&call.body).into_owned();
            assert!(body.contains("include_usage"), "{body}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn deepgram_is_metered_by_the_second() -> Result {
    let stack = shared().await?;
    let tenant = fresh("voice");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let request = Request::post("/deepgram/v1/listen?model=nova-3", vec![0u8; 64 * 1024])
        .with("authorization", &format!("Token {}", key.secret));
    let answer = stack.send(&request).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let rows = stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 1)
        .await?;
    assert_eq!(text(&rows[0], "endpoint"), "listen");
    assert_eq!(text(&rows[0], "pricing"), "priced", "{}", rows[0]);
    assert!(
        !quantity(&rows[0], "audio_seconds").is_empty(),
        "{}",
        rows[0]
    );
    Ok(())
}

#[tokio::test]
async fn a_thousand_interleaved_calls_land_with_their_own_tenant() -> Result {
    const CALLS: usize = 1000;
    const LANES: usize = 16;
    let stack = shared().await?;
    let (red, blue) = (fresh("red"), fresh("blue"));
    let keys = [
        stack.issue(&["--tenant", &red])?,
        stack.issue(&["--tenant", &blue])?,
    ];
    for key in &keys {
        stack.known(key).await?;
    }
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (keys, address, tenants) = (keys.clone(), stack.plain, [red.clone(), blue.clone()]);
        lanes.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for number in (lane..CALLS).step_by(LANES) {
                // Both tenants share each connection.
                let side = number % 2;
                let id = format!("{}/{number}", tenants[side]);
                let request = if number % 3 == 0 {
                    chat_stream(&keys[side], &id)
                } else {
                    chat(&keys[side], &id)
                };
                let answer = connection.send(&request).await?;
                if answer.status() != 200 {
                    return Err(Error::from(answer.text()));
                }
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = lanes.join_next().await {
        done??;
    }
    for tenant in [&red, &blue] {
        let rows = stack
            .rows_when(&format!("tenant_id = '{tenant}'"), CALLS / 2)
            .await?;
        for row in &rows {
            assert!(
                text(row, "session_id").starts_with(tenant.as_str()),
                "wrong tenant: {row}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn http2_and_tls_carry_the_same_call() -> Result {
    let stack = shared().await?;
    let tenant = fresh("wires");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let ca = stack.ca();
    for (is_tls, is_stream) in [(false, false), (false, true), (true, false), (true, true)] {
        let request = if is_stream {
            chat_stream(&key, &fresh("h2"))
        } else {
            chat(&key, &fresh("h2"))
        };
        let address = if is_tls { stack.tls } else { stack.plain };
        let answer = http2::send(address, is_tls.then_some(ca.as_path()), &request).await?;
        assert_eq!(
            (answer.status(), answer.is_whole),
            (200, true),
            "{}",
            answer.text()
        );
        assert!(answer.header("x-farebox-event").is_some());
        assert_eq!(
            answer.header("transfer-encoding"),
            None,
            "no hop-by-hop header over HTTP/2"
        );
    }
    let over_tls = Connection::open_tls(stack.tls, &ca)
        .await?
        .send(&chat(&key, &fresh("h1")))
        .await?;
    assert_eq!(over_tls.status(), 200);
    stack
        .rows_when(
            &format!(
                "tenant_id = '{tenant}' and usage_source = 'reported' and ending = 'complete'"
            ),
            5,
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn chunks_leave_as_they_come() -> Result {
    let stack = shared().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let mut connection = Connection::open(stack.plain).await?;
    // The upstream pauses after three events until the test lets it go on.
    let id = fresh("pause");
    let request = chat_stream(&key, &id).with("x-replay", "pause");
    connection.write(&request.bytes()).await?;
    connection.head().await?.ok_or("no answer")?;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("word2") {
        assert!(
            connection.more(&mut seen).await?,
            "ended early: {}",
            String::from_utf8_lossy(&seen)
        );
    }
    stack.replay.release(&id);
    while !String::from_utf8_lossy(&seen).contains("[DONE]") {
        assert!(
            connection.more(&mut seen).await?,
            "ended early: {}",
            String::from_utf8_lossy(&seen)
        );
    }
    Ok(())
}
