use farebox_pricing::event::{
    Attribution, Ending, EndpointKind, Environment, PaidBy, Pricing, RateCards,
};
use farebox_pricing::money::Decimal;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Meter, Usage, UsageSource};
use uuid::Uuid;

use super::*;

pub(crate) fn event(tenant: Option<&str>, model: &str) -> Event {
    let usage: Usage = [(Meter::InputTokens, Decimal::from(3))]
        .into_iter()
        .collect();
    Event {
        event_id: Uuid::nil(),
        call_id: Uuid::nil(),
        part: 1,
        is_final: true,
        schema: 1,
        tenant_id: tenant.map(|tenant| TenantId::new(tenant).unwrap()),
        plan: None,
        customer_id: None,
        project: None,
        agent: None,
        revision: None,
        session_id: None,
        run_id: None,
        span_id: None,
        parent_span_id: None,
        section: None,
        metadata: std::collections::BTreeMap::new(),
        synthetic: false,
        environment: Environment::Live,
        attribution: Attribution::Key,
        key_id: None,
        credential_id: None,
        paid_by: PaidBy::Operator,
        upstream: "openai".to_owned(),
        provider: "openai".into(),
        endpoint: EndpointKind::Chat,
        region: None,
        model_requested: None,
        model: Some(model.to_owned()),
        service_tier: None,
        started_at: Timestamp::from_millis(0),
        ended_at: None,
        ttfb_ms: Some(Decimal::new(1_250, 3).unwrap()),
        ttft_ms: None,
        duration_ms: Some(Decimal::new(2_500, 0).unwrap()),
        overhead_ms: Some(Decimal::new(61, 3).unwrap()),
        status: Some(200),
        ending: Ending::Complete,
        streaming: false,
        transport: Transport::Http,
        request_bytes: None,
        response_bytes: None,
        request_amended: false,
        attempt: 1,
        client_retry: None,
        sanitised: false,
        lines: Vec::new(),
        usage,
        usage_source: UsageSource::Reported,
        usage_reason: None,
        usage_low: None,
        usage_high: None,
        evidence: None,
        claimed_usd: Some(Usd::from_pico(1)),
        pricing: Pricing::Priced,
        rate_cards: RateCards::default(),
        upstream_request_id: None,
        response_id: None,
        node: None,
        epoch: None,
        seq: None,
        original: true,
        objects: Vec::new(),
        content_sha256: None,
    }
}

fn metrics(max_tenants: usize, max_models: usize) -> Arc<Metrics> {
    Metrics::new(&MetricsConfig {
        max_tenants,
        max_models,
        ..MetricsConfig::default()
    })
}

const STATS: Stats = Stats {
    bytes: 7,
    bytes_max: 100,
    segments: 1,
    unshipped: 3,
    in_flight: 0,
    intents_open: 2,
    oldest_ms: 1_042,
    failed: 1,
    epoch: 1,
    seq: 3,
    is_failing: false,
    damaged: 0,
    sync_failures: 0,
    rewritten: 0,
    carried: 0,
    abandoned: 0,
};

fn encode(metrics: &Metrics) -> String {
    metrics.encode(&STATS, None)
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|own| own == line),
        "{line}\nis not in\n{text}"
    );
}

#[test]
fn events_add_up_exactly_whichever_thread_counts_them() {
    let metrics = metrics(5, 5);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                metrics.record_event(
                    &event(Some("acme"), "gpt-4o"),
                    Some(Usd::from_pico(2_500_000_000_001)),
                );
            });
        }
    });
    let text = encode(&metrics);
    let of = r#"tenant="acme",provider="openai""#;
    has(
        &text,
        &format!(
            r#"farebox_requests_total{{{of},endpoint="chat",model="gpt-4o",ending="complete"}} 3"#
        ),
    );
    has(
        &text,
        &format!(r#"farebox_usage_total{{{of},model="gpt-4o",meter="input_tokens"}} 9"#),
    );
    has(
        &text,
        &format!(r#"farebox_cost_usd_total{{{of},model="gpt-4o"}} 7.500000000003"#),
    );
    has(
        &text,
        &format!(r#"farebox_billed_usd_total{{{of},model="gpt-4o"}} 0.000000000003"#),
    );
    has(
        &text,
        r#"farebox_ttfb_seconds_bucket{provider="openai",endpoint="chat",le="0.005"} 3"#,
    );
    has(
        &text,
        r#"farebox_request_duration_seconds_sum{provider="openai",endpoint="chat"} 7.5"#,
    );
    has(
        &text,
        r#"farebox_overhead_seconds_bucket{endpoint="chat",le="0.00005"} 0"#,
    );
    has(
        &text,
        r#"farebox_overhead_seconds_bucket{endpoint="chat",le="0.0001"} 3"#,
    );
}

#[test]
fn a_call_is_counted_once_whatever_attempts_and_parts_it_has() {
    let metrics = metrics(5, 5);
    let failed = Event {
        ending: Ending::UpstreamFailed,
        status: None,
        ..event(None, "m")
    };
    metrics.record_event(&failed, None);
    metrics.record_event(
        &Event {
            attempt: 2,
            ..event(None, "m")
        },
        None,
    );
    metrics.record_event(
        &Event {
            part: 2,
            ..event(None, "m")
        },
        None,
    );
    let text = encode(&metrics);
    let calls: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("farebox_requests_total"))
        .collect();
    assert_eq!(
        calls,
        [
            r#"farebox_requests_total{tenant="unattributed",provider="openai",endpoint="chat",model="m",ending="upstream_failed"} 1"#
        ]
    );
    has(
        &text,
        r#"farebox_upstream_errors_total{credential="",status="none",upstream="openai"} 1"#,
    );
}

#[test]
fn what_comes_after_the_caps_is_counted_as_other() {
    let metrics = metrics(2, 2);
    for (tenant, model) in [
        ("a", "m1"),
        ("b", "m2"),
        ("c", "m1"),
        ("d", "m3"),
        ("a", "m3"),
        ("a", "m1"),
    ] {
        metrics.record_event(&event(Some(tenant), model), None);
    }
    metrics.record_event(&event(None, "m1"), None);
    metrics.refusal(Some(&TenantId::new("e").unwrap()), Code::RateLimited);
    metrics.refusal(None, Code::MissingKey);
    let text = encode(&metrics);
    let calls = |tenant: &str, model: &str, calls: u64| {
        has(
            &text,
            &format!(
                r#"farebox_requests_total{{tenant="{tenant}",provider="openai",endpoint="chat",model="{model}",ending="complete"}} {calls}"#
            ),
        );
    };
    calls("a", "m1", 2);
    calls("b", "m2", 1);
    calls("other", "m1", 1);
    calls("other", "other", 1);
    calls("a", "other", 1);
    calls("unattributed", "m1", 1);
    has(
        &text,
        r#"farebox_refusals_total{code="rate_limited",tenant="other"} 1"#,
    );
    has(
        &text,
        r#"farebox_refusals_total{code="missing_key",tenant="unattributed"} 1"#,
    );
}

#[test]
fn unknown_and_unpriced_are_visible() {
    let metrics = metrics(5, 5);
    let missing = Event {
        usage: Usage::new(),
        usage_source: UsageSource::Missing,
        pricing: Pricing::Unknown,
        claimed_usd: None,
        model: None,
        ..event(Some("acme"), "")
    };
    metrics.record_event(&missing, None);
    metrics.record_event(
        &Event {
            pricing: Pricing::Partial,
            ..event(Some("acme"), "new\"model")
        },
        None,
    );
    let text = encode(&metrics);
    has(
        &text,
        r#"farebox_usage_missing_total{provider="openai",endpoint="chat"} 1"#,
    );
    has(
        &text,
        r#"farebox_unpriced_events_total{provider="openai",model="new\"model"} 1"#,
    );
    has(
        &text,
        r#"farebox_billed_usd_total{tenant="acme",provider="openai",model="unknown"} 0"#,
    );
}

#[test]
fn the_spool_and_the_directory_are_shown_as_they_are() {
    let metrics = metrics(5, 5);
    assert!(!encode(&metrics).contains("farebox_directory_age_seconds"));
    metrics.spool_synced(Duration::from_micros(300));
    metrics.shipped(ShipOutcome::Duplicate);
    metrics.stream_opened(Transport::Sse);
    metrics.stream_opened(Transport::Sse);
    std::thread::scope(|scope| scope.spawn(|| metrics.stream_closed(Transport::Sse)).join())
        .unwrap();
    let text = metrics.encode(&STATS, Some(Duration::from_millis(250)));
    has(&text, "farebox_spool_bytes 7");
    has(&text, "farebox_spool_records 3");
    has(&text, "farebox_spool_oldest_seconds 1.042");
    has(&text, "farebox_spool_rejected 1");
    has(&text, "farebox_intents_open 2");
    has(&text, "farebox_directory_age_seconds 0.25");
    has(&text, "farebox_spool_fsync_seconds_count 1");
    has(
        &text,
        r#"farebox_shipped_events_total{outcome="duplicate"} 1"#,
    );
    has(&text, r#"farebox_streams_open{transport="sse"} 1"#);
    has(&text, r#"farebox_streams_open{transport="websocket"} 0"#);
}

#[test]
fn no_name_is_headed_twice() {
    let metrics = metrics(5, 5);
    metrics.record_event(&event(Some("a"), "m1"), None);
    metrics.record_event(&event(Some("b"), "m2"), None);
    let text = encode(&metrics);
    let mut names: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| name.starts_with("# TYPE farebox_")));
}

/// Prints what recording costs: `cargo test --release -- --ignored --nocapture recording`.
#[test]
#[ignore = "a measurement, not a check"]
fn recording_costs() {
    let metrics = metrics(500, 500);
    let events: Vec<Event> = (0..50)
        .map(|n| event(Some(&format!("tenant-{n}")), "gpt-4o"))
        .collect();
    const ROUNDS: u32 = 100_000;
    let started = std::time::Instant::now();
    for round in 0..ROUNDS {
        metrics.record_event(&events[round as usize % events.len()], None);
    }
    println!("{:?} an event", started.elapsed() / ROUNDS);
}
