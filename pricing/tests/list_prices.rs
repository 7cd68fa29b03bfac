//! Every price of a list that was made apart from the cards: each must stand in them to the last
//! digit.

#![expect(
    clippy::unwrap_used,
    reason = "what does not parse is a mistake of the list, and fails"
)]

use farebox_pricing::money::Decimal;
use farebox_pricing::rate_card::{CardSet, RateCard};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage};

const LIST: &str = include_str!("list_prices.csv");

/// One line of the list.
struct Fact<'a> {
    provider: &'a str,
    model: &'a str,
    kind: &'a str,
    meter: &'a str,
    amount: Decimal,
    per: Option<Decimal>,
    conditions: Vec<(&'a str, &'a str)>,
    input: Option<Decimal>,
    at: &'a str,
}

fn read(line: &str) -> Fact<'_> {
    let cells: Vec<&str> = line.split(',').collect();
    let [
        provider,
        model,
        kind,
        meter,
        amount,
        per,
        conditions,
        input,
        at,
    ] = cells[..]
    else {
        panic!("`{line}` has {} cells", cells.len());
    };
    let decimal = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Fact {
        provider,
        model,
        kind,
        meter,
        amount: amount.parse().unwrap(),
        per: decimal(per),
        conditions: conditions
            .split(';')
            .filter_map(|one| one.split_once('='))
            .collect(),
        input: decimal(input),
        at,
    }
}

/// The rate of a meter, or why there is none.
fn rate(
    card: &RateCard,
    fact: &Fact<'_>,
    meter: Meter,
    conditions: &[(&str, &str)],
) -> Result<(Decimal, Decimal), String> {
    let mut usage = Usage::default();
    if let Some(input) = fact.input {
        usage.set(Meter::InputTokens, input);
    }
    let line = Line {
        model: fact.model.to_owned(),
        conditions: conditions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Conditions>(),
        usage,
    };
    let prices = card
        .select(&line, fact.at.parse().unwrap())
        .map_err(|why| format!("{why:?}"))?;
    let price = prices.price(meter).ok_or("no rate")?;
    Ok((price.rate.usd, price.rate.per))
}

/// What is wrong with the cards by this line of the list.
fn wrong(fact: &Fact<'_>) -> Result<(), String> {
    let card = CardSet::built_in()
        .card(fact.provider)
        .ok_or("there is no card")?;
    if fact.kind == "price" {
        let meter = fact.meter.parse().unwrap();
        let (usd, per) = rate(card, fact, meter, &fact.conditions)?;
        let expected = fact.amount.checked_mul(per).unwrap();
        let is = usd.checked_mul(fact.per.unwrap()).unwrap();
        return if is == expected {
            Ok(())
        } else {
            Err(format!("the card says {usd} per {per}"))
        };
    }
    // What comes on top, or multiplies, is seen beside the price without it.
    let (last, others) = fact.conditions.split_last().unwrap();
    let meters: Vec<Meter> = match fact.meter {
        "*tokens" => Meter::ALL
            .iter()
            .copied()
            .filter(|meter| meter.name().ends_with("_tokens"))
            .collect(),
        name => vec![name.parse().unwrap()],
    };
    let mut compared = 0;
    for meter in meters {
        let Ok((plain, _)) = rate(card, fact, meter, others) else {
            continue;
        };
        let (usd, per) = rate(card, fact, meter, &fact.conditions)?;
        let expected = match fact.kind {
            "factor" => plain.checked_mul(fact.amount),
            "addon" if Some(per) == fact.per => plain.checked_add(fact.amount),
            kind => return Err(format!("{kind} per {per}")),
        };
        if Some(usd) != expected {
            return Err(format!("{meter}: {plain} becomes {usd} with {last:?}"));
        }
        compared += 1;
    }
    if compared == 0 {
        return Err("no meter to compare".to_owned());
    }
    Ok(())
}

#[test]
fn every_listed_price_stands_in_its_card() {
    let mut mistakes = Vec::new();
    let mut count = 0;
    for line in LIST.lines().skip(1) {
        count += 1;
        if let Err(why) = wrong(&read(line)) {
            mistakes.push(format!("{line}: {why}"));
        }
    }
    assert!(count > 1_000, "only {count} prices are listed");
    assert!(
        mistakes.is_empty(),
        "{} of {count} differ:\n{}",
        mistakes.len(),
        mistakes.join("\n")
    );
}
