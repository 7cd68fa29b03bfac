//! Cards and rules through the API: loaded, put in force, quoted by, compared over the ledger.

use farebox_collector::ingest::Outcome::Accepted;
use farebox_pricing::rate_card::CardSet;
use serde_json::{Value, json};

use crate::served::{AT, OPERATOR, Served, bundle, text};
use crate::support::{Result, outcomes, record};

/// Groq's card with one price doubled.
fn other_card() -> Result<Value> {
    let mut card = serde_json::to_value(CardSet::built_in().card("groq").ok_or("no card")?.file())?;
    card["notes"] = json!(["the operator's own"]);
    Ok(card)
}

fn rules(markup: &str) -> Value {
    json!({"schema": 1, "kind": "price",
        "rules": [{"rule": "pro", "plan": "pro", "markup": markup}],
        "allowances": [{"allowance": "start", "plan": "pro", "usd": "10", "from": "2026-11-15"}]})
}

#[tokio::test]
async fn a_card_is_loaded_then_in_force_and_a_bad_one_never() -> Result {
    let served = Served::new().await?;
    let of_groq = async || -> Result<Vec<(String, bool)>> {
        let page = served
            .done("GET", "/api/v1/prices?provider=groq", &Value::Null)
            .await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| (text(item, "revision"), item["is_active"] == true))
            .collect())
    };
    let before = of_groq().await?;
    assert_eq!(before.len(), 1);

    let mut bad = other_card()?;
    bad["models"][0]["revisions"][0]["rates"][0]["usd"] = json!(0.5);
    bad["models"][1]["colour"] = json!("red");
    let refused = served
        .ask("POST", "/api/v1/prices", Some(OPERATOR), &bad.to_string())
        .await?;
    assert_eq!(refused.status(), 400);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "invalid_rate_card");
    let message = text(error, "message");
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(
        message.contains("0.5 is a JSON number") && message.contains("unknown member `colour`"),
        "{message}"
    );
    assert_eq!(of_groq().await?, before);

    let loaded = served
        .done("POST", "/api/v1/prices", &other_card()?)
        .await?;
    assert_eq!(loaded["is_active"], false);
    let revision = text(&loaded, "revision");
    let again = served
        .ask(
            "POST",
            "/api/v1/prices",
            Some(OPERATOR),
            &other_card()?.to_string(),
        )
        .await?;
    assert_eq!(
        (again.status(), text(&again.json(), "revision")),
        (200, revision.clone())
    );
    let start = &revision[..12];
    let activated = served
        .done(
            "POST",
            "/api/v1/prices/activate",
            &json!({"revision": start, "reason": "new contract"}),
        )
        .await?;
    assert_eq!(text(&activated, "before"), before[0].0);
    let mut after = of_groq().await?;
    after.sort_by_key(|(_, is_active)| *is_active);
    assert_eq!(
        after,
        [(before[0].0.clone(), false), (revision.clone(), true)]
    );
    let shown = served
        .done("GET", &format!("/api/v1/prices/{start}"), &Value::Null)
        .await?;
    assert_eq!(shown["card"]["notes"], json!(["the operator's own"]));

    // And back, by what is already there; a migration of the same program leaves it.
    let quote = json!({"provider": "groq", "model": "no-such", "usage": {"input_tokens": "1"}});
    let quoted = served.done("POST", "/api/v1/prices/quote", &quote).await?;
    assert_eq!(text(&quoted["rate_cards"], "cost"), revision);
    farebox_collector::migrate::migrate(&served.ledger.url, "farebox").await?;
    assert!(of_groq().await?.contains(&(revision.clone(), true)));
    let back = json!({"revision": before[0].0});
    served
        .done("POST", "/api/v1/prices/activate", &back)
        .await?;
    let quoted = served.done("POST", "/api/v1/prices/quote", &quote).await?;
    assert_eq!(text(&quoted["rate_cards"], "cost"), before[0].0);
    for (wrong, status) in [("zz", 400), ("0123456789", 404)] {
        let body = json!({"revision": wrong}).to_string();
        let refused = served
            .ask("POST", "/api/v1/prices/activate", Some(OPERATOR), &body)
            .await?;
        assert_eq!(refused.status(), status, "{wrong}");
    }
    let audited: Vec<String> = served
        .ledger
        .one(
            "select array_agg(action || ' ' || actor order by action_id) from (
                  select action, actor, row_number() over () as action_id from farebox.audit_log
                  where action like 'price.%') as log",
        )
        .await?;
    assert_eq!(audited.len(), 3, "{audited:?}");
    served.stop().await
}

#[tokio::test]
async fn a_quote_is_the_price_of_whom_it_is_for_and_hides_the_cost_from_it() -> Result {
    let served = Served::new().await?;
    let (key, _) = served.tenant("acme", "usage:read").await?;
    served
        .done("PATCH", "/api/v1/tenants/acme", &json!({"plan": "pro"}))
        .await?;
    let loaded = served.done("POST", "/api/v1/prices", &rules("3")).await?;
    served
        .done(
            "POST",
            "/api/v1/prices/activate",
            &json!({"revision": text(&loaded, "revision")}),
        )
        .await?;
    let asked = |tenant: Option<&str>| {
        json!({"provider": "openai", "model": "gpt-4o-mini", "tenant": tenant,
            "usage": {"input_tokens": "1000000"}})
    };
    let quote = async |tenant: Option<&str>| {
        served
            .done("POST", "/api/v1/prices/quote", &asked(tenant))
            .await
    };
    assert_eq!(text(&quote(None).await?, "billed_usd"), "0.15");
    let of_tenant = quote(Some("acme")).await?;
    assert_eq!(
        (text(&of_tenant, "cost_usd"), text(&of_tenant, "billed_usd")),
        ("0.15".into(), "0.45".into())
    );

    let own = served
        .ask(
            "POST",
            "/api/v1/prices/quote",
            Some(&key),
            &asked(None).to_string(),
        )
        .await?;
    assert_eq!(own.status(), 200, "{}", own.text());
    assert_eq!(text(&own.json(), "billed_usd"), "0.45");
    for hidden in ["0.15", "openai/gpt-4o-mini", "\"cost\""] {
        assert!(!own.text().contains(hidden), "{hidden} in {}", own.text());
    }
    let foreign = served
        .ask(
            "POST",
            "/api/v1/prices/quote",
            Some(&key),
            &asked(Some("globex")).to_string(),
        )
        .await?;
    assert_eq!(foreign.status(), 404);
    let included: String = served
        .ledger
        .one("select concat_ws(' ', tenant_id, allowance, trim_scale(usd), valid_from) from farebox.allowances")
        .await?;
    assert_eq!(included, "acme start 10 2026-11-01");
    served.stop().await
}

#[tokio::test]
async fn what_was_used_is_priced_anew_page_by_page_and_nothing_is_booked() -> Result {
    let served = Served::new().await?;
    let mut records: Vec<Value> = (1..=4).map(|n| record(Some("acme"), AT, n)).collect();
    records[3]["lines"] = json!([{"model": "no-such-model", "usage": {"input_tokens": "7"}}]);
    records[3]["claimed_usd"] = Value::Null;
    for record in &mut records {
        record["plan"] = "pro".into();
    }
    let answer = served.ledger.ship(&records).await?;
    assert_eq!(outcomes(&answer), [Accepted; 4]);
    let before = served
        .done("GET", "/api/v1/prices/gaps?from=2026-11-01", &Value::Null)
        .await?;
    let gap = &before["items"][0];
    assert_eq!(
        (
            text(gap, "model"),
            text(gap, "meter"),
            text(gap, "quantity"),
            gap["events"].clone()
        ),
        (
            "no-such-model".into(),
            "input_tokens".into(),
            "7".into(),
            json!(1)
        ),
        "{before}"
    );

    let loaded = served.done("POST", "/api/v1/prices", &rules("2")).await?;
    let revision = text(&loaded, "revision");
    // Not in force, so nothing changes unless it is named.
    let reprice = async |asked: Value| served.done("POST", "/api/v1/prices/reprice", &asked).await;
    assert_eq!(reprice(json!({})).await?["items"], json!([]));
    let preview = reprice(json!({"revisions": [revision], "tenant": "acme"})).await?;
    assert_eq!(preview["looked_at"], 4);
    assert_eq!(
        preview["items"].as_array().map(Vec::len),
        Some(3),
        "{preview}"
    );
    let sum = &preview["tenants"][0];
    assert_eq!(
        (
            text(sum, "old_billed_usd"),
            text(sum, "new_billed_usd"),
            text(sum, "new_cost_usd")
        ),
        ("0.00063".into(), "0.00126".into(), "0.00063".into())
    );
    assert_eq!(
        reprice(json!({"revisions": [revision], "tenant": "globex"})).await?["items"],
        json!([])
    );

    // OpenAI's card with every price of one model doubled, over the same events.
    let mut card = CardSet::built_in().card("openai").ok_or("no card")?.file();
    let model = card
        .models
        .iter_mut()
        .find(|model| model.model == "gpt-4o-mini");
    for rate in &mut model.ok_or("no model")?.revisions[0].rates {
        rate.usd = rate.usd.and_then(|usd| usd.checked_mul(2.into()));
    }
    let diff = served
        .done(
            "POST",
            "/api/v1/prices/diff",
            &json!({"before": "active", "after": card, "from": "2026-11-01"}),
        )
        .await?;
    assert!(
        diff["items"]
            .as_array()
            .is_some_and(|items| items.len() >= 2),
        "{diff}"
    );
    let of_model = &diff["models"][0];
    assert_eq!(of_model["events"], 4, "{diff}");
    assert_eq!(of_model["unpriced_events"], 1);
    assert_eq!(
        (
            text(of_model, "cost_usd_before"),
            text(of_model, "cost_usd_after")
        ),
        ("0.00063".into(), "0.00126".into())
    );
    let booked: i64 = served
        .ledger
        .one("select count(*) from farebox.adjustments")
        .await?;
    assert_eq!(booked, 0);
    served.stop().await
}

#[tokio::test]
async fn with_a_trusted_key_prices_come_signed_or_not_at_all() -> Result {
    let (key, bundle) = bundle()?;
    let served = Served::trusting(vec![key]).await?;
    let of_rules = "/api/v1/prices?provider=*";
    let refused = async |path: &str, body: &str, code: &str| -> Result {
        let answer = served.ask("POST", path, Some(OPERATOR), body).await?;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status(), text(error, "code")),
            (409, code.into()),
            "{error}"
        );
        let none = served.done("GET", of_rules, &Value::Null).await?;
        assert_eq!(none["items"], json!([]), "{none}");
        Ok(())
    };
    let into_force = "/api/v1/prices/bundle?activate=true&reason=signed";
    // One digit of a price, one of the signature, and the key it claims.
    refused(into_force, &bundle.replace("1.5", "1.6"), "not_signed").await?;
    let mut forged: Value = serde_json::from_str(&bundle)?;
    forged["signatures"][0]["signature"] = json!("00".repeat(64));
    refused(into_force, &forged.to_string(), "not_signed").await?;
    forged["signatures"] = json!([]);
    refused(into_force, &forged.to_string(), "not_signed").await?;
    refused("/api/v1/prices", &rules("2").to_string(), "unsigned_prices").await?;
    let declared = json!({"prices": {"rules": [{"rule": "all", "markup": "9"}]}});
    refused("/api/v1/apply", &declared.to_string(), "unsigned_prices").await?;

    let loaded: Value = serde_json::from_str(&bundle)?;
    let loaded = served
        .done("POST", "/api/v1/prices/bundle", &loaded)
        .await?;
    assert_eq!(loaded["items"][0]["is_active"], false, "{loaded}");
    let active: Value = serde_json::from_str(&bundle)?;
    let active = served.done("POST", into_force, &active).await?;
    assert_eq!(active["items"][0]["is_active"], true, "{active}");
    let quote = json!({"provider": "openai", "model": "gpt-4o-mini", "usage": {"input_tokens": "1000000"}, "at": AT});
    let quoted = served.done("POST", "/api/v1/prices/quote", &quote).await?;
    assert_eq!(
        (text(&quoted, "cost_usd"), text(&quoted, "billed_usd")),
        ("0.15".into(), "0.225".into())
    );
    let reasons: i64 = served
        .ledger
        .one("select count(*) from farebox.audit_log where action = 'price.activate' and details ->> 'reason' = 'signed'")
        .await?;
    assert_eq!(reasons, 1);
    served.stop().await
}

#[tokio::test]
async fn selling_prices_are_declared_whole_shown_rule_by_rule_and_compared() -> Result {
    let served = Served::new().await?;
    let apply = async |rules: Value, dry_run: bool| {
        let document = json!({"dry_run": dry_run, "prices": {"rules": rules}});
        served.done("POST", "/api/v1/apply", &document).await
    };
    let billed = async || -> Result<String> {
        let quote = json!({"provider": "openai", "model": "gpt-4o-mini", "usage": {"input_tokens": "1000000"}, "at": AT});
        let quoted = served.done("POST", "/api/v1/prices/quote", &quote).await?;
        Ok(text(&quoted, "billed_usd"))
    };
    let first =
        json!([{"rule": "all", "markup": "2"}, {"rule": "pro", "plan": "pro", "markup": "1.5"}]);
    let previewed = apply(first.clone(), true).await?;
    assert_eq!(previewed["changes"][0]["action"], "create", "{previewed}");
    assert_eq!(billed().await?, "0.15", "a preview changes nothing");
    let applied = apply(first.clone(), false).await?;
    assert_eq!(
        applied["changes"][0]["after"]["all"],
        json!({"markup": "2"}),
        "{applied}"
    );
    assert_eq!(billed().await?, "0.3");
    let again = apply(first, false).await?;
    assert_eq!(
        (&again["unchanged"], &again["changes"]),
        (&json!(1), &json!([])),
        "{again}"
    );

    let second = json!([{"rule": "all", "markup": "3"}]);
    let changed = apply(second, false).await?;
    let change = &changed["changes"][0];
    assert_eq!(
        (&change["before"]["all"], &change["after"]["all"]),
        (&json!({"markup": "2"}), &json!({"markup": "3"})),
        "{changed}"
    );
    assert_eq!(change["after"]["pro"], Value::Null, "{changed}");
    assert_eq!(billed().await?, "0.45");

    // Mistakes are told with their places, and nothing of the document is done.
    let document =
        json!({"tenants": {"newcomer": {}}, "prices": {"rules": [{"rule": "x", "markup": 2}]}});
    let refused = served
        .ask(
            "POST",
            "/api/v1/apply",
            Some(OPERATOR),
            &document.to_string(),
        )
        .await?;
    let error = &refused.json()["error"];
    assert_eq!(
        (refused.status(), text(error, "field")),
        (400, "prices".into()),
        "{error}"
    );
    assert!(
        text(error, "message").contains("2 is a JSON number"),
        "{error}"
    );
    let newcomers: i64 = served
        .ledger
        .one("select count(*) from farebox.tenants where tenant_id = 'newcomer'")
        .await?;
    assert_eq!((newcomers, billed().await?), (0, "0.45".into()));

    let before = text(&change["before"], "revision");
    let diff = json!({"before": before, "after": "active"});
    let diff = served.done("POST", "/api/v1/prices/diff", &diff).await?;
    assert_eq!(
        diff["rules"],
        json!([
            {"kind": "rule", "rule": "all", "before": {"markup": "2"}, "after": {"markup": "3"}},
            {"kind": "rule", "rule": "pro", "before": {"plan": "pro", "markup": "1.5"}, "after": null},
        ]),
        "{diff}"
    );
    served.stop().await
}
