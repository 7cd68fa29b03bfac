//! Corrections through the API: booked once, moved and taken back exactly, and never into a closed
//! month without being asked to.

use farebox_collector::ingest::Outcome::Accepted;
use serde_json::{Value, json};

use crate::served::{OPERATOR, Served, text};
use crate::support::{Result, outcomes, record};

const PATH: &str = "/api/v1/adjustments";

/// Events of two tenants: of a known model, and of one without a price.
async fn shipped() -> Result<Served> {
    let served = Served::new().await?;
    for tenant in ["acme", "globex"] {
        served
            .done("POST", "/api/v1/tenants", &json!({"tenant_id": tenant}))
            .await?;
    }
    let mut records: Vec<Value> = (1..=6)
        .map(|n| {
            let tenant = ["acme", "globex"][usize::from(n > 4)];
            record(Some(tenant), &format!("2026-10-2{n}T10:00:00.5Z"), n)
        })
        .collect();
    records[1]["customer_id"] = "customer-1".into();
    records[3]["lines"] = json!([{"model": "no-such-model", "usage": {"input_tokens": "7"}}]);
    records[3]["claimed_usd"] = json!(null);
    let answer = served.ledger.ship(&records).await?;
    assert_eq!(outcomes(&answer), [Accepted; 6]);
    Ok(served)
}

/// The rows of a roll-up by tenant and period, without those that cancel out.
async fn sums(served: &Served) -> Result<Vec<String>> {
    let rows = served
        .ledger
        .sql()
        .await?
        .query(
            "select concat_ws(' ', coalesce(tenant_id, '-'), coalesce(customer_id, '-'), period, pricing,
                 meter, trim_scale(sum(quantity)), trim_scale(sum(billed_usd)), sum(events), sum(unpriced_events))
             from farebox_private.usage_daily
             group by tenant_id, customer_id, period, pricing, meter
             having sum(quantity) <> 0 or sum(billed_usd) <> 0 or sum(events) <> 0 or sum(unpriced_events) <> 0
             order by 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The roll-ups are the ledger's sums.
async fn is_sound(served: &Served) -> Result {
    let differing: Vec<String> = served
        .ledger
        .one(
            "select coalesce(array_agg(concat_ws(' ', roll_up, slot, tenant_id, meter, difference)), '{}')
             from farebox_private.check_rollups('2026-01-01', '2027-12-31')",
        )
        .await?;
    assert!(differing.is_empty(), "{differing:#?}");
    Ok(())
}

fn retag(dry_run: bool) -> Value {
    json!({
        "kind": "retag", "reason": "wrong key", "dry_run": dry_run,
        "filter": {"tenant": "acme", "from": "2026-10-01", "to": "2026-11-01"},
        "set": {"tenant_id": "globex", "customer_id": "customer-9"},
    })
}

#[tokio::test]
async fn a_retag_moves_sums_exactly_and_undo_restores_them() -> Result {
    let served = shipped().await?;
    let before = sums(&served).await?;
    let preview = served.done("POST", PATH, &retag(true)).await?;
    assert_eq!(
        (&preview["events"], &preview["changed"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(sums(&served).await?, before, "a preview books nothing");

    let moved = served.done("POST", PATH, &retag(false)).await?;
    assert_eq!(moved["moved"], preview["moved"]);
    let of = |tenant: &str| {
        let moved = moved["moved"].as_array().into_iter().flatten();
        let mut of_tenant = moved.filter(|moved| moved["tenant_id"] == tenant);
        of_tenant.next().cloned().unwrap_or_default()
    };
    // Three calls of 0.00021 USD; the fourth has no price.
    assert_eq!(of("acme")["billed_usd"], "-0.00063");
    assert_eq!(of("globex")["billed_usd"], "0.00063");
    assert_eq!(
        (&of("acme")["events"], &of("globex")["events"]),
        (&json!(-4), &json!(4))
    );
    let after = sums(&served).await?;
    assert!(
        after.iter().all(|row| row.starts_with("globex")),
        "{after:#?}"
    );
    is_sound(&served).await?;
    // What acme has of the events now, and who waits for a price.
    let left: String = served
        .ledger
        .one("select trim_scale(sum(adjusted_billed_usd))::text from farebox.usage_events where tenant_id = 'acme'")
        .await?;
    assert_eq!(left, "0");

    let again = served.done("POST", PATH, &retag(false)).await?;
    assert_eq!(again["changed"], 0);

    let batch = text(&moved, "batch_id");
    let undo = format!("{PATH}/{batch}/undo");
    let undone = served.done("POST", &undo, &Value::Null).await?;
    assert_eq!(undone["changed"], 4);
    assert_eq!(sums(&served).await?, before);
    is_sound(&served).await?;
    let again = served.done("POST", &undo, &Value::Null).await?;
    assert_eq!(again["changed"], 0);

    // Moved by another batch meanwhile: what it did is not taken back by accident.
    served.done("POST", PATH, &retag(false)).await?;
    let answer = served.ask("POST", &undo, Some(OPERATOR), "").await?;
    assert_eq!(
        (answer.status(), answer.json()["error"]["code"].clone()),
        (409, json!("moved_again"))
    );

    let listed = served
        .done(
            "GET",
            &format!("{PATH}?batch_id={batch}&limit=1000"),
            &Value::Null,
        )
        .await?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(json!(items.len()), moved["adjustments"]);
    assert!(
        items
            .iter()
            .all(|item| item["reason"] == "wrong key" && item["actor"] == "operator")
    );
    served.stop().await
}

#[tokio::test]
async fn a_closed_month_is_refused_or_passed_over() -> Result {
    let served = shipped().await?;
    served
        .ledger
        .sql()
        .await?
        .batch_execute(
            "update farebox_private.periods set state = 'closed', closed_at = now(), closed_by = 'test'
             where tenant_id = 'acme' and period = '2026-10-01'",
        )
        .await?;
    let before = sums(&served).await?;
    let refused = served
        .ask("POST", PATH, Some(OPERATOR), &retag(false).to_string())
        .await?;
    assert_eq!(
        (refused.status(), refused.json()["error"]["code"].clone()),
        (409, json!("period_closed"))
    );
    assert_eq!(sums(&served).await?, before, "a refusal books nothing");

    let mut asked = retag(false);
    asked["closed_periods"] = "next".into();
    let moved = served.done("POST", PATH, &asked).await?;
    let of: Vec<(String, String, String)> = moved["moved"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|moved| {
            (
                text(moved, "tenant_id"),
                text(moved, "period"),
                text(moved, "corrects"),
            )
        })
        .collect();
    let (acme, globex) = ("acme".to_owned(), "globex".to_owned());
    let (october, november) = ("2026-10-01".to_owned(), "2026-11-01".to_owned());
    assert_eq!(
        of,
        [
            (acme, november, october.clone()),
            (globex, october.clone(), october),
        ]
    );
    let unchanged: Vec<String> = before
        .iter()
        .filter(|row| row.starts_with("acme"))
        .cloned()
        .collect();
    let closed: Vec<String> = sums(&served)
        .await?
        .into_iter()
        .filter(|row| row.starts_with("acme") && row.contains("2026-10-01"))
        .collect();
    assert_eq!(closed, unchanged, "the closed month does not move");
    is_sound(&served).await?;
    served.stop().await
}

#[tokio::test]
async fn reread_and_reprice_book_the_difference_once() -> Result {
    let served = shipped().await?;
    let events = served
        .done("GET", "/api/v1/events?tenant=acme", &Value::Null)
        .await?;
    let priced = |event: &&Value| event["pricing"] == "priced";
    let items = events["items"].as_array().cloned().unwrap_or_default();
    let event_id = text(items.iter().find(priced).ok_or("no event")?, "event_id");
    let reread = json!({
        "kind": "reread", "reason": "cached tokens were counted as fresh",
        "events": [{
            "event_id": event_id, "usage_source": "reported", "reader_version": 2,
            "lines": [{"model": "gpt-4o-mini", "usage":
                {"input_tokens": "400", "cache_read_tokens": "600", "output_tokens": "100"}}],
        }],
    });
    let booked = served.done("POST", PATH, &reread).await?;
    // 600 tokens at 0.075 instead of 0.15 USD a million.
    assert_eq!(booked["moved"][0]["billed_usd"], "-0.000045");
    assert_eq!(served.done("POST", PATH, &reread).await?["changed"], 0);
    // Rates did not change, so pricing the corrected lines again books nothing.
    let reprice = json!({"kind": "reprice", "reason": "new rates", "filter": {"tenant": "acme"}});
    let repriced = served.done("POST", PATH, &reprice).await?;
    assert_eq!(
        (&repriced["changed"], &repriced["events"]),
        (&json!(0), &json!(4))
    );

    // An event without a price gets one by being read as a known model.
    let unpriced = "select event_id::text from farebox.unpriced_usage";
    let unpriced: String = served.ledger.one(unpriced).await?;
    let mut known = reread.clone();
    known["events"][0]["event_id"] = unpriced.into();
    served.done("POST", PATH, &known).await?;
    let left: i64 = served
        .ledger
        .one("select count(*) from farebox.unpriced_usage")
        .await?;
    let counted: i64 = served
        .ledger
        .one("select sum(unpriced_events)::bigint from farebox.usage_daily")
        .await?;
    assert_eq!((left, counted), (0, 0));

    let credit = json!({
        "kind": "manual", "reason": "goodwill", "event_ids": [event_id],
        "amount": {"billed_usd": "-0.0001", "reference": "ticket 7"},
    });
    assert_eq!(served.done("POST", PATH, &credit).await?["changed"], 1);
    assert_eq!(served.done("POST", PATH, &credit).await?["changed"], 0);
    is_sound(&served).await?;
    let wrong = json!({"kind": "reread", "reason": "x", "events": [
        {"event_id": event_id, "usage_source": "reported",
         "lines": [{"model": "gpt-4o-mini", "usage": {"input_tokens": "-1"}}]}]});
    let refused = served
        .ask("POST", PATH, Some(OPERATOR), &wrong.to_string())
        .await?;
    assert_eq!(refused.status(), 400, "{}", refused.text());

    // The sums are made again and stay what they are.
    let before = sums(&served).await?;
    let client = served.ledger.sql().await?;
    client
        .batch_execute("update farebox_private.daily_sums set billed_usd = billed_usd + 1")
        .await?;
    assert_ne!(sums(&served).await?, before);
    client
        .batch_execute("select farebox_private.rebuild_rollups('2026-01-01', '2027-12-31')")
        .await?;
    assert_eq!(sums(&served).await?, before);
    served.stop().await
}
