//! OpenAI: pages of `GET /v1/organization/usage/…` and `GET /v1/organization/costs`, as the admin API
//! and its SDK give them. Buckets of any width; `group_by=model` (usage) and `line_item` (costs) make
//! the comparison finer, `api_key_id` tells keys apart.

use farebox_pricing::money::Decimal;
use serde_json::Value;

use super::{Vendor, VendorLine, day_of_seconds, list, number, text};

pub(super) static VENDOR: Vendor = Vendor {
    name: "openai",
    read,
    folds: &[("reasoning_tokens", "output_tokens")],
};

/// How a cost's line item ends, and what it is the cost of.
const LINE_ITEMS: [(&str, &str); 10] = [
    ("input", "input_tokens"),
    ("cached input", "cache_read_tokens"),
    ("cache write", "cache_write_tokens"),
    ("output", "output_tokens"),
    ("audio input", "input_audio_tokens"),
    ("cached audio input", "cache_read_audio_tokens"),
    ("audio output", "output_audio_tokens"),
    ("image input", "input_image_tokens"),
    ("cached image input", "cache_read_image_tokens"),
    ("image output", "output_image_tokens"),
];

fn read(documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    let mut lines = Vec::new();
    for document in documents {
        // A page holds buckets; buckets may also stand alone.
        let buckets = match list(document, "data") {
            [] => std::slice::from_ref(document),
            buckets => buckets,
        };
        for bucket in buckets {
            let results = list(bucket, "results");
            let day = number(bucket, "start_time")?.and_then(day_of_seconds);
            if !results.is_empty() && day.is_none() {
                return Err("a bucket has no start_time".to_owned());
            }
            for result in results {
                read_result(result, day.clone(), &mut lines)?;
            }
        }
    }
    Ok(lines)
}

fn read_result(
    result: &Value,
    day: Option<String>,
    lines: &mut Vec<VendorLine>,
) -> Result<(), String> {
    let base = VendorLine {
        day,
        key: text(result, "api_key_id").map(str::to_owned),
        model: text(result, "model").map(str::to_owned),
        ..VendorLine::default()
    };
    let mut push = |meter: &str, quantity: Option<Decimal>| {
        if let Some(quantity) = quantity {
            lines.push(VendorLine {
                meter: meter.to_owned(),
                quantity: Some(quantity),
                ..base.clone()
            });
        }
    };
    let object = text(result, "object").unwrap_or_default();
    let kind = object.strip_prefix("organization.").unwrap_or(object);
    match kind.strip_suffix(".result").unwrap_or(kind) {
        "usage.completions" => {
            push("calls", number(result, "num_model_requests")?);
            for (meter, quantity) in completions(result)? {
                push(meter, quantity);
            }
        }
        "usage.embeddings" | "usage.moderations" => {
            push("calls", number(result, "num_model_requests")?);
            push("input_tokens", number(result, "input_tokens")?);
        }
        "usage.images" => push("images", number(result, "images")?),
        "usage.audio_speeches" => push("characters", number(result, "characters")?),
        "usage.audio_transcriptions" => push("audio_seconds", number(result, "seconds")?),
        "usage.web_searches" => push("web_searches", number(result, "num_requests")?),
        "usage.file_searches" => push("file_searches", number(result, "num_requests")?),
        "costs" => lines.push(cost(result, base)?),
        // Stores and sessions are billed by what no call is.
        _ => {}
    }
    Ok(())
}

/// Text is what is left where the report does not break it down: older ones count all input as text.
fn completions(result: &Value) -> Result<Vec<(&'static str, Option<Decimal>)>, String> {
    let get = |name| number(result, name);
    let less = |from: Option<Decimal>, parts: &[Option<Decimal>]| {
        parts
            .iter()
            .flatten()
            .try_fold(from?, |left, part| left.checked_sub(*part))
    };
    let writes = get("input_cache_write_tokens")?;
    let writes_12h = get("input_cache_write_12h_tokens")?;
    let writes_default =
        get("input_cache_write_30m_tokens")?.or_else(|| less(writes, &[writes_12h]));
    let cached = get("input_cached_tokens")?;
    let all = get("input_tokens")?;
    let input = get("input_text_tokens")?
        .or(get("input_uncached_tokens")?)
        .or_else(|| less(all, &[cached, writes_default, writes_12h]));
    let output = get("output_text_tokens")?.or(get("output_tokens")?);
    Ok(vec![
        ("input_tokens", input),
        (
            "cache_read_tokens",
            get("input_cached_text_tokens")?.or(cached),
        ),
        ("cache_write_tokens", writes_default),
        ("cache_write_12h_tokens", writes_12h),
        ("output_tokens", output),
        ("input_audio_tokens", get("input_audio_tokens")?),
        ("cache_read_audio_tokens", get("input_cached_audio_tokens")?),
        ("output_audio_tokens", get("output_audio_tokens")?),
        ("input_image_tokens", get("input_image_tokens")?),
        ("cache_read_image_tokens", get("input_cached_image_tokens")?),
        ("output_image_tokens", get("output_image_tokens")?),
    ])
}

/// `{"amount": {"value", "currency"}, "line_item": "gpt-4o-mini-2024-07-18, input"}`.
fn cost(result: &Value, base: VendorLine) -> Result<VendorLine, String> {
    let amount = result.get("amount").unwrap_or(&Value::Null);
    let currency = text(amount, "currency").unwrap_or("usd");
    if !currency.eq_ignore_ascii_case("usd") {
        return Err(format!("amounts in {currency}, not in US dollars"));
    }
    let (model, meter) = match text(result, "line_item") {
        None => (None, super::super::COST),
        Some(item) => match item.rsplit_once(", ") {
            Some((model, kind)) => {
                let known = LINE_ITEMS.iter().find(|(name, _)| *name == kind);
                (
                    Some(model),
                    known.map_or(super::super::COST, |(_, meter)| meter),
                )
            }
            None => (Some(item), super::super::COST),
        },
    };
    Ok(VendorLine {
        model: model.map(str::to_owned),
        meter: meter.to_owned(),
        cost_usd: number(amount, "value")?,
        ..base
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String, String, String)> {
        let show = |value: Option<Decimal>| value.map(|v| v.to_string()).unwrap_or_default();
        let read = super::super::read("openai", &[text.to_owned()]).unwrap();
        read.into_iter()
            .filter(|line| line.quantity.is_none_or(|quantity| !quantity.is_zero()))
            .map(|line| {
                let model = line.model.unwrap_or_default();
                (model, line.meter, show(line.quantity), show(line.cost_usd))
            })
            .collect()
    }

    #[test]
    fn usage_is_split_into_disjoint_meters() {
        let found = lines(
            r#"{"object":"page","data":[{"object":"bucket","start_time":1730419200,"end_time":1730505600,"results":[
                {"object":"organization.usage.completions.result","input_tokens":1000,"output_tokens":500,"input_cached_tokens":800,
                 "input_audio_tokens":0,"output_audio_tokens":0,"num_model_requests":5,"project_id":null,"api_key_id":null,"model":"gpt-4o-mini"}]}],
                "has_more":false,"next_page":null}"#,
        );
        let expect = |meter: &str, quantity: &str| {
            (
                "gpt-4o-mini".to_owned(),
                meter.to_owned(),
                quantity.to_owned(),
                String::new(),
            )
        };
        assert_eq!(
            found,
            [
                expect("calls", "5"),
                expect("input_tokens", "200"),
                expect("cache_read_tokens", "800"),
                expect("output_tokens", "500"),
            ]
        );
    }

    #[test]
    fn costs_are_read_by_line_item() {
        let found = lines(
            r#"{"data":[{"start_time":1730419200,"results":[
                {"object":"organization.costs.result","amount":{"value":0.06,"currency":"usd"},"line_item":"gpt-4o-mini-2024-07-18, cached input"},
                {"object":"organization.costs.result","amount":{"value":1.5,"currency":"usd"},"line_item":null}]}]}"#,
        );
        assert_eq!(found[0].1, "cache_read_tokens");
        assert_eq!(found[0].3, "0.06");
        assert_eq!((found[1].0.as_str(), found[1].1.as_str()), ("", "cost"));
        let euros = r#"{"data":[{"start_time":1,"results":[{"object":"organization.costs.result","amount":{"value":1,"currency":"eur"}}]}]}"#;
        assert!(super::super::read("openai", &[euros.to_owned()]).is_err());
    }
}
