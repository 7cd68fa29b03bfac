//! Receipts: one for each record, and the same for the same.

use farebox_collector::ingest::Outcome::{Accepted, Conflict, Duplicate, Rejected, Retry};
use serde_json::json;

use crate::support::{Ledger, Result, outcomes, record};

const AT: &str = "2026-11-22T10:00:00.123Z";

#[tokio::test]
async fn a_batch_sent_again_adds_nothing() -> Result {
    let ledger = Ledger::new().await?;
    let batch: Vec<_> = (1..=1_000).map(|n| record(Some("acme"), AT, n)).collect();
    let first = ledger.ship(&batch).await?;
    assert!(outcomes(&first).iter().all(|outcome| *outcome == Accepted));
    assert_eq!(first.price_mismatches, 0);
    let count = "select count(*) || ' ' || trim_scale(sum(billed_usd)) from farebox.usage_events";
    assert_eq!(ledger.one::<String>(count).await?, "1000 0.21");
    let again = ledger.ship(&batch).await?;
    assert!(outcomes(&again).iter().all(|outcome| *outcome == Duplicate));
    assert_eq!(ledger.one::<String>(count).await?, "1000 0.21");
    let sums = "select sum(quantity) filter (where meter = 'calls') || ' '
             || sum(quantity) filter (where meter = 'input_tokens') || ' ' || trim_scale(sum(billed_usd))
             from farebox.usage_";
    for view in ["hourly", "daily"] {
        let sum: String = ledger.one(&format!("{sums}{view}")).await?;
        assert_eq!(sum, "1000 1000000 0.21", "{view}");
    }
    ledger.drop_database().await
}

#[tokio::test]
async fn bad_records_stand_alone() -> Result {
    let ledger = Ledger::new().await?;
    let mut batch: Vec<_> = (1..=20).map(|n| record(Some("acme"), AT, n)).collect();
    batch[1]["lines"][0]["usage"]["input_tokens"] = "-5".into();
    batch[2]["event_id"] = "not an id".into();
    batch[3]["started_at"] = "2026-11-22T10:00:00.124Z".into();
    batch[4]["tenant_id"] = "two\nlines".into();
    batch[5] = json!(null);
    batch[6]["event_id"] = "00000000-0000-4000-8000-000000000000".into();
    batch[7]["part"] = 0.into();
    batch[8]["usage_low"] = json!({"output_tokens": "-1"});
    batch[9]["rate_cards"] = json!({"cost": "0".repeat(64), "price": null});
    // Passes the check; no index entry is that long.
    batch[10]["usage_source"] = "none".into();
    batch[11]["session_id"] = "a\u{0}b".into();
    batch[12]["metadata"] = json!({"k\u{0}": "v\u{0}"});
    batch[13] = batch[12].clone();
    batch[14] = batch[0].clone();
    batch[14]["status"] = 500.into();
    let answer = ledger.ship(&batch).await?;
    let mut expected = vec![Accepted; 20];
    for position in [1, 2, 3, 4, 5, 6, 7, 8] {
        expected[position] = Rejected;
    }
    expected[9] = Retry;
    expected[13] = Duplicate;
    expected[14] = Conflict;
    assert_eq!(outcomes(&answer), expected, "{:#?}", answer.receipts);
    assert!(
        answer
            .receipts
            .iter()
            .all(|receipt| (receipt.outcome == Accepted) == receipt.reason.is_none())
    );
    assert_eq!(
        ledger
            .one::<i64>("select count(*) from farebox.usage_events")
            .await?,
        9
    );
    let sanitised = "select count(*) from farebox.usage_events
         where sanitised and (session_id = E'a\\uFFFDb' or metadata = E'{\"k\\uFFFD\": \"v\\uFFFD\"}')";
    assert_eq!(ledger.one::<i64>(sanitised).await?, 2);
    let other = {
        let mut other = record(Some("acme"), AT, 1);
        other["lines"][0]["usage"]["input_tokens"] = "1001".into();
        other
    };
    assert_eq!(outcomes(&ledger.ship(&[other]).await?), [Conflict]);
    ledger.drop_database().await
}

/// What only the database refuses is found by halving the batch.
#[tokio::test]
async fn a_record_that_the_database_refuses_is_found() -> Result {
    let ledger = Ledger::new().await?;
    ledger
        .sql()
        .await?
        .batch_execute(
            "alter table farebox_private.usage_events
                 add constraint no_teapots check (status is distinct from 418)",
        )
        .await?;
    let mut batch: Vec<_> = (1..=100).map(|n| record(Some("acme"), AT, n)).collect();
    for poison in [0, 57, 99] {
        batch[poison]["status"] = 418.into();
    }
    let answer = ledger.ship(&batch).await?;
    for (position, receipt) in answer.receipts.iter().enumerate() {
        let expected = if [0, 57, 99].contains(&position) {
            Rejected
        } else {
            Accepted
        };
        assert_eq!(receipt.outcome, expected, "{position}: {receipt:?}");
    }
    assert_eq!(
        ledger
            .one::<i64>("select count(*) from farebox.usage_events")
            .await?,
        97
    );
    ledger.drop_database().await
}

#[tokio::test]
async fn the_collectors_price_is_booked() -> Result {
    let ledger = Ledger::new().await?;
    let mut lying = record(Some("acme"), AT, 1);
    lying["claimed_usd"] = "999".into();
    lying["billed_usd"] = "999".into();
    let mut nobody_prices = record(Some("acme"), AT, 2);
    nobody_prices["lines"][0]["model"] = "no-such-model".into();
    nobody_prices["claimed_usd"] = json!(null);
    let mut missing = record(Some("acme"), AT, 3);
    missing["lines"] = json!([]);
    missing["usage_source"] = "missing".into();
    missing["usage_high"] = json!({"output_tokens": "4096"});
    missing["claimed_usd"] = json!(null);
    let answer = ledger.ship(&[lying, nobody_prices, missing]).await?;
    assert_eq!(outcomes(&answer), [Accepted; 3]);
    assert_eq!(answer.price_mismatches, 1);
    let rows: Vec<String> = ledger
        .one(
            "select array(select concat_ws(' ', pricing, price_mismatch, billed_usd, cost_usd, claimed_usd)
                 from farebox.usage_events order by event_id)",
        )
        .await?;
    assert_eq!(
        rows,
        ["priced t 0.00021 0.00021 999", "unpriced f", "unknown f"]
    );
    let gaps: Vec<String> = ledger
        .one("select array(select pricing from farebox.unpriced_usage order by event_id)")
        .await?;
    assert_eq!(gaps, ["unpriced", "unknown"]);
    ledger.drop_database().await
}

/// Decimals travel in Postgres' binary form, which is put together by hand.
#[tokio::test]
async fn decimals_arrive_to_the_last_digit() -> Result {
    let ledger = Ledger::new().await?;
    let decimals = [
        "0",
        "1",
        "-1",
        "0.5",
        "9999",
        "10000",
        "0.0001",
        "0.00001",
        "100000000",
        "12345678.000000009",
        "0.000000000000000001",
        "999999999999999999.999999999999999999",
        "-123456789012345678.987654321098765432",
        "100000000000000000000000000000000000",
    ];
    let batch: Vec<_> = (1..)
        .zip(decimals)
        .map(|(number, decimal)| {
            let mut record = record(Some("acme"), AT, number);
            record["duration_ms"] = decimal.into();
            record
        })
        .collect();
    ledger.ship(&batch).await?;
    let back: Vec<String> = ledger
        .one("select array(select duration_ms::text from farebox.usage_events order by seq)")
        .await?;
    assert_eq!(back, decimals);
    ledger.drop_database().await
}

#[tokio::test]
async fn numbers_received_show_holes() -> Result {
    let ledger = Ledger::new().await?;
    let numbers = [1, 2, 3, 7, 5];
    let batch: Vec<_> = numbers.map(|n| record(None, AT, n)).into();
    ledger.ship(&batch).await?;
    let ranges = "select ranges::text from farebox_private.received_sequences";
    assert_eq!(ledger.one::<String>(ranges).await?, "{[1,4),[5,6),[7,8)}");
    let holes = async || -> Result<i64> {
        let client = ledger.store.client().await?;
        Ok(farebox_collector::store::ingest::sequence_holes(&client).await?)
    };
    assert_eq!(holes().await?, 2);
    ledger
        .ship(&[record(None, AT, 4), record(None, AT, 6)])
        .await?;
    assert_eq!(ledger.one::<String>(ranges).await?, "{[1,8)}");
    assert_eq!(holes().await?, 0);
    // An empty batch is a sign of life.
    ledger.ship(&[]).await?;
    assert_eq!(
        ledger
            .one::<i64>("select count(*) from farebox_private.nodes")
            .await?,
        1
    );
    ledger.drop_database().await
}
