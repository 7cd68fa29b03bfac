//! What changed between two files of selling rules, rule by rule.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::file::{Allowance, Rule, SellingFile};

/// A rule or an allowance that is not as before, as its members but its name and its note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// Its name.
    pub rule: String,
    /// Whether it is an allowance.
    pub is_allowance: bool,
    /// As it was; `None`: it was not there.
    pub before: Option<Value>,
    /// As it is; `None`: it is gone.
    pub after: Option<Value>,
}

/// Rules by name, then allowances; a note alone is no change.
#[must_use]
pub fn diff_selling(before: &SellingFile, after: &SellingFile) -> Vec<RuleChange> {
    let (was, is) = (members(before), members(after));
    let mut names: Vec<_> = was.keys().chain(is.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|place| RuleChange {
            rule: place.1.clone(),
            is_allowance: place.0,
            before: was.get(place).cloned(),
            after: is.get(place).cloned(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

fn members(file: &SellingFile) -> BTreeMap<(bool, String), Value> {
    let rules = file
        .rules
        .iter()
        .map(|rule: &Rule| ((false, rule.rule.clone()), said(rule, "rule")));
    let allowances = file.allowances.iter().map(|allowance: &Allowance| {
        let name = allowance.allowance.clone();
        ((true, name), said(allowance, "allowance"))
    });
    rules.chain(allowances).collect()
}

fn said(what: &impl Serialize, name: &str) -> Value {
    let mut value = serde_json::to_value(what).expect("a rule is JSON by its form");
    if let Some(members) = value.as_object_mut() {
        members.remove(name);
        members.remove("note");
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::SellingRules;
    use super::*;

    #[test]
    fn rules_that_came_went_or_changed_are_told_and_notes_are_not() {
        let file = |rules: Value, allowances: Value| {
            let file =
                json!({"schema": 1, "kind": "price", "rules": rules, "allowances": allowances});
            SellingRules::from_json(&file.to_string()).unwrap().file()
        };
        let before = file(
            json!([{"rule": "all", "markup": "1.2"}, {"rule": "gone", "plan": "pro", "markup": "1"},
                {"rule": "same", "tenant": "acme", "markup": "1.10"}]),
            json!([{"allowance": "included", "plan": "pro", "usd": "5"}]),
        );
        let after = file(
            json!([{"rule": "same", "tenant": "acme", "markup": "1.1", "note": "asked for"},
                {"rule": "all", "markup": "1.25"},
                {"rule": "new", "provider": "openai", "meters": ["output_tokens"], "usd": "20", "per": "1000000"}]),
            json!([{"allowance": "included", "plan": "pro", "usd": "6"}]),
        );
        assert_eq!(diff_selling(&before, &before), []);
        let told: Vec<_> = diff_selling(&before, &after)
            .into_iter()
            .map(|change| {
                (
                    change.rule,
                    change.is_allowance,
                    change.before,
                    change.after,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    "all".to_owned(),
                    false,
                    Some(json!({"markup": "1.2"})),
                    Some(json!({"markup": "1.25"}))
                ),
                (
                    "gone".to_owned(),
                    false,
                    Some(json!({"plan": "pro", "markup": "1"})),
                    None
                ),
                (
                    "new".to_owned(),
                    false,
                    None,
                    Some(
                        json!({"provider": "openai", "meters": ["output_tokens"], "usd": "20", "per": "1000000"})
                    ),
                ),
                (
                    "included".to_owned(),
                    true,
                    Some(json!({"plan": "pro", "usd": "5"})),
                    Some(json!({"plan": "pro", "usd": "6"})),
                ),
            ]
        );
    }
}
