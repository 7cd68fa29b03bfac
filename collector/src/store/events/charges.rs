//! An event's charges as they are shown, made of how they are kept: members without their names.
//!
//! The text is that of `farebox_private.charges_of`, which says the same in SQL and takes as long as the rest of the
//! row together. Postgres keeps it for tenants, whose charges must not leave the database with the cost in them.

use std::fmt::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Error, Row};

use super::Column;
use crate::records::exports::Kind;

/// Charges as shown.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Charges(Box<RawValue>);

/// The column: as kept for the operator, as shown for a tenant. `$1` says whether a tenant asks.
pub(super) const COLUMN: &str = "case
        when not $1 then charges
        else farebox_private.charges_of(charges, paid_by <> 'operator')::text
    end";

/// Names in the order in which Postgres prints them, and where the value is kept.
const MEMBERS: [(&str, usize); 9] = [
    ("meter", METER),
    ("model", 0),
    ("cost_usd", 5),
    ("quantity", 2),
    ("cost_rate", COST_RATE),
    ("cost_rule", 7),
    ("billed_usd", 6),
    ("price_rate", PRICE_RATE),
    ("price_rule", 8),
];
const METER: usize = 1;
const COST_RATE: usize = 3;
const PRICE_RATE: usize = 4;
/// Only where the selling rule has steps of its own.
const BILLED_QUANTITY: usize = 9;

impl Column for Option<Charges> {
    const KIND: Kind = Kind::Charges;

    fn read(row: &Row, index: usize) -> Result<Self, Error> {
        let text: Option<&str> = row.try_get(index)?;
        Ok(text.and_then(|text| RawValue::from_string(shown(text)).ok().map(Charges)))
    }
}

/// Charges as shown, of either text. What cannot be read stays as it is.
pub(crate) fn shown(text: &str) -> String {
    let Ok(charges) = serde_json::from_str::<Vec<Vec<&RawValue>>>(text) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(4 * text.len());
    out.push('[');
    for (number, charge) in charges.iter().enumerate() {
        let value = |place: usize| charge.get(place).map_or("null", |value| value.get());
        out.push_str(if number > 0 { ", {" } else { "{" });
        for (name, place) in MEMBERS {
            if place != METER {
                out.push_str(", ");
            }
            let _ = write!(out, "\"{name}\": ");
            match place {
                COST_RATE | PRICE_RATE => rate(&mut out, value(place)),
                _ => out.push_str(value(place)),
            }
        }
        if charge.len() > BILLED_QUANTITY {
            let _ = write!(out, ", \"billed_quantity\": {}", value(BILLED_QUANTITY));
        }
        out.push('}');
    }
    out.push(']');
    out
}

/// `[usd, per]`, or nothing.
fn rate(out: &mut String, kept: &str) {
    let _ = match serde_json::from_str::<[&RawValue; 2]>(kept) {
        Ok([usd, per]) => write!(out, "{{\"per\": {}, \"usd\": {}}}", per.get(), usd.get()),
        Err(_) => write!(out, "{kept}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_told_with_their_names() {
        let kept = r#"[["m\"1","input_tokens","1000",["0.15","1000000"],null,"0.00015",null,"o/m",null],["m","pages","2",null,["1","1"],null,"2",null,"r","3"]]"#;
        assert_eq!(
            shown(kept),
            r#"[{"meter": "input_tokens", "model": "m\"1", "cost_usd": "0.00015", "quantity": "1000", "cost_rate": {"per": "1000000", "usd": "0.15"}, "cost_rule": "o/m", "billed_usd": null, "price_rate": null, "price_rule": null}, {"meter": "pages", "model": "m", "cost_usd": null, "quantity": "2", "cost_rate": null, "cost_rule": null, "billed_usd": "2", "price_rate": {"per": "1", "usd": "1"}, "price_rule": "r", "billed_quantity": "3"}]"#
        );
        for same in ["[]", "[{\"meter\": \"pages\"}]", "", "nonsense"] {
            assert_eq!(shown(same), same);
        }
    }
}
