//! Two hundred thousand rows, or as many as asked for: what people ask goes through indexes and roll-ups.

mod month;
mod questions;

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use farebox_tests::stack::{Stack, world};
use farebox_tests::wire::Request;
use tokio_postgres::Client;

use crate::{Result, chat, text};
use questions::QUESTIONS;

/// Rows made from one real one; `make soak` asks for ten million.
const ROWS: &str = "FAREBOX_BOOKS_ROWS";
const ROWS_DEFAULT: i64 = 200_000;
/// What an export may add to the collector's memory.
const EXPORT_GROWTH_MAX: u64 = 32 * 1024 * 1024;
/// What the client of an export may have in memory.
const CLIENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Answers timed of each question, for people to read.
const ANSWERS: usize = 5;
/// Longest wait for a plan in the database's log.
const LOGGED_MAX: Duration = Duration::from_secs(30);
/// As many rows as the bounds on answers are stated for.
const ROWS_STATED: i64 = 10_000_000;

#[tokio::test]
async fn what_people_ask_of_many_rows_goes_through_indexes_and_roll_ups() -> Result {
    let rows = std::env::var(ROWS)
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(ROWS_DEFAULT);
    let mut stack = Stack::prepare(&[]).await?;
    // Its connections can be told to write down how they answer.
    stack
        .sql()
        .await?
        .batch_execute(&format!(
            "alter database {} set session_preload_libraries = 'auto_explain'",
            stack.database
        ))
        .await?;
    stack.start_collector().await?;
    stack.start_proxy().await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    assert_eq!(
        stack
            .send(&chat(&key, "seed").with("x-farebox-tenant", "tenant-0"))
            .await?
            .status(),
        200
    );
    stack.rows_when("true", 1).await?;
    let client = stack.sql().await?;
    let started = Instant::now();
    month::fill(&client, rows).await?;
    println!("{rows} rows and their sums made in {:?}", started.elapsed());
    let made = client
        .query_one(
            "select
                (select count(*) from farebox_private.usage_events),
                (select sum(events)::bigint from farebox_private.total_sums),
                (select count(*) from farebox_private.check_rollups('2026-09-10', '2026-09-11'))",
            &[],
        )
        .await?;
    let made: [i64; 3] = [made.get(0), made.get(1), made.get(2)];
    assert_eq!(made, [rows + 1, rows + 1, 0]);
    plans(&client).await?;
    sums(&stack, &client).await?;
    found(&stack, &client).await?;
    answers(&stack, rows).await?;
    plans_of_answers(&stack).await?;
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
    exports(&mut stack, rows).await
}

/// Files of all of it, or of the first ten days of the suite's: what collector and client hold does not grow with them.
async fn exports(stack: &mut Stack, rows: i64) -> Result {
    let collector = stack.collector()?.pid();
    let (to, expected) = match rows > ROWS_DEFAULT {
        true => ("2026-10-01", rows),
        false => ("2026-09-11", rows / 3),
    };
    for format in ["csv", "clients", "focus", "json"] {
        let to = match format {
            "json" => "2026-09-05",
            _ => to,
        };
        let (before, started) = (peak_bytes(collector)?, Instant::now());
        let file = exported(
            stack,
            &["--format", format, "--from", "2026-09-01", "--to", to],
        )?;
        let grown = peak_bytes(collector)?.saturating_sub(before);
        println!(
            "{format}: {} lines, {} MiB in {:?}; the collector grew by {grown} to {before}, the client had {} bytes",
            file.lines,
            file.bytes >> 20,
            started.elapsed(),
            file.client,
        );
        assert!(grown < EXPORT_GROWTH_MAX, "{format}: {grown}");
        assert!(file.client < CLIENT_BYTES_MAX, "{format}: {}", file.client);
        match format {
            // A heading.
            "csv" => assert_eq!(file.lines, u64::try_from(expected)? + 1),
            _ => assert!(file.lines > 1_000, "{format}"),
        }
        let is_large = matches!(format, "csv" | "json");
        assert!(
            !is_large || file.bytes > 2 * EXPORT_GROWTH_MAX,
            "{format}: {}",
            file.bytes
        );
    }
    Ok(())
}

/// Nothing that is asked of one tenant, call, session or run reads a whole month.
async fn plans(client: &Client) -> Result {
    let row = client
        .query_one(
            "select event_id::text from farebox_private.usage_events where response_id = 'response-7777'",
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
            "select * from farebox.usage_events where tenant_id is null order by event_id desc limit 50",
            "event_id_idx",
        ),
        (
            "select * from farebox.usage_events where ending = 'timeout' order by event_id desc limit 50",
            "ending_event_id_idx",
        ),
        (
            "select * from farebox.usage_events where status = 504 order by event_id desc limit 50",
            "status_event_id_idx",
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
        for table in ["usage_events_202609", "hourly_sums", "daily_sums"] {
            assert!(
                !plan.contains(&format!("Seq Scan on {table}")),
                "{query}\n{plan}"
            );
        }
    }
    Ok(())
}

/// The invoice of a tenant's month is the sum of the rows of its own month, the usage by model that of the
/// month in UTC: to the last digit, wherever the tenant's days begin.
async fn sums(stack: &Stack, client: &Client) -> Result {
    // One of UTC, one in whose zone the month begins later, one where it begins within an hour of UTC.
    for tenant in ["tenant-7", "tenant-5", "tenant-10"] {
        let booked = async |condition: &str| -> Result<(String, String)> {
            let rows = format!(
                "select trim_scale(sum(billed_usd))::text, count(*)::text
                 from farebox.usage_events where tenant_id = '{tenant}' and {condition}"
            );
            let row = client.query_one(&rows, &[]).await?;
            Ok((row.get(0), row.get(1)))
        };
        let (billed, _) = booked("period = '2026-09-01'").await?;
        let invoice = format!("/api/v1/invoices/preview?tenant={tenant}&month=2026-09");
        let invoice = stack.api(Request::get(&invoice)).await?.json();
        assert_eq!(text(&invoice, "billed_usd"), billed, "{invoice}");
        for (from, to) in [
            ("2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z"),
            ("2026-09-10T07:00:00Z", "2026-09-20T19:00:00Z"),
        ] {
            let span = format!("started_at >= '{from}' and started_at < '{to}'");
            let (billed, calls) = booked(&span).await?;
            let usage = format!("/api/v1/usage?tenant={tenant}&group_by=model&from={from}&to={to}");
            let usage = stack.api(Request::get(&usage)).await?.json();
            assert_eq!(text(&usage["total"], "billed_usd"), billed, "{usage}");
            assert_eq!(text(&usage["total"], "calls"), calls);
        }
    }
    let row = client
        .query_one(
            "select trim_scale(sum(billed_usd))::text, count(*)::text, count(distinct model)
             from farebox_private.usage_events where started_at < '2026-10-01'",
            &[],
        )
        .await?;
    let usage = "/api/v1/usage?group_by=model&from=2026-09-01&to=2026-10-01";
    let usage = stack.api(Request::get(usage)).await?.json();
    let (billed, calls): (String, String) = (row.get(0), row.get(1));
    assert_eq!(text(&usage["total"], "billed_usd"), billed);
    assert_eq!(text(&usage["total"], "calls"), calls);
    let models = usage["items"].as_array().map(Vec::len);
    assert_eq!(models, usize::try_from(row.get::<_, i64>(2)).ok());
    Ok(())
}

/// Pages of what few events have, or none, are those that reading all events gives.
async fn found(stack: &Stack, client: &Client) -> Result {
    for (query, condition) in [
        ("customer=customer-5", "customer_id = 'customer-5'"),
        (
            "customer=customer-5&tenant=tenant-0",
            "customer_id = 'customer-5' and tenant_id = 'tenant-0'",
        ),
        (
            "customer=customer-5&unattributed=true",
            "customer_id = 'customer-5' and tenant_id is null",
        ),
        (
            "customer=customer-5&from=2026-09-04T05:30:00Z&to=2026-09-21T17:10:00Z",
            "customer_id = 'customer-5' and started_at >= '2026-09-04T05:30:00Z' and started_at < '2026-09-21T17:10:00Z'",
        ),
        ("unattributed=true", "tenant_id is null"),
        ("pricing=unpriced", "pricing = 'unpriced'"),
        (
            "pricing=unpriced&environment=live&tenant=tenant-0",
            "pricing = 'unpriced' and environment = 'live' and tenant_id = 'tenant-0'",
        ),
        ("ending=timeout", "ending = 'timeout'"),
        (
            "status=504&tenant=tenant-0",
            "status = 504 and tenant_id = 'tenant-0'",
        ),
        (
            "usage_source=missing&provider=openai",
            "usage_source = 'missing' and provider = 'openai'",
        ),
        (
            "customer=customer-5&agent=none",
            "customer_id = 'customer-5' and agent = 'none'",
        ),
        ("model=none", "model = 'none'"),
    ] {
        let sql = format!(
            "select event_id::text from farebox.usage_events where {condition} order by event_id desc limit 90"
        );
        let expected: Vec<String> = (client.query(&sql, &[]).await?.iter())
            .map(|row| row.get(0))
            .collect();
        assert_eq!(expected.is_empty(), query.contains("=none"), "{query}");
        let mut seen = Vec::new();
        let mut cursor = String::new();
        while seen.len() < 90 {
            let path = format!("/api/v1/events?limit=30&{query}{cursor}");
            let page = stack.api(Request::get(&path)).await?.json();
            let items = page["items"].as_array().ok_or("no items")?;
            seen.extend(items.iter().map(|event| text(event, "event_id")));
            if page["next_cursor"].is_null() {
                break;
            }
            cursor = format!("&cursor={}", text(&page, "next_cursor"));
        }
        assert_eq!(seen, expected, "{query}");
    }
    Ok(())
}

/// How long answers take, for people to read: a machine that does other things as well says little. The
/// bounds hold where they are stated.
async fn answers(stack: &Stack, rows: i64) -> Result {
    let mut late = Vec::new();
    for (what, path, bound) in QUESTIONS {
        let mut took = Vec::with_capacity(ANSWERS);
        for _ in 0..ANSWERS {
            let started = Instant::now();
            let answer = stack.api(Request::get(path)).await?;
            took.push(started.elapsed());
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        }
        took.sort();
        let middle = took[ANSWERS / 2];
        println!("{what}: {middle:?} in the middle of {ANSWERS}, {bound:?} at most");
        if middle >= bound {
            late.push(what);
        }
    }
    assert!(rows < ROWS_STATED || late.is_empty(), "{late:?}");
    Ok(())
}

/// The plans of the very statements that the collector asks, as the database writes them down: invoices and
/// usage read no hour, usage no event, and of one tenant only its own days.
async fn plans_of_answers(stack: &Stack) -> Result {
    let client = stack.sql().await?;
    for statement in [
        "load 'auto_explain'",
        "alter system set auto_explain.log_min_duration = 0",
        "alter system set auto_explain.log_nested_statements = on",
        "select pg_reload_conf()",
    ] {
        client.batch_execute(statement).await?;
    }
    let log = world()?.cluster.folder().join("log");
    for (what, path, _) in QUESTIONS {
        let begin = usize::try_from(std::fs::metadata(&log)?.len())?;
        let plan = farebox_tests::wait::eventually(what, LOGGED_MAX, || async {
            let answer = stack
                .api(Request::get(path))
                .await
                .map_err(|error| error.to_string())?;
            assert_eq!(answer.status(), 200);
            let log = std::fs::read(&log).map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&log[begin..]).into_owned();
            let plans: Vec<&str> = said.split("Query Text:").skip(1).collect();
            let read = |table: &str| {
                plans
                    .iter()
                    .any(|plan| plan.contains(&format!(" on {table}")))
            };
            let tables = [
                "total_sums",
                "daily_sums",
                "usage_events_202609",
                "customers",
            ];
            if tables.into_iter().any(read) {
                Ok(said)
            } else {
                Err(said)
            }
        })
        .await?;
        let reads = |table: &str| plan.contains(&format!(" on {table}"));
        assert!(
            !plan.contains("Seq Scan on usage_events_202609"),
            "{what}\n{plan}"
        );
        for table in ["hourly_sums", "tenant_sessions"] {
            let whole = format!("Seq Scan on {table}");
            assert!(!plan.contains(&whole), "{what}\n{plan}");
        }
        // Hours are for what few events have.
        if !path.contains("/events") {
            assert!(!reads("hourly_sums"), "{what}\n{plan}");
        }
        // Compiling one of these takes longer than answering it.
        assert!(!plan.contains("JIT:"), "{what}\n{plan}");
        // An invoice looks for what has no price, by an index that has nothing else.
        if path.contains("/usage") {
            assert!(!reads("usage_events_202609"), "{what}\n{plan}");
        }
        if path.contains("tenant=") {
            assert!(!plan.contains("Seq Scan on daily_sums"), "{what}\n{plan}");
        }
        // What parts no customer, project or key is not read where they are parted; no list reads events that it does not show.
        if path.contains("/usage") || path.contains("/tenants") {
            assert!(!reads("daily_sums"), "{what}\n{plan}");
        }
        if path.contains("model=none") {
            assert!(!reads("usage_events_202609"), "{what}\n{plan}");
        }
        if path.contains("/tenants") {
            assert!(reads("tenant_sessions"), "{what}\n{plan}");
        }
    }
    for statement in [
        "alter system reset auto_explain.log_min_duration",
        "alter system reset auto_explain.log_nested_statements",
        "select pg_reload_conf()",
    ] {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

/// A file that nobody keeps, and the most memory that its client had.
struct Exported {
    lines: u64,
    bytes: u64,
    client: u64,
}

fn exported(stack: &Stack, arguments: &[&str]) -> Result<Exported> {
    let mut child = stack
        .client(&[&["export"], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut out = child.stdout.take().ok_or("no output")?;
    let mut file = Exported {
        lines: 0,
        bytes: 0,
        client: 0,
    };
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = out.read(&mut piece)?;
        if read == 0 {
            break;
        }
        file.lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        file.bytes += read as u64;
        // It is there as long as there is something to read; what it has had never falls.
        if let Ok(peak) = peak_bytes(child.id()) {
            file.client = peak;
        }
    }
    assert!(child.wait()?.success());
    Ok(file)
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
