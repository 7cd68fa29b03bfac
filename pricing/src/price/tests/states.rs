//! How far an event is priced, and by which card.

use super::*;

#[test]
fn a_missing_rate_is_no_zero() {
    let known = line("gpt-6-sol", &[], &[(InputTokens, "1000000")]);
    let unknown = line("gpt-99", &[], &[(InputTokens, "5"), (OutputTokens, "0")]);

    let partial = priced("openai", &[known.clone(), unknown.clone()]);
    assert_eq!(partial.pricing, Pricing::Partial);
    assert_eq!(partial.cost_usd, None);
    assert_eq!(partial.billed_usd, Some("4".parse().unwrap()));
    let charge = &partial.charges[1];
    assert_eq!((charge.cost_usd, charge.billed_usd), (None, None));
    assert_eq!((&charge.cost_rate, &charge.cost_rule), (&None, &None));
    // The zero of the unknown model leaves no row.
    assert_eq!(partial.charges.len(), 2);

    let unpriced = priced("openai", &[unknown]);
    assert_eq!(unpriced.pricing, Pricing::Unpriced);
    assert_eq!((unpriced.cost_usd, unpriced.billed_usd), (None, None));
    assert_eq!(
        unpriced.rate_cards.cost.as_deref(),
        CardSet::built_in().revision("openai")
    );

    let elsewhere = priced("nobody", &[known]);
    assert_eq!(elsewhere.pricing, Pricing::Unpriced);
    assert_eq!(elsewhere.rate_cards, RateCards::default());
}

#[test]
fn a_zero_needs_no_rate_and_nothing_is_not_zero() {
    let zero = line("gpt-99", &[], &[(InputTokens, "0")]);
    let priced_zero = priced("openai", &[zero]);
    assert_eq!(priced_zero.pricing, Pricing::Priced);
    assert_eq!(priced_zero.billed_usd, Some(Usd::ZERO));
    let with_rate = priced("openai", &[line("gpt-6-sol", &[], &[(InputTokens, "0")])]);
    assert_eq!(with_rate.charges.len(), 1);

    let silent = priced("openai", &[line("gpt-6-sol", &[], &[])]);
    assert_eq!(
        (silent.pricing, silent.billed_usd),
        (Pricing::Unknown, None)
    );
    assert_eq!(priced("openai", &[]).pricing, Pricing::Unknown);
}

#[test]
fn who_pays_the_provider_owes_us_nothing() {
    for paid_by in [PaidBy::Tenant, PaidBy::Caller] {
        let lines = [line("gpt-6-sol", &[], &[(InputTokens, "1000")])];
        let priced = price("openai", &lines, CardSet::built_in(), paid_by, at(NOW));
        assert_eq!(priced.pricing, Pricing::Priced);
        assert_eq!(priced.cost_usd, Some("0.002".parse().unwrap()));
        assert_eq!(priced.billed_usd, Some(Usd::ZERO));
        let lines = [line("gpt-99", &[], &[(InputTokens, "1000")])];
        let priced = price("openai", &lines, CardSet::built_in(), paid_by, at(NOW));
        assert_eq!(priced.pricing, Pricing::Priced);
        assert_eq!(
            (priced.cost_usd, priced.billed_usd),
            (None, Some(Usd::ZERO))
        );
    }
}

#[test]
fn an_unknown_revision_says_of_what_it_is() {
    let told = |provider: &str| {
        let (provider, revision) = (provider.to_owned(), "f00".to_owned());
        UnknownRevision { provider, revision }.to_string()
    };
    assert_eq!(
        told("openai"),
        "rate card openai: revision f00 is not known"
    );
    assert_eq!(told("*"), "selling rules: revision f00 is not known");
}

#[test]
fn below_zero_is_refused_and_never_an_amount() {
    let lines = [line("gpt-6-sol", &[], &[(InputTokens, "-1")])];
    let refused = check_quantities(&lines).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "input_tokens of `gpt-6-sol` is negative"
    );
    assert_eq!(priced("openai", &lines).pricing, Pricing::Unpriced);
    assert_eq!(check_quantities(&[line("x", &[], CHAT)]), Ok(()));
}

#[test]
fn quantities_beyond_all_sums_are_unpriced() {
    let most = "999999999999999999999999999999999999";
    let usage = [(InputTokens, most), (CacheReadTokens, most)];
    assert_eq!(
        priced("openai", &[line("gpt-6-sol", &[], &usage)]).pricing,
        Pricing::Unpriced
    );
    let one = [line("gpt-6-sol", &[], &[(OutputTokens, most)])];
    assert_eq!(priced("openai", &one).pricing, Pricing::Unpriced);
}

#[test]
fn many_conditions_are_no_panic() {
    let mut crowded = line("gpt-6-sol", &[], CHAT);
    for index in 0..100 {
        crowded.conditions.insert(format!("c{index}"), "x".into());
    }
    assert_eq!(priced("openai", &[crowded]).pricing, Pricing::Unpriced);
}

pub(super) fn event(usage_source: &str, lines: &[Line]) -> Event {
    let id = "019aa9a8-6f00-7000-8000-000000000001";
    serde_json::from_value(serde_json::json!({
        "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": "acme", "environment": "live", "attribution": "key", "paid_by": "operator",
        "upstream": "openai", "provider": "openai", "endpoint": "chat", "started_at": NOW,
        "ending": "complete", "transport": "http", "attempt": 1, "lines": lines,
        "usage_source": usage_source, "pricing": "unknown",
    }))
    .unwrap()
}

#[test]
fn events_are_priced_by_how_their_usage_is_known() {
    let lines = [line("gpt-6-sol", &[], CHAT)];
    let cards = CardSet::built_in();
    let check = |source: &str, lines: &[Line], pricing, billed: Option<&str>| {
        let priced = price_event(&event(source, lines), cards);
        let billed = billed.map(|text| text.parse().unwrap());
        assert_eq!(
            (priced.pricing, priced.billed_usd),
            (pricing, billed),
            "{source}"
        );
        assert_eq!(priced.cost_usd, billed);
    };
    for source in ["reported", "partial", "measured", "estimated"] {
        check(source, &lines, Pricing::Priced, Some("0.0054128"));
    }
    for source in ["missing", "pending"] {
        check(source, &lines, Pricing::Unknown, None);
        check(source, &[], Pricing::Unknown, None);
    }
    check("none", &[], Pricing::Free, Some("0"));
}

#[test]
fn the_collector_prices_by_the_revision_of_the_event() {
    let built_in = CardSet::built_in();
    let text = built_in.card("openai").unwrap().canonical();
    let dearer = text.replace(r#""usd":"2""#, r#""usd":"3""#);
    let dearer = std::sync::Arc::new(RateCard::from_json(&dearer).unwrap());
    let cards = built_in.with_active(std::sync::Arc::clone(&dearer));
    let old = built_in.revision("openai").unwrap();
    assert_ne!(cards.revision("openai"), Some(old));

    let lines = [line("gpt-6-sol", &[], &[(InputTokens, "1000")])];
    let mut event = event("reported", &lines);
    let cost = |event: &Event| {
        price_event_as_stamped(event, &cards).map(|priced| priced.cost_usd.unwrap().to_string())
    };
    assert_eq!(cost(&event), Ok("0.003".into()));
    event.rate_cards.cost = Some(old.into());
    assert_eq!(cost(&event), Ok("0.002".into()));
    let back = cards.with_revision("openai", old).unwrap();
    assert_eq!(
        price_event(&event, &back).rate_cards.cost.as_deref(),
        Some(old)
    );
    assert_eq!(
        back.with_revision("openai", old)
            .unwrap()
            .revision("openai"),
        Some(old)
    );
    assert!(cards.with_revision("openai", "00").is_none());
    let known = built_in.with_known(dearer.clone());
    assert_eq!(known.revision("openai"), Some(old));
    assert!(
        known
            .card_of_revision("openai", dearer.revision())
            .is_some()
    );
    event.rate_cards.cost = Some("00".into());
    let refused = cost(&event).unwrap_err().to_string();
    assert_eq!(refused, "rate card openai: revision 00 is not known");
}

#[test]
fn a_charge_shows_its_rate_after_all_factors() {
    let line = line(
        "claude-opus-5-5",
        &[("speed", "fast"), ("geo", "us")],
        &[(ReasoningTokens, "10")],
    );
    let charge = &priced("anthropic", &[line]).charges[0];
    let text = serde_json::to_value(charge).unwrap();
    assert_eq!(
        text,
        serde_json::json!({
            "model": "claude-opus-5-5", "meter": "reasoning_tokens", "quantity": "10",
            "cost_rate": {"usd": "44", "per": "1000000"},
            "price_rate": {"usd": "44", "per": "1000000"},
            "cost_usd": "0.00044", "billed_usd": "0.00044",
            "cost_rule": "anthropic/claude-opus-5-5/output_tokens?geo=us&speed=fast",
            "price_rule": "cost",
        })
    );
}
