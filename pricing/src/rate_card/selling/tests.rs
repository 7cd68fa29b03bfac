use serde_json::{Value, json};

use super::*;
use crate::event::{Pricing, Rate};
use crate::price::{Priced, price};
use crate::rate_card::CardSet;
use crate::usage::Usage;

mod precedence;

const AT: &str = "2026-11-22T10:00:00.000Z";

fn rules(rules: Value) -> SellingRules {
    let file = json!({"schema": 1, "kind": "price", "rules": rules});
    SellingRules::from_json(&file.to_string()).unwrap()
}

fn selling(of: Value) -> CardSet {
    CardSet::built_in().with_selling(std::sync::Arc::new(rules(of)))
}

fn line(model: &str, usage: &[(Meter, &str)]) -> Line {
    let usage: Usage = usage
        .iter()
        .map(|(meter, quantity)| (*meter, quantity.parse().unwrap()))
        .collect();
    Line {
        model: model.to_owned(),
        usage,
        ..Line::default()
    }
}

fn buyer<'a>(tenant: &'a str, plan: Option<&'a str>) -> Buyer<'a> {
    Buyer {
        tenant: Some(tenant),
        plan,
        paid_by: PaidBy::Operator,
    }
}

fn sold(cards: &CardSet, buyer: Buyer<'_>, provider: &str, line: Line, at: &str) -> Priced {
    price(provider, &[line], cards, buyer, at.parse().unwrap())
}

fn rule_and_billed(priced: &Priced) -> (String, String) {
    let charge = &priced.charges[0];
    (
        charge.price_rule.as_deref().unwrap_or_default().to_owned(),
        charge
            .billed_usd
            .map(|usd| usd.to_string())
            .unwrap_or_default(),
    )
}

/// `gpt-6-sol`: input 2 USD and output 16 USD a million.
fn ladder() -> CardSet {
    selling(json!([
        {"rule": "all", "markup": "2"},
        {"rule": "meter", "meters": ["output_tokens"], "markup": "3"},
        {"rule": "vendor", "provider": "openai", "markup": "4"},
        {"rule": "model", "model": "gpt-6-sol", "markup": "5"},
        {"rule": "model-meter", "model": "gpt-6-sol", "meters": ["output_tokens"], "usd": "1", "per": "1000"},
        {"rule": "plan", "plan": "pro", "markup": "6"},
        {"rule": "plan-model", "plan": "pro", "model": "gpt-6-sol", "markup": "7"},
        {"rule": "plan-vendor-meter", "plan": "pro", "provider": "openai", "meters": ["output_tokens"], "markup": "8"},
        {"rule": "tenant", "tenant": "acme", "markup": "9"},
        {"rule": "tenant-plan", "tenant": "acme", "plan": "gold", "markup": "10"},
        {"rule": "tenant-vendor", "tenant": "acme", "provider": "anthropic", "markup": "11"},
    ]))
}

/// Tenant and plan, provider, model and meter; then the rule, and its markup unless it is a fixed price.
type Case<'a> = (
    &'a str,
    Option<&'a str>,
    &'a str,
    &'a str,
    Meter,
    &'a str,
    &'a str,
);

#[test]
fn tenant_goes_before_plan_before_model_before_vendor_before_meter() {
    use Meter::{InputTokens as In, OutputTokens as Out};
    let cards = ladder();
    let cases: [Case<'_>; 12] = [
        // Nobody in particular, and what is most particular about the call.
        (
            "other",
            None,
            "anthropic",
            "claude-opus-5-5",
            In,
            "all",
            "2",
        ),
        (
            "other",
            None,
            "anthropic",
            "claude-opus-5-5",
            Out,
            "meter",
            "3",
        ),
        ("other", None, "openai", "gpt-6-luna", In, "vendor", "4"),
        ("other", None, "openai", "gpt-6-luna", Out, "vendor", "4"),
        ("other", None, "openai", "gpt-6-sol", In, "model", "5"),
        ("other", None, "openai", "gpt-6-sol", Out, "model-meter", ""),
        // A plan goes before all of it.
        (
            "other",
            Some("pro"),
            "anthropic",
            "claude-opus-5-5",
            Out,
            "plan",
            "6",
        ),
        (
            "other",
            Some("pro"),
            "openai",
            "gpt-6-sol",
            Out,
            "plan-model",
            "7",
        ),
        (
            "other",
            Some("pro"),
            "openai",
            "gpt-6-luna",
            Out,
            "plan-vendor-meter",
            "8",
        ),
        // A tenant goes before its plan.
        (
            "acme",
            Some("pro"),
            "openai",
            "gpt-6-sol",
            Out,
            "tenant",
            "9",
        ),
        (
            "acme",
            Some("gold"),
            "anthropic",
            "claude-opus-5-5",
            In,
            "tenant-plan",
            "10",
        ),
        (
            "acme",
            None,
            "anthropic",
            "claude-opus-5-5",
            In,
            "tenant-vendor",
            "11",
        ),
    ];
    for (tenant, plan, provider, model, meter, rule, markup) in cases {
        let usage = line(model, &[(meter, "1000000")]);
        let priced = sold(&cards, buyer(tenant, plan), provider, usage, AT);
        let charge = &priced.charges[0];
        let case = format!("{tenant} {plan:?} {model} {meter}");
        assert_eq!(charge.price_rule.as_deref(), Some(rule), "{case}");
        let cost = charge.cost_usd.unwrap();
        let billed = match markup {
            "" => "1000".parse().unwrap(),
            times => crate::money::Usd::from_pico(cost.as_pico() * times.parse::<i128>().unwrap()),
        };
        assert_eq!(charge.billed_usd, Some(billed), "{case}");
        assert_eq!(priced.cost_usd, Some(cost), "{case}");
        assert_eq!(priced.billed_usd, Some(billed), "{case}");
    }
}

#[test]
fn a_markup_is_rounded_once_and_shows_its_name_and_its_rate() {
    let cards = selling(json!([{"rule": "plus", "markup": "1.15"}]));
    // 7 tokens at 0.05 a million are 0.00000035; rounded first, 1.15 times would be the same here,
    // but a third of a unit would not.
    let usage = line("gpt-6.1-terra", &[(Meter::CacheReadTokens, "7.3333333")]);
    let priced = sold(&cards, buyer("t", None), "openai", usage, AT);
    let charge = &priced.charges[0];
    let (cost, price) = (charge.cost_rate.unwrap(), charge.price_rate.unwrap());
    assert_eq!(price.per, cost.per);
    assert_eq!(
        price.usd,
        cost.usd.checked_mul("1.15".parse().unwrap()).unwrap()
    );
    let exact = crate::money::charge(charge.quantity, price.usd, &[], price.per).unwrap();
    assert_eq!(charge.billed_usd, Some(exact));
    assert_eq!(charge.price_rule.as_deref(), Some("plus"));
    assert_eq!(
        priced.rate_cards.price.as_deref(),
        cards.selling().map(SellingRules::revision)
    );
}

#[test]
fn the_latest_start_holds_until_its_end_to_the_millisecond() {
    let cards = selling(json!([
        {"rule": "first", "markup": "2"},
        {"rule": "second", "markup": "3", "from": "2026-11-22"},
        {"rule": "sale", "markup": "1", "from": "2026-11-23T12:00:00Z", "to": "2026-11-24"},
    ]));
    let check = |at: &str, expected: &str| {
        let usage = line("gpt-6-sol", &[(Meter::InputTokens, "1000000")]);
        let (rule, _) = rule_and_billed(&sold(&cards, buyer("t", None), "openai", usage, at));
        assert_eq!(rule, expected, "{at}");
    };
    check("2026-11-21T23:59:59.999Z", "first");
    check("2026-11-22T00:00:00.000Z", "second");
    check("2026-11-23T11:59:59.999Z", "second");
    check("2026-11-23T12:00:00.000Z", "sale");
    check("2026-11-23T23:59:59.999Z", "sale");
    check("2026-11-24T00:00:00.000Z", "second");
}

#[test]
fn a_fixed_price_needs_no_cost_and_a_markup_does() {
    let cards = selling(json!([
        {"rule": "fixed", "model": "house-1", "meters": ["output_tokens"], "usd": "30", "per": "1000000"},
        {"rule": "plus", "markup": "2"},
    ]));
    let both = line(
        "house-1",
        &[
            (Meter::OutputTokens, "1000"),
            (Meter::ReasoningTokens, "1000"),
        ],
    );
    let priced = sold(&cards, buyer("t", None), "local", both.clone(), AT);
    assert_eq!((priced.pricing, priced.cost_usd), (Pricing::Priced, None));
    assert_eq!(priced.billed_usd, Some("0.06".parse().unwrap()));
    assert_eq!(priced.charges[1].price_rule.as_deref(), Some("fixed"));
    assert!(cards.sells(buyer("t", None), "local", "house-1", AT.parse().unwrap()));
    assert!(!cards.sells(buyer("t", None), "local", "house-2", AT.parse().unwrap()));

    let input = line("house-1", &[(Meter::InputTokens, "5")]);
    let unpriced = sold(&cards, buyer("t", None), "local", input.clone(), AT);
    assert_eq!(
        (unpriced.pricing, unpriced.billed_usd),
        (Pricing::Unpriced, None)
    );
    assert_eq!(unpriced.charges[0].price_rule.as_deref(), Some("plus"));
    let mut mixed = both;
    mixed.usage.set(Meter::InputTokens, 5);
    assert_eq!(
        sold(&cards, buyer("t", None), "local", mixed, AT).pricing,
        Pricing::Partial
    );
}

#[test]
fn a_rule_is_for_what_the_operator_pays_unless_it_says_otherwise() {
    let cards = selling(json!([
        {"rule": "plus", "markup": "2"},
        {"rule": "platform", "paid_by": ["tenant", "caller"], "meters": ["output_tokens"], "usd": "1", "per": "1000000"},
    ]));
    let usage = || {
        let quantities = [
            (Meter::InputTokens, "1000000"),
            (Meter::OutputTokens, "1000000"),
        ];
        line("gpt-6-sol", &quantities)
    };
    let check = |paid_by, expected: [&str; 2], billed: &str| {
        let buyer = Buyer {
            paid_by,
            ..buyer("t", None)
        };
        let priced = sold(&cards, buyer, "openai", usage(), AT);
        let rules: Vec<&str> = priced
            .charges
            .iter()
            .filter_map(|charge| charge.price_rule.as_deref())
            .collect();
        assert_eq!(rules, expected, "{paid_by}");
        assert_eq!(
            priced.billed_usd,
            Some(billed.parse().unwrap()),
            "{paid_by}"
        );
    };
    check(PaidBy::Tenant, ["paid_by_other", "platform"], "1");
    check(PaidBy::Caller, ["paid_by_other", "platform"], "1");
    let operator = sold(&cards, buyer("t", None), "openai", usage(), AT);
    let doubled = operator.cost_usd.unwrap().as_pico() * 2;
    assert_eq!(operator.billed_usd.unwrap().as_pico(), doubled);
}

#[test]
fn fixed_prices_stand_for_the_amount_a_vendor_reports() {
    let cards = selling(json!([
        {"rule": "fixed", "meters": ["input_tokens"], "usd": "10", "per": "1000000"},
        {"rule": "plus", "tenant": "marked-up", "markup": "2"},
    ]));
    let usage = || {
        line(
            "any/model",
            &[(Meter::InputTokens, "1000"), (Meter::Credits, "0.5")],
        )
    };
    let fixed = sold(&cards, buyer("t", None), "openrouter", usage(), AT);
    assert_eq!(fixed.cost_usd, Some("0.5".parse().unwrap()));
    assert_eq!(fixed.billed_usd, Some("0.01".parse().unwrap()));
    assert_eq!(fixed.charges[1].price_rule.as_deref(), Some("covered"));
    let marked_up = sold(&cards, buyer("marked-up", None), "openrouter", usage(), AT);
    assert_eq!(marked_up.billed_usd, Some("1".parse().unwrap()));
}

#[test]
fn models_and_conditions_are_meant_as_the_card_means_them() {
    let cards = selling(json!([
        {"rule": "own-name", "model": "gpt-6-sol", "markup": "3"},
        {"rule": "fast", "model": "gpt-6-sol", "when": {"service_tier": "priority"}, "markup": "4"},
        {"rule": "long", "model": "gpt-6-luna", "when": {"input_above": "272000"}, "markup": "5"},
    ]));
    let check = |model: &str, tier: Option<&str>, input: &str, expected: &str| {
        let mut usage = line(model, &[(Meter::InputTokens, input)]);
        if let Some(tier) = tier {
            usage.conditions.insert("service_tier".into(), tier.into());
        }
        let priced = sold(&cards, buyer("t", None), "openai", usage, AT);
        let rule = priced.charges[0].price_rule.as_deref();
        assert_eq!(rule, Some(expected), "{model} {tier:?} {input}");
    };
    check("gpt-6-sol", None, "10", "own-name");
    check("openai/gpt-6-sol", None, "10", "own-name");
    check("gpt-6-luna", None, "10", "cost");
    check("gpt-6-sol", Some("priority"), "10", "fast");
    // The card says that `fast` means `priority`.
    check("gpt-6-sol", Some("fast"), "10", "fast");
    check("gpt-6-luna", None, "272000", "cost");
    check("gpt-6-luna", None, "272001", "long");
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_place() {
    let text = json!({"schema": 1, "kind": "price", "rules": [
        {"rule": "a", "markup": 1.5},
        {"rule": "b", "makrup": "1"},
        {"markup": "1"},
        {"rule": "c", "meters": ["tokens"], "usd": "1", "per": "x"},
    ]});
    let told = SellingRules::from_json(&text.to_string()).unwrap_err().0;
    assert_eq!(
        told,
        [
            "selling rules.rules[a].markup: 1.5 is a JSON number; write it as a string",
            "selling rules.rules[b]: unknown member `makrup`",
            "selling rules.rules[2]: `rule` is missing",
            "selling rules.rules[c].meters[0]: `tokens`: not a known meter",
            "selling rules.rules[c].per: `x`: not a decimal of at most 36 digits, 18 of them behind the point",
        ]
    );
    let text = json!({"schema": 2, "kind": "price", "rules": [
        {"rule": "a", "markup": "-1"},
        {"rule": "a", "tenant": "x\u{1}", "usd": "1", "per": "0", "meters": ["images"]},
        {"rule": "b", "usd": "1"},
        {"rule": "c", "usd": "1", "per": "1"},
        {"rule": "d", "markup": "1", "from": "2026-02-01", "to": "2026-02-01", "plan": ""},
        {"rule": "e", "markup": "1"},
        {"rule": "f", "provider": "p", "markup": "1", "when": {"batch": "true"}},
        {"rule": "g", "provider": "p", "markup": "1", "when": {"service_tier": "flex"}},
        {"rule": "h", "markup": "1.1234567"},
    ], "allowances": [
        {"allowance": "i"}, {"allowance": "j", "usd": "0"}, {"allowance": "k", "quantity": "5"},
    ]});
    let told = SellingRules::from_json(&text.to_string()).unwrap_err().0;
    for expected in [
        "selling rules: schema 2 is not 1",
        "selling rules: name `a`: given twice",
        "selling rules: a: markup is negative",
        "selling rules: a: per is not positive",
        "selling rules: b: needs either `markup`, or `usd` and `per`",
        "selling rules: c: a fixed price needs `meters`",
        "selling rules: d: `to` does not lie behind `from`",
        "selling rules: d: plan, model and provider are not empty",
        "selling rules: e: holds where `a` holds, and neither comes first",
        "selling rules: g: holds where `f` holds, and neither comes first",
        "selling rules: h: markup has more than 6 decimals",
        "selling rules: allowance i: needs either `usd` or `quantity`",
        "selling rules: allowance j: includes nothing",
        "selling rules: allowance k: a quantity needs `meters`",
    ] {
        assert!(
            told.iter().any(|one| one == expected),
            "{expected} in {told:#?}"
        );
    }
    assert!(
        told.iter()
            .any(|one| one.starts_with("selling rules: a: tenant `x"))
    );
}

#[test]
fn a_file_has_one_revision_however_it_is_written() {
    let check = |text: &str| SellingRules::from_json(text).unwrap().revision().to_owned();
    let first = check(r#"{"schema":1,"kind":"price","rules":[{"rule":"a","markup":"1.50"}]}"#);
    let other =
        check(r#"{"rules": [{"markup": "1.5", "rule": "a"}], "kind": "price", "schema": 1}"#);
    assert_eq!(first, other);
    let none = SellingRules::from_json(r#"{"schema":1,"kind":"price"}"#).unwrap();
    assert_ne!(none.revision(), first);
    let again = SellingRules::from_json(none.canonical()).unwrap();
    assert_eq!(again.revision(), none.revision());
    assert!(SellingRules::is_meant(none.canonical()));
    assert!(!SellingRules::is_meant(
        CardSet::built_in().card("groq").unwrap().canonical()
    ));
}

#[test]
fn a_buyer_without_rules_pays_the_cost() {
    let cards = selling(json!([{"rule": "acme", "tenant": "acme", "markup": "2"}]));
    let usage = || line("gpt-6-sol", &[(Meter::InputTokens, "1000")]);
    let nobody = sold(&cards, Buyer::from(PaidBy::Operator), "openai", usage(), AT);
    let plain = price(
        "openai",
        &[usage()],
        CardSet::built_in(),
        PaidBy::Operator,
        AT.parse().unwrap(),
    );
    assert_eq!(nobody.charges, plain.charges);
    assert_eq!(nobody.rate_cards.cost, plain.rate_cards.cost);
    assert_eq!(
        plain.charges[0].price_rate,
        Some(Rate {
            usd: "2".parse().unwrap(),
            per: 1_000_000.into()
        })
    );
}

#[test]
fn a_fixed_price_may_have_steps_and_a_minimum_of_its_own() {
    let cards = selling(json!([
        {"rule": "blocks", "provider": "deepgram", "meters": ["audio_seconds"], "usd": "0.01", "per": "60",
            "round_up_to": "15", "minimum": "20"},
        {"rule": "plain", "provider": "groq", "meters": ["audio_seconds"], "usd": "0.01", "per": "60"},
    ]));
    let sold = |provider: &str, model: &str, seconds: &str| {
        let mode = (provider == "deepgram").then(|| ("mode".to_owned(), "prerecorded".to_owned()));
        let line = Line {
            conditions: mode.into_iter().collect(),
            ..line(model, &[(Meter::AudioSeconds, seconds)])
        };
        let priced = sold(&cards, buyer("t", None), provider, line, AT);
        let charge = priced.charges[0].clone();
        let text = |value: Option<Decimal>| value.map(|value| value.to_string());
        (
            charge.quantity.to_string(),
            text(charge.billed_quantity),
            charge.billed_usd.unwrap().to_string(),
        )
    };
    let expected = |quantity: &str, billed: Option<&str>, usd: &str| {
        (
            quantity.to_owned(),
            billed.map(str::to_owned),
            usd.to_owned(),
        )
    };
    // The vendor bills the seconds as they are; the operator whole quarters of a minute, from thirty on.
    for (seconds, billed, usd) in [
        ("14.999", "30", "0.005"),
        ("15", "30", "0.005"),
        ("30", "30", "0.005"),
        ("30.001", "45", "0.0075"),
    ] {
        assert_eq!(
            sold("deepgram", "nova-3", seconds),
            expected(seconds, Some(billed), usd)
        );
    }
    // A rule without steps charges for what the vendor bills, its minimum of ten seconds included.
    assert_eq!(
        sold("groq", "whisper-large-v3", "3"),
        expected("10", None, "0.001666666667")
    );

    let refused = |rule: &str| {
        let text = format!(r#"{{"schema":1,"kind":"price","rules":[{{"rule":"r",{rule}}}]}}"#);
        SellingRules::from_json(&text).unwrap_err().to_string()
    };
    let fixed = r#""meters":["audio_seconds"],"usd":"1","per":"60""#;
    for (rule, problem) in [
        (
            format!(r#"{fixed},"round_up_to":"0""#),
            "round_up_to is not positive",
        ),
        (
            format!(r#"{fixed},"minimum":"-1""#),
            "minimum is not positive",
        ),
        (
            r#""markup":"2","minimum":"1""#.to_owned(),
            "steps and minimums are of fixed prices",
        ),
        (format!(r#"{fixed},"minimum":1"#), "is a JSON number"),
    ] {
        assert!(
            refused(&rule).contains(problem),
            "{rule}: {}",
            refused(&rule)
        );
    }
}

#[test]
fn more_rules_than_are_remembered_are_all_asked() {
    // Each starts a day later than the one before, so all hold and the last one counts.
    let rule = |day: usize| json!({"rule": format!("day-{day}"), "markup": "2", "from": format!("2026-10-{day:02}")});
    let cards = selling((1..=31).map(rule).collect());
    let usage = line(
        "gpt-6-sol",
        &[(Meter::InputTokens, "1000"), (Meter::OutputTokens, "1")],
    );
    let on = |day: usize| {
        let at = format!("2026-10-{day:02}T00:00:00Z");
        rule_and_billed(&sold(
            &cards,
            buyer("t", None),
            "openai",
            usage.clone(),
            &at,
        ))
        .0
    };
    for day in [1, 23, 24, 25, 31] {
        assert_eq!(on(day), format!("day-{day}"));
    }
}
