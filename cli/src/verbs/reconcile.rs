//! `farebox reconcile`: the ledger against vendors' own reports. Exit 1 when they differ.

use serde_json::{Map, Value, json};

use super::{Column, Form, cell, print_csv, print_items, print_json};
use crate::api::Api;
use crate::args::ReconcileArgs;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 9] = [
    ("WHEN", Left, "created_at"),
    ("ID", Left, "reconciliation_id"),
    ("PROVIDER", Left, "provider"),
    ("FROM", Left, "from_day"),
    ("TO", Left, "to_day"),
    ("LINES", Right, "lines"),
    ("DIFFER", Right, "disagreeing"),
    ("VENDOR USD", Right, "vendor_cost_usd"),
    ("OURS USD", Right, "cost_usd"),
];

const LINE_COLUMNS: [Column; 10] = [
    ("CAUSE", Left, "cause"),
    ("DAY", Left, "day"),
    ("ID", Left, "id"),
    ("MODEL", Left, "model"),
    ("METER", Left, "meter"),
    ("VENDOR", Right, "vendor_quantity"),
    ("OURS", Right, "quantity"),
    ("VENDOR USD", Right, "vendor_cost_usd"),
    ("OURS USD", Right, "cost_usd"),
    ("IMPLIED RATE", Right, "implied_rate"),
];

/// Comparisons that are listed.
const LISTED_MAX: usize = 100;

pub(crate) fn run(args: &ReconcileArgs) -> Outcome {
    let api = Api::reach(&args.reach)?;
    if args.list {
        let provider = args
            .provider
            .as_deref()
            .map(|provider| ("provider", provider));
        let query: Vec<(&str, &str)> = provider.into_iter().collect();
        let items = api.list("/api/v1/reconcile", &query, LISTED_MAX)?;
        print_items(&items, &COLUMNS, &args.reach, "Nothing was compared yet.");
        return Ok(());
    }
    let compared = match args.show {
        Some(id) => api.get(&format!("/api/v1/reconcile/{id}"), &[])?,
        None => api.post("/api/v1/reconcile", &body(args)?)?,
    };
    print(&compared, Form::from(&args.reach));
    let is_within = compared.pointer("/reconciliation/is_within");
    match is_within.and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => Err(Failure::No("the ledger and the report differ".to_owned())),
    }
}

fn body(args: &ReconcileArgs) -> Outcome<Value> {
    let mut files = Vec::new();
    for path in &args.files {
        let text = std::fs::read_to_string(path);
        files.push(text.map_err(|error| Failure::missing(path.display(), error))?);
    }
    let mut keys = Map::new();
    for key in &args.keys {
        let (vendor, own) = key
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--key {key}: write VENDOR-ID=CREDENTIAL")))?;
        keys.insert(vendor.to_owned(), json!(own));
    }
    let mut body = Map::new();
    body.insert("provider".to_owned(), json!(args.provider));
    body.insert("files".to_owned(), json!(files));
    body.insert("keys".to_owned(), Value::Object(keys));
    for (name, value) in [
        ("from", &args.from),
        ("to", &args.to),
        ("tolerance_usd", &args.tolerance_usd),
        ("tolerance_percent", &args.tolerance_percent),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    Ok(Value::Object(body))
}

fn print(compared: &Value, form: Form) {
    let items = compared.get("items").and_then(Value::as_array);
    let items = items.map_or(&[][..], Vec::as_slice);
    match form {
        Form::Json => print_json(compared),
        Form::Csv => print_csv(items, LINE_COLUMNS.iter().map(|(_, _, member)| *member)),
        Form::Table => {
            let of = |member: &str| cell(compared.pointer(&format!("/reconciliation/{member}")));
            say(&format!(
                "{} from {} to {}: {} lines, {} differ ({})",
                of("provider"),
                of("from_day"),
                of("to_day"),
                of("lines"),
                of("disagreeing"),
                of("causes"),
            ));
            say(&format!(
                "vendor {} USD, ledger {} USD; kept as {}",
                of("vendor_cost_usd"),
                of("cost_usd"),
                of("reconciliation_id"),
            ));
            print_items(items, &LINE_COLUMNS, false, "Every line agrees.");
        }
    }
}
