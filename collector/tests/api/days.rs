//! Whole days come from daily sums and the hours at the ends from hourly ones: the sum is the events' to the
//! last digit, wherever the tenants' days begin, and nobody reads hours for days.

use std::time::Duration;

use serde_json::{Value, json};

use crate::served::{Served, text};
use crate::support::{Result, record};

/// Longest answer where nothing stands in its way.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const ZONES: [(&str, &str); 5] = [
    ("utc", "UTC"),
    ("delhi", "Asia/Kolkata"),
    ("auckland", "Pacific/Auckland"),
    ("newyork", "America/New_York"),
    ("marquesas", "Pacific/Marquesas"),
];

/// Six days, an event of everybody every 97 minutes, another amount each.
async fn shipped() -> Result<Served> {
    let served = Served::new().await?;
    for (tenant, zone) in ZONES {
        let body = json!({"tenant_id": tenant, "time_zone": zone});
        served.done("POST", "/api/v1/tenants", &body).await?;
    }
    let mut number = 0;
    let mut batch = Vec::new();
    for step in 0..89_u64 {
        let minute = step * 97;
        let at = format!(
            "2026-10-{:02}T{:02}:{:02}:00Z",
            10 + minute / 1440,
            minute % 1440 / 60,
            minute % 60
        );
        for tenant in ZONES.map(|(tenant, _)| Some(tenant)).iter().chain(&[None]) {
            number += 1;
            let mut record = record(*tenant, &at, number);
            record["lines"] = json!([{"model": "gpt-4o-mini", "usage": {"input_tokens": (number * 7).to_string()}}]);
            record["claimed_usd"] = Value::Null;
            batch.push(record);
        }
    }
    served.ledger.ship(&batch).await?;
    Ok(served)
}

/// Sums by tenant, from the API and from the events with their corrections.
async fn both(served: &Served, from: &str, to: &str) -> Result<[Vec<String>; 2]> {
    let path = format!("/api/v1/usage?group_by=tenant,meter&from={from}&to={to}");
    let answer = served.done("GET", &path, &Value::Null).await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let mut told: Vec<String> = items
        .iter()
        .filter(|item| item["quantity"] != "0")
        .map(|item| {
            ["tenant", "meter", "quantity", "billed_usd"]
                .map(|member| text(item, member))
                .join(" ")
        })
        .collect();
    told.sort();
    let client = served.ledger.sql().await?;
    let rows = client
        .query(
            "select concat_ws(' ', coalesce(tenant_id, ''), meter, trim_scale(sum(quantity)), trim_scale(sum(billed_usd)))
             from farebox_private.ledger_parts('2026-10-01', '2026-10-31')
             cross join lateral (select hour as at) as begun
             where at >= $1::text::timestamptz and at < $2::text::timestamptz
             group by tenant_id, meter
             having sum(quantity) <> 0",
            &[&from, &to],
        )
        .await?;
    let mut kept: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    kept.sort();
    // The total beside the items is theirs.
    let sum: String = client
        .query_one(
            "select coalesce(trim_scale(sum(billed_usd)), 0)::text
             from farebox_private.ledger_parts('2026-10-01', '2026-10-31')
             where hour >= $1::text::timestamptz and hour < $2::text::timestamptz",
            &[&from, &to],
        )
        .await?
        .get(0);
    assert_eq!(text(&answer["total"], "billed_usd"), sum, "{from} {to}");
    Ok([told, kept])
}

#[tokio::test]
async fn any_span_of_hours_is_exact_in_every_zone() -> Result {
    let served = shipped().await?;
    // What is moved keeps the day of whom it was moved from.
    let moved = json!({
        "kind": "retag", "reason": "wrong key", "filter": {"tenant": "auckland", "from": "2026-10-11", "to": "2026-10-13"},
        "set": {"tenant_id": "utc"},
    });
    served.done("POST", "/api/v1/adjustments", &moved).await?;
    for (from, to) in [
        ("2026-10-10T00:00:00Z", "2026-10-16T00:00:00Z"),
        ("2026-10-11T00:00:00Z", "2026-10-12T00:00:00Z"),
        ("2026-10-11T13:00:00Z", "2026-10-14T00:00:00Z"),
        ("2026-10-11T00:00:00Z", "2026-10-14T05:00:00Z"),
        ("2026-10-10T23:00:00Z", "2026-10-13T01:00:00Z"),
        ("2026-10-12T03:00:00Z", "2026-10-12T21:00:00Z"),
        ("2026-10-12T22:00:00Z", "2026-10-13T02:00:00Z"),
    ] {
        let [told, kept] = both(&served, from, to).await?;
        assert_eq!(told, kept, "{from} {to}");
        assert!(!told.is_empty());
    }
    // Every hour's sum once more, added up.
    let hours = "/api/v1/usage?group_by=hour&from=2026-10-10T00:00:00Z&to=2026-10-16T00:00:00Z";
    let days = "/api/v1/usage?group_by=model&from=2026-10-10&to=2026-10-16";
    let (hours, days) = (
        served.done("GET", hours, &Value::Null).await?,
        served.done("GET", days, &Value::Null).await?,
    );
    for member in ["calls", "events", "cost_usd", "billed_usd"] {
        assert_eq!(hours["total"][member], days["total"][member], "{member}");
    }
    let differing: i64 = served
        .ledger
        .one("select count(*) from farebox_private.check_rollups('2026-10-01', '2026-10-31')")
        .await?;
    assert_eq!(differing, 0);
    served.stop().await
}

#[tokio::test]
async fn whole_days_are_answered_while_nobody_can_read_hours() -> Result {
    let served = shipped().await?;
    let client = served.ledger.sql().await?;
    client
        .batch_execute("begin; lock table farebox_private.hourly_sums in access exclusive mode")
        .await?;
    for path in [
        "/api/v1/usage?group_by=model&from=2026-10-01&to=2026-11-01",
        "/api/v1/usage?group_by=model",
        "/api/v1/usage?group_by=tenant,model,meter&from=2026-10-11&to=2026-10-12",
        "/api/v1/usage?group_by=customer&tenant=delhi&from=2026-10-11&to=2026-10-12",
        "/api/v1/usage?group_by=day&tenant=delhi&from=2026-10-11&to=2026-10-12",
        "/api/v1/usage?group_by=month,provider",
        "/api/v1/invoices/preview?tenant=delhi&month=2026-10",
    ] {
        let answer = tokio::time::timeout(ANSWER_MAX, served.done("GET", path, &Value::Null))
            .await
            .map_err(|_| format!("{path} reads hours"))??;
        assert_ne!(answer["billed_usd"], "0", "{path}");
    }
    client.batch_execute("rollback").await?;
    served.stop().await
}
