//! `farebox reprice`: booked events by the prices in force, first as a dry run, then booked.

use serde_json::{Value, json};

use super::{Column, Form, cell, print_items, print_json};
use crate::api::Api;
use crate::args::RepriceArgs;
use crate::failure::Outcome;
use crate::price::add;
use crate::say::say;
use crate::table::Align::{Left, Right};

const TENANTS: [Column; 6] = [
    ("TENANT", Left, "tenant_id"),
    ("EVENTS", Right, "events"),
    ("COST NOW", Right, "old_cost_usd"),
    ("COST THEN", Right, "new_cost_usd"),
    ("BILLED NOW", Right, "old_billed_usd"),
    ("BILLED THEN", Right, "new_billed_usd"),
];
const EVENTS: [Column; 8] = [
    ("STARTED", Left, "started_at"),
    ("EVENT", Left, "event_id"),
    ("TENANT", Left, "tenant_id"),
    ("MODEL", Left, "model"),
    ("PRICING NOW", Left, "old_pricing"),
    ("BILLED NOW", Right, "old_billed_usd"),
    ("PRICING THEN", Left, "new_pricing"),
    ("BILLED THEN", Right, "new_billed_usd"),
];
const MOVED: [Column; 6] = [
    ("TENANT", Left, "tenant_id"),
    ("BOOKED IN", Left, "period"),
    ("CORRECTS", Left, "corrects"),
    ("EVENTS", Right, "events"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
];
/// Events that a table shows; `--json` has all.
const EVENTS_SHOWN: usize = 100;

pub(crate) fn run(args: &RepriceArgs) -> Outcome {
    let api = Api::reach(&args.reach)?;
    if args.commit {
        commit(args, &api)
    } else {
        dry_run(args, &api)
    }
}

fn dry_run(args: &RepriceArgs, api: &Api) -> Outcome {
    let mut cursor = Value::Null;
    let (mut items, mut tenants) = (Vec::new(), Vec::new());
    let mut looked_at = 0;
    loop {
        let asked = json!({
            "from": args.from, "to": args.to, "tenant": args.tenant, "provider": args.provider,
            "model": args.model, "pricing": args.pricing, "revisions": args.revisions,
            "cursor": cursor,
        });
        let mut page = api.post("/api/v1/prices/reprice", &asked)?;
        looked_at += page["looked_at"].as_u64().unwrap_or_default();
        let found = page["items"].as_array_mut().map(std::mem::take);
        items.extend(found.unwrap_or_default());
        for tenant in page["tenants"].as_array_mut().into_iter().flatten() {
            add(&mut tenants, tenant.take(), &["tenant_id"])?;
        }
        cursor = page["next_cursor"].take();
        if cursor.is_null() {
            break;
        }
    }
    match Form::from(&args.reach) {
        Form::Table => {}
        Form::Json => {
            print_json(&json!({ "items": items, "tenants": tenants, "looked_at": looked_at }));
            return Ok(());
        }
        Form::Csv => {
            let rows: Vec<Value> = items.iter().map(flat).collect();
            print_items(&rows, &EVENTS, Form::Csv, "");
            return Ok(());
        }
    }
    say(&format!(
        "{} of {looked_at} events would change; nothing is booked.",
        items.len()
    ));
    if items.is_empty() {
        return Ok(());
    }
    print_items(&tenants, &TENANTS, false, "");
    let rows: Vec<Value> = items.iter().take(EVENTS_SHOWN).map(flat).collect();
    print_items(&rows, &EVENTS, false, "");
    if items.len() > EVENTS_SHOWN {
        let more = items.len() - EVENTS_SHOWN;
        say(&format!("and {more} more; --json has all."));
    }
    Ok(())
}

/// Both sides of an event as members of their own, for the table.
fn flat(item: &Value) -> Value {
    let mut row = item.clone();
    for side in ["old", "new"] {
        for member in ["pricing", "billed_usd"] {
            row[format!("{side}_{member}")] = item[side][member].clone();
        }
    }
    row
}

fn commit(args: &RepriceArgs, api: &Api) -> Outcome {
    let mut cursor = Value::Null;
    let mut batch = Value::Null;
    let mut moved = Vec::new();
    let mut counts = [0; 3];
    loop {
        let asked = json!({
            "kind": "reprice", "reason": args.reason, "revisions": args.revisions,
            "filter": {
                "from": args.from, "to": args.to, "tenant": args.tenant,
                "provider": args.provider, "model": args.model, "pricing": args.pricing,
            },
            "batch_id": batch, "cursor": cursor,
        });
        let mut page = api.post("/api/v1/adjustments", &asked)?;
        batch = page["batch_id"].take();
        for (count, member) in counts.iter_mut().zip(["events", "changed", "adjustments"]) {
            *count += page[member].as_u64().unwrap_or_default();
        }
        for one in page["moved"].as_array_mut().into_iter().flatten() {
            add(&mut moved, one.take(), &["tenant_id", "period", "corrects"])?;
        }
        cursor = page["next_cursor"].take();
        if cursor.is_null() {
            break;
        }
    }
    let [events, changed, adjustments] = counts;
    let form = Form::from(&args.reach);
    if form == Form::Csv {
        print_items(&moved, &MOVED, form, "");
        return Ok(());
    }
    if form == Form::Json {
        print_json(&json!({
            "batch_id": batch, "events": events, "changed": changed, "adjustments": adjustments,
            "moved": moved,
        }));
        return Ok(());
    }
    say(&format!(
        "{changed} of {events} events changed, {adjustments} adjustments in batch {}",
        cell(Some(&batch))
    ));
    if !moved.is_empty() {
        print_items(&moved, &MOVED, false, "");
    }
    Ok(())
}
