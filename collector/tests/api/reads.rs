//! What people read: runs as trees, sums by agent, explanations, files, comparisons with vendors' own
//! reports; and that asking twice costs nothing when nothing changed.

use std::collections::BTreeMap;

use farebox_collector::CollectorConfig;
use farebox_tests::wire::Message;
use serde_json::{Value, json};

use crate::served::{AT, OPERATOR, Served, send, start_with, text};
use crate::support::{Ledger, Result, record};

fn items(answer: &Value) -> Vec<Value> {
    answer["items"].as_array().cloned().unwrap_or_default()
}

async fn get(served: &Served, path: &str) -> Result<Value> {
    served.done("GET", path, &Value::Null).await
}

#[tokio::test]
async fn branches_of_a_run_keep_their_paths() -> Result {
    let served = Served::new().await?;
    let mut number = 0;
    let mut call = |span: Option<&str>, parent: Option<&str>, section: Option<&str>| {
        number += 1;
        let mut record = record(Some("acme"), AT, number);
        record["run_id"] = "run".into();
        record["span_id"] = json!(span);
        record["parent_span_id"] = json!(parent);
        record["section"] = json!(section);
        record
    };
    // Three branches at once, their events mixed, children before parents.
    let mut batch = Vec::new();
    for branch in ["1", "2", "3"] {
        let (tool, step) = (format!("t{branch}"), format!("s{branch}"));
        batch.push(call(Some(&step), Some(&tool), Some("step:think")));
    }
    for branch in ["3", "1", "2"] {
        let (tool, section) = (format!("t{branch}"), format!("tool:search-{branch}"));
        batch.push(call(Some(&tool), Some("root"), Some(&section)));
    }
    batch.push(call(Some("root"), None, Some("agent:planner")));
    // As traceparent names it: the step that calls is the parent.
    batch.push(call(None, Some("s2"), None));
    // A circle ends.
    batch.push(call(Some("x"), Some("y"), None));
    batch.push(call(Some("y"), Some("x"), None));
    served.ledger.ship(&batch).await?;
    let tree = get(&served, "/api/v1/runs/run").await?;
    assert_eq!(tree["items"][0]["request_count"], 10, "{tree}");
    assert_eq!(tree["items"][0]["span_count"], 9);
    assert_eq!(tree["items"][0]["total_billed_usd"], "0.0021");
    let spans = tree["spans"].as_array().ok_or("no spans")?;
    let found: BTreeMap<String, String> = spans
        .iter()
        .map(|span| (text(span, "span_id"), span["sections"].to_string()))
        .collect();
    for branch in ["1", "2", "3"] {
        assert_eq!(
            found[&format!("s{branch}")],
            format!(r#"["agent:planner","tool:search-{branch}","step:think"]"#)
        );
    }
    assert_eq!(found["x"], r#"["y","x"]"#);
    let of = |id: &str| spans.iter().find(|span| span["span_id"] == id).cloned();
    let step = of("s2").ok_or("no s2")?;
    assert_eq!(
        (&step["kind"], &step["name"]),
        (&json!("step"), &json!("think"))
    );
    assert_eq!(step["request_count"], 2, "{step}");
    let runs = get(&served, "/api/v1/runs?tenant=acme").await?;
    assert_eq!(items(&runs).len(), 1);
    // A tree below a step, in SQL.
    let below: i64 = served
        .ledger
        .one("select sum(request_count)::bigint from farebox.spans where run_id = 'run' and 't2' = any (path)")
        .await?;
    assert_eq!(below, 3);
    served.stop().await
}

#[tokio::test]
async fn sums_by_agent_and_section_are_the_roll_ups_sums() -> Result {
    let served = Served::new().await?;
    let batch: Vec<Value> = (1..=30)
        .map(|number| {
            let mut record = record(Some("acme"), AT, number);
            record["agent"] = format!("agent-{}", number % 3).into();
            record["section"] = json!((number % 2 == 0).then_some("step:even"));
            if number % 5 == 0 {
                record["attempt"] = 2.into();
            }
            record
        })
        .collect();
    served.ledger.ship(&batch).await?;
    let total = get(&served, "/api/v1/usage").await?["total"].clone();
    for by in [
        "agent",
        "section",
        "agent,section,hour",
        "agent,day,model",
        "section,meter",
    ] {
        let found = get(&served, &format!("/api/v1/usage?group_by={by}")).await?;
        for member in ["calls", "events", "cost_usd", "billed_usd"] {
            assert_eq!(found["total"][member], total[member], "{by} {member}");
        }
        let percents = items(&found);
        assert!(percents.len() > 1, "{by}: {found}");
    }
    let one = get(
        &served,
        "/api/v1/usage?group_by=agent&section=step:even&from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z",
    )
    .await?;
    assert_eq!(one["total"]["events"], 15, "{one}");
    assert_eq!(items(&one)[0]["billed_percent"], "33.3333");
    let elsewhere = get(
        &served,
        "/api/v1/usage?group_by=agent&from=2026-11-22T11:00:00Z",
    )
    .await?;
    assert_eq!(items(&elsewhere).len(), 0, "{elsewhere}");
    served.stop().await
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again() -> Result {
    let served = Served::new().await?;
    served.ledger.ship(&[record(Some("acme"), AT, 1)]).await?;
    let ask = async |tag: &str| -> Result<Message> {
        let headers: &[(&str, &str)] = match tag {
            "" => &[],
            tag => &[("if-none-match", tag)],
        };
        send(
            served.address,
            "GET",
            "/api/v1/usage",
            Some(OPERATOR),
            headers,
            b"",
        )
        .await
    };
    let first = ask("").await?;
    let tag = first.header("etag").ok_or("no etag")?.to_owned();
    let again = ask(&tag).await?;
    assert_eq!((again.status(), again.body.len()), (304, 0));
    served.ledger.ship(&[record(Some("acme"), AT, 2)]).await?;
    let changed = ask(&tag).await?;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    served.stop().await
}

/// Two tenants, one of them in another zone, with customers, projects and two vendors.
fn month() -> Vec<Value> {
    let mut batch = Vec::new();
    for (number, tenant, at) in [
        (1, Some("acme"), "2026-11-03T10:00:00Z"),
        (2, Some("acme"), "2026-11-03T23:30:00Z"),
        (3, Some("globex"), "2026-11-04T03:00:00Z"),
        (4, None, "2026-11-04T10:00:00Z"),
    ] {
        let mut record = record(tenant, at, number);
        if number == 2 {
            record["customer_id"] = "c, \"quoted\"".into();
            record["project"] = "web".into();
        }
        batch.push(record);
    }
    let mut listen = record(Some("acme"), "2026-11-03T11:00:00Z", 5);
    for member in ["provider", "upstream"] {
        listen[member] = "deepgram".into();
    }
    listen["endpoint"] = "listen".into();
    listen["model"] = "nova-3".into();
    listen["lines"] = json!([{"model": "nova-3", "conditions": {"mode": "prerecorded"}, "usage": {"audio_seconds": "60.5"}}]);
    batch.push(listen);
    batch.push(record(Some("acme"), "2026-12-01T00:00:00Z", 6));
    for record in &mut batch {
        record["claimed_usd"] = Value::Null;
    }
    batch
}

#[tokio::test]
async fn files_are_as_they_were_written_down() -> Result {
    let served = Served::new().await?;
    for (tenant, zone) in [("acme", "UTC"), ("globex", "America/New_York")] {
        let body = json!({"tenant_id": tenant, "name": tenant.to_uppercase(), "time_zone": zone});
        served.done("POST", "/api/v1/tenants", &body).await?;
    }
    served.ledger.ship(&month()).await?;
    let file = async |query: &str, token: &str| -> Result<String> {
        let path = format!("/api/v1/export?{query}");
        let answer = served.ask("GET", &path, Some(token), "").await?;
        assert_eq!(answer.status(), 200, "{query}: {}", answer.text());
        Ok(answer.text())
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/golden");
    for format in ["clients", "focus"] {
        let written = file(&format!("format={format}&month=2026-11"), OPERATOR).await?;
        let path = folder.join(format!("{format}.csv"));
        if std::env::var_os("FAREBOX_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &written)?;
        }
        assert_eq!(written, std::fs::read_to_string(&path)?, "{format}");
    }
    // Events: the same rows and the same figures as the list has.
    let csv = file("month=2026-11", OPERATOR).await?;
    assert_eq!(csv.lines().count(), 6, "{csv}");
    let whole: Value = serde_json::from_str(&file("format=json", OPERATOR).await?)?;
    let mut listed = items(&get(&served, "/api/v1/events").await?);
    listed.reverse();
    assert_eq!(items(&whole), listed);
    // A tenant has its own rows, and no purchase price in any of them.
    let (key, _) = served.tenant("acme", "usage:read").await?;
    let own = file("format=focus", &key).await?;
    let heading = own.lines().next().ok_or("empty")?;
    let cost = heading.split(',').position(|name| name == "x_CostUsd");
    let after = heading.split(',').count() - cost.ok_or("no cost column")?;
    for line in own.lines().skip(1) {
        assert_eq!(line.rsplit(',').nth(after - 1), Some(""), "{line}");
        assert!(
            !line.contains("globex") && !line.contains("unattributed"),
            "{line}"
        );
    }
    let own: Value = serde_json::from_str(&file("format=json", &key).await?)?;
    for event in items(&own) {
        assert!(
            event["cost_usd"].is_null() && event["evidence"].is_null(),
            "{event}"
        );
    }
    for wrong in [
        "format=xml",
        "month=2026-13",
        "format=focus&from=2026-11-03T10:00:00Z",
    ] {
        let path = format!("/api/v1/export?{wrong}");
        assert_eq!(
            served.ask("GET", &path, Some(OPERATOR), "").await?.status(),
            400,
            "{wrong}"
        );
    }
    served.stop().await
}

#[tokio::test]
async fn an_event_is_explained_and_a_tenant_learns_no_purchase_price() -> Result {
    let served = Served::new().await?;
    let limit =
        json!({"tenant_id": "acme", "meter": "requests", "amount": "9", "window_kind": "minute"});
    let (key, _) = served.tenant("acme", "usage:read").await?;
    served.done("POST", "/api/v1/limits", &limit).await?;
    let event = record(Some("acme"), "2026-11-30T10:00:00Z", 1);
    served.ledger.ship(std::slice::from_ref(&event)).await?;
    let path = format!("/api/v1/events/{}/explain", text(&event, "event_id"));
    let steps = get(&served, &path).await?;
    let topics: Vec<String> = (steps["steps"].as_array().ok_or("no steps")?)
        .iter()
        .map(|step| text(step, "topic"))
        .collect();
    for topic in [
        "call", "limit", "evidence", "usage", "charge", "booked", "invoice",
    ] {
        assert!(
            topics.iter().any(|known| known == topic),
            "{topic}: {steps}"
        );
    }
    let own = served.ask("GET", &path, Some(&key), "").await?;
    assert_eq!(own.status(), 200);
    for step in own.json()["steps"].as_array().ok_or("no steps")? {
        assert!(step["cost_usd"].is_null(), "{step}");
        assert!(
            !["limit", "evidence"].contains(&text(step, "topic").as_str()),
            "{step}"
        );
    }
    served.stop().await
}

#[tokio::test]
async fn three_reports_have_three_causes() -> Result {
    let served = Served::new().await?;
    let of = |number, provider: &str, model: &str, usage: Value| {
        let mut record = record(Some("acme"), AT, number);
        for member in ["provider", "upstream"] {
            record[member] = provider.into();
        }
        record["model"] = model.into();
        record["lines"] = json!([{"model": model, "usage": usage}]);
        record["usage"] = usage;
        record["claimed_usd"] = Value::Null;
        record
    };
    let mut listen = of(4, "deepgram", "nova-3", json!({"audio_seconds": "60"}));
    listen["endpoint"] = "listen".into();
    listen["lines"][0]["conditions"] = json!({"mode": "prerecorded"});
    listen["upstream_request_id"] = "dg-1".into();
    let mut speak = of(5, "elevenlabs", "eleven_v3", json!({"characters": "17"}));
    speak["endpoint"] = "speak".into();
    speak["upstream_request_id"] = "r-1".into();
    let mut voice = of(6, "cartesia", "sonic", json!({"characters": "1200"}));
    voice["endpoint"] = "speak".into();
    served
        .ledger
        .ship(&[
            speak,
            voice,
            record(Some("acme"), AT, 1),
            record(Some("globex"), AT, 2),
            of(
                3,
                "anthropic",
                "claude-sonnet-4-5",
                json!({"input_tokens": "1000", "output_tokens": "100"}),
            ),
            listen,
        ])
        .await?;
    let report = |cause: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/reports");
        std::fs::read_to_string(folder.join(format!("{cause}.json")))
    };
    for (provider, cause) in [
        ("openai", "coverage"),
        ("anthropic", "units"),
        ("deepgram", "rate"),
    ] {
        let body = json!({"provider": provider, "files": [report(cause)?]});
        let compared = served.done("POST", "/api/v1/reconcile", &body).await?;
        let lines = items(&compared);
        assert!(!lines.is_empty(), "{cause}: {compared}");
        assert!(
            lines.iter().all(|line| line["cause"] == cause),
            "{compared}"
        );
        assert_eq!(compared["reconciliation"]["is_within"], false);
        let month = "/api/v1/invoices/preview?tenant=acme&month=2026-11";
        let shown = get(&served, month).await?;
        let beside = shown["reconciliations"].as_array().into_iter().flatten();
        assert!(
            beside
                .into_iter()
                .any(|one| *one == compared["reconciliation"]),
            "{shown}"
        );
        let id = text(&compared["reconciliation"], "reconciliation_id");
        let again = get(&served, &format!("/api/v1/reconcile/{id}")).await?;
        assert_eq!(again, compared);
        let all = get(&served, &format!("/api/v1/reconcile/{id}/lines")).await?;
        assert_eq!(
            compared["reconciliation"]["lines"],
            items(&all).len(),
            "{all}"
        );
        match cause {
            "units" => {
                assert_eq!(lines.len(), 1, "{compared}");
                assert_eq!(lines[0]["quantity_difference"], "50");
            }
            "rate" => {
                assert_eq!(lines[0]["id"], "dg-1");
                assert_eq!(lines[0]["implied_rate"], "0.008333333333333333");
                assert_eq!(compared["reconciliation"]["vendor_cost_usd"], "0.5");
            }
            _ => assert_eq!(lines[0]["model"], "gpt-4o-mini", "{compared}"),
        }
    }
    // A report that agrees.
    let csv = "date,model,input_tokens,output_tokens,calls\n2026-11-22,gpt-4o-mini,2000,200,2\n";
    let body = json!({"provider": "openai", "files": [csv]});
    let compared = served.done("POST", "/api/v1/reconcile", &body).await?;
    assert_eq!(compared["reconciliation"]["is_within"], true, "{compared}");
    assert_eq!(
        items(&get(&served, "/api/v1/reconcile?provider=openai").await?).len(),
        2
    );
    // One of another month, and one of nothing, do not agree with a month of calls.
    for file in [csv.replace("2026-11", "2026-10"), String::new()] {
        let body = json!({"provider": "openai", "files": [file], "from": "2026-11-01", "to": "2026-12-01"});
        let compared = served.done("POST", "/api/v1/reconcile", &body).await?;
        assert_eq!(compared["reconciliation"]["is_within"], false, "{compared}");
        let lines = items(&compared);
        assert!(
            lines.len() >= 3 && lines.iter().all(|line| line["cause"] == "coverage"),
            "{compared}"
        );
    }
    // Vendors that count in credits, by call and by day: as it was, and two short.
    let history = |to: u32| {
        format!(
            r#"{{"history": [{{"request_id": "r-1", "model_id": "eleven_v3", "date_unix": 1795341600,
                "character_count_change_from": 100, "character_count_change_to": {to}}}]}}"#
        )
    };
    let table = |credits: u32| format!("date,model,credits\n2026-11-22,sonic,{credits}\n");
    for (provider, agrees, differs) in [
        ("elevenlabs", history(117), history(119)),
        ("cartesia", table(1200), table(1202)),
    ] {
        for (file, is_within) in [(agrees, true), (differs, false)] {
            let body = json!({"provider": provider, "files": [file]});
            let compared = served.done("POST", "/api/v1/reconcile", &body).await?;
            assert_eq!(
                compared["reconciliation"]["is_within"], is_within,
                "{compared}"
            );
            assert_eq!(compared["reconciliation"]["lines"], 1, "{compared}");
            assert!(
                is_within || items(&compared)[0]["cause"] == "units",
                "{compared}"
            );
        }
    }
    for wrong in [
        json!({"provider": "openai", "files": []}),
        json!({"provider": "openai", "files": ["{"]}),
        json!({"provider": "openai", "files": [csv], "from": "yesterday"}),
        json!({"provider": "openai", "files": [csv], "tolerance_usd": "-1"}),
    ] {
        let answer = served
            .ask(
                "POST",
                "/api/v1/reconcile",
                Some(OPERATOR),
                &wrong.to_string(),
            )
            .await?;
        assert_eq!(answer.status(), 400, "{wrong}: {}", answer.text());
    }
    served.stop().await
}

#[tokio::test]
async fn events_are_found_by_what_they_carry() -> Result {
    let served = Served::new().await?;
    let mut one = record(Some("acme"), AT, 1);
    one["run_id"] = "run-9".into();
    one["agent"] = "planner".into();
    one["section"] = "tool:search".into();
    one["status"] = 429.into();
    // The second part of the first's call, which broke off.
    let mut part = record(Some("acme"), AT, 3);
    let (call, own) = (text(&one, "event_id"), text(&part, "event_id"));
    part["call_id"] = call.clone().into();
    part["part"] = 2.into();
    part["ending"] = "downstream_gone".into();
    part["usage_source"] = "missing".into();
    served
        .ledger
        .ship(&[one, record(None, AT, 2), part])
        .await?;
    for (query, count) in [
        (format!("call={call}").as_str(), 2),
        (&format!("call={call}&tenant=acme&ending=complete"), 1),
        // An event of the call, and not its name.
        (&format!("call={own}"), 0),
        ("ending=downstream_gone", 1),
        ("ending=downstream_gone&tenant=acme", 1),
        ("ending=downstream_gone&unattributed=true", 0),
        ("ending=complete", 2),
        ("usage_source=missing", 1),
        ("usage_source=missing&model=gpt-4o-mini", 1),
        ("status=429&tenant=acme", 1),
        ("run=run-9", 1),
        ("agent=planner&section=tool:search", 1),
        ("status=429", 1),
        ("status=200&unattributed=true", 1),
        ("unattributed=true&run=run-9", 0),
        ("usage_source=reported&attribution=header", 2),
        ("upstream=openai", 3),
    ] {
        let found = get(&served, &format!("/api/v1/events?{query}")).await?;
        assert_eq!(items(&found).len(), count, "{query}");
    }
    for wrong in ["status=many", "key=1", "call=x", "colour=red"] {
        let path = format!("/api/v1/events?{wrong}");
        assert_eq!(
            served.ask("GET", &path, Some(OPERATOR), "").await?.status(),
            400,
            "{wrong}"
        );
    }
    served.stop().await
}

/// What one event of hundreds has is looked for by the sums, tenant by tenant, and comes in the order of time.
#[tokio::test]
async fn what_few_events_have_comes_in_the_order_of_time() -> Result {
    let served = Served::new().await?;
    let mut batch: Vec<Value> = (1..=900)
        .map(|number| record(Some("acme"), AT, number))
        .collect();
    let mut expected = Vec::new();
    for (number, tenant) in [
        (901, "acme"),
        (902, "globex"),
        (903, "acme"),
        (904, "globex"),
    ] {
        let at = format!("2026-11-22T10:{}:00Z", number - 890);
        let mut rare = record(Some(tenant), &at, number);
        rare["customer_id"] = "rare".into();
        expected.insert(0, text(&rare, "event_id"));
        batch.push(rare);
    }
    served.ledger.ship(&batch).await?;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/events?customer=rare&limit=1{cursor}");
        let page = get(&served, &path).await?;
        seen.extend(items(&page).iter().map(|event| text(event, "event_id")));
        if page["next_cursor"].is_null() {
            break;
        }
        cursor = format!("&cursor={}", text(&page, "next_cursor"));
    }
    assert_eq!(seen, expected);
    served.stop().await
}

/// What takes too long ends with an answer that says what to do, and the connection serves the next.
#[tokio::test]
async fn who_asks_for_too_much_is_told_to_ask_for_less() -> Result {
    let ledger = Ledger::new().await?;
    ledger.ship(&[record(Some("acme"), AT, 1)]).await?;
    let quick = |config: &mut CollectorConfig| {
        config.read_seconds = 1;
        config.database_connections_max = 1;
    };
    let (running, shutdown) = start_with(&ledger.url, quick).await?;
    let ask =
        async |path: &str| send(running.address(), "GET", path, Some(OPERATOR), &[], b"").await;
    // As long as nobody may read the events, reading them takes longer than anything.
    let mut other = ledger.sql().await?;
    let held = other.transaction().await?;
    held.batch_execute("lock table farebox_private.usage_events in access exclusive mode")
        .await?;
    for path in [
        "/api/v1/events?agent=planner",
        "/api/v1/sessions",
        "/api/v1/runs",
        "/api/v1/usage?group_by=agent",
    ] {
        let answer = ask(path).await?;
        assert_eq!(answer.status(), 400, "{path}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(
            (text(error, "code").as_str(), text(error, "field").as_str()),
            ("too_much_to_read", "from"),
            "{path}"
        );
    }
    held.rollback().await?;
    let answer = ask("/api/v1/events").await?;
    assert_eq!(items(&answer.json()).len(), 1, "{}", answer.text());
    shutdown.cancel();
    running.finished().await;
    ledger.drop_database().await
}
