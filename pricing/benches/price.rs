//! How long one event takes on a warm card: `cargo bench -p farebox-pricing`.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be set up ends"
)]
#![allow(missing_docs, reason = "criterion's own functions")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use farebox_pricing::event::Event;
use farebox_pricing::price::price_event;
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::rate_card::selling::SellingRules;
use serde_json::{Value, json};

// The program's own: a third of an event's time are small allocations.
#[allow(dead_code, unused_imports, reason = "its tests are run where it lives")]
#[path = "../../cli/src/allocator.rs"]
mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn event(provider: &str, line: Value) -> Event {
    let id = "019aa9a8-6f00-7000-8000-000000000001";
    serde_json::from_value(json!({
        "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": "acme", "plan": "pro", "environment": "live", "attribution": "key",
        "paid_by": "operator", "upstream": provider, "provider": provider, "endpoint": "chat",
        "started_at": "2026-11-22T03:18:00.000Z", "ending": "complete", "transport": "http",
        "attempt": 1, "lines": [line], "usage_source": "reported", "pricing": "unknown",
    }))
    .unwrap()
}

/// A thousand rules, of which one call may meet six.
fn selling() -> CardSet {
    let mut rules = vec![
        json!({"rule": "all", "markup": "1.2"}),
        json!({"rule": "pro", "plan": "pro", "markup": "1.15"}),
        json!({"rule": "acme", "tenant": "acme", "provider": "openai", "markup": "1.1"}),
        json!({"rule": "sol", "tenant": "acme", "model": "gpt-6-sol", "meters": ["output_tokens"],
            "usd": "20", "per": "1000000"}),
    ];
    for number in 0..1_000 {
        let tenant = format!("tenant-{number}");
        rules.push(json!({"rule": tenant, "tenant": tenant, "markup": "1.3"}));
    }
    let file = json!({"schema": 1, "kind": "price", "rules": rules}).to_string();
    CardSet::built_in().with_selling(Arc::new(SellingRules::from_json(&file).unwrap()))
}

fn events(criterion: &mut Criterion) {
    let tokens = json!({"input_tokens": "464", "cache_read_tokens": "1024",
        "cache_write_tokens": "512", "output_tokens": "100", "reasoning_tokens": "200"});
    let line = |model: &str, conditions: Value| json!({"model": model, "conditions": conditions, "usage": tokens});
    let chat = event(
        "openai",
        line("gpt-6-sol", json!({"service_tier": "priority"})),
    );
    let dated = event(
        "openai",
        line(
            "openai/gpt-5-mini-2025-08-07",
            json!({"service_tier": "default"}),
        ),
    );
    let elsewhere = event("azure", line("o1-pro", json!({})));
    let voice = event(
        "deepgram",
        json!({"model": "aura-2-thalia-en", "usage": {"characters": "120"}}),
    );
    let cloud = event(
        "bedrock",
        line(
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5-20261001-v1:0",
            json!({}),
        ),
    );
    let (cost, sold) = (CardSet::built_in(), selling());
    for (name, event, cards) in [
        ("chat of five meters", &chat, cost),
        ("the same, sold by rules", &chat, &sold),
        ("dated name with a prefix", &dated, cost),
        ("dated name, sold by rules", &dated, &sold),
        ("a cloud's whole resource name", &cloud, cost),
        ("voice by its form", &voice, cost),
        ("another vendor's card", &elsewhere, cost),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| price_event(black_box(event), cards));
        });
    }
}

criterion_group!(benches, events);
criterion_main!(benches);
