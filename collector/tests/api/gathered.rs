//! Sessions and runs: listed page by page while calls arrive, and where their calls are booked now.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::served::{AT, Served, send, text};
use crate::support::{Result, record};

async fn listed(served: &Served, path: &str) -> Result<Vec<Value>> {
    let answer = served.done("GET", path, &Value::Null).await?;
    Ok(answer["items"].as_array().cloned().unwrap_or_default())
}

/// Ids with calls and amounts.
fn told(items: &[Value], id: &str) -> Vec<String> {
    let cell = |item: &Value, member: &str| match &item[member] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    items
        .iter()
        .map(|item| {
            [id, "request_count", "error_count", "total_billed_usd"]
                .map(|member| cell(item, member))
                .join(" ")
        })
        .collect()
}

#[tokio::test]
async fn sessions_and_runs_are_where_their_calls_are_booked_now() -> Result {
    let served = Served::new().await?;
    let (key, _) = served.tenant("globex", "usage:read").await?;
    let mut batch = Vec::new();
    for (number, session, customer) in [
        (1, "moved", "c1"),
        (2, "moved", "c1"),
        (3, "parted", "c1"),
        (4, "parted", "c2"),
        (5, "kept", "c2"),
    ] {
        let mut record = record(
            Some("acme"),
            &format!("2026-11-22T10:0{number}:00Z"),
            number,
        );
        record["session_id"] = session.into();
        record["run_id"] = format!("run-{session}").into();
        record["span_id"] = format!("span-{number}").into();
        record["customer_id"] = customer.into();
        if number == 2 {
            record["ending"] = "downstream_gone".into();
        }
        batch.push(record);
    }
    served.ledger.ship(&batch).await?;
    let of = async |tenant: &str| -> Result<[Vec<String>; 2]> {
        let sessions = listed(&served, &format!("/api/v1/sessions?tenant={tenant}")).await?;
        let runs = listed(&served, &format!("/api/v1/runs?tenant={tenant}")).await?;
        Ok([told(&sessions, "session_id"), told(&runs, "run_id")])
    };
    let before = of("acme").await?;
    // As the list of tenants and the view count them, without their events.
    let counted = async || -> Result<[Option<i64>; 2]> {
        let mut counts = [None; 2];
        for item in listed(&served, "/api/v1/tenants").await? {
            let place = usize::from(item["tenant_id"] == "globex");
            counts[place] = item["session_count"].as_i64();
        }
        let view = "select array[
                max(session_count) filter (where tenant_id = 'acme'),
                max(session_count) filter (where tenant_id = 'globex')
            ] from farebox.tenant_index";
        let of_view: Vec<Option<i64>> = served.ledger.one(view).await?;
        assert_eq!(of_view[0], counts[0]);
        assert_eq!(of_view[1].unwrap_or(0), counts[1].unwrap_or(0));
        Ok(counts)
    };
    assert_eq!(counted().await?, [Some(3), Some(0)]);
    let uncounted = "select count(*)
        from farebox_private.usage_events as events
        where not exists (
            select
            from farebox_private.tenant_sessions as sessions
            where sessions.tenant_id = events.tenant_id
                and sessions.session = farebox_private.session_digest(events.session_id))";
    assert_eq!(served.ledger.one::<i64>(uncounted).await?, 0);
    let retag = json!({
        "kind": "retag", "reason": "wrong key", "filter": {"tenant": "acme", "customer": "c1"},
        "set": {"tenant_id": "globex"},
    });
    let moved = served.done("POST", "/api/v1/adjustments", &retag).await?;
    let named = |prefix: &str, rows: &[&str]| -> Vec<String> {
        rows.iter().map(|row| format!("{prefix}{row}")).collect()
    };
    let (acme, globex) = (
        ["kept 1 0 0.00021", "parted 1 0 0.00021"],
        ["parted 1 0 0.00021", "moved 2 1 0.00042"],
    );
    assert_eq!(of("acme").await?, [named("", &acme), named("run-", &acme)]);
    assert_eq!(
        of("globex").await?,
        [named("", &globex), named("run-", &globex)]
    );
    assert_eq!(counted().await?, [Some(2), Some(2)]);
    // The same from the view, for the operator and for the tenant's own login, and with the tenant's key.
    let view = "select concat_ws(' ', session_id, request_count, total_billed_usd)
        from farebox.sessions where tenant_id = 'globex' order by started_at desc";
    let login = served.ledger.login("globex").await?;
    for client in [served.ledger.sql_as("farebox_reader").await?, login] {
        let rows = client.query(view, &[]).await?;
        let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, ["parted 1 0.00021", "moved 2 0.00042"]);
    }
    let own = send(
        served.address,
        "GET",
        "/api/v1/sessions",
        Some(&key),
        &[],
        b"",
    )
    .await?;
    let own = own.json()["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(told(&own, "session_id"), globex);
    assert!(
        own.iter().all(|item| item["total_cost_usd"].is_null()),
        "{own:?}"
    );
    // By tenant the sessions have the usage's sums.
    for tenant in ["acme", "globex"] {
        let sums: [String; 2] = [
            format!(
                "select sum(total_billed_usd)::text from farebox.sessions where tenant_id = '{tenant}'"
            ),
            format!(
                "select trim_scale(sum(billed_usd))::text from farebox.usage_daily where tenant_id = '{tenant}'"
            ),
        ];
        let sums = [
            served.ledger.one::<String>(&sums[0]).await?,
            served.ledger.one(&sums[1]).await?,
        ];
        assert_eq!(sums[0], sums[1], "{tenant}");
        // Also by what only the events know.
        let path = format!("/api/v1/usage?tenant={tenant}");
        let whole = served.done("GET", &path, &Value::Null).await?;
        let finer = served
            .done("GET", &format!("{path}&group_by=agent"), &Value::Null)
            .await?;
        assert_eq!(finer["total"], whole["total"], "{tenant}");
    }
    let undo = format!("/api/v1/adjustments/{}/undo", text(&moved, "batch_id"));
    served.done("POST", &undo, &Value::Null).await?;
    assert_eq!(counted().await?, [Some(3), Some(0)]);
    assert_eq!(of("acme").await?, before);
    assert_eq!(of("globex").await?, [Vec::<String>::new(), Vec::new()]);
    served.stop().await
}

#[tokio::test]
async fn pages_of_sessions_lose_and_repeat_nothing_while_calls_arrive() -> Result {
    let served = Served::new().await?;
    // A hundred sessions of three calls each, their calls mixed, of two tenants and of nobody.
    let call = |number: u64| {
        let session = number % 100;
        let tenant = [Some("acme"), Some("globex"), None][session as usize % 3];
        let at = format!(
            "2026-11-22T{:02}:{:02}:{:02}Z",
            number / 3600,
            number / 60 % 60,
            number % 60
        );
        let mut record = record(tenant, &at, number);
        record["session_id"] = format!("s{session}").into();
        record["run_id"] = format!("r{session}").into();
        record
    };
    let batch: Vec<Value> = (100..400).map(call).collect();
    served.ledger.ship(&batch).await?;
    for (noun, id, first_new) in [("sessions", "session_id", 1_000), ("runs", "run_id", 2_000)] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        for page in 0.. {
            let path = format!("/api/v1/{noun}?limit=7{cursor}");
            let answer = served.done("GET", &path, &Value::Null).await?;
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            let is_whole = |item: &Value| {
                text(item, id).contains('-') || item["request_count"].as_u64() >= Some(3)
            };
            assert!(items.iter().all(is_whole), "{items:?}");
            seen.extend(items.iter().map(|item| text(item, id)));
            // Another call of each of ten sessions, and a new session: neither moves what follows.
            let mut more: Vec<Value> = (400 + page * 10..410 + page * 10).map(call).collect();
            let mut new = record(Some("acme"), AT, first_new + page);
            new["session_id"] = format!("{noun}-{page}").into();
            new["run_id"] = format!("{noun}-{page}").into();
            more.push(new);
            served.ledger.ship(&more).await?;
            match text(&answer, "next_cursor").as_str() {
                "" => break,
                next => cursor = format!("&cursor={next}"),
            }
        }
        let of_batch: Vec<&String> = seen.iter().filter(|id| !id.contains('-')).collect();
        let each: BTreeSet<&&String> = of_batch.iter().collect();
        assert_eq!((of_batch.len(), each.len()), (100, 100), "{seen:?}");
    }
    let few = listed(
        &served,
        "/api/v1/sessions?from=2026-11-22T00:01:50Z&to=2026-11-22T00:02:00Z",
    )
    .await?;
    let ids: Vec<String> = few.iter().map(|item| text(item, "session_id")).collect();
    let expected: Vec<String> = (10..20).rev().map(|n| format!("s{n}")).collect();
    assert_eq!(ids, expected);
    served.stop().await
}
