//! Which conditions a card may have, and how a rule tells which of them held.

use super::*;

#[test]
fn conditions_say_something_and_in_the_cards_own_words() {
    let problems = |head: &str, when: &str| {
        let rates = [rate("images", "1", ""), rate("images", "2", when)];
        card(head, &self::rates(&rates)).unwrap_err().to_string()
    };
    let nothing = "a condition needs a name and a value";
    assert!(problems("", r#""":"x""#).contains(nothing));
    assert!(problems("", r#""tier":"""#).contains(nothing));
    let synonym = r#""synonyms":[{"said":"tier=fast","means":"tier=priority"}],"#;
    assert!(
        problems(synonym, r#""tier":"fast""#)
            .ends_with("condition tier=fast: a synonym means another")
    );
}

#[test]
fn two_prices_that_could_both_hold_need_a_third_for_exactly_that() {
    let problem = |left: &str, right: &str, third: &str| {
        let rates = [left, right, third].map(|when| rate("images", "1", when));
        let clash = |InvalidCard(problems): InvalidCard| problems.join("\n");
        card("", &self::rates(&rates)).map_err(clash).err()
    };
    let tier = r#""tier":"x""#;
    let geo = r#""geo":"y""#;
    let above = |bound: &str| format!(r#""input_above":"{bound}""#);
    let hours = |hours: &str| format!(r#""utc_hours":"{hours}""#);
    let both = |left: &str, right: &str| format!("{left},{right}");
    let check = |left: &str, right: &str, third: &str, is_fine: bool| {
        let found = problem(left, right, third);
        let is_clash = found
            .as_ref()
            .is_some_and(|text| text.contains("neither is more specific"));
        assert_eq!(!is_clash, is_fine, "{left} {right} {third}: {found:?}");
    };
    check(tier, geo, &both(geo, tier), true);
    check(tier, geo, &both(r#""mode":"z""#, tier), false);
    check(tier, geo, &both(&both(geo, tier), r#""mode":"z""#), false);
    check(&above("100"), tier, &both(&above("100"), tier), true);
    check(tier, &above("100"), &both(&above("100"), tier), true);
    check(&above("100"), tier, &both(&above("200"), tier), false);
    check(tier, geo, &both(&both(geo, tier), &above("100")), false);
    check(
        &hours("00:00-06:00"),
        tier,
        &both(tier, &hours("00:00-06:00")),
        true,
    );
    check(
        &hours("00:00-06:00"),
        tier,
        &both(tier, &hours("00:00-05:00")),
        false,
    );
    check(
        tier,
        geo,
        &both(&both(geo, tier), &hours("00:00-05:00")),
        false,
    );
}

#[test]
fn hours_are_of_the_day() {
    let is_fine = |hours: &str| {
        let when = format!(r#""utc_hours":"{hours}""#);
        let rates = [rate("images", "1", ""), rate("images", "2", &when)];
        card("", &self::rates(&rates)).is_ok()
    };
    for hours in [
        "00:00-24:00",
        "00:00-00:01",
        "23:59-00:00",
        "23:59-24:00",
        "22:30-06:15",
    ] {
        assert!(is_fine(hours), "{hours}");
    }
    for hours in [
        "",
        "06:00",
        "6:00-07:00",
        "06:0-07:00",
        "06:00-06:00",
        "05:60-07:00",
        "00:00-24:01",
        "00:00-24:30",
        "24:00-01:00",
        "00:00-25:00",
        "00:00-99:00",
        "-1:00-02:00",
    ] {
        assert!(!is_fine(hours), "{hours}");
    }
}

#[test]
fn a_rule_names_every_addon_and_factor() {
    let addon = |name: &str| rate("output_tokens", "1", &format!(r#""{name}":"true""#));
    let revision = format!(
        r#"{},"addons":[{},{}]"#,
        rates(&[rate("output_tokens", "1", "")]),
        addon("first"),
        addon("second")
    );
    let card = card("", &revision).unwrap();
    let rule = |conditions: &[(&str, &str)]| {
        let line = line(conditions, &[]);
        let at = "2026-11-22T00:00:00Z".parse().unwrap();
        let price = card.select(&line, at).unwrap().price(Meter::OutputTokens);
        price
            .map(|price| (price.rate.usd.to_string(), price.rule().to_string()))
            .unwrap()
    };
    let start = "acme-ai/m-1/output_tokens";
    assert_eq!(rule(&[]), ("1".into(), start.to_owned()));
    let second = [("second", "true")];
    assert_eq!(rule(&second), ("2".into(), format!("{start}?second=true")));
    let both = [("first", "true"), ("second", "true")];
    assert_eq!(
        rule(&both),
        ("3".into(), format!("{start}?first=true&second=true"))
    );
}
