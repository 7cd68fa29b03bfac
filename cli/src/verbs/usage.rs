//! `farebox usage` and `farebox events`.

use serde_json::Value;

use super::{Column, cell, print_items, print_json};
use crate::api::Api;
use crate::args::{EventsArgs, UsageArgs};
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

pub(crate) fn usage(args: &UsageArgs) -> Outcome {
    let query = query([
        ("group_by", &args.group_by),
        ("from", &args.from),
        ("to", &args.to),
        ("tenant", &args.tenant),
    ]);
    let answer = Api::reach(&args.reach)?.get("/api/v1/usage", &query)?;
    if args.reach.json {
        print_json(&answer);
        return Ok(());
    }
    let items = answer.get("items").and_then(Value::as_array);
    print_groups(items.map_or(&[], Vec::as_slice), answer.get("total"));
    Ok(())
}

/// Members of a group in the order of the table; the first ones are there when grouped by them.
const GROUP_COLUMNS: [Column; 18] = [
    ("HOUR", Left, "hour"),
    ("DAY", Left, "day"),
    ("MONTH", Left, "month"),
    ("TENANT", Left, "tenant"),
    ("CUSTOMER", Left, "customer"),
    ("PROJECT", Left, "project"),
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
    ("USAGE", Left, "usage"),
];

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
    let query = query([
        ("from", &args.from),
        ("to", &args.to),
        ("tenant", &args.tenant),
    ]);
    let items = Api::reach(&args.reach)?.list("/api/v1/events", &query, args.limit)?;
    print_items(
        &items,
        &EVENT_COLUMNS,
        args.reach.json,
        "There is no event.",
    );
    Ok(())
}

fn query<'a, const N: usize>(
    asked: [(&'static str, &'a Option<String>); N],
) -> Vec<(&'static str, &'a str)> {
    asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect()
}
