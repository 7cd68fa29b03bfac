//! `farebox spool`: the proxy's spool directory, safe beside a running proxy.

use std::path::PathBuf;

use farebox_pricing::time::Timestamp;
use farebox_proxy::spool::{self, Selection};
use serde_json::{Value, json};

use super::{Column, print_item, print_items, print_json};
use crate::args::{SpoolDir, SpoolVerb, Which};
use crate::config;
use crate::data_dir::DataDir;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 5] = [
    ("SET ASIDE", Left, "set_aside_at"),
    ("EVENT", Left, "event_id"),
    ("EPOCH", Right, "epoch"),
    ("SEQ", Right, "seq"),
    ("REASON", Left, "reason"),
];

pub(crate) fn run(verb: &SpoolVerb) -> Outcome {
    match verb {
        SpoolVerb::Stats(args) => stats(args),
        SpoolVerb::ListFailed(args) => list_failed(args),
        SpoolVerb::Requeue { which, spool } => {
            let dir = directory(spool)?;
            let count = spool::requeue(&dir, &selection(which))
                .map_err(|error| Failure::missing(dir.display(), error))?;
            report(count, "to be shipped again", spool.json);
            Ok(())
        }
        SpoolVerb::Purge { which, spool } => {
            let dir = directory(spool)?;
            let count = spool::purge(&dir, &selection(which))
                .map_err(|error| Failure::missing(dir.display(), error))?;
            report(count, "deleted", spool.json);
            Ok(())
        }
    }
}

fn stats(args: &SpoolDir) -> Outcome {
    let dir = directory(args)?;
    let stats = spool::inspect(&dir).map_err(|error| Failure::missing(dir.display(), error))?;
    let mut stats =
        serde_json::to_value(stats).map_err(|error| Failure::missing(dir.display(), error))?;
    if let Value::Object(members) = &mut stats {
        members.insert("dir".to_owned(), json!(dir));
        let oldest = members.remove("oldest_started_ms");
        let oldest = oldest.as_ref().and_then(Value::as_i64).map(time_text);
        members.insert("oldest_started_at".to_owned(), json!(oldest));
    }
    print_item(&stats, args.json);
    Ok(())
}

fn list_failed(args: &SpoolDir) -> Outcome {
    let dir = directory(args)?;
    let records =
        spool::list_failed(&dir).map_err(|error| Failure::missing(dir.display(), error))?;
    let items: Vec<Value> = records
        .into_iter()
        .map(|record| {
            json!({
                "set_aside_at": i64::try_from(record.set_aside_ms).ok().map(time_text),
                "event_id": record.event_id,
                "epoch": record.epoch,
                "seq": record.seq,
                "reason": record.reason,
                "receipt": record.receipt,
                "record": record.record,
            })
        })
        .collect();
    print_items(&items, &COLUMNS, args.json, "Nothing was set aside.");
    Ok(())
}

fn time_text(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

fn report(count: usize, what: &str, is_json: bool) {
    if is_json {
        print_json(&json!({ "records": count }));
    } else {
        say(&format!("{count} records {what}"));
    }
}

fn selection(which: &Which) -> Selection {
    if which.all {
        Selection::All
    } else {
        Selection::Events(which.events.clone())
    }
}

fn directory(args: &SpoolDir) -> Outcome<PathBuf> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let settings =
                config::load(args.config.as_deref(), &crate::roles::built_in_upstreams())?;
            match settings.spool.dir {
                Some(dir) => dir,
                None => {
                    DataDir::resolve(args.data_dir.data_dir.as_deref(), "farebox")?.join("spool")
                }
            }
        }
    };
    if dir.is_dir() {
        Ok(dir)
    } else {
        Err(Failure::Missing(format!(
            "{}: there is no spool",
            dir.display()
        )))
    }
}
