//! Several proxies of one deployment: each call is one row, wherever it went and however
//! it ended, and failures are as visible as answers.

use std::collections::HashMap;

use farebox_tests::Error;
use farebox_tests::stack::Stack;
use farebox_tests::wire::Connection;
use tokio::task::JoinSet;

use crate::{Result, chat, text};

const PROXIES: usize = 4;
/// Calls through each of them.
const CALLS: usize = 300;
/// Connections to each.
const LANES: usize = 4;
/// One call of so many is refused by the upstream, another fails there.
const ILL_EVERY: usize = 30;

#[tokio::test]
async fn each_call_of_four_proxies_is_one_row() -> Result {
    let stack = Stack::with(&[]).await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    let mut beside = Vec::new();
    for _ in 1..PROXIES {
        beside.push(stack.beside().await?);
    }
    let proxies: Vec<&Stack> = std::iter::once(&stack).chain(&beside).collect();
    let mut lanes = JoinSet::new();
    for (place, proxy) in proxies.iter().enumerate() {
        proxy.known(&key).await?;
        for lane in 0..LANES {
            let (address, key) = (proxy.plain, key.clone());
            lanes.spawn(async move {
                let mut connection = Connection::open(address).await?;
                for number in (lane..CALLS).step_by(LANES) {
                    let tenant = ["red", "blue"][number % 2];
                    let call =
                        chat(&key, &format!("{place}/{number}")).with("x-farebox-tenant", tenant);
                    let (call, status) = match number % ILL_EVERY {
                        6 => (call.with("x-replay", "refuse"), 429),
                        12 => (call.with("x-replay", "fail"), 500),
                        _ => (call, 200),
                    };
                    let answer = connection.send(&call).await?;
                    if answer.status() != status {
                        return Err(Error::from(answer.text()));
                    }
                }
                Ok::<_, Error>(())
            });
        }
    }
    while let Some(done) = lanes.join_next().await {
        done??;
    }
    let rows = stack.rows_when("true", PROXIES * CALLS).await?;
    let mut of_call: HashMap<String, usize> = HashMap::new();
    for row in &rows {
        *of_call.entry(text(row, "session_id")).or_default() += 1;
    }
    assert_eq!(of_call.len(), PROXIES * CALLS);
    // Numbers of each proxy from its first on, none twice and none missing; sums that are the rows'.
    let row = stack
        .sql()
        .await?
        .query_one(
            "select count(*), sum(missing)::bigint, min(calls), max(calls),
                 (select count(*) from farebox_private.check_rollups(current_date - 1, current_date + 2))
             from (
                 select node, max(seq) - min(seq) + 1 - count(distinct seq) as missing, count(*) as calls
                 from farebox.usage_events group by node, epoch
             ) as shipped",
            &[],
        )
        .await?;
    let seen: Vec<i64> = (0..5).map(|column| row.get(column)).collect();
    let (proxies, calls) = (i64::try_from(PROXIES)?, i64::try_from(CALLS)?);
    assert_eq!(seen, [proxies, 0, calls, calls, 0]);
    // What failed is there with how and what it cost: by tenant, in SQL as people ask it.
    let rates = stack
        .sql()
        .await?
        .query(
            "select tenant_id, count(*), count(*) filter (where status = 429), count(*) filter (where status >= 500),
                 trim_scale(sum(billed_usd) filter (where ending <> 'complete'))::text
             from farebox.usage_events group by tenant_id order by tenant_id",
            &[],
        )
        .await?;
    let rates: Vec<(String, i64, i64, i64, Option<String>)> = rates
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .collect();
    let ill = proxies * calls / i64::try_from(ILL_EVERY)?;
    let half = proxies * calls / 2;
    assert_eq!(
        rates,
        [
            ("blue".to_owned(), half, 0, 0, None),
            ("red".to_owned(), half, ill, ill, Some("0".to_owned())),
        ]
    );
    Ok(())
}
