//! What is peculiar to a vendor's bill, on the built-in cards.

use super::*;
use Meter::{
    CacheReadAudioTokens, Credits, Images, InputImageTokens, Pages, Requests, Searches,
    SessionSeconds, ToolCalls,
};

fn cost_at(provider: &str, line: Line, instant: &str) -> String {
    let cards = CardSet::built_in();
    let priced = price(provider, &[line], cards, PaidBy::Operator, at(instant));
    priced
        .cost_usd
        .map_or_else(|| priced.pricing.to_string(), |usd| usd.to_string())
}

#[test]
fn the_further_examples_cost_what_their_price_lists_say() {
    let gemini = [
        (InputTokens, "400"),
        (CacheReadTokens, "600"),
        (InputAudioTokens, "80"),
        (ReasoningTokens, "120"),
        (OutputTokens, "50"),
        (WebSearches, "2"),
    ];
    let line_of = |model: &str| line(model, &[], &gemini);
    assert_eq!(
        cost("gemini", line_of("models/gemini-3.8-flash")),
        "0.0290425"
    );
    assert_eq!(cost("vertex", line_of("gemini-3.8-flash")), "0.0290425");
    let session = line(
        "universal-3-6-pro",
        &[("mode", "streaming")],
        &[(SessionSeconds, "14")],
    );
    assert_eq!(cost("assemblyai", session), "0.00175");
}

#[test]
fn the_vendors_own_amount_is_the_cost_and_covers_the_rest() {
    let usage = [
        (InputTokens, "1000"),
        (OutputTokens, "500"),
        (Credits, "37756000"),
    ];
    for model in ["grok-4.7", "grok-of-tomorrow"] {
        let line = line(model, &[("weather", "fair")], &usage);
        assert_eq!(cost("xai", line.clone()), "0.0037756", "{model}");
        let rules: Vec<_> = priced("xai", &[line])
            .charges
            .into_iter()
            .map(|charge| {
                (
                    charge.cost_usd.unwrap().to_string(),
                    charge.cost_rule.unwrap().to_string(),
                )
            })
            .collect();
        let covered = ("0".to_owned(), "xai/covered_by/credits".to_owned());
        let amount = ("0.0037756".to_owned(), "xai/reported/credits".to_owned());
        assert_eq!(rules, [covered.clone(), covered, amount]);
    }
    let usage = [(InputTokens, "1000"), (Credits, "0.00123")];
    assert_eq!(
        cost("openrouter", line("any/model", &[], &usage)),
        "0.00123"
    );
    // Without a declared unit an amount is no amount.
    let line = line("llama-3.1-8b-instant", &[], &usage);
    assert_eq!(cost("groq", line), "partial");
}

#[test]
fn add_ons_come_on_top() {
    let check = |conditions: &[(&str, &str)], expected: &str| {
        let line = line("nova-3", conditions, &[(AudioSeconds, "60")]);
        assert_eq!(cost("deepgram", line), expected, "{conditions:?}");
    };
    let streaming = ("mode", "streaming");
    check(&[streaming, ("redact", "true")], "0.0068");
    check(
        &[
            streaming,
            ("redact", "true"),
            ("diarize", "true"),
            ("language", "multi"),
        ],
        "0.0098",
    );
    check(&[streaming, ("keyterm", "true")], "0.0061");
    check(&[streaming, ("detect_entities", "true")], "0.0065");
    check(&[streaming, ("detect_entities", "false")], "0.0048");
    check(&[("mode", "prerecorded"), ("redact", "true")], "0.0043");
    let line = line(
        "nova-3",
        &[streaming, ("redact", "true")],
        &[(AudioSeconds, "60")],
    );
    assert_eq!(
        priced("deepgram", &[line]).charges[0].cost_rule.as_deref(),
        Some("deepgram/nova-3/audio_seconds?mode=streaming&mode=streaming&redact=true")
    );
}

#[test]
fn short_requests_have_a_least_amount_and_show_it() {
    let check = |provider: &str,
                 model: &str,
                 conditions: &[(&str, &str)],
                 seconds: &str,
                 billed: &str,
                 expected: &str| {
        let line = line(model, conditions, &[(AudioSeconds, seconds)]);
        let charge = &priced(provider, &[line]).charges[0];
        assert_eq!(charge.quantity.to_string(), billed, "{model} {seconds}");
        assert_eq!(
            charge.cost_usd.unwrap().to_string(),
            expected,
            "{model} {seconds}"
        );
    };
    check("groq", "whisper-large-v3", &[], "3600", "3600", "0.111");
    check(
        "groq",
        "whisper-large-v3",
        &[],
        "9.9",
        "10",
        "0.000308333333",
    );
    check("groq", "whisper-large-v3", &[], "0", "0", "0");
    let scribe = |conditions, seconds, billed, expected| {
        check(
            "elevenlabs",
            "scribe_v2",
            conditions,
            seconds,
            billed,
            expected,
        );
    };
    scribe(&[], "18", "18", "0.0011");
    scribe(&[("keyterms", "true")], "18", "18", "0.00132");
    scribe(&[("keyterms", "over_100")], "18", "20", "0.001466666667");
    scribe(&[("transcript_edit", "true")], "5", "10", "0.000794444444");
    scribe(
        &[("keyterms", "over_100"), ("transcript_edit", "true")],
        "36",
        "36",
        "0.003432",
    );
}

#[test]
fn credits_cost_what_the_contract_says() {
    let check =
        |model: &str, conditions: &[(&str, &str)], usage: &[(Meter, &str)], expected: &str| {
            assert_eq!(
                cost("cartesia", line(model, conditions, usage)),
                expected,
                "{model} {conditions:?}"
            );
        };
    check("sonic-3", &[], &[(Characters, "1000")], "0.065");
    check(
        "sonic-turbo-2025-03-07",
        &[],
        &[(Characters, "1000")],
        "0.065",
    );
    check(
        "sonic-3",
        &[("voice", "pro_clone")],
        &[(Characters, "1000")],
        "0.0975",
    );
    check(
        "sonic-3",
        &[("plan", "scale")],
        &[(Characters, "1000")],
        "0.038",
    );
    check(
        "sonic-3",
        &[("plan", "startup"), ("voice", "pro_clone")],
        &[(Characters, "1000")],
        "0.0675",
    );
    check(
        "ink-whisper",
        &[("mode", "prerecorded")],
        &[(AudioSeconds, "10")],
        "0.000325",
    );
    check(
        "infill",
        &[],
        &[(Requests, "1"), (Characters, "100")],
        "0.026",
    );
    check(
        "line-agent",
        &[("telephony", "true")],
        &[(SessionSeconds, "60")],
        "0.074",
    );
}

#[test]
fn fees_of_tools_hold_for_every_model() {
    let calls = |tool| line("grok-of-tomorrow", &[("tool", tool)], &[(ToolCalls, "3")]);
    assert_eq!(cost("xai", calls("x_search")), "0.015");
    assert_eq!(cost("xai", calls("attachment_search")), "0.03");
    assert_eq!(cost("xai", calls("weather")), "unpriced");
    let container = line(
        "gpt-6-sol",
        &[("tool", "code_interpreter")],
        &[(ToolCalls, "2")],
    );
    assert_eq!(cost("openai", container), "0.06");
    let tokens = line("grok-of-tomorrow", &[], &[(InputTokens, "3")]);
    assert_eq!(cost("xai", tokens), "unpriced");
}

#[test]
fn pages_searches_pictures_and_voices_are_counted() {
    assert_eq!(
        cost("mistral", line("mistral-ocr-4-1", &[], &[(Pages, "3")])),
        "0.012"
    );
    let annotated = line("mistral-ocr-4-1", &[("annotated", "true")], &[(Pages, "3")]);
    assert_eq!(cost("mistral", annotated), "0.015");
    assert_eq!(
        cost("cohere", line("rerank-v4.0-pro", &[], &[(Searches, "2")])),
        "0.005"
    );
    let picture = |quality, size| {
        line(
            "gpt-image-1.5",
            &[("quality", quality), ("size", size)],
            &[(Images, "2")],
        )
    };
    assert_eq!(cost("openai", picture("low", "1024x1024")), "0.018");
    assert_eq!(cost("openai", picture("high", "1536x1024")), "0.4");
    assert_eq!(cost("openai", picture("high", "1x1")), "unpriced");
    let tokens = line(
        "gpt-image-1.5",
        &[("quality", "high"), ("size", "1x1")],
        &[(InputImageTokens, "1000000")],
    );
    assert_eq!(cost("openai", tokens), "8");
    for voice in ["aura-2-thalia-en", "aura-2-celeste-es", "aura-2"] {
        assert_eq!(
            cost("deepgram", line(voice, &[], &[(Characters, "100")])),
            "0.003",
            "{voice}"
        );
    }
    assert_eq!(
        cost(
            "deepgram",
            line("aura-asteria-en", &[], &[(Characters, "100")])
        ),
        "0.0015"
    );
    assert_eq!(
        cost(
            "deepgram",
            line("flux-alexis-en", &[], &[(Characters, "100")])
        ),
        "unpriced"
    );
    let decided = line(
        "gpt-6-luna",
        &[("mode", "decisions")],
        &[(InputTokens, "1000000"), (OutputTokens, "9")],
    );
    assert_eq!(cost("openai", decided), "0.2");
}

#[test]
fn hours_and_days_turn_at_their_instant() {
    let check = |provider: &str, model: &str, instant: &str, expected: &str| {
        let line = line(model, &[], &[(OutputTokens, "100000")]);
        assert_eq!(
            cost_at(provider, line, instant),
            expected,
            "{model} {instant}"
        );
    };
    for (time, expected) in [
        ("00:59:59.999", "0.06"),
        ("01:00:00", "0.12"),
        ("03:59:59.999", "0.12"),
        ("04:00:00", "0.06"),
        ("05:59:59.999", "0.06"),
        ("06:00:00", "0.12"),
        ("09:59:59.999", "0.12"),
        ("10:00:00", "0.06"),
    ] {
        check(
            "deepseek",
            "deepseek-flash",
            &format!("2026-11-23T{time}Z"),
            expected,
        );
    }
    check("gemini", "gemini-4-argon", "2026-11-30T23:59:59.999Z", "1");
    check("gemini", "gemini-4-argon", "2026-12-01T00:00:00Z", "2");
    check(
        "gemini",
        "gemini-3.8-flash",
        "2026-12-31T23:59:59.999Z",
        "0.375",
    );
    check("gemini", "gemini-3.8-flash", "2027-01-01T00:00:00Z", "0.75");
    check("openai", "o3", "2025-06-09T23:59:59.999Z", "4");
    check("openai", "o3", "2025-06-10T00:00:00Z", "0.8");
}

#[test]
fn bounds_on_the_input_turn_at_their_token() {
    let check = |provider: &str, model: &str, bound: u64, expected: [&str; 3]| {
        for (input, expected) in [bound - 1, bound, bound + 1].into_iter().zip(expected) {
            let cached = (input / 2).to_string();
            let fresh = (input - input / 2).to_string();
            let usage = [
                (InputTokens, fresh.as_str()),
                (CacheReadTokens, &cached),
                (OutputTokens, "1000000"),
            ];
            let charge = priced(provider, &[line(model, &[], &usage)])
                .charges
                .pop()
                .unwrap();
            assert_eq!(
                charge.cost_usd.unwrap().to_string(),
                expected,
                "{model} {input}"
            );
        }
    };
    check("openai", "gpt-6-sol", 272_000, ["10", "10", "15"]);
    check(
        "anthropic",
        "claude-haiku-5-5",
        100_000,
        ["0.5", "0.5", "2.5"],
    );
    check("gemini", "gemini-2.5-pro", 200_000, ["10", "10", "15"]);
    check("xai", "grok-4.7", 200_000, ["6", "12", "12"]);
}

#[test]
fn a_card_names_the_cards_it_falls_back_on() {
    let cards = CardSet::built_in();
    let (azure, openai) = (cards.card("azure").unwrap(), cards.card("openai").unwrap());
    let name = openai
        .models()
        .find(|name| *name != "*" && azure.model(name).is_none())
        .unwrap();
    let pinned = line(
        name,
        &[],
        &[
            (InputTokens, "1000"),
            (AudioSeconds, "60"),
            (Characters, "10"),
        ],
    );
    let (theirs, ours) = (
        priced("azure", std::slice::from_ref(&pinned)),
        priced("openai", std::slice::from_ref(&pinned)),
    );
    assert_eq!(theirs.charges, ours.charges, "{name}");
    assert_eq!(theirs.rate_cards.cost.as_deref(), cards.revision("azure"));

    // A process without the pinned card says so, and the collector tries again later.
    let alone = azure
        .canonical()
        .replace(cards.revision("openai").unwrap(), &"0".repeat(64));
    let alone = std::sync::Arc::new(RateCard::from_json(&alone).unwrap());
    let without = cards.with_active(std::sync::Arc::clone(&alone));
    let priced = price(
        "azure",
        std::slice::from_ref(&pinned),
        &without,
        PaidBy::Operator,
        at(NOW),
    );
    assert_eq!(priced.pricing, Pricing::Unpriced);
    let mut event = states::event("reported", &[pinned]);
    event.provider = "azure".into();
    event.rate_cards.cost = Some(alone.revision().into());
    let refused = price_event_as_stamped(&event, &without).unwrap_err();
    assert_eq!(refused.provider, "openai");
    for provider in ["azure", "vertex", "bedrock"] {
        for pin in cards.card(provider).unwrap().fallback_cards() {
            assert_eq!(
                Some(pin.revision.as_str()),
                cards.revision(&pin.provider),
                "{provider}: run refresh.py --pin"
            );
        }
    }
}

#[test]
fn clouds_know_models_by_their_names() {
    let usage = [(InputTokens, "1000000")];
    let check = |provider: &str, model: &str, expected: &str| {
        assert_eq!(
            cost_at(provider, line(model, &[], &usage), NOW),
            expected,
            "{provider} {model}"
        );
    };
    check("bedrock", "anthropic.claude-opus-5-5", "4");
    check("bedrock", "global.anthropic.claude-sonnet-5-5-v1:0", "2");
    check("bedrock", "us.anthropic.claude-sonnet-5-5", "2.2");
    check("vertex", "claude-opus-5-5@20261001", "4");
    check("vertex", "publishers/google/models/gemini-2.5-flash", "0.3");
    check("azure", "gpt-5-mini-2025-08-07", "0.25");
    check(
        "fireworks",
        "accounts/fireworks/models/gpt-oss-120b",
        "0.15",
    );
    check(
        "together",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "1.04",
    );
    check("moonshot", "kimi-k3", "3");
    check("perplexity", "sonar", "1");
    check("voyage", "voyage-4", "0.06");
    check("cerebras", "gpt-oss-120b", "0.35");
    let cached = [(CacheReadAudioTokens, "1000000")];
    let audio = line("gemini-2.5-flash", &[], &cached);
    assert_eq!(cost_at("gemini", audio, NOW), "0.1");
    let names: usize = CardSet::built_in().active().map(RateCard::names_len).sum();
    assert!(names > 3_000, "{names}");
}
