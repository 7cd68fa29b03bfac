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
    background["credential_id"] = "openai".into();
    let poll = |number: u64, at: &str| {
        let mut poll = record(Some("acme"), at, number);
        poll["response_id"] = "chatcmpl-1".into();
        poll["credential_id"] = "openai".into();
        poll
    };
    // In one batch, in another, and by another tenant with a credential of its own, for whom the same
    // id is another answer.
    let same_batch = [poll(2, AT), poll(3, AT)];
    ledger.ship(&[background]).await?;
    assert_eq!(outcomes(&ledger.ship(&same_batch).await?), [Accepted; 2]);
    let mut stranger = poll(5, AT);
    stranger["tenant_id"] = "globex".into();
    stranger["paid_by"] = "caller".into();
    stranger["credential_id"] = json!(null);
    stranger["claimed_usd"] = "0".into();
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
            "5 priced 0"
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

/// The call that made the answer.
fn original(number: u64) -> Value {
    let mut call = fetch(number, AT);
    call["original"] = true.into();
    call
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
    ledger.sql().await?.batch_execute(CLEARED).await?;
    let fetches = [fetch(1, AT), fetch(2, AT)];
    let standing = ["priced 0.00021", "repeat 0 t"];
    assert_eq!(meet(&ledger, fetches).await?, standing);
    // The call that made the answer claims nothing, and is kept apart from who asks for it.
    ledger.sql().await?.batch_execute(CLEARED).await?;
    assert_eq!(meet(&ledger, [original(3), fetch(4, AT)]).await?, standing);
    ledger.drop_database().await
}

const CLEARED: &str =
    "delete from farebox_private.usage_events; delete from farebox_private.response_claims";

/// Ships two records at the same time, and says how they stand.
async fn meet(ledger: &Ledger, [one, two]: [Value; 2]) -> Result<Vec<String>> {
    // Both have booked, neither has committed: the node's row is the last that is touched.
    let mut keeper = ledger.sql().await?;
    let held = keeper.transaction().await?;
    held.batch_execute("select from farebox_private.nodes for update")
        .await?;
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
    let (one, two) = ([one], [two]);
    let (one, two, waited) = tokio::join!(ledger.ship(&one), ledger.ship(&two), waiting());
    waited?;
    assert_eq!(outcomes(&one?), [Accepted]);
    assert_eq!(outcomes(&two?), [Accepted]);
    ledger.one(STANDING).await
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

/// Each event by its number, its pricing, and the number of the one it repeats.
async fn rows(ledger: &Ledger) -> Result<Vec<String>> {
    ledger
        .one(
            "select array(select concat_ws(' ', seq, pricing, right(repeats::text, 1))
                 from farebox.usage_events order by seq)",
        )
        .await
}

/// Vendors give every answer an id of its own; servers that do not are charged for every answer.
#[tokio::test]
async fn calls_that_made_their_answers_are_no_repeats_of_each_other() -> Result {
    let ledger = Ledger::new().await?;
    // In one batch, in another; a fetch of either is a repeat, whichever call came first.
    ledger
        .ship(&[original(1), original(2), fetch(3, AT)])
        .await?;
    ledger.ship(&[original(4), fetch(5, AT)]).await?;
    let mut early = fetch(6, AT);
    let mut late = original(7);
    for event in [&mut early, &mut late] {
        event["response_id"] = "chatcmpl-of-another".into();
    }
    ledger.ship(&[early]).await?;
    ledger.ship(&[late]).await?;
    assert_eq!(
        rows(&ledger).await?,
        [
            "1 priced",
            "2 priced",
            "3 repeat 1",
            "4 priced",
            "5 repeat 1",
            "6 priced",
            "7 repeat 6"
        ]
    );
    ledger.drop_database().await
}

/// A call that made its answer has no claim: who asks for the answer finds it among the events.
#[tokio::test]
async fn what_made_its_answer_is_found_when_it_is_asked_for() -> Result {
    let ledger = Ledger::new().await?;
    let mut old = original(1);
    let mut stranger = original(2);
    stranger["tenant_id"] = "globex".into();
    ledger.ship(&[stranger, original(4)]).await?;
    let claims = "select count(*) from farebox_private.response_claims";
    assert_eq!(ledger.one::<i64>(claims).await?, 0);
    // In a later month; another tenant's own answer of that id is none of it.
    ledger.ship(&[fetch(5, "2026-12-03T00:00:00Z")]).await?;
    assert_eq!(ledger.one::<i64>(claims).await?, 1);
    // Too old, and of another id.
    ledger.ship(&[fetch(6, "2027-01-10T00:00:00Z")]).await?;
    old["response_id"] = "chatcmpl-unasked".into();
    ledger.ship(&[old]).await?;
    assert_eq!(
        rows(&ledger).await?,
        ["1 priced", "2 priced", "4 priced", "5 repeat 4", "6 priced"]
    );
    ledger.drop_database().await
}

/// The events of one batch: made, asked for when it had ended, and its results.
fn batch(number: u64, what: &str) -> Value {
    let mut event = record(Some("acme"), AT, number);
    event["endpoint"] = "batch".into();
    event["credential_id"] = "openai".into();
    event["response_id"] = "batch_1".into();
    match what {
        "made" => {
            event["original"] = true.into();
            event["objects"] = json!(["batch_1"]);
            event["usage_source"] = "pending".into();
        }
        "asked" => {
            event["objects"] = json!(["file-out", "file-err"]);
            event["usage_source"] = "none".into();
            event["usage_reason"] = "results_in_file".into();
        }
        _ => {
            event["response_id"] = "file-out".into();
            return event;
        }
    }
    event["lines"] = json!([]);
    event["usage"] = json!({});
    event["claimed_usd"] = json!(null);
    event
}

/// Results do not name their batch: whoever asked for the batch told which file is its.
#[tokio::test]
async fn a_file_of_results_is_charged_as_its_batch_whatever_is_booked_first() -> Result {
    for order in [
        ["made", "asked", "results", "results"],
        ["results", "made", "asked", "results"],
        ["made", "results", "asked", "results"],
        ["asked", "results", "results", "made"],
    ] {
        for in_one_batch in [false, true] {
            let ledger = Ledger::new().await?;
            let events: Vec<Value> = order
                .iter()
                .zip(1..)
                .map(|(what, number)| batch(number, what))
                .collect();
            let size = if in_one_batch { events.len() } else { 1 };
            for part in events.chunks(size) {
                ledger.ship(part).await?;
            }
            let priced: String = ledger
                .one(
                    "select count(*) filter (where pricing = 'priced') || ' '
                         || count(*) filter (where pricing = 'repeat') || ' '
                         || sum(billed_usd)
                     from farebox.usage_events",
                )
                .await?;
            assert_eq!(priced, "1 1 0.00021", "{order:?} {in_one_batch}");
            let settled: i64 = ledger
                .one(
                    "select count(distinct made.event_id)
                     from farebox.usage_events as made
                     join farebox.usage_events as told on told.settles = made.event_id
                     where made.usage_source = 'pending' and told.pricing in ('priced', 'repeat')",
                )
                .await?;
            assert_eq!(settled, 1, "{order:?} {in_one_batch}");
            let left: i64 = ledger
                .one("select count(*) from farebox.unpriced_usage")
                .await?;
            assert_eq!(left, 0, "{order:?} {in_one_batch}");
            ledger.drop_database().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_poll_that_finds_nothing_yet_settles_nothing() -> Result {
    let ledger = Ledger::new().await?;
    let mut poll = batch(2, "asked");
    poll["objects"] = json!([]);
    poll["usage_reason"] = "not_finished".into();
    ledger.ship(&[batch(1, "made"), poll.clone()]).await?;
    let left: i64 = ledger
        .one("select count(*) from farebox.unpriced_usage")
        .await?;
    assert_eq!(left, 1);
    poll["event_id"] = batch(3, "asked")["event_id"].clone();
    poll["call_id"] = poll["event_id"].clone();
    poll["usage_reason"] = "failed".into();
    ledger.ship(&[poll]).await?;
    let left: i64 = ledger
        .one("select count(*) from farebox.unpriced_usage")
        .await?;
    assert_eq!(left, 0);
    ledger.drop_database().await
}
