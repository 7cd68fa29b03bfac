//! A reader's mistake in history: found by reading the stored evidence again, shown, then booked.

use farebox_tests::stack::Stack;
use serde_json::{Value, json};

use crate::ingest::{record, ship};
use crate::{Result, fresh, text};

async fn reread(stack: &Stack, arguments: &[&str]) -> Result<Value> {
    let mut all = vec!["reread", "--json"];
    all.extend(arguments);
    Ok(serde_json::from_str(&stack.done(&all)?)?)
}

#[tokio::test]
async fn a_planted_mistake_is_shown_by_a_dry_run_and_repaired_once() -> Result {
    let stack = Stack::start().await?;
    let (node, tenant) = (fresh("node"), fresh("history"));
    // A reader that took half of the input, one that was right, and one of which nothing is kept.
    let evidence = |prompt_tokens: u64| {
        json!({
            "reader_version": 1, "route": "POST /v1/chat/completions",
            "request": {"model": "gpt-4o-mini"},
            "response": {"status": 200, "model": "gpt-4o-mini", "finished": true},
            "objects": [{"at": "usage", "value": {"prompt_tokens": prompt_tokens, "completion_tokens": 100,
                                                  "total_tokens": prompt_tokens + 100}}],
            "counts": {"request_bytes": 100, "response_bytes": 500, "frames": 1, "output_frames": 0, "is_complete": true},
        })
    };
    let mut records = Vec::new();
    for (seq, kept) in (1..).zip([Some(evidence(2000)), Some(evidence(1000)), None]) {
        let mut event = record(&stack, &node, &tenant, seq).await?;
        event["lines"][0]["usage"]["input_tokens"] = "1000".into();
        if let Some(kept) = kept {
            event["evidence"] = kept;
        }
        records.push(event);
    }
    let answer = ship(&stack, &node, &records).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let wrong = text(&records[0], "event_id");
    stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 3)
        .await?;

    let shown = reread(&stack, &["--dry-run", "--tenant", &tenant]).await?;
    assert_eq!(shown["dry_run"], true, "{shown}");
    assert_eq!(shown["events_read"], 3, "{shown}");
    assert_eq!(shown["events_unreadable"], 1, "{shown}");
    assert_eq!(shown["events_different"], 1, "{shown}");
    let event = &shown["events"][0];
    assert_eq!(text(event, "event_id"), wrong);
    let input = |side: &str| text(&event[side]["lines"][0]["usage"], "input_tokens");
    assert_eq!((input("old"), input("new")), ("1000".into(), "2000".into()));
    assert_eq!(text(&event["new"], "cost_usd"), "0.00036");
    assert_eq!(text(&shown["moved"][0], "tenant_id"), tenant);
    assert_eq!(text(&shown["moved"][0], "billed_usd"), "0.00015", "{shown}");
    let amounts = || async {
        let rows = stack.rows(&format!("event_id = '{wrong}'")).await?;
        Ok::<_, farebox_tests::Error>((
            text(&rows[0], "billed_usd"),
            text(&rows[0], "adjusted_billed_usd"),
        ))
    };
    assert_eq!(amounts().await?, ("0.00021".into(), "0.00021".into()));

    // Without a word nothing is booked; booking asks why.
    reread(&stack, &["--event", &wrong]).await?;
    assert_eq!(amounts().await?.1, "0.00021");
    let refused = stack.verb(&["reread", "--commit"])?;
    assert_eq!(refused.status.code(), Some(2));
    let because = [
        "--commit",
        "--reason",
        "half of the input",
        "--tenant",
        &tenant,
    ];
    let booked = reread(&stack, &because).await?;
    assert_eq!(booked["changed"], 1, "{booked}");
    assert_eq!(amounts().await?, ("0.00021".into(), "0.00036".into()));
    // The second time there is nothing left to correct.
    let again = reread(&stack, &because).await?;
    assert_eq!(
        (&again["changed"], &again["adjustments"]),
        (&json!(0), &json!(0)),
        "{again}"
    );
    assert_eq!(amounts().await?.1, "0.00036");
    let unknown = stack.verb(&["reread", "--dry-run", "--tenant", "nobody-at-all"])?;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    Ok(())
}
