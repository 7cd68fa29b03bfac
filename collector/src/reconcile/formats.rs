//! Vendors' own usage and cost reports, each read into the same lines. A vendor's shapes are in its file
//! here and nowhere else; any vendor's figures can come as a table with our column names (`table.rs`).
//!
//! Amounts are decimals all the way. A report prints floats with more digits than a decimal keeps; what
//! lies beyond the eighteenth digit behind the point is cut.

use std::collections::BTreeMap;

use farebox_pricing::money::{Decimal, SCALE_MAX};
use farebox_pricing::time::Timestamp;
use serde_json::Value;

mod anthropic;
mod cartesia;
mod deepgram;
mod elevenlabs;
mod openai;
mod table;

/// Characters of an unreadable figure that are told.
const SHOWN_CHARS_MAX: usize = 40;

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

/// The lines of reports, or which of them cannot be read and why. A file is JSON (one document, an array
/// of pages, or one document a line), else CSV.
pub(crate) fn read(provider: &str, files: &[String]) -> Result<Vec<VendorLine>, (usize, String)> {
    let mut lines = Vec::new();
    let mut pages = Pages::default();
    for (index, file) in files.iter().enumerate() {
        let read = read_file(provider, file, &mut pages, index);
        lines.extend(read.map_err(|cause| (index, cause))?);
    }
    match pages.going_on() {
        Some(file) => Err((
            file,
            "it says has_more, and no page behind it is here".to_owned(),
        )),
        None => Ok(lines),
    }
}

fn read_file(
    provider: &str,
    text: &str,
    pages: &mut Pages,
    index: usize,
) -> Result<Vec<VendorLine>, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with(['{', '[']) {
        return table::read_csv(provider, text);
    }
    let documents = documents(text)?;
    for document in &documents {
        pages.note(document, index);
    }
    match vendor(provider) {
        Some(vendor) => (vendor.read)(&documents),
        None => table::read_items(provider, &documents),
    }
}

/// Which pages say that more follow, by what they count: each report needs one that says it is the last.
#[derive(Default)]
struct Pages {
    /// The last file of a kind whose pages all go on; nothing once one ends it.
    kinds: BTreeMap<String, Option<usize>>,
    /// A page of nothing was the last of something.
    is_ended: bool,
}

impl Pages {
    fn note(&mut self, page: &Value, file: usize) {
        let Some(has_more) = page.get("has_more").and_then(Value::as_bool) else {
            return;
        };
        let results = list(page, "data")
            .iter()
            .flat_map(|bucket| list(bucket, "results"));
        let kinds = results.map(|result| match text(result, "object") {
            Some(object) => object.to_owned(),
            None if result.get("amount").is_some() => "costs".to_owned(),
            None => "usage".to_owned(),
        });
        let calls = list(page, "history").iter().map(|_| "calls".to_owned());
        let Some(kind) = kinds.chain(calls).next() else {
            self.is_ended |= !has_more;
            return;
        };
        let going_on = self.kinds.entry(kind).or_insert(Some(file));
        *going_on = going_on.and(has_more.then_some(file));
    }

    /// A file of a report that does not end.
    fn going_on(&self) -> Option<usize> {
        let open = self.kinds.values().flatten().next().copied();
        open.filter(|_| !self.is_ended)
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

/// A number, or a text that is one; nothing where there is none. What is there and cannot be read is
/// refused: without that figure a report could agree by mistake.
fn number(value: &Value, name: &str) -> Result<Option<Decimal>, String> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => figure(name, number.as_str()),
        Some(Value::String(text)) => figure(name, text),
        Some(_) => Err(format!("{name} is no number")),
    }
}

/// The number of a cell; nothing where the cell is blank.
fn figure(name: &str, text: &str) -> Result<Option<Decimal>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let unread = || {
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        format!("{name}: `{shown}` is no number that fits a decimal")
    };
    decimal(text).map(Some).ok_or_else(unread)
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
    if scale <= i64::from(SCALE_MAX) {
        // It is not too fine but too large.
        return None;
    }
    let surplus = usize::try_from(scale - i64::from(SCALE_MAX)).ok()?;
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
        for bad in ["", "a", "1.2.3", "--1", "1e400", &"9".repeat(40), "1e30.5"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_report_that_is_not_whole_is_refused() {
        let refused = |provider: &str, text: &str, why: &str| {
            let cause = read(provider, &[text.to_owned()]).err();
            assert!(
                cause.as_ref().is_some_and(|(_, cause)| cause.contains(why)),
                "{provider} {text}: {cause:?}"
            );
        };
        // A cell cut off at the file's end, a row of another table.
        let table = "date,model,input_tokens,cost_usd\n2026-11-01,m,5,0.1\n";
        refused(
            "any",
            &format!("{table}2026-11-02,m,10"),
            "row 3 has 3 cells of 4",
        );
        refused(
            "any",
            &format!("{table}2026-11-02,m,10,1,2\n"),
            "row 3 has 5 cells of 4",
        );
        assert_eq!(
            read("any", &[format!("{table}\n\r\n")]).map(|lines| lines.len()),
            Ok(1)
        );
        // A page that says there are more, and nothing more.
        let page = |kind: &str, has_more: bool| {
            format!(
                r#"{{"data":[{{"start_time":1793491200,"starting_at":"2026-11-01T00:00:00Z","results":[
                    {{"object":"organization.{kind}.result","num_model_requests":5,"uncached_input_tokens":5}}]}}],"has_more":{has_more}}}"#
            )
        };
        for provider in ["openai", "anthropic"] {
            refused(provider, &page("usage.completions", true), "has_more");
        }
        let [begun, ended] = [true, false].map(|has_more| page("usage.completions", has_more));
        let costs = page("costs", true);
        let empty = r#"{"data":[],"has_more":false}"#.to_owned();
        let history = r#"{"history":[{}],"has_more":true}"#;
        refused("elevenlabs", history, "has_more");
        for (files, expected) in [
            (vec![format!("{begun}\n{ended}")], Ok(2)),
            (vec![begun.clone(), ended.clone()], Ok(2)),
            (vec![ended.clone(), begun.clone()], Ok(2)),
            (vec![begun.clone(), empty], Ok(1)),
            (vec![ended, costs], Err(1)),
            (vec![begun.clone(), begun], Err(1)),
        ] {
            let read = read("openai", &files);
            let found = read.map(|lines| lines.len()).map_err(|(file, _)| file);
            assert_eq!(found, expected, "{files:?}");
        }
        // A figure that is there and cannot be read is not the same as none.
        let unread = "is no number";
        refused("any", "date,input_tokens,calls\n2026-11-01,n/a,3\n", unread);
        refused(
            "any",
            "date,input_tokens,cost\n2026-11-01,5,1e400\n",
            unread,
        );
        refused(
            "openai",
            &page("usage.completions", false).replace(":5", ":[5]"),
            unread,
        );
        refused(
            "anthropic",
            &page("", false).replace(":5", ":\"five\""),
            unread,
        );
        refused(
            "deepgram",
            r#"{"requests":[{"request_id":"r","path":"listen","response":{"details":{"usd":"free","duration":1}}}]}"#,
            unread,
        );
        refused(
            "elevenlabs",
            r#"{"history":[{"request_id":"r","character_count_change_from":"x","character_count_change_to":5}]}"#,
            unread,
        );
        refused(
            "elevenlabs",
            r#"{"time":[1793491200000],"usage":{"m":["x"]}}"#,
            unread,
        );
        refused(
            "elevenlabs",
            r#"{"time":[1793491200000],"usage":{"m":[1,2]}}"#,
            "times",
        );
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
                drop(read(vendor, &[text.to_owned()]));
            }
        }
    }
}
