//! `farebox price quote`: the arithmetic of proxy and collector, on quantities that somebody names.

use std::io::BufRead;

use farebox_pricing::event::PaidBy;
use farebox_pricing::money::Decimal;
use farebox_pricing::price::{PRICE_RULE_COST, Priced, check_quantities, price};
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::rate_card::selling::Buyer;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage};
use serde_json::{Map, Value, json};

use super::{QuoteArgs, load};
use crate::deployment::now;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// Members of a call in a batch.
const MEMBERS: [&str; 7] = [
    "provider",
    "model",
    "usage",
    "at",
    "conditions",
    "tenant",
    "plan",
];

/// One call to price.
struct Call {
    provider: String,
    line: Line,
    at: Timestamp,
    tenant: Option<String>,
    plan: Option<String>,
}

pub(super) fn run(args: &QuoteArgs) -> Outcome {
    if args.in_force {
        return super::in_force::quote(args);
    }
    let cards = load(&args.cards)?;
    if args.batch {
        return batch(&cards);
    }
    let mut quoted = Vec::new();
    for model in &args.models {
        let call = call_of(args, model)?;
        quoted.push((model, price_of(&cards, &call)));
    }
    match (&quoted[..], args.reach.json) {
        ([(_, priced)], true) => say(&answer(priced).to_string()),
        ([(_, priced)], false) => show_charges(priced),
        (several, true) => {
            let items: Vec<Value> = several
                .iter()
                .map(|(model, priced)| {
                    let mut item = answer(priced);
                    item["model"] = json!(model);
                    item
                })
                .collect();
            say(&json!({ "items": items }).to_string());
        }
        (several, false) => compare(several),
    }
    Ok(())
}

/// Answers each line of standard input by a line, also one that is no call.
fn batch(cards: &CardSet) -> Outcome {
    let mut refused = 0u64;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::missing("standard input", error))?;
        if line.trim().is_empty() {
            continue;
        }
        match call_in(&line) {
            Ok(call) => say(&answer(&price_of(cards, &call)).to_string()),
            Err(why) => {
                refused += 1;
                say(
                    &json!({ "error": { "code": "malformed_request", "message": why } })
                        .to_string(),
                );
            }
        }
    }
    match refused {
        0 => Ok(()),
        count => Err(Failure::Usage(format!("{count} lines are no calls"))),
    }
}

fn call_of(args: &QuoteArgs, model: &str) -> Outcome<Call> {
    let wrong = |flag: &str| {
        let flag = flag.to_owned();
        move |why| Failure::Usage(format!("--{flag}: {why}"))
    };
    let object = |text: &str| {
        serde_json::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string())
    };
    let usage = args.usage.as_deref().unwrap_or_default();
    let conditions = args.conditions.as_deref().unwrap_or("{}");
    let call = Call {
        provider: args.provider.clone().unwrap_or_default(),
        line: Line {
            model: model.to_owned(),
            conditions: object(conditions)
                .and_then(|named| conditions_of(&named))
                .map_err(wrong("conditions"))?,
            usage: object(usage)
                .and_then(|named| usage_of(&named))
                .map_err(wrong("usage"))?,
        },
        at: instant(args.at.as_deref()).map_err(wrong("at"))?,
        tenant: args.tenant.clone(),
        plan: args.plan.clone(),
    };
    let negative = check_quantities(std::slice::from_ref(&call.line));
    negative.map_err(|refused| Failure::Usage(format!("--usage: {refused}")))?;
    Ok(call)
}

fn call_in(line: &str) -> Result<Call, String> {
    let members: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(name) = members
        .keys()
        .find(|name| !MEMBERS.contains(&name.as_str()))
    {
        return Err(format!("unknown member `{name}`"));
    }
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name}: not a string")),
    };
    let needed = |name: &str| text(name)?.ok_or_else(|| format!("{name}: is missing"));
    let object = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(named)) => Ok(Some(named)),
        Some(_) => Err(format!("{name}: not an object")),
    };
    let usage = object("usage")?.ok_or("usage: is missing")?;
    let conditions = object("conditions")?.map(conditions_of).transpose();
    let call = Call {
        provider: needed("provider")?.to_owned(),
        line: Line {
            model: needed("model")?.to_owned(),
            conditions: conditions
                .map_err(|why| format!("conditions: {why}"))?
                .unwrap_or_default(),
            usage: usage_of(usage).map_err(|why| format!("usage: {why}"))?,
        },
        at: instant(text("at")?).map_err(|why| format!("at: {why}"))?,
        tenant: text("tenant")?.map(str::to_owned),
        plan: text("plan")?.map(str::to_owned),
    };
    check_quantities(std::slice::from_ref(&call.line)).map_err(|refused| refused.to_string())?;
    Ok(call)
}

fn instant(text: Option<&str>) -> Result<Timestamp, String> {
    match text {
        None => Ok(now()),
        Some(text) => text.parse().map_err(|why| format!("`{text}`: {why}")),
    }
}

fn usage_of(named: &Map<String, Value>) -> Result<Usage, String> {
    let mut usage = Usage::default();
    for (name, quantity) in named {
        let meter: Meter = name.parse().map_err(|why| format!("`{name}`: {why}"))?;
        let text = match quantity {
            Value::String(text) => text.as_str(),
            // Numbers keep their digits here; they are not floats.
            Value::Number(number) => number.as_str(),
            _ => return Err(format!("{name}: not a quantity")),
        };
        let quantity: Decimal = text
            .parse()
            .map_err(|why| format!("{name}: `{text}`: {why}"))?;
        usage.set(meter, quantity);
    }
    Ok(usage)
}

fn conditions_of(named: &Map<String, Value>) -> Result<Conditions, String> {
    let mut conditions = Conditions::new();
    for (name, value) in named {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            _ => return Err(format!("{name}: not a string")),
        };
        conditions.insert(name.clone(), text);
    }
    Ok(conditions)
}

fn price_of(cards: &CardSet, call: &Call) -> Priced {
    let lines = std::slice::from_ref(&call.line);
    let buyer = Buyer {
        tenant: call.tenant.as_deref(),
        plan: call.plan.as_deref(),
        paid_by: PaidBy::Operator,
    };
    price(&call.provider, lines, cards, buyer, call.at)
}

fn answer(priced: &Priced) -> Value {
    json!({
        "cost_usd": priced.cost_usd, "billed_usd": priced.billed_usd, "pricing": priced.pricing,
        "rate_cards": priced.rate_cards, "charges": priced.charges,
    })
}

/// The cost's rule, and the selling rule where one is written.
fn rule_of(cost: Option<&str>, price: Option<&str>) -> String {
    let price = price.filter(|rule| *rule != PRICE_RULE_COST);
    match (cost, price) {
        (Some(cost), Some(price)) => format!("{cost}, {price}"),
        (one, other) => or_dash(one.or(other).as_ref()),
    }
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn show_charges(priced: &Priced) {
    let mut table = Table::new(&[
        ("METER", Left),
        ("QUANTITY", Right),
        ("USD", Right),
        ("PER", Right),
        ("COST USD", Right),
        ("BILLED USD", Right),
        ("RULE", Left),
    ]);
    for charge in &priced.charges {
        let rate = charge.cost_rate.as_ref();
        table.row([
            charge.meter.to_string(),
            charge.quantity.to_string(),
            or_dash(rate.map(|rate| &rate.usd)),
            or_dash(rate.map(|rate| &rate.per)),
            or_dash(charge.cost_usd.as_ref()),
            or_dash(charge.billed_usd.as_ref()),
            rule_of(charge.cost_rule.as_deref(), charge.price_rule.as_deref()),
        ]);
    }
    if !table.is_empty() {
        say(table.for_terminal().trim_end());
    }
    say(&format!(
        "{}: cost {} USD, billed {} USD",
        priced.pricing,
        or_dash(priced.cost_usd.as_ref()),
        or_dash(priced.billed_usd.as_ref())
    ));
}

/// The same quantities with each model, and how they compare with the first.
fn compare(quoted: &[(&String, Priced)]) {
    let mut table = Table::new(&[
        ("MODEL", Left),
        ("COST USD", Right),
        ("BILLED USD", Right),
        ("TO THE FIRST", Right),
        ("PRICING", Left),
    ]);
    let first = quoted.first().and_then(|(_, priced)| priced.cost_usd);
    for (model, priced) in quoted {
        let against = first.zip(priced.cost_usd).and_then(|(first, cost)| {
            let (first, cost) = (first.as_pico(), cost.as_pico());
            // Per cent, in whole ones.
            let share = cost.checked_mul(100)?.checked_div(first)?;
            Some(format!("{share} %"))
        });
        table.row([
            (*model).clone(),
            or_dash(priced.cost_usd.as_ref()),
            or_dash(priced.billed_usd.as_ref()),
            or_dash(against.as_ref()),
            priced.pricing.to_string(),
        ]);
    }
    say(table.for_terminal().trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(line: &str) -> Value {
        answer(&price_of(CardSet::built_in(), &call_in(line).unwrap()))
    }

    #[test]
    fn a_line_of_a_batch_is_priced_to_the_last_digit() {
        let line = r#"{"provider":"openai","model":"gpt-6-sol","usage":{"input_tokens":464,"cache_read_tokens":"1024",
            "cache_write_tokens":512,"output_tokens":100,"reasoning_tokens":"200"},"at":"2026-11-22T03:18:00Z",
            "conditions":{"service_tier":"default"},"tenant":"acme"}"#;
        let quoted = quote(line);
        assert_eq!(quoted["cost_usd"], "0.0054128");
        assert_eq!(quoted["billed_usd"], "0.0054128");
        assert_eq!(quoted["pricing"], "priced");
        assert_eq!(quoted["charges"].as_array().unwrap().len(), 5);
        assert_eq!(
            quoted["rate_cards"]["cost"],
            CardSet::built_in().revision("openai").unwrap()
        );
    }

    #[test]
    fn what_has_no_price_is_null_not_zero() {
        let quoted =
            quote(r#"{"provider":"openai","model":"gpt-99","usage":{"input_tokens":"1"}}"#);
        assert_eq!(quoted["pricing"], "unpriced");
        assert!(quoted["cost_usd"].is_null() && quoted["billed_usd"].is_null());
    }

    #[test]
    fn a_line_that_is_no_call_says_why() {
        let check = |line: &str, expected: &str| {
            assert_eq!(call_in(line).err().as_deref(), Some(expected), "{line}");
        };
        check(r#"{"model":"m","usage":{}}"#, "provider: is missing");
        check(r#"{"provider":"p","usage":{}}"#, "model: is missing");
        check(r#"{"provider":"p","model":"m"}"#, "usage: is missing");
        check(
            r#"{"provider":"p","model":"m","usage":{},"tier":"flex"}"#,
            "unknown member `tier`",
        );
        check(
            r#"{"provider":"p","model":"m","usage":{"tokens":"1"}}"#,
            "usage: `tokens`: not a known meter",
        );
        check(
            r#"{"provider":"p","model":"m","usage":{"images":"-1"}}"#,
            "images of `m` is negative",
        );
        check(
            r#"{"provider":"p","model":"m","usage":{},"conditions":[]}"#,
            "conditions: not an object",
        );
    }
}
