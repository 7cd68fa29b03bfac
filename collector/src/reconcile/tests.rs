//! What causes what.

use std::collections::BTreeMap;

use super::formats::VendorLine;
use super::*;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn vendor(model: &str, meter: &str, quantity: &str, cost: &str) -> VendorLine {
    let known = |text: &str| (!text.is_empty()).then(|| decimal(text));
    VendorLine {
        day: Some("2026-11-01".into()),
        model: (!model.is_empty()).then(|| model.into()),
        meter: meter.into(),
        quantity: known(quantity),
        cost_usd: known(cost),
        ..VendorLine::default()
    }
}

fn ledger(model: &str, meter: &str, quantity: &str, cost: &str) -> LedgerRow {
    LedgerRow {
        day: Some("2026-11-01".into()),
        model: Some(model.into()),
        meter: meter.into(),
        quantity: decimal(quantity),
        cost_usd: decimal(cost),
        ..LedgerRow::default()
    }
}

fn causes(vendor: &[VendorLine], ledger: &[LedgerRow]) -> Vec<(String, Option<Cause>)> {
    let tolerance = Tolerance {
        usd: decimal("0.000001"),
        percent: decimal("0.1"),
    };
    compare(
        "some-vendor",
        CardSet::built_in(),
        vendor,
        ledger,
        &BTreeMap::new(),
        tolerance,
    )
    .unwrap()
    .into_iter()
    .map(|line| {
        let model = line.subject.model.unwrap_or_default();
        (format!("{model} {}", line.subject.meter), line.cause)
    })
    .collect()
}

#[test]
fn three_causes_are_told_apart() {
    let found = causes(
        &[
            vendor("agrees", "input_tokens", "1000", "0.01"),
            vendor("dearer", "input_tokens", "1000", "0.02"),
            vendor("more", "input_tokens", "1100", "0.011"),
            vendor("unseen", "input_tokens", "5", "0.00005"),
        ],
        &[
            ledger("agrees", "input_tokens", "1000", "0.01"),
            ledger("dearer", "input_tokens", "1000", "0.01"),
            ledger("more", "input_tokens", "1000", "0.01"),
            ledger("ours", "input_tokens", "7", "0.00007"),
            // A meter that the report has not is not compared.
            ledger("agrees", "images", "3", "1"),
        ],
    );
    let expected = [
        ("agrees", None),
        ("dearer", Some(Cause::Rate)),
        ("more", Some(Cause::Units)),
        ("ours", Some(Cause::Coverage)),
        ("unseen", Some(Cause::Coverage)),
    ];
    let expected: Vec<_> = (expected.iter())
        .map(|(model, cause)| (format!("{model} input_tokens"), *cause))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_report_of_nothing_covers_nothing() {
    let found = causes(
        &[],
        &[
            ledger("m", "calls", "2", "0"),
            ledger("m", "input_tokens", "200", "0.02"),
        ],
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|(_, cause)| *cause == Some(Cause::Coverage)),
        "{found:?}"
    );
    // Neither side has anything: they agree.
    assert_eq!(causes(&[], &[]), []);
}

#[test]
fn units_that_come_of_missing_calls_are_coverage() {
    let found = causes(
        &[
            vendor("m", "calls", "3", ""),
            vendor("m", "input_tokens", "300", ""),
            vendor("m", "cost", "", "0.03"),
        ],
        &[
            ledger("m", "calls", "2", "0"),
            ledger("m", "input_tokens", "200", "0.02"),
        ],
    );
    assert!(
        found
            .iter()
            .all(|(_, cause)| *cause == Some(Cause::Coverage)),
        "{found:?}"
    );
}

#[test]
fn an_amount_without_a_model_is_held_against_the_whole_day() {
    let rows = [
        ledger("a", "input_tokens", "1", "0.25"),
        ledger("b", "output_tokens", "1", "0.75"),
        ledger("b", "calls", "1", "0"),
    ];
    let total = |cost| causes(&[vendor("", "cost", "", cost)], &rows);
    assert_eq!(total("1"), [(" cost".to_owned(), None)]);
    assert_eq!(total("1.1"), [(" cost".to_owned(), Some(Cause::Rate))]);
}

#[test]
fn calls_are_compared_by_id_where_the_report_has_ids() {
    let mut lines = [
        vendor("", "audio_seconds", "10", "0.1"),
        vendor("", "audio_seconds", "20", "0.2"),
    ];
    lines[0].id = Some("req-1".into());
    lines[1].id = Some("req-2".into());
    let mut row = ledger("nova-3", "audio_seconds", "10", "0.1");
    row.ids = vec!["other".into(), "req-1".into()];
    let tolerance = Tolerance {
        usd: Decimal::ZERO,
        percent: Decimal::ZERO,
    };
    let found = compare(
        "v",
        CardSet::built_in(),
        &lines,
        &[row],
        &BTreeMap::new(),
        tolerance,
    )
    .unwrap();
    let found: Vec<_> = (found.iter())
        .map(|line| (line.subject.id.as_deref(), line.cause))
        .collect();
    assert_eq!(
        found,
        [
            (Some("req-1"), None),
            (Some("req-2"), Some(Cause::Coverage))
        ]
    );
}

#[test]
fn a_mapped_key_is_told_apart_from_one_that_is_not_ours() {
    let mut ours = vendor("m", "input_tokens", "10", "");
    ours.key = Some("key_1".into());
    let mut foreign = vendor("m", "input_tokens", "99", "");
    foreign.key = Some("key_2".into());
    let mut row = ledger("m", "input_tokens", "10", "0");
    row.credential = Some("main".into());
    let keys = BTreeMap::from([("key_1".to_owned(), "main".to_owned())]);
    let tolerance = Tolerance {
        usd: Decimal::ZERO,
        percent: Decimal::ZERO,
    };
    let found = compare(
        "v",
        CardSet::built_in(),
        &[ours, foreign],
        &[row],
        &keys,
        tolerance,
    )
    .unwrap();
    let found: Vec<_> = (found.iter())
        .map(|line| (line.subject.credential.as_deref(), line.cause))
        .collect();
    assert_eq!(
        found,
        [(Some("key_2"), Some(Cause::Coverage)), (Some("main"), None)]
    );
}

#[test]
fn models_meet_by_the_names_of_the_cards_in_force() {
    let card = r#"{"schema":1,"provider":"some-vendor","models":[{"model":"m-1","aliases":["chat"],"revisions":[{"rates":[
        {"meter":"input_tokens","usd":"1","per":"1000000","source":"s","checked":"2026-11-20"}]}]}]}"#;
    let card = farebox_pricing::rate_card::RateCard::from_json(card).unwrap();
    let cards = CardSet::built_in().with_active(card.into());
    let tolerance = Tolerance {
        usd: Decimal::ZERO,
        percent: Decimal::ZERO,
    };
    let found = |cards: &CardSet| {
        let said = [vendor("chat", "input_tokens", "10", "0.00001")];
        let ours = [ledger("m-1-2026-01-01", "input_tokens", "10", "0.00001")];
        let lines = compare(
            "some-vendor",
            cards,
            &said,
            &ours,
            &BTreeMap::new(),
            tolerance,
        );
        let lines = lines.unwrap().into_iter();
        lines
            .map(|line| (line.subject.model, line.cause))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&cards), [(Some("m-1".to_owned()), None)]);
    assert_eq!(found(CardSet::built_in()).len(), 2);
}
