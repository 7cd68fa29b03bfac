//! What holds of every price and every quantity.

use proptest::prelude::*;

use super::*;

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
