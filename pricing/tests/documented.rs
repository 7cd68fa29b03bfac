//! What docs/reference/pricing.md shows is what the code takes and computes.

#![expect(clippy::unwrap_used, reason = "what does not parse fails")]

use std::sync::Arc;

use farebox_pricing::event::PaidBy;
use farebox_pricing::price::price;
use farebox_pricing::rate_card::selling::{Buyer, SellingRules};
use farebox_pricing::rate_card::{CardSet, RateCard};
use farebox_pricing::usage::{Line, Usage};

const PAGE: &str = include_str!("../../docs/reference/pricing.md");

/// The JSON blocks of the page.
fn blocks() -> Vec<&'static str> {
    let after = PAGE.split("```json\n").skip(1);
    after
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect()
}

/// A card around what a block shows of one.
fn card(block: &str) -> RateCard {
    let model = |revisions: &str| format!(r#"{{"model":"m-1","revisions":{revisions}}}"#);
    let models = match block {
        whole if whole.contains("\"schema\"") => return RateCard::from_json(whole).unwrap(),
        a_model if a_model.contains("\"revisions\"") => a_model.to_owned(),
        a_rate => model(&format!(r#"[{{"rates":[{a_rate}]}}]"#)),
    };
    let text = format!(r#"{{"schema":1,"provider":"acme-ai","models":[{models}]}}"#);
    RateCard::from_json(&text).unwrap()
}

/// What quantities cost, as the page writes amounts; `none` without a price.
fn cost(
    card: &Arc<RateCard>,
    model: &str,
    usage: &[(&str, &str)],
    when: &[(&str, &str)],
    at: &str,
) -> String {
    let usage: Usage = usage
        .iter()
        .map(|(meter, quantity)| (meter.parse().unwrap(), quantity.parse().unwrap()))
        .collect();
    let line = Line {
        model: model.to_owned(),
        conditions: when
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        usage,
    };
    let cards = CardSet::empty().with_active(Arc::clone(card));
    let priced = price(
        "acme-ai",
        &[line],
        &cards,
        PaidBy::Operator,
        at.parse().unwrap(),
    );
    priced
        .cost_usd
        .map_or("none".to_owned(), |usd| usd.to_string())
}

#[test]
fn every_example_of_the_page_is_accepted() {
    let blocks = blocks();
    let (rules, cards): (Vec<&str>, Vec<&str>) = blocks
        .into_iter()
        .partition(|block| SellingRules::is_meant(block));
    for block in &rules {
        SellingRules::from_json(block).unwrap();
    }
    for block in &cards {
        card(block);
    }
    assert_eq!((cards.len(), rules.len()), (3, 1));
}

#[test]
fn the_examples_cost_what_the_page_says() {
    let cards: Vec<Arc<RateCard>> = blocks()[..3]
        .iter()
        .map(|block| Arc::new(card(block)))
        .collect();
    let [dated, spoken, whole] = &cards[..] else {
        panic!("three cards are shown")
    };
    let input = |tokens: &str, when: &[(&str, &str)], at: &str| {
        cost(dated, "m-1", &[("input_tokens", tokens)], when, at)
    };
    assert_eq!(input("1000000", &[], "2026-11-30T23:59:59.999Z"), "2");
    let midnight = "2026-12-01T00:00:00.000Z";
    assert_eq!(input("200000", &[], midnight), "0.3");
    assert_eq!(input("200001", &[], midnight), "0.600003");
    assert_eq!(input("200001", &[("batch", "true")], midnight), "0.3000015");
    let spoke = |seconds: &str| cost(spoken, "m-1", &[("audio_seconds", seconds)], &[], midnight);
    assert_eq!(spoke("0.2"), spoke("10"));
    assert_eq!(spoke("59.1"), "0.0043");

    let tokens = &[
        ("input_tokens", "1000"),
        ("cache_read_tokens", "100"),
        ("reasoning_tokens", "200"),
    ];
    let at = |hour: &str| format!("2026-11-20T{hour}:00Z");
    // In the order of the page's table.
    let chat = |when: &[(&str, &str)], hour: &str| {
        cost(whole, "acme-ai/chat-1-2026-08-21", tokens, when, &at(hour))
    };
    let noon = at("12:00");
    let of = |model: &str, usage: &[(&str, &str)], when: &[(&str, &str)]| {
        cost(whole, model, usage, when, &noon)
    };
    let auto = &[("service_tier", "auto")];
    assert_eq!(chat(auto, "22:00"), chat(auto, "05:59"));
    let size = ("size", "1024x1024");
    let images = &[("images", "2")];
    let voice = &[("characters", "1000")];
    let computed = [
        chat(&[], "12:00"),
        chat(auto, "22:00"),
        chat(&[("service_tier", "batch"), ("geo", "us")], "06:00"),
        chat(&[("service_tier", "priority")], "12:00"),
        of("chat-10", tokens, &[]),
        of(
            "listen-1",
            &[("audio_seconds", "90.5")],
            &[("redact", "true")],
        ),
        of("voice-1-ada-en", voice, &[]),
        of("voice-1-ada-en", voice, &[("plan", "scale")]),
        of("paint-1", images, &[size, ("quality", "high")]),
        of("paint-1", images, &[size, ("quality", "low")]),
        of("chat-1", &[("web_searches", "3")], &[]),
    ];
    assert_eq!(of("chat-1-mini", tokens, &[]), "none");
    let (_, table) = PAGE.split_once("| call | USD | because |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let said: Vec<&str> = rows.map(|row| row.split(" | ").nth(1).unwrap()).collect();
    assert_eq!(said, computed);
}

#[test]
fn the_rules_of_the_page_hold_as_it_says() {
    let blocks = blocks();
    let text = blocks
        .iter()
        .find(|block| SellingRules::is_meant(block))
        .unwrap();
    let cards = CardSet::built_in().with_selling(Arc::new(SellingRules::from_json(text).unwrap()));
    let rule = |tenant: &str, plan: Option<&str>, meter: &str, paid_by: PaidBy, at: &str| {
        let line = Line {
            model: "gpt-6-sol".to_owned(),
            usage: [(meter.parse().unwrap(), 1_000_000_u64.into())]
                .into_iter()
                .collect(),
            ..Line::default()
        };
        let buyer = Buyer {
            tenant: Some(tenant),
            plan,
            paid_by,
        };
        let priced = price("openai", &[line], &cards, buyer, at.parse().unwrap());
        let charge = &priced.charges[0];
        charge.price_rule.as_deref().unwrap().to_owned()
    };
    let (before, after) = ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z");
    let operator = PaidBy::Operator;
    assert_eq!(
        rule("t", None, "output_tokens", operator, before),
        "standard"
    );
    assert_eq!(
        rule("t", Some("pro"), "output_tokens", operator, before),
        "pro"
    );
    assert_eq!(
        rule("t", Some("pro"), "output_tokens", operator, after),
        "pro-sol-output"
    );
    assert_eq!(
        rule("t", Some("pro"), "input_tokens", operator, after),
        "pro"
    );
    assert_eq!(
        rule("acme", Some("pro"), "output_tokens", operator, after),
        "acme"
    );
    assert_eq!(
        rule(
            "acme",
            None,
            "output_tokens",
            operator,
            "2027-01-01T00:00:00Z"
        ),
        "standard"
    );
    assert_eq!(
        rule("t", None, "output_tokens", PaidBy::Caller, after),
        "platform-fee"
    );
}
