//! `farebox price diff`: two cards side by side, and what the difference is in money.

use std::path::Path;
use std::sync::Arc;

use farebox_pricing::event::PaidBy;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::price::price;
use farebox_pricing::rate_card::diff::{Change, Stated, diff};
use farebox_pricing::rate_card::selling::{ALL_PROVIDERS, SellingRules, diff_selling};
use farebox_pricing::rate_card::{CardSet, RateCard};
use farebox_pricing::usage::{Line, Meter, Usage};
use serde_json::{Value, json};

use super::{DiffArgs, Held, in_force, read, read_card};
use crate::deployment::now;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::verbs::{Column, print_items};

const BUILT_IN: &str = "built-in";
const RULES: [Column; 4] = [
    ("KIND", Left, "kind"),
    ("RULE", Left, "rule"),
    ("BEFORE", Left, "before"),
    ("AFTER", Left, "after"),
];

/// What the same usage costs by both cards.
#[derive(Default)]
struct Money {
    before: Usd,
    after: Usd,
    /// Quantities that one of the cards has no price for.
    unpriced: u64,
}

pub(super) fn run(args: &DiffArgs) -> Outcome {
    if in_force::is_asked(args) {
        return in_force::diff(args);
    }
    match (rules(&args.before)?, rules(&args.after)?) {
        (None, None) => {}
        (Some(before), Some(after)) if args.usage.is_none() => {
            compare_rules(&before, &after, args.reach.json);
            return Ok(());
        }
        _ => {
            let message =
                "selling rules are compared with selling rules, and in money by --last-month";
            return Err(Failure::Usage(message.to_owned()));
        }
    }
    let cards = [load(&args.before)?, load(&args.after)?];
    let [before, after] = match cards {
        [Some(before), Some(after)] => [before, after],
        [Some(before), None] => [before.clone(), built_in(&before)?],
        [None, Some(after)] => [built_in(&after)?, after],
        [None, None] => return Err(Failure::Usage("both cards are the built-in one".into())),
    };
    if before.provider() != after.provider() {
        let message = format!(
            "{} and {} are two vendors",
            before.provider(),
            after.provider()
        );
        return Err(Failure::Usage(message));
    }
    let changes = diff(&before.file(), &after.file());
    let money = match &args.usage {
        Some(file) => Some(compare(file, &before, &after)?),
        None => None,
    };
    if args.reach.json {
        say(&answer(&before, &after, &changes, money.as_ref()).to_string());
    } else {
        show(&changes, money.as_ref());
    }
    Ok(())
}

/// The file's selling rules, if it has such.
fn rules(path: &Path) -> Outcome<Option<SellingRules>> {
    if path.as_os_str() == BUILT_IN {
        return Ok(None);
    }
    Ok(match read(path)? {
        Ok(Held::Selling(rules)) => Some(*rules),
        _ => None,
    })
}

fn compare_rules(before: &SellingRules, after: &SellingRules, is_json: bool) {
    let changes = diff_selling(&before.file(), &after.file());
    let items = changes.into_iter().map(|change| {
        let kind = match change.is_allowance {
            true => "allowance",
            false => "rule",
        };
        json!({ "kind": kind, "rule": change.rule, "before": change.before, "after": change.after })
    });
    let items: Vec<Value> = items.collect();
    if is_json {
        let answer = json!({
            "provider": ALL_PROVIDERS, "before": before.revision(), "after": after.revision(),
            "items": [], "rules": items,
        });
        say(&answer.to_string());
    } else {
        show_rules(&items);
    }
}

/// Selling rules that differ.
pub(super) fn show_rules(items: &[Value]) {
    print_items(items, &RULES, false, "No rule differs.");
}

/// `None` stands for the built-in card of a vendor that the other card names.
fn load(path: &Path) -> Outcome<Option<Arc<RateCard>>> {
    if path.as_os_str() == BUILT_IN {
        return Ok(None);
    }
    match read_card(path)? {
        Ok(card) => Ok(Some(Arc::new(card))),
        Err(mistakes) => Err(Failure::Usage(mistakes.join("\n"))),
    }
}

fn built_in(other: &RateCard) -> Outcome<Arc<RateCard>> {
    let provider = other.provider();
    let card = CardSet::built_in().card(provider);
    let card = card.ok_or_else(|| Failure::No(format!("{provider}: there is no built-in card")))?;
    let again = RateCard::from_json(card.canonical());
    again
        .map(Arc::new)
        .map_err(|invalid| Failure::No(invalid.to_string()))
}

/// Prices each quantity by both cards as of now, at the base conditions: grouped usage has no others.
fn compare(file: &Path, before: &Arc<RateCard>, after: &Arc<RateCard>) -> Outcome<Money> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::missing(file.display(), error))?;
    let wrong = |why: &str| Failure::Usage(format!("{}: {why}", file.display()));
    let usage: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let items = usage.get("items").and_then(Value::as_array);
    let items = items.ok_or_else(|| wrong("has no `items`"))?;
    let sets = [before, after].map(|card| CardSet::built_in().with_active(Arc::clone(card)));
    let (provider, at) = (before.provider(), now());
    let mut money = Money::default();
    for item in items {
        let member = |name: &str| item.get(name).and_then(Value::as_str);
        let (Some(model), Some(meter), Some(quantity)) =
            (member("model"), member("meter"), member("quantity"))
        else {
            continue;
        };
        if member("provider").is_some_and(|other| other != provider) {
            continue;
        }
        // The number of calls is among the meters of usage, and no card has a price for it.
        let (Ok(meter), Ok(quantity)) = (meter.parse::<Meter>(), quantity.parse::<Decimal>())
        else {
            continue;
        };
        let mut used = Usage::default();
        used.set(meter, quantity);
        let line = Line {
            model: model.to_owned(),
            usage: used,
            ..Line::default()
        };
        let cost = |set: &CardSet| {
            let lines = std::slice::from_ref(&line);
            price(provider, lines, set, PaidBy::Operator, at).cost_usd
        };
        match (cost(&sets[0]), cost(&sets[1])) {
            (Some(was), Some(is)) => {
                let sum = |sum: Usd, cost| sum.checked_add(cost).ok_or_else(|| wrong("too much"));
                money.before = sum(money.before, was)?;
                money.after = sum(money.after, is)?;
            }
            _ => money.unpriced += 1,
        }
    }
    Ok(money)
}

fn answer(before: &RateCard, after: &RateCard, changes: &[Change], money: Option<&Money>) -> Value {
    let stated =
        |stated: Option<Stated>| stated.map(|(usd, per)| json!({ "usd": usd, "per": per }));
    let items: Vec<Value> = changes
        .iter()
        .map(|change| {
            json!({
                "model": change.model, "from": change.from, "of": change.of, "when": change.when,
                "before": stated(change.before), "after": stated(change.after),
            })
        })
        .collect();
    let money = money.map(|money| {
        json!({
            "cost_usd_before": money.before, "cost_usd_after": money.after,
            "unpriced": money.unpriced,
        })
    });
    json!({
        "provider": before.provider(), "before": before.revision(), "after": after.revision(),
        "items": items, "usage": money,
    })
}

fn show(changes: &[Change], money: Option<&Money>) {
    let mut table = Table::new(&[
        ("MODEL", Left),
        ("SINCE", Left),
        ("OF", Left),
        ("WHEN", Left),
        ("BEFORE", Right),
        ("AFTER", Right),
        ("PER", Right),
    ]);
    for change in changes {
        let of = |stated: Option<Stated>| stated.map_or("-".into(), |(usd, _)| usd.to_string());
        let per = |stated: Option<Stated>| stated.map(|(_, per)| per.to_string());
        let pers = match (per(change.before), per(change.after)) {
            (Some(was), Some(is)) if was != is => format!("{was}, {is}"),
            (was, is) => is.or(was).unwrap_or_default(),
        };
        table.row([
            change.model.clone(),
            change.from.clone(),
            change.of.clone(),
            change.when.clone(),
            of(change.before),
            of(change.after),
            pers,
        ]);
    }
    if table.is_empty() {
        say("no price differs");
    } else {
        say(table.for_terminal().trim_end());
    }
    if let Some(money) = money {
        say(&format!(
            "over this usage: {} USD before, {} USD after; {} quantities without a price",
            money.before, money.after, money.unpriced
        ));
    }
}
