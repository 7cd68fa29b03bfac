//! How long one event takes on a warm card; meant for an optimised build:
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test -p farebox-pricing speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

/// Events priced for one figure.
const EVENTS: u32 = 200_000;
/// What the slowest case may take, in nanoseconds.
const NANOSECONDS_MAX: u128 = 2_000;

#[test]
#[ignore = "a measurement, meaningful in an optimised build"]
fn an_event_is_priced_in_two_microseconds() {
    let cards = CardSet::built_in();
    let chat = line("gpt-6-sol", &[("service_tier", "priority")], CHAT);
    let dated = line(
        "openai/gpt-5-mini-2025-08-07",
        &[("service_tier", "default")],
        CHAT,
    );
    let voice = line("aura-2-thalia-en", &[], &[(Characters, "120")]);
    let elsewhere = line("o1-pro", &[], CHAT);
    for (what, provider, line) in [
        ("chat", "openai", chat),
        ("dated name with a prefix", "openai", dated),
        ("voice by its form", "deepgram", voice),
        ("another vendor's card", "azure", elsewhere),
    ] {
        let mut event = states::event("reported", std::slice::from_ref(&line));
        event.provider = provider.into();
        let start = Instant::now();
        for _ in 0..EVENTS {
            black_box(price_event(black_box(&event), cards));
        }
        let each = start.elapsed().as_nanos() / u128::from(EVENTS);
        println!("{what}: {each} ns an event");
        assert!(each < NANOSECONDS_MAX, "{what}: {each} ns");
    }
}
