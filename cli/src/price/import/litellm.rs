//! LiteLLM's `model_prices_and_context_window.json`: an object of models, prices by single units.

use std::collections::BTreeMap;

use farebox_pricing::money::Decimal;
use farebox_pricing::usage::Meter;
use serde_json::{Map, Value};

use super::{Conditions, MILLION, Price, Printed, ratio};

/// Its keys, the meter each is a price of, and the units that our price is for.
const KEYS: &[(&str, Meter, u64)] = &[
    ("input_cost_per_token", Meter::InputTokens, MILLION),
    (
        "cache_read_input_token_cost",
        Meter::CacheReadTokens,
        MILLION,
    ),
    (
        "cache_creation_input_token_cost",
        Meter::CacheWriteTokens,
        MILLION,
    ),
    (
        "cache_creation_input_token_cost_above_1hr",
        Meter::CacheWrite1hTokens,
        MILLION,
    ),
    (
        "cache_creation_input_token_cost_above_12hr",
        Meter::CacheWrite12hTokens,
        MILLION,
    ),
    ("output_cost_per_token", Meter::OutputTokens, MILLION),
    (
        "output_cost_per_reasoning_token",
        Meter::ReasoningTokens,
        MILLION,
    ),
    (
        "input_cost_per_audio_token",
        Meter::InputAudioTokens,
        MILLION,
    ),
    (
        "cache_read_input_audio_token_cost",
        Meter::CacheReadAudioTokens,
        MILLION,
    ),
    (
        "output_cost_per_audio_token",
        Meter::OutputAudioTokens,
        MILLION,
    ),
    (
        "input_cost_per_image_token",
        Meter::InputImageTokens,
        MILLION,
    ),
    (
        "cache_read_input_image_token_cost",
        Meter::CacheReadImageTokens,
        MILLION,
    ),
    (
        "output_cost_per_image_token",
        Meter::OutputImageTokens,
        MILLION,
    ),
    (
        "input_cost_per_video_token",
        Meter::InputVideoTokens,
        MILLION,
    ),
    ("ocr_cost_per_page", Meter::Pages, 1_000),
    ("input_cost_per_query", Meter::Searches, 1_000),
    ("input_cost_per_request", Meter::Requests, 1_000),
];

/// Keys that mean something in one mode only.
const KEYS_BY_MODE: &[(&str, &str, Meter, u64)] = &[
    (
        "audio_transcription",
        "input_cost_per_second",
        Meter::AudioSeconds,
        3_600,
    ),
    (
        "audio_speech",
        "input_cost_per_character",
        Meter::Characters,
        MILLION,
    ),
    (
        "image_generation",
        "output_cost_per_image",
        Meter::Images,
        1,
    ),
    (
        "video_generation",
        "output_cost_per_second",
        Meter::VideoSeconds,
        1,
    ),
];

/// How its keys end for prices under a condition.
const VARIANTS: &[(&str, &str, &str)] = &[
    ("_batches", "batch", "true"),
    ("_flex", "service_tier", "flex"),
    ("_priority", "service_tier", "priority"),
    ("_ultrafast", "service_tier", "ultrafast"),
];

/// The models of one of its providers.
pub(super) fn models(file: &Value, provider: &str) -> Vec<Printed> {
    let entries = file.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, entry)| {
            let entry = entry.as_object()?;
            let of = entry.get("litellm_provider")?.as_str()?;
            (of == provider).then(|| model(name, provider, entry))
        })
        .collect()
}

fn model(name: &str, provider: &str, entry: &Map<String, Value>) -> Printed {
    let own = name
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'));
    let mode = entry
        .get("mode")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut base: Vec<Price> = Vec::new();
    let mut varied: BTreeMap<(&str, &str), Vec<Price>> = BTreeMap::new();
    for (key, value) in entry {
        let Some(usd) = number(value) else { continue };
        let variant = VARIANTS.iter().find(|(end, _, _)| key.ends_with(end));
        let (key, variant) = match variant {
            Some((end, name, value)) => (&key[..key.len() - end.len()], Some((*name, *value))),
            None => (key.as_str(), None),
        };
        let Some(price) = price(key, mode, usd) else {
            continue;
        };
        match variant {
            None => base.push(price),
            Some(when) => varied.entry(when).or_default().push(price),
        }
    }
    // Nothing but zeros stands for what it does not know; a single zero may be a price.
    if base.iter().all(|price| price.usd.is_zero()) {
        base.clear();
    }
    base.extend(searches(entry));
    let factors = varied
        .iter()
        .flat_map(|((name, value), prices)| factors(&base, prices, (name, value)))
        .collect();
    Printed {
        names: vec![own.unwrap_or(name).to_owned()],
        since: BTreeMap::from([(None, base)]),
        factors,
    }
}

fn number(value: &Value) -> Option<Decimal> {
    let usd: Decimal = value.as_number()?.as_str().parse().ok()?;
    (!usd.is_negative()).then_some(usd)
}

fn price(key: &str, mode: &str, usd: Decimal) -> Option<Price> {
    let mut when = Conditions::new();
    let mut key = key;
    let bound = key
        .strip_suffix("k_tokens")
        .and_then(|rest| rest.rsplit_once("_above_"));
    if let Some((rest, thousands)) = bound {
        let thousands: u64 = thousands.parse().ok()?;
        let tokens = thousands.checked_mul(1_000)?;
        when.insert("input_above".into(), tokens.to_string());
        key = rest;
    }
    let known = KEYS.iter().map(|(name, meter, per)| (*name, *meter, *per));
    let of_mode = KEYS_BY_MODE
        .iter()
        .filter(|(of, ..)| *of == mode)
        .map(|(_, name, meter, per)| (*name, *meter, *per));
    let (_, meter, per) = known.chain(of_mode).find(|(name, _, _)| *name == key)?;
    let per = Decimal::from(per);
    Some(Price {
        meter,
        usd: usd.checked_mul(per)?,
        per,
        when,
    })
}

/// What a web search costs, where it costs the same however large its context is.
fn searches(entry: &Map<String, Value>) -> Option<Price> {
    let by_size = entry.get("search_context_cost_per_query")?.as_object()?;
    let mut prices = by_size.values().filter_map(number);
    let first = prices.next()?;
    let per = Decimal::from(1_000);
    prices.all(|price| price == first).then_some(Price {
        meter: Meter::WebSearches,
        usd: first.checked_mul(per)?,
        per,
        when: Conditions::new(),
    })
}

/// Meters that a condition multiplies alike, behind every bound.
fn factors(
    base: &[Price],
    varied: &[Price],
    (name, value): (&str, &str),
) -> Vec<(Decimal, Vec<Meter>, Conditions)> {
    let mut by_factor: BTreeMap<Decimal, Vec<Meter>> = BTreeMap::new();
    let mut meters: Vec<Meter> = varied.iter().map(|price| price.meter).collect();
    meters.sort_unstable();
    meters.dedup();
    for meter in meters {
        let found = varied.iter().filter(|price| price.meter == meter);
        let mut ratios = found.filter_map(|price| {
            let mut same = base.iter();
            let same = same.find(|other| other.meter == meter && other.when == price.when)?;
            Some(ratio(price.usd, same.usd))
        });
        if let Some(Some(first)) = ratios.next()
            && ratios.all(|other| other == Some(first))
        {
            by_factor.entry(first).or_default().push(meter);
        }
    }
    let when = Conditions::from([(name.to_owned(), value.to_owned())]);
    by_factor
        .into_iter()
        .map(|(factor, meters)| (factor, meters, when.clone()))
        .collect()
}
