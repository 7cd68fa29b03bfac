//! What holds of every price and every quantity.

use proptest::prelude::*;

use super::*;
use crate::rate_card::selling::SellingRules;

/// Models of the built-in cards whose prices have no least amounts.
fn models() -> Vec<(&'static str, String)> {
    ["anthropic", "gemini", "openai", "xai"]
        .into_iter()
        .flat_map(|provider| {
            let card = CardSet::built_in().card(provider).unwrap();
            let names = card.models().filter(|name| *name != "*");
            names.map(move |name| (provider, name.to_owned()))
        })
        .collect()
}

/// Models whose prices move by the day or by the hour, and one whose do not.
const MOVING: [(&str, &str); 3] = [
    ("mistral", "mistral-large-4"),
    ("deepseek", "deepseek-v4-pro"),
    ("openai", "gpt-6-sol"),
];
/// Thirty days, over the first of a month and both of the days on which a price changes.
const PERIOD_MS: i64 = 30 * 86_400_000;

fn usage() -> impl Strategy<Value = Vec<(Meter, u64)>> {
    let meters = proptest::sample::select(vec![
        InputTokens,
        CacheReadTokens,
        CacheWriteTokens,
        OutputTokens,
        ReasoningTokens,
        InputAudioTokens,
    ]);
    proptest::collection::vec((meters, 0u64..2_000_000), 1..5)
}

fn line_of(model: &str, usage: &[(Meter, u64)]) -> Line {
    Line {
        model: model.into(),
        conditions: Conditions::new(),
        usage: usage
            .iter()
            .map(|(meter, quantity)| (*meter, Decimal::from(*quantity)))
            .collect(),
    }
}

proptest! {
    #[test]
    fn more_never_costs_less(
        (provider, model) in proptest::sample::select(models()),
        usage in usage(),
        more in 0u64..1_000_000,
    ) {
        let mut larger = usage.clone();
        larger[0].1 += more;
        // The last one of a meter counts, so both have the same meters.
        let less = priced(provider, &[line_of(&model, &usage)]).billed_usd;
        let rest = priced(provider, &[line_of(&model, &larger)]).billed_usd;
        let is_first_last = usage[1..].iter().all(|(meter, _)| *meter != usage[0].0);
        prop_assume!(is_first_last);
        prop_assert!(less <= rest, "{model}: {less:?} {rest:?}");
    }

    #[test]
    fn the_order_of_lines_does_not_matter(
        (provider, model) in proptest::sample::select(models()),
        usages in proptest::collection::vec(usage(), 1..6),
    ) {
        let mut lines: Vec<Line> = usages.iter().map(|usage| line_of(&model, usage)).collect();
        let forwards = priced(provider, &lines);
        let one_by_one = lines.iter().map(|line| priced(provider, std::slice::from_ref(line)).cost_usd);
        let sum = one_by_one.collect::<Option<Vec<_>>>().and_then(Usd::checked_sum);
        prop_assert_eq!(forwards.cost_usd, sum);
        lines.reverse();
        prop_assert_eq!(priced(provider, &lines).cost_usd, forwards.cost_usd);
    }

    #[test]
    fn a_split_quantity_differs_by_its_rounding_alone(
        (provider, model) in proptest::sample::select(models()),
        meter in proptest::sample::select(vec![OutputTokens, ReasoningTokens, Characters, AudioSeconds]),
        whole in 0u64..10_000_000_000,
        share in 0u64..=1_000,
    ) {
        let quantity = |mantissa: u64| Decimal::new(i128::from(mantissa), 4).unwrap();
        let part = whole / 1_000 * share;
        let cost = |mantissa: u64| {
            let usage = [(meter, quantity(mantissa))].into_iter().collect();
            let line = Line { model: model.clone(), conditions: Conditions::new(), usage };
            priced(provider, &[line]).cost_usd
        };
        let (Some(all), Some(one), Some(other)) = (cost(whole), cost(part), cost(whole - part)) else {
            return Ok(());
        };
        // Three roundings of half a unit each.
        let difference = all.as_pico() - one.as_pico() - other.as_pico();
        prop_assert!(difference.abs() <= 1, "{model} {difference}");
    }

    #[test]
    fn splitting_a_period_never_changes_its_total(
        calls in proptest::collection::vec((0i64..PERIOD_MS, 1u64..2_000_000, 0usize..MOVING.len()), 1..20),
        cut in 0i64..PERIOD_MS,
    ) {
        let start = at("2026-10-15T00:00:00Z").as_millis();
        let cost = |(offset, tokens, of): &(i64, u64, usize)| {
            let (provider, model) = MOVING[*of];
            let line = line_of(model, &[(InputTokens, *tokens), (OutputTokens, tokens / 3)]);
            let at = Timestamp::from_millis(start + offset);
            price(provider, &[line], CardSet::built_in(), PaidBy::Operator, at).cost_usd.unwrap()
        };
        let total = Usd::checked_sum(calls.iter().map(cost)).unwrap();
        let part = |is_before: bool| {
            let calls = calls.iter().filter(move |(offset, ..)| (*offset < cut) == is_before);
            Usd::checked_sum(calls.map(cost)).unwrap()
        };
        prop_assert_eq!(part(true).checked_add(part(false)), Some(total));
        // By days, however the calls are ordered.
        let mut days = std::collections::BTreeMap::<i64, Usd>::new();
        for call in calls.iter().rev() {
            let day = days.entry(call.0 / 86_400_000).or_default();
            *day = day.checked_add(cost(call)).unwrap();
        }
        prop_assert_eq!(Usd::checked_sum(days.into_values()), Some(total));
    }

    #[test]
    fn a_markup_is_a_factor_of_the_one_rounding(
        (provider, model) in proptest::sample::select(models()),
        usage in usage(),
        markup in 0u64..5_000_000,
    ) {
        let markup = Decimal::new(i128::from(markup), 6).unwrap();
        let rules = format!(r#"{{"schema":1,"kind":"price","rules":[{{"rule":"m","markup":"{markup}"}}]}}"#);
        let cards = CardSet::built_in().with_selling(SellingRules::from_json(&rules).unwrap().into());
        let lines = [line_of(&model, &usage)];
        let sold = price(provider, &lines, &cards, PaidBy::Operator, at(NOW));
        let plain = priced(provider, &lines);
        prop_assert_eq!(sold.cost_usd, plain.cost_usd);
        for charge in &sold.charges {
            let exact = charge.cost_rate.as_ref().map(|rate| {
                crate::money::charge(charge.quantity, rate.usd, &[markup], rate.per).unwrap()
            });
            prop_assert_eq!(charge.billed_usd, exact);
        }
        prop_assert_eq!(sold.pricing, plain.pricing);
    }

    #[test]
    fn charges_are_read_as_they_are_printed(
        (provider, model) in proptest::sample::select(models()),
        usage in usage(),
    ) {
        let charges = priced(provider, &[line_of(&model, &usage)]).charges;
        let text = serde_json::to_string(&charges).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Charge>>(&text).unwrap(), charges);
    }
}

#[test]
fn a_million_charges_do_not_drift() {
    let line = line("gpt-6.1-terra", &[], &[(CacheReadTokens, "7")]);
    let one = priced("openai", &[line]).cost_usd.unwrap();
    let sum = Usd::checked_sum(std::iter::repeat_n(one, 1_000_000)).unwrap();
    assert_eq!(
        (one.to_string().as_str(), sum.to_string().as_str()),
        ("0.00000035", "0.35")
    );
}

/// Rules of each kind, for one plan each.
const RULES: &str = r#"{"schema": 1, "kind": "price", "rules": [
    {"rule": "half more", "plan": "markup", "markup": "1.5"},
    {"rule": "own", "plan": "fixed", "meters": ["output_tokens"], "usd": "20", "per": "1000000",
        "round_up_to": "100", "minimum": "300"}
]}"#;

proptest! {
    /// Quantities of nothing are not gone through where no charges are asked for.
    #[test]
    fn amounts_are_those_of_the_charges(
        (provider, model) in proptest::sample::select(models()),
        is_known in any::<bool>(),
        mut usage in usage(),
        nothing in proptest::collection::vec(any::<bool>(), 5),
        plan in proptest::sample::select(vec![None, Some("markup"), Some("fixed")]),
        paid_by in proptest::sample::select(PaidBy::ALL.to_vec()),
    ) {
        usage.push((WebSearches, 3));
        for ((_, quantity), is_nothing) in usage.iter_mut().zip(nothing) {
            *quantity *= u64::from(!is_nothing);
        }
        let model = if is_known { model.as_str() } else { "no such model" };
        let rules = Arc::new(SellingRules::from_json(RULES).unwrap());
        let cards = CardSet::built_in().with_selling(rules);
        let buyer = Buyer { tenant: None, plan, paid_by };
        let lines = [line_of(model, &usage)];
        let priced = price(provider, &lines, &cards, buyer, at(NOW));
        let amounts = amounts(provider, &lines, &cards, buyer, at(NOW));
        prop_assert_eq!(amounts.cost_usd, priced.cost_usd);
        prop_assert_eq!(amounts.billed_usd, priced.billed_usd);
        prop_assert_eq!(amounts.pricing, priced.pricing);
        prop_assert_eq!(amounts.rate_cards, priced.rate_cards);
    }
}
