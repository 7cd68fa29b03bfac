//! A month of many rows, made of one real one by the database itself.

use tokio_postgres::Client;

use crate::Result;

/// Tenants; a quarter of all rows is the first one's, and a fifth of the tenants live in other zones.
pub(super) const TENANTS: i64 = 50;
/// Calls of one session.
pub(super) const SESSION_CALLS: i64 = 4;
/// Rows of one statement, so that what the database has to put aside for it stays within bounds.
const CHUNK: i64 = 500_000;
/// Days whose sums are made at a time, for the same reason.
const DAYS: [&str; 5] = [
    "2026-08-31",
    "2026-09-09",
    "2026-09-17",
    "2026-09-25",
    "2026-10-03",
];

/// Fills September 2026: every hour of it, each tenant with four of twelve models, two projects and three
/// customers. Sums are made of the rows as they are made anew after an accident.
pub(super) async fn fill(client: &Client, rows: i64) -> Result {
    client
        .batch_execute(&format!(
            "insert into farebox_private.tenants (tenant_id, created_by, time_zone)
             select 'tenant-' || n, 'test', case n % 10 when 0 then 'Asia/Kolkata' when 5 then 'America/New_York' else 'UTC' end
             from generate_series(1, {TENANTS} - 1) n;
             select farebox_private.ensure_partition('2026-09-01');
             select farebox_private.ensure_partition('2026-10-01')"
        ))
        .await?;
    // Compiling these takes longer than what it saves, and so does sorting on disk.
    client
        .batch_execute("set jit = off; set work_mem = '128MB'")
        .await?;
    let statement = statement(client, rows).await?;
    for first in (1..=rows).step_by(usize::try_from(CHUNK)?) {
        let last = rows.min(first + CHUNK - 1);
        client
            .execute(&statement, &[&i32::try_from(first)?, &i32::try_from(last)?])
            .await?;
    }
    let days = if rows > CHUNK {
        &DAYS[..]
    } else {
        &[DAYS[0], DAYS[4]]
    };
    for days in days.windows(2) {
        client
            .batch_execute(&format!(
                "select farebox_private.rebuild_rollups('{}', '{}')",
                days[0], days[1]
            ))
            .await?;
    }
    // What autovacuum does within the hour.
    for table in ["usage_events", "daily_sums", "hourly_sums", "new_sums"] {
        client
            .batch_execute(&format!("vacuum (analyze) farebox_private.{table}"))
            .await?;
    }
    Ok(())
}

/// The columns are read from the catalog, so that a new one is not forgotten.
async fn statement(client: &Client, rows: i64) -> Result<String> {
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
            "started_at" | "ended_at" | "received_at" => "at".to_owned(),
            "period" => "date_trunc('month', at at time zone zone)::date".to_owned(),
            "day" => "(at at time zone zone)::date".to_owned(),
            "tenant_id" => "month.tenant_id".to_owned(),
            "customer_id" => "'customer-' || s % 3".to_owned(),
            "project" => "'project-' || s % 2".to_owned(),
            "session_id" => "'session-' || s".to_owned(),
            "response_id" => "'response-' || n".to_owned(),
            "upstream_request_id" => "'request-' || n".to_owned(),
            "seq" => "n + 1000".to_owned(),
            "run_id" => "'run-' || n % 20000".to_owned(),
            "span_id" => "'span-' || n".to_owned(),
            "parent_span_id" => "'span-' || n - 20000".to_owned(),
            "model" => "month.model".to_owned(),
            // The model of their lines.
            "lines" | "charges" => format!("replace({column}, seed.model, month.model)"),
            other => format!("seed.\"{other}\""),
        })
        .collect();
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    Ok(format!(
        "insert into farebox_private.usage_events ({names})
         select {values}
         from (select * from farebox_private.usage_events where session_id = 'seed') as seed,
             lateral (
                 select n, s, of_session.tenant_id, tenants.time_zone as zone,
                     'model-' || (s % {TENANTS} * 5 + s / {TENANTS} % 4) % 12 as model,
                     timestamptz '2026-09-01T00:00:00Z'
                         + floor(n * 2592000.0 / {end}) * interval '1 second' as at
                 from generate_series($1::integer, $2::integer) n,
                     lateral (select n / {SESSION_CALLS} as s) as session,
                     lateral (
                         select 'tenant-' || case when s % 4 = 0 then 0 else s % {TENANTS} end as tenant_id
                     ) as of_session
                 join farebox_private.tenants using (tenant_id)
             ) as month",
        names = names.join(", "),
        values = values.join(", "),
        end = rows + 1,
    ))
}
