//! Prices in force: activated on a running proxy within a second, kept by calls that run, kept on disk,
//! billed by the selling rules, and booked anew when a price comes later.

use std::time::{Duration, Instant};

use farebox_tests::beside::Beside;
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::{Connection, Request};
use serde_json::Value;

use crate::{Result, chat, chat_stream, fresh, text, with_key};

/// The promise.
const WITHIN: Duration = Duration::from_secs(1);

/// Writes selling rules and puts them in force; gives the revision.
fn activate(stack: &Stack, name: &str, rules: &str) -> Result<String> {
    let path = stack.folder.path().join(name);
    std::fs::write(
        &path,
        format!(r#"{{"schema":1,"kind":"price","rules":[{rules}]}}"#),
    )?;
    let path = path.display().to_string();
    let said = stack.done(&["price", "activate", &path, "--reason", "a test", "--json"])?;
    let said: Value = serde_json::from_str(&said)?;
    Ok(text(&said["revision"], "revision"))
}

async fn event_of(stack: &Stack, session: &str) -> Result<Value> {
    let filter = format!("session_id = '{session}' and ending = 'complete'");
    Ok(stack.rows_when(&filter, 1).await?.remove(0))
}

/// Calls at both proxies until just past the promise; all that began after it must be priced by the
/// revision.
async fn priced_within(
    stack: &Stack,
    other: &Beside,
    key: &Key,
    revision: &str,
    since: Instant,
) -> Result {
    let session = fresh("after");
    let mut late = Vec::new();
    while late.len() < 6 {
        let is_late = since.elapsed() > WITHIN;
        let request = chat(key, &session).with("x-farebox-tenant", "acme");
        for answer in [stack.send(&request).await?, other.send(&request).await?] {
            assert_eq!(answer.status(), 200, "{}", answer.text());
            if is_late {
                let event = answer.header("x-farebox-event").ok_or("no event")?;
                late.push(event.to_owned());
            }
        }
    }
    for event in late {
        let row = stack
            .rows_when(&format!("event_id = '{event}'"), 1)
            .await?
            .remove(0);
        assert_eq!(text(&row["rate_cards"], "price"), revision, "{row}");
        assert_eq!(row["price_mismatch"], false, "{row}");
    }
    Ok(())
}

#[tokio::test]
async fn selling_rules_hold_within_a_second_and_running_calls_keep_theirs() -> Result {
    let (mut stack, key) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "acme", "--plan", "pro"])?;
    let other = Beside::start(&stack, "prices").await?;
    let (before, held) = (fresh("before"), fresh("held"));
    stack
        .send(&chat(&key, &before).with("x-farebox-tenant", "acme"))
        .await?;
    let row = event_of(&stack, &before).await?;
    assert_eq!(text(&row["rate_cards"], "price"), "");
    assert_eq!(row["billed_usd"], row["cost_usd"]);

    // A stream that is half way through when the rules change.
    let mut connection = Connection::open(stack.plain).await?;
    let stream = chat_stream(&key, &held)
        .with("x-farebox-tenant", "acme")
        .with("x-replay", "pause");
    connection.write(&stream.bytes()).await?;
    connection.head().await?.ok_or("no answer")?;

    let rules = r#"{"rule":"plus","markup":"1.25"},{"rule":"pro-mini","plan":"pro","model":"gpt-4o-mini","markup":"3"}"#;
    let revision = activate(&stack, "rules.json", rules)?;
    priced_within(&stack, &other, &key, &revision, Instant::now()).await?;
    drop(other);
    stack.replay.release(&held);
    let mut rest = Vec::new();
    while !String::from_utf8_lossy(&rest).contains("[DONE]") {
        assert!(connection.more(&mut rest).await?, "the stream ended early");
    }
    let row = event_of(&stack, &held).await?;
    assert_eq!(text(&row["rate_cards"], "price"), "", "{row}");
    assert_eq!(row["billed_usd"], row["cost_usd"]);

    // By the plan, exactly three times the cost; the charge names the rule and not its factor.
    let sold = fresh("sold");
    stack
        .send(&chat(&key, &sold).with("x-farebox-tenant", "acme"))
        .await?;
    let row = event_of(&stack, &sold).await?;
    let exact: Vec<bool> = stack
        .sql()
        .await?
        .query(
            "select billed_usd = 3 * cost_usd and plan = 'pro' and claimed_usd = billed_usd
             from farebox.usage_events where session_id = $1",
            &[&sold],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(exact, [true], "{row}");
    let rules: Vec<&Value> = row["charges"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|charge| &charge["price_rule"])
        .collect();
    assert!(
        !rules.is_empty() && rules.iter().all(|rule| **rule == "pro-mini"),
        "{row}"
    );

    // What was quoted is what was charged.
    let quoted = stack.done(&[
        "price",
        "quote",
        "--in-force",
        "--provider",
        "openai",
        "--model",
        "gpt-4o-mini",
        "--usage",
        &row["usage"].to_string(),
        "--tenant",
        "acme",
        "--json",
    ])?;
    let quoted: Value = serde_json::from_str(&quoted)?;
    let amounts = |of: &Value| (text(of, "cost_usd"), text(of, "billed_usd"));
    assert_eq!(amounts(&quoted), amounts(&row), "{quoted}");

    // A bad file is refused whole, by its name and with every mistake; what is in force stays.
    let bad = stack.folder.path().join("bad.json");
    std::fs::write(
        &bad,
        r#"{"schema":1,"kind":"price","rules":[{"rule":"a","markup":2},{"rule":"b","mark":"1"}]}"#,
    )?;
    let refused = stack.verb(&["price", "import", &bad.display().to_string()])?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    for part in [
        "bad.json: selling rules.rules[a].markup: 2 is a JSON number",
        "rules[b]: unknown member `mark`",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let anonymous = Connection::open(stack.api)
        .await?
        .send(&Request::post(
            "/api/v1/prices/activate",
            format!(r#"{{"revision":"{revision}"}}"#),
        ))
        .await?;
    assert_eq!(anonymous.status(), 401);
    let audited: i64 = stack
        .sql()
        .await?
        .query_one(
            "select count(*) from farebox.audit_log
             where action = 'price.activate' and actor = 'operator' and details ->> 'reason' = 'a test'
                 and details -> 'after' ->> 'revision' = $1",
            &[&revision],
        )
        .await?
        .get(0);
    assert_eq!(audited, 1);

    // A proxy that starts without Postgres has the rules from its own disk.
    stack.proxy()?.stop().await?;
    let admin = farebox_tests::stack::world()?
        .cluster
        .connect("postgres")
        .await?;
    let database = stack.database.clone();
    let allow = |allowed: bool| format!("alter database {database} allow_connections {allowed}");
    stack.collector()?.kill();
    admin.batch_execute(&allow(false)).await?;
    admin
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
            &[&database],
        )
        .await?;
    stack.start_proxy().await?;
    let cold = fresh("cold");
    stack
        .send(&chat(&key, &cold).with("x-farebox-tenant", "acme"))
        .await?;
    admin.batch_execute(&allow(true)).await?;
    stack.start_collector().await?;
    let row = event_of(&stack, &cold).await?;
    assert_eq!(text(&row["rate_cards"], "price"), revision, "{row}");
    assert_eq!(row["price_mismatch"], false);
    Ok(())
}

#[tokio::test]
async fn a_price_that_comes_later_is_found_in_the_gaps_and_booked_once() -> Result {
    let (stack, key) = with_key(&[]).await?;
    let session = fresh("gap");
    let body = r#"{"model":"house-model-1","messages":[{"role":"user","content":"hello"}]}"#;
    let request = Request::post("/openai/v1/chat/completions", body)
        .bearer(&key.secret)
        .with("x-farebox-tenant", "acme")
        .with("x-replay-id", &session)
        .with("x-farebox-session", &session);
    assert_eq!(stack.send(&request).await?.status(), 200);
    let row = event_of(&stack, &session).await?;
    assert_eq!(
        (text(&row, "pricing"), text(&row, "billed_usd")),
        ("unpriced".into(), String::new())
    );

    let json = |arguments: &[&str]| -> Result<Value> {
        Ok(serde_json::from_str(
            &stack.done(&[arguments, &["--json"]].concat())?,
        )?)
    };
    let gaps = json(&["price", "gaps", "--provider", "openai"])?;
    let gap = &gaps["items"][0];
    assert_eq!(
        (text(gap, "model"), text(gap, "events")),
        ("house-model-1".into(), "1".into()),
        "{gaps}"
    );
    assert_eq!(gap["is_priced_now"], false);

    let fixed = |meter: &str| {
        format!(
            r#"{{"rule":"house-{meter}","provider":"openai","model":"house-model-1","meters":["{meter}"],"usd":"1","per":"1000"}}"#
        )
    };
    let rules = [fixed("input_tokens"), fixed("output_tokens")].join(",");
    let revision = activate(&stack, "house.json", &rules)?;
    let quote = json(&[
        "price",
        "quote",
        "--in-force",
        "--provider",
        "openai",
        "--model",
        "house-model-1",
        "--usage",
        r#"{"input_tokens":"1000"}"#,
        "--tenant",
        "acme",
    ])?;
    assert_eq!(
        (text(&quote, "billed_usd"), text(&quote, "cost_usd")),
        ("1".into(), String::new()),
        "{quote}"
    );
    assert_eq!(text(&quote["rate_cards"], "price"), revision);

    let preview = json(&["reprice", "--dry-run", "--tenant", "acme"])?;
    let item = &preview["items"][0];
    assert_eq!(text(&item["old"], "pricing"), "unpriced", "{preview}");
    assert_eq!(text(&item["new"], "pricing"), "priced");
    let due = text(&preview["tenants"][0], "new_billed_usd");
    assert_eq!(text(&item["new"], "billed_usd"), due);
    let nothing: i64 = stack
        .sql()
        .await?
        .query_one("select count(*) from farebox.adjustments", &[])
        .await?
        .get(0);
    assert_eq!(nothing, 0, "a dry run books nothing");

    let commit = [
        "reprice",
        "--commit",
        "--reason",
        "a price came",
        "--tenant",
        "acme",
    ];
    assert_eq!(text(&json(&commit)?, "changed"), "1");
    assert_eq!(
        text(&json(&commit)?, "changed"),
        "0",
        "booked a second time"
    );
    let row = event_of(&stack, &session).await?;
    assert_eq!(text(&row, "adjusted_billed_usd"), due, "{row}");
    assert_eq!(json(&["price", "gaps"])?["items"], serde_json::json!([]));
    Ok(())
}

/// The program alone, without a server or a configuration.
fn farebox(arguments: &[&str], input: &str) -> Result<std::process::Output> {
    use std::io::Write;
    let folder = tempfile::tempdir()?;
    let mut child = std::process::Command::new(farebox_tests::binary::farebox()?)
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no input")?
        .write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

#[test]
fn quotes_are_right_to_the_last_digit_and_a_planted_slip_is_found() -> Result {
    let line = |provider: &str, model: &str, usage: &str, conditions: &str| {
        format!(
            r#"{{"provider":"{provider}","model":"{model}","at":"2026-11-22T03:18:00Z","usage":{{{usage}}},"conditions":{{{conditions}}}}}"#
        )
    };
    // The vendors' documented examples.
    let chat = r#""input_tokens":464,"cache_read_tokens":1024,"cache_write_tokens":512,"output_tokens":300"#;
    let cases = [
        (line("openai", "gpt-6-sol", chat, ""), "0.0054128"),
        (
            line(
                "openai",
                "gpt-6-sol",
                &format!(r#"{chat},"web_searches":2"#),
                r#""service_tier":"priority""#,
            ),
            "0.0308256",
        ),
        (
            line(
                "anthropic",
                "claude-opus-5-5",
                r#""input_tokens":120,"cache_write_tokens":500,"cache_write_1h_tokens":400,"cache_read_tokens":3000,"output_tokens":250,"web_searches":2"#,
                "",
            ),
            "0.03178",
        ),
        (
            line(
                "deepgram",
                "nova-3",
                r#""audio_seconds":"51.866626""#,
                r#""mode":"prerecorded""#,
            ),
            "0.003717108197",
        ),
        (
            line(
                "assemblyai",
                "universal-3-6-pro",
                r#""session_seconds":14"#,
                r#""mode":"streaming""#,
            ),
            "0.00175",
        ),
    ];
    let input: Vec<&str> = cases.iter().map(|(line, _)| line.as_str()).collect();
    let answer = farebox(&["price", "quote", "--batch"], &input.join("\n"))?;
    assert!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let said = String::from_utf8(answer.stdout)?;
    assert_eq!(said.lines().count(), cases.len());
    for ((line, expected), said) in cases.iter().zip(said.lines()) {
        let quoted: Value = serde_json::from_str(said)?;
        assert_eq!(text(&quoted, "cost_usd"), *expected, "{line}\n{said}");
    }

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("groq.json");
    let card = farebox(&["price", "show", "--provider", "groq", "--json"], "")?;
    let mut card: Value = serde_json::from_slice(&card.stdout)?;
    let lint = |card: &Value| -> Result<std::process::Output> {
        std::fs::write(&path, card.to_string())?;
        farebox(&["price", "lint", &path.display().to_string()], "")
    };
    assert!(lint(&card)?.status.success());
    let usd = &mut card["models"][0]["revisions"][0]["rates"][0]["usd"];
    *usd = Value::String(format!(
        "{}0",
        text(&serde_json::json!({ "usd": usd.clone() }), "usd").replace('.', "")
    ));
    let found = lint(&card)?;
    assert_eq!(
        found.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
    Ok(())
}
