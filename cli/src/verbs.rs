//! The verbs that are clients: of the collector's API, and of the spool's directory.

pub(crate) mod apply;
pub(crate) mod credential;
pub(crate) mod customer;
pub(crate) mod export;
pub(crate) mod ingest_token;
pub(crate) mod invoice;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod reconcile;
pub(crate) mod reprice;
pub(crate) mod reread;
pub(crate) mod retag;
pub(crate) mod runs;
pub(crate) mod spool;
pub(crate) mod tenant;
pub(crate) mod trace;
pub(crate) mod usage;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use farebox_collector::csv::push_cell;
use serde_json::{Value, json};

use crate::args::Reach;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::{Align, Table};

/// Most items a verb lists.
pub(crate) const ITEMS_MAX: usize = 100_000;

/// A column: its heading, how it stands, and the member that fills it.
pub(crate) type Column = (&'static str, Align, &'static str);

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: a table that fits the terminal.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets: the table's columns, whole, under the members' names.
    Csv,
}

impl From<&Reach> for Form {
    fn from(reach: &Reach) -> Self {
        match (reach.json, reach.csv) {
            (true, _) => Self::Json,
            (_, true) => Self::Csv,
            _ => Self::Table,
        }
    }
}

impl From<bool> for Form {
    fn from(is_json: bool) -> Self {
        match is_json {
            true => Self::Json,
            false => Self::Table,
        }
    }
}

/// Prints items in their form; a table and CSV have those columns.
pub(crate) fn print_items(items: &[Value], columns: &[Column], form: impl Into<Form>, none: &str) {
    match form.into() {
        Form::Json => print_json(&json!({ "items": items })),
        Form::Csv => print_csv(items, columns.iter().map(|(_, _, member)| *member)),
        Form::Table => {
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
    }
}

/// Prints one object: as JSON, as a line of CSV under its names, or its members one a line.
pub(crate) fn print_item(item: &Value, form: impl Into<Form>) {
    let Some(members) = item.as_object() else {
        return print_json(item);
    };
    match form.into() {
        Form::Json => print_json(item),
        Form::Csv => print_csv(
            std::slice::from_ref(item),
            members.keys().map(String::as_str),
        ),
        Form::Table => {
            let width = members.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in members {
                say(&format!("{name:width$}  {}", cell(Some(value))));
            }
        }
    }
}

/// A heading line and a line an item; null is nothing, what is no text stands as JSON.
fn print_csv<'a>(items: &[Value], members: impl Iterator<Item = &'a str>) {
    let members: Vec<&str> = members.collect();
    let mut text = members.join(",");
    for item in items {
        for (index, member) in members.iter().enumerate() {
            text.push(if index > 0 { ',' } else { '\n' });
            match item.get(*member) {
                None | Some(Value::Null) => {}
                Some(Value::String(cell)) => push_cell(&mut text, cell),
                Some(other) => push_cell(&mut text, &other.to_string()),
            }
        }
    }
    say(&text);
}

/// Parameters that were given.
fn query<'a>(
    asked: impl IntoIterator<Item = (&'static str, &'a Option<String>)>,
) -> Vec<(&'static str, &'a str)> {
    asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect()
}

pub(crate) fn print_json(value: &Value) {
    say(&format!("{value:#}"));
}

/// A value as people read it.
pub(crate) fn cell(value: Option<&Value>) -> String {
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
pub(crate) fn hand_over(secret: &str, out: Option<&Path>) -> Outcome {
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
pub(crate) fn refuse_existing(out: Option<&Path>) -> Outcome {
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
