//! Which of several rules holds, beside the ladder of scopes.

use super::*;

#[test]
fn the_name_that_was_said_goes_before_the_one_it_stands_for() {
    let named = |model: &str, rule: &str| json!({"rule": rule, "model": model, "markup": "2"});
    let all = json!([
        named("gpt-5-mini", "own"),
        named("gpt-5-mini-2025-08-07", "dated"),
        named("openai/gpt-5-mini-2025-08-07", "said"),
        named("openai/gpt-5-mini", "prefixed"),
    ]);
    let check = |rules: Value, expected: &str| {
        let said = line(
            "openai/gpt-5-mini-2025-08-07",
            &[(Meter::InputTokens, "1000")],
        );
        let priced = sold(&selling(rules), buyer("acme", None), "openai", said, AT);
        assert_eq!(rule_and_billed(&priced).0, expected);
    };
    // In any order of the file.
    let reversed: Vec<Value> = all.as_array().unwrap().iter().rev().cloned().collect();
    check(all.clone(), "said");
    check(json!(reversed), "said");
    check(json!([all[0], all[3]]), "own");
    check(json!([all[3], all[1]]), "prefixed");
    check(json!([all[1]]), "cost");
}

#[test]
fn a_rule_of_a_vendor_is_found_beside_many_of_others() {
    let mut of_all: Vec<Value> = (0..500)
        .map(|number| {
            let provider = format!("vendor-{number}");
            json!({"rule": provider, "provider": provider, "markup": "3"})
        })
        .collect();
    of_all.push(json!({"rule": "ours", "provider": "openai", "markup": "2"}));
    of_all.push(json!({"rule": "all", "markup": "1.5"}));
    let cards = selling(json!(of_all));
    let check = |provider: &str, model: &str, expected: &str| {
        let said = line(model, &[(Meter::InputTokens, "1000")]);
        let priced = sold(&cards, buyer("acme", None), provider, said, AT);
        assert_eq!(rule_and_billed(&priced).0, expected, "{provider}");
    };
    check("openai", "gpt-6-sol", "ours");
    check("anthropic", "claude-opus-5-5", "all");
}

#[test]
fn a_rule_of_the_meter_itself_goes_before_one_of_the_meter_whose_price_it_has() {
    let cards = selling(json!([
        {"rule": "reasoning", "meters": ["reasoning_tokens"], "markup": "3"},
        {"rule": "output", "meters": ["output_tokens"], "markup": "2", "from": "2026-01-01"},
    ]));
    let check = |meter: Meter, expected: &str| {
        let said = line("gpt-6-sol", &[(meter, "1000")]);
        let priced = sold(&cards, buyer("acme", None), "openai", said, AT);
        assert_eq!(rule_and_billed(&priced).0, expected, "{meter}");
    };
    check(Meter::ReasoningTokens, "reasoning");
    check(Meter::OutputTokens, "output");
    check(Meter::InputTokens, "cost");
}

#[test]
fn a_condition_of_a_rule_holds_in_other_words_of_the_card() {
    let cards = selling(json!([
        {"rule": "fast", "when": {"service_tier": "fast"}, "markup": "2"},
    ]));
    let check = |tier: &str, expected: &str| {
        let mut said = line("gpt-6-sol", &[(Meter::InputTokens, "1000")]);
        said.conditions.insert("service_tier".into(), tier.into());
        let priced = sold(&cards, buyer("acme", None), "openai", said, AT);
        assert_eq!(rule_and_billed(&priced).0, expected, "{tier}");
    };
    // The card says that `fast` means `priority`.
    check("fast", "fast");
    check("priority", "fast");
    check("flex", "cost");
    check("default", "cost");
}
