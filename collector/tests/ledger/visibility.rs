//! Who sees what, through every view.

use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::support::{Ledger, Result, record};

const AT: &str = "2026-11-22T10:00:00.123Z";

async fn views(ledger: &Ledger) -> Result<Vec<String>> {
    ledger
        .one("select array(select viewname::text from pg_views where schemaname = 'farebox' order by 1)")
        .await
}

/// Two events of acme (one paid by itself), one of globex, one of nobody.
async fn filled() -> Result<Ledger> {
    let ledger = Ledger::new().await?;
    let mut own = record(Some("acme"), AT, 2);
    own["paid_by"] = "tenant".into();
    own["claimed_usd"] = json!(null);
    let mut pays = record(Some("acme"), AT, 1);
    pays["customer_id"] = "c".into();
    pays["run_id"] = "run-1".into();
    pays["span_id"] = "span-1".into();
    pays["rate_cards"] = json!({"cost": null, "price": null});
    ledger
        .ship(&[
            pays,
            own,
            record(Some("globex"), AT, 3),
            record(None, AT, 4),
        ])
        .await?;
    ledger
        .sql()
        .await?
        .batch_execute(
            "insert into farebox_private.limits (limit_id, tenant_id, meter, amount, window_kind, basis) values
                 (gen_random_uuid(), 'acme', 'requests', 5, 'day', 'billed'),
                 (gen_random_uuid(), 'acme', 'usd', 5, 'month', 'cost'),
                 (gen_random_uuid(), null, 'requests', 5, 'second', 'billed'),
                 (gen_random_uuid(), 'globex', 'requests', 5, 'week', 'billed');
             insert into farebox_private.virtual_keys (key_id, prefix, secret_hash, name, tenant_id) values
                 (gen_random_uuid(), 'vk_AAAAA', '$argon2id$x', 'a', 'acme'),
                 (gen_random_uuid(), 'vk_BBBBB', '$argon2id$x', 'b', null);
             insert into farebox_private.audit_log (actor, action, tenant_id) values ('x', 'key.issue', 'acme');",
        )
        .await?;
    Ok(ledger)
}

#[tokio::test]
async fn a_tenants_login_sees_its_own_rows_and_no_purchase_price() -> Result {
    let ledger = filled().await?;
    let tenant = ledger.login("acme").await?;
    for view in views(&ledger).await? {
        let expected = match view.as_str() {
            "usage_events" | "requests" | "trace_events" | "sessions" => 2,
            "tenants" | "tenant_index" | "customers" | "virtual_keys" | "limits"
            | "limit_status" => 1,
            "usage_hourly" | "usage_daily" => 6,
            "runs" | "spans" => 1,
            "turns" | "dead_air_events" | "reconciliations" | "reconciliation_lines" => 0,
            "stale_keys" | "rate_cards" | "rates" | "margins" | "rule_margins" | "allowances"
            | "audit_log" | "unattributed_usage" | "unpriced_usage" | "invoices"
            | "invoice_lines" | "adjustments" | "limit_events" | "nodes" | "sequence_holes" => 0,
            other => panic!("{other} is not expected here"),
        };
        let rows = tenant
            .query(
                &format!("select to_jsonb(view)::text from farebox.{view} as view"),
                &[],
            )
            .await
            .map_err(|error| format!("{view}: {error:?}"))?;
        assert_eq!(rows.len(), expected, "{view}");
        for row in rows {
            let text: String = row.get(0);
            assert!(!text.contains("globex"), "{view}: {text}");
        }
    }
    let rows: Vec<String> = tenant
        .query(
            "select concat_ws(' ', seq, cost_usd, billed_usd, claimed_usd, evidence, rate_cards, node, content_sha256,
                 charges -> 0 ->> 'cost_usd', charges -> 0 -> 'cost_rate' ->> 'usd', charges -> 0 ->> 'cost_rule')
             from farebox.usage_events order by event_id",
            &[],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(rows[0], "0.00021");
    // Who pays the provider itself sees what it pays and why, but nothing of the proxies' inside.
    assert!(
        rows[1].starts_with("0.00021 0 {\"objects\": "),
        "{}",
        rows[1]
    );
    assert!(
        rows[1].contains(" 0.00015 0.15 openai/gpt-4o-mini"),
        "{}",
        rows[1]
    );
    let total: Option<String> = tenant
        .query_one(
            "select string_agg(total_cost_usd::text, ' ') from farebox.sessions",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(total.as_deref(), Some("0.00021"));
    let preview = "select count(*) from farebox.invoice_preview($1, '2026-11-01')";
    for (asked, lines) in [("acme", 2_i64), ("globex", 0)] {
        let seen: i64 = tenant.query_one(preview, &[&asked]).await?.get(0);
        assert_eq!(seen, lines, "{asked}");
    }
    let foreign: i64 = ledger
        .sql_as(&format!("acme_{}", ledger.name))
        .await?
        .query_one(
            "select count(*) from farebox.explain($1)",
            &[&crate::support::id(crate::support::millis(AT), 3)],
        )
        .await?
        .get(0);
    assert_eq!(foreign, 0);
    ledger.drop_database().await
}

#[tokio::test]
async fn a_tenants_login_reaches_no_table_and_changes_nothing() -> Result {
    let ledger = filled().await?;
    let tenant = ledger.login("acme").await?;
    for statement in [
        "select * from farebox_private.usage_events",
        "select * from farebox_private.virtual_keys",
        "select * from farebox_private.directory_keys",
        "select * from farebox_private.tenant_logins",
        "insert into farebox.tenants (tenant_id) values ('mine')",
        "update farebox.usage_events set tenant_id = 'acme'",
        "delete from farebox.usage_events",
        "update farebox_private.tenant_logins set tenant_id = 'globex'",
        "select farebox_private.ensure_partition('2026-01-01')",
        "set role farebox_reader",
    ] {
        let refused = tenant.batch_execute(statement).await;
        let state = refused.as_ref().err().and_then(|error| error.code());
        let is_refused = matches!(
            state,
            Some(state) if *state == SqlState::INSUFFICIENT_PRIVILEGE
                || *state == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
                || *state == SqlState::FEATURE_NOT_SUPPORTED
        );
        assert!(is_refused, "{statement}: {refused:?}");
    }
    // A function of its own with a telling cost sees what the policy lets through.
    let seen: i64 = tenant
        .query_one(
            "select count(*) from farebox.usage_events where tenant_id like '%' or 1 / (length(tenant_id) - 6) > 0",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(seen, 2);
    ledger.drop_database().await
}

#[tokio::test]
async fn the_operators_roles_see_all_of_what_is_theirs() -> Result {
    let ledger = filled().await?;
    for role in ["farebox_reader", "farebox_collector", "postgres"] {
        let client = ledger.sql_as(role).await?;
        for (view, expected) in [
            ("usage_events", 4_i64),
            ("requests", 4),
            ("trace_events", 4),
            ("tenants", 2),
            ("tenant_index", 2),
            ("limits", 4),
            ("limit_status", 4),
            ("virtual_keys", 2),
            ("audit_log", 1),
            ("unattributed_usage", 3),
        ] {
            let seen: i64 = client
                .query_one(&format!("select count(*) from farebox.{view}"), &[])
                .await?
                .get(0);
            assert_eq!(seen, expected, "{role} {view}");
        }
    }
    let proxy = ledger.sql_as("farebox_proxy").await?;
    for (view, expected) in [
        ("directory_tenants", 2_i64),
        ("directory_keys", 2),
        ("directory_limits", 4),
    ] {
        let seen: i64 = proxy
            .query_one(&format!("select count(*) from farebox_private.{view}"), &[])
            .await?
            .get(0);
        assert_eq!(seen, expected, "{view}");
    }
    let changes: i64 = proxy
        .query_one(
            "select count(*) from farebox_private.directory_changes where kind in ('tenant', 'key', 'limit')",
            &[],
        )
        .await?
        .get(0);
    assert_eq!(changes, 8);
    for denied in [
        "farebox.usage_events",
        "farebox_private.usage_events",
        "farebox_private.tenants",
    ] {
        let refused = proxy.batch_execute(&format!("select from {denied}")).await;
        assert!(refused.is_err(), "{denied}");
    }
    ledger.drop_database().await
}

#[tokio::test]
async fn the_collector_cannot_change_what_is_booked() -> Result {
    let ledger = filled().await?;
    let collector = ledger.sql_as("farebox_collector").await?;
    for statement in [
        "update farebox_private.usage_events set billed_usd = 0",
        "delete from farebox_private.usage_events",
        "truncate farebox_private.usage_events",
        "update farebox_private.adjustments set billed_usd = 0",
        "delete from farebox_private.invoices",
        "drop table farebox_private.usage_events_202611",
        "delete from farebox_private.usage_events_202611",
    ] {
        assert!(
            collector.batch_execute(statement).await.is_err(),
            "{statement}"
        );
    }
    ledger.drop_database().await
}
