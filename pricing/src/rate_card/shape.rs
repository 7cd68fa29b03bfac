//! The form of a card before anything is made of it: members, their kinds, and what is missing.
//!
//! serde stops at the first mistake; a person who mends a card wants all of them, with their paths.

use serde_json::{Map, Value};

use super::InvalidCard;
use crate::money::Decimal;
use crate::usage::Meter;

/// Most problems told of one card; behind them it is no card.
const PROBLEMS_MAX: usize = 200;

/// What a member is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Integer,
    Text,
    /// A decimal in a string: a JSON number may have passed through a float.
    Amount,
    Meter,
    Texts,
    Meters,
    /// Conditions: texts by name.
    When,
    TextsByName,
    MetersByName,
    One(Members),
    Many(Members),
}

pub(super) type Members = &'static [Member];

pub(super) struct Member {
    name: &'static str,
    is_needed: bool,
    kind: Kind,
}

pub(super) const fn needed(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        is_needed: true,
        kind,
    }
}

pub(super) const fn optional(name: &'static str, kind: Kind) -> Member {
    Member {
        name,
        is_needed: false,
        kind,
    }
}

const CARD: Members = &[
    needed("schema", Kind::Integer),
    needed("provider", Kind::Text),
    optional("notes", Kind::Texts),
    optional("base_values", Kind::TextsByName),
    optional(
        "synonyms",
        Kind::Many(&[needed("said", Kind::Text), needed("means", Kind::Text)]),
    ),
    optional("groups", Kind::MetersByName),
    optional(
        "fallbacks",
        Kind::Many(&[needed("meter", Kind::Meter), needed("rate_of", Kind::Meter)]),
    ),
    optional("neutral_conditions", Kind::Texts),
    optional("name_prefixes", Kind::Texts),
    optional("name_suffixes", Kind::Texts),
    optional("never_reduced", Kind::Texts),
    optional(
        "fallback_cards",
        Kind::Many(&[
            needed("provider", Kind::Text),
            needed("revision", Kind::Text),
        ]),
    ),
    optional(
        "credit_prices",
        Kind::Many(&[
            needed("usd", Kind::Amount),
            needed("per", Kind::Amount),
            optional("when", Kind::When),
            needed("source", Kind::Text),
            needed("checked", Kind::Text),
            optional("note", Kind::Text),
        ]),
    ),
    optional(
        "authoritative",
        Kind::One(&[
            needed("meter", Kind::Meter),
            needed("unit", Kind::Text),
            needed("usd", Kind::Amount),
            needed("per", Kind::Amount),
            needed("source", Kind::Text),
            needed("checked", Kind::Text),
        ]),
    ),
    needed(
        "models",
        Kind::Many(&[
            needed("model", Kind::Text),
            optional("aliases", Kind::Texts),
            optional("patterns", Kind::Texts),
            needed(
                "revisions",
                Kind::Many(&[
                    optional("from", Kind::Text),
                    optional("base_values", Kind::TextsByName),
                    needed("rates", Kind::Many(RATE)),
                    optional("addons", Kind::Many(RATE)),
                    optional("factors", Kind::Many(FACTOR)),
                ]),
            ),
        ]),
    ),
];

const RATE: Members = &[
    needed("meter", Kind::Meter),
    optional("usd", Kind::Amount),
    optional("credits", Kind::Amount),
    needed("per", Kind::Amount),
    optional("round_up_to", Kind::Amount),
    optional("minimum", Kind::Amount),
    optional("when", Kind::When),
    needed("source", Kind::Text),
    needed("checked", Kind::Text),
    optional("note", Kind::Text),
];

const FACTOR: Members = &[
    needed("factor", Kind::Amount),
    needed("meters", Kind::Texts),
    needed("when", Kind::When),
    needed("source", Kind::Text),
    needed("checked", Kind::Text),
    optional("note", Kind::Text),
];

/// All mistakes of form, each with its path.
pub(super) fn check(card: &Value) -> Result<(), InvalidCard> {
    check_members(card, CARD, "rate card")
}

/// As [`check`], of what has these members.
pub(super) fn check_members(
    value: &Value,
    members: Members,
    what: &str,
) -> Result<(), InvalidCard> {
    let mut found = Vec::new();
    look(value, Kind::One(members), what, &mut found);
    if found.is_empty() {
        return Ok(());
    }
    found.truncate(PROBLEMS_MAX);
    Err(InvalidCard(found))
}

fn look(value: &Value, kind: Kind, path: &str, found: &mut Vec<String>) {
    if found.len() >= PROBLEMS_MAX {
        return;
    }
    let mut wrong = |what: &str| found.push(format!("{path}: {what}"));
    match (kind, value) {
        (Kind::Amount | Kind::Text | Kind::Meter, Value::Number(number)) => {
            wrong(&format!("{number} is a JSON number; write it as a string"));
        }
        (Kind::Amount, Value::String(text)) => {
            if let Err(reason) = text.parse::<Decimal>() {
                wrong(&format!("`{text}`: {reason}"));
            }
        }
        (Kind::Meter, Value::String(text)) => {
            if let Err(reason) = text.parse::<Meter>() {
                wrong(&format!("`{text}`: {reason}"));
            }
        }
        (Kind::Text, Value::String(_)) => {}
        (Kind::Integer, Value::Number(number)) if number.is_u64() => {}
        (Kind::Texts, Value::Array(items)) => each(items, Kind::Text, path, found),
        (Kind::Meters, Value::Array(items)) => each(items, Kind::Meter, path, found),
        (Kind::Many(members), Value::Array(items)) => each(items, Kind::One(members), path, found),
        (Kind::When, Value::Object(named)) => each_named(named, Kind::Text, path, found),
        (Kind::TextsByName, Value::Object(named)) => each_named(named, Kind::Texts, path, found),
        (Kind::MetersByName, Value::Object(named)) => each_named(named, Kind::Meters, path, found),
        (Kind::One(members), Value::Object(object)) => {
            look_at_members(object, members, path, found);
        }
        (Kind::Integer, _) => wrong("not a whole number"),
        (Kind::Text | Kind::Amount | Kind::Meter, _) => wrong("not a string"),
        (Kind::Texts | Kind::Meters | Kind::Many(_), _) => wrong("not a list"),
        (Kind::When | Kind::TextsByName | Kind::MetersByName | Kind::One(_), _) => {
            wrong("not an object");
        }
    }
}

fn look_at_members(
    object: &Map<String, Value>,
    members: Members,
    path: &str,
    found: &mut Vec<String>,
) {
    for name in object.keys() {
        if !members.iter().any(|member| member.name == name) {
            found.push(format!("{path}: unknown member `{name}`"));
        }
    }
    for member in members {
        match object.get(member.name) {
            Some(value) => {
                let path = format!("{path}.{}", member.name);
                look(value, member.kind, &path, found);
            }
            None if member.is_needed => {
                found.push(format!("{path}: `{}` is missing", member.name));
            }
            None => {}
        }
    }
}

fn each(items: &[Value], kind: Kind, path: &str, found: &mut Vec<String>) {
    for (index, item) in items.iter().enumerate() {
        // A model or a rule is easier found by its name than by its place.
        let named = ["rule", "allowance", "model"];
        let name = named.iter().find_map(|member| item.get(member)?.as_str());
        let path = match name {
            Some(name) => format!("{path}[{name}]"),
            None => format!("{path}[{index}]"),
        };
        look(item, kind, &path, found);
    }
}

fn each_named(named: &Map<String, Value>, kind: Kind, path: &str, found: &mut Vec<String>) {
    for (name, value) in named {
        look(value, kind, &format!("{path}.{name}"), found);
    }
}
