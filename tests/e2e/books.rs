//! A seeded month told four ways, to the last digit; the verbs that close it and correct it; and a
//! ledger that is the upstream's own truth though the database was killed in between.

use std::time::Instant;

use farebox_tests::stack::Stack;
use farebox_tests::wire::Connection;
use serde_json::{Value, json};

use crate::{Result, chat, fresh, text, with_key};

/// Events of the seeded month; `make soak` asks for a million.
const EVENTS: &str = "FAREBOX_BOOKS_EVENTS";
const EVENTS_DEFAULT: usize = 100_000;
/// September 2026 in UTC: its begin and its length, in milliseconds.
const SEPTEMBER: u64 = 1_788_220_800_000;
const SEPTEMBER_MILLIS: u64 = 2_592_000_000;
/// Records of one request.
const BATCH: usize = 1_000;
/// Requests under way at one time.
const SENDERS: usize = 2;

/// A call of the seeded month. Its amount is 0.15 USD a million tokens in, 0.6 a million out.
fn record(number: usize, events: usize) -> Value {
    // Spread over September, in order.
    let millis = SEPTEMBER + number as u64 * (SEPTEMBER_MILLIS / events as u64);
    let mut id = [0u8; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id[6] = 0x70;
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    id[8] = 0x80;
    let id = uuid::Uuid::from_bytes(id);
    let tenant = ["acme", "globex", "initech"][number % 3];
    let at = in_september(millis);
    json!({
        "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": tenant, "customer_id": format!("customer-{}", number % 5),
        "environment": "live", "attribution": "header", "paid_by": "operator",
        "upstream": "openai", "provider": "openai", "endpoint": "chat",
        "model_requested": "gpt-4o-mini", "model": "gpt-4o-mini",
        "started_at": at, "ended_at": at, "status": 200, "ending": "complete", "transport": "http",
        "attempt": 1,
        "lines": [{"model": "gpt-4o-mini", "usage": {
            "input_tokens": (number % 977).to_string(), "output_tokens": (number % 61).to_string()}}],
        "usage": {"input_tokens": (number % 977).to_string(), "output_tokens": (number % 61).to_string()},
        "usage_source": "reported", "pricing": "priced",
        "response_id": format!("seeded-{number}"), "original": true, "node": "seeder", "epoch": 1, "seq": number + 1,
    })
}

/// RFC 3339 of a time in September 2026.
fn in_september(millis: u64) -> String {
    let since = millis - SEPTEMBER;
    let (day, rest) = (since / 86_400_000 + 1, since % 86_400_000);
    format!(
        "2026-09-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1_000 % 60,
        rest % 1_000
    )
}

/// What the seeded calls of a tenant owe, in units of 1e-8 USD: 15 a token in, 60 a token out.
fn owed(tenant: usize, events: usize) -> u64 {
    (0..events)
        .filter(|number| number % 3 == tenant)
        .map(|number| (number % 977) as u64 * 15 + (number % 61) as u64 * 60)
        .sum()
}

fn usd(units: u64) -> String {
    let text = format!("{}.{:08}", units / 100_000_000, units % 100_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn ingest_token(stack: &Stack) -> Result<String> {
    Ok(std::fs::read_to_string(
        stack.folder.path().join("ingest.token"),
    )?)
}

async fn post(stack: &Stack, token: &str, records: &[Value]) -> Result<Value> {
    let body = json!(records).to_string();
    let head = format!(
        "POST /ingest/v1/events HTTP/1.1\r\nhost: c\r\nauthorization: Bearer {token}\r\n\
         x-farebox-node: seeder\r\nx-farebox-epoch: 1\r\nx-farebox-sent-at: 2026-11-22T12:00:00Z\r\n\
         x-farebox-open-since: 2026-11-22T12:00:00Z\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(stack.api).await?;
    connection
        .write(&[head.as_bytes(), body.as_bytes()].concat())
        .await?;
    let answer = connection.answer().await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    Ok(answer.json())
}

/// Ships so many events and says how long that took.
async fn seed(stack: &Stack, events: usize) -> Result<std::time::Duration> {
    let token = ingest_token(stack)?;
    let started = Instant::now();
    let ship = |sender: usize| {
        let token = token.clone();
        async move {
            for first in (sender * BATCH..events).step_by(SENDERS * BATCH) {
                let last = (first + BATCH).min(events);
                let records: Vec<Value> = (first..last).map(|n| record(n, events)).collect();
                let answer = post(stack, &token, &records).await?;
                let receipts = answer["receipts"].as_array().cloned().unwrap_or_default();
                let is_good = |receipt: &Value| receipt["outcome"] == "accepted";
                assert!(receipts.iter().all(is_good), "{:?}", receipts.first());
            }
            Result::Ok(())
        }
    };
    let (one, other) = tokio::join!(ship(0), ship(1));
    one?;
    other?;
    Ok(started.elapsed())
}

fn sum_of_csv(csv: &str, column: &str) -> Result<u64> {
    let mut rows = csv.lines();
    let head: Vec<&str> = rows.next().unwrap_or_default().split(',').collect();
    let place = head
        .iter()
        .position(|name| *name == column)
        .ok_or("no such column")?;
    let cells = rows.map(|row| row.split(',').nth(place).unwrap_or_default());
    cells.map(units).sum()
}

/// An amount in units of 1e-8 USD.
fn units(amount: &str) -> Result<u64> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let fraction = format!("{fraction:0<8}");
    assert_eq!(
        fraction.len(),
        8,
        "{amount} has more decimals than its rate"
    );
    Ok(whole.parse::<u64>()? * 100_000_000 + fraction.parse::<u64>()?)
}

#[tokio::test]
async fn a_seeded_month_is_the_same_in_sql_api_cli_and_csv() -> Result {
    let events = std::env::var(EVENTS)
        .ok()
        .and_then(|events| events.parse().ok())
        .unwrap_or(EVENTS_DEFAULT);
    let stack = Stack::with(&[]).await?;
    let took = seed(&stack, events).await?;
    println!("{events} events booked in {took:?}");
    let sql = stack.sql().await?;
    for (place, tenant) in ["acme", "globex", "initech"].into_iter().enumerate() {
        let owed = usd(owed(place, events));
        // SQL: from the events themselves, from the roll-ups, and as an invoice.
        let row = sql
            .query_one(
                &format!(
                    "select
                         (select trim_scale(sum(billed_usd))::text from farebox.usage_events
                          where tenant_id = '{tenant}' and period = '2026-09-01'),
                         (select trim_scale(sum(billed_usd))::text from farebox.usage_hourly
                          where tenant_id = '{tenant}' and period = '2026-09-01'),
                         (select trim_scale(sum(billed_usd))::text
                          from farebox.invoice_preview('{tenant}', '2026-09-01'))"
                ),
                &[],
            )
            .await?;
        for column in 0..3 {
            assert_eq!(row.get::<_, String>(column), owed, "{tenant}, SQL {column}");
        }
        // API and CLI.
        let query = format!(
            "/api/v1/usage?tenant={tenant}&from=2026-09-01T00:00:00Z&to=2026-10-01T00:00:00Z"
        );
        let answer = stack
            .api(farebox_tests::wire::Request::get(&query))
            .await?
            .json();
        assert_eq!(text(&answer["total"], "billed_usd"), owed, "{tenant}, API");
        let seen: Value = serde_json::from_str(
            &stack.done(&["invoice", "preview", tenant, "2026-09", "--json"])?,
        )?;
        assert_eq!(text(&seen, "billed_usd"), owed, "{tenant}, CLI");
        // Closed, and handed out.
        let closed: Value =
            serde_json::from_str(&stack.done(&["invoice", "close", tenant, "2026-09", "--json"])?)?;
        let number = text(&closed["invoice"], "number");
        assert_eq!(text(&closed["invoice"], "billed_usd"), owed);
        let csv = stack.done(&["invoice", "export", &number, "--format", "csv"])?;
        assert_eq!(usd(sum_of_csv(&csv, "billed_usd")?), owed, "{tenant}, CSV");
    }
    let differing: i64 = sql
        .query_one(
            "select count(*) from farebox_private.check_rollups('2026-09-01', '2026-10-01')",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(differing, 0);

    // Closed months stay: moving a customer is refused, or the next month has the difference.
    let retag = |commit: &[&str]| {
        let mut verb = vec![
            "retag",
            "--tenant",
            "acme",
            "--customer",
            "customer-3",
            "--to-tenant",
            "globex",
            "--reason",
            "wrong key",
            "--from",
            "2026-09-01",
            "--to",
            "2026-09-03",
            "--json",
        ];
        verb.extend(commit);
        stack.done(&verb)
    };
    let refused = retag(&[])
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(refused.contains("closed"), "{refused}");
    let moved: Value = serde_json::from_str(&retag(&["--next-open-month", "--commit"])?)?;
    let october = |tenant: &str| -> Result<Value> {
        let seen = stack.done(&["invoice", "preview", tenant, "2026-10", "--json"])?;
        Ok(serde_json::from_str(&seen)?)
    };
    let (credit, debit) = (october("acme")?, october("globex")?);
    let credited = text(&credit, "billed_usd");
    assert_eq!(credited, format!("-{}", text(&debit, "billed_usd")));
    assert!(credited.starts_with('-'), "{credited}");
    let kinds = |answer: &Value| -> Vec<String> {
        let lines = answer["lines"].as_array().into_iter().flatten();
        lines.map(|line| text(line, "kind")).collect()
    };
    assert_eq!(
        (kinds(&credit), kinds(&debit)),
        (vec!["credit".to_owned(); 2], vec!["debit".to_owned(); 2])
    );
    let batch = text(&moved, "batch_id");
    stack.done(&["retag", "--undo", &batch, "--next-open-month", "--commit"])?;
    assert_eq!(text(&october("acme")?, "billed_usd"), "0");
    Ok(())
}

#[tokio::test]
async fn the_ledger_is_the_upstreams_truth_though_the_database_was_away() -> Result {
    let (stack, key) = with_key(&[]).await?;
    let run = fresh("truth");
    let ids: Vec<String> = (0..12).map(|n| format!("{run}-{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        if n == 4 {
            // Whoever books now loses the connection in the middle of it.
            stack
                .sql()
                .await?
                .batch_execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()",
                )
                .await?;
        }
        let call = chat(&key, id).with("x-farebox-tenant", "truth");
        assert_eq!(stack.send(&call).await?.status(), 200);
    }
    let filter = format!("session_id like '{run}-%'");
    let rows = stack.rows_when(&filter, ids.len()).await?;
    let mut booked: Vec<String> = rows.iter().map(|row| text(row, "session_id")).collect();
    booked.sort();
    let mut asked = ids.clone();
    asked.sort();
    assert_eq!(booked, asked);
    // The same batch again, in another order: nothing is booked twice.
    let token = ingest_token(&stack)?;
    let mut seeded: Vec<Value> = (0..50).map(|n| record(n, 50)).collect();
    post(&stack, &token, &seeded).await?;
    seeded.reverse();
    let answer = post(&stack, &token, &seeded).await?;
    let receipts = answer["receipts"].as_array().cloned().unwrap_or_default();
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt["outcome"] == "duplicate")
    );
    let sums = stack
        .sql()
        .await?
        .query_one(
            "select count(*) from farebox_private.check_rollups('2026-01-01', '2027-12-31')",
            &[],
        )
        .await?;
    assert_eq!(sums.get::<_, i64>(0), 0);
    Ok(())
}
