//! The verbs of `farebox price` that ask a collector: which cards and rules are in force, what of the
//! ledger has no price, and what two revisions make of what was really used.

use std::path::{Path, PathBuf};

use farebox_pricing::money::Usd;
use farebox_pricing::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    ActivateArgs, DiffArgs, GapsArgs, ImportArgs, QuoteArgs, ShowArgs, bundle, files, read, text_of,
};
use crate::api::{Api, path_segment};
use crate::deployment::now;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::verbs::{Column, ITEMS_MAX, cell, print_item, print_items, print_json};

const REVISIONS: [Column; 6] = [
    ("PROVIDER", Left, "provider"),
    ("KIND", Left, "kind"),
    ("REVISION", Left, "revision"),
    ("IN FORCE", Left, "is_active"),
    ("ENTRIES", Right, "entries"),
    ("LOADED", Left, "loaded_at"),
];
const GAPS: [Column; 9] = [
    ("PROVIDER", Left, "provider"),
    ("MODEL", Left, "model"),
    ("METER", Left, "meter"),
    ("MISSING", Left, "missing"),
    ("EVENTS", Right, "events"),
    ("TENANTS", Right, "tenants"),
    ("QUANTITY", Right, "quantity"),
    ("LAST SEEN", Left, "last_seen"),
    ("PRICED NOW", Left, "is_priced_now"),
];
const CHANGES: [Column; 6] = [
    ("MODEL", Left, "model"),
    ("SINCE", Left, "from"),
    ("OF", Left, "of"),
    ("WHEN", Left, "when"),
    ("BEFORE", Left, "before"),
    ("AFTER", Left, "after"),
];
const CHARGES: [Column; 6] = [
    ("METER", Left, "meter"),
    ("QUANTITY", Right, "quantity"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
    ("COST RULE", Left, "cost_rule"),
    ("PRICE RULE", Left, "price_rule"),
];
/// Days that a month of usage is.
const MONTH_DAYS: i64 = 30;

/// Loads files into the database. One bad file and none is loaded; every mistake of all is told.
pub(super) fn load(args: &ImportArgs) -> Outcome {
    let paths = files(&args.cards)?;
    if let Some(bundle) = bundle::among(&paths)? {
        let loaded = bundle::send(bundle, &Api::reach(&args.reach)?, false, None)?;
        print_items(&loaded, &REVISIONS, &args.reach, "There is no card.");
        return Ok(());
    }
    let bodies = bodies(&paths)?;
    let api = Api::reach(&args.reach)?;
    let mut loaded = Vec::new();
    for body in &bodies {
        loaded.push(api.post("/api/v1/prices", body)?);
    }
    print_items(&loaded, &REVISIONS, &args.reach, "There is no card.");
    Ok(())
}

/// Revisions in the database, and which of them are in force.
pub(super) fn show(args: &ShowArgs) -> Outcome {
    let query: Vec<(&str, &str)> = args
        .provider
        .iter()
        .map(|provider| ("provider", provider.as_str()))
        .collect();
    let items = Api::reach(&args.reach)?.list("/api/v1/prices", &query, ITEMS_MAX)?;
    print_items(&items, &REVISIONS, &args.reach, "There is no card.");
    Ok(())
}

fn bodies(paths: &[std::path::PathBuf]) -> Outcome<Vec<Value>> {
    let mut mistakes = Vec::new();
    let mut bodies = Vec::new();
    for path in paths {
        match read(path)? {
            Ok(_) => bodies.push(body(path)?),
            Err(found) => mistakes.extend(found),
        }
    }
    match mistakes.is_empty() {
        true => Ok(bodies),
        false => Err(Failure::Usage(mistakes.join("\n"))),
    }
}

fn body(path: &Path) -> Outcome<Value> {
    serde_json::from_str(&text_of(path)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Puts a revision in force; a file is loaded first.
pub(super) fn activate(args: &ActivateArgs) -> Outcome {
    let path = PathBuf::from(&args.revision);
    if let Some(bundle) = bundle::among(std::slice::from_ref(&path))? {
        let reason = args.reason.as_deref();
        let active = bundle::send(bundle, &Api::reach(&args.reach)?, true, reason)?;
        print_items(&active, &REVISIONS, &args.reach, "There is no card.");
        return Ok(());
    }
    let body = match path.is_file() {
        true => bodies(std::slice::from_ref(&path))?.pop(),
        false => None,
    };
    let api = Api::reach(&args.reach)?;
    let revision = match body {
        Some(body) => text(&api.post("/api/v1/prices", &body)?, "revision"),
        None => args.revision.clone(),
    };
    let asked = json!({ "revision": revision, "reason": args.reason });
    let answer = api.post("/api/v1/prices/activate", &asked)?;
    if args.reach.json {
        print_json(&answer);
        return Ok(());
    }
    if let Some(revision) = answer.get("revision") {
        print_item(revision, false);
    }
    say(&format!("before    {}", cell(answer.get("before"))));
    Ok(())
}

fn text(value: &Value, member: &str) -> String {
    let text = value.get(member).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

pub(super) fn gaps(args: &GapsArgs) -> Outcome {
    let asked = [
        ("tenant", &args.tenant),
        ("provider", &args.provider),
        ("from", &args.from),
        ("to", &args.to),
    ];
    let mut query: Vec<(&str, &str)> = asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    query.push(("limit", "1000"));
    let answer = Api::reach(&args.reach)?.get("/api/v1/prices/gaps", &query)?;
    let items = answer.get("items").and_then(Value::as_array);
    let items = items.map_or(&[][..], Vec::as_slice);
    print_items(items, &GAPS, &args.reach, "Everything has a price.");
    Ok(())
}

/// What the deployment would charge; several models side by side.
pub(super) fn quote(args: &QuoteArgs) -> Outcome {
    let api = Api::reach(&args.reach)?;
    let object = |flag: &str, text: Option<&str>| -> Outcome<Value> {
        serde_json::from_str::<Map<String, Value>>(text.unwrap_or("{}"))
            .map(Value::Object)
            .map_err(|error| Failure::Usage(format!("--{flag}: {error}")))
    };
    let mut items = Vec::new();
    for model in &args.models {
        let asked = json!({
            "provider": args.provider, "model": model, "at": args.at, "tenant": args.tenant,
            "plan": args.plan, "usage": object("usage", args.usage.as_deref())?,
            "conditions": object("conditions", args.conditions.as_deref())?,
        });
        let mut answer = api.post("/api/v1/prices/quote", &asked)?;
        if args.models.len() > 1 {
            answer["model"] = json!(model);
        }
        items.push(answer);
    }
    match (&items[..], args.reach.json) {
        ([one], true) => say(&one.to_string()),
        (_, true) => say(&json!({ "items": items }).to_string()),
        (several, false) => show_quotes(several),
    }
    Ok(())
}

fn show_quotes(items: &[Value]) {
    for item in items {
        if let Some(model) = item.get("model") {
            say(&cell(Some(model)));
        }
        let charges = item.get("charges").and_then(Value::as_array);
        let charges = charges.map_or(&[][..], Vec::as_slice);
        print_items(charges, &CHARGES, false, "Nothing is charged.");
        let sum = |member| cell(item.get(member));
        say(&format!(
            "{}: cost {} USD, billed {} USD",
            sum("pricing"),
            sum("cost_usd"),
            sum("billed_usd")
        ));
    }
}

/// Whether a comparison needs the collector: a revision that is no file here, or the ledger's usage.
pub(super) fn is_asked(args: &DiffArgs) -> bool {
    let is_there = |path: &Path| path.as_os_str() == "built-in" || path.exists();
    args.last_month
        || args.from.is_some()
        || args.to.is_some()
        || !is_there(&args.before)
        || !is_there(&args.after)
}

/// Two revisions, price by price and over the ledger's events, page by page.
pub(super) fn diff(args: &DiffArgs) -> Outcome {
    if args.usage.is_some() {
        let message = "--usage compares files; `--last-month` compares revisions over the ledger";
        return Err(Failure::Usage(message.to_owned()));
    }
    let (before, after) = (side(&args.before)?, side(&args.after)?);
    let from = match args.last_month {
        true => Some(month_ago().to_string()),
        false => args.from.clone(),
    };
    let api = Api::reach(&args.reach)?;
    let mut models: Vec<Value> = Vec::new();
    let mut cursor = Value::Null;
    let mut answer = loop {
        let asked = json!({
            "before": before, "after": after, "from": from, "to": args.to, "cursor": cursor,
        });
        let mut page = api.post("/api/v1/prices/diff", &asked)?;
        for model in page["models"].as_array_mut().into_iter().flatten() {
            add(&mut models, model.take(), &["provider", "model"])?;
        }
        cursor = page["next_cursor"].take();
        if cursor.is_null() {
            break page;
        }
    };
    answer["models"] = Value::Array(models);
    if args.reach.json {
        print_json(&answer);
        return Ok(());
    }
    let list = |member: &str| answer[member].as_array().map_or(&[][..], Vec::as_slice);
    if answer["provider"] == "*" {
        super::diff::show_rules(list("rules"));
    } else {
        print_items(list("items"), &CHANGES, false, "No price differs.");
    }
    if from.is_some() || args.to.is_some() {
        show_models(list("models"));
    }
    Ok(())
}

fn month_ago() -> Timestamp {
    Timestamp::from_millis(now().as_millis() - MONTH_DAYS * 24 * 3_600_000)
}

/// A card's text, or the word that stands for one.
fn side(path: &Path) -> Outcome<Value> {
    if path.is_file() {
        return Ok(bodies(&[path.to_owned()])?.pop().unwrap_or_default());
    }
    Ok(json!(path_segment(&path.to_string_lossy())))
}

/// Adds a page's sums to those before it; amounts are exact.
pub(crate) fn add(sums: &mut Vec<Value>, by: Value, keys: &[&str]) -> Outcome {
    let is_same = |sum: &Value| keys.iter().all(|key| sum[*key] == by[*key]);
    let Some(sum) = sums.iter_mut().find(|sum| is_same(sum)) else {
        sums.push(by);
        return Ok(());
    };
    let unreadable = || Failure::Missing("the collector answered with no amounts".to_owned());
    for (name, value) in by.as_object().into_iter().flatten() {
        if keys.contains(&name.as_str()) {
            continue;
        }
        let grown = match (&sum[name], value) {
            (Value::String(sum), Value::String(by)) => {
                let amount = |text: &str| text.parse::<Usd>().map_err(|_| unreadable());
                json!(
                    amount(sum)?
                        .checked_add(amount(by)?)
                        .ok_or_else(unreadable)?
                )
            }
            (Value::Number(sum), Value::Number(by)) => {
                json!(sum.as_i64().unwrap_or_default() + by.as_i64().unwrap_or_default())
            }
            (_, by) => by.clone(),
        };
        sum[name] = grown;
    }
    Ok(())
}

fn show_models(models: &[Value]) {
    let mut table = Table::new(&[
        ("PROVIDER", Left),
        ("MODEL", Left),
        ("EVENTS", Right),
        ("COST BEFORE", Right),
        ("COST AFTER", Right),
        ("BILLED BEFORE", Right),
        ("BILLED AFTER", Right),
        ("UNPRICED", Right),
    ]);
    let members = [
        "provider",
        "model",
        "events",
        "cost_usd_before",
        "cost_usd_after",
        "billed_usd_before",
        "billed_usd_after",
        "unpriced_events",
    ];
    for model in models {
        table.row(members.map(|member| cell(model.get(member))));
    }
    if table.is_empty() {
        say("No event was priced then.");
    } else {
        say(table.for_terminal().trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_up_by_what_they_are_of_and_exactly() {
        let mut sums = Vec::new();
        let page = |model: &str, events: u64, usd: &str| json!({"provider": "p", "model": model, "events": events, "cost_usd_before": usd});
        for one in [
            page("a", 2, "0.000000000001"),
            page("b", 1, "1"),
            page("a", 3, "123456789.1"),
        ] {
            add(&mut sums, one, &["provider", "model"]).unwrap();
        }
        assert_eq!(
            sums,
            [page("a", 5, "123456789.100000000001"), page("b", 1, "1")]
        );
        let broken = add(&mut sums, page("a", 1, "x"), &["provider", "model"]);
        assert!(broken.is_err());
    }
}
