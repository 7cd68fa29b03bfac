//! genai-prices' `data.json`: a list of providers, each with models and prices by the million.

use farebox_pricing::money::Decimal;
use farebox_pricing::rate_card::Since;
use farebox_pricing::usage::Meter;
use serde_json::{Map, Value};

use super::{Conditions, MILLION, Price, Printed};

/// Its keys, the meter each is a price of, and the units it is for.
const KEYS: &[(&str, Meter, u64)] = &[
    ("input_mtok", Meter::InputTokens, MILLION),
    ("cache_read_mtok", Meter::CacheReadTokens, MILLION),
    ("cache_write_mtok", Meter::CacheWriteTokens, MILLION),
    ("cache_write_1h_mtok", Meter::CacheWrite1hTokens, MILLION),
    ("output_mtok", Meter::OutputTokens, MILLION),
    ("output_reasoning_mtok", Meter::ReasoningTokens, MILLION),
    ("input_audio_mtok", Meter::InputAudioTokens, MILLION),
    (
        "cache_audio_read_mtok",
        Meter::CacheReadAudioTokens,
        MILLION,
    ),
    ("output_audio_mtok", Meter::OutputAudioTokens, MILLION),
    ("input_image_mtok", Meter::InputImageTokens, MILLION),
    (
        "cache_image_read_mtok",
        Meter::CacheReadImageTokens,
        MILLION,
    ),
    ("output_image_mtok", Meter::OutputImageTokens, MILLION),
    ("input_video_mtok", Meter::InputVideoTokens, MILLION),
    ("audio_hours", Meter::AudioSeconds, 3_600),
    ("input_audio_hours", Meter::AudioSeconds, 3_600),
    ("input_mchars", Meter::Characters, MILLION),
    ("input_document_kpages", Meter::Pages, 1_000),
    ("requests_kcount", Meter::Requests, 1_000),
    ("web_searches_kcount", Meter::WebSearches, 1_000),
    ("storage_searches_kcount", Meter::FileSearches, 1_000),
];

/// The models of one of its providers.
pub(super) fn models(file: &Value, provider: &str) -> Vec<Printed> {
    let providers = file.as_array().into_iter().flatten();
    let ours = providers.filter(|entry| text(entry, "id") == Some(provider));
    ours.filter_map(|entry| entry.get("models")?.as_array())
        .flatten()
        .filter_map(model)
        .collect()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn model(entry: &Value) -> Option<Printed> {
    let mut printed = Printed {
        names: vec![text(entry, "id")?.to_owned()],
        ..Printed::default()
    };
    if let Some(clause) = entry.get("match") {
        names(clause, &mut printed.names);
    }
    match entry.get("prices")? {
        Value::Object(prices) => put(&mut printed, None, None, prices),
        Value::Array(several) => {
            for conditional in several {
                let prices = conditional.get("prices").and_then(Value::as_object);
                let constraint = conditional.get("constraint").unwrap_or(&Value::Null);
                let from = text(constraint, "start_date").and_then(day);
                let hours = text(constraint, "start_time").zip(text(constraint, "end_time"));
                if let Some(prices) = prices {
                    put(&mut printed, from, hours, prices);
                }
            }
        }
        _ => {}
    }
    Some(printed)
}

/// Names that it matches whole; what it matches by their start or a part is left out.
fn names(clause: &Value, names: &mut Vec<String>) {
    if let Some(name) = text(clause, "equals")
        && !names.iter().any(|known| known == name)
    {
        names.push(name.to_owned());
    }
    let nested = clause.get("or").and_then(Value::as_array);
    for clause in nested.into_iter().flatten() {
        self::names(clause, names);
    }
}

fn day(text: &str) -> Option<Since> {
    serde_json::from_value(Value::from(text)).ok()
}

fn put(
    printed: &mut Printed,
    from: Option<Since>,
    hours: Option<(&str, &str)>,
    prices: &Map<String, Value>,
) {
    let mut stated = Vec::new();
    for (key, value) in prices {
        let known = KEYS.iter().find(|(name, _, _)| name == key);
        let Some((_, meter, per)) = known else {
            continue;
        };
        let mut add = |usd: Option<Decimal>, bound: Option<u64>| {
            let Some(usd) = usd else { return };
            let mut when = Conditions::new();
            if let Some(bound) = bound {
                when.insert("input_above".into(), bound.to_string());
            }
            if let Some((start, end)) =
                hours.and_then(|(start, end)| Some((start.get(..5)?, end.get(..5)?)))
            {
                when.insert("utc_hours".into(), format!("{start}-{end}"));
            }
            stated.push(Price {
                meter: *meter,
                usd,
                per: Decimal::from(*per),
                when,
            });
        };
        match value {
            Value::Object(tiered) => {
                add(tiered.get("base").and_then(number), None);
                let tiers = tiered.get("tiers").and_then(Value::as_array);
                for tier in tiers.into_iter().flatten() {
                    let start = tier.get("start").and_then(Value::as_u64);
                    add(
                        tier.get("price")
                            .and_then(number)
                            .filter(|_| start.is_some()),
                        start,
                    );
                }
            }
            price => add(number(price), None),
        }
    }
    printed.since.entry(from).or_default().extend(stated);
}

fn number(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.as_str(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    let usd: Decimal = text.parse().ok()?;
    (!usd.is_negative()).then_some(usd)
}
