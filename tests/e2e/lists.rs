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
