//! An event's record: the JSON text that goes into the spool and from there to the collector, member by
//! member.
//!
//! Invariant: the text is the one that `serde_json` gives of the same event, held to it by a property
//! test. Each call writes two records, and a serializer that has to be ready for any value cost three times
//! as much. Every field is named where it is taken apart: a new one does not compile without its line here.

use serde_json::Value;
use uuid::Uuid;

use super::{Event, RateCards};
use crate::evidence::{Counts, Evidence, Fact, Facts, UsageObject};
use crate::json::Text;
use crate::money::Decimal;
use crate::usage::{Line, Usage};

/// Appends the record of an event.
pub fn write(event: &Event, out: &mut Text) {
    let Event {
        event_id,
        call_id,
        part,
        is_final,
        schema,
        tenant_id,
        plan,
        customer_id,
        project,
        agent,
        revision,
        session_id,
        run_id,
        span_id,
        parent_span_id,
        section,
        metadata,
        synthetic,
        environment,
        attribution,
        key_id,
        credential_id,
        paid_by,
        upstream,
        provider,
        endpoint,
        region,
        model_requested,
        model,
        service_tier,
        started_at,
        ended_at,
        ttfb_ms,
        ttft_ms,
        duration_ms,
        overhead_ms,
        status,
        ending,
        streaming,
        transport,
        request_bytes,
        response_bytes,
        request_amended,
        attempt,
        client_retry,
        sanitised,
        lines,
        usage,
        usage_source,
        usage_reason,
        usage_low,
        usage_high,
        evidence,
        claimed_usd,
        pricing,
        rate_cards,
        upstream_request_id,
        response_id,
        original,
        objects,
        node,
        epoch,
        seq,
        content_sha256,
    } = event;

    id(out, b"{\"event_id\":\"", *event_id);
    id(out, b",\"call_id\":\"", *call_id);
    count(out, b",\"part\":", u64::from(*part));
    flag(out, b",\"is_final\":", *is_final);
    count(out, b",\"schema\":", u64::from(*schema));

    match tenant_id {
        Some(tenant) => text(out, b",\"tenant_id\":", tenant.as_str()),
        None => out.put(b",\"tenant_id\":null"),
    }
    some_text(out, b",\"plan\":", plan);
    some_text(out, b",\"customer_id\":", customer_id);
    some_text(out, b",\"project\":", project);
    some_text(out, b",\"agent\":", agent);
    some_text(out, b",\"revision\":", revision);
    some_text(out, b",\"session_id\":", session_id);
    some_text(out, b",\"run_id\":", run_id);
    some_text(out, b",\"span_id\":", span_id);
    some_text(out, b",\"parent_span_id\":", parent_span_id);
    some_text(out, b",\"section\":", section);
    if !metadata.is_empty() {
        out.put(b",\"metadata\":");
        object(out, metadata, value);
    }
    if *synthetic {
        out.put(b",\"synthetic\":true");
    }
    name(out, b",\"environment\":\"", environment.name());
    name(out, b",\"attribution\":\"", attribution.name());
    if let Some(key_id) = key_id {
        id(out, b",\"key_id\":\"", *key_id);
    }
    some_text(out, b",\"credential_id\":", credential_id);
    name(out, b",\"paid_by\":\"", paid_by.name());

    text(out, b",\"upstream\":", upstream);
    text(out, b",\"provider\":", provider);
    name(out, b",\"endpoint\":\"", endpoint.name());
    some_text(out, b",\"region\":", region);
    some_text(out, b",\"model_requested\":", model_requested);
    some_text(out, b",\"model\":", model);
    some_text(out, b",\"service_tier\":", service_tier);

    out.put(b",\"started_at\":\"");
    out.put(&started_at.text());
    if let Some(ended_at) = ended_at {
        out.put(b"\",\"ended_at\":\"");
        out.put(&ended_at.text());
    }
    out.put(b"\"");
    some_decimal(out, b",\"ttfb_ms\":\"", *ttfb_ms);
    some_decimal(out, b",\"ttft_ms\":\"", *ttft_ms);
    some_decimal(out, b",\"duration_ms\":\"", *duration_ms);
    some_decimal(out, b",\"overhead_ms\":\"", *overhead_ms);

    some_count(out, b",\"status\":", status.map(u64::from));
    name(out, b",\"ending\":\"", ending.name());
    if *streaming {
        out.put(b",\"streaming\":true");
    }
    name(out, b",\"transport\":\"", transport.name());
    some_count(out, b",\"request_bytes\":", *request_bytes);
    some_count(out, b",\"response_bytes\":", *response_bytes);
    if *request_amended {
        out.put(b",\"request_amended\":true");
    }
    count(out, b",\"attempt\":", u64::from(*attempt));
    some_count(out, b",\"client_retry\":", client_retry.map(u64::from));
    if *sanitised {
        out.put(b",\"sanitised\":true");
    }

    if !lines.is_empty() {
        out.put(b",\"lines\":");
        array(out, lines, line);
    }
    if !usage.is_empty() {
        out.put(b",\"usage\":");
        quantities(out, usage);
    }
    name(out, b",\"usage_source\":\"", usage_source.name());
    some_text(out, b",\"usage_reason\":", usage_reason);
    if let Some(low) = usage_low {
        out.put(b",\"usage_low\":");
        quantities(out, low);
    }
    if let Some(high) = usage_high {
        out.put(b",\"usage_high\":");
        quantities(out, high);
    }
    if let Some(evidence) = evidence {
        out.put(b",\"evidence\":");
        seen(out, evidence);
    }
    if let Some(claimed) = claimed_usd {
        out.put(b",\"claimed_usd\":\"");
        out.put_digits(&claimed.digits());
        out.put(b"\"");
    }
    name(out, b",\"pricing\":\"", pricing.name());
    let RateCards { cost, price } = rate_cards;
    text_or_null(out, b",\"rate_cards\":{\"cost\":", cost.as_deref());
    text_or_null(out, b",\"price\":", price.as_deref());
    out.put(b"}");

    some_text(out, b",\"upstream_request_id\":", upstream_request_id);
    some_text(out, b",\"response_id\":", response_id);
    if *original {
        out.put(b",\"original\":true");
    }
    if !objects.is_empty() {
        out.put(b",\"objects\":");
        array(out, objects, |out, name| out.put_str(name));
    }

    some_text(out, b",\"node\":", node);
    some_count(out, b",\"epoch\":", *epoch);
    some_count(out, b",\"seq\":", *seq);
    some_text(out, b",\"content_sha256\":", content_sha256);
    out.put(b"}");
}

fn line(out: &mut Text, line: &Line) {
    let Line {
        model,
        conditions,
        usage,
    } = line;
    text(out, b"{\"model\":", model);
    if !conditions.is_empty() {
        out.put(b",\"conditions\":");
        object(out, conditions, |out, text| out.put_str(text));
    }
    out.put(b",\"usage\":");
    quantities(out, usage);
    out.put(b"}");
}

fn quantities(out: &mut Text, usage: &Usage) {
    let mut opening = b"{\"";
    for (meter, quantity) in usage.iter() {
        out.put(opening);
        opening = b",\"";
        out.put_plain(meter.name().as_bytes());
        out.put(b"\":\"");
        out.put_decimal(quantity);
        out.put(b"\"");
    }
    match usage.is_empty() {
        true => out.put(b"{}"),
        false => out.put(b"}"),
    }
}

fn seen(out: &mut Text, evidence: &Evidence) {
    let Evidence {
        reader_version,
        route,
        request,
        response,
        objects,
        headers,
        counts,
        flags,
    } = evidence;
    count(out, b"{\"reader_version\":", u64::from(*reader_version));
    if let Some(route) = route {
        text(out, b",\"route\":", route);
    }
    if !request.is_empty() {
        out.put(b",\"request\":");
        facts(out, request);
    }
    if !response.is_empty() {
        out.put(b",\"response\":");
        facts(out, response);
    }
    if !objects.is_empty() {
        out.put(b",\"objects\":");
        array(out, objects, |out, UsageObject { at, value }| {
            text(out, b"{\"at\":", at);
            out.put(b",\"value\":");
            out.put(value.text().as_bytes());
            out.put(b"}");
        });
    }
    if !headers.is_empty() {
        out.put(b",\"headers\":");
        object(out, headers, |out, text| out.put_str(text));
    }
    counted(out, counts);
    if !flags.is_empty() {
        out.put(b",\"flags\":");
        array(out, flags, |out, flag| out.put_str(flag));
    }
    out.put(b"}");
}

fn counted(out: &mut Text, counts: &Counts) {
    let Counts {
        request_bytes,
        response_bytes,
        frames,
        output_frames,
        is_complete,
        sent_frames,
        audio_bytes,
        output_audio_bytes,
        characters,
        open_ms,
        unseen_ms,
    } = counts;
    count(out, b",\"counts\":{\"request_bytes\":", *request_bytes);
    count(out, b",\"response_bytes\":", *response_bytes);
    count(out, b",\"frames\":", *frames);
    count(out, b",\"output_frames\":", *output_frames);
    flag(out, b",\"is_complete\":", *is_complete);
    let unless_zero = |count: &u64| Some(*count).filter(|count| *count > 0);
    some_count(out, b",\"sent_frames\":", unless_zero(sent_frames));
    some_count(out, b",\"audio_bytes\":", unless_zero(audio_bytes));
    some_count(
        out,
        b",\"output_audio_bytes\":",
        unless_zero(output_audio_bytes),
    );
    some_count(out, b",\"characters\":", unless_zero(characters));
    some_count(out, b",\"open_ms\":", unless_zero(open_ms));
    some_count(out, b",\"unseen_ms\":", unless_zero(unseen_ms));
    out.put(b"}");
}

fn facts(out: &mut Text, facts: &Facts) {
    out.put(b"{");
    for (at, (name, fact)) in facts.iter().enumerate() {
        if at > 0 {
            out.put(b",");
        }
        out.put_str(name);
        out.put(b":");
        match fact {
            Fact::Bool(true) => out.put(b"true"),
            Fact::Bool(false) => out.put(b"false"),
            Fact::Count(count) => out.put_u64(*count),
            Fact::Number(number) => out.put_decimal(*number),
            Fact::Text(text) => out.put_str(text),
        }
    }
    out.put(b"}");
}

/// What a caller's own labels hold.
fn value(out: &mut Text, whole: &Value) {
    match whole {
        Value::Null => out.put(b"null"),
        Value::Bool(true) => out.put(b"true"),
        Value::Bool(false) => out.put(b"false"),
        Value::Number(number) => out.put(number.as_str().as_bytes()),
        Value::String(text) => out.put_str(text),
        Value::Array(items) => array(out, items, value),
        Value::Object(members) => object(out, members, value),
    }
}

fn array<'a, T: 'a>(
    out: &mut Text,
    items: impl IntoIterator<Item = &'a T>,
    mut item: impl FnMut(&mut Text, &T),
) {
    out.put(b"[");
    for (at, one) in items.into_iter().enumerate() {
        if at > 0 {
            out.put(b",");
        }
        item(out, one);
    }
    out.put(b"]");
}

fn object<'a, T: 'a>(
    out: &mut Text,
    members: impl IntoIterator<Item = (&'a String, &'a T)>,
    mut member: impl FnMut(&mut Text, &T),
) {
    out.put(b"{");
    for (at, (name, one)) in members.into_iter().enumerate() {
        if at > 0 {
            out.put(b",");
        }
        out.put_str(name);
        out.put(b":");
        member(out, one);
    }
    out.put(b"}");
}

// Inlined, the length of a member's name is a constant: a few moves instead of a call.

#[inline(always)]
fn text<const N: usize>(out: &mut Text, key: &[u8; N], text: &str) {
    out.put(key);
    out.put_str(text);
}

#[inline(always)]
fn some_text<const N: usize>(out: &mut Text, key: &[u8; N], some: &Option<String>) {
    if let Some(some) = some {
        text(out, key, some);
    }
}

#[inline(always)]
fn text_or_null<const N: usize>(out: &mut Text, key: &[u8; N], some: Option<&str>) {
    out.put(key);
    match some {
        Some(text) => out.put_str(text),
        None => out.put(b"null"),
    }
}

/// A name of ours: nothing in it is escaped. The key brings the opening quote.
#[inline(always)]
fn name<const N: usize>(out: &mut Text, key: &[u8; N], name: &'static str) {
    out.put(key);
    out.put_plain(name.as_bytes());
    out.put(b"\"");
}

#[inline(always)]
fn id<const N: usize>(out: &mut Text, key: &[u8; N], id: Uuid) {
    out.put(key);
    out.put_uuid(id);
    out.put(b"\"");
}

#[inline(always)]
fn count<const N: usize>(out: &mut Text, key: &[u8; N], count: u64) {
    out.put(key);
    out.put_u64(count);
}

#[inline(always)]
fn some_count<const N: usize>(out: &mut Text, key: &[u8; N], some: Option<u64>) {
    if let Some(some) = some {
        count(out, key, some);
    }
}

#[inline(always)]
fn flag<const N: usize>(out: &mut Text, key: &[u8; N], is_set: bool) {
    out.put(key);
    match is_set {
        true => out.put(b"true"),
        false => out.put(b"false"),
    }
}

/// The key brings the opening quote.
#[inline(always)]
fn some_decimal<const N: usize>(out: &mut Text, key: &[u8; N], some: Option<Decimal>) {
    if let Some(decimal) = some {
        out.put(key);
        out.put_decimal(decimal);
        out.put(b"\"");
    }
}

#[cfg(test)]
mod tests;
