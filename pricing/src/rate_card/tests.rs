use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;
use crate::usage::Line;

mod conditions;

/// A card with one model, and what a test puts into it.
fn card(head: &str, revision: &str) -> Result<RateCard, InvalidCard> {
    RateCard::from_json(&format!(
        r#"{{"schema":1,"provider":"acme-ai",{head}"models":[{{"model":"m-1","revisions":[{{{revision}}}]}}]}}"#
    ))
}

fn rate(meter: &str, usd: &str, when: &str) -> String {
    format!(
        r#"{{"meter":"{meter}","usd":"{usd}","per":"1","when":{{{when}}},"source":"list","checked":"2026-11-22"}}"#
    )
}

fn rates(rates: &[String]) -> String {
    format!(r#""rates":[{}]"#, rates.join(","))
}

fn line(conditions: &[(&str, &str)], usage: &[(Meter, u64)]) -> Line {
    Line {
        model: "m-1".into(),
        conditions: conditions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        usage: usage
            .iter()
            .map(|(meter, quantity)| (*meter, Decimal::from(*quantity)))
            .collect(),
    }
}

fn usd_at(card: &RateCard, line: &Line, at: &str) -> Option<String> {
    let prices = card.select(line, at.parse().unwrap()).ok()?;
    let price = prices.price(Meter::OutputTokens)?;
    Some(price.rate.usd.to_string())
}

fn usd(card: &RateCard, line: &Line) -> Option<String> {
    usd_at(card, line, "2026-11-22T00:00:00Z")
}

#[test]
fn every_built_in_card_loads_and_is_told_from_the_others() {
    let providers: Vec<&str> = CardSet::built_in()
        .active()
        .map(RateCard::provider)
        .collect();
    assert_eq!(providers.len(), 22);
    for card in CardSet::built_in().active() {
        assert_eq!(card.revision().len(), 64);
        assert_eq!(
            CardSet::built_in().revision(card.provider()),
            Some(card.revision())
        );
        let again = RateCard::from_json(card.canonical()).unwrap();
        assert_eq!(again.revision(), card.revision());
    }
}

#[test]
fn the_card_of_the_readme_loads() {
    let readme = include_str!("../../README.md");
    let (_, text) = readme.split_once("```json\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let card = RateCard::from_json(text).unwrap();
    assert_eq!(card.model("acme-ai/m-1-2026-01-01"), Some("m-1"));
}

#[test]
fn the_revision_is_of_the_meaning_not_of_the_text() {
    let one = r#"{"schema":1,"provider":"p","notes":["caf\u00e9"],"models":[{"model":"m","revisions":[
        {"from":"2026-01-01","rates":[{"meter":"images","usd":"0.50","per":"1e3","source":"s","checked":"2026-11-22"}]}]}]}"#;
    let other = r#"{ "models": [ { "revisions": [ { "rates": [ { "checked": "2026-11-22", "per": "1000.0",
        "source": "s", "usd": "5e-1", "when": {}, "meter": "images" } ], "from": "2026-01-01T00:00:00Z" } ],
        "aliases": [], "model": "m" } ], "notes": [ "cafe\u0301" ], "provider": "p", "schema": 1 }"#;
    let (one, other) = (
        RateCard::from_json(one).unwrap(),
        RateCard::from_json(other).unwrap(),
    );
    assert_eq!(
        one.canonical(),
        r#"{"models":[{"model":"m","revisions":[{"from":"2026-01-01","rates":[{"checked":"2026-11-22","meter":"images","per":"1000","source":"s","usd":"0.5"}]}]}],"notes":["café"],"provider":"p","schema":1}"#
    );
    assert_eq!(one.canonical(), other.canonical());
    // sha256sum of the text above.
    assert_eq!(
        one.revision(),
        "d532569ae038d41ad272626f547d179e365480b1c5cfe839f0b414e895dcde9d"
    );
    assert_eq!(one.revision(), other.revision());
    let dearer = one.canonical().replace("\"0.5\"", "\"0.51\"");
    assert_ne!(
        RateCard::from_json(&dearer).unwrap().revision(),
        one.revision()
    );
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let check = |head: &str, revision: &str, expected: &[&str]| {
        let InvalidCard(problems) = card(head, revision).unwrap_err();
        assert_eq!(problems, expected);
    };
    let plain = rates(&[rate("output_tokens", "1", "")]);
    check("", r#""rates":[]"#, &["rate card acme-ai: m-1: no rate"]);
    check(
        "",
        &rates(&[rate("output_tokens", "-1", "")]).replace(r#""per":"1""#, r#""per":"0""#),
        &[
            "rate card acme-ai: m-1: rate 1 (output_tokens): usd is negative",
            "rate card acme-ai: m-1: rate 1 (output_tokens): per is not positive",
        ],
    );
    check(
        "",
        &plain.replace("2026-11-22", "lately").replace("list", " "),
        &[
            "rate card acme-ai: m-1: rate 1 (output_tokens): no source",
            "rate card acme-ai: m-1: rate 1 (output_tokens): checked `lately`: not a day",
        ],
    );
    let twice = rates(&[
        rate("images", "1", r#""a":"1""#),
        rate("images", "2", r#""b":"1""#),
    ]);
    check(
        "",
        &twice,
        &[
            "rate card acme-ai: m-1: images: `a=1` and `b=1` can both hold and neither is more specific",
        ],
    );
    check(
        r#""base_values":{"a":["1"]},"synonyms":[{"said":"a=2","means":"b"}],"#,
        &rates(&[rate("images", "1", r#""a":"1""#)]),
        &[
            "rate card acme-ai: synonym `b`: not name=value",
            "rate card acme-ai: m-1: condition a=1: is also a base value",
        ],
    );
    check(
        r#""fallbacks":[{"meter":"images","rate_of":"pages"},{"meter":"pages","rate_of":"images"}],"#,
        &plain,
        &[
            "rate card acme-ai: fallback of images: leads back to itself",
            "rate card acme-ai: fallback of pages: leads back to itself",
        ],
    );
    let factor = r#","factors":[{"factor":"2","meters":["tokens"],"when":{},"source":"s","checked":"2026-11-22"}]"#;
    check(
        "",
        &format!("{plain}{factor}"),
        &[
            "rate card acme-ai: m-1: factor 1: `when` is empty: put it into the rates",
            "rate card acme-ai: m-1: factor 1: `tokens`: neither meter nor group",
            "rate card acme-ai: m-1: factor 1: no meter",
        ],
    );
    for bad in [
        "25:00-26:00",
        "1:00-2:00",
        "01:00",
        "03:00-03:00",
        "24:00-01:00",
    ] {
        let late = rates(&[rate("images", "1", &format!(r#""utc_hours":"{bad}""#))]);
        let problem = format!(
            "rate card acme-ai: m-1: rate 1 (images): utc_hours `{bad}`: not HH:MM-HH:MM with different ends"
        );
        check("", &late, &[&problem]);
    }
    let fine = rates(&[rate("output_tokens", "0.000000000000000001", "")]);
    let factor = factor
        .replace("{}", r#"{"a":"1"}"#)
        .replace("tokens", "output_tokens");
    check(
        "",
        &format!("{fine}{}", factor.replace("\"2\"", "\"0.5\"")),
        &["rate card acme-ai: m-1: output_tokens: has too many digits with its factors"],
    );
    assert!(card("", &format!("{fine}{factor}")).is_ok());
}

#[test]
fn unknown_members_and_numbers_are_refused() {
    let plain = rates(&[rate("output_tokens", "1", "")]);
    let at = "rate card.models[m-1].revisions[0].rates[0]";
    for (head, revision, expected) in [
        (
            r#""flavour":"x","#,
            plain.clone(),
            "rate card: unknown member `flavour`".to_owned(),
        ),
        (
            "",
            plain.replace("\"when\"", "\"wen\""),
            format!("{at}: unknown member `wen`"),
        ),
        (
            "",
            plain.replace("output_tokens", "tokens_of_output"),
            format!("{at}.meter: `tokens_of_output`: not a known meter"),
        ),
        (
            "",
            plain.replace(r#""usd":"1""#, r#""usd":1.5"#),
            format!("{at}.usd: 1.5 is a JSON number; write it as a string"),
        ),
        (
            "",
            plain.replace(r#""usd":"1""#, r#""usd":"one""#),
            format!(
                "{at}.usd: `one`: not a decimal of at most 36 digits, 18 of them behind the point"
            ),
        ),
        (
            "",
            plain.replace(r#","per":"1""#, ""),
            format!("{at}: `per` is missing"),
        ),
        (
            "",
            plain.replace(r#""per":"1""#, r#""per":"1","per":"2""#),
            "rate card: duplicate field `per` at line 1 column 131".to_owned(),
        ),
    ] {
        let InvalidCard(problems) = card(head, &revision).unwrap_err();
        assert_eq!(problems, [expected]);
    }
    let newer = card("", &plain)
        .unwrap()
        .canonical()
        .replace(r#""schema":1"#, r#""schema":2"#);
    let InvalidCard(problems) = RateCard::from_json(&newer).unwrap_err();
    assert_eq!(problems, ["rate card acme-ai: schema 2 is not 1"]);
}

#[test]
fn names_are_given_once() {
    let model = format!(
        r#"{{"model":"m-1","revisions":[{{{}}}]}}"#,
        rates(&[rate("images", "1", "")])
    );
    let twice = format!(r#"{{"schema":1,"provider":"p","models":[{model},{model}]}}"#);
    let InvalidCard(problems) = RateCard::from_json(&twice).unwrap_err();
    assert_eq!(problems, ["rate card p: model `m-1`: named twice"]);
    let InvalidCard(problems) = card(
        r#""never_reduced":["m-1"],"#,
        &rates(&[rate("images", "1", "")]),
    )
    .unwrap_err();
    assert_eq!(
        problems,
        ["rate card acme-ai: never_reduced `m-1`: has a price"]
    );
}

#[test]
fn a_model_that_is_not_on_the_card_is_unknown_and_one_without_a_price_yet_is_that() {
    let from = format!(
        r#""from":"2026-12-01",{}"#,
        rates(&[rate("output_tokens", "1", "")])
    );
    let card = card("", &from).unwrap();
    let at = |day: &str| format!("{day}T00:00:00Z").parse().unwrap();
    let own = line(&[], &[]);
    let other = Line {
        model: "m-2".into(),
        ..own.clone()
    };
    let why = |line: &Line, day: &str| match card.select(line, at(day)) {
        Ok(_) => None,
        Err(Unpriced::UnknownModel) => Some("unknown"),
        Err(Unpriced::NotYetPriced) => Some("not yet"),
        Err(_) => Some("else"),
    };
    assert_eq!(why(&own, "2026-11-30"), Some("not yet"));
    assert_eq!(why(&own, "2026-12-01"), None);
    assert_eq!(why(&other, "2026-12-01"), Some("unknown"));
}

#[test]
fn revisions_are_in_order() {
    let text = |first: &str, second: &str| {
        let rates = rates(&[rate("images", "1", "")]);
        format!(
            r#"{{"schema":1,"provider":"p","models":[{{"model":"m","revisions":[{{{first}{rates}}},{{{second}{rates}}}]}}]}}"#
        )
    };
    let from = |day: &str| format!(r#""from":"{day}","#);
    assert!(RateCard::from_json(&text("", &from("2026-01-01"))).is_ok());
    assert!(RateCard::from_json(&text(&from("2026-01-01"), &from("2026-01-02"))).is_ok());
    for (first, second) in [
        ("", ""),
        ("2026-01-02", "2026-01-01"),
        ("2026-01-01", "2026-01-01"),
    ] {
        let [first, second] = [first, second].map(|day| match day {
            "" => String::new(),
            day => from(day),
        });
        let InvalidCard(problems) = RateCard::from_json(&text(&first, &second)).unwrap_err();
        assert_eq!(
            problems,
            ["rate card p: m: revisions are not in the order of `from`"]
        );
    }
}

#[test]
fn bounds_say_whether_they_are_included() {
    let check = |bound: &str, expected: [&str; 3]| {
        let card = card(
            "",
            &rates(&[
                rate("output_tokens", "1", ""),
                rate("output_tokens", "2", &format!(r#""{bound}":"100""#)),
                rate("output_tokens", "3", r#""input_above":"200""#),
            ]),
        )
        .unwrap();
        for (input, expected) in [99, 100, 101].into_iter().zip(expected) {
            let line = line(
                &[],
                &[
                    (Meter::InputAudioTokens, 1),
                    (Meter::CacheWriteTokens, input - 1),
                ],
            );
            assert_eq!(
                usd(&card, &line).as_deref(),
                Some(expected),
                "{bound} {input}"
            );
        }
        let line = line(&[], &[(Meter::InputTokens, 201)]);
        assert_eq!(usd(&card, &line).as_deref(), Some("3"));
    };
    check("input_above", ["1", "1", "2"]);
    check("input_at_least", ["1", "2", "2"]);
}

#[test]
fn a_sum_passes_a_bound_only_when_one_of_its_requests_may() {
    let card = card(
        "",
        &rates(&[
            rate("output_tokens", "1", ""),
            rate("output_tokens", "2", r#""input_above":"100""#),
        ]),
    )
    .unwrap();
    for (at_most, input, expected) in [
        ("100", 5_000, Some("1")),
        ("101", 5_000, Some("2")),
        ("101", 100, Some("1")),
        ("-1", 100, None),
        ("many", 100, None),
    ] {
        let sum = line(
            &[("input_at_most", at_most)],
            &[(Meter::InputTokens, input)],
        );
        assert_eq!(usd(&card, &sum).as_deref(), expected, "{at_most} {input}");
    }
}

#[test]
fn the_more_specific_rate_counts() {
    let card = card(
        r#""base_values":{"mode":["plain"]},"#,
        &rates(&[
            rate("output_tokens", "1", ""),
            rate("output_tokens", "2", r#""mode":"fancy""#),
            rate("output_tokens", "3", r#""mode":"fancy","language":"multi""#),
        ]),
    )
    .unwrap();
    assert_eq!(usd(&card, &line(&[], &[])).as_deref(), Some("1"));
    assert_eq!(
        usd(&card, &line(&[("mode", "plain")], &[])).as_deref(),
        Some("1")
    );
    assert_eq!(
        usd(&card, &line(&[("mode", "fancy")], &[])).as_deref(),
        Some("2")
    );
    let both = line(&[("mode", "fancy"), ("language", "multi")], &[]);
    assert_eq!(usd(&card, &both).as_deref(), Some("3"));
    let odd = line(&[("mode", "odd")], &[]);
    let at = Timestamp::default();
    let (name, value) = ("mode", "odd");
    assert_eq!(
        card.select(&odd, at).err(),
        Some(Unpriced::UnknownCondition { name, value })
    );
}

#[test]
fn a_rate_for_both_settles_what_two_leave_open() {
    let two = [
        rate("output_tokens", "1", ""),
        rate("output_tokens", "2", r#""a":"1""#),
        rate("output_tokens", "3", r#""input_above":"100""#),
    ];
    assert!(card("", &rates(&two)).is_err());
    let both = rate("output_tokens", "5", r#""a":"1","input_above":"100""#);
    let card = card("", &rates(&[&two[..], &[both]].concat())).unwrap();
    let long = [(Meter::InputTokens, 101)];
    assert_eq!(
        usd(&card, &line(&[("a", "1")], &long)).as_deref(),
        Some("5")
    );
    assert_eq!(usd(&card, &line(&[("a", "1")], &[])).as_deref(), Some("2"));
    assert_eq!(usd(&card, &line(&[], &long)).as_deref(), Some("3"));
}

#[test]
fn hours_are_half_open_and_may_cross_midnight() {
    let card = card(
        "",
        &rates(&[
            rate("output_tokens", "1", ""),
            rate("output_tokens", "2", r#""utc_hours":"22:30-01:00""#),
            rate("output_tokens", "3", r#""utc_hours":"12:00-13:00""#),
        ]),
    )
    .unwrap();
    for (time, expected) in [
        ("22:29:59.999", "1"),
        ("22:30:00", "2"),
        ("23:59:59", "2"),
        ("00:59:59", "2"),
        ("01:00:00", "1"),
        ("12:00:00", "3"),
        ("13:00:00", "1"),
    ] {
        let at = format!("2026-11-22T{time}Z");
        assert_eq!(
            usd_at(&card, &line(&[], &[]), &at).as_deref(),
            Some(expected),
            "{time}"
        );
    }
}

#[test]
fn a_fallback_is_followed_and_shown() {
    let card = card(
        r#""fallbacks":[{"meter":"cache_read_audio_tokens","rate_of":"input_audio_tokens"},{"meter":"input_audio_tokens","rate_of":"input_tokens"}],"#,
        &rates(&[rate("input_tokens", "1", "")]),
    )
    .unwrap();
    let line = line(&[], &[]);
    let prices = card.select(&line, Timestamp::default()).unwrap();
    let price = prices.price(Meter::CacheReadAudioTokens).unwrap();
    assert_eq!(&*price.rule(), "acme-ai/m-1/input_tokens");
    assert!(prices.price(Meter::OutputTokens).is_none());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        prop_assert!(RateCard::from_json(&text).is_err());
        let _ = CardSet::built_in().card("openai").unwrap().model(&text);
    }

    #[test]
    fn no_changed_byte_panics(place in 0usize..2_000, byte in any::<u8>()) {
        let mut bytes = CardSet::built_in().card("deepgram").unwrap().canonical().as_bytes().to_vec();
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = RateCard::from_json(&text);
        }
    }
}
