//! What the calls should cost, computed apart from everything that priced them: the simulated
//! upstream's own counts times the rates that the published card prints, in whole numbers.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::exact::{Exact, text};
use super::invoice::{Booked, Sums};
use super::traffic::{Call, TENANTS};
use crate::failure::{Failure, Outcome};
use crate::simulate::truth::Served;

const CARDS: [(&str, &str); 3] = [
    (
        "openai",
        include_str!("../../../pricing/rate_cards/openai.json"),
    ),
    (
        "anthropic",
        include_str!("../../../pricing/rate_cards/anthropic.json"),
    ),
    (
        "deepgram",
        include_str!("../../../pricing/rate_cards/deepgram.json"),
    ),
];

/// Compares event by event and tenant by tenant; says what was compared, or every difference.
pub(super) fn compare(
    calls: &[Call],
    served: &[Served],
    booked: &HashMap<String, Booked>,
    before: &BTreeMap<&'static str, Sums>,
    after: &BTreeMap<&'static str, Sums>,
) -> Outcome<String> {
    let served: HashMap<&str, &Served> = served
        .iter()
        .map(|call| (call.response_id.as_str(), call))
        .collect();
    let mut differences = Vec::new();
    let mut due: BTreeMap<&str, i128> = TENANTS.iter().map(|tenant| (*tenant, 0)).collect();
    for call in calls {
        let Some(truth) = served.get(call.response_id.as_str()) else {
            differences.push(format!(
                "{}: the simulated upstream knows no such answer",
                call.response_id
            ));
            continue;
        };
        let cost =
            cost(truth).map_err(|why| Failure::No(format!("{}: {why}", call.response_id)))?;
        *due.entry(call.tenant).or_default() += cost;
        let Some(row) = booked.get(&call.response_id) else {
            differences.push(format!("{}: not booked", call.response_id));
            continue;
        };
        let usage: BTreeMap<&str, String> = truth
            .usage
            .iter()
            .map(|(meter, count)| (*meter, count.clone()))
            .collect();
        let row_usage: BTreeMap<&str, String> = row
            .usage
            .iter()
            .filter(|(_, quantity)| quantity.as_str() != "0")
            .map(|(meter, quantity)| (meter.as_str(), quantity.clone()))
            .collect();
        for (what, is_equal, should, is) in [
            (
                "tenant",
                row.tenant == call.tenant,
                call.tenant.to_owned(),
                row.tenant.clone(),
            ),
            (
                "event",
                row.event_id == call.event_id,
                call.event_id.clone(),
                row.event_id.clone(),
            ),
            (
                "usage",
                row_usage == usage,
                format!("{usage:?}"),
                format!("{row_usage:?}"),
            ),
            (
                "cost_usd",
                row.cost_usd == text(cost),
                text(cost),
                row.cost_usd.clone(),
            ),
        ] {
            if !is_equal {
                differences.push(format!(
                    "{}: {what} should be {should}, is {is}",
                    call.response_id
                ));
            }
        }
    }
    for tenant in TENANTS {
        let sum = |sums: &BTreeMap<&'static str, Sums>| {
            sums.get(tenant).map_or(0, |sums| sums.billed_pico)
        };
        let invoiced = sum(after) - sum(before);
        let should = due.get(tenant).copied().unwrap_or_default();
        if invoiced != should {
            differences.push(format!(
                "{tenant}: the invoice should be {}, is {}",
                text(should),
                text(invoiced)
            ));
        }
    }
    if differences.is_empty() {
        let sums: Vec<String> = due
            .iter()
            .map(|(tenant, cost)| format!("{tenant} {} USD", text(*cost)))
            .collect();
        Ok(format!(
            "{} calls are booked exactly as the simulated upstream served them: {}",
            calls.len(),
            sums.join(", ")
        ))
    } else {
        Err(Failure::No(format!(
            "the sums differ:\n  {}",
            differences.join("\n  ")
        )))
    }
}

/// The sum of a call's charges, each rounded once.
fn cost(served: &Served) -> Result<i128, String> {
    let card = CARDS
        .iter()
        .find(|(provider, _)| *provider == served.provider)
        .ok_or("no card")?;
    let card: Value = serde_json::from_str(card.1).map_err(|error| error.to_string())?;
    let prices =
        prices(&card, &served.model).ok_or("the card has no such model with one revision")?;
    let mut sum = 0;
    for (meter, quantity) in &served.usage {
        let rate = rate(prices, meter, served)
            .or_else(|| {
                (*meter == "reasoning_tokens").then(|| rate(prices, "output_tokens", served))?
            })
            .ok_or_else(|| format!("no rate for {meter}"))?;
        let mut product = Exact::parse(quantity)?.times(Exact::parse(member(rate, "usd")?)?)?;
        for factor in list(prices, "factors") {
            if holds(factor, served) && speaks_of(factor, meter) {
                product = product.times(Exact::parse(member(factor, "factor")?)?)?;
            }
        }
        sum += product.pico_per(Exact::parse(member(rate, "per")?)?)?;
    }
    Ok(sum)
}

fn prices<'a>(card: &'a Value, model: &str) -> Option<&'a Value> {
    let found = list(card, "models").find(|entry| {
        entry.get("model").and_then(Value::as_str) == Some(model)
            || list(entry, "aliases").any(|alias| alias.as_str() == Some(model))
    })?;
    let mut revisions = list(found, "revisions");
    match (revisions.next(), revisions.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The rate with the most conditions of those that hold.
fn rate<'a>(prices: &'a Value, meter: &str, served: &Served) -> Option<&'a Value> {
    list(prices, "rates")
        .filter(|rate| rate.get("meter").and_then(Value::as_str) == Some(meter))
        .filter(|rate| holds(rate, served))
        .max_by_key(|rate| {
            rate.get("when")
                .and_then(Value::as_object)
                .map_or(0, |when| when.len())
        })
}

/// Bounds on the whole input never hold here: no call of the demo is that long.
fn holds(priced: &Value, served: &Served) -> bool {
    let Some(when) = priced.get("when").and_then(Value::as_object) else {
        return true;
    };
    when.iter().all(|(name, value)| {
        served.conditions.get(name.as_str()).map(String::as_str) == value.as_str()
    })
}

fn speaks_of(factor: &Value, meter: &str) -> bool {
    list(factor, "meters").any(|named| {
        named.as_str() == Some(meter)
            || (named.as_str() == Some("tokens") && meter.ends_with("_tokens"))
    })
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn member<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(provider: &'static str, model: &str, usage: &[(&'static str, &str)]) -> Served {
        Served {
            provider,
            model: model.to_owned(),
            response_id: String::new(),
            conditions: BTreeMap::from([("mode", "prerecorded".to_owned())]),
            usage: usage
                .iter()
                .map(|(meter, count)| (*meter, (*count).to_owned()))
                .collect(),
            is_finished: true,
        }
    }

    #[test]
    fn agrees_with_hand_worked_vectors() {
        let check = |served: Served, expected: &str| {
            assert_eq!(cost(&served).map(text), Ok(expected.to_owned()));
        };
        check(
            served(
                "openai",
                "gpt-6-sol",
                &[
                    ("input_tokens", "464"),
                    ("cache_read_tokens", "1024"),
                    ("cache_write_tokens", "512"),
                    ("output_tokens", "100"),
                    ("reasoning_tokens", "200"),
                ],
            ),
            "0.0054128",
        );
        check(
            served(
                "anthropic",
                "claude-opus-5-5",
                &[
                    ("input_tokens", "120"),
                    ("cache_write_tokens", "500"),
                    ("cache_write_1h_tokens", "400"),
                    ("cache_read_tokens", "3000"),
                    ("output_tokens", "250"),
                    ("web_searches", "2"),
                ],
            ),
            "0.03178",
        );
        check(
            served("deepgram", "nova-3", &[("audio_seconds", "51.866626")]),
            "0.003717108197",
        );
    }

    /// One call of acme that is served, booked and invoiced alike.
    fn alike() -> (Vec<Call>, Vec<Served>, Booked, BTreeMap<&'static str, Sums>) {
        let mut truth = served(
            "openai",
            "gpt-4o-mini",
            &[("input_tokens", "8"), ("output_tokens", "12")],
        );
        truth.response_id = "r".to_owned();
        let call = Call {
            tenant: "acme",
            response_id: "r".to_owned(),
            event_id: "e".to_owned(),
        };
        let booked = Booked {
            tenant: "acme".to_owned(),
            event_id: "e".to_owned(),
            usage: [
                ("input_tokens", "8"),
                ("output_tokens", "12"),
                ("reasoning_tokens", "0"),
            ]
            .map(|(meter, count)| (meter.to_owned(), count.to_owned()))
            .into(),
            cost_usd: "0.0000084".to_owned(),
        };
        let after = BTreeMap::from([(
            "acme",
            Sums {
                billed_pico: 8_400_000,
            },
        )]);
        (vec![call], vec![truth], booked, after)
    }

    #[test]
    fn finds_every_difference_and_none_where_there_is_none() {
        let check = |change: &dyn Fn(&mut Booked, &mut Sums), expected: Option<&str>| {
            let (calls, served, mut booked, mut after) = alike();
            change(&mut booked, after.get_mut("acme").unwrap());
            let rows = HashMap::from([("r".to_owned(), booked)]);
            let compared = compare(&calls, &served, &rows, &BTreeMap::new(), &after);
            match (compared, expected) {
                (Ok(_), None) => {}
                (Err(Failure::No(said)), Some(words)) => assert!(said.contains(words), "{said}"),
                (other, expected) => panic!("{other:?}, expected {expected:?}"),
            }
        };
        check(&|_, _| {}, None);
        check(
            &|row, _| row.tenant = "globex".to_owned(),
            Some("tenant should be acme"),
        );
        check(
            &|row, _| row.event_id = "f".to_owned(),
            Some("event should be e"),
        );
        check(
            &|row, _| row.cost_usd = "0.0000085".to_owned(),
            Some("cost_usd should be 0.0000084"),
        );
        check(
            &|row, _| {
                row.usage
                    .insert("output_tokens".to_owned(), "13".to_owned());
            },
            Some("usage should be"),
        );
        check(
            &|_, sums| sums.billed_pico += 1,
            Some("the invoice should be 0.0000084"),
        );
    }
}
