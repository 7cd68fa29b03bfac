//! What prices need of memory: nothing beyond an event's charges, and little for thousands of models.
//! One test at a time, because the allocator counts for the whole process.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails")]

use std::alloc::System;
use std::sync::Mutex;

use farebox_pricing::event::Event;
use farebox_pricing::price::{event_amounts, price_event};
use farebox_pricing::rate_card::selling::SellingRules;
use farebox_pricing::rate_card::{CardSet, RateCard};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ALONE: Mutex<()> = Mutex::new(());

/// Models of the promise, and what they may take.
const MODELS: usize = 5_000;
const RESIDENT_BYTES_MAX: usize = 10_000_000;

fn event(lines: Value) -> Event {
    let id = "019aa9a8-6f00-7000-8000-000000000001";
    serde_json::from_value(json!({
        "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": "acme", "plan": "pro", "environment": "live", "attribution": "key",
        "paid_by": "operator", "upstream": "openai", "provider": "openai", "endpoint": "chat",
        "started_at": "2026-11-22T03:18:00.000Z", "ending": "complete", "transport": "http",
        "attempt": 1, "lines": lines, "usage_source": "reported", "pricing": "unknown",
    }))
    .unwrap()
}

#[test]
fn a_warm_event_allocates_its_charges_and_nothing_else() {
    let _alone = ALONE.lock();
    let rules = json!({"schema": 1, "kind": "price", "rules": [
        {"rule": "all", "markup": "1.2"},
        {"rule": "pro", "plan": "pro", "when": {"service_tier": "priority"}, "markup": "1.15"},
        {"rule": "vendor", "tenant": "acme", "provider": "openai", "from": "2026-01-01", "markup": "1.1"},
        {"rule": "dated", "tenant": "acme", "model": "gpt-5-mini-2025-08-07", "markup": "1.3"},
        {"rule": "acme", "tenant": "acme", "meters": ["output_tokens"], "usd": "20", "per": "1000000"},
    ]});
    let rules = SellingRules::from_json(&rules.to_string()).unwrap();
    let sold = CardSet::built_in().with_selling(rules.into());
    let usage = json!({"input_tokens": "464", "cache_read_tokens": "1024", "cache_write_tokens": "512",
        "output_tokens": "100", "reasoning_tokens": "200"});
    let line = |model: &str, tier: &str| json!({"model": model, "conditions": {"service_tier": tier}, "usage": usage});
    for (what, lines) in [
        ("one line", json!([line("gpt-6-sol", "priority")])),
        (
            "two lines",
            json!([
                line("gpt-6-sol", "fast"),
                line("openai/gpt-5-mini-2025-08-07", "default")
            ]),
        ),
        (
            "a name in several wraps",
            json!([line("openai/gpt-4o-2024-08-06", "default")]),
        ),
        ("no price", json!([line("gpt-99", "default")])),
    ] {
        let event = event(lines);
        for (by, cards) in [("cost", CardSet::built_in()), ("rules", &sold)] {
            drop(price_event(&event, cards));
            let region = Region::new(ALLOCATOR);
            let priced = price_event(&event, cards);
            let counted = region.change();
            // Their list and a model's name for each line; all else they share with the cards.
            let parts = 1 + event.lines.len();
            assert_eq!(counted.allocations, parts, "{what} by {by}");
            assert_eq!(counted.reallocations, 0, "{what} by {by}");
            // Amounts alone are no piece at all.
            let region = Region::new(ALLOCATOR);
            let amounts = event_amounts(&event, cards);
            assert_eq!(region.change().allocations, 0, "{what} by {by}");
            assert_eq!(amounts.billed_usd, priced.billed_usd, "{what} by {by}");
        }
    }
}

/// A card of that many models, each as large as the built-in ones are on average.
fn card(models: usize) -> String {
    let rate = |meter: &str, usd: String| {
        json!({"meter": meter, "usd": usd, "per": "1000000", "source": "https://example.com/pricing",
            "checked": "2026-11-20"})
    };
    let models: Vec<Value> = (0..models)
        .map(|number| {
            json!({
                "model": format!("vendor/model-{number}-instruct"),
                "aliases": [format!("model-{number}-instruct")],
                "revisions": [{
                    "rates": [
                        rate("input_tokens", format!("0.{number:04}1")),
                        rate("cache_read_tokens", format!("0.0{number:04}1")),
                        rate("output_tokens", format!("1.{number:04}1")),
                    ],
                    "factors": [{"factor": "0.5", "meters": ["input_tokens", "output_tokens"],
                        "when": {"batch": "true"}, "source": "https://example.com/pricing",
                        "checked": "2026-11-20"}],
                }],
            })
        })
        .collect();
    json!({"schema": 1, "provider": "synthetic", "models": models}).to_string()
}

fn resident(build: impl FnOnce() -> CardSet) -> usize {
    let region = Region::new(ALLOCATOR);
    let cards = build();
    let stats = region.change();
    // What grew in place is counted as allocated, what shrank as given back.
    let held = stats.bytes_allocated - stats.bytes_deallocated;
    assert!(cards.active().next().is_some());
    held
}

#[test]
fn five_thousand_models_are_resident_below_ten_megabytes() {
    let _alone = ALONE.lock();
    let text = card(MODELS);
    let held =
        resident(|| CardSet::empty().with_active(RateCard::from_json(&text).unwrap().into()));
    println!("{MODELS} models: {held} bytes");
    assert!(held < RESIDENT_BYTES_MAX, "{held} bytes");

    let texts: Vec<String> = CardSet::built_in()
        .active()
        .map(|card| card.canonical().to_owned())
        .collect();
    let held = resident(|| {
        texts.iter().fold(CardSet::empty(), |cards, text| {
            cards.with_active(RateCard::from_json(text).unwrap().into())
        })
    });
    let models: usize = CardSet::built_in()
        .active()
        .map(|card| card.models().count())
        .sum();
    println!("the {models} built-in models: {held} bytes");
    assert!(held < RESIDENT_BYTES_MAX, "{held} bytes");
}
