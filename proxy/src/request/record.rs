//! The record of a call of which nothing is known but that it began.

use farebox_pricing::event::{Ending, Environment, Event, Pricing, RateCards, SCHEMA, Transport};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Usage, UsageSource};
use http::header::{self, HeaderMap};
use http::request::Parts;

use super::{Caller, Passage, Route};
use crate::objects;
use crate::provider::Asked;
use crate::settle;

/// What was asked, as far as it is known.
pub(super) fn asked<'a>(
    head: &'a Parts,
    route: &'a Route<'_>,
    body: Option<&'a [u8]>,
) -> Asked<'a> {
    Asked {
        path: route.path,
        query: route.query.as_deref(),
        content_type: content_type(head),
        body,
    }
}

/// What a request says its body is.
pub(super) fn content_type(head: &Parts) -> Option<&str> {
    head.headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// The length a request gives for its body.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Fills what is known before the upstream is: attribution, route and the facts of the request.
pub(super) fn begin_event(
    started_at: Timestamp,
    caller: Caller,
    passage: &Passage,
    evidence: &Evidence,
    query: Option<&str>,
) -> Box<Event> {
    let event_id = settle::new_event_id(started_at);
    let plan = caller.tenant().and_then(|tenant| tenant.plan.clone());
    let labels = caller.labels;
    let upstream = &passage.upstream;
    Box::new(Event {
        event_id,
        call_id: event_id,
        part: 1,
        is_final: true,
        schema: SCHEMA,
        tenant_id: caller.tenant_id,
        plan,
        customer_id: labels.customer_id,
        project: labels.project,
        agent: labels.agent,
        revision: labels.revision,
        session_id: labels.session_id,
        run_id: labels.run_id,
        span_id: labels.span_id,
        parent_span_id: labels.parent_span_id,
        section: labels.section,
        metadata: labels.metadata,
        synthetic: labels.synthetic,
        environment: caller
            .key
            .as_ref()
            .map_or(Environment::Live, |key| key.environment),
        attribution: caller.attribution,
        key_id: caller.key.as_ref().map(|key| key.key_id),
        credential_id: passage
            .credential
            .as_ref()
            .map(|chosen| chosen.credential_id.clone()),
        paid_by: passage.paid_by,
        upstream: upstream.name.clone(),
        provider: upstream.provider.name.into(),
        endpoint: passage.endpoint.kind,
        region: upstream
            .region
            .clone()
            .or_else(|| evidence.request_text("location").map(str::to_owned)),
        model_requested: evidence.request_text("model").map(str::to_owned),
        model: None,
        service_tier: None,
        started_at,
        ended_at: None,
        ttfb_ms: None,
        ttft_ms: None,
        duration_ms: None,
        overhead_ms: None,
        status: None,
        ending: Ending::Interrupted,
        streaming: passage.transport == Transport::Websocket,
        transport: passage.transport,
        request_bytes: Some(evidence.counts.request_bytes),
        response_bytes: None,
        request_amended: false,
        attempt: 1,
        client_retry: labels.client_retry,
        sanitised: labels.sanitised,
        lines: Vec::new(),
        usage: Usage::new(),
        usage_source: UsageSource::Missing,
        usage_reason: Some("interrupted".into()),
        usage_low: None,
        usage_high: None,
        evidence: None,
        claimed_usd: None,
        pricing: Pricing::Unknown,
        rate_cards: RateCards::default(),
        upstream_request_id: None,
        response_id: None,
        original: objects::is_original(passage.endpoint, query),
        objects: Vec::new(),
        node: None,
        epoch: None,
        seq: None,
        content_sha256: None,
    })
}
