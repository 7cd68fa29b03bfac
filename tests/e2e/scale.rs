//! Two hundred thousand rows: the queries people run go through indexes.

use crate::{Result, chat, with_key};

/// Rows made from one real one.
const ROWS: i64 = 200_000;

#[tokio::test]
async fn queries_of_one_tenant_go_through_an_index() -> Result {
    let (stack, key) = with_key(&[]).await?;
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
    client
        .batch_execute("analyze farebox_private.usage_events")
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
    for query in [
        "select * from farebox.usage_events where tenant_id = 'tenant-7' and started_at >= now() - interval '1 minute' order by started_at desc limit 50",
        "select * from farebox.usage_events where tenant_id = 'tenant-7' and session_id = 'session-77'",
        by_id.as_str(),
        "select * from farebox.usage_events where response_id = 'response-77'",
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
