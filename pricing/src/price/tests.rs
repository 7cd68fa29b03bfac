mod properties;
mod states;
mod vendors;

use super::*;
use crate::event::PaidBy;
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
            charge.cost_rule.unwrap().to_string(),
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
    check("openai", "gpt-4o-2024-05-13", Some("gpt-4o-2024-05-13"));
    check(
        "openai",
        "openai/gpt-4o-2024-05-13",
        Some("gpt-4o-2024-05-13"),
    );
    check("openai", "openai/gpt-4o-2024-08-06", Some("gpt-4o"));
    check("openai", "gpt-5-turbo", None);
    check("openai", "ft:gpt-4o-2024-08-06:acme::a1", Some("ft:gpt-4o"));
    check(
        "openai",
        "ft:gpt-4o-mini-2024-07-18:acme:voice:a1",
        Some("ft:gpt-4o-mini"),
    );
    check("openai", "ft:gpt-4o-2025-01-01:acme::a1", None);
    check("gemini", "gemini-pro-latest", Some("gemini-pro-latest"));
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
