//! Collector and Postgres away: no call fails, and nothing is missing afterwards.

use farebox_tests::Error;
use farebox_tests::stack::SHIPPED_MAX;
use farebox_tests::wait::eventually;
use farebox_tests::wire::Connection;
use tokio::task::JoinSet;

use crate::{Result, chat, text};

/// Calls made during the outage.
const CALLS: usize = 5_000;
/// Callers at work.
const CALLERS: usize = 16;

/// A cluster of its own is not needed: the database is closed to the roles instead, which looks the
/// same to them and leaves the other tests their Postgres.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_no_call_and_no_row() -> Result {
    let (mut stack, key) = crate::with_key(&[]).await?;
    assert_eq!(stack.send(&chat(&key, "before")).await?.status(), 200);
    stack.rows_when("session_id = 'before'", 1).await?;

    stack.collector()?.kill();
    let admin = farebox_tests::stack::world()?
        .cluster
        .connect("postgres")
        .await?;
    let database = stack.database.clone();
    admin
        .batch_execute(&format!(
            "alter database {database} allow_connections false"
        ))
        .await?;
    let others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    admin.execute(others, &[&database]).await?;

    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (address, key) = (stack.plain, key.clone());
        callers.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for number in (caller..CALLS).step_by(CALLERS) {
                let answer = connection
                    .send(&chat(&key, &format!("out-{number}")))
                    .await?;
                if answer.status() != 200 || !answer.is_whole {
                    return Err(Error::from(format!(
                        "call {number} failed: {}",
                        answer.text()
                    )));
                }
                if answer.header("x-farebox-event").is_none() {
                    return Err(Error::from("a call without an intent"));
                }
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }

    admin
        .batch_execute(&format!("alter database {database} allow_connections true"))
        .await?;
    stack.start_collector().await?;
    let client = stack.sql().await?;
    let count = "select count(*), count(distinct session_id) from farebox.usage_events where session_id like 'out-%'";
    eventually("every call has its row", SHIPPED_MAX * 2, || async {
        let row = client
            .query_one(count, &[])
            .await
            .map_err(|error| error.to_string())?;
        let (rows, calls): (i64, i64) = (row.get(0), row.get(1));
        if (rows, calls) == (CALLS as i64, CALLS as i64) {
            Ok(())
        } else {
            Err(format!("{rows} rows of {calls} calls"))
        }
    })
    .await?;
    // The roll-up says the same as the rows.
    let summed = client
        .query_one(
            "select (select sum(quantity)::bigint from farebox.usage_hourly where meter = 'calls'),
                    (select count(*) from farebox.usage_events where attempt = 1 and part = 1)",
            &[],
        )
        .await?;
    assert_eq!(summed.get::<_, i64>(0), summed.get::<_, i64>(1));
    eventually("the spool is empty", SHIPPED_MAX, || async {
        let stats = stack
            .done(&["spool", "stats", "--json"])
            .map_err(|error| error.to_string())?;
        let stats: serde_json::Value =
            serde_json::from_str(&stats).map_err(|error| error.to_string())?;
        if (text(&stats, "unshipped"), text(&stats, "intents_open")) == ("0".into(), "0".into()) {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    })
    .await
}
