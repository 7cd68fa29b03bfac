//! What holds while the world moves: one answer from API and view, lists that lose nobody, and a
//! certificate that is changed under way.

use std::net::SocketAddr;
use std::time::Duration;

use farebox_collector::{CollectorConfig, Secret, TlsConfig, run};
use farebox_tests::tls;
use farebox_tests::wait::{eventually, holds};
use farebox_tests::wire::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::served::{AT, Served, send, start_with, text};
use crate::support::{Ledger, Result, record};

/// Longest time until a changed certificate is served.
const CERTIFICATE_MAX: Duration = Duration::from_secs(30);

/// Longest time until sums that were set aside are merged.
const MERGED_MAX: Duration = Duration::from_secs(60);

/// Longest time until a batch is taken, and until another one is refused.
const BUSY_MAX: Duration = Duration::from_secs(20);

/// Paid by the operator, by the tenant, and two that nothing prices.
fn mixed() -> Vec<Value> {
    let mut own = record(Some("acme"), AT, 2);
    own["paid_by"] = "tenant".into();
    own["credential_id"] = "theirs".into();
    own["overhead_ms"] = "0.5".into();
    let mut batch = vec![record(Some("acme"), AT, 1), own];
    for number in [3, 4] {
        let mut unpriced = record(Some("acme"), AT, number);
        unpriced["lines"][0]["model"] = "no-such-model".into();
        batch.push(unpriced);
    }
    batch
}

#[tokio::test]
async fn an_event_reads_the_same_in_api_and_view() -> Result {
    let served = Served::new().await?;
    let batch = mixed();
    served.ledger.ship(&batch).await?;
    let (key, _) = served.tenant("acme", "usage:read").await?;
    served
        .ledger
        .sql()
        .await?
        .batch_execute(
            "insert into farebox_private.adjustments (adjustment_id, batch_id, event_id, kind, actor, reason,
                 started_at, day, period, event_period, tenant_id, environment, paid_by, provider, endpoint, pricing,
                 meter, quantity, cost_usd, billed_usd)
             select gen_random_uuid(), gen_random_uuid(), event_id, 'reprice', 'x', 'a test', started_at, day,
                 period, period, tenant_id,
                 environment, paid_by, provider, endpoint, pricing, 'input_tokens', 0, 0.5, 0.25
             from farebox_private.usage_events where seq in (1, 3)",
        )
        .await?;
    let tenant = served.ledger.login("acme").await?;
    let operator = served.ledger.sql().await?;
    let view = "select to_jsonb(view) || jsonb_build_object(
            'adjusted_cost_usd', trim_scale(adjusted_cost_usd)::text,
            'adjusted_billed_usd', trim_scale(adjusted_billed_usd)::text,
            'cost_usd', trim_scale(cost_usd)::text, 'billed_usd', trim_scale(billed_usd)::text,
            'claimed_usd', trim_scale(claimed_usd)::text)
        from farebox.usage_events as view where event_id = $1::text::uuid";
    let mut adjusted = Vec::new();
    for (asker, client) in [
        (crate::served::OPERATOR, &operator),
        (key.as_str(), &tenant),
    ] {
        for event in &batch {
            let event_id = text(event, "event_id");
            let path = format!("/api/v1/events/{event_id}");
            let answer = served.ask("GET", &path, Some(asker), "").await?.json();
            let row: Value = client.query_one(view, &[&event_id]).await?.get(0);
            for (name, in_api) in answer.as_object().ok_or("no object")? {
                let in_view = &row[name];
                let is_same = match name.ends_with("_at") || name.ends_with("_ms") {
                    true => in_api.is_null() == in_view.is_null(),
                    false => in_api == in_view,
                };
                assert!(
                    is_same,
                    "{name}: {in_api} in the API, {in_view} in the view"
                );
            }
            adjusted.push(format!(
                "{} {}",
                answer["adjusted_cost_usd"], answer["adjusted_billed_usd"]
            ));
        }
    }
    assert_eq!(
        adjusted,
        [
            "\"0.50021\" \"0.25021\"",
            "\"0.00021\" \"0\"",
            "\"0.5\" \"0.25\"",
            "null null",
            "null \"0.25021\"",
            "\"0.00021\" \"0\"",
            "null \"0.25\"",
            "null null",
        ]
    );
    served.stop().await
}

/// Ships as a proxy does, so that the collector's own clock says when.
async fn ship(served: &Served, secret: &str, batch: &[Value]) -> Result {
    let answer = sent(served.address, secret, batch).await?;
    assert_eq!(answer.text().matches("accepted").count(), batch.len());
    Ok(())
}

async fn sent(collector: SocketAddr, secret: &str, batch: &[Value]) -> Result<Message> {
    let headers = [
        ("x-farebox-node", "node-1"),
        ("x-farebox-epoch", "1"),
        ("x-farebox-sent-at", AT),
        ("x-farebox-open-since", AT),
    ];
    let body = Value::from(batch).to_string();
    let path = "/ingest/v1/events";
    send(
        collector,
        "POST",
        path,
        Some(secret),
        &headers,
        body.as_bytes(),
    )
    .await
}

/// A batch beyond those that are taken at once is to come again; what was taken is booked all the same.
#[tokio::test]
async fn a_batch_too_many_is_told_when_to_come_again() -> Result {
    let served = Served::new().await?;
    let token = served
        .done("POST", "/api/v1/ingest-tokens", &json!({"name": "n"}))
        .await?;
    let secret = text(&token, "secret");
    let one_at_a_time = |config: &mut CollectorConfig| config.ingest_batches_max = 1;
    let (running, shutdown) = start_with(&served.ledger.url, one_at_a_time).await?;
    // The first is held up where it books its tenants.
    let mut other = served.ledger.sql().await?;
    let held = other.transaction().await?;
    held.batch_execute("lock table farebox_private.tenants in access exclusive mode")
        .await?;
    let collector = running.address();
    let batch = [record(Some("acme"), AT, 1)];
    let first = tokio::spawn({
        let (secret, batch) = (secret.clone(), batch.clone());
        async move { sent(collector, &secret, &batch).await }
    });
    let second = [record(Some("acme"), AT, 2)];
    eventually("the first batch is taken", BUSY_MAX, || async {
        let metrics = send(collector, "GET", "/metrics", None, &[], b"").await;
        let metrics = metrics.map_err(|error| error.to_string())?.text();
        holds(metrics.contains("farebox_ingest_batches_open 1"), &metrics)
    })
    .await?;
    // Taken as well, it would wait for the first.
    let refused = timeout(BUSY_MAX, sent(collector, &secret, &second)).await??;
    assert_eq!(
        (refused.status(), refused.header("retry-after")),
        (429, Some("1")),
        "{}",
        refused.text()
    );
    assert_eq!(text(&refused.json()["error"], "code"), "ingest_busy");
    held.rollback().await?;
    for answer in [first.await??, sent(collector, &secret, &second).await?] {
        assert_eq!(answer.text().matches("accepted").count(), 1);
    }
    shutdown.cancel();
    running.finished().await;
    served.stop().await
}

#[tokio::test]
async fn a_list_of_tenants_loses_and_repeats_nobody_while_they_call() -> Result {
    let served = Served::new().await?;
    let token = served
        .done("POST", "/api/v1/ingest-tokens", &json!({"name": "n"}))
        .await?;
    let secret = text(&token, "secret");
    let names: Vec<String> = (1..=6).map(|number| format!("tenant-{number}")).collect();
    let batch: Vec<Value> = (1..)
        .zip(&names)
        .map(|(number, name)| record(Some(name), &format!("2026-11-22T10:0{number}:00Z"), number))
        .collect();
    ship(&served, &secret, &batch).await?;
    // The clock has moved on from those calls.
    eventually(
        "the calls are of the past",
        Duration::from_secs(10),
        || async {
            let page = served
                .done("GET", "/api/v1/tenants?limit=1", &Value::Null)
                .await;
            let page = page.map_err(|error| error.to_string())?;
            holds(page["items"][0]["tenant_id"] == "tenant-6", &page)
        },
    )
    .await?;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for round in 100.. {
        let path = format!("/api/v1/tenants?limit=2{cursor}");
        let page = served.done("GET", &path, &Value::Null).await?;
        let items = page["items"].as_array().ok_or("no items")?;
        seen.extend(items.iter().map(|tenant| text(tenant, "tenant_id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        // The last, one that was shown, and a new one call meanwhile.
        let fresh = format!("tenant-new-{round}");
        let meanwhile: Vec<Value> = ["tenant-1", "tenant-5", &fresh]
            .into_iter()
            .zip(1..)
            .map(|(name, number)| record(Some(name), "2026-11-22T11:00:00Z", round * 10 + number))
            .collect();
        ship(&served, &secret, &meanwhile).await?;
    }
    let known: Vec<&String> = seen.iter().filter(|name| !name.contains("new")).collect();
    let expected: Vec<&String> = names.iter().rev().collect();
    assert_eq!(known, expected, "{seen:?}");
    let first = served
        .done("GET", "/api/v1/tenants?limit=2", &Value::Null)
        .await?;
    assert_eq!(first["items"][0]["last_seen"], "2026-11-22T11:00:00.000Z");
    served.stop().await
}

#[tokio::test]
async fn what_batches_set_aside_is_merged_by_itself() -> Result {
    let served = Served::new().await?;
    let token = served
        .done("POST", "/api/v1/ingest-tokens", &json!({"name": "n"}))
        .await?;
    let batch: Vec<Value> = (1..=90)
        .map(|number| {
            let mut record = record(Some("acme"), AT, number);
            record["customer_id"] = format!("customer-{number}").into();
            record["response_id"] = format!("answer-{number}").into();
            record
        })
        .collect();
    ship(&served, &text(&token, "secret"), &batch).await?;
    let usage = "/api/v1/usage?group_by=customer,meter&tenant=acme";
    let before = served.done("GET", usage, &Value::Null).await?;
    assert_eq!(before["total"]["calls"], "90");
    eventually("the sums are merged", MERGED_MAX, || async {
        let standing = "select (select count(*) from farebox_private.new_sums)
            || ' aside, ' || (select coalesce(sum(events), 0) from farebox_private.hourly_sums) || ' merged'";
        let standing: String = served
            .ledger
            .one(standing)
            .await
            .map_err(|error| error.to_string())?;
        holds(standing == "0 aside, 90 merged", &standing)
    })
    .await?;
    let after = served.done("GET", usage, &Value::Null).await?;
    assert_eq!(after, before);
    served.stop().await
}

#[tokio::test]
async fn a_changed_certificate_is_served_without_a_restart() -> Result {
    let folder = tempfile::tempdir()?;
    let files = tls::certificate(folder.path())?;
    let ledger = Ledger::empty().await?;
    let config = CollectorConfig {
        listen: "127.0.0.1:0".parse()?,
        tls: Some(TlsConfig {
            cert: files.cert.clone(),
            key: files.key.clone(),
        }),
        database_url: Some(Secret::new(&ledger.url)),
        ..CollectorConfig::default()
    };
    let shutdown = CancellationToken::new();
    let running = run(config, shutdown.clone()).await?;
    let served = async || -> Result<Vec<u8>> {
        let connector = tls::client(&files.cert, &["http/1.1"]);
        let stream = TcpStream::connect(running.address()).await?;
        let stream = connector?.connect(tls::localhost(), stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        Ok(chain.ok_or("no certificate")?[0].to_vec())
    };
    let first = served().await?;
    tls::certificate(folder.path())?;
    let second = eventually("the new certificate is served", CERTIFICATE_MAX, || async {
        // The client trusts the new one only.
        served().await.map_err(|error| error.to_string())
    })
    .await?;
    assert_ne!(first, second);
    shutdown.cancel();
    running.finished().await;
    ledger.drop_database().await
}
