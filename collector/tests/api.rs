//! The API over real sockets against a real Postgres: who may do what on every route, keys that are
//! shown once, pages that lose nothing, and a database that is away.

use farebox_collector::openapi_json;
use farebox_pricing::rate_card::CardSet;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the ledger's tests use the rest of it")]
#[path = "ledger/support.rs"]
mod support;

#[path = "api/adjust.rs"]
mod adjust;
#[path = "api/books.rs"]
mod books;
#[path = "api/days.rs"]
mod days;
#[path = "api/gathered.rs"]
mod gathered;
#[path = "api/matrix.rs"]
mod matrix;
#[path = "api/prices.rs"]
mod prices;
#[path = "api/reads.rs"]
mod reads;
#[path = "api/retain.rs"]
mod retain;
#[path = "api/served.rs"]
mod served;
#[path = "api/steady.rs"]
mod steady;
#[path = "api/traced.rs"]
mod traced;

use matrix::expected;
use served::{AT, OPERATOR, Served, send, start, text};
use support::{Result, record};

/// Every route as the document names it; a unit test holds the document to the router.
fn routes() -> Result<Vec<(String, String)>> {
    let document: Value = serde_json::from_str(&openapi_json()?)?;
    let paths = document["paths"].as_object().ok_or("no paths")?;
    Ok(paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods
                .as_object()
                .into_iter()
                .flat_map(|known| known.keys());
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect())
}

#[tokio::test]
async fn every_route_gives_every_principal_its_own() -> Result {
    let served = Served::new().await?;
    let mut shipped = record(Some("acme"), AT, 1);
    shipped["run_id"] = "run-1".into();
    served.ledger.ship(std::slice::from_ref(&shipped)).await?;
    let report =
        json!({"provider": "openai", "files": ["day,model,input_tokens\n2026-11-22,m,1\n"]});
    let compared = served.done("POST", "/api/v1/reconcile", &report).await?;
    let reconciliation_id = text(&compared["reconciliation"], "reconciliation_id");
    let (foreign, _) = served.tenant("globex", "admin").await?;
    let (reader, _) = served.tenant("acme", "usage:read").await?;
    let (admin, _) = served.tenant("acme", "admin").await?;
    let (_, victim) = served.tenant("acme", "usage:read").await?;
    let limit = json!({"tenant": "acme", "meter": "requests", "amount": "9", "window": "minute"});
    let limit_id = text(
        &served.done("POST", "/api/v1/limits", &limit).await?,
        "limit_id",
    );
    let name = json!({"name": "node"});
    let token = served.done("POST", "/api/v1/ingest-tokens", &name).await?;
    let event_id = text(&shipped, "event_id");
    let revision = CardSet::built_in().revision("groq").unwrap_or_default();
    let customer = json!({"tenant": "acme", "customer_id": "c-1"});
    served.done("POST", "/api/v1/customers", &customer).await?;
    let credential =
        json!({"tenant": "acme", "upstream": "llm", "secret": "sk-of-acme-0123456789"});

    for (method, path) in routes()? {
        let route = format!("{method} {path}");
        let expected = expected(&route).ok_or_else(|| format!("{route}: not in this test"))?;
        // What was ended by a route before is there again.
        let set = served
            .done("POST", "/api/v1/credentials", &credential)
            .await?;
        let credential_id = text(&set, "credential_id");
        let key = match route.ends_with("/{key}/rotate") {
            true => served.tenant("acme", "usage:read").await?.1,
            false => victim.clone(),
        };
        let filled = path
            .replace("{event_id}", &event_id)
            .replace("{tenant_id}", "acme")
            .replace("{batch_id}", &event_id)
            .replace("{invoice}", "2026-000001")
            .replace("/preview", "/preview?tenant=acme&month=2026-11")
            .replace("{node}", "node-1")
            .replace("{customer_id}", "c-1")
            .replace("{credential_id}", &credential_id)
            .replace("{key}", &key)
            .replace("{limit_id}", &limit_id)
            .replace("{run_id}", "run-1")
            .replace("{reconciliation_id}", &reconciliation_id)
            .replace("{revision}", revision)
            .replace("{token_id}", &text(&token, "token_id"));
        let body = match route.as_str() {
            "POST /api/v1/keys" => json!({"name": "more", "tenant": "acme"}).to_string(),
            // An event that is not there.
            "POST /api/v1/adjustments" => json!({"kind": "manual", "reason": "none",
                "event_ids": ["01930000-0000-7000-8000-000000000000"],
                "amount": {"billed_usd": "-1"}})
            .to_string(),
            "POST /api/v1/customers/erase" => {
                json!({"tenant": "acme", "customer": "nobody"}).to_string()
            }
            "POST /api/v1/invoices" => json!({"tenant": "acme", "month": "2999-12"}).to_string(),
            "POST /api/v1/prices" => json!({"schema": 1, "kind": "price"}).to_string(),
            "POST /api/v1/prices/quote" => {
                json!({"provider": "groq", "model": "m", "usage": {}}).to_string()
            }
            "POST /api/v1/prices/bundle" => served::bundle()?.1,
            "POST /api/v1/prices/activate" => json!({"revision": revision}).to_string(),
            "POST /api/v1/prices/diff" => {
                json!({"before": "built-in", "after": revision}).to_string()
            }
            "POST /api/v1/prices/reprice" => json!({}).to_string(),
            "POST /api/v1/tenants" => json!({"tenant_id": "initech"}).to_string(),
            "PATCH /api/v1/tenants/{tenant_id}" => json!({"plan": "gold"}).to_string(),
            "POST /api/v1/customers" => json!({"tenant": "acme", "customer_id": "c-2"}).to_string(),
            "PATCH /api/v1/tenants/{tenant_id}/customers/{customer_id}"
            | "PATCH /api/v1/keys/{key}" => json!({"name": "renamed"}).to_string(),
            "POST /api/v1/credentials" => credential.to_string(),
            "POST /api/v1/credentials/{credential_id}/rotate" => {
                json!({"secret": "sk-rotated-0123456789"}).to_string()
            }
            "POST /api/v1/apply" => json!({"tenants": {"acme": {"plan": "gold"}}}).to_string(),
            "POST /api/v1/ingest-tokens" => name.to_string(),
            "POST /api/v1/reconcile" => report.to_string(),
            "GET /api/v1/limits/{limit_id}" => {
                // Removed by the operator before, where the order of the document has it so.
                served.done("PUT", &filled, &limit).await?;
                String::new()
            }
            _ if path.contains("limits") && method != "GET" => {
                // Removed by the operator before, where the order of the document has it so.
                if method == "PUT" {
                    served.done("POST", "/api/v1/limits", &limit).await?;
                }
                limit.to_string()
            }
            _ => String::new(),
        };
        let principals = [
            None,
            Some(&foreign),
            Some(&reader),
            Some(&admin),
            Some(&OPERATOR.to_owned()),
        ];
        for (principal, expected) in principals.into_iter().zip(expected) {
            let answer = served
                .ask(&method, &filled, principal.map(String::as_str), &body)
                .await?;
            let is_made = method == "PUT" && answer.status() == 201;
            assert!(
                answer.status() == expected || is_made && expected == 200,
                "{route} as {principal:?}: {} instead of {expected}: {}",
                answer.status(),
                answer.text()
            );
            assert!(answer.header("x-request-id").is_some(), "{route}");
            if answer.status() >= 400 {
                let error = &answer.json()["error"];
                let id = answer.header("x-request-id");
                assert_eq!(error["request_id"].as_str(), id, "{route}: {error}");
                assert!(error["code"].is_string(), "{route}: {error}");
            }
            if principal == Some(&foreign) && method == "GET" && path.starts_with("/api") {
                assert!(
                    !answer.text().contains("acme"),
                    "{route}: {}",
                    answer.text()
                );
            }
        }
    }
    // A path that does not exist tells nothing to whom nothing is shown.
    assert_eq!(
        served
            .ask("GET", "/api/v1/secrets", None, "")
            .await?
            .status(),
        401
    );
    let missing = served
        .ask("GET", "/api/v1/secrets", Some(OPERATOR), "")
        .await?;
    assert_eq!(missing.status(), 404);
    assert_eq!(
        served
            .ask("GET", "/api/v1/usage?tenant=acme", Some(&foreign), "")
            .await?
            .status(),
        404
    );
    assert_eq!(
        served
            .ask("GET", "/api/v1/usage", Some("wrong"), "")
            .await?
            .status(),
        401
    );
    served.stop().await
}

#[tokio::test]
async fn a_key_is_shown_once_and_every_write_is_on_record() -> Result {
    let served = Served::new().await?;
    served
        .done("POST", "/api/v1/tenants", &json!({"tenant_id": "acme"}))
        .await?;
    let body = json!({"name": "ci", "tenant": "acme", "scopes": ["usage:read"]}).to_string();
    let again = [("idempotency-key", "k-1")];
    let issue = |body: String| {
        let address = served.address;
        async move {
            let path = "/api/v1/keys";
            send(
                address,
                "POST",
                path,
                Some(OPERATOR),
                &again,
                body.as_bytes(),
            )
            .await
        }
    };
    let issued = issue(body.clone()).await?;
    assert_eq!(issued.status(), 201, "{}", issued.text());
    let secret = text(&issued.json(), "secret");
    assert_eq!(secret.get(..8), issued.json()["prefix"].as_str());
    let repeated = issue(body).await?;
    assert_eq!(repeated.status(), 201);
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeated.json()["key_id"], issued.json()["key_id"]);
    assert!(!repeated.text().contains(&secret));
    let other = issue(json!({"name": "other"}).to_string()).await?;
    assert_eq!(
        (
            other.status(),
            text(&other.json()["error"], "code").as_str()
        ),
        (409, "idempotency_conflict")
    );

    let kept: i64 = served
        .ledger
        .one(&format!(
            "select count(*) from (
                select to_jsonb(virtual_keys)::text as kept from farebox_private.virtual_keys
                union all select to_jsonb(audit_log)::text from farebox_private.audit_log
                union all select to_jsonb(idempotency_keys)::text from farebox_private.idempotency_keys
             ) as everything
             where kept like '%{secret}%'"
        ))
        .await?;
    assert_eq!(kept, 0, "the secret is kept somewhere");

    let path = format!("/api/v1/keys/{}", text(&issued.json(), "prefix"));
    assert_eq!(
        served
            .ask("GET", "/api/v1/usage", Some(&secret), "")
            .await?
            .status(),
        200
    );
    let reason = json!({"reason": "leaked"});
    let revoked = served
        .done("POST", &format!("{path}/revoke"), &reason)
        .await?;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(
        served
            .ask("GET", "/api/v1/usage", Some(&secret), "")
            .await?
            .status(),
        401
    );

    let trail: String = served
        .ledger
        .one(
            "select string_agg(
                action || ' ' || actor || ' ' || (details -> 'before' <> 'null') || ' '
                    || (details -> 'after' <> 'null') || ' ' || coalesce(details ->> 'reason', '-'),
                ', ' order by audit_id)
             from farebox_private.audit_log",
        )
        .await?;
    assert_eq!(
        trail,
        "tenant.create operator false true -, key.issue operator false true -, \
         key.revoke operator true true leaked"
    );
    served.stop().await
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing_while_events_arrive() -> Result {
    let served = Served::new().await?;
    let batch: Vec<Value> = (1_001..=1_250)
        .map(|n| record(Some("acme"), AT, n))
        .collect();
    served.ledger.ship(&batch).await?;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for round in 0.. {
        // Earlier and later than everything, and in the middle.
        let late: Vec<Value> = [
            record(Some("acme"), "2026-11-22T09:00:00.000Z", 5_000 + round),
            record(Some("acme"), "2026-11-22T11:00:00.000Z", 6_000 + round),
        ]
        .into();
        served.ledger.ship(&late).await?;
        let path = format!(
            "/api/v1/events?tenant=acme&limit=40&from={AT}&to=2026-11-22T10:30:00Z{cursor}"
        );
        let page = served.done("GET", &path, &Value::Null).await?;
        let items = page["items"].as_array().ok_or("no items")?;
        seen.extend(items.iter().map(|event| text(event, "event_id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut shipped: Vec<String> = batch.iter().map(|event| text(event, "event_id")).collect();
    shipped.reverse();
    assert_eq!(seen, shipped);
    let found = served
        .done(
            "GET",
            "/api/v1/events?response_id=chatcmpl-1100",
            &Value::Null,
        )
        .await?;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["items"][0]["upstream_request_id"], "req-1100");
    served.stop().await
}

#[tokio::test]
async fn sums_are_exact_and_a_tenant_sees_no_purchase_price() -> Result {
    let served = Served::new().await?;
    let mut batch: Vec<Value> = (1..=7).map(|n| record(Some("acme"), AT, n)).collect();
    batch[0]["run_id"] = "run-1".into();
    batch.push(record(None, AT, 8));
    served.ledger.ship(&batch).await?;
    let (reader, _) = served.tenant("acme", "usage:read").await?;

    let path =
        "/api/v1/usage?group_by=tenant,model&from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z";
    let usage = served.done("GET", path, &Value::Null).await?;
    let row = &usage["items"][0];
    assert_eq!(row["tenant"], "acme", "{usage}");
    assert_eq!(row["model"], "gpt-4o-mini");
    assert_eq!(
        row["usage"],
        json!({"input_tokens": "7000", "output_tokens": "700"})
    );
    assert_eq!(
        (&row["cost_usd"], &row["cost_percent"]),
        (&json!("0.00147"), &json!("87.5000"))
    );
    assert_eq!(usage["items"][1]["tenant"], Value::Null);
    assert_eq!(
        (&usage["total"]["cost_usd"], &usage["total"]["calls"]),
        (&json!("0.00168"), &json!("8"))
    );
    for by in [
        "hour",
        "day",
        "month",
        "meter",
        "key,customer,project,endpoint,environment",
        "",
    ] {
        let grouped = served
            .done("GET", &format!("/api/v1/usage?group_by={by}"), &Value::Null)
            .await?;
        assert_eq!(grouped["total"]["billed_usd"], "0.00168", "{by}: {grouped}");
    }
    let nothing = served
        .done("GET", "/api/v1/usage?tenant=nobody", &Value::Null)
        .await?;
    assert_eq!(nothing["total"]["events"], 0, "{nothing}");

    let tenants = served.done("GET", "/api/v1/tenants", &Value::Null).await?;
    assert_eq!(tenants["items"][0]["session_count"], 7, "{tenants}");
    assert_eq!(tenants["items"][0]["total_cost_usd"], "0.00147");
    assert_eq!(tenants["items"][0]["last_seen"], AT);
    assert_eq!(tenants["unattributed"]["total_cost_usd"], "0.00021");

    for path in [
        "events",
        "usage?group_by=model",
        "tenants",
        "tenants/acme",
        "sessions",
        "runs",
        "runs/run-1",
        "usage?group_by=agent,section",
        "export?format=json",
    ] {
        let answer = served
            .ask("GET", &format!("/api/v1/{path}"), Some(&reader), "")
            .await?;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let mut purchase = Vec::new();
        prices(&answer.json(), &mut purchase);
        assert!(!purchase.is_empty(), "{path} has no member about cost");
        assert!(purchase.iter().all(Value::is_null), "{path}: {purchase:?}");
        assert!(!answer.text().contains("unattributed"), "{path}");
    }
    served.stop().await
}

/// Every member that speaks of the cost or of what it came from.
fn prices(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| prices(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                if name.contains("cost")
                    || ["evidence", "rate_cards", "node"].contains(&name.as_str())
                {
                    found.push(member.clone());
                } else {
                    prices(member, found);
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_node_gets_a_receipt_for_each_record() -> Result {
    let served = Served::new().await?;
    let token = served
        .done("POST", "/api/v1/ingest-tokens", &json!({"name": "n"}))
        .await?;
    let secret = text(&token, "secret");
    let headers = [
        ("x-farebox-node", "node-1"),
        ("x-farebox-epoch", "1"),
        ("x-farebox-sent-at", AT),
        ("x-farebox-open-since", AT),
        ("content-encoding", "zstd"),
    ];
    let lines = format!(
        "{}\nbroken\n{}\n",
        record(Some("acme"), AT, 1),
        record(Some("acme"), AT, 2)
    );
    let body = zstd::encode_all(lines.as_bytes(), 1)?;
    let ship = |token: String, headers: Vec<(&'static str, &'static str)>, body: Vec<u8>| {
        let address = served.address;
        async move {
            send(
                address,
                "POST",
                "/ingest/v1/events",
                Some(&token),
                &headers,
                &body,
            )
            .await
        }
    };
    let answer = ship(secret.clone(), headers.to_vec(), body.clone()).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let receipts = answer.json();
    let outcomes: Vec<String> = (0..3)
        .map(|at| text(&receipts["receipts"][at], "outcome"))
        .collect();
    assert_eq!(outcomes, ["accepted", "rejected", "accepted"], "{receipts}");
    let metrics = served.ask("GET", "/metrics", None, "").await?.text();
    assert!(
        metrics.contains("farebox_ingest_events_total{outcome=\"accepted\"} 2"),
        "{metrics}"
    );

    let refused = ship(secret.clone(), headers[1..].to_vec(), body.clone()).await?;
    assert_eq!(text(&refused.json()["error"], "field"), "x-farebox-node");
    let many = zstd::encode_all("1\n".repeat(1_001).as_bytes(), 1)?;
    assert_eq!(
        ship(secret.clone(), headers.to_vec(), many).await?.status(),
        413
    );
    let path = format!("/api/v1/ingest-tokens/{}", text(&token, "token_id"));
    served.done("DELETE", &path, &Value::Null).await?;
    assert_eq!(ship(secret, headers.to_vec(), body).await?.status(), 401);
    served.stop().await
}

#[tokio::test]
async fn a_database_that_is_away_is_said_and_waited_for() -> Result {
    let nowhere = tempfile::tempdir()?;
    let url = format!(
        "host={} dbname=nothing user=nobody",
        nowhere.path().display()
    );
    let (running, shutdown) = start(&url).await?;
    let ask = async |path: &str, token: &str| {
        send(running.address(), "GET", path, Some(token), &[], b"").await
    };
    assert_eq!(ask("/healthz", "").await?.status(), 200);
    assert_eq!(ask("/readyz", "").await?.status(), 503);
    let answer = ask("/api/v1/usage", OPERATOR).await?;
    assert_eq!(
        (answer.status(), answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(
        text(&answer.json()["error"], "code"),
        "database_unavailable"
    );
    let sent = send(
        running.address(),
        "POST",
        "/ingest/v1/events",
        Some("fit_x"),
        &[],
        b"[]",
    )
    .await?;
    assert_eq!(
        (sent.status(), sent.header("retry-after")),
        (503, Some("1"))
    );
    shutdown.cancel();
    running.finished().await;
    Ok(())
}
