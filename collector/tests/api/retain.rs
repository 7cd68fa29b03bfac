//! What is let go is gone from the events and from nowhere else.

use std::time::{Duration, Instant};

use farebox_collector::ingest::Outcome::{Accepted, Duplicate};
use serde_json::{Value, json};

use crate::served::{OPERATOR, Served};
use crate::support::{Result, outcomes, record};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn old_events_go_by_their_tenants_rule_and_sums_invoices_and_numbers_stay() -> Result {
    let first = Served::new().await?;
    for tenant in ["acme", "globex"] {
        let body = json!({"tenant_id": tenant});
        first.done("POST", "/api/v1/tenants", &body).await?;
    }
    let mut records: Vec<Value> = (1..)
        .zip([
            ("acme", "2026-05-15T12:00:00Z"),
            ("acme", "2026-07-15T12:00:00Z"),
            ("globex", "2026-07-16T12:00:00Z"),
            ("acme", "2026-11-20T12:00:00Z"),
            // The same answers again: in May, in July, and of July's in November.
            ("acme", "2026-05-16T12:00:00Z"),
            ("acme", "2026-07-17T12:00:00Z"),
            ("globex", "2026-07-18T12:00:00Z"),
            ("acme", "2026-11-21T12:00:00Z"),
        ])
        .map(|(n, (tenant, at))| record(Some(tenant), at, n))
        .collect();
    for (again, of) in [(4, 0), (5, 1), (6, 2), (7, 1)] {
        records[again]["response_id"] = records[of]["response_id"].clone();
    }
    assert_eq!(outcomes(&first.ledger.ship(&records).await?), [Accepted; 8]);
    let links = "select array(
        select concat_ws(' ', month_of.event, relation, month_of.other)
        from farebox_private.event_links as links
        cross join lateral (
            select
                to_char(max(at) filter (where links.event_id >= farebox_private.first_event_id(at)), 'MM') as event,
                to_char(max(at) filter (where links.other_event_id >= farebox_private.first_event_id(at)), 'MM') as other
            from generate_series(timestamptz '2026-01-01 UTC', '2026-12-01 UTC', '1 month') as at
        ) as month_of
        order by links.event_id)";
    let known: Vec<String> = first.ledger.one(links).await?;
    assert_eq!(
        known,
        [
            "05 repeats 05",
            "07 repeats 07",
            "07 repeats 07",
            "11 repeats 07"
        ]
    );
    let closed = json!({"tenant": "acme", "month": "2026-07"});
    let closed = first.done("POST", "/api/v1/invoices", &closed).await?;
    // A session whose calls will be gone is globex's by then.
    let retag = json!({
        "kind": "retag", "reason": "not theirs", "event_ids": [records[4]["event_id"]],
        "set": {"tenant_id": "globex"},
    });
    first.done("POST", "/api/v1/adjustments", &retag).await?;
    let sums = "select array_agg(to_jsonb(usage_daily)::text order by day, tenant_id, meter) from farebox.usage_daily";
    let before: Vec<String> = first.ledger.one(sums).await?;
    let sessions = "select array(
        select tenant_id || ' ' || session_count from farebox.tenant_index order by tenant_id)";
    let counted: Vec<String> = first.ledger.one(sessions).await?;
    assert_eq!(counted, ["acme 4", "globex 3"]);

    let days = |days: &str| json!({"settings": {"retention_days": days}}).to_string();
    let path = "/api/v1/tenants/acme";
    let refused = first.ask("PATCH", path, Some(OPERATOR), &days("7")).await?;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    let set = first
        .ask("PATCH", path, Some(OPERATOR), &days("60"))
        .await?;
    assert_eq!(set.status(), 200, "{}", set.text());

    // A collector that starts looks at once.
    let (running, shutdown) = crate::served::start(&first.ledger.url).await?;
    let started = Instant::now();
    let left = "select array(select tenant_id || ' ' || period from farebox.usage_events order by event_id)";
    loop {
        let rows: Vec<String> = first.ledger.one(left).await?;
        if rows
            == [
                "globex 2026-07-01",
                "globex 2026-07-01",
                "acme 2026-11-01",
                "acme 2026-11-01",
            ]
        {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // May had acme's alone, so the whole month went; July has globex's yet.
    let months: Vec<bool> = first
        .ledger
        .one(
            "select array[to_regclass('farebox_private.usage_events_202605') is null,
                to_regclass('farebox_private.usage_events_202607') is null]",
        )
        .await?;
    assert_eq!(months, [true, false]);
    // What events were to each other goes when neither is left.
    loop {
        let rows: Vec<String> = first.ledger.one(links).await?;
        if rows == ["07 repeats 07", "11 repeats 07"] {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after: Vec<String> = first.ledger.one(sums).await?;
    assert_eq!(before, after);
    // Sessions are counted for as long as sums are.
    assert_eq!(first.ledger.one::<Vec<String>>(sessions).await?, counted);
    let path = "/api/v1/invoices/2026-000001";
    let invoice = first.done("GET", path, &Value::Null).await?;
    assert_eq!(invoice, closed);
    // What comes again was there before, though nothing of it is left.
    let again = first.ledger.ship(&records).await?;
    assert_eq!(outcomes(&again), [Duplicate; 8]);
    assert_eq!(first.ledger.one::<Vec<String>>(sums).await?, before);
    // Nor are its sums made again from what is left.
    let rebuilt = first
        .ledger
        .sql()
        .await?
        .batch_execute("select farebox_private.rebuild_rollups('2026-05-01', '2026-08-01')")
        .await;
    assert!(rebuilt.is_err_and(|error| {
        error
            .as_db_error()
            .is_some_and(|db| db.message().contains("retention removed"))
    }));
    // The collector's own role cannot remove anything.
    let collector = first.ledger.sql_as("farebox_collector").await?;
    assert!(
        collector
            .batch_execute("delete from farebox_private.usage_events")
            .await
            .is_err()
    );
    shutdown.cancel();
    running.finished().await;
    first.stop().await
}

#[tokio::test]
async fn an_erased_customer_is_named_nowhere_and_its_amounts_stay() -> Result {
    let served = Served::new().await?;
    let mut records: Vec<Value> = (1..=3)
        .map(|n| record(Some("acme"), "2026-09-15T12:00:00Z", n))
        .collect();
    records[0]["customer_id"] = "alice@example.com".into();
    records[1]["customer_id"] = "bob@example.com".into();
    served.ledger.ship(&records).await?;
    let retag = json!({"kind": "retag", "reason": "hers", "event_ids": [records[2]["event_id"]],
        "set": {"customer_id": "alice@example.com"}});
    served.done("POST", "/api/v1/adjustments", &retag).await?;
    let month = json!({"tenant": "acme", "month": "2026-09"});
    let closed = served.done("POST", "/api/v1/invoices", &month).await?;

    let body = json!({"tenant": "acme", "customer": "alice@example.com"});
    let path = "/api/v1/customers/erase";
    let client = served.ledger.sql().await?;
    let kept = "select md5(string_agg(kept::text, '' order by kept::text)) from (
        select to_jsonb(e) from farebox_private.usage_events e
        union all select to_jsonb(h) from farebox_private.usage_hourly h
        union all select to_jsonb(d) from farebox_private.usage_daily d
        union all select to_jsonb(a) from farebox_private.adjustments a
        union all select to_jsonb(c) from farebox_private.corrections c) as booked (kept)";
    let before: String = client.query_one(kept, &[]).await?.get(0);
    let named = "/api/v1/events?tenant=acme&customer=alice@example.com";
    let named = async || served.done("GET", named, &Value::Null).await;
    assert_eq!(named().await?["items"].as_array().map(Vec::len), Some(1));
    client
        .batch_execute(
            r#"insert into farebox_private.session_attributions (key_id, session_id, tenant_id, labels)
               values (gen_random_uuid(), 'hers', 'acme', '{"customer_id": "alice@example.com", "project": "p"}')"#,
        )
        .await?;
    let erased = served.done("POST", path, &body).await?;
    assert_eq!(
        erased["events"], 2,
        "hers from the beginning, and one moved"
    );
    assert_eq!(named().await?["items"].as_array().map(Vec::len), Some(0));
    let after: String = client.query_one(kept, &[]).await?.get(0);
    assert_eq!(after, before, "what is booked is not touched");
    let again = served
        .ask("POST", path, Some(OPERATOR), &body.to_string())
        .await?;
    assert_eq!(again.status(), 404);
    for table in [
        "usage_events",
        "usage_hourly",
        "usage_daily",
        "adjustments",
        "corrections",
        "customers",
        "session_attributions",
        "audit_log",
        "idempotency_keys",
        "invoices",
        "invoice_lines",
    ] {
        let query = format!(
            "select count(*) from farebox_private.{table} as t where t::text like '%alice%'"
        );
        let named: i64 = client.query_one(&query, &[]).await?.get(0);
        assert_eq!(named, 0, "{table}");
    }
    let sums: Vec<String> = served
        .ledger
        .one(
            "select array_agg(sum order by sum) from (
                 select concat_ws(' ', left(coalesce(customer_id, '-'), 6), trim_scale(sum(billed_usd))) as sum
                 from farebox.usage_daily group by customer_id having sum(billed_usd) <> 0) as sums",
        )
        .await?;
    assert_eq!(sums, ["bob@ex 0.00021", "erased 0.00042"]);
    // Whoever sends the id again is another customer, and what is booked of the erased one can be corrected.
    served
        .ledger
        .ship(&[{
            let mut again = record(Some("acme"), "2026-10-15T12:00:00Z", 4);
            again["customer_id"] = "alice@example.com".into();
            again
        }])
        .await?;
    let customers: i64 = client
        .query_one(
            "select count(distinct customer_id) from farebox.usage_events",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(customers, 3);
    let back = json!({"kind": "retag", "reason": "his", "event_ids": [records[0]["event_id"]],
        "set": {"customer_id": "bob@example.com"}, "closed_periods": "next"});
    served.done("POST", "/api/v1/adjustments", &back).await?;
    let differing: i64 = client
        .query_one(
            "select count(*) from farebox_private.check_rollups('2026-09-01', '2026-11-01')",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(differing, 0);
    let whole = served
        .done("GET", "/api/v1/invoices/2026-000001", &Value::Null)
        .await?;
    assert_eq!(whole, closed);
    served.stop().await
}
