//! Every count of tokens in every recorded answer, in turn made into what is no count: the row has to say
//! that something is wrong with it.

use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{UsageDraft, UsageSource};
use serde_json::{Value, json};

use crate::readers::read;
use crate::seeds::{Exchange, exchanges};

/// Pointers to the counts in a JSON text.
fn counts(value: &Value, at: &str, found: &mut Vec<String>) {
    let is_of_tokens = ["_tokens", "_token_count", "Tokens", "TokenCount"]
        .iter()
        .any(|end| at.ends_with(end));
    match value {
        Value::Number(_) if is_of_tokens => found.push(at.to_owned()),
        Value::Object(members) => {
            for (name, member) in members {
                counts(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                counts(item, &format!("{at}/{place}"), found);
            }
        }
        _ => {}
    }
}

fn total(draft: &UsageDraft) -> Decimal {
    let lines = draft.lines.iter().flat_map(|line| line.usage.iter());
    Decimal::checked_sum(lines.map(|(_, quantity)| quantity)).unwrap()
}

/// The answer's JSON texts, each with what stands before it: the whole, or the lines of a stream.
fn texts(answer: &str) -> Vec<(&str, Option<Value>)> {
    if let Ok(whole) = serde_json::from_str(answer) {
        return vec![("", Some(whole))];
    }
    let lines = answer.split('\n');
    lines
        .map(|line| match line.find('{').map(|at| line.split_at(at)) {
            Some((start, text)) => match serde_json::from_str(text.trim_end()) {
                Ok(value) => (start, Some(value)),
                Err(_) => (line, None),
            },
            None => (line, None),
        })
        .collect()
}

/// What was done in silence, by case, count and damage.
fn silent(exchange: &Exchange) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(answer) = std::str::from_utf8(&exchange.answer) else {
        return found;
    };
    let (_, whole) = read(exchange, &exchange.request, &[answer.as_bytes()]);
    if whole.source != UsageSource::Reported {
        return found;
    }
    let texts = texts(answer);
    let beyond: Value = serde_json::from_str("1e30").unwrap();
    for (place, (_, value)) in texts.iter().enumerate() {
        let Some(value) = value else { continue };
        let mut pointers = Vec::new();
        counts(value, "", &mut pointers);
        for pointer in pointers {
            for damage in [
                json!("x"),
                json!({}),
                json!([]),
                json!(true),
                beyond.clone(),
            ] {
                let mut bad = value.clone();
                *bad.pointer_mut(&pointer).unwrap() = damage.clone();
                let lines: Vec<String> = texts
                    .iter()
                    .enumerate()
                    .map(|(at, (start, value))| match value {
                        Some(_) if at == place => format!("{start}{bad}"),
                        Some(value) => format!("{start}{value}"),
                        None => (*start).to_owned(),
                    })
                    .collect();
                let answer = lines.join("\n");
                let (_, draft) = read(exchange, &exchange.request, &[answer.as_bytes()]);
                let is_told = draft.source != UsageSource::Reported || draft.reason != whole.reason;
                if !is_told && total(&draft) != total(&whole) {
                    found.push(format!("{} {pointer} {damage}", exchange.case));
                }
            }
        }
    }
    found
}

#[test]
fn no_damaged_count_is_silently_less() {
    let exchanges = exchanges();
    let found: Vec<String> = exchanges.iter().flat_map(silent).collect();
    assert!(found.is_empty(), "{} {found:#?}", found.len());
}
