//! The collector's intake: receipts one by one, nothing twice, nothing believed that it can know.

use farebox_tests::stack::{INGEST_TOKEN, Stack};
use farebox_tests::wire::{Connection, Message, Request};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Result, fresh, shared, text};

/// A record as a proxy ships it, one second ago.
pub(crate) async fn record(stack: &Stack, node: &str, tenant: &str, seq: u64) -> Result<Value> {
    let row = stack
        .sql()
        .await?
        .query_one(
            "select ms, to_char(to_timestamp(ms / 1000.0) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
             from (select (extract(epoch from clock_timestamp()) * 1000)::bigint - 1000 as ms) as moment",
            &[],
        )
        .await?;
    let (ms, started_at): (i64, String) = (row.get(0), row.get(1));
    let id = Uuid::new_v7(uuid::Timestamp::from_unix_time(
        ms as u64 / 1000,
        (ms % 1000) as u32 * 1_000_000,
        0,
        0,
    ));
    Ok(json!({
        "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": tenant, "environment": "live", "attribution": "header", "paid_by": "operator",
        "upstream": "openai", "provider": "openai", "endpoint": "chat",
        "model_requested": "gpt-4o-mini", "model": "gpt-4o-mini",
        "started_at": started_at, "ended_at": started_at, "duration_ms": "12.000",
        "status": 200, "ending": "complete", "transport": "http", "attempt": 1,
        "lines": [{"model": "gpt-4o-mini", "conditions": {}, "usage": {"input_tokens": "1000", "output_tokens": "100"}}],
        "usage": {"input_tokens": "1000", "output_tokens": "100"},
        "usage_source": "reported", "pricing": "priced", "rate_cards": {"cost": null, "price": null},
        "node": node, "epoch": 1, "seq": seq,
        "content_sha256": format!("{seq:064x}"),
    }))
}

pub(crate) async fn ship(stack: &Stack, node: &str, records: &[Value]) -> Result<Message> {
    let now = records
        .first()
        .map(|record| text(record, "started_at"))
        .filter(|time| !time.is_empty())
        .unwrap_or_else(|| "2026-11-22T00:00:00.000Z".into());
    ship_at(stack, node, records, &now).await
}

/// As a proxy whose clock says `now`.
async fn ship_at(stack: &Stack, node: &str, records: &[Value], now: &str) -> Result<Message> {
    let request = Request::post(
        "/ingest/v1/events",
        Value::from(records.to_vec()).to_string(),
    )
    .bearer(INGEST_TOKEN)
    .with("x-farebox-node", node)
    .with("x-farebox-epoch", "1")
    .with("x-farebox-sent-at", now)
    .with("x-farebox-open-since", now);
    Connection::open(stack.api).await?.send(&request).await
}

fn outcomes(answer: &Message) -> Vec<String> {
    let body = answer.json();
    let receipts = body.get("receipts").unwrap_or(&body);
    receipts
        .as_array()
        .map(|all| all.iter().map(|one| text(one, "outcome")).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn one_bad_record_of_twenty_leaves_nineteen_accepted() -> Result {
    let stack = shared().await?;
    let (node, tenant) = (fresh("node"), fresh("twenty"));
    let mut records = Vec::new();
    for seq in 1..=20 {
        records.push(record(stack, &node, &tenant, seq).await?);
    }
    records[7]["lines"][0]["usage"]["input_tokens"] = "-5".into();
    let answer = ship(stack, &node, &records).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = outcomes(&answer);
    assert_eq!(seen.len(), 20, "{}", answer.text());
    for (number, outcome) in seen.iter().enumerate() {
        assert_eq!(
            outcome,
            if number == 7 { "rejected" } else { "accepted" },
            "record {number}: {}",
            answer.text()
        );
    }
    stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 19)
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_same_again_is_a_duplicate_and_other_content_a_conflict() -> Result {
    let stack = shared().await?;
    let (node, tenant) = (fresh("node"), fresh("again"));
    let first = record(stack, &node, &tenant, 1).await?;
    for expected in ["accepted", "duplicate"] {
        let answer = ship(stack, &node, std::slice::from_ref(&first)).await?;
        assert_eq!(outcomes(&answer), [expected], "{}", answer.text());
    }
    let mut other = first.clone();
    other["content_sha256"] = "f".repeat(64).into();
    other["lines"][0]["usage"]["input_tokens"] = "9".into();
    let answer = ship(stack, &node, &[other]).await?;
    assert_eq!(outcomes(&answer), ["conflict"], "{}", answer.text());
    let rows = stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 1)
        .await?;
    assert_eq!(crate::quantity(&rows[0], "input_tokens"), "1000");
    let sum = "select sum(quantity)::text from farebox.usage_hourly where tenant_id = $1 and meter = 'input_tokens'";
    let summed = stack.sql().await?.query_one(sum, &[&tenant]).await?;
    assert_eq!(summed.get::<_, String>(0), "1000", "counted once");
    Ok(())
}

#[tokio::test]
async fn money_that_a_client_sends_is_never_booked() -> Result {
    let stack = shared().await?;
    let (node, tenant) = (fresh("node"), fresh("money"));
    let mut lying = record(stack, &node, &tenant, 1).await?;
    for field in ["claimed_usd", "cost_usd", "billed_usd"] {
        lying[field] = "999".into();
    }
    lying["charges"] = json!([{"model": "gpt-4o-mini", "meter": "input_tokens", "quantity": "1000", "cost_usd": "999", "billed_usd": "999"}]);
    let answer = ship(stack, &node, &[lying]).await?;
    assert_eq!(outcomes(&answer), ["accepted"], "{}", answer.text());
    let rows = stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 1)
        .await?;
    // 1000 × 0.15 / 1M + 100 × 0.60 / 1M
    let client = stack.sql().await?;
    let query = "select cost_usd = 0.00021 and billed_usd = 0.00021, price_mismatch from farebox.usage_events where tenant_id = $1";
    let row = client.query_one(query, &[&tenant]).await?;
    assert!(row.get::<_, bool>(0), "{}", rows[0]);
    assert!(
        row.get::<_, bool>(1),
        "the claim differs and is marked: {}",
        rows[0]
    );
    assert!(!text(&rows[0], "charges").contains("999"), "{}", rows[0]);
    Ok(())
}

#[tokio::test]
async fn strangers_and_wrong_forms_are_turned_away() -> Result {
    let stack = shared().await?;
    let mut connection = Connection::open(stack.api).await?;
    let bare = connection
        .send(&Request::post("/ingest/v1/events", "[]"))
        .await?;
    assert_eq!(bare.status(), 401, "{}", bare.text());
    let wrong = connection
        .send(&Request::post("/ingest/v1/events", "[]").bearer("not-the-token"))
        .await?;
    assert_eq!(wrong.status(), 401);
    let node = fresh("node");
    assert_eq!(
        ship(stack, &node, &[]).await?.status(),
        200,
        "an empty array is a sign of life"
    );
    let too_many: Vec<Value> = vec![json!({}); 1001];
    let answer = ship(stack, &node, &too_many).await?;
    assert_eq!(answer.status(), 413, "{}", answer.text());
    let mismatch = {
        let mut record = record(stack, &node, "t", 1).await?;
        record["started_at"] = "2026-01-01T00:00:00.000Z".into();
        record
    };
    assert_eq!(
        outcomes(&ship(stack, &node, &[mismatch]).await?),
        ["rejected"],
        "id and time differ"
    );
    for path in [
        "/api/v1/events",
        "/api/v1/usage",
        "/api/v1/tenants",
        "/api/v1/keys",
        "/api/v1/limits",
    ] {
        let answer = Connection::open(stack.api)
            .await?
            .send(&Request::get(path))
            .await?;
        assert_eq!(answer.status(), 401, "{path}: {}", answer.text());
        let answer = stack.api(Request::get(path)).await?;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
    let health = Connection::open(stack.api)
        .await?
        .send(&Request::get("/healthz"))
        .await?;
    assert_eq!(health.status(), 200);
    Ok(())
}

#[tokio::test]
async fn the_proxys_clock_decides_the_month_and_one_that_is_off_is_suspect() -> Result {
    let stack = shared().await?;
    let tenant = fresh("clock");
    for (clock, is_suspect) in [("as it is", false), ("six minutes behind", true)] {
        let node = fresh("node");
        let record = record(stack, &node, &tenant, 1).await?;
        let started_at = text(&record, "started_at");
        let sent_at: String = stack
            .sql()
            .await?
            .query_one(
                "select to_char(
                     ($1::text::timestamptz - case when $2 then interval '6 minutes' else '0' end) at time zone 'UTC',
                     'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
                &[&started_at, &is_suspect],
            )
            .await?
            .get(0);
        let answer = ship_at(stack, &node, &[record], &sent_at).await?;
        assert_eq!(outcomes(&answer), ["accepted"], "{}", answer.text());
        let rows = stack.rows_when(&format!("node = '{node}'"), 1).await?;
        assert_eq!(rows[0]["clock_suspect"], is_suspect, "{clock}");
        // Received by the collector's clock, booked by the proxy's.
        assert!(
            text(&rows[0], "received_at") > text(&rows[0], "started_at"),
            "{clock}"
        );
    }
    // Begun in October by its proxy, received today: of October.
    let node = fresh("node");
    let mut record = record(stack, &node, &tenant, 1).await?;
    let id = "019a3cb6-bbe7-7000-8000-000000000001";
    record["event_id"] = id.into();
    record["call_id"] = id.into();
    record["started_at"] = "2025-10-31T23:59:59.975Z".into();
    record["ended_at"] = record["started_at"].clone();
    let answer = ship(stack, &node, &[record]).await?;
    assert_eq!(outcomes(&answer), ["accepted"], "{}", answer.text());
    let rows = stack.rows_when(&format!("node = '{node}'"), 1).await?;
    assert_eq!(
        (text(&rows[0], "period"), &rows[0]["clock_suspect"]),
        ("2025-10-01".to_owned(), &Value::Bool(true))
    );
    Ok(())
}
