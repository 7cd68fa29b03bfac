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
