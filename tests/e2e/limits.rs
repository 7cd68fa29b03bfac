//! Limits as callers and operators see them: exactly as many pass as a limit says, and it is told.

use std::time::Duration;

use farebox_tests::stack::Stack;
use farebox_tests::wait::eventually;
use farebox_tests::wire::{Connection, Request};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{Result, chat, fresh, with_key};

#[tokio::test]
async fn two_an_hour_lets_exactly_two_of_fifty_concurrent_calls_pass() -> Result {
    let (stack, any) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "small"])?;
    stack.done(&[
        "limit", "set", "--tenant", "small", "--meter", "requests", "--amount", "2", "--window",
        "hour",
    ])?;
    let key = stack.issue(&["--tenant", "small"])?;
    stack.known(&key).await?;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (address, request) = (stack.plain, chat(&key, &fresh("limited")));
        calls.spawn(async move {
            farebox_tests::wire::Connection::open(address)
                .await?
                .send(&request)
                .await
        });
    }
    let (mut passed, mut refused) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        let answer = answer??;
        match answer.status() {
            200 => passed += 1,
            429 => {
                refused += 1;
                assert_eq!(answer.header("x-farebox-error"), Some("rate_limited"));
                let wait: u64 = answer
                    .header("retry-after")
                    .ok_or("no retry-after")?
                    .parse()?;
                assert!((1..=3600).contains(&wait), "{wait}");
                assert_eq!(answer.header("x-farebox-event"), None);
            }
            other => return Err(format!("{other}: {}", answer.text()).into()),
        }
    }
    assert_eq!((passed, refused), (2, 48));
    assert_eq!(
        stack.replay.count(),
        2,
        "the upstream saw only those that passed"
    );
    // Another tenant is not touched by it.
    let other = chat(&any, &fresh("other")).with("x-farebox-tenant", "large");
    assert_eq!(stack.send(&other).await?.status(), 200);
    assert!(stack.metrics().await?.contains("farebox_refusals_total"));
    Ok(())
}

/// The rows of a list of the API, as the operator sees them.
async fn items(stack: &Stack, path: &str) -> Result<Vec<Value>> {
    let answer = stack.api(Request::get(path)).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    Ok(answer.json()["items"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

#[tokio::test]
async fn warnings_dry_runs_and_quantities_are_told_and_the_api_equals_the_views() -> Result {
    let (stack, _) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "told"])?;
    let set = |rest: &[&str]| {
        let mut all = vec!["limit", "set", "--tenant", "told"];
        all.extend(rest);
        stack.done(&all)
    };
    set(&["--amount", "1", "--window", "day", "--action", "warn"])?;
    set(&["--amount", "1", "--window", "month", "--dry-run"])?;
    set(&[
        "--amount",
        "0",
        "--window",
        "week",
        "--expires-at",
        "2020-01-01T00:00:00Z",
    ])?;
    set(&[
        "--amount", "1", "--meter", "usd", "--window", "day", "--basis", "cost",
    ])?;
    set(&[
        "--amount", "5", "--meter", "tokens", "--window", "day", "--model", "gpt-5*",
    ])?;
    let key = stack.issue(&["--tenant", "told"])?;
    stack.known(&key).await?;
    let mut warnings = Vec::new();
    for _ in 0..3 {
        let answer = stack.send(&chat(&key, &fresh("told"))).await?;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        warnings.push(answer.header("x-farebox-warning").map(str::to_owned));
    }
    assert_eq!(warnings[0], None);
    assert!(
        warnings[1]
            .as_deref()
            .is_some_and(|text| text.contains("is reached")),
        "{warnings:?}"
    );
    // Another model's limit by tokens, which this one call is past.
    let other = Request::post(
        "/openai/v1/chat/completions",
        r#"{"model":"gpt-5-mini","messages":[]}"#,
    )
    .bearer(&key.secret);
    let refused = stack.send(&other).await?;
    assert_eq!(
        (refused.status(), refused.header("x-farebox-error")),
        (429, Some("quantity_exceeded"))
    );
    assert_eq!(refused.header("x-should-retry"), Some("false"));

    let client = stack.sql().await?;
    let query =
        "select limit_id::text, trim_scale(used)::text, trim_scale(remaining)::text, would_refuse
        from farebox.limit_status order by limit_id";
    eventually("all is reported", Duration::from_secs(30), || async {
        let done = "select 1 from farebox.limit_status where would_refuse = 3 and used = 3";
        let row = client
            .query_opt(done, &[])
            .await
            .map_err(|error| error.to_string())?;
        row.map(|_| ()).ok_or_else(|| "not yet".to_owned())
    })
    .await?;
    let shown = items(&stack, "/api/v1/limits/status").await?;
    let rows = client.query(query, &[]).await?;
    assert_eq!(shown.len(), 4, "the expired one is inert: {shown:?}");
    for (shown, row) in shown.iter().zip(&rows) {
        assert_eq!(shown["limit_id"], row.get::<_, String>(0));
        assert_eq!(shown["used"], row.get::<_, String>(1));
        assert_eq!(shown["remaining"], row.get::<_, String>(2));
        assert_eq!(shown["would_refuse"], row.get::<_, i64>(3));
    }
    let mut kinds: Vec<Value> = items(&stack, "/api/v1/limits/events").await?;
    kinds
        .iter_mut()
        .for_each(|event| *event = event["kind"].take());
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["dry_run", "refusal", "warning"]);
    assert!(
        stack
            .done(&["limit", "status", "--tenant", "told"])?
            .contains("requests")
    );

    // The tenant sees its own limits, but none on cost.
    let reader = stack.issue(&["--tenant", "told", "--scope", "usage:read"])?;
    let own = Connection::open(stack.api)
        .await?
        .send(&Request::get("/api/v1/limits/status").bearer(&reader.secret))
        .await?;
    assert_eq!(
        own.json()["items"].as_array().map(Vec::len),
        Some(3),
        "{}",
        own.text()
    );
    assert!(!own.text().contains("cost"), "{}", own.text());
    Ok(())
}
