//! `farebox key`.

pub(crate) mod rotate;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Column, ITEMS_MAX, hand_over, print_item, print_items, refuse_existing};
use crate::api::{Api, path_segment};
use crate::args::{Environment, IssueArgs, KeyVerb, RevokeStreams};
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::Left;

const COLUMNS: [Column; 10] = [
    ("PREFIX", Left, "prefix"),
    ("NAME", Left, "name"),
    ("TENANT", Left, "tenant_id"),
    ("MAY ATTRIBUTE", Left, "may_attribute"),
    ("SCOPES", Left, "scopes"),
    ("ENV", Left, "environment"),
    ("EXPIRES", Left, "expires_at"),
    ("REVOKED", Left, "revoked_at"),
    ("LAST USED", Left, "last_used_at"),
    ("", Left, "badge"),
];

pub(crate) fn run(verb: &KeyVerb) -> Outcome {
    match verb {
        KeyVerb::Issue(args) => issue(args),
        KeyVerb::List {
            tenant,
            revoked,
            stale,
            reach,
        } => {
            let mut query: Vec<(&str, &str)> = tenant
                .iter()
                .map(|tenant| ("tenant", tenant.as_str()))
                .collect();
            if *revoked {
                query.push(("revoked", "true"));
            }
            let mut items = Api::reach(reach)?.list("/api/v1/keys", &query, ITEMS_MAX)?;
            if *stale {
                items.retain(is_stale);
            }
            if !reach.json && !reach.csv {
                items.iter_mut().for_each(add_badge);
            }
            print_items(&items, &COLUMNS, reach, "There is no key yet.");
            Ok(())
        }
        KeyVerb::Revoke { key, reach } => {
            let path = format!("/api/v1/keys/{}", path_segment(key));
            print_item(&Api::reach(reach)?.delete(&path)?, reach);
            Ok(())
        }
        KeyVerb::Rotate(args) => rotate::rotate(args),
        KeyVerb::Audit(args) => rotate::audit(args),
    }
}

fn is_stale(key: &Value) -> bool {
    key.get("is_stale").and_then(Value::as_bool) == Some(true)
}

/// What a reader of the list should not miss.
fn add_badge(key: &mut Value) {
    let badge = if is_stale(key) { "stale" } else { "" };
    key["badge"] = json!(badge);
}

fn issue(args: &IssueArgs) -> Outcome {
    refuse_existing(args.out.as_deref())?;
    let key = Api::reach(&args.reach)?.post("/api/v1/keys", &body(args)?)?;
    hand_over_key(key, args.out.as_deref(), args.reach.json)
}

/// Hands the secret of a new key over and says where it went.
fn hand_over_key(mut key: Value, out: Option<&Path>, is_json: bool) -> Outcome {
    let secret = key
        .as_object_mut()
        .and_then(|members| members.remove("secret"));
    let secret = secret
        .as_ref()
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::missing("/api/v1/keys", "the answer holds no key"))?;
    hand_over(secret, out)?;
    // What is kept of the key goes to standard error, so that the secret alone can be piped.
    let prefix = key
        .get("prefix")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match out {
        Some(path) if is_json => {
            super::print_json(&json!({"key": key, "out": path}));
        }
        Some(path) => say(&format!(
            "{prefix}… is in {}; it is shown nowhere again",
            path.display()
        )),
        None => eprintln!("{prefix}… is shown this once"),
    }
    Ok(())
}

fn body(args: &IssueArgs) -> Outcome<Value> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    set("name", json!(args.name));
    if let Some(tenant) = &args.tenant {
        set("tenant_id", json!(tenant));
    }
    let (rule, values) = may_attribute(&args.may_attribute)?;
    set("may_attribute", json!(rule));
    if !values.is_empty() {
        set("may_attribute_values", json!(values));
    }
    if !args.scopes.is_empty() {
        set("scopes", json!(args.scopes));
    }
    set(
        "environment",
        json!(match args.environment {
            Environment::Live => "live",
            Environment::Test => "test",
        }),
    );
    set("own_credential", json!(args.own_credential));
    for (name, values) in [
        ("allowed_upstreams", &args.allowed_upstreams),
        ("allowed_models", &args.allowed_models),
        ("allowed_projects", &args.allowed_projects),
        ("allowed_tools", &args.allowed_tools),
        ("networks", &args.networks),
    ] {
        if !values.is_empty() {
            set(name, json!(values));
        }
    }
    if let Some(days) = args.stale_after_days {
        set("stale_after_days", json!(days));
    }
    if let Some(expires_at) = &args.expires_at {
        set("expires_at", json!(expires_at));
    }
    set(
        "revoke_streams",
        json!(match args.revoke_streams {
            RevokeStreams::Cut => "cut",
            RevokeStreams::Finish => "finish",
        }),
    );
    Ok(Value::Object(body))
}

/// `none`, `any`, `prefix:P` or `list:a,b`.
fn may_attribute(rule: &str) -> Outcome<(&str, Vec<&str>)> {
    match rule.split_once(':') {
        None if matches!(rule, "none" | "any") => Ok((rule, Vec::new())),
        Some(("prefix", prefix)) if !prefix.is_empty() => Ok(("prefix", vec![prefix])),
        Some(("list", list)) if list.split(',').all(|item| !item.is_empty()) => {
            Ok(("list", list.split(',').collect()))
        }
        _ => Err(Failure::Usage(format!(
            "--may-attribute {rule}: write none, any, prefix:P or list:a,b"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_rule_of_attribution_and_nothing_else() {
        let check = |rule: &str, expected: Option<(&str, &[&str])>| {
            let read = may_attribute(rule).ok();
            assert_eq!(
                read.as_ref()
                    .map(|(rule, values)| (*rule, values.as_slice())),
                expected,
                "{rule}"
            );
        };
        check("none", Some(("none", &[])));
        check("any", Some(("any", &[])));
        check("prefix:eu-", Some(("prefix", &["eu-"])));
        check("list:a,b", Some(("list", &["a", "b"])));
        check("list:a,,b", None);
        check("prefix:", None);
        check("all", None);
    }
}
