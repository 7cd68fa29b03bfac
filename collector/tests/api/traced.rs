//! Where an event ends up: on which line of which invoice, also after it was corrected or moved, and what
//! files of calls that nobody is billed for say.

use serde_json::{Value, json};

use crate::served::{OPERATOR, Served, text};
use crate::support::{Result, record};

const ADJUSTMENTS: &str = "/api/v1/adjustments";

/// Topic, item and detail of the steps behind what was booked.
fn behind(explained: &Value) -> Vec<String> {
    let steps = explained["steps"].as_array().into_iter().flatten();
    steps
        .filter(|step| step["step"].as_i64() > Some(8))
        .map(|step| {
            ["topic", "item", "detail"]
                .map(|name| text(step, name))
                .join(" | ")
        })
        .collect()
}

#[tokio::test]
async fn a_corrected_and_a_moved_event_lead_to_their_lines() -> Result {
    let served = Served::new().await?;
    let (own, _) = served.tenant("acme", "usage:read").await?;
    served.tenant("globex", "usage:read").await?;
    let [corrected, moved, test] = [1, 2, 3].map(|n| {
        let mut event = record(Some("acme"), "2026-09-15T12:00:00Z", n);
        if n == 3 {
            event["environment"] = "test".into();
        }
        event
    });
    let batch = [corrected.clone(), moved.clone(), test.clone()];
    served.ledger.ship(&batch).await?;
    let id = |event: &Value| text(event, "event_id");
    let retag = json!({"kind": "retag", "reason": "wrong key", "event_ids": [id(&moved)],
        "set": {"tenant_id": "globex", "project": "p"}});
    served.done("POST", ADJUSTMENTS, &retag).await?;
    let close = async |tenant: &str, month: &str| {
        let body = json!({"tenant": tenant, "month": month, "despite": ["node-1"]});
        let closed = served.done("POST", "/api/v1/invoices", &body).await?;
        Result::Ok(text(&closed["invoice"], "number"))
    };
    let september = close("acme", "2026-09").await?;
    let others = close("globex", "2026-09").await?;
    // A newer reader finds that half of the input came from a cache.
    let reread = json!({"kind": "reread", "reason": "a newer reader", "events": [{
        "event_id": id(&corrected), "usage_source": "reported",
        "lines": [{"model": "gpt-4o-mini", "usage": {
            "input_tokens": "500", "cache_read_tokens": "500", "output_tokens": "100"}}]}]});
    served.done("POST", ADJUSTMENTS, &reread).await?;
    let october = close("acme", "2026-10").await?;

    let explain = async |event: &Value, token: &str| {
        let path = format!("/api/v1/events/{}/explain", id(event));
        let answer = served.ask("GET", &path, Some(token), "").await?;
        Result::Ok(behind(&answer.json()))
    };
    let has = |steps: &[String], expected: &[String]| {
        for line in expected {
            assert!(steps.contains(line), "{line}\n{steps:#?}");
        }
    };
    let line = |meter: &str, number: u8, invoice: &str| {
        format!("invoice line | {meter} | line {number} of {invoice}, of all its events")
    };
    let seen = explain(&corrected, OPERATOR).await?;
    has(
        &seen,
        &[
            format!("invoice | 2026-09 | day 2026-09-15, invoice {september}"),
            line("input_tokens", 1, &september),
            line("output_tokens", 2, &september),
            format!("invoice | 2026-10 | corrections, invoice {october}"),
            line("cache_read_tokens", 1, &october),
            line("input_tokens", 2, &october),
        ],
    );
    let lines = |steps: &[String]| {
        let lines = steps.iter().filter(|step| step.starts_with("invoice line"));
        lines.count()
    };
    assert_eq!(lines(&seen), 4, "{seen:#?}");
    // What was moved says from whom to whom, and where it is billed now.
    let seen = explain(&moved, OPERATOR).await?;
    has(
        &seen,
        &[
            "adjustment | input_tokens | retag, wrong key, in 2026-09, tenant acme".to_owned(),
            "moved | input_tokens | retag, wrong key, in 2026-09, tenant globex, project p"
                .to_owned(),
            format!("moved | 2026-09 | tenant globex, invoice {others}"),
            format!("moved | input_tokens | line 1 of {others}, of all its events"),
        ],
    );
    // Its first tenant learns nothing of the other's books.
    let seen = explain(&moved, &own).await?;
    assert!(
        seen.iter()
            .all(|step| !step.contains("globex") && !step.contains(&others)),
        "{seen:#?}"
    );
    let adjusted = |topic: &str| seen.iter().filter(|step| step.starts_with(topic)).count();
    assert_eq!(adjusted("moved"), 0, "{seen:#?}");
    assert_eq!(adjusted("adjustment | input_tokens"), 1, "{seen:#?}");
    // Test traffic is on no invoice, and so on no line of one.
    let seen = explain(&test, OPERATOR).await?;
    assert_eq!(lines(&seen), 0, "{seen:#?}");

    // Nor does a file of test traffic name the month's invoice.
    let focus = async |environment: &str| {
        let path = format!("/api/v1/export?format=focus&month=2026-09&environment={environment}");
        let answer = served.ask("GET", &path, Some(OPERATOR), "").await?;
        Result::Ok(answer.text())
    };
    assert!(focus("live").await?.contains(&september));
    let seen = focus("test").await?;
    assert!(
        seen.lines().count() > 1 && !seen.contains(&september),
        "{seen}"
    );
    served.stop().await
}

#[tokio::test]
async fn who_sends_what_cannot_be_read_is_told_which_parameter() -> Result {
    let served = Served::new().await?;
    for (query, field) in [
        ("events?limit=x", "limit"),
        ("events?limit=1&limit=2", "limit"),
        ("events?unattributed=maybe", "unattributed"),
        ("events?shoe_size=43", "shoe_size"),
        ("adjustments?event_id=x", "event_id"),
        ("invoices/preview?tenant=acme", "month"),
    ] {
        let path = format!("/api/v1/{query}");
        let answer = served.ask("GET", &path, Some(OPERATOR), "").await?;
        let error = &answer.json()["error"];
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(error["field"], field, "{query}: {error}");
    }
    served.stop().await
}

#[tokio::test]
async fn what_callers_name_is_no_formula_in_a_file() -> Result {
    let served = Served::new().await?;
    served.tenant("acme", "usage:read").await?;
    let mut event = record(Some("acme"), "2026-09-15T12:00:00Z", 1);
    event["project"] = "=cmd|' /C calc'!A0".into();
    served.ledger.ship(&[event]).await?;
    for format in ["csv", "clients"] {
        let path = format!("/api/v1/export?format={format}&from=2026-09-01&to=2026-10-01");
        let answer = served.ask("GET", &path, Some(OPERATOR), "").await?;
        let file = answer.text();
        assert!(file.contains(",\"'=cmd|' /C calc'!A0\""), "{file}");
    }
    served.stop().await
}
