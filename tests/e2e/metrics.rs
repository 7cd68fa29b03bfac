//! Counters of the proxy: named as the contract says, by tenant, never falling.

use std::collections::HashMap;

use farebox_tests::stack::Stack;

use crate::{Result, chat, chat_stream, fresh, shared};

/// Every series that applies to this scope.
const NAMES: &[&str] = &[
    "farebox_requests_total",
    "farebox_usage_total",
    "farebox_cost_usd_total",
    "farebox_billed_usd_total",
    "farebox_request_duration_seconds",
    "farebox_ttfb_seconds",
    "farebox_overhead_seconds",
    "farebox_streams_open",
    "farebox_intents_open",
    "farebox_spool_bytes",
    "farebox_spool_records",
    "farebox_spool_oldest_seconds",
    "farebox_spool_rejected",
    "farebox_spool_fsync_seconds",
    "farebox_shipped_events_total",
    "farebox_directory_age_seconds",
];

async fn counters(stack: &Stack) -> Result<HashMap<String, String>> {
    let text = stack.metrics().await?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[tokio::test]
async fn every_named_series_is_there_and_counts_by_tenant() -> Result {
    let stack = shared().await?;
    let tenant = fresh("counted");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    for _ in 0..3 {
        assert_eq!(stack.send(&chat(&key, &fresh("m"))).await?.status(), 200);
    }
    assert_eq!(
        stack.send(&chat_stream(&key, &fresh("m"))).await?.status(),
        200
    );
    stack
        .rows_when(&format!("tenant_id = '{tenant}'"), 4)
        .await?;
    let text = stack.metrics().await?;
    for name in NAMES {
        let has_help = text.contains(&format!("# HELP {name} "));
        assert!(has_help, "{name} is missing or has no help");
    }
    let counted = counters(stack).await?;
    let requests: u64 = counted
        .iter()
        .filter(|(series, _)| {
            series.starts_with("farebox_requests_total")
                && series.contains(&format!("tenant=\"{tenant}\""))
        })
        .map(|(_, value)| value.parse::<u64>())
        .sum::<std::result::Result<_, _>>()?;
    assert_eq!(requests, 4);
    let collector = farebox_tests::wire::Connection::open(stack.api).await?;
    let mut collector = collector;
    let text = collector
        .send(&farebox_tests::wire::Request::get("/metrics"))
        .await?
        .text();
    assert!(text.contains("farebox_ingest_events_total"), "{text}");
    Ok(())
}

/// Series that may only grow, with their values as decimals of the same length.
async fn growing(stack: &Stack) -> Result<HashMap<String, (u128, String)>> {
    let all = counters(stack).await?.into_iter();
    all.filter(|(series, _)| {
        let name = series.split('{').next().unwrap_or_default();
        ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end))
    })
    .map(|(series, value)| {
        let (whole, fraction) = value.split_once('.').unwrap_or((&value, ""));
        Ok((series, (whole.parse()?, format!("{fraction:0<18}"))))
    })
    .collect()
}

#[tokio::test]
async fn counters_never_fall_and_begin_anew_with_the_process() -> Result {
    let (mut stack, key) = crate::with_key(&[]).await?;
    let series = |tenant: &str| format!("tenant=\"{tenant}\"");
    let mut before = growing(&stack).await?;
    for number in 0..3 {
        let call = chat(&key, &format!("m{number}")).with("x-farebox-tenant", "acme");
        assert_eq!(stack.send(&call).await?.status(), 200);
        let after = growing(&stack).await?;
        for (series, value) in &before {
            assert!(
                after.get(series) >= Some(value),
                "{series} fell from {value:?}"
            );
        }
        before = after;
    }
    stack.rows_when("true", 3).await?;
    let requests = async |stack: &Stack| -> Result<u128> {
        let all = growing(stack).await?;
        Ok(all
            .iter()
            .filter(|(name, _)| {
                name.starts_with("farebox_requests_total") && name.contains(&series("acme"))
            })
            .map(|(_, (whole, _))| whole)
            .sum())
    };
    assert_eq!(requests(&stack).await?, 3);
    // What a restart finds in the spool was counted before: a rate over it is what was called since.
    stack.proxy()?.kill();
    stack.start_proxy().await?;
    assert_eq!(requests(&stack).await?, 0);
    stack.known(&key).await?;
    let call = chat(&key, "later").with("x-farebox-tenant", "acme");
    assert_eq!(stack.send(&call).await?.status(), 200);
    stack.rows_when("true", 4).await?;
    assert_eq!(requests(&stack).await?, 1);
    Ok(())
}
