//! ElevenLabs: `GET /v1/usage/character-stats` (by day, broken down by model) and `GET /v1/history` (call
//! by call). Both count the credits that the account has left fewer, which the ledger has as `credits`
//! where the answer told them and as `characters` where it did not.

use farebox_pricing::money::Decimal;
use serde_json::Value;

use super::{
    Vendor, VendorLine, day_of_millis, day_of_seconds, decimal, list, number, table, text,
};

pub(super) static VENDOR: Vendor = Vendor {
    name: "elevenlabs",
    read,
    folds: &[("characters", "credits")],
};

/// Below this a number is Unix seconds, above it milliseconds.
const SECONDS_MAX: u64 = 100_000_000_000;

fn read(documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    let mut lines = Vec::new();
    for document in documents {
        if let Some(usage) = document.get("usage").and_then(Value::as_object) {
            for (model, series) in usage {
                lines.extend(stats(list(document, "time"), model, series)?);
            }
            continue;
        }
        let items = list(document, "history");
        if items.is_empty() && document.get("history").is_none() {
            lines.extend(table::read_items(
                VENDOR.name,
                std::slice::from_ref(document),
            )?);
        }
        for item in items {
            lines.extend(call(item)?);
        }
    }
    Ok(lines)
}

fn stats(times: &[Value], model: &str, series: &Value) -> Result<Vec<VendorLine>, String> {
    let series = series.as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    if times.len() != series.len() {
        return Err(format!(
            "{model} has {} figures for {} times",
            series.len(),
            times.len()
        ));
    }
    for (time, quantity) in times.iter().zip(series) {
        let printed = |value: &Value| decimal(&value.to_string());
        let time = printed(time).ok_or("a time is no number")?;
        let day = match time < Decimal::from(SECONDS_MAX) {
            true => day_of_seconds(time),
            false => day_of_millis(time),
        };
        let quantity = match quantity {
            Value::Null => continue,
            quantity => {
                printed(quantity).ok_or_else(|| format!("{model}: a figure is no number"))?
            }
        };
        if quantity.is_zero() {
            continue;
        }
        lines.push(VendorLine {
            day: Some(day.ok_or("a time is no Unix time")?),
            // Without a breakdown the series is called All.
            model: (!model.eq_ignore_ascii_case("all")).then(|| model.to_owned()),
            meter: "credits".to_owned(),
            quantity: Some(quantity),
            ..VendorLine::default()
        });
    }
    Ok(lines)
}

fn call(item: &Value) -> Result<Option<VendorLine>, String> {
    let from = number(item, "character_count_change_from")?;
    let to = number(item, "character_count_change_to")?;
    let id = text(item, "request_id").or_else(|| text(item, "history_item_id"));
    let (Some(from), Some(to), Some(id)) = (from, to, id) else {
        return Ok(None);
    };
    Ok(Some(VendorLine {
        day: number(item, "date_unix")?.and_then(day_of_seconds),
        id: Some(id.to_owned()),
        model: text(item, "model_id").map(str::to_owned),
        meter: "credits".to_owned(),
        quantity: to.checked_sub(from),
        ..VendorLine::default()
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn series_and_history_are_read() {
        let stats = r#"{"time":[1793491200000,1793577600000],"usage":{"eleven_v3":[120,0.0],"All":[7.5,1]}}"#;
        let read = super::super::read("elevenlabs", &[stats.to_owned()]).unwrap();
        assert_eq!(read.len(), 3);
        let total = read.iter().find(|line| line.model.is_none()).unwrap();
        assert_eq!(total.quantity.unwrap().to_string(), "7.5");
        assert_eq!(total.day.as_deref(), Some("2026-11-01"));

        let history = r#"{"history":[{"history_item_id":"h","request_id":"r-1","model_id":"eleven_v3","date_unix":1793491200,
            "character_count_change_from":100,"character_count_change_to":117}]}"#;
        let read = super::super::read("elevenlabs", &[history.to_owned()]).unwrap();
        assert_eq!(read[0].id.as_deref(), Some("r-1"));
        assert_eq!(read[0].quantity.unwrap().to_string(), "17");
    }
}
