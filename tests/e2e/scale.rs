//! Two hundred thousand rows: the queries people run go through indexes.

use farebox_tests::wire::Request;

use crate::{Result, chat, text, with_key};

/// What an export may add to the collector's memory.
const EXPORT_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// Rows made from one real one.
const ROWS: i64 = 200_000;

#[tokio::test]
async fn queries_of_one_tenant_go_through_an_index() -> Result {
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
    multiply(&client).await?;
    roll_up(&client).await?;
    client
        .batch_execute(
            "analyze farebox_private.usage_events; analyze farebox_private.usage_daily; analyze farebox_private.usage_hourly",
        )
        .await?;
    let count: i64 = client
        .query_one("select count(*) from farebox.usage_events", &[])
        .await?
        .get(0);
    assert_eq!(count, ROWS + 1);
    let month: String = client
        .query_one("select to_char(now() at time zone 'UTC', 'YYYYMM')", &[])
        .await?
        .get(0);
    let event: uuid::Uuid = client
        .query_one(
            "select event_id from farebox_private.usage_events limit 1",
            &[],
        )
        .await?
        .get(0);
    let by_id = format!("select * from farebox.usage_events where event_id = '{event}'");
    let page = format!(
        "select * from farebox.usage_events where event_id < '{event}' order by event_id desc limit 50"
    );
    for query in [
        "select * from farebox.usage_events where tenant_id = 'tenant-7' and started_at >= now() - interval '1 minute' order by started_at desc limit 50",
        "select * from farebox.usage_events where tenant_id = 'tenant-7' and session_id = 'session-77'",
        by_id.as_str(),
        "select * from farebox.usage_events where response_id = 'response-77'",
        page.as_str(),
        "select * from farebox.sessions where tenant_id = 'tenant-7' and session_id = 'session-77'",
        "select * from farebox.runs where run_id = 'run-77'",
        "select * from farebox.spans where run_id = 'run-77'",
        "select model, sum(billed_usd) from farebox.usage_hourly where tenant_id = 'tenant-7' and hour >= '2026-01-01' and hour < '2026-02-01' group by model",
        "select * from farebox.invoice_preview('tenant-7', '2026-01-01')",
    ] {
        let plan = client
            .query(&format!("explain (costs off) {query}"), &[])
            .await?;
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index"), "{query}\n{plan}");
        // Empty months are read as they are; the full one never.
        assert!(
            !plan.contains(&format!("Seq Scan on usage_events_{month}")),
            "{query}\n{plan}"
        );
        for table in ["usage_hourly", "usage_daily"] {
            assert!(
                !plan.contains(&format!("Seq Scan on {table}")),
                "{query}\n{plan}"
            );
        }
    }
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
    let file = stack.folder.path().join("all.csv");
    stack.done(&["export", "--out", file.to_str().ok_or("no text")?])?;
    let grown = peak_bytes(collector)?.saturating_sub(before);
    let bytes = std::fs::metadata(&file)?.len();
    let lines =
        std::io::BufRead::lines(std::io::BufReader::new(std::fs::File::open(&file)?)).count();
    assert_eq!(lines, usize::try_from(ROWS)? + 12);
    assert!(
        grown < EXPORT_BYTES_MAX && bytes > 2 * EXPORT_BYTES_MAX,
        "{grown} for {bytes} bytes"
    );
    Ok(())
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

/// A month of roll-ups: 500 tenants, 30 days, four models.
async fn roll_up(client: &tokio_postgres::Client) -> Result {
    for (table, slot, value) in [
        ("usage_daily", "day", "date '2026-01-01' + day"),
        (
            "usage_hourly",
            "hour",
            "timestamptz '2026-01-01T00:00:00Z' + day * interval '1 day'",
        ),
    ] {
        let statement = format!(
            "insert into farebox_private.{table} ({slot}, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, billed_usd)
             select {value}, '2026-01-01', 'tenant-' || tenant, 'live', 'operator', 'openai', 'chat', 'model-' || model, 'priced', 'input_tokens', 1, 0.5
             from generate_series(1, 500) as tenant, generate_series(0, 29) as day, generate_series(1, 4) as model"
        );
        client.batch_execute(&statement).await?;
    }
    Ok(())
}

/// Copies the one row with ids, tenants and sessions of their own; the columns are read from the
/// catalog, so that a new one is not forgotten.
async fn multiply(client: &tokio_postgres::Client) -> Result {
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
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            // The same millisecond, another tail.
            "event_id" | "call_id" => {
                format!("overlay({column}::text placing lpad(to_hex(n), 12, '0') from 25)::uuid")
            }
            "tenant_id" => "'tenant-' || n % 500".to_owned(),
            "session_id" => "'session-' || n".to_owned(),
            "response_id" => "'response-' || n".to_owned(),
            "seq" => "n + 1000".to_owned(),
            "run_id" => "'run-' || n % 20000".to_owned(),
            "span_id" => "'span-' || n".to_owned(),
            "parent_span_id" => "'span-' || n - 20000".to_owned(),
            other => format!("\"{other}\""),
        })
        .collect();
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    let tenants = "insert into farebox_private.tenants (tenant_id, created_by) select 'tenant-' || n, 'test' from generate_series(1, 499) n on conflict do nothing";
    client.batch_execute(tenants).await?;
    let statement = format!(
        "insert into farebox_private.usage_events ({}) select {} from farebox_private.usage_events, generate_series(1, {ROWS}) n",
        names.join(", "),
        values.join(", ")
    );
    client.batch_execute(&statement).await?;
    Ok(())
}
