//! What goes into the ledger as JSON text, written straight into the row.
//!
//! The general serializer prints decimals through the formatter of 128-bit numbers, and that was a
//! fifth of what an event cost here. What is written reads the same as what it would have written,
//! but for charges, whose members are kept without their names (`farebox_private.charges_of`).

use std::io::Write;

use farebox_pricing::event::{Charge, Rate};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::usage::{Conditions, Line, Usage};

/// Most digits of a number of 64 bits.
const DIGITS_MAX: usize = 20;

/// `[{"model","conditions","usage"}]`; conditions are left out where there are none.
pub(crate) fn lines(out: &mut Vec<u8>, lines: &[Line]) {
    list(out, lines, |out, line| {
        out.extend_from_slice(b"{\"model\":");
        string(out, &line.model);
        if !line.conditions.is_empty() {
            out.extend_from_slice(b",\"conditions\":");
            conditions(out, &line.conditions);
        }
        out.extend_from_slice(b",\"usage\":");
        usage(out, &line.usage);
        out.push(b'}');
    });
}

/// `{"meter":"quantity"}`.
pub(crate) fn usage(out: &mut Vec<u8>, usage: &Usage) {
    out.push(b'{');
    for (place, (meter, quantity)) in usage.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        name(out, meter.name());
        out.push(b':');
        decimal(out, quantity);
    }
    out.push(b'}');
}

/// `[[model, meter, quantity, cost_rate, price_rate, cost_usd, billed_usd, cost_rule, price_rule]]`,
/// a rate as `[usd, per]`, and behind them `billed_quantity` where there is one.
pub(crate) fn charges(out: &mut Vec<u8>, charges: &[Charge]) {
    list(out, charges, |out, charge| {
        out.push(b'[');
        string(out, &charge.model);
        out.push(b',');
        name(out, charge.meter.name());
        out.push(b',');
        decimal(out, charge.quantity);
        for rate in [&charge.cost_rate, &charge.price_rate] {
            out.push(b',');
            optional(out, rate.as_ref(), |out, Rate { usd, per }| {
                out.push(b'[');
                decimal(out, *usd);
                out.push(b',');
                decimal(out, *per);
                out.push(b']');
            });
        }
        for amount in [charge.cost_usd, charge.billed_usd] {
            out.push(b',');
            optional(out, amount, usd);
        }
        for rule in [charge.cost_rule.as_deref(), charge.price_rule.as_deref()] {
            out.push(b',');
            optional(out, rule, string);
        }
        if let Some(quantity) = charge.billed_quantity {
            out.push(b',');
            decimal(out, quantity);
        }
        out.push(b']');
    });
}

fn conditions(out: &mut Vec<u8>, conditions: &Conditions) {
    out.push(b'{');
    for (place, (name, value)) in conditions.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

fn list<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl Fn(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// A name of ours, which holds nothing that is escaped.
fn name(out: &mut Vec<u8>, name: &'static str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

fn string(out: &mut Vec<u8>, text: &str) {
    if text
        .bytes()
        .any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        serde_json::to_writer(out, text).expect("a text always prints into memory");
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn decimal(out: &mut Vec<u8>, value: Decimal) {
    let (mantissa, scale) = (value.mantissa(), value.scale());
    out.push(b'"');
    match u64::try_from(mantissa.unsigned_abs()) {
        Ok(magnitude) => scaled(out, mantissa < 0, magnitude, scale),
        Err(_) => write!(out, "{value}").expect("writing into memory does not fail"),
    }
    out.push(b'"');
}

fn usd(out: &mut Vec<u8>, value: Usd) {
    let pico = value.as_pico();
    out.push(b'"');
    match u64::try_from(pico.unsigned_abs()) {
        Ok(mut magnitude) => {
            let mut scale = Usd::SCALE;
            while scale > 0 && magnitude.is_multiple_of(10) {
                magnitude /= 10;
                scale -= 1;
            }
            scaled(out, pico < 0, magnitude, scale);
        }
        Err(_) => write!(out, "{value}").expect("writing into memory does not fail"),
    }
    out.push(b'"');
}

/// A scale is at most 18, so that its power fits.
fn scaled(out: &mut Vec<u8>, is_negative: bool, magnitude: u64, scale: u8) {
    if is_negative {
        out.push(b'-');
    }
    let unit = 10u64.pow(u32::from(scale));
    digits(out, magnitude / unit, 1);
    if scale > 0 {
        out.push(b'.');
        digits(out, magnitude % unit, usize::from(scale));
    }
}

/// At least `width` digits.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut text = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    while value > 0 {
        first -= 1;
        text[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[first.min(DIGITS_MAX - width)..]);
}

#[cfg(test)]
mod tests {
    use farebox_pricing::usage::Meter;
    use serde_json::{Value, json};

    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn decimals_and_amounts_read_as_they_print() {
        for text in [
            "0",
            "1",
            "-1",
            "0.5",
            "-0.05",
            "120",
            "1000000",
            "0.000000000001",
            "18446744073709551615",
            "18446744073709551616",
            "1.844674407370955161",
            "-999999999999999999.999999999999999999",
        ] {
            let value: Decimal = text.parse().unwrap();
            assert_eq!(written(|out| decimal(out, value)), text);
            if let Ok(amount) = text.parse::<Usd>() {
                assert_eq!(written(|out| usd(out, amount)), text);
            }
        }
    }

    #[test]
    fn lines_read_as_the_serializer_writes_them() {
        let plain: Line = serde_json::from_value(json!({
            "model": "gpt-4o-mini",
            "usage": {"input_tokens": "120", "cache_read_tokens": "0", "audio_seconds": "25.933313"},
        }))
        .unwrap();
        let odd: Line = serde_json::from_value(json!({
            "model": "a \"quoted\" \\ é\u{1}\n",
            "conditions": {"service_tier": "flex", "geo\t": "é"},
            "usage": {},
        }))
        .unwrap();
        for case in [vec![], vec![plain.clone()], vec![odd, plain]] {
            let mut out = Vec::new();
            lines(&mut out, &case);
            assert_eq!(out, serde_json::to_vec(&case).unwrap());
        }
    }

    #[test]
    fn charges_are_lists() {
        let rate = |usd: &str| Rate {
            usd: usd.parse().unwrap(),
            per: Decimal::from(1_000_000),
        };
        let priced = Charge {
            model: "m".into(),
            meter: Meter::InputTokens,
            quantity: Decimal::from(120),
            cost_rate: Some(rate("0.15")),
            price_rate: Some(rate("0.3")),
            cost_usd: Some(Usd::from_pico(18_000_000)),
            billed_usd: Some(Usd::from_pico(36_000_000)),
            cost_rule: Some("openai/m/input_tokens".into()),
            price_rule: Some("markup".into()),
            billed_quantity: None,
        };
        let unpriced = Charge {
            cost_rate: None,
            price_rate: None,
            cost_usd: None,
            billed_usd: None,
            cost_rule: None,
            price_rule: None,
            ..priced.clone()
        };
        assert_eq!(
            written(|out| charges(out, &[priced.clone(), unpriced.clone()])),
            json!([
                [
                    "m",
                    "input_tokens",
                    "120",
                    ["0.15", "1000000"],
                    ["0.3", "1000000"],
                    "0.000018",
                    "0.000036",
                    "openai/m/input_tokens",
                    "markup"
                ],
                [
                    "m",
                    "input_tokens",
                    "120",
                    null,
                    null,
                    null,
                    null,
                    null,
                    null
                ],
            ])
        );
    }
}
