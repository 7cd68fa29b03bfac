//! Budgets and quantities that hold: under concurrency, across proxies, over a kill, without Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farebox_tests::socket::{Socket, SocketUpstream};
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wait::eventually;
use farebox_tests::wire::{Connection, Message, Request};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{Result, chat, fresh};

/// Longest way of an amount from a proxy to the view, and of a hold of a dead proxy.
const REPORTED_MAX: Duration = Duration::from_secs(60);

/// A tenant with one limit, and its key once the proxy knows both.
async fn limited(stack: &Stack, tenant: &str, limit: &[&str]) -> Result<Key> {
    stack.done(&["tenant", "create", tenant])?;
    let mut set = vec!["limit", "set", "--tenant", tenant];
    set.extend(limit);
    stack.done(&set)?;
    let key = stack.issue(&["--tenant", tenant])?;
    stack.known(&key).await?;
    Ok(key)
}

/// One column of a tenant's status, once it fits.
async fn status(stack: &Stack, tenant: &str, column: &str, filter: &str) -> Result<String> {
    let query = format!(
        "select trim_scale({column})::text from farebox.limit_status where tenant_id = $1 and {filter}"
    );
    let client = stack.sql().await?;
    eventually(&format!("{tenant}: {filter}"), REPORTED_MAX, || async {
        let row = client.query_opt(&query, &[&tenant]).await;
        let row = row.map_err(|error| error.to_string())?;
        row.map(|row| row.get(0)).ok_or_else(|| "no".to_owned())
    })
    .await
}

fn held(key: &Key, id: &str) -> Request {
    chat(key, id).with("x-replay", "hold")
}

/// Calls that are held open at the upstream; those that were refused come back at once.
async fn open(stack: &Stack, key: &Key, ids: &[String]) -> Result<JoinSet<Result<Message>>> {
    let mut calls = JoinSet::new();
    for id in ids {
        let (address, request) = (stack.plain, held(key, id));
        calls.spawn(async move { Connection::open(address).await?.send(&request).await });
    }
    Ok(calls)
}

async fn refusals(calls: &mut JoinSet<Result<Message>>, count: usize) -> Result<Vec<Message>> {
    let mut refused = Vec::new();
    while refused.len() < count {
        refused.push(calls.join_next().await.ok_or("no more calls")???);
    }
    Ok(refused)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|_| fresh("budget")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_for_ten_lets_exactly_ten_of_forty_calls_run_and_a_kill_leaks_none() -> Result {
    let mut stack = Stack::start().await?;
    // What one call reserves, as the status tells it.
    let wide = ["--meter", "usd", "--amount", "1000", "--window", "month"];
    let probe = limited(&stack, "probe", &wide).await?;
    let id = fresh("probe");
    let mut one = open(&stack, &probe, std::slice::from_ref(&id)).await?;
    let reserve = status(&stack, "probe", "reserved", "reserved > 0").await?;
    stack.replay.release(&id);
    assert_eq!(refusals(&mut one, 1).await?[0].status(), 200);
    status(&stack, "probe", "reserved", "reserved = 0 and used > 0").await?;
    let row = stack.rows_when("tenant_id = 'probe'", 1).await?;
    let used = status(&stack, "probe", "used", "used > 0").await?;
    assert_eq!(
        crate::text(&row[0], "billed_usd"),
        used,
        "status equals the ledger"
    );

    let client = stack.sql().await?;
    let ten: String = client
        .query_one("select (10 * $1::text::numeric)::text", &[&reserve])
        .await?
        .get(0);
    let tight = ["--meter", "usd", "--amount", &ten, "--window", "month"];
    let key = limited(&stack, "tight", &tight).await?;
    let before = stack.replay.count();
    let ids = names(40);
    let mut calls = open(&stack, &key, &ids).await?;
    let refused = refusals(&mut calls, 30).await?;
    eventually("ten calls are at the upstream", REPORTED_MAX, || async {
        let seen = stack.replay.count() - before;
        if seen == 10 {
            Ok(())
        } else {
            Err(format!("{seen}"))
        }
    })
    .await?;
    for answer in refused {
        assert_eq!(answer.status(), 429, "{}", answer.text());
        assert_eq!(answer.header("x-farebox-error"), Some("budget_exceeded"));
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("x-farebox-event"), None);
        assert!(answer.header("retry-after").is_some());
        let said = answer.json()["error"]["message"].to_string();
        for part in ["Limit ", "used ", "amount ", "resets_at "] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        assert_eq!(answer.json()["error"]["code"], "budget_exceeded");
    }
    ids.iter().for_each(|id| stack.replay.release(id));
    for answer in refusals(&mut calls, 10).await? {
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    status(&stack, "tight", "used", "reserved = 0 and used > 0").await?;
    assert_eq!(stack.replay.count() - before, 10);

    // Ten are held again when the proxy dies; after its next start nothing of them is left.
    let key = limited(&stack, "killed", &tight).await?;
    let mut calls = open(&stack, &key, &names(10)).await?;
    status(&stack, "killed", "reserved", "remaining = 0").await?;
    let eleventh = stack.send(&chat(&key, &fresh("eleventh"))).await?;
    assert_eq!(eleventh.header("x-farebox-error"), Some("budget_exceeded"));
    stack.proxy()?.kill();
    while calls.join_next().await.is_some() {}
    stack.start_proxy().await?;
    eventually("a call fits again", REPORTED_MAX, || async {
        let answer = stack.send(&chat(&key, &fresh("again"))).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status() == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await?;
    status(&stack, "killed", "used", "reserved = 0 and used > 0").await?;
    Ok(())
}

/// Calls one proxy until the limit says that it is reached; how many were answered.
async fn call_until_refused(
    address: std::net::SocketAddr,
    key: Key,
    answered: Arc<AtomicUsize>,
) -> Result {
    loop {
        let sent = match Connection::open(address).await {
            Ok(mut connection) => connection.send(&chat(&key, &fresh("shared"))).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(answer) if answer.status() == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) if answer.header("x-farebox-error") == Some("rate_limited") => return Ok(()),
            // After its start it may know the key a moment later.
            Ok(answer) if matches!(answer.status(), 401 | 503) => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Ok(answer) => return Err(format!("{}: {}", answer.status(), answer.text()).into()),
            // It was killed and comes again.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_proxies_share_one_limit_over_a_kill() -> Result {
    const AMOUNT: usize = 60;
    const CALLERS: usize = 4;
    let stack = Stack::start().await?;
    let mut second = stack.beside().await?;
    let third = stack.beside().await?;
    let amount = AMOUNT.to_string();
    let limit = [
        "--meter", "requests", "--amount", &amount, "--window", "day",
    ];
    let key = limited(&stack, "shared", &limit).await?;
    second.known(&key).await?;
    third.known(&key).await?;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for address in [stack.plain, second.plain, third.plain] {
        for _ in 0..CALLERS {
            callers.spawn(call_until_refused(
                address,
                key.clone(),
                Arc::clone(&answered),
            ));
        }
    }
    eventually("some calls were answered", REPORTED_MAX, || async {
        let count = answered.load(Ordering::Relaxed);
        if count >= AMOUNT / 4 {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    })
    .await?;
    second.proxy()?.kill();
    second.start_proxy().await?;
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let used: usize = status(&stack, "shared", "used", "reserved = 0 and used > 0")
        .await?
        .parse()?;
    let answered = answered.load(Ordering::Relaxed);
    assert!(
        answered <= used && used <= AMOUNT,
        "{answered} answered, {used} used"
    );
    assert!(
        answered + CALLERS >= AMOUNT,
        "{answered} answered: the proxies did not share what was left"
    );
    // Those in flight at the kill are the stated slack.
    let seen = stack.replay.count();
    assert!(seen <= AMOUNT + CALLERS, "{seen} at the upstream");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_leases_are_spent_and_then_each_limits_fail_holds() -> Result {
    let stack = Stack::start().await?;
    let day = |fail| ["--amount", "3", "--window", "day", "--fail", fail];
    let closed = limited(&stack, "closed", &day("closed")).await?;
    let open = limited(&stack, "open", &day("open")).await?;
    let send = |key: &Key| {
        let request = chat(key, &fresh("outage"));
        let stack = &stack;
        async move { stack.send(&request).await }
    };
    for key in [&closed, &open] {
        assert_eq!(send(key).await?.status(), 200);
    }
    let admin = farebox_tests::stack::world()?
        .cluster
        .connect("postgres")
        .await?;
    let database = stack.database.clone();
    admin
        .batch_execute(&format!(
            "alter database {database} allow_connections false"
        ))
        .await?;
    let others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    admin.execute(others, &[&database]).await?;
    eventually("the proxy notices", REPORTED_MAX, || async {
        let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
        let is_away = metrics
            .lines()
            .any(|line| line == "farebox_limit_store_up 0");
        if is_away {
            Ok(())
        } else {
            Err("the store is up".to_owned())
        }
    })
    .await?;
    for _ in 0..2 {
        assert_eq!(send(&closed).await?.status(), 200, "of its lease");
    }
    let refused = send(&closed).await?;
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_eq!(refused.header("x-farebox-error"), Some("limit_unavailable"));
    for _ in 0..5 {
        assert_eq!(send(&open).await?.status(), 200);
    }
    admin
        .batch_execute(&format!("alter database {database} allow_connections true"))
        .await?;
    for key in [&closed, &open] {
        eventually("the limit is checked again", REPORTED_MAX, || async {
            let answer = send(key).await.map_err(|error| error.to_string())?;
            match answer.header("x-farebox-error") {
                Some("rate_limited") => Ok(()),
                _ => Err(answer.text()),
            }
        })
        .await?;
    }
    assert_eq!(
        status(&stack, "open", "used", "used >= 6")
            .await?
            .parse::<usize>()?,
        6
    );
    Ok(())
}

#[tokio::test]
async fn a_cap_by_audio_seconds_stops_a_socket() -> Result {
    let upstream = SocketUpstream::start(|mut socket: Socket, log| async move {
        while let Some(message) = socket.next().await {
            log.note(format!("{} bytes", message.len()));
        }
        Ok(())
    })
    .await?;
    let stack = Stack::with(&[("upstreams.deepgram.base_url", &upstream.base_url())]).await?;
    let cap = [
        "--meter",
        "audio_seconds",
        "--amount",
        "3",
        "--window",
        "day",
    ];
    let key = limited(&stack, "heard", &cap).await?;
    let authorization = format!("Bearer {}", key.secret);
    let headers = [("authorization", authorization.as_str())];
    let listen = "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
    let (mut socket, _) = Socket::open(stack.plain, listen, &headers).await?;
    // Ten seconds, a tenth of one at a time; the cut shows as an end.
    for _ in 0..100 {
        if socket.binary(vec![0; 3_200]).await.is_err() {
            break;
        }
    }
    while socket.next().await.is_some() {}
    assert_eq!(socket.closed, Some((1008, "quantity_exceeded".to_owned())));
    let rows = stack.rows_when("tenant_id = 'heard'", 1).await?;
    assert_eq!(crate::text(&rows[0], "ending"), "cut", "{}", rows[0]);
    Ok(())
}

#[tokio::test]
async fn with_limits_off_calls_are_metered_and_none_is_refused() -> Result {
    let stack = Stack::with(&[("proxy.limits", "off")]).await?;
    let key = limited(&stack, "free", &["--amount", "1", "--window", "day"]).await?;
    for _ in 0..3 {
        assert_eq!(stack.send(&chat(&key, &fresh("off"))).await?.status(), 200);
    }
    let rows: Vec<Value> = stack.rows_when("tenant_id = 'free'", 3).await?;
    assert_eq!(rows.len(), 3);
    Ok(())
}
