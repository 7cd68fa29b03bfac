//! The reading verbs: one sum in SQL, API, terminal and file; a trace to the invoice's line; files that
//! are whole or not there; comparisons whose exit code says whether they agree.

use std::collections::BTreeMap;

use farebox_tests::wire::Request;
use serde_json::Value;

use crate::{Result, chat, fresh, text, with_key};

fn json_of(output: &str) -> Result<Value> {
    Ok(serde_json::from_str(output)?)
}

/// Rows of CSV without quoted cells, by the heading's names.
fn table(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| {
            let cells = line.split(',').map(str::to_owned);
            names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(cells)
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn sql_api_terminal_and_files_have_one_sum() -> Result {
    let (stack, key) = with_key(&[]).await?;
    for (tenant, calls) in [("acme", 3), ("globex", 2)] {
        for number in 0..calls {
            let request = chat(&key, &format!("{tenant}-{number}"))
                .with("x-farebox-tenant", tenant)
                .with("x-farebox-agent", "planner")
                .with("x-farebox-run", "run-1")
                .with("x-farebox-span", &format!("s{number}"))
                .with("x-farebox-section", "tool:search");
            assert_eq!(stack.send(&request).await?.status(), 200);
        }
    }
    // Without a section, under a span that only traceparent names.
    let traced = chat(&key, "traced").with("x-farebox-tenant", "acme").with(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    assert_eq!(stack.send(&traced).await?.status(), 200);
    let rows = stack.rows_when("true", 6).await?;
    let client = stack.sql().await?;
    let sql: String = client
        .query_one(
            "select trim_scale(sum(billed_usd))::text from farebox.usage_events where tenant_id = 'acme'",
            &[],
        )
        .await?
        .get(0);
    let api = stack
        .api(Request::get("/api/v1/usage?tenant=acme"))
        .await?
        .json();
    assert_eq!(text(&api["total"], "billed_usd"), sql);
    let usage = json_of(&stack.done(&[
        "usage",
        "--group-by",
        "agent,model",
        "--tenant",
        "acme",
        "--json",
    ])?)?;
    assert_eq!(text(&usage["total"], "billed_usd"), sql);
    let csv = stack.done(&["usage", "--group-by", "tenant", "--csv"])?;
    let acme = table(&csv).into_iter().find(|row| row["tenant"] == "acme");
    assert_eq!(acme.ok_or("no acme")?["billed_usd"], sql, "{csv}");
    // A month's file by client, to the last digit.
    let month = text(&rows[0], "period")[..7].to_owned();
    let file = stack.folder.path().join("clients.csv");
    let name = file.to_str().ok_or("a path that is no text")?.to_owned();
    stack.done(&[
        "export", "--format", "clients", "--month", &month, "--tenant", "acme", "--out", &name,
    ])?;
    let rows_of_file = table(&std::fs::read_to_string(&file)?);
    let costs: Vec<String> = rows_of_file.iter().map(|row| row["Cost"].clone()).collect();
    let summed: String = client
        .query_one(
            "select trim_scale(sum(cost::numeric))::text from unnest($1::text[]) as cost",
            &[&costs],
        )
        .await?
        .get(0);
    assert_eq!(summed, sql);
    let again = stack.verb(&["export", "--out", &name])?;
    assert_eq!(again.status.code(), Some(2), "a file is not overwritten");
    let events = stack.done(&["export", "--month", &month])?;
    assert_eq!(events.lines().count(), 7, "{events}");
    let whole = json_of(&stack.done(&["export", "--json"])?)?;
    assert_eq!(whole["items"].as_array().map(Vec::len), Some(6));
    // The tree of the run, and the one that traceparent made.
    let tree = json_of(&stack.done(&["runs", "run-1", "--json"])?)?;
    assert_eq!(tree["spans"].as_array().map(Vec::len), Some(5), "{tree}");
    let traced = json_of(&stack.done(&["runs", "0af7651916cd43dd8448eb211c80319c", "--json"])?)?;
    assert_eq!(
        traced["spans"][0]["span_id"], "b7ad6b7169203331",
        "{traced}"
    );
    assert!(stack.done(&["runs", "run-1"])?.contains("tool:search"));
    let sessions = json_of(&stack.done(&["sessions", "--tenant", "acme", "--json"])?)?;
    assert_eq!(
        sessions["items"].as_array().map(Vec::len),
        Some(4),
        "{sessions}"
    );
    assert_eq!(sessions["items"][0]["is_open"], true);
    assert_eq!(sessions["items"][0]["modalities"][0], "text");
    Ok(())
}

#[tokio::test]
async fn a_trace_goes_from_bytes_to_the_invoice_and_an_index_shows_who_was_seen() -> Result {
    let (stack, key) = with_key(&[]).await?;
    let tenant = fresh("traced");
    stack.done(&["tenant", "create", &tenant])?;
    stack.done(&[
        "limit", "set", "--tenant", &tenant, "--amount", "100", "--window", "minute",
    ])?;
    let answer = stack
        .send(&chat(&key, "one").with("x-farebox-tenant", &tenant))
        .await?;
    let event = answer
        .header("x-farebox-event")
        .ok_or("no event")?
        .to_owned();
    stack.rows_when("true", 1).await?;
    let trace = stack.done(&["trace", &event])?;
    for word in [
        "limit",
        "requests",
        key.prefix(),
        "usage",
        "input_tokens",
        "charge",
        "USD per",
        "invoice",
    ] {
        assert!(trace.contains(word), "{word}: {trace}");
    }
    let missing = stack.verb(&["trace", "01936b2e-8f00-7000-8000-000000000000"])?;
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(stack.verb(&["trace", "nonsense"])?.status.code(), Some(2));
    assert_eq!(
        stack.verb(&["tenant", "show", "nobody"])?.status.code(),
        Some(1)
    );
    // The verb's JSON is the API's.
    let listed = json_of(&stack.done(&["tenant", "list", "--json"])?)?;
    let api = stack.api(Request::get("/api/v1/tenants")).await?.json();
    assert_eq!(listed, api);
    assert_eq!(listed["items"][0]["tenant_id"], Value::from(tenant));
    let found = stack.done(&["events", "--response-id", "nothing-of-the-kind", "--csv"])?;
    assert_eq!(found.lines().count(), 1, "{found}");
    for shell in ["bash", "zsh", "fish"] {
        let output = stack.bare(&["completions", shell])?;
        assert!(output.contains("reconcile"), "{shell}");
    }
    Ok(())
}

#[tokio::test]
async fn a_comparison_says_by_its_exit_code_whether_it_agrees() -> Result {
    let (stack, key) = with_key(&[]).await?;
    for id in ["a", "b"] {
        let request = chat(&key, id).with("x-farebox-tenant", "acme");
        assert_eq!(stack.send(&request).await?.status(), 200);
    }
    let rows = stack.rows_when("true", 2).await?;
    let usage: Value = stack
        .api(Request::get("/api/v1/usage?group_by=model"))
        .await?
        .json();
    let group = &usage["items"][0];
    let days: Vec<String> = rows
        .iter()
        .map(|row| text(row, "started_at")[..10].to_owned())
        .collect();
    if days[0] != days[1] {
        // Midnight between the two: a report by day would need both.
        return Ok(());
    }
    let report = |cost: &str| {
        format!(
            "date,model,input_tokens,output_tokens,calls,cost_usd\n{},{},{},{},2,{cost}\n",
            days[0],
            text(group, "model"),
            text(&group["usage"], "input_tokens"),
            text(&group["usage"], "output_tokens"),
        )
    };
    let file = stack.folder.path().join("report.csv");
    let name = file.to_str().ok_or("a path that is no text")?.to_owned();
    std::fs::write(&file, report(&text(group, "cost_usd")))?;
    let agrees = stack.verb(&["reconcile", "--provider", "openai", &name, "--json"])?;
    let said = String::from_utf8_lossy(&agrees.stdout).into_owned();
    assert_eq!(agrees.status.code(), Some(0), "{said}");
    std::fs::write(&file, report("1"))?;
    let differs = stack.verb(&["reconcile", "--provider", "openai", &name, "--json"])?;
    assert_eq!(differs.status.code(), Some(1));
    let compared = json_of(&String::from_utf8_lossy(&differs.stdout))?;
    assert_eq!(compared["items"][0]["cause"], "rate", "{compared}");
    let id = text(&compared["reconciliation"], "reconciliation_id");
    let shown = stack.verb(&["reconcile", "--show", &id])?;
    assert_eq!(shown.status.code(), Some(1));
    assert!(stack.done(&["reconcile", "--list"])?.contains(&id));
    // The month's invoice says so too.
    let preview = stack.done(&["invoice", "preview", "acme", &days[0][..7]])?;
    assert!(preview.contains("openai differs in 1 of"), "{preview}");
    std::fs::write(&file, "{")?;
    let wrong = stack.verb(&["reconcile", "--provider", "openai", &name])?;
    assert_eq!(wrong.status.code(), Some(2));
    Ok(())
}
