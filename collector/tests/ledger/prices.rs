//! Prices in the ledger: by the revisions that events name, sold by rules, with margins that flag
//! themselves and costs that no tenant finds.

use farebox_collector::ingest::Outcome::{Accepted, Retry};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::rate_card::selling::SellingRules;
use farebox_pricing::rate_card::{CardSet, RateCard};
use serde_json::{Value, json};

use crate::support::{Ledger, Result, outcomes, record};

const AT: &str = "2026-11-22T10:00:00.123Z";

async fn load(ledger: &Ledger, kind: &str, provider: &str, revision: &str, text: &str) -> Result {
    ledger
        .sql()
        .await?
        .execute(
            "insert into farebox_private.rate_card_revisions (sha256, kind, provider, canonical)
             values ($1, $2, $3, $4)",
            &[&revision, &kind, &provider, &text],
        )
        .await?;
    Ok(())
}

/// OpenAI's card with another price of `gpt-4o-mini`'s input.
fn dearer() -> Result<RateCard> {
    let mut card = CardSet::built_in().card("openai").ok_or("no card")?.file();
    let model = card
        .models
        .iter_mut()
        .find(|model| model.model == "gpt-4o-mini");
    model.ok_or("no model")?.revisions[0].rates[0].usd = Some("0.30".parse()?);
    Ok(RateCard::from_json(&serde_json::to_string(&card)?)?)
}

fn stamped(mut record: Value, cost: Option<&str>, price: Option<&str>) -> Value {
    record["rate_cards"] = json!({"cost": cost, "price": price});
    record["claimed_usd"] = Value::Null;
    record
}

#[tokio::test]
async fn an_event_waits_for_its_revision_and_is_priced_by_it() -> Result {
    let ledger = Ledger::new().await?;
    let card = dearer()?;
    let built_in = CardSet::built_in().revision("openai").ok_or("no card")?;
    let records = [
        stamped(record(Some("acme"), AT, 1), Some(card.revision()), None),
        stamped(record(Some("acme"), AT, 2), Some(built_in), None),
    ];
    let answer = ledger.ship(&records).await?;
    assert_eq!(outcomes(&answer), [Retry, Accepted]);
    let reason = answer.receipts[0].reason.clone().unwrap_or_default();
    assert_eq!(
        reason,
        format!(
            "rate card openai: revision {} is not known",
            card.revision()
        )
    );

    load(&ledger, "cost", "openai", card.revision(), card.canonical()).await?;
    assert_eq!(outcomes(&ledger.ship(&records[..1]).await?), [Accepted]);
    let priced: Vec<String> = ledger
        .one(
            "select array_agg(trim_scale(cost_usd)::text || ' ' || (rate_cards ->> 'cost') order by seq)
             from farebox.usage_events",
        )
        .await?;
    assert_eq!(
        priced,
        [
            format!("0.00036 {}", card.revision()),
            format!("0.00021 {built_in}")
        ]
    );
    ledger.drop_database().await
}

/// Cost 0.00021 a call, sold at a margin that is good, thin, none and negative, by tenant and plan.
async fn sold() -> Result<Ledger> {
    let ledger = Ledger::new().await?;
    let rules = json!({"schema": 1, "kind": "price", "rules": [
        {"rule": "by-plan", "plan": "pro", "markup": "1.7"},
        {"rule": "thin", "tenant": "globex", "markup": "1.2"},
        {"rule": "loss", "tenant": "initech", "markup": "0.5", "note": "a promise"},
    ]});
    let rules = SellingRules::from_json(&rules.to_string())?;
    load(&ledger, "price", "*", rules.revision(), rules.canonical()).await?;
    let built_in = CardSet::built_in().revision("openai");
    let tenants = [
        ("acme", Some("pro")),
        ("globex", None),
        ("initech", Some("pro")),
        ("hooli", None),
    ];
    let records: Vec<Value> = (1..)
        .zip(tenants)
        .map(|(number, (tenant, plan))| {
            let mut event = stamped(
                record(Some(tenant), AT, number),
                built_in,
                Some(rules.revision()),
            );
            event["plan"] = json!(plan);
            event["claimed_usd"] = "0.000357".into();
            event
        })
        .collect();
    let answer = ledger.ship(&records).await?;
    assert_eq!(outcomes(&answer), [Accepted; 4]);
    // All but the first claim something else than what is booked.
    assert_eq!(answer.price_mismatches, 3);
    Ok(ledger)
}

#[tokio::test]
async fn margins_tell_what_is_thin_and_what_is_lost() -> Result {
    let ledger = sold().await?;
    let margins: Vec<String> = ledger
        .one(
            "select array_agg(concat_ws(' ', tenant_id, billed_usd, cost_usd, margin_usd, margin_ratio,
                 is_thin, is_negative) order by tenant_id)
             from (
                 select tenant_id, sum(billed_usd) as billed_usd, sum(cost_usd) as cost_usd,
                     sum(margin_usd) as margin_usd, max(margin_ratio) as margin_ratio,
                     bool_or(is_thin) as is_thin, bool_or(is_negative) as is_negative
                 from farebox.margins
                 group by tenant_id
             ) as of_tenant",
        )
        .await?;
    assert_eq!(
        margins,
        [
            "acme 0.000357 0.00021 0.000147 0.4118 f f",
            "globex 0.000252 0.00021 0.000042 0.1667 t f",
            "hooli 0.00021 0.00021 0 0.0000 t f",
            "initech 0.000105 0.00021 -0.000105 -1.0000 t t",
        ]
    );
    let by_rule: Vec<String> = ledger
        .one(
            "select array_agg(concat_ws(' ', price_rule, billed_usd, charges, is_thin, is_negative)
                 order by price_rule)
             from farebox.rule_margins",
        )
        .await?;
    assert_eq!(
        by_rule,
        [
            "by-plan 0.000357 2 f f",
            "cost 0.00021 2 t f",
            "loss 0.000105 2 t t",
            "thin 0.000252 2 t f"
        ]
    );
    let kinds: Vec<String> = ledger
        .one(
            "select array_agg(concat_ws(' ', rule, coalesce(tenant_id, plan), trim_scale(markup)) order by rule)
             from farebox.rates where kind = 'price'",
        )
        .await?;
    assert_eq!(
        kinds,
        ["by-plan pro 1.7", "loss initech 0.5", "thin globex 1.2"]
    );
    ledger.drop_database().await
}

/// What the operator pays shows in no view, function or column that a tenant's login reads.
#[tokio::test]
async fn a_tenant_with_a_markup_finds_no_purchase_price_anywhere() -> Result {
    let ledger = sold().await?;
    let tenant = ledger.login("acme").await?;
    let views: Vec<String> = ledger
        .one("select array(select viewname::text from pg_views where schemaname = 'farebox' order by 1)")
        .await?;
    let mut seen = String::new();
    for view in &views {
        let rows = tenant
            .query(
                &format!("select to_jsonb(view)::text from farebox.{view} as view"),
                &[],
            )
            .await?;
        let is_for_operators = [
            "margins",
            "rule_margins",
            "rates",
            "rate_cards",
            "audit_log",
        ];
        assert!(
            rows.is_empty() || !is_for_operators.contains(&view.as_str()),
            "{view}"
        );
        for row in rows {
            seen.push_str(row.get(0));
            seen.push('\n');
        }
    }
    for call in [
        "invoice_preview('acme', '2026-11-01')".to_owned(),
        format!(
            "explain('{}')",
            crate::support::id(crate::support::millis(AT), 1)
        ),
    ] {
        for row in tenant
            .query(
                &format!("select to_jsonb(line)::text from farebox.{call} as line"),
                &[],
            )
            .await?
        {
            seen.push_str(row.get(0));
            seen.push('\n');
        }
    }
    assert!(seen.contains("0.000357"), "its own price is there:\n{seen}");
    assert!(seen.contains("by-plan"), "and the rule's name");
    // The cost of the call and of its halves, the vendor's rates, the markup, the cards.
    let built_in = CardSet::built_in().revision("openai").ok_or("no card")?;
    for hidden in [
        "0.00021",
        "0.00015,",
        "0.00006,",
        "\"0.15\"",
        "\"0.6\"",
        "1.7",
        "openai/gpt-4o-mini",
        built_in,
    ] {
        assert!(!seen.contains(hidden), "{hidden} in\n{seen}");
    }
    ledger.drop_database().await
}

#[tokio::test]
async fn what_is_included_is_seen_by_whom_it_is_for() -> Result {
    let ledger = sold().await?;
    let sql = ledger.sql().await?;
    let rules = json!({"schema": 1, "kind": "price"});
    let rules = SellingRules::from_json(&rules.to_string())?;
    load(&ledger, "price", "*", rules.revision(), rules.canonical()).await?;
    sql.execute(
        "insert into farebox_private.allowances (revision, allowance, tenant_id, plan, usd, quantity, meters) values
             ($1, 'welcome', null, null, 5, null, null),
             ($1, 'pro', null, 'pro', 100, null, null),
             ($1, 'own', 'globex', null, null, 1000000, '{input_tokens}')",
        &[&rules.revision()],
    )
    .await?;
    sql.batch_execute("update farebox_private.tenants set plan = 'pro' where tenant_id = 'acme'")
        .await?;
    let of = "select coalesce(array_agg(tenant_id || ' ' || allowance order by tenant_id, allowance), '{}')
              from farebox.allowances where tenant_id in ('acme', 'globex')";
    let none: Vec<String> = ledger.one(of).await?;
    assert!(none.is_empty(), "not in force yet: {none:?}");
    sql.execute(
        "update farebox_private.rate_card_revisions set activated_at = now() where sha256 = $1",
        &[&rules.revision()],
    )
    .await?;
    let all: Vec<String> = ledger.one(of).await?;
    assert_eq!(
        all,
        ["acme pro", "acme welcome", "globex own", "globex welcome"]
    );
    for (tenant, expected) in [
        ("acme", ["acme pro", "acme welcome"]),
        ("globex", ["globex own", "globex welcome"]),
    ] {
        let own: Vec<String> = ledger.login(tenant).await?.query_one(of, &[]).await?.get(0);
        assert_eq!(own, expected);
    }
    ledger.drop_database().await
}

/// Amounts and quantities go through real Postgres and come back the same, to the last digit.
#[tokio::test]
async fn money_survives_postgres_to_the_last_digit() -> Result {
    let ledger = Ledger::new().await?;
    let sql = ledger.sql().await?;
    // A small generator is enough: the sizes matter, not the distribution.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut texts = Vec::new();
    let mut sum = Usd::ZERO;
    for digits in 0..2_000 {
        let wide = i128::from(random()) * i128::from(random() % 1_000_000_000);
        let pico = wide >> (digits % 90);
        let pico = if random() % 2 == 0 { pico } else { -pico };
        let usd = Usd::from_pico(pico);
        sum = sum.checked_add(usd).ok_or("the sum is too large")?;
        texts.push(usd.to_string());
    }
    let rows = sql
        .query(
            "select (given::numeric)::farebox_private.usd::text, trim_scale(given::numeric)::text
             from unnest($1::text[]) as given",
            &[&texts],
        )
        .await?;
    for (given, row) in texts.iter().zip(&rows) {
        let (kept, trimmed): (String, String) = (row.get(0), row.get(1));
        assert_eq!(&trimmed, given);
        assert_eq!(kept.parse::<Usd>()?, given.parse::<Usd>()?);
        assert_eq!(kept.parse::<Decimal>()?, given.parse::<Decimal>()?);
    }
    let summed: String = sql
        .query_one(
            "select trim_scale(sum(given::numeric))::text from unnest($1::text[]) as given",
            &[&texts],
        )
        .await?
        .get(0);
    assert_eq!(summed, sum.to_string());
    let refused = sql
        .batch_execute("select 0.0000000000001::farebox_private.usd")
        .await;
    assert!(
        refused.is_err(),
        "a thirteenth decimal is refused, not rounded"
    );
    ledger.drop_database().await
}
