//! Whatever becomes of Postgres and of answers on their way, the ledger is the senders' own truth.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use farebox_collector::cards::Cards;
use farebox_collector::ingest::{Answer, Outcome, Sender, ingest, read};
use farebox_collector::migrate::{ROLE_PREFIX, migrate};
use farebox_collector::store::{Store, StoreError};
use farebox_pricing::time::Timestamp;
use farebox_tests::postgres::Cluster;
use farebox_tests::wait::eventually;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{Result, connect, id, millis, record, urls};

/// Longest until a server is back, or a sender gets on.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records of a batch.
const BATCH: u64 = 40;
/// Batches that must get through after a fault before the next.
const BETWEEN: usize = 6;
/// The files of this cluster's write-ahead log; a bound below it would stop the server.
const LOG_FILE_BYTES: u64 = 1024 * 1024;
/// Between two tries of a sender whose collector has no database.
const RETRY: Duration = Duration::from_millis(20);
const AT: &str = "2026-11-22T10:00:00.123Z";
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// What one number stands for: its record and what it costs, in units of 1e-8 USD. Hours and tenants are
/// those of its neighbours too.
fn call(number: u64) -> (Value, u64) {
    let mut record = record(Some(TENANTS[(number % 3) as usize]), AT, number + 1);
    let (input, output) = (number % 977, number % 61);
    let usage =
        serde_json::json!({"input_tokens": input.to_string(), "output_tokens": output.to_string()});
    record["lines"][0]["usage"] = usage.clone();
    record["usage"] = usage;
    record["claimed_usd"] = Value::Null;
    (record, input * 15 + output * 60)
}

/// Two proxies that ship the same numbers through two collectors, and what they know of it.
struct Truth {
    /// Batches that both know to be booked.
    known: AtomicUsize,
    failures: AtomicUsize,
    is_over: AtomicBool,
}

impl Truth {
    /// Ships batch after batch, each until every record of it is acknowledged. Some answers are lost on the
    /// way, some batches cut off in their middle, some sent again among others.
    async fn ship(&self, store: &Store, node: &str, is_reversed: bool) -> Result<u64> {
        let mut batch = 0;
        while !self.is_over.load(Ordering::Acquire) {
            let first = if batch % 5 == 4 { batch - 1 } else { batch } * BATCH;
            let mut numbers: Vec<u64> = (first..(batch + 1) * BATCH).collect();
            if is_reversed {
                numbers.reverse();
            }
            let texts: Vec<String> = numbers.iter().map(|n| call(*n).0.to_string()).collect();
            if batch % 3 == 1 {
                // Cut off, as by a sender that goes away: somewhere, so that it is another place each time.
                let instant = Duration::from_micros(batch * 997 % 20_000);
                let _ = tokio::time::timeout(instant, send(store, node, &texts)).await;
            }
            // The answer to every fourth is lost once, after it was given.
            let mut is_lost = batch % 4 == 2;
            loop {
                match send(store, node, &texts).await {
                    Ok(_) if is_lost => is_lost = false,
                    Ok(answer) => {
                        let is_kept =
                            |outcome| matches!(outcome, Outcome::Accepted | Outcome::Duplicate);
                        let receipts = &answer.receipts;
                        assert!(
                            receipts.iter().all(|one| is_kept(one.outcome)),
                            "{receipts:?}"
                        );
                        break;
                    }
                    Err(_) => {
                        self.failures.fetch_add(1, Ordering::AcqRel);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            batch += 1;
            self.known.fetch_add(1, Ordering::AcqRel);
        }
        Ok(batch * BATCH)
    }

    async fn gets_on(&self, what: &str) -> Result {
        let before = self.known.load(Ordering::Acquire);
        eventually(&format!("events are booked {what}"), PATIENCE, || async {
            match self.known.load(Ordering::Acquire) - before {
                booked if booked >= BETWEEN => Ok(()),
                booked => Err(format!("{booked} batches")),
            }
        })
        .await
    }

    async fn fails(&self, what: &str, before: usize) -> Result {
        eventually(&format!("a sender sees {what}"), PATIENCE, || async {
            match self.failures.load(Ordering::Acquire) - before {
                0 => Err("nothing failed".to_owned()),
                _ => Ok(()),
            }
        })
        .await
    }

    fn failures(&self) -> usize {
        self.failures.load(Ordering::Acquire)
    }
}

async fn send(
    store: &Store,
    node: &str,
    texts: &[String],
) -> std::result::Result<Answer, StoreError> {
    let now: Timestamp = AT.parse().expect("the test names an instant");
    let sender = Sender {
        node: node.to_owned(),
        epoch: 1,
        sent_at: now,
        open_since: now,
    };
    let cards = Cards::built_in();
    let batch = read(texts.join("\n").as_bytes(), &cards).expect("the test sends a batch");
    ingest(store, &cards, &sender, batch, now).await
}

async fn back(cluster: &Cluster) -> Result {
    // What a killed server left behind has to end before another may start on its files.
    eventually("the server starts", PATIENCE, || async {
        cluster.resume().map_err(|error| error.to_string())
    })
    .await
}

async fn faults(cluster: &Cluster, database: &str, truth: &Truth) -> Result {
    let sql = async || connect(&cluster.url("postgres"), None, database).await;
    truth.gets_on("at first").await?;

    let before = truth.failures();
    cluster.stop()?;
    truth.fails("that the server was stopped", before).await?;
    back(cluster).await?;
    truth.gets_on("after a restart").await?;

    // One process of the server dies in the middle of a booking: all of them end, and recover.
    let before = truth.failures();
    let booking = "select pid from pg_stat_activity
        where application_name = 'farebox collector' and state <> 'idle'";
    let client = sql().await?;
    let pid: i32 = eventually("somebody books", PATIENCE, || async {
        let row = client.query_opt(booking, &[]).await;
        let row = row.or_else(|_| Ok::<_, String>(None))?;
        row.map(|row| row.get(0)).ok_or_else(|| "nobody".to_owned())
    })
    .await?;
    std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()?;
    truth
        .fails("that its connection was killed", before)
        .await?;
    truth.gets_on("after a connection was killed").await?;

    let before = truth.failures();
    cluster.kill()?;
    truth.fails("that the server was killed", before).await?;
    back(cluster).await?;
    truth.gets_on("after the server was killed").await?;

    // Full: the month's table cannot grow. Small at first, so that the log's files stay below the bound.
    let client = sql().await?;
    let size = "select pg_relation_size('farebox_private.usage_events_202611')";
    let bytes = eventually("the month has grown", PATIENCE, || async {
        let row = client
            .query_one(size, &[])
            .await
            .map_err(|error| error.to_string())?;
        match row.get::<_, i64>(0) as u64 {
            bytes if bytes > LOG_FILE_BYTES => Ok(bytes),
            bytes => Err(format!("{bytes} bytes")),
        }
    })
    .await?;
    let before = truth.failures();
    cluster.limit_files(Some(bytes))?;
    truth.fails("that the disk is full", before).await?;
    cluster.limit_files(None)?;
    truth.gets_on("after there was room again").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_the_senders_truth_though_postgres_is_stopped_killed_and_full() -> Result {
    let cluster = Cluster::start_with_small_log()?;
    let database = "faults";
    let (url, as_collector) = urls(&cluster.url("postgres"), database)?;
    connect(&cluster.url("postgres"), None, "postgres")
        .await?
        .batch_execute(&format!("create database {database}"))
        .await?;
    migrate(&url, ROLE_PREFIX).await?;
    let truth = Truth {
        known: AtomicUsize::new(0),
        failures: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let (one, two) = (
        Store::connect(&as_collector, 2)?,
        Store::connect(&as_collector, 2)?,
    );
    let over = async {
        let done = faults(&cluster, database, &truth).await;
        truth.is_over.store(true, Ordering::Release);
        done
    };
    let (done, sent, also) = tokio::join!(
        over,
        truth.ship(&one, "node-1", false),
        truth.ship(&two, "node-2", true)
    );
    done?;
    let calls = sent?.max(also?);
    // Both took the same months, hours, days and ids, from both ends.
    let log = std::fs::read_to_string(cluster.folder().join("log"))?;
    assert!(!log.contains("deadlock detected"), "{log}");
    let client = connect(&url, None, database).await?;
    compare(&client, calls).await
}

/// Every call once, each with its amount, and sums that are theirs.
async fn compare(client: &Client, calls: u64) -> Result {
    let mut wanted = BTreeMap::new();
    let mut by_tenant: BTreeMap<&str, u64> = BTreeMap::new();
    for number in 0..calls {
        let units = call(number).1;
        wanted.insert(id(millis(AT), number + 1), units);
        *by_tenant.entry(TENANTS[(number % 3) as usize]).or_default() += units;
    }
    let rows = client
        .query(
            "select event_id, (billed_usd * 1e8)::bigint from farebox.usage_events",
            &[],
        )
        .await?;
    assert_eq!(rows.len() as u64, calls, "each call has one row");
    let booked: BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row.get(0), row.get::<_, i64>(1) as u64))
        .collect();
    assert_eq!(booked, wanted);
    for table in ["usage_hourly", "usage_daily"] {
        let sums = format!(
            "select tenant_id, (sum(billed_usd) * 1e8)::bigint, sum(quantity) filter (where meter = 'calls')::bigint
             from farebox.{table} group by tenant_id order by tenant_id"
        );
        let rows = client.query(&sums, &[]).await?;
        let summed: BTreeMap<&str, u64> = rows
            .iter()
            .map(|row| (row.get(0), row.get::<_, i64>(1) as u64))
            .collect();
        assert_eq!(summed, by_tenant, "{table}");
        let counted: i64 = rows.iter().map(|row| row.get::<_, i64>(2)).sum();
        assert_eq!(counted as u64, calls, "{table}");
    }
    let differing =
        "select count(*) from farebox_private.check_rollups('2026-11-01', '2026-12-01')";
    assert_eq!(client.query_one(differing, &[]).await?.get::<_, i64>(0), 0);
    Ok(())
}
