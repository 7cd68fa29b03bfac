//! `farebox reread`: today's readers over stored evidence, and what differs from what was booked.
//!
//! The quantities are read here; what they are worth, and what of it is booked already, the collector
//! says, which also books them.

use farebox_pricing::event::{EndpointKind, PaidBy};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::price;
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Line, UsageSource};
use farebox_proxy::providers::READER_VERSION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Column, Form, cell, print_items, print_json};
use crate::api::{Api, path_segment};
use crate::args::RereadArgs;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// Events asked for at a time; each carries its evidence.
const PAGE_EVENTS: &str = "200";
/// Corrected events in one request.
const BATCH_EVENTS: usize = 500;
/// The reason of a look that books nothing.
const LOOKING: &str = "dry run";
/// What moved for a tenant.
const MOVED: [Column; 6] = [
    ("TENANT", Left, "tenant_id"),
    ("MONTH", Left, "period"),
    ("CORRECTS", Left, "corrects"),
    ("EVENTS", Right, "events"),
    ("COST USD", Right, "cost_usd"),
    ("BILLED USD", Right, "billed_usd"),
];

/// What an event of the ledger says, as far as it is needed.
#[derive(Deserialize)]
struct Booked {
    event_id: String,
    tenant_id: Option<String>,
    provider: String,
    endpoint: EndpointKind,
    paid_by: PaidBy,
    started_at: Timestamp,
    ending: String,
    #[serde(default)]
    lines: Vec<Line>,
    usage_source: UsageSource,
    pricing: String,
    #[serde(default)]
    cost_usd: Option<String>,
    #[serde(default)]
    rate_cards: Option<Cards>,
    #[serde(default)]
    evidence: Option<Evidence>,
}

#[derive(Deserialize)]
struct Cards {
    cost: Option<String>,
}

/// An event that reads otherwise today.
struct Difference {
    event_id: String,
    tenant_id: Option<String>,
    provider: String,
    old: Reading,
    new: Reading,
}

struct Reading {
    source: UsageSource,
    lines: Vec<Line>,
    /// What the provider charges for it; `None` when that is not known.
    cost: Option<Decimal>,
}

/// What was looked at.
#[derive(Default)]
struct Report {
    events: u64,
    /// Without evidence, or without a reader of it.
    unreadable: u64,
    differences: Vec<Difference>,
}

pub(crate) fn run(args: &RereadArgs) -> Outcome {
    let api = Api::reach(&args.reach)?;
    let mut report = Report::default();
    for event in &args.events {
        let path = format!("/api/v1/events/{}", path_segment(&event.to_string()));
        report.look_at(&api.get(&path, &[])?)?;
    }
    if args.events.is_empty() {
        if let Some(tenant) = &args.tenant {
            // A tenant that nobody has seen is an answer, and it is no.
            api.get(&format!("/api/v1/tenants/{}", path_segment(tenant)), &[])?;
        }
        each_event(&api, args, |event| report.look_at(event))?;
    }
    // A look first, so that what is refused leaves nothing half booked.
    let mut answers = report.post(&api, args.reason.as_deref().unwrap_or(LOOKING), true)?;
    if args.commit {
        answers = report.post(&api, args.reason.as_deref().unwrap_or(LOOKING), false)?;
    }
    report.print(&answers, args);
    Ok(())
}

fn each_event(api: &Api, args: &RereadArgs, mut look: impl FnMut(&Value) -> Outcome) -> Outcome {
    let asked = [
        ("from", &args.from),
        ("to", &args.to),
        ("tenant", &args.tenant),
        ("provider", &args.provider),
    ];
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE_EVENTS)];
        query.extend(
            asked
                .iter()
                .filter_map(|(name, value)| Some((*name, value.as_deref()?))),
        );
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let page = api.get("/api/v1/events", &query)?;
        let events = page.get("items").and_then(Value::as_array);
        for event in events.into_iter().flatten() {
            look(event)?;
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

impl Report {
    fn look_at(&mut self, event: &Value) -> Outcome {
        // Read from its text: numbers keep theirs.
        let booked: Booked = serde_json::from_str(&event.to_string())
            .map_err(|error| Failure::missing("an event of the collector", error))?;
        self.events += 1;
        // A row that a crash made is no reading: its evidence may end anywhere.
        if booked.ending == "interrupted" {
            return Ok(());
        }
        let draft = booked.evidence.as_ref().and_then(|evidence| {
            farebox_proxy::reread::usage_of(&booked.provider, booked.endpoint, evidence)
        });
        let Some(draft) = draft else {
            self.unreadable += 1;
            return Ok(());
        };
        if draft.source == booked.usage_source && draft.lines == booked.lines {
            return Ok(());
        }
        let cost = booked.cost_of(draft.source, &draft.lines);
        self.differences.push(Difference {
            old: Reading {
                source: booked.usage_source,
                cost: amount(booked.cost_usd.as_deref()),
                lines: booked.lines,
            },
            new: Reading {
                source: draft.source,
                cost,
                lines: draft.lines,
            },
            event_id: booked.event_id,
            tenant_id: booked.tenant_id,
            provider: booked.provider,
        });
        Ok(())
    }

    /// Lets the collector price the corrected lines, and book them where it is no dry run.
    fn post(&self, api: &Api, reason: &str, is_dry: bool) -> Outcome<Vec<Value>> {
        let mut answers: Vec<Value> = Vec::new();
        for part in self.differences.chunks(BATCH_EVENTS) {
            let events: Vec<Value> = part.iter().map(Difference::corrected).collect();
            let mut body = json!({
                "kind": "reread", "reason": reason, "dry_run": is_dry, "events": events,
            });
            if let Some(first) = answers.first() {
                body["batch_id"] = first["batch_id"].clone();
            }
            answers.push(api.post("/api/v1/adjustments", &body)?);
        }
        Ok(answers)
    }

    fn print(&self, answers: &[Value], args: &RereadArgs) {
        let members = |name: &'static str| {
            let lists = answers
                .iter()
                .filter_map(move |answer| answer.get(name)?.as_array());
            lists.flatten().cloned()
        };
        let count = |name: &str| -> u64 {
            let counts = answers
                .iter()
                .filter_map(|answer| answer.get(name)?.as_u64());
            counts.sum()
        };
        let moved: Vec<Value> = members("moved").collect();
        let form = Form::from(&args.reach);
        if form == Form::Csv {
            print_items(&moved, &MOVED, form, "");
            return;
        }
        if form == Form::Json {
            let events: Vec<Value> = self.differences.iter().map(Difference::json).collect();
            print_json(&json!({
                "dry_run": !args.commit, "events_read": self.events,
                "events_unreadable": self.unreadable, "events_different": events.len(),
                "batch_id": answers.first().map(|answer| answer["batch_id"].clone()),
                "changed": count("changed"), "adjustments": count("adjustments"),
                "moved": moved, "skipped": members("skipped").collect::<Vec<_>>(),
                "events": events,
            }));
            return;
        }
        eprintln!(
            "{} events read, {} of them without evidence that a reader knows; {} read otherwise today, {} are to be corrected.",
            self.events,
            self.unreadable,
            self.differences.len(),
            count("changed")
        );
        if self.differences.is_empty() {
            return;
        }
        let mut table = Table::new(&[
            ("EVENT", Left),
            ("TENANT", Left),
            ("BOOKED", Left),
            ("READ TODAY", Left),
            ("COST USD", Right),
            ("TODAY", Right),
        ]);
        for difference in &self.differences {
            table.row([
                difference.event_id.clone(),
                difference
                    .tenant_id
                    .clone()
                    .unwrap_or_else(|| "–".to_owned()),
                difference.old.usage(),
                difference.new.usage(),
                shown(difference.old.cost),
                shown(difference.new.cost),
            ]);
        }
        say(table.for_terminal().trim_end());
        say("");
        print_items(&moved, &MOVED, form, "Nothing is to be corrected.");
        match answers.first() {
            Some(answer) if args.commit => {
                say(&format!(
                    "Booked as batch {}.",
                    cell(answer.get("batch_id"))
                ));
            }
            _ => eprintln!("Nothing was booked; --commit books it."),
        }
    }
}

impl Booked {
    /// What the provider charges for lines, by the revision that the event was priced by.
    fn cost_of(&self, source: UsageSource, lines: &[Line]) -> Option<Decimal> {
        if self.pricing == "repeat" || source == UsageSource::None {
            return Some(Decimal::ZERO);
        }
        if matches!(source, UsageSource::Missing | UsageSource::Pending) {
            return None;
        }
        let built_in = CardSet::built_in();
        let revision = self
            .rate_cards
            .as_ref()
            .and_then(|cards| cards.cost.as_deref());
        let named = revision.and_then(|revision| built_in.with_revision(&self.provider, revision));
        let cards = named.as_ref().unwrap_or(built_in);
        let priced = price::price(&self.provider, lines, cards, self.paid_by, self.started_at);
        amount(Some(&priced.cost_usd?.to_string()))
    }
}

impl Difference {
    /// What the collector takes.
    fn corrected(&self) -> Value {
        json!({
            "event_id": self.event_id, "lines": self.new.lines,
            "usage_source": self.new.source.name(), "reader_version": READER_VERSION,
        })
    }

    fn json(&self) -> Value {
        json!({
            "event_id": self.event_id, "tenant_id": self.tenant_id, "provider": self.provider,
            "old": self.old.json(), "new": self.new.json(),
        })
    }
}

impl Reading {
    fn json(&self) -> Value {
        json!({
            "usage_source": self.source.name(), "lines": self.lines,
            "cost_usd": self.cost.map(|usd| usd.to_string()),
        })
    }

    /// On one line: `gpt-4o-mini input_tokens=10 output_tokens=2`.
    fn usage(&self) -> String {
        if self.lines.is_empty() {
            return self.source.name().to_owned();
        }
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| format!("{} {}", line.model, cell(Some(&json!(line.usage)))))
            .collect();
        lines.join("; ")
    }
}

fn amount(text: Option<&str>) -> Option<Decimal> {
    text?.parse::<Decimal>().ok()
}

fn shown(usd: Option<Decimal>) -> String {
    usd.map_or_else(|| "–".to_owned(), |usd| usd.to_string())
}
