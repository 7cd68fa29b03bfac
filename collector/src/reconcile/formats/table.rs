//! Any vendor's figures as a table: CSV with a heading line, or JSON items with the same names. Columns
//! are `date` (or `day`, `timestamp`), `model`, `request_id` (or `response_id`, `id`), `api_key_id`, one for
//! each meter by its name, and `cost_usd` (or `cost`, `amount_usd`). A row of one meter carries its cost;
//! of several, the cost is compared as a whole.

use farebox_pricing::usage::Meter;
use serde_json::Value;

use super::{VendorLine, day, figure, list};

const DAYS: [&str; 5] = ["date", "day", "timestamp", "created_at", "start"];
const MODELS: [&str; 2] = ["model", "model_id"];
const IDS: [&str; 4] = ["request_id", "response_id", "id", "history_item_id"];
const KEYS: [&str; 2] = ["api_key_id", "key"];
const COSTS: [&str; 4] = ["cost_usd", "cost", "amount_usd", "amount"];
/// Other names of meters.
const METERS: [(&str, &str); 4] = [
    ("requests_count", "calls"),
    ("calls", "calls"),
    ("seconds", "audio_seconds"),
    ("duration_seconds", "audio_seconds"),
];

/// A table in CSV.
pub(super) fn read_csv(provider: &str, text: &str) -> Result<Vec<VendorLine>, String> {
    let mut rows = csv(text)?.into_iter();
    let names: Vec<String> = rows
        .next()
        .unwrap_or_default()
        .iter()
        .map(|name| name.trim().to_lowercase().replace(' ', "_"))
        .collect();
    let mut lines = Vec::new();
    for (number, row) in (2..).zip(rows) {
        if row.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        // A file that was cut off ends in such a row.
        if row.len() != names.len() {
            return Err(format!(
                "row {number} has {} cells of {}",
                row.len(),
                names.len()
            ));
        }
        let cells = names
            .iter()
            .map(String::as_str)
            .zip(row.iter().map(String::as_str));
        read_row(provider, &cells.collect::<Vec<_>>(), &mut lines)?;
    }
    Ok(lines)
}

/// The same as JSON: items, alone or in a list named `items`, `data`, `usage` or `rows`.
pub(super) fn read_items(provider: &str, documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    let mut lines = Vec::new();
    for document in documents {
        let lists = ["items", "data", "usage", "rows"].map(|name| list(document, name));
        let items = lists
            .into_iter()
            .find(|items| !items.is_empty())
            .unwrap_or(std::slice::from_ref(document));
        for item in items {
            let Some(members) = item.as_object() else {
                return Err("an item is no object".to_owned());
            };
            let cells: Vec<(&str, String)> = members
                .iter()
                .filter_map(|(name, value)| match value {
                    Value::String(text) => Some((name.as_str(), text.clone())),
                    Value::Number(number) => Some((name.as_str(), number.as_str().to_owned())),
                    _ => None,
                })
                .collect();
            let cells: Vec<(&str, &str)> = cells
                .iter()
                .map(|(name, text)| (*name, text.as_str()))
                .collect();
            read_row(provider, &cells, &mut lines)?;
        }
    }
    Ok(lines)
}

fn read_row(
    provider: &str,
    cells: &[(&str, &str)],
    lines: &mut Vec<VendorLine>,
) -> Result<(), String> {
    let first = |names: &[&str]| {
        let found = cells
            .iter()
            .find(|(name, text)| names.contains(name) && !text.trim().is_empty());
        found.map(|(_, text)| text.trim())
    };
    if cells.iter().all(|(_, text)| text.trim().is_empty()) {
        return Ok(());
    }
    let base = VendorLine {
        day: first(&DAYS).and_then(day),
        id: first(&IDS).map(str::to_owned),
        key: first(&KEYS).map(str::to_owned),
        model: first(&MODELS).map(str::to_owned),
        ..VendorLine::default()
    };
    if base.day.is_none() && base.id.is_none() {
        return Err(format!(
            "{provider}: a row has neither a day nor a request id"
        ));
    }
    let cost_usd = figure("the cost", first(&COSTS).unwrap_or_default())?;
    let mut metered = Vec::new();
    for (name, text) in cells {
        if let Some(meter) = meter(name)
            && let Some(quantity) = figure(name, text)?
        {
            metered.push((meter, quantity));
        }
    }
    let [(meter, quantity)] = metered[..] else {
        lines.extend(metered.into_iter().map(|(meter, quantity)| VendorLine {
            meter: meter.to_owned(),
            quantity: Some(quantity),
            ..base.clone()
        }));
        lines.extend(cost_usd.map(|cost_usd| VendorLine {
            meter: super::super::COST.to_owned(),
            cost_usd: Some(cost_usd),
            ..base
        }));
        return Ok(());
    };
    lines.push(VendorLine {
        meter: meter.to_owned(),
        quantity: Some(quantity),
        cost_usd,
        ..base
    });
    Ok(())
}

fn meter(name: &str) -> Option<&str> {
    let other = METERS.iter().find(|(known, _)| *known == name);
    other
        .map(|(_, meter)| *meter)
        .or_else(|| name.parse().ok().map(Meter::name))
}

/// Rows of RFC 4180: quoted cells may hold commas, doubled quotes and line ends.
fn csv(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut cell = String::new();
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    if is_quoted {
        return Err("a quoted cell has no end".to_owned());
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_are_cells() {
        let rows = csv("a,\"b,\"\"c\"\"\nd\"\r\n,e").unwrap();
        assert_eq!(rows, [vec!["a", "b,\"c\"\nd"], vec!["", "e"]]);
        assert!(csv("\"a").is_err());
    }

    #[test]
    fn a_cost_belongs_to_the_one_meter_of_its_row() {
        let check = |csv: &str, expected: &[(&str, bool, bool)]| {
            let read = read_csv("v", csv).unwrap();
            let found: Vec<_> = (read.iter())
                .map(|line| {
                    (
                        line.meter.as_str(),
                        line.quantity.is_some(),
                        line.cost_usd.is_some(),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{csv}");
        };
        check(
            "Day,Model,Input Tokens,Cost USD\n2026-11-01,m,5,0.1\n",
            &[("input_tokens", true, true)],
        );
        check(
            "day,model,input_tokens,output_tokens,cost\n2026-11-01,m,5,6,0.1\n",
            &[
                ("input_tokens", true, false),
                ("output_tokens", true, false),
                ("cost", false, true),
            ],
        );
        assert!(read_csv("v", "model,input_tokens\nm,5\n").is_err());
    }
}
