//! `farebox usage`, `farebox events` and `farebox sessions`.

use serde_json::Value;

use super::{Column, Form, cell, print_csv, print_items, print_json, query};
use crate::api::Api;
use crate::args::{EventsArgs, SessionsArgs, UsageArgs};
use crate::failure::Outcome;
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::{Align, Table};

const EVENT_COLUMNS: [Column; 9] = [
    ("STARTED", Left, "started_at"),
    ("EVENT", Left, "event_id"),
    ("TENANT", Left, "tenant_id"),
    ("PROVIDER", Left, "provider"),
    ("MODEL", Left, "model"),
    ("ENDING", Left, "ending"),
    ("USAGE", Left, "usage_source"),
    ("PRICING", Left, "pricing"),
    ("BILLED USD", Right, "billed_usd"),
];

const SESSION_COLUMNS: [Column; 9] = [
    ("STARTED", Left, "started_at"),
    ("TENANT", Left, "tenant_id"),
    ("SESSION", Left, "session_id"),
    ("ENDED", Left, "ended_at"),
    ("OPEN", Left, "is_open"),
    ("MODALITIES", Left, "modalities"),
    ("CALLS", Right, "request_count"),
    ("COST USD", Right, "total_cost_usd"),
    ("BILLED USD", Right, "total_billed_usd"),
];

/// Members of a group in the order of the table; the first ones are there when grouped by them.
const GROUP_COLUMNS: [Column; 21] = [
    ("HOUR", Left, "hour"),
    ("DAY", Left, "day"),
    ("MONTH", Left, "month"),
    ("TENANT", Left, "tenant"),
    ("CUSTOMER", Left, "customer"),
    ("PROJECT", Left, "project"),
    ("AGENT", Left, "agent"),
    ("SECTION", Left, "section"),
    ("KEY", Left, "key"),
    ("ENVIRONMENT", Left, "environment"),
    ("PROVIDER", Left, "provider"),
    ("ENDPOINT", Left, "endpoint"),
    ("MODEL", Left, "model"),
    ("METER", Left, "meter"),
    ("QUANTITY", Right, "quantity"),
    ("CALLS", Right, "calls"),
    ("UNPRICED", Right, "unpriced_events"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
    ("%", Right, "billed_percent"),
    ("USAGE", Left, "usage"),
];

pub(crate) fn usage(args: &UsageArgs) -> Outcome {
    let own = [
        ("group_by", &args.group_by),
        ("from", &args.from),
        ("to", &args.to),
        ("meter", &args.meter),
    ];
    let query = query(own.into_iter().chain(args.carrying.named()));
    let answer = Api::reach(&args.reach)?.get("/api/v1/usage", &query)?;
    let items = answer.get("items").and_then(Value::as_array);
    let items = items.map_or(&[][..], Vec::as_slice);
    let is_used = |member: &str| items.iter().any(|item| item.get(member).is_some());
    match Form::from(&args.reach) {
        Form::Json => print_json(&answer),
        Form::Csv => {
            let members = GROUP_COLUMNS.iter().map(|(_, _, member)| *member);
            print_csv(items, members.filter(|member| is_used(member)));
        }
        Form::Table => print_groups(items, answer.get("total")),
    }
    Ok(())
}

fn print_groups(items: &[Value], total: Option<&Value>) {
    if items.is_empty() {
        eprintln!("Nothing was used.");
        return;
    }
    let is_used = |member: &str| items.iter().any(|item| item.get(member).is_some());
    let columns: Vec<&Column> = GROUP_COLUMNS
        .iter()
        .filter(|(_, _, member)| is_used(member))
        .collect();
    let headings: Vec<(&'static str, Align)> = columns
        .iter()
        .map(|(name, align, _)| (*name, *align))
        .collect();
    let mut table = Table::new(&headings);
    let total = total.filter(|_| items.len() > 1);
    for item in items.iter().chain(total) {
        table.row(
            columns
                .iter()
                .map(|(_, _, member)| match item.get(*member) {
                    // The total has no member of what was grouped by.
                    None => String::new(),
                    value => cell(value),
                }),
        );
    }
    say(table.for_terminal().trim_end());
}

pub(crate) fn events(args: &EventsArgs) -> Outcome {
    let own = [
        ("from", &args.from),
        ("to", &args.to),
        ("upstream", &args.upstream),
        ("session", &args.session),
        ("run", &args.run),
        ("call", &args.call),
        ("response_id", &args.response_id),
        ("upstream_request_id", &args.upstream_request_id),
        ("status", &args.status),
        ("ending", &args.ending),
        ("pricing", &args.pricing),
        ("usage_source", &args.usage_source),
    ];
    let mut query = query(own.into_iter().chain(args.carrying.named()));
    if args.unattributed {
        query.push(("unattributed", "true"));
    }
    let items = Api::reach(&args.reach)?.list("/api/v1/events", &query, args.limit)?;
    print_items(&items, &EVENT_COLUMNS, &args.reach, "There is no event.");
    Ok(())
}

pub(crate) fn sessions(args: &SessionsArgs) -> Outcome {
    let query = query(args.begun.named());
    let items = Api::reach(&args.reach)?.list("/api/v1/sessions", &query, args.begun.limit)?;
    print_items(
        &items,
        &SESSION_COLUMNS,
        &args.reach,
        "There is no session.",
    );
    Ok(())
}
