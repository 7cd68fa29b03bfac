//! A month is closed, stays closed, and is corrected in the next one: the story of docs/billing.md.

use farebox_collector::ingest::Outcome::Accepted;
use serde_json::{Value, json};

use crate::served::{OPERATOR, Served, text};
use crate::support::{Result, outcomes, record};

const INVOICES: &str = "/api/v1/invoices";
const ADJUSTMENTS: &str = "/api/v1/adjustments";

/// What the close answers when something stands against it.
async fn refused(served: &Served, month: &str) -> Result<(u16, String, String)> {
    let body = json!({"tenant": "acme", "month": month}).to_string();
    let answer = served.ask("POST", INVOICES, Some(OPERATOR), &body).await?;
    let error = answer.json()["error"].clone();
    Ok((
        answer.status(),
        text(&error, "code"),
        text(&error, "message"),
    ))
}

async fn preview(served: &Served, month: &str) -> Result<Value> {
    let path = format!("{INVOICES}/preview?tenant=acme&month={month}");
    served.done("GET", &path, &Value::Null).await
}

/// Kind, meter, quantity, amount and corrected month of each line.
fn lines(answer: &Value) -> Vec<String> {
    let cell = |line: &Value, name: &str| match text(line, name).as_str() {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let lines = answer["lines"].as_array().into_iter().flatten();
    lines
        .map(|line| {
            ["kind", "meter", "quantity", "billed_usd", "corrects"]
                .map(|name| cell(line, name))
                .join(" ")
        })
        .collect()
}

#[tokio::test]
async fn a_month_is_closed_corrected_and_credited_in_the_next() -> Result {
    let served = Served::new().await?;
    let tokyo = json!({"tenant_id": "acme", "time_zone": "Asia/Tokyo"});
    served.done("POST", "/api/v1/tenants", &tokyo).await?;
    let mut records = vec![
        // September in Tokyo begins at 15:00 UTC of August's last day.
        record(Some("acme"), "2026-08-31T15:00:00Z", 1),
        record(Some("acme"), "2026-09-15T12:00:00Z", 2),
        record(Some("acme"), "2026-09-30T14:59:59.999Z", 3),
        // October there.
        record(Some("acme"), "2026-09-30T15:00:00Z", 4),
        // Test traffic is on no invoice.
        record(Some("acme"), "2026-09-16T12:00:00Z", 5),
        // A model without a price.
        record(Some("acme"), "2026-09-17T12:00:00Z", 6),
    ];
    records[4]["environment"] = "test".into();
    records[5]["lines"] = json!([{"model": "no-such-model", "usage": {"input_tokens": "7"}}]);
    records[5]["model"] = "no-such-model".into();
    records[5]["claimed_usd"] = json!(null);
    assert_eq!(
        outcomes(&served.ledger.ship(&records).await?),
        [Accepted; 6]
    );

    // A proxy that shipped nothing since before the month's end may still have something of it.
    let client = served.ledger.sql().await?;
    client
        .batch_execute(
            "insert into farebox_private.nodes (node, epoch, sent_at, open_since)
             values ('node-old', 1, '2026-09-30T14:00:00Z', '2026-09-30T14:00:00Z')",
        )
        .await?;
    let (status, code, message) = refused(&served, "2026-09").await?;
    assert_eq!((status, code.as_str()), (409, "nodes_behind"));
    assert!(message.contains("node-old"), "{message}");
    served
        .done("POST", "/api/v1/nodes/node-old/retire", &Value::Null)
        .await?;
    let audited: String = served
        .ledger
        .one(
            "select concat_ws(' ', entity_id, details #> '{before,retired_at}', details #>> '{after,retired_by}' = actor)
             from farebox.audit_log where action = 'node.retire'",
        )
        .await?;
    assert_eq!(audited, "node-old null t");

    let (status, code, message) = refused(&served, "2026-09").await?;
    assert_eq!((status, code.as_str()), (409, "unpriced_usage"));
    assert!(
        message.contains("openai no-such-model (1 events)"),
        "{message}"
    );
    let unpriced: String = served
        .ledger
        .one("select event_id::text from farebox.unpriced_usage")
        .await?;
    let known = json!({
        "kind": "reread", "reason": "the model's name was cut", "events": [{
            "event_id": unpriced, "usage_source": "reported",
            "lines": [{"model": "gpt-4o-mini", "usage": {"input_tokens": "7"}}]}],
    });
    served.done("POST", ADJUSTMENTS, &known).await?;

    // In the month itself a correction is part of its usage.
    let september = [
        "usage input_tokens 3007 0.00045105 -",
        "usage output_tokens 300 0.00018 -",
    ];
    let seen = preview(&served, "2026-09").await?;
    assert_eq!(lines(&seen), september);
    assert_eq!(seen["billed_usd"], "0.00063105");

    let month = json!({"tenant": "acme", "month": "2026-09"});
    let closed = served.done("POST", INVOICES, &month).await?;
    let invoice = &closed["invoice"];
    assert_eq!(lines(&closed), september);
    assert_eq!(
        (
            &invoice["number"],
            &invoice["billed_usd"],
            &invoice["currency"]
        ),
        (&json!("2026-000001"), &json!("0.00063105"), &json!("USD"))
    );
    assert_eq!(
        (&invoice["from_at"], &invoice["to_at"]),
        (
            &json!("2026-08-31T15:00:00.000Z"),
            &json!("2026-09-30T15:00:00.000Z")
        )
    );
    let (status, code, message) = refused(&served, "2026-09").await?;
    assert_eq!((status, code.as_str()), (409, "period_closed"));
    assert!(message.contains("2026-000001"), "{message}");

    // An event of the closed month that comes now is of the next, and says so.
    let late = record(Some("acme"), "2026-09-20T12:00:00Z", 7);
    assert_eq!(
        outcomes(&served.ledger.ship(std::slice::from_ref(&late)).await?),
        [Accepted]
    );
    // A wrong reader is found: half of the input of the first event came from a cache.
    let first = text(&records[0], "event_id");
    let reread = json!({
        "kind": "reread", "reason": "cached tokens were counted as fresh", "events": [{
            "event_id": first, "usage_source": "reported", "reader_version": 2,
            "lines": [{"model": "gpt-4o-mini", "usage": {
                "input_tokens": "500", "cache_read_tokens": "500", "output_tokens": "100"}}]}],
    });
    let booked = served.done("POST", ADJUSTMENTS, &reread).await?;
    assert_eq!(
        (
            &booked["moved"][0]["period"],
            &booked["moved"][0]["corrects"]
        ),
        (&json!("2026-10-01"), &json!("2026-09-01"))
    );
    assert_eq!(
        served.done("POST", ADJUSTMENTS, &reread).await?["changed"],
        0
    );

    // September stays as it was closed, to the hash; the difference is October's.
    assert_eq!(lines(&preview(&served, "2026-09").await?), september);
    let october = [
        "usage input_tokens 2000 0.0003 -",
        "usage output_tokens 200 0.00012 -",
        "debit cache_read_tokens 500 0.0000375 2026-09-01",
        "credit input_tokens -500 -0.000075 2026-09-01",
    ];
    assert_eq!(lines(&preview(&served, "2026-10").await?), october);
    let month = json!({"tenant": "acme", "month": "2026-10"});
    let next = served.done("POST", INVOICES, &month).await?;
    assert_eq!(lines(&next), october);
    assert_eq!(next["invoice"]["billed_usd"], "0.0003825");
    let again = served
        .done("GET", &format!("{INVOICES}/2026-000001"), &Value::Null)
        .await?;
    assert_eq!(again["lines"], closed["lines"]);
    assert_eq!(again["invoice"], *invoice);

    // One SQL gives the total, and one each gives the hashes.
    let sums: Vec<String> = served
        .ledger
        .one(
            "select array_agg(number || ' ' || trim_scale(invoices.billed_usd) || ' ' || (
                 select trim_scale(sum(billed_usd)) from farebox.invoice_lines
                 where invoice_lines.invoice_id = invoices.invoice_id) order by number)
             from farebox.invoices",
        )
        .await?;
    assert_eq!(
        sums,
        [
            "2026-000001 0.00063105 0.00063105",
            "2026-000002 0.0003825 0.0003825"
        ]
    );
    let hash: String = served
        .ledger
        .one(
            "select encode(sha256(convert_to(string_agg(id || ' ' || coalesce(amount, 'null') || E'\\n', '' order by id), 'UTF8')), 'hex')
             from (
                 select event_id::text as id, trim_scale(billed_usd)::text as amount
                 from farebox.usage_events
                 where tenant_id = 'acme' and period = '2026-09-01' and environment = 'live'
                 union all
                 select adjustment_id::text, trim_scale(billed_usd)::text
                 from farebox.adjustments
                 where tenant_id = 'acme' and period = '2026-09-01' and environment = 'live'
             ) as entries",
        )
        .await?;
    assert_eq!(invoice["events_sha256"], hash);

    // Nobody changes what is closed, whatever they ask the database as the collector.
    let collector = served.ledger.sql_as("farebox_collector").await?;
    for statement in [
        "update farebox_private.invoices set billed_usd = 0",
        "delete from farebox_private.invoice_lines",
        "update farebox_private.adjustments set billed_usd = 0",
        "delete from farebox_private.corrections",
        "update farebox_private.usage_events set billed_usd = 0",
    ] {
        let refused = collector.batch_execute(statement).await;
        assert!(
            refused.is_err_and(|error| error.to_string().contains("permission denied")
                || error
                    .as_db_error()
                    .is_some_and(|db| db.code().code() == "42501")),
            "{statement}"
        );
    }
    served.stop().await
}

#[tokio::test]
async fn an_invoice_is_handed_out_as_csv_json_and_a_page() -> Result {
    let served = Served::new().await?;
    let mut event = record(Some("acme"), "2026-09-15T12:00:00Z", 1);
    event["lines"][0]["model"] = "gpt-4o-mini".into();
    served.ledger.ship(&[event]).await?;
    let not_over = refused(&served, "2026-12").await?;
    assert_eq!((not_over.0, not_over.1.as_str()), (409, "period_not_over"));
    let month = json!({"tenant": "acme", "month": "2026-09", "despite": ["node-1"]});
    served.done("POST", INVOICES, &month).await?;
    let export = |format: &'static str| {
        let path = format!("{INVOICES}/2026-000001/export?format={format}");
        let served = &served;
        async move { served.ask("GET", &path, Some(OPERATOR), "").await }
    };
    let csv = export("csv").await?;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let rows = csv.text();
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(
        rows[1],
        "2026-000001,acme,2026-09-01,1,usage,openai,gpt-4o-mini,input_tokens,1000,0.00015,USD,,"
    );
    assert_eq!(rows.len(), 3);
    let html = export("html").await?.text();
    assert!(html.contains("<td class=\"n\">0.00021</td>"), "{html}");
    let whole = export("json").await?.json();
    assert_eq!(whole["invoice"]["billed_usd"], "0.00021");
    assert_eq!(export("pdf").await?.status(), 400);

    // A tenant sees its own, without who closed it; another sees none.
    let (own, _) = served.tenant("acme", "usage:read").await?;
    let (other, _) = served.tenant("globex", "usage:read").await?;
    let path = format!("{INVOICES}/2026-000001");
    let seen = served.ask("GET", &path, Some(&own), "").await?.json();
    assert_eq!(seen["invoice"]["closed_by"], Value::Null);
    assert_eq!(seen["lines"], whole["lines"]);
    assert_eq!(
        served.ask("GET", &path, Some(&other), "").await?.status(),
        404
    );
    served.stop().await
}

#[tokio::test]
async fn events_that_arrive_during_a_close_are_on_one_invoice_or_the_next() -> Result {
    let served = Served::new().await?;
    let batches: Vec<Vec<Value>> = (0..20)
        .map(|batch| {
            (1..=20)
                .map(|n| record(Some("acme"), "2026-09-15T12:00:00Z", batch * 20 + n))
                .collect()
        })
        .collect();
    served.ledger.ship(&batches[0]).await?;
    let shipping = async {
        for batch in &batches[1..] {
            let shipped = served.ledger.ship(batch).await;
            assert!(shipped.is_ok(), "{shipped:?}");
        }
    };
    let month = json!({"tenant": "acme", "month": "2026-09"});
    let closing = served.done("POST", INVOICES, &month);
    let ((), closed) = tokio::join!(shipping, closing);
    let closed = closed?;
    let total: String = served
        .ledger
        .one("select trim_scale(sum(billed_usd))::text from farebox.usage_events where period = '2026-09-01'")
        .await?;
    assert_eq!(closed["invoice"]["billed_usd"], total);
    let (on_it, all): (i64, i64) = {
        let row = served
            .ledger
            .sql()
            .await?
            .query_one(
                "select count(*) filter (where period = '2026-09-01'), count(*) from farebox.usage_events",
                &[],
            )
            .await?;
        (row.get(0), row.get(1))
    };
    assert_eq!((&closed["invoice"]["events"], all), (&json!(on_it), 400));
    let late: i64 = served
        .ledger
        .one("select count(*) from farebox.usage_events where is_late and period = '2026-10-01'")
        .await?;
    assert_eq!(on_it + late, 400);
    served.stop().await
}

#[tokio::test]
async fn what_is_included_is_taken_off_and_no_more_than_was_used() -> Result {
    let served = Served::new().await?;
    let batch = [record(Some("acme"), "2026-09-15T12:00:00Z", 1)];
    served.ledger.ship(&batch).await?;
    let client = served.ledger.sql().await?;
    client
        .batch_execute(
            "update farebox_private.tenants set plan = 'pro';
             insert into farebox_private.rate_card_revisions (sha256, kind, provider, canonical, activated_at)
             values (encode(sha256('{}'), 'hex'), 'price', '*', '{}', now());
             insert into farebox_private.allowances (revision, allowance, plan, meters, quantity)
             values (encode(sha256('{}'), 'hex'), 'a quarter', 'pro', '{input_tokens}', 250)",
        )
        .await?;
    let seen = preview(&served, "2026-09").await?;
    assert_eq!(
        lines(&seen),
        [
            "usage input_tokens 1000 0.00015 -",
            "usage output_tokens 100 0.00006 -",
            "allowance - -250 -0.0000375 -",
        ]
    );
    assert_eq!(seen["billed_usd"], "0.0001725");
    client
        .batch_execute("update farebox_private.allowances set quantity = null, usd = 5")
        .await?;
    let closed = json!({"tenant": "acme", "month": "2026-09"});
    let closed = served.done("POST", INVOICES, &closed).await?;
    assert_eq!(closed["invoice"]["billed_usd"], "0.00006");
    served.stop().await
}

#[tokio::test]
async fn a_month_ends_at_the_first_of_two_midnights() -> Result {
    let served = Served::new().await?;
    // There 2026-11-01 begins at 04:00 UTC, and an hour later, as the clock goes back, once more.
    let havana = json!({"tenant_id": "acme", "time_zone": "America/Havana"});
    served.done("POST", "/api/v1/tenants", &havana).await?;
    let batch = [
        record(Some("acme"), "2026-11-01T03:59:59.999Z", 1),
        record(Some("acme"), "2026-11-01T04:00:00Z", 2),
    ];
    served.ledger.ship(&batch).await?;
    let month = json!({"tenant": "acme", "month": "2026-10", "despite": ["node-1"]});
    let closed = served.done("POST", INVOICES, &month).await?;
    assert_eq!(
        closed["invoice"]["to_at"], "2026-11-01T04:00:00.000Z",
        "{closed}"
    );
    assert_eq!(closed["invoice"]["events"], 1);
    served.stop().await
}
