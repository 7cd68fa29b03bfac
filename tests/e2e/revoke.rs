//! Revocation and suspension hold on a running proxy within a second.

use std::time::{Duration, Instant};

use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::Connection;

use crate::{Result, chat, chat_stream, fresh, with_key};

/// The promise.
const WITHIN: Duration = Duration::from_secs(1);

async fn refused_within(
    stack: &Stack,
    key: &Key,
    status: u16,
    code: &str,
    since: Instant,
) -> Result {
    loop {
        let answer = stack.send(&chat(key, &fresh("after"))).await?;
        if answer.status() == status {
            assert_eq!(answer.header("x-farebox-error"), Some(code));
            return Ok(());
        }
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(
            since.elapsed() < WITHIN,
            "{code} did not hold within {WITHIN:?}"
        );
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() -> Result {
    let (stack, _) = with_key(&[]).await?;
    for _ in 0..5 {
        let key = stack.issue(&["--may-attribute", "any"])?;
        stack.known(&key).await?;
        assert_eq!(stack.send(&chat(&key, &fresh("ok"))).await?.status(), 200);
        stack.done(&["key", "revoke", key.prefix()])?;
        refused_within(&stack, &key, 401, "revoked_key", Instant::now()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_revoked_keys_stream_is_cut_at_an_event_boundary() -> Result {
    let (stack, _) = with_key(&[]).await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    let id = fresh("cut");
    let mut connection = Connection::open(stack.plain).await?;
    connection
        .write(&chat_stream(&key, &id).with("x-replay", "pause").bytes())
        .await?;
    connection.head().await?.ok_or("no answer")?;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("word2") {
        assert!(connection.more(&mut seen).await?);
    }
    let since = Instant::now();
    stack.done(&["key", "revoke", key.prefix()])?;
    while connection.more(&mut seen).await.unwrap_or(false)
        && !String::from_utf8_lossy(&seen).contains("\"error\"")
    {}
    assert!(
        since.elapsed() < WITHIN * 2,
        "the cut took {:?}",
        since.elapsed()
    );
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(
        text.contains("\"error\"") && !text.contains("[DONE]"),
        "{text}"
    );
    stack.replay.release(&id);
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(rows[0]["ending"], "cut", "{}", rows[0]);
    Ok(())
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_within_a_second_and_can_resume() -> Result {
    let (stack, _) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "acme"])?;
    let key = stack.issue(&["--tenant", "acme"])?;
    stack.known(&key).await?;
    assert_eq!(stack.send(&chat(&key, &fresh("ok"))).await?.status(), 200);
    let client = stack.sql().await?;
    let set = "update farebox_private.tenants set status = $1 where tenant_id = 'acme'";
    client.execute(set, &[&"suspended"]).await?;
    refused_within(&stack, &key, 403, "tenant_suspended", Instant::now()).await?;
    client.execute(set, &[&"active"]).await?;
    let since = Instant::now();
    while stack.send(&chat(&key, &fresh("again"))).await?.status() != 200 {
        assert!(
            since.elapsed() < WITHIN,
            "resume did not hold within {WITHIN:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_suspended_tenants_streams_finish_where_it_says_so() -> Result {
    let (stack, _) = with_key(&[]).await?;
    let tenant = fresh("finishes");
    stack.done(&["tenant", "create", &tenant])?;
    stack.done(&[
        "tenant",
        "set",
        &tenant,
        "--setting",
        "suspend_streams=finish",
    ])?;
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let id = fresh("finish");
    let mut connection = Connection::open(stack.plain).await?;
    connection
        .write(&chat_stream(&key, &id).with("x-replay", "pause").bytes())
        .await?;
    connection.head().await?.ok_or("no answer")?;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("word2") {
        assert!(connection.more(&mut seen).await?);
    }
    stack.done(&["tenant", "suspend", &tenant, "--reason", "unpaid"])?;
    refused_within(&stack, &key, 403, "tenant_suspended", Instant::now()).await?;
    stack.replay.release(&id);
    while connection.more(&mut seen).await.unwrap_or(false)
        && !String::from_utf8_lossy(&seen).contains("[DONE]")
    {}
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("[DONE]") && !seen.contains("\"error\""),
        "{seen}"
    );
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(crate::text(&rows[0], "ending"), "complete");
    Ok(())
}
