//! The books' verbs as they are typed: each as a table, as JSON and as CSV, with the exit code that its
//! answer has; help for every one, and completions that know them.

use std::process::Command;

use farebox_tests::binary;
use farebox_tests::stack::{ADMIN_TOKEN, Stack};
use serde_json::Value;

use crate::{Result, chat, text, with_key};

/// Verbs that the help has to explain.
const VERBS: [&str; 33] = [
    "up",
    "demo",
    "proxy",
    "collector",
    "migrate",
    "simulate",
    "check",
    "tenant",
    "customer",
    "key",
    "limit",
    "credential",
    "usage",
    "events",
    "sessions",
    "runs",
    "trace",
    "price",
    "reprice",
    "retag",
    "reread",
    "invoice",
    "node",
    "export",
    "reconcile",
    "spool",
    "apply",
    "tenant login",
    "invoice close",
    "price quote",
    "key issue",
    "limit status",
    "invoice export",
];

/// Standard output of a verb and its exit code.
fn told(stack: &Stack, arguments: &[&str], form: &str) -> Result<(String, Option<i32>)> {
    let mut all = arguments.to_vec();
    if !form.is_empty() {
        all.push(form);
    }
    let output = stack.verb(&all)?;
    let said = String::from_utf8(output.stdout)?;
    Ok((said, output.status.code()))
}

#[tokio::test]
async fn each_verb_of_the_books_is_a_table_json_and_csv() -> Result {
    let (stack, key) = with_key(&[]).await?;
    for number in 0..3 {
        let call = chat(&key, &format!("s{}", number % 2))
            .with("x-farebox-tenant", "acme")
            .with("x-farebox-customer", "c1")
            .with("x-farebox-run", "run-1")
            .with("x-farebox-span", &format!("step-{number}"));
        assert_eq!(stack.send(&call).await?.status(), 200);
    }
    let rows = stack.rows_when("true", 3).await?;
    let (event, month) = (
        text(&rows[0], "event_id"),
        text(&rows[0], "period")[..7].to_owned(),
    );
    stack.done(&["tenant", "create", "globex"])?;
    // A month of nothing can be closed, and handed out.
    stack.done(&["invoice", "close", "acme", "2026-01"])?;
    let report = stack.folder.path().join("report.csv");
    std::fs::write(
        &report,
        "date,model,input_tokens\n2026-01-05,gpt-4o-mini,7\n",
    )?;
    let report = report.to_str().ok_or("a path that is no text")?;
    let (compared, code) = told(
        &stack,
        &["reconcile", "--provider", "openai", report],
        "--json",
    )?;
    assert_eq!(code, Some(1), "{compared}");
    let compared: Value = serde_json::from_str(&compared)?;
    let compared = text(&compared["reconciliation"], "reconciliation_id");
    let retag = [
        "retag",
        "--tenant",
        "acme",
        "--to-tenant",
        "globex",
        "--reason",
        "wrong key",
        "--dry-run",
    ];
    // What it is, a word of its table, and of its heading in CSV.
    let verbs: [(&[&str], &str, &str); 18] = [
        (
            &["usage", "--group-by", "tenant,model"],
            "BILLED USD",
            "tenant,model,calls,",
        ),
        (
            &["events", "--tenant", "acme"],
            "PRICING",
            "started_at,event_id,tenant_id,",
        ),
        (&["sessions"], "SESSION", "started_at,tenant_id,session_id,"),
        (&["runs"], "STEPS", "started_at,tenant_id,run_id,"),
        (&["runs", "run-1"], "step-2", "tenant_id,span_id,"),
        (&["trace", &event], "invoice", "topic,item,"),
        (&["tenant", "list"], "LAST SEEN", "tenant_id,name,status,"),
        (&["tenant", "show", "acme"], "time_zone", ""),
        (&["customer", "list"], "c1", "tenant_id,customer_id,"),
        (&["price", "gaps"], "", "provider,model,meter,"),
        (
            &["invoice", "list"],
            "2026-000001",
            "number,tenant_id,period,",
        ),
        (
            &["invoice", "preview", "acme", &month],
            "total",
            "line,kind,provider,",
        ),
        (
            &["invoice", "show", "2026-000001"],
            "total 0 USD",
            "line,kind,provider,",
        ),
        (&["node", "list"], "OPEN SINCE", "node,last_seen_at,"),
        (
            &["reconcile", "--list"],
            "openai",
            "created_at,reconciliation_id,",
        ),
        (&retag, "3 events would move", "tenant_id,period,"),
        (
            &["reprice", "--dry-run"],
            "0 of 3 events",
            "started_at,event_id,",
        ),
        (&["reread", "--dry-run"], "", "tenant_id,period,"),
    ];
    for (verb, word, heading) in verbs {
        let (table, code) = told(&stack, verb, "")?;
        assert_eq!(code, Some(0), "{verb:?}: {table}");
        assert!(table.contains(word), "{verb:?} has no {word}:\n{table}");
        let (json, code) = told(&stack, verb, "--json")?;
        assert_eq!(code, Some(0), "{verb:?}");
        let json: std::result::Result<Value, _> = serde_json::from_str(&json);
        assert!(json.is_ok_and(|json| json.is_object()), "{verb:?} --json");
        let (csv, code) = told(&stack, verb, "--csv")?;
        assert_eq!(code, Some(0), "{verb:?}");
        let first = csv.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(heading) && first.contains(','),
            "{verb:?} --csv:\n{csv}"
        );
        assert!(!csv.contains('─'), "{verb:?} --csv is a table:\n{csv}");
    }
    // A comparison says again that the two differ, and how.
    for (form, word) in [
        ("", "coverage"),
        ("--json", "coverage"),
        ("--csv", "coverage,"),
    ] {
        let (said, code) = told(&stack, &["reconcile", "--show", &compared], form)?;
        assert!(code == Some(1) && said.contains(word), "{form}: {said}");
    }
    // The preview's lines as CSV are the preview's sum.
    let csv = stack.done(&["invoice", "preview", "acme", &month, "--csv"])?;
    let shown: Value =
        serde_json::from_str(&stack.done(&["invoice", "preview", "acme", &month, "--json"])?)?;
    let lines = shown["lines"].as_array().map_or(0, Vec::len);
    assert_eq!(csv.lines().count(), lines + 1, "{csv}");
    for (verb, code) in [
        (&["tenant", "show", "nobody"][..], 1),
        (&["invoice", "preview", "nobody", &month], 1),
        (&["invoice", "show", "2026-999999"], 1),
        // It is not over.
        (&["invoice", "close", "acme", &month], 1),
        (&["invoice", "preview", "acme"], 2),
        (&["usage", "--group-by", "shoe_size"], 2),
        (&["events", "--tenant", "acme", "--unattributed"], 2),
        (&["export", "--format", "clients", "--json"], 2),
        (&["retag", "--tenant", "acme"], 2),
        (&["reconcile", "--provider", "openai", "/nowhere.json"], 3),
    ] {
        let output = stack.verb(verb)?;
        assert_eq!(output.status.code(), Some(code), "{verb:?}");
        assert!(!output.stderr.is_empty(), "{verb:?} says why");
    }
    nightly(&stack)
}

/// The command of the unit that systemd runs every night, with this machine's paths: one file a day.
fn nightly(stack: &Stack) -> Result {
    const UNIT: &str = include_str!("../../deploy/systemd/farebox-export.service");
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '"));
    let folder = stack.folder.path().join("exports");
    std::fs::create_dir(&folder)?;
    let script = line
        .and_then(|line| line.strip_suffix('\''))
        .ok_or("no command")?
        .replace("$$", "$")
        .replace("%%", "%")
        .replace(
            "/usr/local/bin/farebox",
            &binary::farebox()?.display().to_string(),
        )
        .replace("/var/lib/farebox-exports", &folder.display().to_string());
    for _ in 0..2 {
        let status = Command::new("sh")
            .args(["-c", &script])
            .env("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("COLLECTOR_URL", format!("http://{}", stack.api))
            .status()?;
        assert!(status.success(), "{script}");
    }
    let files: Vec<_> = std::fs::read_dir(&folder)?.collect::<std::io::Result<_>>()?;
    assert_eq!(files.len(), 1);
    let file = std::fs::read_to_string(files[0].path())?;
    assert!(
        file.starts_with("Date,Client_ID,Service,Model,Calls,Tokens,Cost,Project"),
        "{file}"
    );
    Ok(())
}

#[tokio::test]
async fn every_verb_has_its_help_and_its_completions() -> Result {
    let stack = crate::shared().await?;
    let help = stack.bare(&["help"])?;
    for verb in VERBS {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let own = stack.bare(&words)?;
        let first = own.lines().next().unwrap_or_default();
        assert!(
            first.len() > 10 && own.contains("Usage: farebox"),
            "{verb}:\n{own}"
        );
        if !verb.contains(' ') {
            assert!(help.contains(&format!("\n  {verb} ")), "{verb}:\n{help}");
        }
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stack.bare(&["completions", shell])?;
        for verb in ["reconcile", "retag", "trace", "group-by", "despite"] {
            assert!(script.contains(verb), "{shell} knows no {verb}");
        }
    }
    Ok(())
}
