use super::*;
use crate::usage::{Conditions, Usage};

const NOW: &str = "2026-11-22T03:18:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn line(model: &str, conditions: &[(&str, &str)], usage: &[(Meter, &str)]) -> Line {
    Line {
        model: model.into(),
        conditions: conditions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Conditions>(),
        usage: usage
            .iter()
            .map(|(meter, quantity)| (*meter, quantity.parse().unwrap()))
            .collect::<Usage>(),
    }
}

fn priced(provider: &str, lines: &[Line]) -> Priced {
    let cards = CardSet::built_in();
    price(provider, lines, cards, PaidBy::Operator, at(NOW))
}

/// The cost as text, or the word for why there is none.
fn cost(provider: &str, line: Line) -> String {
    let priced = priced(provider, &[line]);
    match priced.cost_usd {
        Some(usd) => {
            assert_eq!(priced.pricing, Pricing::Priced);
            assert_eq!(priced.billed_usd, Some(usd));
            usd.to_string()
        }
        None => priced.pricing.to_string(),
    }
}

use Meter::{
    AudioSeconds, CacheReadAudioTokens, CacheReadTokens, CacheWrite1hTokens, CacheWrite12hTokens,
    CacheWriteTokens, Characters, FileSearches, InputAudioTokens, InputTokens, OutputAudioTokens,
    OutputTokens, ReasoningTokens, WebSearches,
};

const CHAT: &[(Meter, &str)] = &[
    (InputTokens, "464"),
    (CacheReadTokens, "1024"),
    (CacheWriteTokens, "512"),
    (OutputTokens, "100"),
    (ReasoningTokens, "200"),
];

#[test]
fn the_vendors_examples_cost_what_their_price_lists_say() {
    let check = |provider: &str, line: Line, expected: &str| {
        assert_eq!(cost(provider, line.clone()), expected, "{line:?}");
    };
    let tier = |tier| [("service_tier", tier)];
    check(
        "openai",
        line("gpt-6-sol", &tier("default"), CHAT),
        "0.0054128",
    );
    let mut searched = CHAT.to_vec();
    searched.push((WebSearches, "2"));
    check(
        "openai",
        line("gpt-6-sol", &tier("priority"), &searched),
        "0.0308256",
    );
    check(
        "openai",
        line(
            "gpt-realtime-2",
            &[],
            &[
                (InputTokens, "36"),
                (CacheReadTokens, "64"),
                (InputAudioTokens, "76"),
                (CacheReadAudioTokens, "64"),
                (OutputTokens, "20"),
                (OutputAudioTokens, "80"),
            ],
        ),
        "0.0082272",
    );
    check(
        "anthropic",
        line(
            "claude-opus-5-5",
            &[
                ("service_tier", "standard"),
                ("speed", "standard"),
                ("geo", "global"),
            ],
            &[
                (InputTokens, "120"),
                (CacheWriteTokens, "500"),
                (CacheWrite1hTokens, "400"),
                (CacheReadTokens, "3000"),
                (OutputTokens, "70"),
                (ReasoningTokens, "180"),
                (WebSearches, "2"),
            ],
        ),
        "0.03178",
    );
    check(
        "deepgram",
        line(
            "general-nova-3",
            &[("mode", "prerecorded")],
            &[(AudioSeconds, "51.866626")],
        ),
        "0.003717108197",
    );
    check(
        "openai",
        line(
            "gpt-4o-mini",
            &[],
            &[(InputTokens, "100"), (CacheReadTokens, "900")],
        ),
        "0.0000825",
    );
}

#[test]
fn tiers_geographies_and_modes_decide() {
    let check =
        |provider: &str, model: &str, conditions: &[(&str, &str)], meter, expected: &str| {
            let quantity = if meter == AudioSeconds {
                "60"
            } else {
                "1000000"
            };
            let line = line(model, conditions, &[(meter, quantity)]);
            assert_eq!(cost(provider, line), expected, "{model} {conditions:?}");
        };
    // Above the long-context bound, so the numbers are those of the second tier.
    for base in ["auto", "default", "standard", "scale"] {
        check(
            "openai",
            "gpt-6-sol",
            &[("service_tier", base)],
            OutputTokens,
            "10",
        );
    }
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "flex")],
        InputTokens,
        "2",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "fast")],
        InputTokens,
        "8",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "priority")],
        InputTokens,
        "8",
    );
    check(
        "openai",
        "gpt-6-astra",
        &[("service_tier", "ultrafast")],
        OutputTokens,
        "300",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("batch", "true")],
        OutputTokens,
        "5",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("batch", "false")],
        OutputTokens,
        "10",
    );
    check(
        "openai",
        "gpt-5.5",
        &[("service_tier", "priority"), ("data_residency", "eu")],
        OutputTokens,
        "82.5",
    );
    check(
        "openai",
        "gpt-4o-mini",
        &[("service_tier", "priority")],
        InputTokens,
        "0.250005",
    );
    check("openai", "gpt-6-sol", &[], CacheWrite12hTokens, "10");
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "priority")],
        FileSearches,
        "2500",
    );
    check("openai", "tts-1", &[], Characters, "15");
    // Words nobody has written a price for leave no price, never the base one.
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "turbo")],
        OutputTokens,
        "unpriced",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("service_tier", "ultrafast")],
        OutputTokens,
        "unpriced",
    );
    check(
        "openai",
        "gpt-6-sol",
        &[("weather", "fair")],
        OutputTokens,
        "unpriced",
    );
    check(
        "openai",
        "gpt-6-cyber",
        &[("service_tier", "priority")],
        OutputTokens,
        "unpriced",
    );

    check(
        "anthropic",
        "claude-opus-5-5",
        &[("speed", "fast"), ("geo", "us")],
        OutputTokens,
        "44",
    );
    check(
        "anthropic",
        "claude-opus-5-5",
        &[("batch", "true")],
        OutputTokens,
        "10",
    );
    let twice_said = &[("batch", "true"), ("service_tier", "batch")];
    check(
        "anthropic",
        "claude-opus-5-5",
        twice_said,
        OutputTokens,
        "10",
    );
    check(
        "anthropic",
        "claude-fable-5-2",
        &[("speed", "fast")],
        OutputTokens,
        "unpriced",
    );

    let mode = |mode| ("mode", mode);
    check(
        "deepgram",
        "nova-3",
        &[mode("prerecorded")],
        AudioSeconds,
        "0.0043",
    );
    check(
        "deepgram",
        "nova-3",
        &[mode("streaming")],
        AudioSeconds,
        "0.0048",
    );
    let multi = ("language", "multi");
    check(
        "deepgram",
        "nova-3",
        &[mode("prerecorded"), multi],
        AudioSeconds,
        "0.0052",
    );
    check(
        "deepgram",
        "nova-3",
        &[mode("streaming"), multi],
        AudioSeconds,
        "0.0058",
    );
    check(
        "deepgram",
        "nova-2",
        &[mode("prerecorded"), multi],
        AudioSeconds,
        "0.0043",
    );
    check(
        "deepgram",
        "whisper-large",
        &[mode("prerecorded")],
        AudioSeconds,
        "0.006",
    );
    check("deepgram", "nova-3", &[], AudioSeconds, "unpriced");
    check(
        "deepgram",
        "whisper",
        &[mode("streaming")],
        AudioSeconds,
        "unpriced",
    );
}

#[test]
fn long_context_is_a_cliff_over_the_whole_input() {
    let rule_of = |input: u64, cached: u64| {
        let line = line(
            "gpt-6-sol",
            &[("service_tier", "priority")],
            &[
                (InputTokens, &input.to_string()),
                (CacheReadTokens, &cached.to_string()),
                (ReasoningTokens, "1000000"),
            ],
        );
        let priced = priced("openai", &[line]);
        let charge = priced.charges.last().unwrap().clone();
        (
            charge.cost_usd.unwrap().to_string(),
            charge.cost_rule.unwrap(),
        )
    };
    let base = "openai/gpt-6-sol/output_tokens?service_tier=priority";
    let long = "openai/gpt-6-sol/output_tokens?input_above=272000&service_tier=priority";
    assert_eq!(rule_of(271_999, 0), ("20".into(), base.into()));
    assert_eq!(rule_of(272_000, 0), ("20".into(), base.into()));
    assert_eq!(rule_of(272_001, 0), ("30".into(), long.into()));
    assert_eq!(rule_of(1, 271_999), ("20".into(), base.into()));
    assert_eq!(rule_of(1, 272_000), ("30".into(), long.into()));
}

#[test]
fn prices_change_on_their_day() {
    let check = |instant: &str, expected: &str, rule: &str| {
        let line = line("gpt-5.6-sol", &[], &[(OutputTokens, "1000000")]);
        let cards = CardSet::built_in();
        let priced = price("openai", &[line], cards, PaidBy::Operator, at(instant));
        assert_eq!(priced.cost_usd.unwrap().to_string(), expected);
        assert_eq!(priced.charges[0].cost_rule.as_deref(), Some(rule));
    };
    let rule = "openai/gpt-5.6-sol/output_tokens";
    check("2026-08-20T23:59:59.999Z", "30", rule);
    check("2026-08-21T00:00:00Z", "20", &format!("{rule}@2026-08-21"));

    let early = line("gpt-6.2-sol", &[], &[(OutputTokens, "1")]);
    let instant = at("2026-11-16T00:00:00Z");
    let priced = price(
        "openai",
        &[early],
        CardSet::built_in(),
        PaidBy::Operator,
        instant,
    );
    assert_eq!(priced.pricing, Pricing::Unpriced);
}

#[test]
fn names_resolve_exactly_or_not_at_all() {
    let cards = CardSet::built_in();
    let check = |provider: &str, name: &str, expected: Option<&str>| {
        assert_eq!(
            cards.card(provider).unwrap().model(name),
            expected,
            "{name}"
        );
    };
    check("openai", "gpt-5", Some("gpt-5"));
    check("openai", "gpt-5-mini", Some("gpt-5-mini"));
    check("openai", "gpt-5-mini-2025-08-07", Some("gpt-5-mini"));
    check("openai", "gpt-4o-2024-08-06", Some("gpt-4o"));
    check("openai", "gpt-4o-2024-05-13", None);
    check("openai", "openai/gpt-4o-2024-05-13", None);
    check("openai", "openai/gpt-4o-2024-08-06", Some("gpt-4o"));
    check("openai", "gpt-5-turbo", None);
    check("openai", "gpt-5-", None);
    check("openai", "gpt-4o-2024-13-06", None);
    check("openai", "-2024-08-06", None);
    check("openai", "", None);
    check("openai", "é-2024-08-06", None);
    check(
        "anthropic",
        "claude-opus-4-5-20251101",
        Some("claude-opus-4-5"),
    );
    check(
        "anthropic",
        "claude-opus-4-5@20251101",
        Some("claude-opus-4-5"),
    );
    check(
        "anthropic",
        "claude-sonnet-4-20250514",
        Some("claude-sonnet-4-0"),
    );
    check(
        "anthropic",
        "claude-3-5-haiku-20241022",
        Some("claude-3-5-haiku-latest"),
    );
    check(
        "anthropic",
        "claude-opus-5-5-latest",
        Some("claude-opus-5-5"),
    );
    check("deepgram", "nova-3-general", Some("nova-3"));
    check("deepgram", "general-nova-3", Some("nova-3"));
    check("deepgram", "nova-2-medical", None);
    check("deepgram", "base-general", Some("base"));
}

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

fn event(usage_source: &str, lines: &[Line]) -> Event {
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
    event.rate_cards.cost = Some(old.to_owned());
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
