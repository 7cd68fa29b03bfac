//! What a key's own lists let it ask for.

use farebox_tests::wire::Request;

use crate::{Result, fresh};
use farebox_tests::stack::Stack;

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
    for refused in [
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
