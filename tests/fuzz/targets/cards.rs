//! Rate cards, and pricing by whatever card was taken.

use std::path::Path;
use std::sync::Arc;

use farebox_fuzz::{magnitude, run, signature};
use farebox_pricing::event::PaidBy;
use farebox_pricing::price::price;
use farebox_pricing::rate_card::{CardSet, RateCard};
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Line, Meter, Usage};

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pricing/rate_cards");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut seeds: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).unwrap()).collect();
    seeds.sort_by_key(Vec::len);
    // The small ones are read a hundred times while a large one is read once.
    seeds.truncate(8);
    seeds
}

#[test]
fn cards() {
    let at: Timestamp = serde_json::from_str("\"2026-11-22T00:00:00.000Z\"").unwrap();
    run("cards", seeds(), |input, _| {
        let Ok(text) = std::str::from_utf8(input) else {
            return 0;
        };
        let card = match RateCard::from_json(text) {
            Ok(card) => Arc::new(card),
            Err(wrong) => {
                assert!(!wrong.0.is_empty(), "refused without a reason");
                return signature(&(
                    wrong.0.len(),
                    wrong.0.first().map(|first| magnitude(first.len())),
                ));
            }
        };
        let again =
            RateCard::from_json(card.canonical()).expect("its canonical form is the same card");
        assert_eq!(again.revision(), card.revision());
        let mut usage = Usage::new();
        for meter in [
            Meter::InputTokens,
            Meter::OutputTokens,
            Meter::CacheReadTokens,
            Meter::AudioSeconds,
        ] {
            usage.set(meter, 1_000_000_u64);
        }
        let models: Vec<&str> = card.models().take(3).collect();
        let cards = CardSet::empty().with_active(Arc::clone(&card));
        let mut kinds = Vec::new();
        for model in models {
            let line = Line {
                model: model.to_owned(),
                usage: usage.clone(),
                ..Line::default()
            };
            let priced = price(card.provider(), &[line], &cards, PaidBy::Operator, at);
            assert!(priced.cost_usd.is_none_or(|cost| cost.as_pico() >= 0));
            kinds.push((format!("{:?}", priced.pricing), priced.charges.len()));
        }
        signature(&kinds)
    });
}
