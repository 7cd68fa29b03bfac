//! `farebox price show`: what the cards say, in their own words.

use farebox_pricing::rate_card::{CardFile, CardRate, CardSet, Model, RateCard};
use serde_json::{Value, json};

use super::{ShowArgs, load};
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// How much of a revision a table shows.
const REVISION_SHOWN: usize = 12;

pub(super) fn run(args: &ShowArgs) -> Outcome {
    if args.in_force {
        return super::in_force::show(args);
    }
    let cards = load(&args.cards)?;
    let Some(provider) = &args.provider else {
        show_cards(&cards, args.reach.json);
        return Ok(());
    };
    let card = cards
        .card(provider)
        .ok_or_else(|| Failure::No(format!("{provider}: there is no card")))?;
    let Some(name) = &args.model else {
        show_models(card, args.reach.json);
        return Ok(());
    };
    let (card, own) = find(&cards, card, name)
        .ok_or_else(|| Failure::No(format!("{provider}: no price for `{name}`")))?;
    let file = card.file();
    let model = file.models.iter().find(|model| model.model == own);
    let model = model.expect("the card found it under this name");
    if args.reach.json {
        say(
            &json!({ "provider": file.provider, "revision": card.revision(), "model": model })
                .to_string(),
        );
    } else {
        show_prices(card, &file, model);
    }
    Ok(())
}

/// The card that has the model, the vendor's own or one it falls back on.
fn find<'a>(cards: &'a CardSet, card: &'a RateCard, name: &str) -> Option<(&'a RateCard, String)> {
    if let Some(own) = card.model(name) {
        return Some((card, own.to_owned()));
    }
    card.fallback_cards().iter().find_map(|pin| {
        let other = cards.card_of_revision(&pin.provider, &pin.revision)?;
        Some((other, other.model(name)?.to_owned()))
    })
}

fn show_cards(cards: &CardSet, is_json: bool) {
    let items: Vec<Value> = cards
        .active()
        .map(|card| {
            let file = card.file();
            let rates = file.models.iter().flat_map(|model| &model.revisions);
            let checked = rates.flat_map(|revision| &revision.rates).map(|rate| &rate.checked).max();
            json!({
                "provider": card.provider(), "revision": card.revision(), "models": file.models.len(),
                "names": card.names_len(), "checked": checked,
            })
        })
        .collect();
    if is_json {
        say(&json!({ "items": items }).to_string());
        return;
    }
    let mut table = Table::new(&[
        ("PROVIDER", Left),
        ("REVISION", Left),
        ("MODELS", Right),
        ("NAMES", Right),
        ("CHECKED", Left),
    ]);
    for item in &items {
        let cell = |name: &str| match item.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let revision: String = cell("revision").chars().take(REVISION_SHOWN).collect();
        let cells = [
            cell("provider"),
            revision,
            cell("models"),
            cell("names"),
            cell("checked"),
        ];
        table.row(cells);
    }
    say(table.for_terminal().trim_end());
}

fn show_models(card: &RateCard, is_json: bool) {
    let file = card.file();
    if is_json {
        say(card.canonical());
        return;
    }
    let mut table = Table::new(&[("MODEL", Left), ("FURTHER NAMES", Left), ("SINCE", Left)]);
    for model in &file.models {
        let names: Vec<&str> = model
            .aliases
            .iter()
            .chain(&model.patterns)
            .map(String::as_str)
            .collect();
        let since = model.revisions.last().and_then(|revision| revision.from);
        table.row([
            model.model.clone(),
            names.join(" "),
            since.map(|since| since.to_string()).unwrap_or_default(),
        ]);
    }
    say(table.for_terminal().trim_end());
    for note in &file.notes {
        say(&format!("- {note}"));
    }
}

fn show_prices(card: &RateCard, file: &CardFile, model: &Model) {
    let mut table = Table::new(&[
        ("SINCE", Left),
        ("METER", Left),
        ("PRICE", Right),
        ("PER", Right),
        ("WHEN", Left),
        ("SOURCE", Left),
        ("CHECKED", Left),
        ("NOTE", Left),
    ]);
    for revision in &model.revisions {
        let since = revision
            .from
            .map(|since| since.to_string())
            .unwrap_or_default();
        let when = |when: &std::collections::BTreeMap<String, String>| -> String {
            let pairs: Vec<String> = when
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            pairs.join(" ")
        };
        let mut put = |meter: String,
                       price: String,
                       per: String,
                       held: String,
                       from: (&str, &str, &Option<String>)| {
            let (source, checked, note) = from;
            table.row([
                since.clone(),
                meter,
                price,
                per,
                held,
                source.to_owned(),
                checked.to_owned(),
                note.clone().unwrap_or_default(),
            ]);
        };
        for (rates, sign) in [(&revision.rates, ""), (&revision.addons, "+ ")] {
            for rate in rates {
                let from = (rate.source.as_str(), rate.checked.as_str(), &rate.note);
                put(
                    rate.meter.to_string(),
                    format!("{sign}{}", price_of(rate)),
                    per_of(rate),
                    when(&rate.when),
                    from,
                );
            }
        }
        for factor in &revision.factors {
            let from = (
                factor.source.as_str(),
                factor.checked.as_str(),
                &factor.note,
            );
            put(
                factor.meters.join(" "),
                format!("x {}", factor.factor),
                String::new(),
                when(&factor.when),
                from,
            );
        }
    }
    say(&format!(
        "{} of {}, revision {}",
        model.model,
        file.provider,
        card.revision()
    ));
    say(table.for_terminal().trim_end());
}

fn price_of(rate: &CardRate) -> String {
    match (rate.usd, rate.credits) {
        (Some(usd), _) => format!("{usd} USD"),
        (None, Some(credits)) => format!("{credits} credits"),
        (None, None) => String::new(),
    }
}

fn per_of(rate: &CardRate) -> String {
    let mut per = rate.per.to_string();
    if let Some(step) = rate.round_up_to {
        per.push_str(&format!(", whole {step}"));
    }
    if let Some(minimum) = rate.minimum {
        per.push_str(&format!(", at least {minimum}"));
    }
    per
}
