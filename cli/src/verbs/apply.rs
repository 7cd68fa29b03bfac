//! `farebox apply`: makes so what one file declares, all of it or nothing.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{cell, print_json};
use crate::api::Api;
use crate::args::Reach;
use crate::failure::{Failure, Outcome};
use crate::say::say;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file, TOML or JSON; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &ApplyArgs) -> Outcome {
    let mut document = read(&args.file)?;
    if args.dry_run {
        document.insert("dry_run".to_owned(), json!(true));
    }
    let done = Api::reach(&args.reach)?.post("/api/v1/apply", &Value::Object(document))?;
    if args.reach.json {
        print_json(&done);
        return Ok(());
    }
    let changes = done.get("changes").and_then(Value::as_array);
    let changes: Vec<&Value> = changes.into_iter().flatten().collect();
    for change in &changes {
        for line in lines_of(change) {
            say(&line);
        }
    }
    let so = if args.dry_run {
        "would change"
    } else {
        "changed"
    };
    let unchanged = cell(done.get("unchanged"));
    say(&format!("{} {so}, {unchanged} unchanged", changes.len()));
    Ok(())
}

/// A line for the thing, and one for each member that differs.
fn lines_of(change: &Value) -> Vec<String> {
    let is_new = change.get("before").is_none_or(Value::is_null);
    let sign = if is_new { '+' } else { '~' };
    let mut lines = vec![format!(
        "{sign} {} {}",
        cell(change.get("kind")),
        cell(change.get("id"))
    )];
    let nothing = Map::new();
    let member = |name: &str| {
        change
            .get(name)
            .and_then(Value::as_object)
            .unwrap_or(&nothing)
    };
    let (before, after) = (member("before"), member("after"));
    for (name, value) in after {
        let was = before.get(name);
        if was == Some(value) || (was.is_none() && value.is_null()) {
            continue;
        }
        lines.push(match is_new {
            true => format!("    {name} = {}", cell(Some(value))),
            false => format!("    {name}: {} -> {}", cell(was), cell(Some(value))),
        });
    }
    lines
}

fn read(file: &Path) -> Outcome<Map<String, Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::missing("standard input", error))?;
        text
    } else {
        std::fs::read_to_string(file).map_err(|error| Failure::missing(file.display(), error))?
    };
    parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", file.display())))
}

/// JSON begins with a brace, TOML never does.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    table
        .into_iter()
        .map(|(name, value)| Ok((name, as_json(value)?)))
        .collect()
}

/// Amounts are exact: a number with a point is written as a string.
fn as_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Boolean(is_so) => json!(is_so),
        toml::Value::Datetime(at) => json!(at.to_string()),
        toml::Value::Float(_) => {
            return Err(
                "an amount with a point is written as a string, so that it stays exact".to_owned(),
            );
        }
        toml::Value::Array(values) => {
            Value::Array(values.into_iter().map(as_json).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(name, value)| Ok((name, as_json(value)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml =
            "[tenants.acme]\nplan = \"gold\"\n[[limits]]\nmeter = \"requests\"\namount = 60\n";
        let json =
            r#"{"tenants":{"acme":{"plan":"gold"}},"limits":[{"meter":"requests","amount":60}]}"#;
        assert_eq!(parse(toml), parse(json));
        assert!(parse("[[limits]]\namount = 0.1\n").is_err());
        assert!(parse("not = [").is_err());
    }

    #[test]
    fn a_change_shows_what_differs() {
        let change = json!({
            "kind": "tenant", "id": "acme",
            "before": {"plan": null, "status": "active"}, "after": {"plan": "gold", "status": "active"},
        });
        assert_eq!(lines_of(&change), ["~ tenant acme", "    plan: – -> gold"]);
        let made = json!({"kind": "tenant", "id": "acme", "before": null, "after": {"plan": "gold", "name": null}});
        assert_eq!(lines_of(&made), ["+ tenant acme", "    plan = gold"]);
    }
}
