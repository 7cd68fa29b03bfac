//! `farebox key rotate` and `farebox key audit`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::hand_over_key;
use crate::api::{Api, path_segment};
use crate::args::Reach;
use crate::failure::{Failure, Outcome};
use crate::table::Align::Left;
use crate::verbs::{Column, ITEMS_MAX, print_items, refuse_existing};

const COLUMNS: [Column; 5] = [
    ("PREFIX", Left, "prefix"),
    ("NAME", Left, "name"),
    ("TENANT", Left, "tenant_id"),
    ("RULE", Left, "rule"),
    ("WHY", Left, "message"),
];

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["out", "reveal"]))]
pub(crate) struct RotateArgs {
    /// The old key's visible prefix or its id.
    #[arg(value_name = "PREFIX-OR-ID")]
    key: String,
    /// How long the old key still works, such as 90s, 30m, 24h or 7d; 0 revokes it at once.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    overlap: String,
    /// When the new key stops working, RFC 3339 [default: as long after now as the old one was given].
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Write the secret to this new file, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the secret on the terminal.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only this tenant's keys.
    #[arg(long)]
    tenant: Option<String>,
    /// An allow-list that every key has to have: upstreams, models, projects or networks. May be
    /// repeated.
    #[arg(long, value_name = "LIST")]
    require: Vec<String>,
    /// A rule that is not looked at. May be repeated.
    #[arg(long, value_name = "RULE")]
    ignore: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn rotate(args: &RotateArgs) -> Outcome {
    refuse_existing(args.out.as_deref())?;
    let mut body = Map::new();
    body.insert("overlap_seconds".to_owned(), json!(seconds(&args.overlap)?));
    if let Some(expires_at) = &args.expires_at {
        body.insert("expires_at".to_owned(), json!(expires_at));
    }
    let path = format!("/api/v1/keys/{}/rotate", path_segment(&args.key));
    let key = Api::reach(&args.reach)?.post(&path, &Value::Object(body))?;
    hand_over_key(key, args.out.as_deref(), args.reach.json)
}

/// Exit 1 when a key breaks a rule, so that a deployment can stop there.
pub(super) fn audit(args: &AuditArgs) -> Outcome {
    let required = args.require.join(",");
    let mut query: Vec<(&str, &str)> = Vec::new();
    if let Some(tenant) = &args.tenant {
        query.push(("tenant", tenant));
    }
    if !required.is_empty() {
        query.push(("require", &required));
    }
    let mut found = Api::reach(&args.reach)?.list("/api/v1/keys/audit", &query, ITEMS_MAX)?;
    found.retain(|finding| {
        let rule = finding
            .get("rule")
            .and_then(Value::as_str)
            .unwrap_or_default();
        !args.ignore.iter().any(|ignored| ignored == rule)
    });
    print_items(&found, &COLUMNS, &args.reach, "Every key keeps the rules.");
    match found.len() {
        0 => Ok(()),
        1 => Err(Failure::No("one rule is broken".to_owned())),
        count => Err(Failure::No(format!("{count} rules are broken"))),
    }
}

/// `90s`, `30m`, `24h`, `7d`, or seconds alone.
fn seconds(text: &str) -> Outcome<i64> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let each = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 1,
    };
    let is_digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = number.parse::<i64>().ok().filter(|_| is_digits);
    seconds
        .and_then(|number| number.checked_mul(each))
        .ok_or_else(|| Failure::Usage(format!("--overlap {text}: write 90s, 30m, 24h or 7d")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_a_number_and_its_unit() {
        let check = |text: &str, expected| assert_eq!(seconds(text).ok(), expected, "{text}");
        check("90s", Some(90));
        check("0", Some(0));
        check("24h", Some(86_400));
        check("7d", Some(604_800));
        for wrong in [
            "",
            "h",
            "-1h",
            "1w",
            "1.5h",
            "99999999999999999999",
            "9223372036854775807d",
        ] {
            check(wrong, None);
        }
    }
}
