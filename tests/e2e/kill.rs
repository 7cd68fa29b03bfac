//! SIGKILL of the real proxy at random instants under load: the upstream's own log equals the table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farebox_tests::Error;
use farebox_tests::stack::Key;
use farebox_tests::wire::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Result, chat, chat_stream, quantity, text, with_key};

/// Cycles in the suite; `FAREBOX_KILL_CYCLES` sets more for a soak.
const CYCLES: u32 = 30;
/// Callers at work while the proxy is killed.
const CALLERS: u32 = 8;
/// The latest instant of a kill after the callers began.
const KILL_WITHIN: Duration = Duration::from_millis(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_at_any_instant_loses_no_call() -> Result {
    let cycles = match std::env::var("FAREBOX_KILL_CYCLES") {
        Ok(given) => given.parse()?,
        Err(_) => CYCLES,
    };
    let (mut stack, key) = with_key(&[]).await?;
    let answered = Arc::new(Mutex::new(Vec::new()));
    for cycle in 0..cycles {
        let (stop, stopped) = watch::channel(false);
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let lane = format!("{cycle}-{caller}");
            callers.spawn(call_until_stopped(
                stack.plain,
                key.clone(),
                lane,
                Arc::clone(&answered),
                stopped.clone(),
            ));
        }
        // The instant is the thing under test, not a stand-in for a condition.
        tokio::time::sleep(random_instant(cycle)).await;
        stack.proxy()?.kill();
        stop.send(true)?;
        while let Some(done) = callers.join_next().await {
            done??;
        }
        stack.start_proxy().await?;
    }
    let calls = stack.replay.calls();
    assert!(
        calls.len() > cycles as usize,
        "the load was no load: {} calls",
        calls.len()
    );
    let seen: HashMap<&str, _> = calls.iter().map(|call| (call.id.as_str(), call)).collect();
    assert_eq!(seen.len(), calls.len(), "no call was repeated upstream");

    let filter = "session_id is not null";
    let wanted =
        format!("{filter} and session_id in (select session_id from farebox.usage_events)");
    let rows = rows_of_all(&stack, &wanted, &seen).await?;
    let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    for id in answered.iter() {
        let row = rows
            .get(id)
            .ok_or_else(|| format!("{id} was answered and has no row"))?;
        let call = seen
            .get(id.as_str())
            .ok_or_else(|| format!("{id} was answered and not seen"))?;
        assert_eq!(
            text(row, "ending"),
            "complete",
            "the caller had the last byte of {id}: {row}"
        );
        assert_eq!(
            quantity(row, "input_tokens"),
            call.input_tokens.to_string(),
            "{row}"
        );
        assert_eq!(
            quantity(row, "output_tokens"),
            call.output_tokens.to_string(),
            "{row}"
        );
        assert_eq!(text(row, "response_id"), call.response_id);
    }
    let interrupted = rows
        .values()
        .filter(|row| text(row, "ending") == "interrupted")
        .count();
    println!(
        "{cycles} kills, {} calls seen upstream, {} answered, {interrupted} interrupted",
        calls.len(),
        answered.len()
    );
    for row in rows
        .values()
        .filter(|row| text(row, "ending") == "interrupted")
    {
        assert!(
            row["billed_usd"].is_null(),
            "unknown is never a zero: {row}"
        );
    }
    Ok(())
}

/// Every call the upstream saw has exactly one row; a row without a call was killed before it left.
async fn rows_of_all(
    stack: &farebox_tests::stack::Stack,
    filter: &str,
    seen: &HashMap<&str, &farebox_tests::replay::Call>,
) -> Result<HashMap<String, serde_json::Value>> {
    let missing = |rows: &[serde_json::Value]| {
        let known: std::collections::HashSet<String> =
            rows.iter().map(|row| text(row, "session_id")).collect();
        seen.keys().filter(|id| !known.contains(**id)).count()
    };
    let rows = farebox_tests::wait::eventually(
        "a row for each call",
        farebox_tests::stack::SHIPPED_MAX,
        || async {
            let rows = stack
                .rows(filter)
                .await
                .map_err(|error| error.to_string())?;
            match missing(&rows) {
                0 => Ok(rows),
                missing => Err(format!("{missing} of {} calls without a row", seen.len())),
            }
        },
    )
    .await?;
    let mut by_id = HashMap::new();
    for row in rows {
        let id = text(&row, "session_id");
        if let Some(other) = by_id.insert(id, row.clone()) {
            return Err(format!("two rows for one call: {other} and {row}").into());
        }
        if !seen.contains_key(text(&row, "session_id").as_str()) {
            assert_eq!(
                text(&row, "ending"),
                "interrupted",
                "a row without a call upstream: {row}"
            );
        }
    }
    Ok(by_id)
}

async fn call_until_stopped(
    proxy: SocketAddr,
    key: Key,
    lane: String,
    answered: Arc<Mutex<Vec<String>>>,
    stopped: watch::Receiver<bool>,
) -> Result {
    let mut number = 0;
    while !*stopped.borrow() {
        let Ok(mut connection) = Connection::open(proxy).await else {
            return Ok(());
        };
        loop {
            number += 1;
            let id = format!("{lane}-{number}");
            let request = if number % 2 == 0 {
                chat_stream(&key, &id)
            } else {
                chat(&key, &id)
            };
            match connection.send(&request).await {
                Ok(answer) if answer.status() == 200 && answer.is_whole => {
                    answered
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(id);
                }
                // Cut off by the kill.
                Ok(answer) if answer.status() == 200 => break,
                Ok(answer) => {
                    return Err(Error::from(format!("{}: {}", answer.start, answer.text())));
                }
                Err(_) => break,
            }
        }
    }
    Ok(())
}

/// Spread over the window by the bits of a fresh id.
fn random_instant(cycle: u32) -> Duration {
    let bits = uuid::Uuid::now_v7().as_u128() as u32 ^ cycle.wrapping_mul(2_654_435_761);
    KILL_WITHIN * (bits % 1000) / 1000
}
