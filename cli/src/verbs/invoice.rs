//! `farebox invoice` and `farebox node`: closing months, and the proxies a close waits for.

use std::path::Path;

use serde_json::{Value, json};

use super::{Column, Form, ITEMS_MAX, print_item, print_items, print_json};
use crate::api::{Api, path_segment};
use crate::args::books::{InvoiceForm, InvoiceVerb, NodeVerb, WhoseMonth};
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};

const INVOICES: [Column; 6] = [
    ("NUMBER", Left, "number"),
    ("TENANT", Left, "tenant_id"),
    ("MONTH", Left, "period"),
    ("CLOSED", Left, "closed_at"),
    ("ENTRIES", Right, "events"),
    ("BILLED USD", Right, "billed_usd"),
];

const LINES: [Column; 7] = [
    ("LINE", Right, "line"),
    ("KIND", Left, "kind"),
    ("PROVIDER", Left, "provider"),
    ("MODEL", Left, "model"),
    ("METER", Left, "meter"),
    ("QUANTITY", Right, "quantity"),
    ("BILLED USD", Right, "billed_usd"),
];

/// What a table has no room for.
const OF_LINES_IN_FILES: [Column; 2] = [("CORRECTS", Left, "corrects"), ("TEXT", Left, "text")];

const NODES: [Column; 6] = [
    ("NODE", Left, "node"),
    ("LAST SEEN", Left, "last_seen_at"),
    ("OPEN SINCE", Left, "open_since"),
    ("MISSING", Right, "missing"),
    ("RETIRED", Left, "retired_at"),
    ("BY", Left, "retired_by"),
];

pub(crate) fn run(verb: &InvoiceVerb) -> Outcome {
    match verb {
        InvoiceVerb::List {
            tenant,
            month,
            reach,
        } => {
            let query: Vec<(&str, &str)> = [("tenant", tenant), ("month", month)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let items = Api::reach(reach)?.list("/api/v1/invoices", &query, ITEMS_MAX)?;
            print_items(&items, &INVOICES, reach, "No month is closed.");
        }
        InvoiceVerb::Preview { whose, reach } => {
            let (tenant, month) = whose_month(whose)?;
            let query = [("tenant", tenant), ("month", month)];
            let answer = Api::reach(reach)?.get("/api/v1/invoices/preview", &query)?;
            print_invoice(&answer, &answer, reach.into());
        }
        InvoiceVerb::Close {
            whose,
            despite,
            reach,
        } => {
            let (tenant, month) = whose_month(whose)?;
            let body = json!({"tenant_id": tenant, "month": month, "despite": despite});
            let answer = Api::reach(reach)?.post("/api/v1/invoices", &body)?;
            print_invoice(&answer, &answer["invoice"], reach.into());
        }
        InvoiceVerb::Show { invoice, reach } => {
            let path = format!("/api/v1/invoices/{}", path_segment(invoice));
            let answer = Api::reach(reach)?.get(&path, &[])?;
            print_invoice(&answer, &answer["invoice"], reach.into());
        }
        InvoiceVerb::Export {
            invoice,
            format,
            out,
            reach,
        } => {
            let format = match format {
                InvoiceForm::Csv => "csv",
                InvoiceForm::Json => "json",
                InvoiceForm::Html => "html",
            };
            let path = format!("/api/v1/invoices/{}/export", path_segment(invoice));
            let text = Api::reach(reach)?.text(&path, &[("format", format)])?;
            write_out(&text, out.as_deref())?;
        }
    }
    Ok(())
}

pub(crate) fn node(verb: &NodeVerb) -> Outcome {
    match verb {
        NodeVerb::List(reach) => {
            let items = Api::reach(reach)?.list("/api/v1/nodes", &[], ITEMS_MAX)?;
            print_items(&items, &NODES, reach, "No proxy has shipped yet.");
        }
        NodeVerb::Holes { node, reach } => {
            let path = format!("/api/v1/nodes/{}/holes", path_segment(node));
            let answer = Api::reach(reach)?.get(&path, &[])?;
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            let columns: [Column; 3] = [
                ("EPOCH", Right, "epoch"),
                ("FROM", Right, "first_seq"),
                ("TO", Right, "last_seq"),
            ];
            print_items(&items, &columns, reach, "Nothing is missing.");
        }
        NodeVerb::Retire { node, reach } => {
            let path = format!("/api/v1/nodes/{}/retire", path_segment(node));
            print_item(&Api::reach(reach)?.post(&path, &json!({}))?, reach);
        }
    }
    Ok(())
}

/// What no flag names comes from the places, the tenant first.
fn whose_month(whose: &WhoseMonth) -> Outcome<(&str, &str)> {
    let mut places = [&whose.tenant, &whose.month]
        .into_iter()
        .filter_map(Option::as_deref);
    let mut one = |flag: &'_ Option<String>| flag.is_none().then(|| places.next()).flatten();
    let (tenant, month) = (one(&whose.tenant_flag), one(&whose.month_flag));
    let tenant = whose.tenant_flag.as_deref().or(tenant);
    let month = whose.month_flag.as_deref().or(month);
    match (tenant, month, places.next()) {
        (Some(tenant), Some(month), None) => Ok((tenant, month)),
        _ => Err(Failure::Usage(
            "a tenant and a month are needed, such as `acme 2026-11`".to_owned(),
        )),
    }
}

/// As CSV its lines alone, for what adds them up.
fn print_invoice(answer: &Value, head: &Value, form: Form) {
    let lines = answer["lines"].as_array().cloned().unwrap_or_default();
    match form {
        Form::Table => print_page(answer, head, &lines),
        Form::Json => print_json(answer),
        Form::Csv => {
            let mut columns = LINES.to_vec();
            columns.extend(OF_LINES_IN_FILES);
            print_items(&lines, &columns, form, "");
        }
    }
}

fn print_page(answer: &Value, head: &Value, lines: &[Value]) {
    let text = |name: &str| head[name].as_str().unwrap_or("–").to_owned();
    let number = match head["number"].as_str() {
        Some(number) => format!("invoice {number}"),
        None => "preview".to_owned(),
    };
    say(&format!(
        "{number} · {} · {}",
        text("tenant_id"),
        text("period").get(..7).unwrap_or_default()
    ));
    let has_text = lines.iter().any(|line| line["text"].is_string());
    let mut columns = LINES.to_vec();
    if has_text {
        columns.push(("TEXT", Left, "text"));
    }
    print_items(lines, &columns, Form::Table, "Nothing was used.");
    say(&format!("total {} USD", text("billed_usd")));
    if let Some(events) = head["unpriced_events"]
        .as_i64()
        .filter(|events| *events > 0)
    {
        say(&format!("{events} events without a price block the close"));
    }
    for compared in answer["reconciliations"].as_array().into_iter().flatten() {
        say(&agreement(compared));
    }
}

/// How a vendor's own report agrees with the ledger, in one line.
fn agreement(compared: &Value) -> String {
    let text = |name: &str| compared[name].as_str().unwrap_or_default();
    let (from, to) = (text("from_day"), text("to_day"));
    let found = match compared["is_within"].as_bool() {
        Some(true) => "agrees with".to_owned(),
        _ => format!(
            "differs in {} of {} lines from",
            compared["disagreeing"], compared["lines"]
        ),
    };
    format!(
        "{} {found} its report of {from} to {to}, see farebox reconcile --show {}",
        text("provider"),
        text("reconciliation_id")
    )
}

/// Into a new file, or onto standard output.
fn write_out(text: &str, out: Option<&Path>) -> Outcome {
    match out {
        None => say(text.trim_end_matches('\n')),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| Failure::missing(path.display(), error))?;
        }
    }
    Ok(())
}
