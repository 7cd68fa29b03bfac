//! What a key's own lists let it ask for.

use farebox_tests::stack::Stack;
use farebox_tests::wire::Request;

use crate::{Result, fresh, quantity, text};

const CHAT: &str = r#"{"model":"gpt-4o-mini","messages":[]}"#;

/// A body in gzip, as one block that is stored as it is.
fn gzip(body: &str) -> Result<Vec<u8>> {
    let len = u16::try_from(body.len())?;
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    packed.extend(len.to_le_bytes());
    packed.extend((!len).to_le_bytes());
    packed.extend(body.as_bytes());
    packed.extend(crc32fast::hash(body.as_bytes()).to_le_bytes());
    packed.extend(u32::from(len).to_le_bytes());
    Ok(packed)
}

#[tokio::test]
async fn a_key_for_some_models_reaches_those_and_no_other() -> Result {
    let stack = Stack::start().await?;
    stack.done(&["tenant", "create", "listed"])?;
    let key = stack.issue(&[
        "--tenant",
        "listed",
        "--allowed-model",
        "gpt-4o-mini",
        "--allowed-model",
        "nova-*",
    ])?;
    stack.known(&key).await?;
    let chat = |model: &str| {
        let id = fresh("listed");
        let body = format!(r#"{{"messages":[],{model}"n":1}}"#);
        Request::post("/openai/v1/chat/completions", body)
            .bearer(&key.secret)
            .with("x-replay-id", &id)
    };
    let listen = |query: &str| {
        Request::post(&format!("/deepgram/v1/listen{query}"), vec![0; 64])
            .bearer(&key.secret)
            .with("content-type", "audio/wav")
            .with("x-replay-id", &fresh("listed"))
    };
    for allowed in [
        chat(r#""model":"gpt-4o-mini","#),
        chat(r#""model":"gpt-4o-mini-2024-07-18","#),
        listen("?model=nova-3"),
    ] {
        let answer = stack.send(&allowed).await?;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let seen = stack.replay.count();
    // What is packed names no model to us, so that it cannot be one of the allowed ones.
    let packed = chat("")
        .with_body(gzip(CHAT)?)
        .with("content-encoding", "gzip");
    for refused in [
        packed,
        chat(r#""model":"gpt-4o","#),
        chat(""),
        chat(r#""model":"gpt-4o-mini","model":"gpt-4o","#),
        listen("?model=base"),
        listen(""),
    ] {
        let answer = stack.send(&refused).await?;
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert_eq!(answer.header("x-farebox-error"), Some("model_not_allowed"));
        assert_eq!(answer.header("x-farebox-event"), None);
    }
    assert_eq!(stack.replay.count(), seen, "none of them went up");
    Ok(())
}

#[tokio::test]
async fn a_packed_request_goes_up_as_it_came_and_its_answer_is_read() -> Result {
    let stack = Stack::start().await?;
    stack.done(&["tenant", "create", "packing"])?;
    let key = stack.issue(&["--tenant", "packing"])?;
    stack.known(&key).await?;
    let (id, packed) = (fresh("packed"), gzip(CHAT)?);
    let call = Request::post("/openai/v1/chat/completions", packed.clone())
        .bearer(&key.secret)
        .with("content-encoding", "gzip")
        .with("x-farebox-session", &id)
        .with("x-replay-id", &id);
    assert_eq!(stack.send(&call).await?.status(), 200);
    let seen = stack.replay.calls().into_iter().find(|call| call.id == id);
    let seen = seen.ok_or("it went up")?;
    assert!(seen.body == packed, "{} bytes", seen.body.len());
    let row = &stack.rows_when(&format!("session_id = '{id}'"), 1).await?[0];
    assert_eq!(text(row, "usage_source"), "reported", "{row}");
    assert_eq!(text(row, "pricing"), "priced", "{row}");
    assert_eq!(
        quantity(row, "output_tokens"),
        seen.output_tokens.to_string()
    );
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_refuses_what_has_no_price_calls_only_listed_models() -> Result {
    let stack = Stack::start().await?;
    stack.done(&[
        "tenant",
        "create",
        "careful",
        "--setting",
        "unpriced_models=refuse",
    ])?;
    stack.done(&["tenant", "create", "careless"])?;
    let careful = stack.issue(&["--tenant", "careful"])?;
    let careless = stack.issue(&["--tenant", "careless"])?;
    stack.known(&careful).await?;
    stack.known(&careless).await?;
    let chat = |key: &str, model: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
        Request::post("/openai/v1/chat/completions", body)
            .bearer(key)
            .with("x-replay-id", &fresh("unpriced"))
    };
    let unknown = "gpt-of-tomorrow";
    for (key, model, status) in [
        (&careful, "gpt-4o-mini", 200),
        (&careful, unknown, 403),
        (&careless, unknown, 200),
    ] {
        let answer = stack.send(&chat(&key.secret, model)).await?;
        assert_eq!(answer.status(), status, "{model}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.header("x-farebox-error"), Some("model_unpriced"));
        }
    }
    assert_eq!(stack.replay.count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_tenants_lists_hold_for_all_its_keys_and_a_keys_own_beside_them() -> Result {
    let stack = Stack::start().await?;
    stack.done(&[
        "tenant",
        "create",
        "narrow",
        "--setting",
        r#"allowed_models=["gpt-4o*"]"#,
        "--setting",
        r#"allowed_upstreams=["openai"]"#,
        "--setting",
        r#"allowed_tools=["lookup_*","web_search"]"#,
        "--setting",
        "agents_max=2",
    ])?;
    let key = stack.issue(&["--tenant", "narrow"])?;
    let narrower = stack.issue(&["--tenant", "narrow", "--allowed-tool", "lookup_town"])?;
    stack.known(&narrower).await?;
    let chat = |key: &str, model: &str, tools: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[],"tools":{tools}}}"#);
        Request::post("/openai/v1/chat/completions", body)
            .bearer(key)
            .with("x-replay-id", &fresh("narrow"))
    };
    let function =
        |name: &str| format!(r#"[{{"type":"function","function":{{"name":"{name}"}}}}]"#);
    let hosted = r#"[{"type":"web_search"}]"#;
    for (key, model, tools, code) in [
        (&key, "gpt-4o-mini", "[]".to_owned(), None),
        (&key, "gpt-4o", function("lookup_town"), None),
        (&key, "gpt-4o", hosted.to_owned(), None),
        (&key, "o3", "[]".to_owned(), Some("model_not_allowed")),
        (
            &key,
            "gpt-4o",
            function("delete_all"),
            Some("tool_not_allowed"),
        ),
        (
            &key,
            "gpt-4o",
            r#"[{"type":"code_interpreter"}]"#.to_owned(),
            Some("tool_not_allowed"),
        ),
        (&narrower, "gpt-4o", function("lookup_town"), None),
        (
            &narrower,
            "gpt-4o",
            hosted.to_owned(),
            Some("tool_not_allowed"),
        ),
    ] {
        let seen = stack.replay.count();
        let answer = stack.send(&chat(&key.secret, model, &tools)).await?;
        assert_eq!(
            answer.header("x-farebox-error"),
            code,
            "{tools}: {}",
            answer.text()
        );
        let status = if code.is_some() { 403 } else { 200 };
        assert_eq!(answer.status(), status);
        assert_eq!(stack.replay.count() - seen, usize::from(code.is_none()));
    }
    let elsewhere = Request::post("/anthropic/v1/messages", "{}").bearer(&key.secret);
    let answer = stack.send(&elsewhere).await?;
    assert_eq!(
        answer.header("x-farebox-error"),
        Some("upstream_not_allowed")
    );
    for (agent, status) in [("one", 200), ("two", 200), ("one", 200), ("three", 403)] {
        let call = chat(&key.secret, "gpt-4o", "[]").with("x-farebox-agent", agent);
        let answer = stack.send(&call).await?;
        assert_eq!(answer.status(), status, "{agent}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.header("x-farebox-error"), Some("agent_limit"));
        }
    }
    let wrong = stack.verb(&["tenant", "set", "narrow", "--setting", "allowed_tools=[1]"])?;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    Ok(())
}
