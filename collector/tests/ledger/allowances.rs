//! What allowances take off a month: one after the other, and from no line more than is left of it.

use crate::support::{Ledger, Result};

/// Allowances of everybody: name, provider, model, meters, amount, quantity.
const ALLOWANCES: &str = "
    insert into farebox_private.rate_card_revisions (sha256, kind, provider, canonical, activated_at)
    values (encode(sha256('{}'), 'hex'), 'price', '*', '{}', now());
    insert into farebox_private.allowances (revision, allowance, provider, model, meters, usd, quantity)
    select encode(sha256('{}'), 'hex'), given.*
    from (values {rows}) as given (allowance, provider, model, meters, usd, quantity)";

/// Sums of November: provider, model, meter, quantity, amount.
const USED: &str = "
    insert into farebox_private.tenants (tenant_id) values ('acme');
    insert into farebox_private.daily_sums (
        day, utc_day, period, tenant_id, environment, paid_by, endpoint, pricing,
        provider, model, meter, quantity, billed_usd)
    select '2026-11-22', '2026-11-22', '2026-11-01', 'acme', 'live', 'operator', 'chat', 'priced', given.*
    from (values {rows}) as given (provider, model, meter, quantity, billed_usd)";

/// What is taken off, as the tenant sees it, and what is left to be paid.
async fn taken_off(used: &[&str], allowances: &[&str]) -> Result<Vec<String>> {
    let ledger = Ledger::new().await?;
    let sql = ledger.sql().await?;
    for (statement, rows) in [(USED, used), (ALLOWANCES, allowances)] {
        sql.batch_execute(&statement.replace("{rows}", &rows.join(", ")))
            .await?;
    }
    let lines = ledger
        .login("acme")
        .await?
        .query_one(
            "select array_agg(concat_ws(' ', text, coalesce(quantity::text, '-'), billed_usd) order by line)
                 filter (where kind = 'allowance') || ('to pay ' || trim_scale(sum(billed_usd)))
             from farebox.invoice_preview('acme', '2026-11-01')",
            &[],
        )
        .await?
        .get(0);
    ledger.drop_database().await?;
    Ok(lines)
}

#[tokio::test]
async fn two_of_one_scope_take_off_no_more_than_was_used_in_it() -> Result {
    let lines = taken_off(
        &[
            "('openai', 'gpt-4o-mini', 'input_tokens', 1000, 12)",
            "('anthropic', 'claude', 'input_tokens', 1000, 100)",
        ],
        &[
            "('first', 'openai', null, null::text[], 10, null::numeric)",
            "('second', 'openai', null, null, 10, null)",
        ],
    )
    .await?;
    assert_eq!(
        lines,
        [
            "included: first - -10",
            "included: second - -2",
            "to pay 100"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn one_for_everything_goes_on_to_what_a_narrow_one_left() -> Result {
    let used = [
        "('openai', 'gpt-4o-mini', 'input_tokens', 1000, 12)",
        "('openai', 'gpt-4o-mini', 'output_tokens', 100, 3)",
        "('anthropic', 'claude', 'input_tokens', 1000, 4)",
        "('openai', 'whisper', 'audio_seconds', 60, 1)",
    ];
    // The wide one finds 20 - 10, the one after it nothing.
    let after = [
        "('a narrow', 'openai', 'gpt-4o-mini', '{input_tokens}'::text[], 10, null::numeric)",
        "('b wide', null, null, null, 15, null)",
        "('c late', 'anthropic', null, null, 5, null)",
    ];
    assert_eq!(
        taken_off(&used, &after).await?,
        [
            "included: a narrow - -10",
            "included: b wide - -10",
            "to pay 0"
        ]
    );
    // The wide one begins at the first vendor: 4 there, 6 of the 12. The narrow one finds 6.
    let before = [
        "('a wide', null, null, null::text[], 10, null::numeric)",
        "('b narrow', 'openai', 'gpt-4o-mini', '{input_tokens}', 10, null)",
        "('c late', 'anthropic', null, null, 5, null)",
    ];
    assert_eq!(
        taken_off(&used, &before).await?,
        [
            "included: b narrow - -6",
            "included: a wide - -10",
            "to pay 4"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_quantity_is_of_what_an_amount_before_it_left() -> Result {
    // Of 1,000 at 0.012 each, 250 are paid by the amount; the others cost what they did.
    let used = [
        "('openai', 'gpt-4o-mini', 'input_tokens', 1000, 12)",
        "('openai', 'gpt-4o-mini', 'output_tokens', 100, 3)",
    ];
    let some = [
        "('a', 'openai', null, null::text[], 3, null::numeric)",
        "('b', null, null, '{input_tokens}', null, 500)",
    ];
    assert_eq!(
        taken_off(&used, &some).await?,
        ["included: a - -3", "included: b -500 -6", "to pay 6"]
    );
    let more = [
        "('a', 'openai', null, null::text[], 3, null::numeric)",
        "('b', null, null, '{input_tokens}', null, 500)",
        "('c', null, null, '{input_tokens}', null, 500)",
        "('d', null, null, '{input_tokens}', null, 500)",
    ];
    assert_eq!(
        taken_off(&used, &more).await?,
        [
            "included: a - -3",
            "included: b -500 -6",
            "included: c -250 -3",
            "to pay 3"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn shares_are_rounded_so_that_the_lines_add_up() -> Result {
    // Each line's share is 0.33 of the last decimal and the three together one of it. That is the first
    // line's to give, up to which it is 0.33, or the second's, 0.67, which rounds: nothing of it is left.
    let used = [
        "('openai', 'a', 'input_tokens', 1, 0.000000000001)",
        "('openai', 'b', 'input_tokens', 1, 0.000000000001)",
        "('openai', 'c', 'input_tokens', 1, 0.000000000001)",
    ];
    let third = [
        "('a', 'openai', null::text, '{input_tokens}'::text[], null::numeric, 1)",
        "('b', 'openai', 'b', null, 5, null)",
        "('c', 'openai', null, null, 5, null)",
    ];
    assert_eq!(
        taken_off(&used, &third).await?,
        [
            "included: a -1 -0.000000000001",
            "included: c - -0.000000000002",
            "to pay 0"
        ]
    );
    // All twelve decimals of a large one.
    assert_eq!(
        taken_off(
            &["('deepgram', 'nova-3', 'characters', 86099, 218412411765.527545)"],
            &["('a', null::text, null::text, '{characters}'::text[], null::numeric, 807)"],
        )
        .await?,
        [
            "included: a -807 -2047164500.107791365928",
            "to pay 216365247265.419753634072"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_corrected_line_gives_nothing_and_takes_nothing() -> Result {
    // Neither the 5 given back nor the line with a quantity below nothing is in what is taken from.
    let used = [
        "('anthropic', 'claude', 'input_tokens', -100, -5)",
        "('openai', 'gpt-4o-mini', 'cache_read_tokens', -10, 2)",
        "('openai', 'gpt-4o-mini', 'input_tokens', 1000, 12)",
        "('openai', null, 'input_tokens', 1000, 4)",
    ];
    let amounts = [
        "('a', null, null, null::text[], 10, null::numeric)",
        "('b', null, null, null, 10, null)",
    ];
    assert_eq!(
        taken_off(&used, &amounts).await?,
        ["included: a - -10", "included: b - -6", "to pay -3"]
    );
    let quantity = [
        "('a', null::text, null::text, '{input_tokens,cache_read_tokens}'::text[], null::numeric, 500)",
    ];
    assert_eq!(
        taken_off(&used, &quantity).await?,
        ["included: a -500 -4", "to pay 9"]
    );
    Ok(())
}
