//! Vendors' own usage and cost reports, each read into the same lines. A vendor's shapes are in its file
//! here and nowhere else; any vendor's figures can come as a table with our column names (`table.rs`).
//!
//! Amounts are decimals all the way. A report prints floats with more digits than a decimal keeps; what
//! lies beyond the eighteenth digit behind the point is cut.

use farebox_pricing::money::{Decimal, SCALE_MAX};
use farebox_pricing::time::Timestamp;
use serde_json::Value;

mod anthropic;
mod cartesia;
mod deepgram;
mod elevenlabs;
mod openai;
mod table;

/// One figure of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VendorLine {
    /// The day, UTC, as `2026-11-22`.
    pub(crate) day: Option<String>,
    /// The request or response id, where single calls are named.
    pub(crate) id: Option<String>,
    /// The vendor's id of the key that called.
    pub(crate) key: Option<String>,
    /// The model as the vendor names it.
    pub(crate) model: Option<String>,
    /// Our name of what is counted.
    pub(crate) meter: String,
    /// How much; absent where there is an amount only.
    pub(crate) quantity: Option<Decimal>,
    /// The amount; absent where there are units only.
    pub(crate) cost_usd: Option<Decimal>,
}

/// A vendor whose reports are known.
struct Vendor {
    name: &'static str,
    read: fn(&[Value]) -> Result<Vec<VendorLine>, String>,
    /// Meters of the ledger that the vendor reports as another one.
    folds: &'static [(&'static str, &'static str)],
}

static ALL: [&Vendor; 5] = [
    &anthropic::VENDOR,
    &cartesia::VENDOR,
    &deepgram::VENDOR,
    &elevenlabs::VENDOR,
    &openai::VENDOR,
];

fn vendor(provider: &str) -> Option<&'static Vendor> {
    ALL.iter().copied().find(|vendor| vendor.name == provider)
}

/// The meter under which a provider reports one of ours.
pub(crate) fn folded<'a>(provider: &str, meter: &'a str) -> &'a str {
    let folds = vendor(provider).map_or(&[][..], |vendor| vendor.folds);
    let fold = folds.iter().find(|(from, _)| *from == meter);
    fold.map_or(meter, |(_, to)| to)
}

/// The lines of a file: JSON (one document, an array of pages, or one document a line), else CSV.
pub(crate) fn read(provider: &str, text: &str) -> Result<Vec<VendorLine>, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with(['{', '[']) {
        return table::read_csv(provider, text);
    }
    let documents = documents(text)?;
    match vendor(provider) {
        Some(vendor) => (vendor.read)(&documents),
        None => table::read_items(provider, &documents),
    }
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    let found = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let found: Vec<Value> = found
        .collect::<Result<_, _>>()
        .map_err(|cause| format!("not JSON: {cause}"))?;
    let flat = found.into_iter().flat_map(|document| match document {
        Value::Array(items) => items,
        one => vec![one],
    });
    Ok(flat.collect())
}

/// The members of a list; none when there is no such list.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    let text = value.get(name)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// A number, or a text that is one.
fn number(value: &Value, name: &str) -> Option<Decimal> {
    match value.get(name)? {
        Value::Number(number) => decimal(number.as_str()),
        Value::String(text) => decimal(text),
        _ => None,
    }
}

/// Reads a decimal and cuts what is too fine for one.
fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim().trim_start_matches('$').replace(',', "");
    if let Ok(exact) = text.parse() {
        return Some(exact);
    }
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let digits = format!("{whole}{fraction}");
    let magnitude = digits.strip_prefix('-').unwrap_or(&digits);
    if magnitude.is_empty() || !magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let surplus = usize::try_from((scale - i64::from(SCALE_MAX)).max(0)).ok()?;
    let kept = digits.len().saturating_sub(surplus);
    match digits.get(..kept)? {
        "" | "-" => Some(Decimal::ZERO),
        kept => format!("{kept}e-{SCALE_MAX}").parse().ok(),
    }
}

/// The UTC day of Unix seconds.
fn day_of_seconds(seconds: Decimal) -> Option<String> {
    day_of_millis(seconds.checked_mul(Decimal::from(1000))?)
}

fn day_of_millis(millis: Decimal) -> Option<String> {
    if millis.scale() != 0 || millis.is_negative() {
        return None;
    }
    let millis = i64::try_from(millis.mantissa()).ok()?;
    // Beyond the year 9999 a time has no such text.
    (millis < 253_402_300_800_000).then(|| day(&Timestamp::from_millis(millis).to_string()))?
}

/// The day that an RFC 3339 time or a day begins with.
fn day(text: &str) -> Option<String> {
    let day = text.trim().get(..10)?;
    let is_day = format!("{day}T00:00:00Z").parse::<Timestamp>().is_ok();
    is_day.then(|| day.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_cut_not_refused() {
        let check = |text: &str, expected: &str| {
            let read = decimal(text).map(|value| value.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        };
        check("0.06000000000000000012345", "0.06");
        check("1.25e-05", "0.0000125");
        check("1.23456789012345678901e-2", "0.012345678901234567");
        check("3e-25", "0");
        check("$1,234.50", "1234.5");
        for bad in ["", "a", "1.2.3", "--1"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_of_utc() {
        let seconds = |text: &str| day_of_seconds(text.parse().unwrap());
        assert_eq!(seconds("1730419200").as_deref(), Some("2024-11-01"));
        assert_eq!(seconds("1e30"), None);
        assert_eq!(seconds("-1"), None);
        assert_eq!(
            day("2026-11-22T10:00:00+02:00").as_deref(),
            Some("2026-11-22")
        );
        assert_eq!(day("yesterday!"), None);
    }

    #[test]
    fn no_text_of_a_file_can_panic() {
        let texts = [
            "",
            "{",
            "[]",
            "{}",
            "[1,2]",
            "null",
            "a,b\n\"",
            "{\"data\":[{\"results\":[{}]}]}",
            "{\"data\":[null,1,{\"start_time\":\"x\",\"results\":[1]}]}",
            "day,model\n,\n",
            "{\"results\":[{\"hours\":1e400}]}",
            "{\"time\":[1],\"usage\":{\"a\":[]}}",
        ];
        for vendor in ALL.iter().map(|vendor| vendor.name).chain(["unknown"]) {
            for text in texts {
                drop(read(vendor, text));
            }
        }
    }
}
