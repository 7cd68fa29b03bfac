//! `farebox runs`: runs of agents; one of them as a tree.

use serde_json::Value;

use super::{Column, Form, cell, print_csv, print_items, print_json, query};
use crate::api::{Api, path_segment};
use crate::args::RunsArgs;
use crate::failure::Outcome;
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;

const COLUMNS: [Column; 8] = [
    ("STARTED", Left, "started_at"),
    ("TENANT", Left, "tenant_id"),
    ("RUN", Left, "run_id"),
    ("AGENT", Left, "agent"),
    ("STEPS", Right, "span_count"),
    ("CALLS", Right, "request_count"),
    ("COST USD", Right, "total_cost_usd"),
    ("BILLED USD", Right, "total_billed_usd"),
];

const SPAN_MEMBERS: [&str; 10] = [
    "tenant_id",
    "span_id",
    "parent_span_id",
    "section",
    "path",
    "started_at",
    "ended_at",
    "request_count",
    "total_cost_usd",
    "total_billed_usd",
];

pub(crate) fn run(args: &RunsArgs) -> Outcome {
    let api = Api::reach(&args.reach)?;
    if let Some(run) = &args.run {
        return tree(&api, run, Form::from(&args.reach));
    }
    let query = query(args.begun.named());
    let items = api.list("/api/v1/runs", &query, args.begun.limit)?;
    print_items(&items, &COLUMNS, &args.reach, "There is no run.");
    Ok(())
}

fn tree(api: &Api, run: &str, form: Form) -> Outcome {
    let found = api.get(&format!("/api/v1/runs/{}", path_segment(run)), &[])?;
    let list = |name: &str| {
        let items = found.get(name).and_then(Value::as_array);
        items.map_or(&[][..], Vec::as_slice)
    };
    match form {
        Form::Json => print_json(&found),
        Form::Csv => print_csv(list("spans"), SPAN_MEMBERS.into_iter()),
        Form::Table => {
            print_items(list("items"), &COLUMNS, false, "There is no run.");
            let mut table = Table::new(&[
                ("STEP", Left),
                ("CALLS", Right),
                ("ERRORS", Right),
                ("COST USD", Right),
                ("BILLED USD", Right),
            ]);
            for span in list("spans") {
                let depth = span
                    .get("path")
                    .and_then(Value::as_array)
                    .map_or(1, Vec::len);
                let name = ["section", "span_id"]
                    .into_iter()
                    .find_map(|member| span.get(member)?.as_str());
                let mut cells = vec![format!(
                    "{}{}",
                    "  ".repeat(depth.saturating_sub(1)),
                    name.unwrap_or("–")
                )];
                let members = [
                    "request_count",
                    "error_count",
                    "total_cost_usd",
                    "total_billed_usd",
                ];
                cells.extend(members.map(|member| cell(span.get(member))));
                table.row(cells);
            }
            if !table.is_empty() {
                say("");
                say(table.for_terminal().trim_end());
            }
        }
    }
    Ok(())
}
