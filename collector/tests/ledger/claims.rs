//! One charge for one answer of a provider, through however many proxies and collectors.

use std::time::Duration;

use farebox_collector::ingest::Outcome::{Accepted, Duplicate};
use farebox_tests::wait::eventually;
use serde_json::{Value, json};

use crate::support::{Ledger, Result, outcomes, record};

const AT: &str = "2026-11-22T10:00:00.123Z";
/// Longest time two collectors may take to meet.
const MEETING_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_provider_id_is_charged_once() -> Result {
    let ledger = Ledger::new().await?;
    let mut background = record(Some("acme"), AT, 1);
    background["lines"] = json!([]);
    background["usage_source"] = "pending".into();
    background["claimed_usd"] = json!(null);
    let poll = |number: u64, at: &str| {
        let mut poll = record(Some("acme"), at, number);
        poll["response_id"] = "chatcmpl-1".into();
        poll
    };
    // In one batch, in another, and by another tenant, who is not told of it.
    let same_batch = [poll(2, AT), poll(3, AT)];
    ledger.ship(&[background]).await?;
    assert_eq!(outcomes(&ledger.ship(&same_batch).await?), [Accepted; 2]);
    let mut stranger = poll(5, AT);
    stranger["tenant_id"] = "globex".into();
    let later = [poll(4, "2026-12-03T00:00:00Z"), stranger];
    let answer = ledger.ship(&later).await?;
    assert_eq!(outcomes(&answer), [Accepted; 2]);
    assert_eq!(answer.price_mismatches, 0);
    // The same again does not become a repeat of itself.
    assert_eq!(outcomes(&ledger.ship(&same_batch).await?), [Duplicate; 2]);
    let rows: Vec<String> = ledger
        .one(
            "select array(select concat_ws(' ', seq, pricing, billed_usd, right(settles::text, 1), right(repeats::text, 1))
                 from farebox.usage_events order by seq)",
        )
        .await?;
    assert_eq!(
        rows,
        [
            "1 unknown",
            "2 priced 0.00021 1",
            "3 repeat 0 1 2",
            "4 repeat 0 1 2",
            "5 priced 0.00021"
        ]
    );
    let calls_and_tokens: String = ledger
        .one(
            "select sum(quantity) filter (where meter = 'calls') || ' '
                 || sum(quantity) filter (where meter = 'input_tokens')
             from farebox.usage_daily where tenant_id = 'acme'",
        )
        .await?;
    assert_eq!(calls_and_tokens, "4 1000");
    ledger.drop_database().await
}

/// A fetch of the answer `chatcmpl-1`.
fn fetch(number: u64, at: &str) -> Value {
    let mut fetch = record(Some("acme"), at, number);
    fetch["response_id"] = "chatcmpl-1".into();
    fetch
}

const STANDING: &str =
    "select array(select concat_ws(' ', pricing, billed_usd, repeats = other.event_id)
     from farebox.usage_events
     left join lateral (
         select event_id from farebox.usage_events as other where other.pricing = 'priced'
     ) as other on true
     order by pricing)";

#[tokio::test]
async fn two_collectors_that_meet_charge_once() -> Result {
    let ledger = Ledger::new().await?;
    // The first one's tenant, month and node are there, so that nothing else keeps the two apart.
    ledger.ship(&[record(Some("acme"), AT, 9)]).await?;
    ledger
        .sql()
        .await?
        .batch_execute(
            "delete from farebox_private.usage_events; delete from farebox_private.response_claims",
        )
        .await?;
    // Both have booked, neither has committed: the node's row is the last that is touched.
    let mut keeper = ledger.sql().await?;
    let held = keeper.transaction().await?;
    held.batch_execute("select from farebox_private.nodes for update")
        .await?;
    let (one, two) = ([fetch(1, AT)], [fetch(2, AT)]);
    let waiting = async || -> Result {
        eventually("both collectors wait", MEETING_MAX, || async {
            let waiting: i64 = ledger
                .one(
                    "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'",
                )
                .await
                .map_err(|error| error.to_string())?;
            match waiting {
                2 => Ok(()),
                other => Err(format!("{other} wait")),
            }
        })
        .await?;
        held.rollback().await?;
        Ok(())
    };
    let (one, two, waited) = tokio::join!(ledger.ship(&one), ledger.ship(&two), waiting());
    waited?;
    assert_eq!(outcomes(&one?), [Accepted]);
    assert_eq!(outcomes(&two?), [Accepted]);
    assert_eq!(
        ledger.one::<Vec<String>>(STANDING).await?,
        ["priced 0.00021", "repeat 0 t"]
    );
    ledger.drop_database().await
}

#[tokio::test]
async fn attempts_and_parts_of_one_call_are_no_repeats() -> Result {
    let ledger = Ledger::new().await?;
    let mut first = fetch(1, AT);
    let mut second = fetch(2, AT);
    second["call_id"] = first["event_id"].clone();
    second["attempt"] = 2.into();
    // In one batch, where one of the ids is known already.
    let known = record(Some("acme"), AT, 3);
    let mut again = fetch(4, AT);
    again["response_id"] = known["response_id"].clone();
    ledger.ship(&[known]).await?;
    let answer = ledger.ship(&[second, again, first.clone()]).await?;
    assert_eq!(outcomes(&answer), [Accepted; 3]);
    let repeats: Vec<String> = ledger
        .one("select array(select right(event_id::text, 1) from farebox.usage_events where pricing = 'repeat')")
        .await?;
    assert_eq!(repeats, ["4"]);
    // And in another batch.
    let mut third = fetch(5, AT);
    third["call_id"] = first["event_id"].take();
    third["part"] = 2.into();
    assert_eq!(outcomes(&ledger.ship(&[third]).await?), [Accepted]);
    let repeats: i64 = ledger
        .one("select count(*) from farebox.usage_events where pricing = 'repeat'")
        .await?;
    assert_eq!(repeats, 1);
    ledger.drop_database().await
}

#[tokio::test]
async fn a_conflicting_record_claims_nothing() -> Result {
    let ledger = Ledger::new().await?;
    let booked = record(Some("acme"), AT, 1);
    let mut other = booked.clone();
    other["response_id"] = "chatcmpl-7".into();
    ledger.ship(&[booked]).await?;
    let later = record(Some("acme"), AT, 7);
    let answer = ledger.ship(&[other, later]).await?;
    assert_eq!(
        outcomes(&answer),
        [farebox_collector::ingest::Outcome::Conflict, Accepted]
    );
    let priced: i64 = ledger
        .one("select count(*) from farebox.usage_events where pricing = 'priced'")
        .await?;
    assert_eq!(priced, 2);
    ledger.drop_database().await
}

/// After so long the same id means another answer.
#[tokio::test]
async fn an_old_answer_is_no_longer_known() -> Result {
    let ledger = Ledger::new().await?;
    for (number, at) in [
        (1, "2026-09-01T00:00:00Z"),
        (2, "2026-10-05T23:59:59Z"),
        (3, "2026-10-06T00:00:01Z"),
        (4, "2026-10-07T00:00:00Z"),
    ] {
        assert_eq!(
            outcomes(&ledger.ship(&[fetch(number, at)]).await?),
            [Accepted]
        );
    }
    let repeats: Vec<String> = ledger
        .one(
            "select array(select concat_ws(' ', pricing, right(repeats::text, 1))
                 from farebox.usage_events order by seq)",
        )
        .await?;
    assert_eq!(repeats, ["priced", "repeat 1", "priced", "repeat 3"]);
    ledger.drop_database().await
}
