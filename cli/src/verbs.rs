//! The verbs that are clients: of the collector's API, and of the spool's directory.

pub(crate) mod ingest_token;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod spool;
pub(crate) mod tenant;
pub(crate) mod usage;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::{Align, Table};

/// Most items a verb lists.
const ITEMS_MAX: usize = 100_000;

/// A column: its heading, how it stands, and the member that fills it.
type Column = (&'static str, Align, &'static str);

/// Prints items as JSON, or as a table of those columns.
fn print_items(items: &[Value], columns: &[Column], is_json: bool, none: &str) {
    if is_json {
        print_json(&json!({ "items": items }));
        return;
    }
    let headings: Vec<(&'static str, Align)> = columns
        .iter()
        .map(|(name, align, _)| (*name, *align))
        .collect();
    let mut table = Table::new(&headings);
    for item in items {
        table.row(columns.iter().map(|(_, _, member)| cell(item.get(*member))));
    }
    if table.is_empty() {
        eprintln!("{none}");
    } else {
        say(table.for_terminal().trim_end());
    }
}

/// Prints one object as JSON, or its members one a line.
fn print_item(item: &Value, is_json: bool) {
    if is_json {
        print_json(item);
        return;
    }
    let Some(members) = item.as_object() else {
        return;
    };
    let width = members.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in members {
        say(&format!("{name:width$}  {}", cell(Some(value))));
    }
}

fn print_json(value: &Value) {
    say(&format!("{value:#}"));
}

/// A value as people read it.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| cell(Some(item))).collect();
            items.join(",")
        }
        Some(Value::Object(members)) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name}={}", cell(Some(value))))
                .collect();
            members.join(" ")
        }
        Some(value) => value.to_string(),
    }
}

/// Hands a secret over, once: into a new file of the owner's alone, or onto the terminal.
fn hand_over(secret: &str, out: Option<&Path>) -> Outcome {
    let Some(path) = out else {
        say(secret);
        return Ok(());
    };
    let write = || {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{secret}")?;
        file.sync_all()
    };
    write().map_err(|error| Failure::missing(path.display(), error))
}

/// Refuses a file that is there already, before anything is issued that could then not be kept.
fn refuse_existing(out: Option<&Path>) -> Outcome {
    match out {
        Some(path) if path.symlink_metadata().is_ok() => Err(Failure::Usage(format!(
            "{} exists and is not overwritten",
            path.display()
        ))),
        Some(path) => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            if dir.is_none_or(Path::is_dir) {
                return Ok(());
            }
            Err(Failure::Usage(format!(
                "{}: there is no such directory",
                path.display()
            )))
        }
        None => Ok(()),
    }
}
