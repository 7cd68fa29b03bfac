//! Provider credentials: whose goes where, what is kept of them, and what happens when they change.

use std::time::Duration;

use farebox_tests::leftovers::Leftovers;
use farebox_tests::stack::{Key, PROVIDER_CREDENTIAL, Stack};
use farebox_tests::wait::{eventually, holds};
use farebox_tests::wire::{Request, header};
use serde_json::{Value, json};

use crate::{Result, chat, fresh, text};

/// Longest time until a changed credential is used.
const SOON: Duration = Duration::from_secs(10);
const MASTER_KEY: &str = "master-key-canary-of-a-test-0123456789abcdef";
const OPERATORS: &str = "sk-operator-vault-canary-5d21";
const TENANTS: &str = "sk-tenant-vault-canary-93be";
const ROTATED: &str = "sk-rotated-vault-canary-c07a";

/// What the upstream was shown for a call of that key.
async fn shown(stack: &Stack, key: &Key) -> Result<(String, String)> {
    let id = fresh("v");
    let answer = stack.send(&chat(key, &id)).await?;
    if answer.status() != 200 {
        return Ok((
            id,
            answer
                .header("x-farebox-error")
                .unwrap_or_default()
                .to_owned(),
        ));
    }
    let call = stack
        .replay
        .call(&id)
        .ok_or("the upstream did not see it")?;
    let bearer = header(&call.headers, "authorization").unwrap_or_default();
    Ok((id, bearer.trim_start_matches("Bearer ").to_owned()))
}

async fn shown_when(stack: &Stack, key: &Key, expected: &str) -> Result<String> {
    eventually(expected, SOON, || async {
        let (id, seen) = shown(stack, key).await.map_err(|error| error.to_string())?;
        holds(seen == expected, seen)?;
        Ok(id)
    })
    .await
}

/// Runs `credential set` with the secret in a file.
fn set(stack: &Stack, secret: &str, arguments: &[&str]) -> Result<Value> {
    let file = stack.folder.path().join(fresh("secret"));
    std::fs::write(&file, secret)?;
    let path = file.to_str().ok_or("a path that is no text")?;
    let given = [
        "credential",
        "set",
        "--upstream",
        "openai",
        "--secret-file",
        path,
        "--json",
    ];
    let printed = stack.done(&[&given, arguments].concat())?;
    std::fs::remove_file(&file)?;
    assert!(!printed.contains(secret), "{printed}");
    Ok(serde_json::from_str(&printed)?)
}

#[tokio::test]
async fn each_call_takes_its_own_credential_and_no_secret_is_kept_in_clear() -> Result {
    let mut stack = Stack::prepare(&[]).await?;
    let master = stack.folder.path().join("master.key");
    std::fs::write(&master, MASTER_KEY)?;
    stack.set("credentials.master_key_file", &master.display().to_string());
    stack.start_collector().await?;
    stack.start_proxy().await?;
    let (acme, globex) = (
        stack.issue(&["--tenant", "acme"])?,
        stack.issue(&["--tenant", "globex"])?,
    );
    stack.known(&acme).await?;
    stack.known(&globex).await?;
    assert_eq!(
        shown(&stack, &acme).await?.1,
        PROVIDER_CREDENTIAL,
        "configuration, while the vault is empty"
    );

    // Without a host it is bound to the configured upstream's.
    let operators = set(&stack, OPERATORS, &[])?;
    assert_eq!(text(&operators, "host"), stack.replay.address.to_string());
    assert_eq!(text(&operators, "masked"), "…5d21");
    let by_operator = shown_when(&stack, &acme, OPERATORS).await?;
    let own = set(
        &stack,
        TENANTS,
        &["--tenant", "acme", "--name", "their own"],
    )?;
    let by_tenant = shown_when(&stack, &acme, TENANTS).await?;
    assert_eq!(shown(&stack, &globex).await?.1, OPERATORS, "nobody else's");

    let rows = [&by_operator, &by_tenant].map(|id| format!("session_id = '{id}'"));
    let row = stack.rows_when(&rows[0], 1).await?.remove(0);
    assert_eq!(
        (text(&row, "paid_by"), text(&row, "credential_id")),
        ("operator".into(), text(&operators, "credential_id"))
    );
    let row = stack.rows_when(&rows[1], 1).await?.remove(0);
    assert_eq!(
        (text(&row, "paid_by"), text(&row, "credential_id")),
        ("tenant".into(), text(&own, "credential_id"))
    );
    assert_eq!(
        text(&row, "billed_usd"),
        "0",
        "without a selling rule its own is not billed"
    );

    // A new secret under the same id.
    let id = text(&own, "credential_id");
    let file = stack.folder.path().join("rotated");
    std::fs::write(&file, ROTATED)?;
    let path = file.to_str().ok_or("a path that is no text")?;
    let rotated = stack.done(&["credential", "rotate", &id, "--secret-file", path, "--json"])?;
    std::fs::remove_file(&file)?;
    assert_eq!(text(&serde_json::from_str(&rotated)?, "credential_id"), id);
    shown_when(&stack, &acme, ROTATED).await?;

    // Bound to another host than the upstream's: refused, and not paid by somebody else.
    set(
        &stack,
        ROTATED,
        &["--tenant", "acme", "--host", "elsewhere.example"],
    )?;
    shown_when(&stack, &acme, "credential_missing").await?;
    // A row that somebody moves in the database opens for nothing.
    let moved = "update farebox_private.credentials set host = $1 where tenant_id = 'acme'";
    stack
        .sql()
        .await?
        .execute(moved, &[&stack.replay.address.to_string()])
        .await?;
    let foreign =
        "update farebox_private.credentials set tenant_id = 'globex' where tenant_id = 'acme'";
    shown_when(&stack, &acme, "credential_missing").await?;
    stack.sql().await?.execute(foreign, &[]).await?;
    shown_when(&stack, &globex, "credential_missing").await?;
    shown_when(&stack, &acme, OPERATORS).await?;
    stack.done(&["credential", "remove", &id])?;
    shown_when(&stack, &globex, OPERATORS).await?;

    // The master key is rotated: the new one before the old one, then every data key is moved.
    stack.collector()?.stop().await?;
    std::fs::write(&master, format!("another-{MASTER_KEY}\n{MASTER_KEY}\n"))?;
    stack.start_collector().await?;
    let moved: Value =
        serde_json::from_str(&stack.done(&["credential", "rotate", "--master-key", "--json"])?)?;
    assert_eq!(moved, json!({"rewrapped": 1}));
    shown_when(&stack, &acme, "credential_missing").await?;
    stack.proxy()?.stop().await?;
    stack.start_proxy().await?;
    shown_when(&stack, &acme, OPERATORS).await?;

    let listed = stack.done(&["credential", "list"])?;
    assert!(
        listed.contains("…5d21") && !listed.contains(OPERATORS),
        "{listed}"
    );
    let audit = stack
        .api(Request::get(
            "/api/v1/audit?entity_kind=credential&limit=1000",
        ))
        .await?
        .json();
    let actions: Vec<String> = audit["items"]
        .as_array()
        .ok_or("no audit rows")?
        .iter()
        .map(|row| text(row, "action"))
        .rev()
        .collect();
    assert_eq!(
        actions,
        [
            "credential.set",
            "credential.set",
            "credential.rotate",
            "credential.set",
            "credential.remove",
            "credential.rewrap"
        ]
    );
    // The last good copy is written once more at the end.
    stack.proxy()?.stop().await?;
    let left = Leftovers::of(&stack)?;
    for secret in [OPERATORS, TENANTS, ROTATED, MASTER_KEY] {
        assert_eq!(left.place_of(secret), None, "{secret}");
    }
    Ok(())
}
