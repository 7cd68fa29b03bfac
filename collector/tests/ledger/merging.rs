//! What a wide batch adds is set aside and merged later: nobody who reads sums can tell.

use std::cell::Cell;
use std::time::{Duration, Instant};

use farebox_collector::ingest::Outcome;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{Ledger, Result, outcomes, record};

/// Longest wait for connections to end.
const PATIENCE: Duration = Duration::from_secs(20);
const AT: &str = "2026-11-22T10:30:00Z";
const MERGE: &str = "select farebox_private.merge_sums()";
const ASIDE: &str = "select count(*) from farebox_private.new_sums";
/// Sums of the public face that are not the ledger's.
const DIFFERING: &str =
    "select count(*) from farebox_private.check_rollups('2026-11-01', '2026-12-01')";

/// Calls of two tenants and twenty customers, and of nobody.
fn wide(first: u64) -> Vec<Value> {
    (first..first + 90)
        .map(|number| {
            let tenant = ["acme", "globex"][(number % 2) as usize];
            let mut record = record((number % 9 != 0).then_some(tenant), AT, number);
            record["customer_id"] = format!("customer-{}", number % 20).into();
            record["response_id"] = format!("answer-{number}").into();
            record
        })
        .collect()
}

/// Few enough sums to be grown at once.
fn narrow(first: u64) -> Vec<Value> {
    wide(first).into_iter().take(10).collect()
}

async fn told(client: &Client) -> Result<Vec<String>> {
    let sums =
        "select array(select concat_ws(' ', roll_up, tenant_id, customer_id, meter, sum(quantity),
            trim_scale(sum(billed_usd)), sum(events))
         from (
            select 'hours' as roll_up, tenant_id, customer_id, meter, quantity, billed_usd, events
            from farebox.usage_hourly
            union all
            select 'days', tenant_id, customer_id, meter, quantity, billed_usd, events
            from farebox.usage_daily
            union all
            select 'invoice', 'acme', null, meter, quantity, billed_usd, null
            from farebox.invoice_preview('acme', '2026-11-01')) as told
         group by roll_up, tenant_id, customer_id, meter
         order by roll_up, tenant_id, customer_id, meter)";
    Ok(client.query_one(sums, &[]).await?.get(0))
}

#[tokio::test]
async fn what_is_set_aside_is_read_and_then_merged() -> Result {
    let ledger = Ledger::new().await?;
    let client = ledger.sql().await?;
    let collector = ledger.sql_as("farebox_collector").await?;
    let tenant = ledger.login("acme").await?;
    let stranger = ledger.login("initech").await?;
    // What is merged into: rows that are there, and rows that are not.
    for round in 0..2 {
        ledger.ship(&narrow(900 + round * 10)).await?;
        ledger.ship(&wide(1 + round * 100)).await?;
        assert!(ledger.one::<i64>(ASIDE).await? > 0);
        assert_eq!(ledger.one::<i64>(DIFFERING).await?, 0, "set aside");
        let before = [told(&client).await?, told(&tenant).await?];
        assert!(before[1].len() > 10 && before[1].len() < before[0].len());
        assert!(told(&stranger).await?.is_empty(), "another's sums");
        assert!(collector.query_one(MERGE, &[]).await?.get::<_, i64>(0) > 0);
        assert_eq!(ledger.one::<i64>(ASIDE).await?, 0);
        assert_eq!(ledger.one::<i64>(DIFFERING).await?, 0, "merged");
        assert_eq!([told(&client).await?, told(&tenant).await?], before);
        assert_eq!(collector.query_one(MERGE, &[]).await?.get::<_, i64>(0), 0);
    }
    // Rows of one key are one.
    let twice: i64 = ledger
        .one(
            "select count(*) from (
                 select from farebox.usage_hourly
                 group by hour, tenant_id, customer_id, model, meter having count(*) > 1) as twice",
        )
        .await?;
    assert_eq!(twice, 0);
    // Sums that are made again lose nothing, of these days or of others.
    let before = told(&client).await?;
    for days in ["'2026-11-01', '2026-12-01'", "'2026-10-01', '2026-11-01'"] {
        ledger.ship(&wide(300)).await?;
        let rebuild = format!("select farebox_private.rebuild_rollups({days})");
        client.batch_execute(&rebuild).await?;
        assert_eq!(ledger.one::<i64>(DIFFERING).await?, 0, "{days}");
    }
    assert_ne!(told(&client).await?, before);
    ledger.drop_database().await
}

/// Wide batches, narrow ones that grow the same sums at once, and two that merge.
#[tokio::test]
async fn nobody_blocks_another_for_good() -> Result {
    let ledger = Ledger::new().await?;
    let widely = async |first: u64| -> Result {
        for round in 0..8 {
            let answer = ledger.ship(&wide(first + round * 100)).await?;
            assert_eq!(outcomes(&answer), [Outcome::Accepted; 90]);
        }
        Ok(())
    };
    let narrowly = async |first: u64| -> Result {
        for round in 0..40 {
            let answer = ledger.ship(&narrow(first + round * 10)).await?;
            assert_eq!(outcomes(&answer), [Outcome::Accepted; 10]);
        }
        Ok(())
    };
    let is_shipped = Cell::new(false);
    let merging = async || -> Result {
        let collector = ledger.sql_as("farebox_collector").await?;
        while !is_shipped.get() {
            collector.query_one(MERGE, &[]).await?;
        }
        collector.query_one(MERGE, &[]).await?;
        Ok(())
    };
    let shipping = async || -> Result {
        let (a, b, c, d) = tokio::join!(
            widely(1_000),
            widely(2_000),
            narrowly(3_000),
            narrowly(4_000)
        );
        is_shipped.set(true);
        a.and(b).and(c).and(d)
    };
    let (shipped, one, other) = tokio::join!(shipping(), merging(), merging());
    shipped.and(one).and(other)?;
    // One that is broken off comes again unseen. Who waited tells it by the time its connection ends.
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
    let client = ledger.sql().await?;
    let started = Instant::now();
    while !client.query(others, &[]).await?.is_empty() {
        assert!(started.elapsed() < PATIENCE, "connections that do not end");
    }
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(ledger.one::<i64>(deadlocks).await?, 0);
    assert_eq!(ledger.one::<i64>(ASIDE).await?, 0);
    assert_eq!(ledger.one::<i64>(DIFFERING).await?, 0);
    let events = "select sum(events)::bigint from farebox.usage_daily";
    assert_eq!(ledger.one::<i64>(events).await?, 2 * 8 * 90 + 2 * 40 * 10);
    ledger.drop_database().await
}
