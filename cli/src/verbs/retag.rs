//! `farebox retag`: booked usage moved to the tenant, customer or project it belongs to, and back.

use serde_json::{Map, Value, json};

use super::{Column, Form, print_items, print_json};
use crate::api::Api;
use crate::args::books::RetagArgs;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};

const MOVED: [Column; 6] = [
    ("TENANT", Left, "tenant_id"),
    ("MONTH", Left, "period"),
    ("CORRECTS", Left, "corrects"),
    ("EVENTS", Right, "events"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
];

pub(crate) fn run(args: &RetagArgs) -> Outcome {
    let (path, mut body) = match args.undo {
        Some(batch) => (format!("/api/v1/adjustments/{batch}/undo"), undo(args)?),
        None => ("/api/v1/adjustments".to_owned(), retag(args)?),
    };
    if args.next_open_month {
        body["closed_periods"] = "next".into();
    }
    let api = Api::reach(&args.reach)?;
    let is_told = Form::from(&args.reach) == Form::Table;
    // A look at every page first, so that what is refused on a later one leaves nothing half booked.
    let preview = pages(&api, &path, &body, true, is_told)?;
    if !args.commit {
        print(&preview, args);
        return Ok(());
    }
    let booked = pages(&api, &path, &body, false, is_told)?;
    print(&booked, args);
    Ok(())
}

fn undo(args: &RetagArgs) -> Outcome<Value> {
    let mut body = json!({});
    if let Some(reason) = &args.reason {
        body["reason"] = reason.as_str().into();
    }
    Ok(body)
}

fn retag(args: &RetagArgs) -> Outcome<Value> {
    let missing = |what: &str| Failure::Usage(format!("{what}, see `farebox retag --help`"));
    let reason = args
        .reason
        .as_ref()
        .ok_or_else(|| missing("--reason says why"))?;
    let mut set = Map::new();
    for (name, to, none) in [
        ("tenant_id", &args.to_tenant, args.to_nobody),
        ("customer_id", &args.to_customer, args.no_customer),
        ("project", &args.to_project, args.no_project),
    ] {
        if none {
            set.insert(name.to_owned(), Value::Null);
        } else if let Some(to) = to {
            set.insert(name.to_owned(), to.as_str().into());
        }
    }
    if set.is_empty() {
        return Err(missing(
            "--to-tenant, --to-customer or --to-project says where to",
        ));
    }
    let mut body = json!({"kind": "retag", "reason": reason, "set": set});
    if !args.events.is_empty() {
        body["event_ids"] = json!(args.events);
        return Ok(body);
    }
    let mut filter = Map::new();
    for (name, value) in [
        ("tenant", &args.tenant),
        ("customer", &args.customer),
        ("project", &args.project),
        ("session", &args.session),
        ("run", &args.run),
        ("provider", &args.provider),
        ("model", &args.model),
        ("from", &args.from),
        ("to", &args.to),
    ] {
        if let Some(value) = value {
            filter.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(key) = args.key {
        filter.insert("key_id".to_owned(), json!(key));
    }
    if args.unattributed {
        filter.insert("unattributed".to_owned(), true.into());
    }
    if filter.is_empty() {
        return Err(missing("--event or a filter says which events"));
    }
    body["filter"] = filter.into();
    Ok(body)
}

/// Page after page, added up.
fn pages(api: &Api, path: &str, body: &Value, is_dry: bool, is_told: bool) -> Outcome<Vec<Value>> {
    let mut answers: Vec<Value> = Vec::new();
    let mut body = body.clone();
    body["dry_run"] = is_dry.into();
    loop {
        let answer = api.post(path, &body)?;
        let next = answer["next_cursor"].clone();
        body["batch_id"] = answer["batch_id"].clone();
        answers.push(answer);
        if next.is_null() {
            return Ok(answers);
        }
        body["cursor"] = next;
        if is_told {
            let seen = sum(&answers, "events");
            eprintln!("{seen} events looked at");
        }
    }
}

fn sum(answers: &[Value], member: &str) -> i64 {
    answers
        .iter()
        .filter_map(|answer| answer[member].as_i64())
        .sum()
}

fn print(answers: &[Value], args: &RetagArgs) {
    let batch = &answers[0]["batch_id"];
    let moved: Vec<Value> = answers
        .iter()
        .filter_map(|answer| answer["moved"].as_array())
        .flatten()
        .cloned()
        .collect();
    let changed = sum(answers, "changed");
    let form = Form::from(&args.reach);
    if form == Form::Json {
        print_json(&json!({
            "batch_id": batch,
            "dry_run": !args.commit,
            "events": sum(answers, "events"),
            "changed": changed,
            "adjustments": sum(answers, "adjustments"),
            "moved": moved,
        }));
        return;
    }
    print_items(&moved, &MOVED, form, "Nothing moves.");
    if form == Form::Csv {
        return;
    }
    match (args.commit, changed) {
        (_, 0) => {}
        (true, _) => say(&format!(
            "{changed} events moved; `farebox retag --undo {} --commit` takes it back",
            batch.as_str().unwrap_or_default()
        )),
        (false, _) => say(&format!("{changed} events would move; --commit books it")),
    }
}
