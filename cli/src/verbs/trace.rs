//! `farebox trace`: one event from bytes to the invoice's line.

use serde_json::Value;

use super::{Column, Form, cell, print_csv, print_json};
use crate::api::Api;
use crate::args::TraceArgs;
use crate::failure::Outcome;
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::{Align, Table};

const COLUMNS: [Column; 7] = [
    ("TOPIC", Left, "topic"),
    ("ITEM", Left, "item"),
    ("QUANTITY", Right, "quantity"),
    ("RATE", Left, "rate"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
    ("DETAIL", Left, "detail"),
];

pub(crate) fn run(args: &TraceArgs) -> Outcome {
    let path = format!("/api/v1/events/{}/explain", args.event);
    let found = Api::reach(&args.reach)?.get(&path, &[])?;
    let steps = found.get("steps").and_then(Value::as_array);
    let steps = steps.map_or(&[][..], Vec::as_slice);
    match Form::from(&args.reach) {
        Form::Json => print_json(&found),
        Form::Csv => print_csv(steps, COLUMNS.iter().map(|(_, _, member)| *member)),
        Form::Table => {
            let headings: Vec<(&'static str, Align)> = (COLUMNS.iter())
                .map(|(name, align, _)| (*name, *align))
                .collect();
            let mut table = Table::new(&headings);
            let mut before = "";
            for step in steps {
                let topic = step
                    .get("topic")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                // A topic is named once, on its first line.
                table.row(COLUMNS.iter().map(|(_, _, member)| match *member {
                    "topic" if topic == before => String::new(),
                    member => match step.get(member) {
                        None | Some(Value::Null) => String::new(),
                        value => cell(value),
                    },
                }));
                before = topic;
            }
            say(table.for_terminal().trim_end());
        }
    }
    Ok(())
}
