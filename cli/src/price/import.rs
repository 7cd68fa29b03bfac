//! `farebox price import`: models out of the price files of LiteLLM and genai-prices into a card.
//!
//! A model that the card has not is added; a price that stands is never changed, and where the file
//! prints another one, that is told. What is written is a file for a person to read and to lint.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use farebox_pricing::money::Decimal;
use farebox_pricing::rate_card::{
    CARD_SCHEMA, CardFile, CardRate, CardSet, Factor, Model, RateCard, Revision, Since,
};
use farebox_pricing::usage::Meter;
use serde_json::{Value, json};

use super::{ImportArgs, read_card};
use crate::deployment::now;
use crate::failure::{Failure, Outcome};
use crate::say::say;

mod genai;
mod litellm;

/// Tokens that prices of tokens are for.
const MILLION: u64 = 1_000_000;
/// Names longer than this are no models.
const NAME_BYTES_MAX: usize = 256;

/// A model's prices as a file prints them.
#[derive(Default)]
struct Printed {
    /// Its name, then its other ones.
    names: Vec<String>,
    /// By their first day; none: since the model exists.
    since: BTreeMap<Option<Since>, Vec<Price>>,
    /// What varies them: the factor, its meters, its condition.
    factors: Vec<(Decimal, Vec<Meter>, Conditions)>,
}

type Conditions = BTreeMap<String, String>;

/// One price.
#[derive(Clone)]
struct Price {
    meter: Meter,
    usd: Decimal,
    per: Decimal,
    when: Conditions,
}

/// What came of it.
#[derive(Default)]
struct Told {
    added: Vec<String>,
    differences: Vec<String>,
}

pub(super) fn run(args: &ImportArgs) -> Outcome {
    let provider = args.provider.as_deref().unwrap_or_default();
    let mut card = card_of(args, provider)?;
    let today = now().to_string().chars().take(10).collect::<String>();
    let mut told = Told::default();
    if let Some(path) = &args.genai_prices {
        let names = args.named.as_deref().unwrap_or(provider);
        let printed = genai::models(&json_in(path)?, names);
        merge(&mut card, printed, &source(path), &today, &mut told);
    }
    if let Some(path) = &args.litellm {
        let names = args.named.as_deref().unwrap_or(provider);
        let printed = litellm::models(&json_in(path)?, names);
        merge(&mut card, printed, &source(path), &today, &mut told);
    }
    let text = serde_json::to_string_pretty(&card).unwrap_or_default();
    // What would be refused is told before anything is written.
    RateCard::from_json(&text).map_err(|invalid| Failure::No(invalid.to_string()))?;
    if let Some(out) = &args.out {
        write_new(out, &text)?;
    }
    tell(&told, args.reach.json);
    Ok(())
}

/// The card to add to: the one named, else the built-in one of the vendor, else an empty one.
fn card_of(args: &ImportArgs, provider: &str) -> Outcome<CardFile> {
    if let Some(path) = &args.onto {
        return match read_card(path)? {
            Ok(card) => Ok(card.file()),
            Err(mistakes) => Err(Failure::Usage(mistakes.join("\n"))),
        };
    }
    if let Some(card) = CardSet::built_in().card(provider) {
        return Ok(card.file());
    }
    let empty = json!({
        "schema": CARD_SCHEMA, "provider": provider, "models": [],
        "fallbacks": [{"meter": "reasoning_tokens", "rate_of": "output_tokens"}],
    });
    serde_json::from_value(empty).map_err(|error| Failure::No(error.to_string()))
}

fn json_in(path: &Path) -> Outcome<Value> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::missing(path.display(), error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn source(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn merge(card: &mut CardFile, printed: Vec<Printed>, source: &str, today: &str, told: &mut Told) {
    for mut model in printed {
        model
            .names
            .retain(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
        let Some(name) = model.names.first().cloned() else {
            continue;
        };
        let known = card.models.iter().find(|known| is_named(known, &name));
        if let Some(known) = known {
            compare(known, &model, source, told);
            continue;
        }
        model
            .names
            .retain(|name| !card.models.iter().any(|known| is_named(known, name)));
        let revisions = revisions(&model, source, today);
        let has_gap = revisions.iter().any(|revision| revision.rates.is_empty());
        if revisions.is_empty() || has_gap {
            continue;
        }
        card.models.push(Model {
            model: name.clone(),
            aliases: model.names.split_off(1),
            patterns: Vec::new(),
            revisions,
        });
        told.added.push(name);
    }
}

fn is_named(model: &Model, name: &str) -> bool {
    model.model == name || model.aliases.iter().any(|alias| alias == name)
}

fn revisions(model: &Printed, source: &str, today: &str) -> Vec<Revision> {
    let rate = |price: &Price| CardRate {
        meter: price.meter,
        usd: Some(price.usd),
        credits: None,
        per: price.per,
        round_up_to: None,
        minimum: None,
        when: price.when.clone(),
        source: source.to_owned(),
        checked: today.to_owned(),
        note: None,
    };
    let factor = |(factor, meters, when): &(Decimal, Vec<Meter>, Conditions)| Factor {
        factor: *factor,
        meters: meters.iter().map(Meter::to_string).collect(),
        when: when.clone(),
        source: source.to_owned(),
        checked: today.to_owned(),
        note: None,
    };
    let since = model.since.iter();
    since
        .map(|(from, prices)| Revision {
            from: *from,
            base_values: BTreeMap::new(),
            rates: prices.iter().map(rate).collect(),
            addons: Vec::new(),
            factors: model.factors.iter().map(factor).collect(),
        })
        .collect()
}

/// Prices of the day that are not those of the card.
fn compare(known: &Model, model: &Printed, source: &str, told: &mut Told) {
    let at = now();
    let has_come = |from: &Option<Since>| from.is_none_or(|since| since.0 <= at);
    let ours = known
        .revisions
        .iter()
        .rev()
        .find(|revision| has_come(&revision.from));
    let theirs = model.since.iter().rev().find(|(from, _)| has_come(from));
    let (Some(ours), Some((_, theirs))) = (ours, theirs) else {
        return;
    };
    for price in theirs {
        let mut rates = ours.rates.iter();
        let rate = rates.find(|rate| rate.meter == price.meter && rate.when == price.when);
        let Some((rate, usd)) = rate.and_then(|rate| Some((rate, rate.usd?))) else {
            continue;
        };
        let (left, right) = (usd.checked_mul(price.per), price.usd.checked_mul(rate.per));
        if left != right {
            told.differences.push(format!(
                "{}: {}: {usd} per {}, {source} prints {} per {}",
                known.model, price.meter, rate.per, price.usd, price.per
            ));
        }
    }
}

/// The quotient as a decimal of at most four places; `None` when it is no such one.
fn ratio(varied: Decimal, base: Decimal) -> Option<Decimal> {
    const PLACES: u8 = 4;
    let unit = Decimal::new(1, PLACES).ok()?;
    // A search by halving needs no division: factors are between nothing and a hundred.
    let (mut low, mut high) = (0i128, 1_000_000i128);
    while low <= high {
        let middle = low.midpoint(high);
        let factor = unit.checked_mul(Decimal::new(middle, 0).ok()?)?;
        match base.checked_mul(factor)?.cmp(&varied) {
            std::cmp::Ordering::Equal => return Some(factor),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle - 1,
        }
    }
    None
}

pub(super) fn write_new(out: &Path, text: &str) -> Outcome {
    let failed = |error| Failure::missing(out.display(), error);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(out)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn tell(told: &Told, is_json: bool) {
    if is_json {
        say(&json!({ "added": told.added, "differences": told.differences }).to_string());
        return;
    }
    for name in &told.added {
        say(&format!("+ {name}"));
    }
    for difference in &told.differences {
        say(&format!("! {difference}"));
    }
    let (added, differences) = (told.added.len(), told.differences.len());
    say(&format!(
        "{added} models added, {differences} prices differ"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(models: Vec<Printed>) -> (CardFile, Told) {
        let empty = r#"{"schema":1,"provider":"acme-ai","models":[]}"#;
        let mut card: CardFile = serde_json::from_str(empty).unwrap();
        let mut told = Told::default();
        merge(&mut card, models, "a file", "2026-11-22", &mut told);
        (card, told)
    }

    fn usd(card: &CardFile, model: usize, meter: Meter, when: &[(&str, &str)]) -> Option<String> {
        let when: Conditions = when
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let revision = card.models[model].revisions.last()?;
        let mut rates = revision.rates.iter();
        let rate = rates.find(|rate| rate.meter == meter && rate.when == when)?;
        Some(rate.usd?.to_string())
    }

    #[test]
    fn a_file_of_litellm_becomes_a_card() {
        let file: Value = serde_json::from_str(
            r#"{"acme_ai/m-1": {"litellm_provider": "acme_ai", "mode": "chat",
                "input_cost_per_token": 2e-06, "input_cost_per_token_above_272k_tokens": 4e-06,
                "input_cost_per_token_batches": 1e-06, "input_cost_per_token_above_272k_tokens_batches": 2e-06,
                "output_cost_per_token": 1e-05, "output_cost_per_token_batches": 5e-06,
                "cache_read_input_token_cost": 1.25e-07,
                "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.01}},
              "other/m-2": {"litellm_provider": "other", "input_cost_per_token": 1e-06}}"#,
        )
        .unwrap();
        let (card, told) = imported(litellm::models(&file, "acme_ai"));
        assert_eq!(told.added, ["m-1"]);
        assert_eq!(usd(&card, 0, Meter::InputTokens, &[]).as_deref(), Some("2"));
        let long = [("input_above", "272000")];
        assert_eq!(
            usd(&card, 0, Meter::InputTokens, &long).as_deref(),
            Some("4")
        );
        assert_eq!(
            usd(&card, 0, Meter::CacheReadTokens, &[]).as_deref(),
            Some("0.125")
        );
        assert_eq!(
            usd(&card, 0, Meter::WebSearches, &[]).as_deref(),
            Some("10")
        );
        let factor = &card.models[0].revisions[0].factors[0];
        assert_eq!(factor.factor.to_string(), "0.5");
        assert_eq!(factor.meters, ["input_tokens", "output_tokens"]);
        let text = serde_json::to_string(&card).unwrap();
        assert!(RateCard::from_json(&text).is_ok());
    }

    #[test]
    fn a_file_of_genai_prices_becomes_a_card() {
        let file: Value = serde_json::from_str(
            r#"[{"id": "acme-ai", "models": [{"id": "m-1", "match": {"or": [{"equals": "m-one"}, {"starts_with": "m-1"}]},
                "prices": [{"prices": {"input_mtok": 10, "output_mtok": 40}},
                    {"constraint": {"start_date": "2026-06-10"},
                     "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "output_mtok": 8.5}}]}]}]"#,
        )
        .unwrap();
        let (card, told) = imported(genai::models(&file, "acme-ai"));
        assert_eq!(told.added, ["m-1"]);
        assert_eq!(card.models[0].aliases, ["m-one"]);
        assert_eq!(card.models[0].revisions.len(), 2);
        assert_eq!(
            usd(&card, 0, Meter::OutputTokens, &[]).as_deref(),
            Some("8.5")
        );
        let long = [("input_above", "200000")];
        assert_eq!(
            usd(&card, 0, Meter::InputTokens, &long).as_deref(),
            Some("4")
        );
        let again = imported(genai::models(&file, "acme-ai")).0;
        assert_eq!(again.models, card.models);
    }

    #[test]
    fn a_price_that_stands_is_told_and_not_changed() {
        let file: Value = serde_json::from_str(
            r#"{"nova-3": {"litellm_provider": "deepgram", "input_cost_per_token": 1e-06},
                "aura-2": {"litellm_provider": "deepgram", "mode": "audio_speech", "input_cost_per_character": 3.1e-05}}"#,
        )
        .unwrap();
        let mut card = CardSet::built_in().card("deepgram").unwrap().file();
        let before = card.clone();
        let mut told = Told::default();
        merge(
            &mut card,
            litellm::models(&file, "deepgram"),
            "a file",
            "2026-11-22",
            &mut told,
        );
        assert_eq!(card, before);
        assert_eq!(
            told.differences,
            ["aura-2: characters: 30 per 1000000, a file prints 31 per 1000000"]
        );
    }
}
