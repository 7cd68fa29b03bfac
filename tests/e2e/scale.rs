//! Two hundred thousand rows, or as many as asked for: what people ask goes through indexes and roll-ups.

use std::process::{Command, Stdio};
use std::time::Instant;

use farebox_tests::stack::Stack;
use farebox_tests::wire::Request;
use tokio_postgres::Client;

use crate::{Result, chat, text, with_key};

/// Rows made from one real one; `make soak` asks for ten million.
const ROWS: &str = "FAREBOX_BOOKS_ROWS";
const ROWS_DEFAULT: i64 = 200_000;
/// What an export may add to the collector's memory.
const EXPORT_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// Answers timed of each question, for people to read.
const ANSWERS: usize = 5;

#[tokio::test]
async fn what_people_ask_of_many_rows_goes_through_indexes_and_roll_ups() -> Result {
    let rows = std::env::var(ROWS)
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(ROWS_DEFAULT);
    let (mut stack, key) = with_key(&[]).await?;
    assert_eq!(
        stack
            .send(&chat(&key, "seed").with("x-farebox-tenant", "tenant-0"))
            .await?
            .status(),
        200
    );
    stack.rows_when("true", 1).await?;
    let client = stack.sql().await?;
    fill(&client, rows).await?;
    let count: i64 = client
        .query_one("select count(*) from farebox.usage_events", &[])
        .await?
        .get(0);
    assert_eq!(count, rows + 1);
    plans(&client).await?;
    sums(&stack, &client).await?;
    answers(&stack).await?;
    // Ten thousand, page by page, while others arrive.
    let expected: Vec<String> = client
        .query(
            "select event_id::text from farebox.usage_events order by event_id desc limit 10000",
            &[],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0..10 {
        let path = format!("/api/v1/events?limit=1000{cursor}");
        let found = stack.api(Request::get(&path)).await?.json();
        let items = found["items"].as_array().ok_or("no items")?;
        seen.extend(items.iter().map(|event| text(event, "event_id")));
        cursor = format!("&cursor={}", text(&found, "next_cursor"));
        let late = chat(&key, &format!("late-{page}")).with("x-farebox-tenant", "tenant-0");
        assert_eq!(stack.send(&late).await?.status(), 200);
        stack
            .rows_when(&format!("session_id = 'late-{page}'"), 1)
            .await?;
    }
    assert_eq!(seen, expected);
    // All of it as a file: what the collector holds does not grow with it.
    let collector = stack.collector()?.pid();
    let before = peak_bytes(collector)?;
    let (lines, bytes) = exported(&stack)?;
    let grown = peak_bytes(collector)?.saturating_sub(before);
    assert_eq!(lines, u64::try_from(rows)? + 12);
    assert!(
        grown < EXPORT_BYTES_MAX && bytes > 2 * EXPORT_BYTES_MAX,
        "{grown} for {bytes} bytes"
    );
    Ok(())
}

/// Rows of a September, spread over it, through its partition; a quarter of them is one tenant's. Sums
/// are made of them as they are made anew after an accident.
async fn fill(client: &Client, rows: i64) -> Result {
    client
        .batch_execute(
            "insert into farebox_private.tenants (tenant_id, created_by)
             select 'tenant-' || n, 'test' from generate_series(1, 49) n on conflict do nothing;
             select farebox_private.ensure_partition('2026-09-01')",
        )
        .await?;
    // The columns are read from the catalog, so that a new one is not forgotten.
    let columns: Vec<String> = client
        .query(
            "select attname::text from pg_attribute
             where attrelid = 'farebox_private.usage_events'::regclass and attnum > 0 and not attisdropped and attgenerated = ''
             order by attnum",
            &[],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let id = "(lpad(to_hex(extract(epoch from at)::bigint * 1000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid";
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "event_id" | "call_id" => id.to_owned(),
            "started_at" | "ended_at" => "at".to_owned(),
            "period" => "date '2026-09-01'".to_owned(),
            "day" => "(at at time zone 'UTC')::date".to_owned(),
            "tenant_id" => "'tenant-' || case when n % 4 = 0 then 0 else n % 50 end".to_owned(),
            "session_id" => "'session-' || n".to_owned(),
            "response_id" => "'response-' || n".to_owned(),
            "upstream_request_id" => "'request-' || n".to_owned(),
            "seq" => "n + 1000".to_owned(),
            "run_id" => "'run-' || n % 20000".to_owned(),
            "span_id" => "'span-' || n".to_owned(),
            "parent_span_id" => "'span-' || n - 20000".to_owned(),
            "model" => "'model-' || n % 2".to_owned(),
            // The model of their lines.
            "lines" | "charges" => format!("replace({column}, seed.model, 'model-' || n % 2)"),
            other => format!("seed.\"{other}\""),
        })
        .collect();
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    let statement = format!(
        "insert into farebox_private.usage_events ({})
         select {}
         from farebox_private.usage_events as seed,
             generate_series(1, {rows}) n,
             lateral (select timestamptz '2026-09-01T00:00:00Z'
                 + floor(n * 30.0 / {}) * interval '1 day'
                 + n / 4 % 4 * interval '6 hours'
                 + n % 3600 * interval '1 second' as at) as moment",
        names.join(", "),
        values.join(", "),
        rows + 1
    );
    client.batch_execute(&statement).await?;
    // Ten days at a time, so that what is put aside for it stays within bounds.
    client
        .batch_execute(
            "select farebox_private.rebuild_rollups('2026-09-01', '2026-09-11');
             select farebox_private.rebuild_rollups('2026-09-11', '2026-09-21');
             select farebox_private.rebuild_rollups('2026-09-21', '2026-10-01');
             analyze farebox_private.usage_events;
             analyze farebox_private.usage_daily;
             analyze farebox_private.usage_hourly",
        )
        .await?;
    Ok(())
}

/// Nothing that is asked of one tenant, call, session or run reads a whole month.
async fn plans(client: &Client) -> Result {
    let row = client
        .query_one(
            "select event_id::text from farebox_private.usage_events where session_id = 'session-7777'",
            &[],
        )
        .await?;
    let event: &str = row.get(0);
    let by_id = format!("select * from farebox.usage_events where event_id = '{event}'");
    let page = format!(
        "select * from farebox.usage_events where event_id < '{event}' order by event_id desc limit 50"
    );
    for (query, index) in [
        (
            "select * from farebox.usage_events where tenant_id = 'tenant-7' and started_at >= '2026-09-30' order by started_at desc limit 50",
            "tenant_id_started_at_idx",
        ),
        (
            "select * from farebox.usage_events where tenant_id = 'tenant-7' order by started_at desc, event_id desc limit 50",
            "tenant_id_started_at_idx",
        ),
        (
            "select * from farebox.usage_events where tenant_id = 'tenant-0' order by started_at desc, event_id desc limit 50",
            "tenant_id_started_at_idx",
        ),
        (
            "select * from farebox.usage_events where tenant_id = 'tenant-7' and session_id = 'session-7007'",
            "session_id_idx",
        ),
        (by_id.as_str(), "_pkey"),
        (
            "select * from farebox.usage_events where response_id = 'response-77'",
            "response_id_idx",
        ),
        (
            "select * from farebox.usage_events where upstream_request_id = 'request-77'",
            "upstream_request_id_idx",
        ),
        (page.as_str(), "_pkey"),
        (
            "select * from farebox.sessions where tenant_id = 'tenant-7' and session_id = 'session-7007'",
            "session_id_idx",
        ),
        (
            "select * from farebox.runs where run_id = 'run-77'",
            "run_id_span_id_idx",
        ),
        (
            "select * from farebox.spans where run_id = 'run-77'",
            "run_id_span_id_idx",
        ),
        (
            "select model, sum(billed_usd) from farebox.usage_hourly where tenant_id = 'tenant-7' and hour >= '2026-09-01' and hour < '2026-10-01' group by model",
            "usage_hourly_key",
        ),
        (
            "select model, sum(billed_usd) from farebox.usage_daily where tenant_id = 'tenant-7' and period = '2026-09-01' group by model",
            "usage_daily_",
        ),
        (
            "select * from farebox.invoice_preview('tenant-7', '2026-09-01')",
            "usage_daily_",
        ),
    ] {
        let plan = client
            .query(&format!("explain (costs off) {query}"), &[])
            .await?;
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(
            plan.lines()
                .any(|line| line.contains("Index") && line.contains(index)),
            "{query}\n{plan}"
        );
        // Empty months are read as they are; the full one never.
        for table in ["usage_events_202609", "usage_hourly", "usage_daily"] {
            assert!(
                !plan.contains(&format!("Seq Scan on {table}")),
                "{query}\n{plan}"
            );
        }
    }
    Ok(())
}

/// The invoice, the usage by model and the rows of a tenant's month have one sum.
async fn sums(stack: &Stack, client: &Client) -> Result {
    let booked = "select trim_scale(sum(billed_usd))::text, count(*)::text
        from farebox.usage_events where tenant_id = 'tenant-7' and period = '2026-09-01'";
    let row = client.query_one(booked, &[]).await?;
    let (billed, calls): (String, String) = (row.get(0), row.get(1));
    let invoice = "/api/v1/invoices/preview?tenant=tenant-7&month=2026-09";
    let invoice = stack.api(Request::get(invoice)).await?.json();
    assert_eq!(text(&invoice, "billed_usd"), billed, "{invoice}");
    let usage = "/api/v1/usage?tenant=tenant-7&group_by=model&from=2026-09-01T00:00:00Z&to=2026-10-01T00:00:00Z";
    let usage = stack.api(Request::get(usage)).await?.json();
    assert_eq!(text(&usage["total"], "billed_usd"), billed, "{usage}");
    assert_eq!(text(&usage["total"], "calls"), calls);
    Ok(())
}

/// How long answers take, for people to read: a machine that does other things as well says little.
async fn answers(stack: &Stack) -> Result {
    for (what, path) in [
        (
            "invoice of a tenant's month",
            "/api/v1/invoices/preview?tenant=tenant-0&month=2026-09",
        ),
        (
            "usage of a tenant by model over a month",
            "/api/v1/usage?tenant=tenant-0&group_by=model&from=2026-09-01&to=2026-10-01",
        ),
        (
            "usage of all by model over a month",
            "/api/v1/usage?group_by=model&from=2026-09-01&to=2026-10-01",
        ),
        ("page of events", "/api/v1/events?limit=100"),
        (
            "page of a tenant's events",
            "/api/v1/events?limit=100&tenant=tenant-7",
        ),
        (
            "page of the largest tenant's events",
            "/api/v1/events?limit=100&tenant=tenant-0",
        ),
        (
            "event by response id",
            "/api/v1/events?response_id=response-77",
        ),
    ] {
        let mut took = Vec::with_capacity(ANSWERS);
        for _ in 0..ANSWERS {
            let started = Instant::now();
            let answer = stack.api(Request::get(path)).await?;
            took.push(started.elapsed());
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        }
        took.sort();
        println!("{what}: {:?} in the middle of {ANSWERS}", took[ANSWERS / 2]);
    }
    Ok(())
}

/// Lines and bytes of everything as CSV, which nobody keeps.
fn exported(stack: &Stack) -> Result<(u64, u64)> {
    let mut child = stack
        .client(&["export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let counted = Command::new("wc").args(["-l", "-c"]).stdin(out).output()?;
    assert!(child.wait()?.success());
    let counted = String::from_utf8(counted.stdout)?;
    let mut counts = counted.split_whitespace().map(str::parse);
    let mut next = || counts.next().ok_or("wc counts both");
    Ok((next()??, next()??))
}

/// The most a process has had in memory.
fn peak_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmHWM")?;
    Ok(kib.parse::<u64>()? * 1024)
}
