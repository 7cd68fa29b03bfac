//! Roll-ups are the ledger's sums, whoever books at the same time.

use farebox_collector::ingest::Outcome;
use serde_json::{Value, json};

use crate::support::{Ledger, Result, outcomes, record};

/// The rows of a roll-up made again from the events, and those that differ.
const DIFFERENCE: &str = "
    with parts as (
        select *, started_at as slot from farebox_private.usage_events
    ),
    meters as (
        select {slot} as slot, parts.period, tenant_id, customer_id, project, key_id, environment, paid_by,
            provider, endpoint, parts.model, pricing, 'calls' as meter,
            (attempt = 1 and part = 1)::integer::numeric as quantity, 0::numeric as cost, 0::numeric as billed,
            1 as events, (pricing in ('unpriced', 'partial'))::integer as unpriced
        from parts
        union all
        select {slot}, parts.period, tenant_id, customer_id, project, key_id, environment, paid_by,
            provider, endpoint, line ->> 'model', pricing, meter.key, meter.value::numeric, 0, 0, 0, 0
        from parts, jsonb_array_elements(lines::jsonb) as line, jsonb_each_text(line -> 'usage') as meter
        where pricing <> 'repeat'
        union all
        select {slot}, parts.period, tenant_id, customer_id, project, key_id, environment, paid_by,
            provider, endpoint, charge ->> 'model', pricing, charge ->> 'meter', 0,
            coalesce((charge ->> 'cost_usd')::numeric, 0), coalesce((charge ->> 'billed_usd')::numeric, 0), 0, 0
        from parts, jsonb_array_elements(farebox_private.charges_of(charges, true)) as charge
    ),
    made as (
        select slot, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
            endpoint, model, pricing, meter, sum(quantity), sum(cost), sum(billed), sum(events)::bigint,
            sum(unpriced)::bigint
        from meters
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
    ),
    kept as (
        select {column}, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
            endpoint, model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events)::bigint,
            sum(unpriced_events)::bigint
        from farebox_private.{table}
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
    )
    select (select count(*) from made) || ' rows, '
        || (select count(*) from (select * from made except select * from kept) as missing) || ' missing, '
        || (select count(*) from (select * from kept except select * from made) as invented) || ' invented'";

async fn difference(ledger: &Ledger, table: &str, column: &str, slot: &str) -> Result<String> {
    let sql = DIFFERENCE
        .replace("{table}", table)
        .replace("{column}", column)
        .replace("{slot}", slot);
    ledger.one(&sql).await
}

fn mixed(number: u64) -> Value {
    let tenant = ["acme", "globex", "initech"][(number % 3) as usize];
    let tenant = (!number.is_multiple_of(11)).then_some(tenant);
    let at = format!("2026-11-{:02}T{:02}:30:00.5Z", 1 + number % 28, number % 24);
    let mut record = record(tenant, &at, number);
    match number % 5 {
        1 => {
            record["lines"] = json!([
                {"model": "gpt-4o-mini", "usage": {"input_tokens": "10", "cache_read_tokens": "4"}},
                {"model": "gpt-4o-mini", "conditions": {"service_tier": "flex"}, "usage": {"input_tokens": "10"}},
                {"model": "no-such", "usage": {"output_tokens": "1.5"}},
            ]);
        }
        2 => record["customer_id"] = format!("customer-{}", number % 4).into(),
        3 => record["attempt"] = 2.into(),
        4 => {
            record["provider"] = "deepgram".into();
            record["upstream"] = "deepgram".into();
            record["endpoint"] = "listen".into();
            record["lines"] = json!([{"model": "nova-3", "usage": {"audio_seconds": "25.933313"}}]);
        }
        _ => {}
    }
    record["claimed_usd"] = json!(null);
    record
}

#[tokio::test]
async fn roll_ups_are_the_sums_of_the_events() -> Result {
    let ledger = Ledger::new().await?;
    ledger
        .sql()
        .await?
        .batch_execute("insert into farebox_private.tenants (tenant_id, time_zone) values ('acme', 'America/New_York')")
        .await?;
    // Four collectors, each sending what its neighbour sends too: locks are taken in one order.
    let batches: Vec<Vec<Value>> = (0..4)
        .map(|part| {
            (part * 150..part * 150 + 300)
                .map(|n| mixed(n % 600 + 1))
                .collect()
        })
        .collect();
    let (a, b, c, d) = tokio::join!(
        ledger.ship(&batches[0]),
        ledger.ship(&batches[1]),
        ledger.ship(&batches[2]),
        ledger.ship(&batches[3]),
    );
    let receipts: Vec<Outcome> = [a?, b?, c?, d?].iter().flat_map(outcomes).collect();
    let of = |wanted| {
        receipts
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    assert_eq!((of(Outcome::Accepted), of(Outcome::Duplicate)), (600, 600));
    let hourly = difference(
        &ledger,
        "usage_hourly",
        "hour",
        "date_trunc('hour', slot, 'UTC')",
    )
    .await?;
    // A day of New York is in two days of UTC.
    let daily = difference(
        &ledger,
        "usage_daily",
        "day || ' ' || utc_day",
        "day || ' ' || (slot at time zone 'UTC')::date",
    )
    .await?;
    for compared in [hourly, daily] {
        assert!(
            compared.ends_with("rows, 0 missing, 0 invented"),
            "{compared}"
        );
        assert!(!compared.starts_with("0 "), "{compared}");
    }
    let preview = "select coalesce(trim_scale(sum(billed_usd)), 0)::text from farebox.";
    for tenant in ["acme", "globex", "initech"] {
        let invoice: String = ledger
            .one(&format!(
                "{preview}invoice_preview('{tenant}', '2026-11-01')"
            ))
            .await?;
        let events: String = ledger
            .one(&format!(
                "{preview}usage_events where tenant_id = '{tenant}' and period = '2026-11-01'"
            ))
            .await?;
        assert_eq!(invoice, events, "{tenant}");
        assert_ne!(invoice, "0");
    }
    ledger.drop_database().await
}

#[tokio::test]
async fn the_contracts_queries_run_as_they_are() -> Result {
    let ledger = Ledger::new().await?;
    let batch: Vec<_> = (1..=10).map(mixed).collect();
    ledger.ship(&batch).await?;
    let client = ledger.sql_as("farebox_reader").await?;
    client.batch_execute("set search_path to farebox").await?;
    for query in [
        "select tenant_id, count(*) as session_count, sum(total_cost_usd) as total_cost from sessions where started_at >= '2026-05-01' group by tenant_id order by total_cost desc",
        "select * from farebox.invoice_preview('acme', '2026-11-01')",
        "select id, run_id, tenant_id, customer_id, provider, cost_usd, created_at from trace_events",
        "select * from requests",
        "select * from rates where model = 'gpt-4o-mini'",
        "select * from rate_cards where is_active",
        "select * from tenant_index order by last_seen desc",
        "select * from unattributed_usage",
        "select (explain(event_id)).* from usage_events where tenant_id = 'globex'",
    ] {
        let rows = client
            .query(query, &[])
            .await
            .map_err(|error| format!("{query}: {error:?}"))?;
        assert!(
            !rows.is_empty() || query.contains("unattributed"),
            "{query}"
        );
    }
    ledger.drop_database().await
}
