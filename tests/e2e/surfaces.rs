//! Where a tenant can be named, who may name one, and what happens when two places disagree.

use farebox_tests::wire::Request;
use serde_json::Value;

use crate::{Result, chat, chat_at, chat_body, fresh, shared, text};

#[tokio::test]
async fn four_surfaces_give_identical_rows() -> Result {
    let stack = shared().await?;
    let any = stack.issue(&["--may-attribute", "any"])?;
    let tenant = fresh("acme");
    let scoped = stack.issue(&["--tenant", &tenant])?;
    stack.known(&any).await?;
    stack.known(&scoped).await?;
    let path = "/openai/v1/chat/completions";
    let ids = [fresh("key"), fresh("header"), fresh("path"), fresh("query")];
    let requests = [
        chat(&scoped, &ids[0]),
        chat(&any, &ids[1]).with("x-farebox-tenant", &tenant),
        chat_at(&format!("/t/{tenant}{path}"), &any, &ids[2]),
        chat_at(&format!("{path}?farebox-tenant={tenant}"), &any, &ids[3]),
    ];
    for request in &requests {
        let answer = stack.send(request).await?;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let rows = stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 4)
        .await?;
    // Calls of one millisecond have no order, so each is found by its session.
    for (id, expected) in ids.iter().zip(["key", "header", "path", "query"]) {
        let row = rows.iter().find(|row| text(row, "session_id") == *id);
        assert_eq!(
            row.map(|row| text(row, "attribution")).as_deref(),
            Some(expected)
        );
    }
    let same = [
        "endpoint",
        "provider",
        "upstream",
        "model",
        "model_requested",
        "ending",
        "status",
        "usage_source",
        "pricing",
        "transport",
        "paid_by",
    ];
    for field in same {
        let values: Vec<String> = rows.iter().map(|row| text(row, field)).collect();
        assert!(
            values.windows(2).all(|pair| pair[0] == pair[1]),
            "{field}: {values:?}"
        );
    }
    for id in &ids {
        let call = stack.replay.call(id).ok_or("the upstream did not see it")?;
        assert_eq!(
            call.line, "POST /v1/chat/completions HTTP/1.1",
            "prefix and query are removed"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_scoped_key_and_a_disagreeing_tenant_are_refused_before_the_upstream() -> Result {
    let stack = shared().await?;
    let (own, other) = (fresh("own"), fresh("other"));
    let key = stack.issue(&["--tenant", &own])?;
    stack.known(&key).await?;
    let id = fresh("conflict");
    let path = "/openai/v1/chat/completions";
    let disagreeing = [
        chat(&key, &id).with("x-farebox-tenant", &other),
        chat_at(&format!("/t/{other}{path}"), &key, &id),
        chat_at(&format!("{path}?farebox-tenant={other}"), &key, &id),
    ];
    for request in &disagreeing {
        let answer = stack.send(request).await?;
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert_eq!(answer.header("x-farebox-error"), Some("tenant_conflict"));
        assert_eq!(
            answer.header("x-farebox-event"),
            None,
            "a refusal has no event"
        );
        assert_eq!(
            answer.json().pointer("/error/code").and_then(Value::as_str),
            Some("tenant_conflict")
        );
    }
    assert!(stack.replay.call(&id).is_none(), "the upstream saw nothing");
    let repeating = chat(&key, &fresh("same")).with("x-farebox-tenant", &own);
    assert_eq!(
        stack.send(&repeating).await?.status(),
        200,
        "its own tenant may be repeated"
    );
    Ok(())
}

#[tokio::test]
async fn the_right_to_attribute_is_checked() -> Result {
    let stack = shared().await?;
    let none = stack.issue(&["--may-attribute", "none"])?;
    let list = stack.issue(&["--may-attribute", "list:list-a,list-b"])?;
    let prefix = stack.issue(&["--may-attribute", "prefix:team-"])?;
    let cases = [
        (&none, "x", 403),
        (&list, "list-b", 200),
        (&list, "list-c", 403),
        (&prefix, "team-red", 200),
        (&prefix, "tea", 403),
    ];
    for (key, tenant, expected) in cases {
        stack.known(key).await?;
        let answer = stack
            .send(&chat(key, &fresh("right")).with("x-farebox-tenant", tenant))
            .await?;
        assert_eq!(answer.status(), expected, "{tenant}: {}", answer.text());
        if expected == 403 {
            assert_eq!(answer.header("x-farebox-error"), Some("may_not_attribute"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_validator_on_every_surface() -> Result {
    let stack = shared().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let path = "/openai/v1/chat/completions";
    let long = "a".repeat(128);
    let too_long = "a".repeat(129);
    let surfaces = |tenant: &str| {
        [
            chat(&key, &fresh("id")).with("x-farebox-tenant", tenant),
            chat_at(&format!("/t/{tenant}{path}"), &key, &fresh("id")),
            chat_at(
                &format!("{path}?farebox-tenant={tenant}"),
                &key,
                &fresh("id"),
            ),
        ]
    };
    for request in surfaces(&long) {
        assert_eq!(stack.send(&request).await?.status(), 200);
    }
    for wrong in [too_long.as_str(), "line%0Abreak", "%00"] {
        for request in surfaces(wrong) {
            let answer = stack.send(&request).await?;
            assert_eq!(
                answer.status(),
                400,
                "{}: {}",
                request.path(),
                answer.text()
            );
            assert_eq!(answer.header("x-farebox-error"), Some("invalid_tenant"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_tenant_is_a_row_of_its_own_kind() -> Result {
    let stack = shared().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let id = fresh("nobody");
    assert_eq!(stack.send(&chat(&key, &id)).await?.status(), 200);
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(rows[0]["tenant_id"], Value::Null);
    assert_eq!(text(&rows[0], "attribution"), "none");
    let seen = stack
        .sql()
        .await?
        .query_one("select count(*) from farebox.unattributed_usage", &[])
        .await?;
    assert!(seen.get::<_, i64>(0) > 0);
    Ok(())
}

#[tokio::test]
async fn without_a_tenant_refused_where_the_deployment_says_so() -> Result {
    let (stack, key) = crate::with_key(&[
        ("proxy.unattributed", "refuse"),
        ("proxy.unknown_tenant", "refuse"),
    ])
    .await?;
    let id = fresh("nobody");
    let answer = stack.send(&chat(&key, &id)).await?;
    assert_eq!(
        (answer.status(), answer.header("x-farebox-error")),
        (400, Some("tenant_required"))
    );
    let answer = stack
        .send(&chat(&key, &id).with("x-farebox-tenant", "never-made"))
        .await?;
    assert_eq!(
        (answer.status(), answer.header("x-farebox-error")),
        (404, Some("unknown_tenant"))
    );
    assert!(stack.replay.call(&id).is_none());
    Ok(())
}

#[tokio::test]
async fn without_a_key_refused_or_believed_as_configured() -> Result {
    let stack = shared().await?;
    let bare = || Request::post("/openai/v1/chat/completions", chat_body(false));
    let answer = stack.send(&bare().with("x-farebox-tenant", "acme")).await?;
    assert_eq!(
        (answer.status(), answer.header("x-farebox-error")),
        (401, Some("missing_key"))
    );

    let (trusting, _) = crate::with_key(&[("proxy.anonymous", "header")]).await?;
    let id = fresh("trusted");
    let own = bare()
        .with("authorization", "Bearer sk-callers-own")
        .with("x-farebox-tenant", "acme")
        .with("x-replay-id", &id);
    let answer = trusting.send(&own).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let call = trusting.replay.call(&id).ok_or("not seen")?;
    assert!(
        call.headers.contains(&(
            "authorization".to_owned(),
            "Bearer sk-callers-own".to_owned()
        )),
        "{:?}",
        call.headers
    );
    let rows = trusting.rows_when("tenant_id = 'acme'", 1).await?;
    assert_eq!(text(&rows[0], "paid_by"), "caller");
    let wrong = bare().bearer("vk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(
        trusting.send(&wrong).await?.status(),
        401,
        "a wrong key is wrong also there"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_is_found_in_every_place_and_goes_no_further() -> Result {
    let stack = shared().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let path = "/openai/v1/chat/completions";
    let basic = format!(
        "Basic {}",
        base64(format!("user:{}", key.secret).as_bytes())
    );
    let in_query = format!("{path}?farebox-key={}", key.secret);
    let in_google_query = format!("{path}?key={}", key.secret);
    let token = format!("Token {}", key.secret);
    let places: [(&str, &str, &str); 9] = [
        (path, "x-farebox-key", &key.secret),
        (path, "authorization", &token),
        (path, "authorization", &basic),
        (path, "x-api-key", &key.secret),
        (path, "api-key", &key.secret),
        (path, "x-goog-api-key", &key.secret),
        (path, "xi-api-key", &key.secret),
        (&in_query, "x-nothing", "1"),
        (&in_google_query, "x-nothing", "1"),
    ];
    for (path, name, value) in places {
        let id = fresh("place");
        let request = Request::post(path, chat_body(false))
            .with(name, value)
            .with("x-replay-id", &id);
        let answer = stack.send(&request).await?;
        assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
        let call = stack.replay.call(&id).ok_or("not seen")?;
        assert!(
            !format!("{call:?}").contains(&key.secret),
            "{name}: {call:?}"
        );
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place > group.len() { '=' } else { letter });
        }
    }
    text
}
