//! An event as a row of `COPY`, in two halves: what the proxy says of it, and what is booked.
//!
//! The first half is also what is compared when the same id comes again, so it must hold every field
//! of the event that is content. A column that is added later goes behind the others and into the
//! digest only where it is not null, so that what an older version booked still compares the same.

use farebox_pricing::event::Event;
use farebox_pricing::usage::Usage;
use sha2::{Digest, Sha256};

use super::json;
use crate::store::copy::Fields;

/// First guess of the half's size, in bytes.
const CONTENT_BYTES: usize = 1_536;

/// The columns of [`content`].
pub(crate) const CONTENT_COLUMNS: &str = "event_id, call_id, part, is_final, schema, \
    tenant_id, project, agent, revision, session_id, run_id, span_id, parent_span_id, \
    section, metadata, synthetic, environment, attribution, key_id, credential_id, paid_by, \
    upstream, provider, endpoint, region, model_requested, model, service_tier, \
    started_at, ended_at, ttfb_ms, ttft_ms, duration_ms, overhead_ms, \
    status, ending, streaming, transport, request_bytes, response_bytes, request_amended, attempt, \
    client_retry, sanitised, lines, usage, usage_source, usage_reason, usage_low, usage_high, \
    evidence, upstream_request_id, response_id";
/// How many they are.
pub(crate) const CONTENT_COUNT: i16 = 53;

/// What the proxy says of an event.
pub(super) fn content(event: &Event, evidence: Option<&str>) -> Fields {
    let mut fields = Fields::with_capacity(CONTENT_BYTES);
    identity(&mut fields, event);
    attribution(&mut fields, event);
    fields.text(&event.upstream);
    fields.text(&event.provider);
    fields.text(event.endpoint.name());
    fields.optional_text(event.region.as_deref());
    fields.optional_text(event.model_requested.as_deref());
    fields.optional_text(event.model.as_deref());
    fields.optional_text(event.service_tier.as_deref());
    outcome(&mut fields, event);
    quantities(&mut fields, event);
    fields.optional_text(evidence);
    fields.optional_text(event.upstream_request_id.as_deref());
    fields.optional_text(event.response_id.as_deref());
    fields
}

/// What is compared when the same id comes again: the half above, and what of the event is no column
/// because the collector books its own.
pub(super) fn digest(event: &Event, content: &Fields) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(content.as_bytes());
    let cards = &event.rate_cards;
    for text in [
        Some(event.pricing.name()),
        cards.cost.as_deref(),
        cards.price.as_deref(),
    ] {
        hash.update([u8::from(text.is_some())]);
        hash.update(text.unwrap_or_default());
    }
    // As columns that are added later.
    if event.original {
        hash.update("original");
    }
    for object in &event.objects {
        hash.update((object.len() as u64).to_be_bytes());
        hash.update(object);
    }
    if let Some(plan) = &event.plan {
        hash.update([2]);
        hash.update(plan);
    }
    // Kept by reference, so it is no column of the half above.
    if let Some(customer) = &event.customer_id {
        hash.update([3]);
        hash.update(customer);
    }
    if !is_usage_of_lines(event) {
        let mut usage = Vec::new();
        json::usage(&mut usage, &event.usage);
        hash.update(&usage);
    }
    hash.finalize().into()
}

fn identity(fields: &mut Fields, event: &Event) {
    fields.uuid(event.event_id);
    fields.uuid(event.call_id);
    fields.integer(event.part as i32);
    fields.boolean(event.is_final);
    fields.integer(event.schema as i32);
}

fn attribution(fields: &mut Fields, event: &Event) {
    fields.optional_text(event.tenant_id.as_ref().map(|id| id.as_str()));
    fields.optional_text(event.project.as_deref());
    fields.optional_text(event.agent.as_deref());
    fields.optional_text(event.revision.as_deref());
    fields.optional_text(event.session_id.as_deref());
    fields.optional_text(event.run_id.as_deref());
    fields.optional_text(event.span_id.as_deref());
    fields.optional_text(event.parent_span_id.as_deref());
    fields.optional_text(event.section.as_deref());
    match event.metadata.is_empty() {
        true => fields.null(),
        false => fields.jsonb(&printed(&event.metadata)),
    }
    fields.boolean(event.synthetic);
    fields.text(event.environment.name());
    fields.text(event.attribution.name());
    fields.optional_uuid(event.key_id);
    fields.optional_text(event.credential_id.as_deref());
    fields.text(event.paid_by.name());
}

fn outcome(fields: &mut Fields, event: &Event) {
    fields.timestamp(event.started_at);
    fields.optional_timestamp(event.ended_at);
    fields.optional_decimal(event.ttfb_ms);
    fields.optional_decimal(event.ttft_ms);
    fields.optional_decimal(event.duration_ms);
    fields.optional_decimal(event.overhead_ms);
    fields.optional_integer(event.status.map(i32::from));
    fields.text(event.ending.name());
    fields.boolean(event.streaming);
    fields.text(event.transport.name());
    // Both fit, the check has seen to it.
    fields.optional_bigint(event.request_bytes.map(|bytes| bytes as i64));
    fields.optional_bigint(event.response_bytes.map(|bytes| bytes as i64));
    fields.boolean(event.request_amended);
    fields.integer(event.attempt as i32);
    fields.optional_integer(event.client_retry.map(|count| count as i32));
    fields.boolean(event.sanitised);
}

fn quantities(fields: &mut Fields, event: &Event) {
    fields.text_by(|out| json::lines(out, &event.lines));
    fields.text_by(|out| match &event.lines[..] {
        [] => json::usage(out, &event.usage),
        [line] => json::usage(out, &line.usage),
        _ => json::usage(out, &sum_of_lines(event)),
    });
    fields.text(event.usage_source.name());
    fields.optional_text(event.usage_reason.as_deref());
    for bound in [&event.usage_low, &event.usage_high] {
        fields.optional_jsonb(bound.as_ref().map(printed).as_deref());
    }
}

fn printed(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys always print")
}

/// Whether the usage column says all that the record says.
fn is_usage_of_lines(event: &Event) -> bool {
    match &event.lines[..] {
        [] => true,
        [line] => line.usage == event.usage,
        _ => sum_of_lines(event) == event.usage,
    }
}

/// The lines' sum; quantities are bounded so that it fits.
fn sum_of_lines(event: &Event) -> Usage {
    let mut sum = Usage::new();
    for (meter, quantity) in event.lines.iter().flat_map(|line| line.usage.iter()) {
        let grown = sum
            .quantity(meter)
            .map_or(Some(quantity), |so_far| so_far.checked_add(quantity));
        if let Some(grown) = grown {
            sum.set(meter, grown);
        }
    }
    sum
}
