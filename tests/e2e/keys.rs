//! Keys through their life: rotation with an overlap, staleness, the audit gate, test keys, a flood of
//! wrong ones, and a revocation that holds on every proxy.

use std::time::{Duration, Instant};

use farebox_tests::beside::Beside;
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wait::{eventually, holds};
use farebox_tests::wire::Connection;
use serde_json::Value;

use crate::{Result, chat, fresh, text, with_key};

/// A revocation holds on every proxy within this.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);
/// A right key among wrong ones is verified within this.
const VERIFIED_WITHIN: Duration = Duration::from_secs(2);

async fn code(stack: &Stack, key: &Key) -> Result<String> {
    let answer = stack.send(&chat(key, &fresh("k"))).await?;
    Ok(answer
        .header("x-farebox-error")
        .unwrap_or_default()
        .to_owned())
}

async fn code_when(stack: &Stack, key: &Key, expected: &str) -> Result {
    eventually(expected, SOON, || async {
        let seen = code(stack, key).await.map_err(|error| error.to_string())?;
        holds(seen == expected, seen)
    })
    .await
}

#[tokio::test]
async fn both_keys_of_a_rotation_work_in_its_overlap_only() -> Result {
    let (stack, _) = with_key(&[]).await?;
    let old = stack.issue(&["--tenant", "acme", "--allowed-upstream", "openai"])?;
    stack.known(&old).await?;
    let file = stack.folder.path().join("rotated");
    let path = file.to_str().ok_or("a path that is no text")?;
    stack.done(&[
        "key",
        "rotate",
        old.prefix(),
        "--overlap",
        "3s",
        "--out",
        path,
    ])?;
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions()) & 0o777,
        0o600
    );
    let new = Key {
        secret: std::fs::read_to_string(&file)?.trim().to_owned(),
    };
    stack.known(&new).await?;
    assert_eq!(
        (code(&stack, &old).await?, code(&stack, &new).await?),
        (String::new(), String::new())
    );
    code_when(&stack, &old, "expired_key").await?;
    assert_eq!(code(&stack, &new).await?, "");
    let rights = stack.done(&["key", "list", "--tenant", "acme", "--json"])?;
    let rights: Value = serde_json::from_str(&rights)?;
    let keys = rights["items"].as_array().ok_or("no keys")?;
    let [is, was] = [&new, &old].map(|key| keys.iter().find(|row| row["prefix"] == key.prefix()));
    let (is, was) = (is.ok_or("no new key")?, was.ok_or("no old key")?);
    assert_eq!(is["rotated_from"], was["key_id"]);
    assert_eq!(is["allowed_upstreams"], was["allowed_upstreams"]);
    // One that is over cannot be rotated; without an overlap the old one ends at once.
    assert_eq!(
        stack
            .verb(&["key", "rotate", old.prefix(), "--reveal"])?
            .status
            .code(),
        Some(1)
    );
    stack.done(&["key", "rotate", new.prefix(), "--overlap", "0", "--reveal"])?;
    code_when(&stack, &new, "revoked_key").await
}

#[tokio::test]
async fn a_careless_key_stops_a_deployment_and_a_stale_one_is_listed() -> Result {
    let stack = Stack::with(&[]).await?;
    let audit = |arguments: &[&str]| -> Result<(Option<i32>, Vec<String>)> {
        let output = stack.verb(&[&["key", "audit", "--json"], arguments].concat())?;
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let rules = found["items"].as_array().ok_or("no items")?;
        let mut rules: Vec<String> = rules.iter().map(|finding| text(finding, "rule")).collect();
        rules.sort();
        Ok((output.status.code(), rules))
    };
    assert_eq!(audit(&[])?, (Some(0), vec![]));
    let careful = [
        "--tenant",
        "acme",
        "--expires-at",
        "2999-01-01T00:00:00Z",
        "--allowed-upstream",
        "openai",
    ];
    let careful = stack.issue(&careful)?;
    assert_eq!(audit(&[])?, (Some(0), vec![]));
    assert_eq!(
        audit(&["--require", "models"])?,
        (Some(1), vec!["no_models".to_owned()])
    );
    let careless = stack.issue(&["--may-attribute", "any"])?;
    let rules = vec!["may_attribute_any".to_owned(), "no_expiry".to_owned()];
    assert_eq!(audit(&[])?, (Some(1), rules));
    assert_eq!(
        audit(&["--ignore", "no_expiry", "--ignore", "may_attribute_any"])?.0,
        Some(0)
    );
    stack.done(&["key", "revoke", careless.prefix()])?;
    assert_eq!(audit(&[])?.0, Some(0), "what is revoked harms nobody");

    let stale = || async {
        let rows = stack
            .sql()
            .await?
            .query("select prefix from farebox.stale_keys", &[])
            .await?;
        Ok::<Vec<String>, farebox_tests::Error>(rows.iter().map(|row| row.get(0)).collect())
    };
    let age = "update farebox_private.virtual_keys set created_at = now() - interval '91 days' where prefix = $1";
    stack
        .sql()
        .await?
        .execute(age, &[&careful.prefix()])
        .await?;
    assert_eq!(stale().await?, [careful.prefix()]);
    assert_eq!(audit(&[])?, (Some(1), vec!["stale".to_owned()]));
    assert!(stack.done(&["key", "list", "--stale"])?.contains("stale"));
    // The tenant says longer, the key itself shorter.
    stack.done(&["tenant", "set", "acme", "--setting", "stale_after_days=120"])?;
    assert!(stale().await?.is_empty());
    let patient = stack.issue(&["--tenant", "acme", "--stale-after-days", "60"])?;
    stack
        .sql()
        .await?
        .execute(age, &[&patient.prefix()])
        .await?;
    assert_eq!(stale().await?, [patient.prefix()]);
    // A call makes it fresh.
    stack.known(&patient).await?;
    assert_eq!(stack.send(&chat(&patient, "fresh")).await?.status(), 200);
    stack.rows_when("session_id = 'fresh'", 1).await?;
    assert!(stale().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_test_key_reaches_the_test_upstream_alone_and_is_on_no_invoice() -> Result {
    let mut stack = Stack::prepare(&[]).await?;
    stack.start_collector().await?;
    stack.start_proxy().await?;
    let key = stack.issue(&["--tenant", "acme", "--environment", "test"])?;
    stack.known(&key).await?;
    assert_eq!(
        code(&stack, &key).await?,
        "upstream_not_allowed",
        "there is no test upstream"
    );
    stack.proxy()?.stop().await?;
    stack.set(
        "proxy.test_upstream",
        &format!("http://{}", stack.replay.address),
    );
    stack.start_proxy().await?;
    let id = fresh("test");
    assert_eq!(stack.send(&chat(&key, &id)).await?.status(), 200);
    let call = stack
        .replay
        .call(&id)
        .ok_or("the test upstream did not see it")?;
    let shown = farebox_tests::wire::header(&call.headers, "authorization");
    assert_eq!(
        shown,
        Some("Bearer farebox-test"),
        "no real credential goes there"
    );
    let row = stack
        .rows_when(&format!("session_id = '{id}'"), 1)
        .await?
        .remove(0);
    assert_eq!(text(&row, "environment"), "test");
    let preview =
        "select count(*) from farebox.invoice_preview('acme', date_trunc('month', now())::date)";
    let lines: i64 = stack.sql().await?.query_one(preview, &[]).await?.get(0);
    assert_eq!(lines, 0);
    Ok(())
}

#[tokio::test]
async fn a_flood_of_wrong_keys_does_not_hold_right_ones_up() -> Result {
    const FLOODS: usize = 8;
    let (stack, _) = with_key(&[]).await?;
    let right: Vec<Key> = (0..5)
        .map(|_| stack.issue(&["--may-attribute", "any"]))
        .collect::<Result<_>>()?;
    // Known to the directory, and not verified yet.
    let last = right.last().ok_or("no key")?;
    stack.known(last).await?;
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let floods: Vec<_> = (0..FLOODS)
        .map(|number| {
            // The prefix of a right key, so that it is the tail that says no.
            let wrong = Key {
                secret: format!("{}{}", right[number % 4].prefix(), "A".repeat(27)),
            };
            let (plain, is_over) = (stack.plain, is_over.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(plain).await?;
                let mut refused = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = connection.send(&chat(&wrong, "flood")).await?;
                    assert_eq!(answer.status(), 401);
                    refused += 1;
                }
                Ok::<usize, farebox_tests::Error>(refused)
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for key in &right {
        let started = Instant::now();
        assert_eq!(code(&stack, key).await?, "");
        slowest = slowest.max(started.elapsed());
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut refused = 0;
    for flood in floods {
        refused += flood.await??;
    }
    println!("slowest first call of a right key among {refused} wrong ones: {slowest:?}");
    assert!(
        refused > FLOODS && slowest < VERIFIED_WITHIN,
        "{refused} {slowest:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_revocation_holds_on_two_proxies_within_a_second() -> Result {
    let (stack, keeper) = with_key(&[]).await?;
    let other = Beside::start(&stack, "other").await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let key = stack.issue(&["--may-attribute", "any"])?;
        stack.known(&key).await?;
        eventually("the other proxy knows the key", SOON, || async {
            let answer = other
                .send(&chat(&key, &fresh("k")))
                .await
                .map_err(|error| error.to_string())?;
            holds(answer.status() == 200, answer.text())
        })
        .await?;
        stack.done(&["key", "revoke", key.prefix()])?;
        let since = Instant::now();
        for plain in [stack.plain, other.plain] {
            loop {
                let mut connection = Connection::open(plain).await?;
                let answer = connection.send(&chat(&key, &fresh("k"))).await?;
                if answer.header("x-farebox-error") == Some("revoked_key") {
                    break;
                }
                assert!(
                    since.elapsed() < REVOKED_WITHIN,
                    "not within {REVOKED_WITHIN:?} at {plain}"
                );
            }
        }
        slowest = slowest.max(since.elapsed());
    }
    println!(
        "revoked on two proxies after at most {slowest:?} of five; the bound is {REVOKED_WITHIN:?}"
    );
    assert!(slowest < REVOKED_WITHIN);
    assert_eq!(other.send(&chat(&keeper, &fresh("k"))).await?.status(), 200);
    Ok(())
}
