//! What one file declares, all of it or nothing; end customers; tenants' own logins.

use farebox_tests::stack::{Stack, world};
use farebox_tests::wire::Request;
use serde_json::Value;

use crate::{Result, chat, fresh, text, with_key};

const FILE: &str = r#"
[tenants.acme]
name = "Acme"
plan = "gold"
time_zone = "Europe/Berlin"
settings = { stream_usage = "untouched" }
customers = { "c-1" = "First", "c-2" = "Second" }

[tenants.globex]

[[keys]]
name = "backend"
tenant_id = "acme"
allowed_upstreams = ["openai"]
expires_at = "2999-01-01T00:00:00.000Z"

[[limits]]
tenant_id = "acme"
meter = "requests"
amount = "600"
window_kind = "minute"
"#;

/// Rows of everything a file can declare.
async fn everything(stack: &Stack) -> Result<String> {
    let row = stack
        .sql()
        .await?
        .query_one(
            "select concat(
                (select jsonb_agg(to_jsonb(t) - 'updated_at' order by tenant_id) from farebox_private.tenants t),
                (select jsonb_agg(to_jsonb(c) order by customer_id) from farebox_private.customers c),
                (select jsonb_agg(to_jsonb(k) order by key_id) from farebox_private.virtual_keys k),
                (select jsonb_agg(to_jsonb(l) order by limit_id) from farebox_private.limits l),
                (select count(*) from farebox_private.audit_log))",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

#[tokio::test]
async fn a_file_is_applied_whole_or_not_at_all() -> Result {
    let stack = Stack::with(&[]).await?;
    let file = stack.folder.path().join("declared.toml");
    let path = file.to_str().ok_or("a path that is no text")?;
    stack.done(&["tenant", "create", "acme"])?;
    let key = stack.folder.path().join("backend.key");
    let key = key.to_str().ok_or("a path that is no text")?;
    stack.done(&[
        "key", "issue", "--name", "backend", "--tenant", "acme", "--out", key,
    ])?;
    let before = everything(&stack).await?;

    // Everything is fine but the last line.
    for (mistake, place) in [
        (
            "[[limits]]\nmeter = \"requests\"\namount = \"-1\"\nwindow_kind = \"minute\"\n",
            "limits[1].amount",
        ),
        ("[[keys]]\nname = \"nobody\"\n", "keys[1].name"),
        (
            "[[credentials]]\nupstream = \"openai\"\nname = \"main\"\n",
            "credentials[0].upstream",
        ),
    ] {
        std::fs::write(&file, format!("{FILE}\n{mistake}"))?;
        let refused = stack.verb(&["apply", "-f", path])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(place), "{said}");
        assert_eq!(everything(&stack).await?, before, "{mistake}");
    }

    std::fs::write(&file, FILE)?;
    let dry = stack.done(&["apply", "-f", path, "--dry-run"])?;
    assert!(
        dry.contains("~ tenant acme") && dry.contains("plan: – -> gold"),
        "{dry}"
    );
    assert!(
        dry.contains("+ tenant globex") && dry.contains("6 would change"),
        "{dry}"
    );
    assert_eq!(
        everything(&stack).await?,
        before,
        "a dry run changes nothing"
    );
    assert!(
        stack
            .done(&["apply", "-f", path])?
            .contains("6 changed, 0 unchanged")
    );
    let after = everything(&stack).await?;
    assert!(
        stack
            .done(&["apply", "-f", path])?
            .contains("0 changed, 6 unchanged")
    );
    assert_eq!(
        everything(&stack).await?,
        after,
        "what is so already leaves no trace"
    );

    let shown: Value = serde_json::from_str(&stack.done(&["tenant", "show", "acme", "--json"])?)?;
    assert_eq!(
        (text(&shown, "plan"), text(&shown, "time_zone")),
        ("gold".into(), "Europe/Berlin".into())
    );
    let audit = stack
        .api(Request::get("/api/v1/audit?tenant=acme&limit=100"))
        .await?
        .json();
    let row = audit["items"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["action"] == "tenant.set"))
        .ok_or("no audit row")?;
    assert_eq!(
        (text(row, "actor"), &row["details"]["before"]["plan"]),
        ("operator".into(), &Value::Null)
    );
    assert_eq!(row["details"]["after"]["plan"], "gold");
    Ok(())
}

#[tokio::test]
async fn the_sums_of_customers_are_the_tenants_and_a_login_sees_its_own_rows() -> Result {
    let (stack, key) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "acme"])?;
    stack.done(&[
        "customer", "create", "c-1", "--tenant", "acme", "--name", "First",
    ])?;
    assert_eq!(
        stack
            .verb(&["customer", "create", "c-1", "--tenant", "acme"])?
            .status
            .code(),
        Some(1)
    );
    for (tenant, customer) in [
        ("acme", "c-1"),
        ("acme", "c-1"),
        ("acme", "c-2"),
        ("globex", "c-1"),
    ] {
        let call = chat(&key, &fresh("c"))
            .with("x-farebox-tenant", tenant)
            .with("x-farebox-customer", customer);
        assert_eq!(stack.send(&call).await?.status(), 200);
    }
    stack.rows_when("true", 4).await?;
    let listed = stack.done(&["customer", "list", "--tenant", "acme", "--json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let items = listed["items"].as_array().ok_or("no customers")?;
    let ids: Vec<String> = items.iter().map(|row| text(row, "customer_id")).collect();
    assert_eq!(ids, ["c-1", "c-2"]);
    assert_eq!(
        (&items[0]["request_count"], &items[0]["name"]),
        (&2.into(), &"First".into())
    );
    let is_whole: bool = stack
        .sql()
        .await?
        .query_one(
            "select (select sum(billed_usd) from farebox.usage_hourly where tenant_id = 'acme' and customer_id is not null)
                = (select total_billed_usd from farebox.tenant_index where tenant_id = 'acme')",
            &[],
        )
        .await?
        .get(0);
    assert!(is_whole);
    stack.done(&[
        "customer", "set", "c-2", "--tenant", "acme", "--name", "Second",
    ])?;
    assert!(
        stack
            .done(&["customer", "show", "c-2", "--tenant", "acme"])?
            .contains("Second")
    );

    // Logins are the cluster's: a name of this test's own.
    let login = fresh("login");
    let out = stack.folder.path().join("login.url");
    let path = out.to_str().ok_or("a path that is no text")?;
    let made = stack.owner(&[
        "tenant", "login", "create", "acme", "--login", &login, "--out", path,
    ])?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    assert!(std::fs::read_to_string(&out)?.contains(&login));
    let client =
        farebox_tests::postgres::connect(&world()?.cluster.url_as(&stack.database, &login)).await?;
    let rows = client
        .query("select distinct tenant_id from farebox.usage_events", &[])
        .await?;
    let seen: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["acme"]);
    assert!(
        client
            .batch_execute("create table farebox.mine (a int)")
            .await
            .is_err()
    );
    let kept: String = stack
        .sql()
        .await?
        .query_one(
            "select rolpassword from pg_authid where rolname = $1::text::name",
            &[&login],
        )
        .await?
        .get(0);
    assert!(
        kept.starts_with("SCRAM-SHA-256$"),
        "the server keeps a verifier"
    );
    drop(client);
    let other = stack.owner(&["tenant", "login", "drop", "globex", "--login", &login])?;
    assert_eq!(other.status.code(), Some(1), "another tenant's login");
    let dropped = stack.owner(&["tenant", "login", "drop", "acme", "--login", &login])?;
    assert!(
        dropped.status.success(),
        "{}",
        String::from_utf8_lossy(&dropped.stderr)
    );
    let gone =
        farebox_tests::postgres::connect(&world()?.cluster.url_as(&stack.database, &login)).await;
    assert!(gone.is_err());
    Ok(())
}
