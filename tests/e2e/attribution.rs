//! What a session gives its later calls, here and at another proxy; what key and tenant ask of a
//! call's labels; and the audit row that a refused call leaves.

use std::time::{Duration, Instant};

use farebox_tests::beside::Beside;
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wait::{eventually, holds};
use farebox_tests::wire::{Message, Request};
use serde_json::Value;

use crate::{Result, chat, chat_body, fresh, text, with_key};

/// Longest time until a session is known elsewhere.
const ELSEWHERE_MAX: Duration = Duration::from_secs(5);
/// Longest time until a change of the directory holds, and until an audit row is written.
const SOON: Duration = Duration::from_secs(10);

/// A call of a session that says nothing else.
fn of_session(key: &Key, session: &str, run: &str) -> Request {
    Request::post("/openai/v1/chat/completions", chat_body(false))
        .bearer(&key.secret)
        .with("x-farebox-session", session)
        .with("x-farebox-run", run)
        .with("x-replay-id", run)
}

async fn row(stack: &Stack, run: &str) -> Result<Value> {
    Ok(stack
        .rows_when(&format!("run_id = '{run}'"), 1)
        .await?
        .remove(0))
}

/// As with a session of its own, so that only the answer differs.
async fn refused(stack: &Stack, request: &Request, status: u16, code: &str) -> Result<Message> {
    eventually(code, SOON, || async {
        let answer = stack
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        holds(answer.status() == status, answer.text())?;
        Ok(answer)
    })
    .await
    .inspect(|answer| assert_eq!(answer.header("x-farebox-error"), Some(code)))
}

#[tokio::test]
async fn a_sessions_first_call_speaks_for_its_later_ones_here_and_elsewhere() -> Result {
    let (stack, key) = with_key(&[
        ("proxy.unattributed", "refuse"),
        ("ids.tenant_pattern", "[a-z0-9-]+"),
    ])
    .await?;
    let elsewhere = Beside::start(&stack, "elsewhere").await?;
    let session = fresh("session");
    let (first, second, third, fourth) = (fresh("a"), fresh("b"), fresh("c"), fresh("d"));
    let metadata = r#"{"env":"prod","tenant_id":"evil","n":7}"#;
    let opening = of_session(&key, &session, &first)
        .with("x-farebox-tenant", "acme")
        .with("x-farebox-customer", "c-1")
        .with("x-farebox-project", "p-1")
        .with("x-farebox-metadata", metadata);
    let learnt_at = Instant::now();
    assert_eq!(stack.send(&opening).await?.status(), 200);

    let later = of_session(&key, &session, &second).with("x-farebox-metadata", r#"{"step":2}"#);
    assert_eq!(
        stack.send(&later).await?.status(),
        200,
        "at once where it was seen"
    );
    let later = row(&stack, &second).await?;
    assert_eq!(
        (text(&later, "tenant_id"), text(&later, "attribution")),
        ("acme".into(), "session".into())
    );
    assert_eq!(
        (text(&later, "customer_id"), text(&later, "project")),
        ("c-1".into(), "p-1".into())
    );
    assert_eq!(
        later["metadata"],
        serde_json::json!({"env": "prod", "tenant_id": "evil", "n": 7, "step": 2}),
        "a key of this name names nobody"
    );

    // Without a tenant the other proxy refuses, until it has heard of the session.
    let request = of_session(&key, &session, &third);
    loop {
        let answer = elsewhere.send(&request).await?;
        if answer.status() == 200 {
            break;
        }
        assert_eq!(answer.header("x-farebox-error"), Some("tenant_required"));
        assert!(
            learnt_at.elapsed() < ELSEWHERE_MAX,
            "not known elsewhere within {ELSEWHERE_MAX:?}"
        );
    }
    println!(
        "a session was known at another proxy after {:?}",
        learnt_at.elapsed()
    );
    let there = row(&stack, &third).await?;
    assert_eq!(
        (text(&there, "tenant_id"), text(&there, "customer_id")),
        ("acme".into(), "c-1".into())
    );
    assert_eq!(there["metadata"]["env"], "prod");

    // Whoever says otherwise is believed for the call, inherits nothing, and changes nothing.
    let otherwise = of_session(&key, &session, &fourth).with("x-farebox-tenant", "globex");
    assert_eq!(stack.send(&otherwise).await?.status(), 200);
    let otherwise = row(&stack, &fourth).await?;
    assert_eq!(
        (
            text(&otherwise, "tenant_id"),
            text(&otherwise, "customer_id")
        ),
        ("globex".into(), String::new())
    );
    assert_eq!(otherwise["metadata"], Value::Null);
    assert!(
        stack
            .metrics()
            .await?
            .contains("farebox_session_conflicts_total 1")
    );
    let last = fresh("e");
    assert_eq!(
        stack
            .send(&of_session(&key, &session, &last))
            .await?
            .status(),
        200
    );
    assert_eq!(text(&row(&stack, &last).await?, "tenant_id"), "acme");
    let apart: i64 = stack
        .sql()
        .await?
        .query_one(
            "select count(*) from farebox.sessions where session_id = $1",
            &[&session],
        )
        .await?
        .get(0);
    assert_eq!(apart, 2, "one session id, two tenants");

    // The deployment's own form of identifiers holds on every surface.
    let other_form = of_session(&key, &fresh("s"), &fresh("f")).with("x-farebox-tenant", "ACME");
    assert_eq!(
        stack.send(&other_form).await?.header("x-farebox-error"),
        Some("invalid_tenant")
    );
    assert_eq!(
        stack.verb(&["tenant", "create", "ACME"])?.status.code(),
        Some(2)
    );
    Ok(())
}

#[tokio::test]
async fn key_and_tenant_ask_for_labels_and_a_refusal_leaves_one_audit_row() -> Result {
    let (stack, any) = with_key(&[]).await?;
    let scoped = stack.issue(&[
        "--tenant",
        "acme",
        "--allowed-project",
        "p-1",
        "--allowed-project",
        "p-2",
    ])?;
    stack.known(&scoped).await?;
    let project = |name: &str| chat(&scoped, &fresh("p")).with("x-farebox-project", name);
    assert_eq!(stack.send(&project("p-2")).await?.status(), 200);
    refused(&stack, &project("p-3"), 403, "may_not_attribute").await?;
    refused(
        &stack,
        &chat(&scoped, &fresh("p")),
        403,
        "may_not_attribute",
    )
    .await?;

    let schema =
        r#"metadata_schema={"properties":{"env":{"enum":["prod","test"]}},"required":["env"]}"#;
    stack.done(&["tenant", "create", "strict", "--setting", schema])?;
    let strict = |metadata: &str| {
        chat(&any, &fresh("m"))
            .with("x-farebox-tenant", "strict")
            .with("x-farebox-metadata", metadata)
    };
    let answer = refused(&stack, &strict("{}"), 400, "invalid_metadata").await?;
    assert!(answer.text().contains("env"), "{}", answer.text());
    refused(
        &stack,
        &strict(r#"{"env":"staging"}"#),
        400,
        "invalid_metadata",
    )
    .await?;
    assert_eq!(
        stack.send(&strict(r#"{"env":"prod"}"#)).await?.status(),
        200
    );

    // Why a tenant is stopped is told to its callers.
    stack.done(&[
        "tenant",
        "suspend",
        "acme",
        "--reason",
        "invoice 17 is unpaid",
    ])?;
    let answer = refused(&stack, &project("p-1"), 403, "tenant_suspended").await?;
    assert!(
        answer.text().contains("invoice 17 is unpaid"),
        "{}",
        answer.text()
    );
    let shown = stack.done(&["tenant", "resume", "acme", "--json"])?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!(
        (&shown["status"], &shown["status_reason"]),
        (&"active".into(), &Value::Null)
    );

    let seen_before = stack.replay.count();
    for _ in 0..3 {
        let conflict = chat(&scoped, &fresh("c")).with("x-farebox-tenant", "globex");
        refused(&stack, &conflict, 403, "tenant_conflict").await?;
    }
    assert_eq!(
        stack.replay.count(),
        seen_before,
        "the upstream saw no byte"
    );
    let path = "/api/v1/audit?action=call.refused&tenant=acme&limit=1000";
    let row = eventually("the audit row of the conflict", SOON, || async {
        let answer = stack
            .api(Request::get(path))
            .await
            .map_err(|error| error.to_string())?;
        let rows = answer.json();
        let rows = rows["items"].as_array().cloned().unwrap_or_default();
        let mut of_conflict = rows
            .into_iter()
            .filter(|row| row["details"]["code"] == "tenant_conflict");
        let row = of_conflict.next().ok_or_else(|| answer.text())?;
        holds(of_conflict.next().is_none(), "more than one row a minute")?;
        Ok(row)
    })
    .await?;
    assert_eq!(row["details"]["status"], 403, "{row}");
    assert!(text(&row, "actor").starts_with("key:"), "{row}");
    Ok(())
}
