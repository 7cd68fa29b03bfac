//! Anthropic: pages of `GET /v1/organizations/usage_report/messages` and `…/cost_report`. Amounts of the
//! cost report are cents, as decimal texts.

use farebox_pricing::money::Decimal;
use serde_json::Value;

use super::{Vendor, VendorLine, day, list, number, text};

pub(super) static VENDOR: Vendor = Vendor {
    name: "anthropic",
    read,
    folds: &[("reasoning_tokens", "output_tokens")],
};

/// Paths of a usage result, and a cost's `token_type`, and our meter.
const METERS: [(&str, &str); 5] = [
    ("uncached_input_tokens", "input_tokens"),
    ("cache_read_input_tokens", "cache_read_tokens"),
    (
        "cache_creation.ephemeral_5m_input_tokens",
        "cache_write_tokens",
    ),
    (
        "cache_creation.ephemeral_1h_input_tokens",
        "cache_write_1h_tokens",
    ),
    ("output_tokens", "output_tokens"),
];

fn read(documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    let mut lines = Vec::new();
    for document in documents {
        let buckets = match list(document, "data") {
            [] => std::slice::from_ref(document),
            buckets => buckets,
        };
        for bucket in buckets {
            let results = list(bucket, "results");
            let day = text(bucket, "starting_at").and_then(day);
            if !results.is_empty() && day.is_none() {
                return Err("a bucket has no starting_at".to_owned());
            }
            for result in results {
                let base = VendorLine {
                    day: day.clone(),
                    key: text(result, "api_key_id").map(str::to_owned),
                    model: text(result, "model").map(str::to_owned),
                    ..VendorLine::default()
                };
                match result.get("amount") {
                    Some(_) => lines.push(cost(result, base)?),
                    None => usage(result, &base, &mut lines)?,
                }
            }
        }
    }
    Ok(lines)
}

fn usage(result: &Value, base: &VendorLine, lines: &mut Vec<VendorLine>) -> Result<(), String> {
    let mut push = |meter: &str, quantity: Option<Decimal>| {
        if let Some(quantity) = quantity {
            lines.push(VendorLine {
                meter: meter.to_owned(),
                quantity: Some(quantity),
                ..base.clone()
            });
        }
    };
    for (path, meter) in METERS {
        push(meter, at(result, path)?);
    }
    push(
        "web_searches",
        at(result, "server_tool_use.web_search_requests")?,
    );
    Ok(())
}

/// A number behind a dotted path.
fn at(value: &Value, path: &str) -> Result<Option<Decimal>, String> {
    match path.split_once('.') {
        Some((first, rest)) => number(value.get(first).unwrap_or(&Value::Null), rest),
        None => number(value, path),
    }
}

fn cost(result: &Value, base: VendorLine) -> Result<VendorLine, String> {
    let currency = text(result, "currency").unwrap_or("USD");
    if !currency.eq_ignore_ascii_case("usd") {
        return Err(format!("amounts in {currency}, not in US dollars"));
    }
    let token_type = text(result, "token_type");
    let meter = METERS
        .iter()
        .find(|(name, _)| Some(*name) == token_type)
        .map(|(_, meter)| *meter);
    let kind = text(result, "cost_type");
    let meter = match kind {
        Some("web_search") => "web_searches",
        _ => meter.unwrap_or(super::super::COST),
    };
    // What no model did, such as running code, is not held against the models' sum.
    let other = kind.filter(|kind| *kind != "tokens").map(str::to_owned);
    let cents: Decimal = Decimal::new(1, 2).map_err(|error| error.to_string())?;
    Ok(VendorLine {
        model: base.model.clone().or(other),
        meter: meter.to_owned(),
        cost_usd: number(result, "amount")?.and_then(|amount| amount.checked_mul(cents)),
        ..base
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn usage_and_cents_are_read() {
        let usage = r#"{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[
            {"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,"ephemeral_5m_input_tokens":500},
             "cache_read_input_tokens":200,"output_tokens":700,"server_tool_use":{"web_search_requests":10},
             "api_key_id":"apikey_1","workspace_id":null,"model":"claude-sonnet-5","service_tier":"standard","context_window":"0-200k"}]}],
            "has_more":false,"next_page":null}"#;
        let read = super::super::read("anthropic", &[usage.to_owned()]).unwrap();
        let found: Vec<_> = (read.iter())
            .map(|line| (line.meter.as_str(), line.quantity.unwrap().to_string()))
            .collect();
        let expect = |meter, quantity: &str| (meter, quantity.to_owned());
        assert_eq!(
            found,
            [
                expect("input_tokens", "1500"),
                expect("cache_read_tokens", "200"),
                expect("cache_write_tokens", "500"),
                expect("cache_write_1h_tokens", "1000"),
                expect("output_tokens", "700"),
                expect("web_searches", "10"),
            ]
        );
        let cost = r#"{"data":[{"starting_at":"2026-11-01T00:00:00Z","results":[
            {"currency":"USD","amount":"123.45","model":"claude-sonnet-5","cost_type":"tokens","token_type":"output_tokens"}]}]}"#;
        let read = super::super::read("anthropic", &[cost.to_owned()]).unwrap();
        assert_eq!(read[0].cost_usd.unwrap().to_string(), "1.2345");
        assert_eq!(read[0].meter, "output_tokens");
    }
}
