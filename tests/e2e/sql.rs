//! The public face in SQL: the contract's own queries, and what each role can see.

use farebox_tests::stack::world;

use crate::{Result, chat, with_key};

/// Columns that others rely on by name.
const COLUMNS: [(&str, &str); 5] = [
    (
        "usage_events",
        "event_id, call_id, part, is_final, settles, schema, tenant_id, customer_id, project, agent, revision,
         session_id, run_id, span_id, parent_span_id, section, metadata, synthetic, environment, attribution,
         key_id, credential_id, paid_by, upstream, provider, endpoint, region, model_requested, model,
         service_tier, started_at, ended_at, received_at, period, is_late, clock_suspect, ttfb_ms, ttft_ms,
         duration_ms, overhead_ms, status, ending, streaming, transport, request_bytes, response_bytes,
         request_amended, attempt, client_retry, lines, usage, usage_source, usage_reason, usage_low,
         usage_high, evidence, charges, cost_usd, billed_usd, claimed_usd, price_mismatch, pricing,
         rate_cards, repeats, upstream_request_id, response_id, node, epoch, seq, content_sha256,
         adjusted_cost_usd, adjusted_billed_usd",
    ),
    (
        "usage_hourly",
        "hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model,
         pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events",
    ),
    (
        "usage_daily",
        "day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint, model,
         pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events",
    ),
    (
        "sessions",
        "tenant_id, session_id, started_at, ended_at, request_count, total_cost_usd",
    ),
    ("tenant_index", "session_count, total_cost_usd, first_seen, last_seen"),
];

#[tokio::test]
async fn the_contracts_queries_run_as_they_are() -> Result {
    let (stack, key) = with_key(&[]).await?;
    for (tenant, calls) in [("acme", 3), ("globex", 2)] {
        for number in 0..calls {
            let request =
                chat(&key, &format!("{tenant}-{number}")).with("x-farebox-tenant", tenant);
            assert_eq!(stack.send(&request).await?.status(), 200);
        }
    }
    stack.rows_when("true", 5).await?;
    let client = stack.sql().await?;
    client
        .batch_execute("set search_path to farebox, public")
        .await?;
    let sessions = client
        .query(
            "select tenant_id, count(*) as session_count, sum(total_cost_usd) as total_cost from sessions where started_at >= '2026-05-01' group by tenant_id order by total_cost desc",
            &[],
        )
        .await?;
    assert_eq!(sessions.len(), 2);
    let counts: Vec<i64> = sessions.iter().map(|row| row.get(1)).collect();
    assert_eq!(counts, [3, 2]);
    let month: String = client
        .query_one(
            "select to_char(now() at time zone 'UTC', 'YYYY-MM-01')",
            &[],
        )
        .await?
        .get(0);
    let preview = client
        .query(
            &format!("select * from farebox.invoice_preview('acme', '{month}')"),
            &[],
        )
        .await?;
    assert!(!preview.is_empty());
    // The invoice, the rows and the roll-up are one sum.
    let sums = client
        .query_one(
            &format!(
                "select (select sum(billed_usd)::text from farebox.invoice_preview('acme', '{month}')),
                        (select sum(billed_usd)::text from usage_events where tenant_id = 'acme'),
                        (select sum(billed_usd)::text from usage_daily where tenant_id = 'acme'),
                        (select sum(billed_usd)::text from usage_hourly where tenant_id = 'acme')"
            ),
            &[],
        )
        .await?;
    let sums: Vec<Option<String>> = (0..4).map(|column| sums.get(column)).collect();
    let normal = |text: &Option<String>| {
        text.as_deref()
            .map(|text| text.trim_end_matches('0').to_owned())
    };
    assert!(
        normal(&sums[0]).is_some_and(|sum| sum.len() > 2),
        "{sums:?}"
    );
    assert!(
        sums.iter().all(|sum| normal(sum) == normal(&sums[0])),
        "{sums:?}"
    );
    for view in [
        "usage_events",
        "usage_hourly",
        "usage_daily",
        "tenants",
        "tenant_index",
        "virtual_keys",
        "stale_keys",
        "limit_status",
        "sessions",
        "runs",
        "spans",
        "turns",
        "dead_air_events",
        "reconciliations",
        "reconciliation_lines",
        "customers",
        "limits",
        "limit_events",
        "margins",
        "invoices",
        "invoice_lines",
        "adjustments",
        "audit_log",
        "requests",
        "trace_events",
        "rate_cards",
        "rates",
        "unattributed_usage",
        "unpriced_usage",
    ] {
        client
            .query(&format!("select * from farebox.{view} limit 1"), &[])
            .await
            .map_err(|error| format!("{view}: {error}"))?;
    }
    client.query("select id, run_id, tenant_id, customer_id, provider, cost_usd, created_at from trace_events", &[]).await?;
    for (view, columns) in COLUMNS {
        client
            .query(
                &format!("select {columns} from farebox.{view} limit 1"),
                &[],
            )
            .await
            .map_err(|error| format!("{view}: {error}"))?;
    }
    let event: uuid::Uuid = client
        .query_one("select event_id from usage_events limit 1", &[])
        .await?
        .get(0);
    assert!(
        !client
            .query("select * from farebox.explain($1)", &[&event])
            .await?
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn a_tenants_own_login_sees_its_rows_only_and_changes_nothing() -> Result {
    let (stack, key) = with_key(&[]).await?;
    for tenant in ["acme", "globex"] {
        assert_eq!(
            stack
                .send(&chat(&key, tenant).with("x-farebox-tenant", tenant))
                .await?
                .status(),
            200
        );
    }
    assert_eq!(stack.send(&chat(&key, "nobody")).await?.status(), 200);
    stack.rows_when("true", 3).await?;
    // Roles belong to the whole cluster, so this one's name is its own.
    let login = format!("login_{}", stack.database);
    let client = stack.sql().await?;
    client
        .batch_execute(&format!(
            "create role {login} login;
             grant farebox_tenant to {login};
             insert into farebox_private.tenant_logins (login, tenant_id) values ('{login}', 'acme');"
        ))
        .await?;
    let tenant =
        farebox_tests::postgres::connect(&world()?.cluster.url_as(&stack.database, &login)).await?;
    for view in [
        "usage_events",
        "usage_hourly",
        "usage_daily",
        "tenants",
        "tenant_index",
        "sessions",
        "requests",
        "trace_events",
    ] {
        let rows = tenant
            .query(
                &format!("select distinct tenant_id::text from farebox.{view}"),
                &[],
            )
            .await
            .map_err(|error| format!("{view}: {error:?}"))?;
        let seen: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [Some("acme".to_owned())], "{view}");
    }
    for statement in [
        "select count(*) from farebox_private.usage_events",
        "delete from farebox.usage_events",
        "update farebox.usage_events set tenant_id = 'acme'",
        "select farebox.invoice_preview('globex', '2026-11-01')",
    ] {
        match tenant.query(statement, &[]).await {
            Err(_) => {}
            Ok(rows) => assert!(
                rows.is_empty() && statement.contains("invoice_preview"),
                "{statement} was allowed"
            ),
        }
    }
    let hidden = tenant
        .query("select evidence, rate_cards from farebox.usage_events", &[])
        .await?;
    for row in hidden {
        assert_eq!(
            row.get::<_, Option<serde_json::Value>>(0),
            None,
            "evidence is the operator's"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_collector_cannot_change_what_is_settled() -> Result {
    let (stack, key) = with_key(&[]).await?;
    assert_eq!(stack.send(&chat(&key, "settled")).await?.status(), 200);
    stack.rows_when("true", 1).await?;
    let client = stack.sql().await?;
    client.batch_execute("set role farebox_collector").await?;
    for statement in [
        "update farebox_private.usage_events set billed_usd = 0",
        "delete from farebox_private.usage_events",
    ] {
        let refused = client.execute(statement, &[]).await;
        assert!(refused.is_err(), "{statement} was allowed");
    }
    Ok(())
}
