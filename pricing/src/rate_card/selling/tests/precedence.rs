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

#[test]
fn a_call_may_meet_rules_under_every_name_and_of_every_buyer() {
    let named = [
        "gpt-5-mini",
        "openai/gpt-5-mini-2025-08-07",
        "openai/gpt-5-mini",
    ];
    let mut all = Vec::new();
    for (of, scope) in [
        ("tenant", json!({"tenant": "acme"})),
        ("plan", json!({"plan": "pro"})),
        ("all", json!({})),
    ] {
        let mut add = |name: &str, what: Value| {
            let mut rule = json!({"rule": format!("{of} {name}"), "markup": "2"});
            for part in [&scope, &what] {
                for (name, value) in part.as_object().unwrap() {
                    rule[name.as_str()] = value.clone();
                }
            }
            all.push(rule);
        };
        add("any", json!({}));
        add("vendor", json!({"provider": "openai"}));
        for name in named {
            add(name, json!({"model": name}));
        }
    }
    let said = line(
        "openai/gpt-5-mini-2025-08-07",
        &[(Meter::InputTokens, "1000")],
    );
    let priced = sold(
        &selling(json!(all)),
        buyer("acme", Some("pro")),
        "openai",
        said,
        AT,
    );
    let (rule, _) = rule_and_billed(&priced);
    assert_eq!(rule, "tenant openai/gpt-5-mini-2025-08-07");
}

#[test]
fn rules_are_known_before_they_are_in_force_and_may_be_taken_out_of_it() {
    let text = json!({"schema": 1, "kind": "price", "rules": [{"rule": "all", "markup": "2"}]});
    let rules = SellingRules::from_json(&text.to_string()).unwrap();
    let revision = rules.revision().to_owned();
    let known = CardSet::built_in().with_known_selling(std::sync::Arc::new(rules));
    assert!(known.selling().is_none());
    assert!(known.selling_of_revision(&revision).is_some());
    let active = known.with_selling_revision(Some(&revision)).unwrap();
    assert_eq!(
        active.selling().map(SellingRules::revision),
        Some(revision.as_str())
    );
    let none = active.with_selling_revision(None).unwrap();
    assert!(none.selling().is_none());
    assert!(none.selling_of_revision(&revision).is_some());
    assert!(none.with_selling_revision(Some("f00")).is_none());
}
