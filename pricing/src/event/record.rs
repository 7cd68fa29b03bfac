//! An event's record: the JSON text that goes into the spool and from there to the collector, member by
//! member.
//!
//! Invariant: the text is the one that `serde_json` gives of the same event, held to it by a property
//! test. Each call writes two records, and a serializer that has to be ready for any value cost three times
//! as much. Every field is named where it is taken apart: a new one does not compile without its line here.

use std::ops::Deref;

use super::{Event, RateCards};
use crate::evidence::{Counts, Evidence, Fact, Facts, UsageObject};
use crate::id::TenantId;
use crate::json::{Room, Text, uuid_text};
use crate::money::Decimal;
use crate::usage::{Line, Meter, Usage};
use serde_json::Value;

/// Appends the record of an event.
pub fn write(event: &Event, out: &mut Text) {
    out.append(|room| record(event, room));
}

// By itself, so that the compiler does not read the whole event ahead of the loop that calls this.
#[inline(never)]
fn record<'a>(event: &Event, mut out: Room<'a>) -> Option<Room<'a>> {
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

    let own_id = uuid_text(*event_id);
    let first_id = match call_id == event_id {
        // As nearly everywhere.
        true => own_id,
        false => uuid_text(*call_id),
    };
    out = out.put(b"{\"event_id\":\"")?.put(&own_id)?;
    out = out.put(b"\",\"call_id\":\"")?.put(&first_id)?;
    out = count(out, b"\",\"part\":", u64::from(*part))?;
    out = flag(out, b",\"is_final\":", *is_final)?;
    out = count(out, b",\"schema\":", u64::from(*schema))?;

    let tenant = tenant_id.as_ref().map(TenantId::as_str);
    out = text_or_null(out, b",\"tenant_id\":", tenant)?;
    out = some_text(out, b",\"plan\":", plan)?;
    out = some_text(out, b",\"customer_id\":", customer_id)?;
    out = some_text(out, b",\"project\":", project)?;
    out = some_text(out, b",\"agent\":", agent)?;
    out = some_text(out, b",\"revision\":", revision)?;
    out = some_text(out, b",\"session_id\":", session_id)?;
    out = some_text(out, b",\"run_id\":", run_id)?;
    out = some_text(out, b",\"span_id\":", span_id)?;
    out = some_text(out, b",\"parent_span_id\":", parent_span_id)?;
    out = some_text(out, b",\"section\":", section)?;
    if !metadata.is_empty() {
        out = out.put(b",\"metadata\":")?;
        out = object(out, metadata, value)?;
    }
    if *synthetic {
        out = out.put(b",\"synthetic\":true")?;
    }
    out = name(out, b",\"environment\":\"", environment.name())?;
    out = name(out, b",\"attribution\":\"", attribution.name())?;
    if let Some(key_id) = key_id {
        out = out
            .put(b",\"key_id\":\"")?
            .put(&uuid_text(*key_id))?
            .put(b"\"")?;
    }
    out = some_text(out, b",\"credential_id\":", credential_id)?;
    out = name(out, b",\"paid_by\":\"", paid_by.name())?;

    out = text(out, b",\"upstream\":", upstream)?;
    out = text(out, b",\"provider\":", provider)?;
    out = name(out, b",\"endpoint\":\"", endpoint.name())?;
    out = some_text(out, b",\"region\":", region)?;
    out = some_text(out, b",\"model_requested\":", model_requested)?;
    out = some_text(out, b",\"model\":", model)?;
    out = some_text(out, b",\"service_tier\":", service_tier)?;

    out = out.put(b",\"started_at\":\"")?;
    out = out.put(&started_at.text())?;
    if let Some(ended_at) = ended_at {
        out = out.put(b"\",\"ended_at\":\"")?;
        out = out.put(&ended_at.text())?;
    }
    out = out.put(b"\"")?;
    out = some_decimal(out, b",\"ttfb_ms\":\"", *ttfb_ms)?;
    out = some_decimal(out, b",\"ttft_ms\":\"", *ttft_ms)?;
    out = some_decimal(out, b",\"duration_ms\":\"", *duration_ms)?;
    out = some_decimal(out, b",\"overhead_ms\":\"", *overhead_ms)?;

    out = some_count(out, b",\"status\":", status.map(u64::from))?;
    out = name(out, b",\"ending\":\"", ending.name())?;
    if *streaming {
        out = out.put(b",\"streaming\":true")?;
    }
    out = name(out, b",\"transport\":\"", transport.name())?;
    out = some_count(out, b",\"request_bytes\":", *request_bytes)?;
    out = some_count(out, b",\"response_bytes\":", *response_bytes)?;
    if *request_amended {
        out = out.put(b",\"request_amended\":true")?;
    }
    out = count(out, b",\"attempt\":", u64::from(*attempt))?;
    out = some_count(out, b",\"client_retry\":", client_retry.map(u64::from))?;
    if *sanitised {
        out = out.put(b",\"sanitised\":true")?;
    }

    if !lines.is_empty() {
        out = out.put(b",\"lines\":")?;
        out = array(out, lines, line)?;
    }
    if !usage.is_empty() {
        out = out.put(b",\"usage\":")?;
        out = quantities(out, usage)?;
    }
    out = name(out, b",\"usage_source\":\"", usage_source.name())?;
    out = some_text(out, b",\"usage_reason\":", usage_reason)?;
    if let Some(low) = usage_low {
        out = out.put(b",\"usage_low\":")?;
        out = quantities(out, low)?;
    }
    if let Some(high) = usage_high {
        out = out.put(b",\"usage_high\":")?;
        out = quantities(out, high)?;
    }
    if let Some(evidence) = evidence {
        out = out.put(b",\"evidence\":")?;
        out = seen(out, evidence)?;
    }
    if let Some(claimed) = claimed_usd {
        out = out.put(b",\"claimed_usd\":\"")?;
        out = out.put_usd(*claimed)?;
        out = out.put(b"\"")?;
    }
    out = name(out, b",\"pricing\":\"", pricing.name())?;
    let RateCards { cost, price } = rate_cards;
    out = text_or_null(out, b",\"rate_cards\":{\"cost\":", cost.as_deref())?;
    out = text_or_null(out, b",\"price\":", price.as_deref())?;
    out = out.put(b"}")?;

    out = some_text(out, b",\"upstream_request_id\":", upstream_request_id)?;
    out = some_text(out, b",\"response_id\":", response_id)?;
    if *original {
        out = out.put(b",\"original\":true")?;
    }
    if !objects.is_empty() {
        out = out.put(b",\"objects\":")?;
        out = array(out, objects, |out, name| out.put_str(name))?;
    }

    out = some_text(out, b",\"node\":", node)?;
    out = some_count(out, b",\"epoch\":", *epoch)?;
    out = some_count(out, b",\"seq\":", *seq)?;
    out = some_text(out, b",\"content_sha256\":", content_sha256)?;
    out.put(b"}")
}

fn line<'a>(out: Room<'a>, line: &Line) -> Option<Room<'a>> {
    let Line {
        model,
        conditions,
        usage,
    } = line;
    let mut out = text(out, b"{\"model\":", model)?;
    if !conditions.is_empty() {
        out = out.put(b",\"conditions\":")?;
        out = object(out, conditions, |out, text| out.put_str(text))?;
    }
    out = out.put(b",\"usage\":")?;
    quantities(out, usage)?.put(b"}")
}

fn quantities<'a>(out: Room<'a>, usage: &Usage) -> Option<Room<'a>> {
    let out = out.put_list(b'{', |mut out| {
        for (meter, quantity) in usage.iter() {
            let (key, len) = &METER_KEYS[meter as usize];
            out = out.put_start(key, usize::from(*len))?;
            out = out.put_decimal(quantity)?.put(b"\"")?;
        }
        Some(out)
    });
    out?.put(b"}")
}

/// `,"input_tokens":"` and its length, of each meter.
const METER_KEYS: [([u8; 32], u8); Meter::ALL.len()] = {
    let mut keys = [([0; 32], 0); Meter::ALL.len()];
    let mut meter = 0;
    while meter < keys.len() {
        let name = Meter::ALL[meter].name().as_bytes();
        let (key, len) = &mut keys[meter];
        (key[0], key[1]) = (b',', b'"');
        let mut at = 0;
        while at < name.len() {
            key[2 + at] = name[at];
            at += 1;
        }
        (key[2 + at], key[3 + at], key[4 + at]) = (b'"', b':', b'"');
        *len = at as u8 + 5;
        meter += 1;
    }
    keys
};

fn seen<'a>(out: Room<'a>, evidence: &Evidence) -> Option<Room<'a>> {
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
    let mut out = count(out, b"{\"reader_version\":", u64::from(*reader_version))?;
    if let Some(route) = route {
        out = text(out, b",\"route\":", route)?;
    }
    if !request.is_empty() {
        out = facts(out.put(b",\"request\":")?, request)?;
    }
    if !response.is_empty() {
        out = facts(out.put(b",\"response\":")?, response)?;
    }
    if !objects.is_empty() {
        out = out.put(b",\"objects\":")?;
        out = array(out, objects, |out, UsageObject { at, value }| {
            let out = text(out, b"{\"at\":", at)?.put(b",\"value\":")?;
            out.put_plain(value.text().as_bytes())?.put(b"}")
        })?;
    }
    if !headers.is_empty() {
        out = out.put(b",\"headers\":")?;
        out = object(out, headers, |out, text| out.put_str(text))?;
    }
    out = counted(out, counts)?;
    if !flags.is_empty() {
        out = out.put(b",\"flags\":")?;
        out = array(out, flags, |out, flag| out.put_str(flag))?;
    }
    out.put(b"}")
}

fn counted<'a>(out: Room<'a>, counts: &Counts) -> Option<Room<'a>> {
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
    let unless_zero = |count: &u64| Some(*count).filter(|count| *count > 0);
    let mut out = count(out, b",\"counts\":{\"request_bytes\":", *request_bytes)?;
    out = count(out, b",\"response_bytes\":", *response_bytes)?;
    out = count(out, b",\"frames\":", *frames)?;
    out = count(out, b",\"output_frames\":", *output_frames)?;
    out = flag(out, b",\"is_complete\":", *is_complete)?;
    out = some_count(out, b",\"sent_frames\":", unless_zero(sent_frames))?;
    out = some_count(out, b",\"audio_bytes\":", unless_zero(audio_bytes))?;
    let output_audio_bytes = unless_zero(output_audio_bytes);
    out = some_count(out, b",\"output_audio_bytes\":", output_audio_bytes)?;
    out = some_count(out, b",\"characters\":", unless_zero(characters))?;
    out = some_count(out, b",\"open_ms\":", unless_zero(open_ms))?;
    out = some_count(out, b",\"unseen_ms\":", unless_zero(unseen_ms))?;
    out.put(b"}")
}

fn facts<'a>(out: Room<'a>, facts: &Facts) -> Option<Room<'a>> {
    let out = out.put_list(b'{', |mut out| {
        for (name, fact) in facts.iter() {
            out = out.put(b",")?.put_str(name)?.put(b":")?;
            out = match fact {
                Fact::Bool(is_on) => put_bool(out, *is_on),
                Fact::Count(count) => out.put_u64(*count),
                Fact::Number(number) => out.put_decimal(*number),
                Fact::Text(text) => out.put_str(text),
            }?;
        }
        Some(out)
    });
    out?.put(b"}")
}

/// What a caller's own labels hold.
fn value<'a>(out: Room<'a>, whole: &Value) -> Option<Room<'a>> {
    match whole {
        Value::Null => out.put(b"null"),
        Value::Bool(is_on) => put_bool(out, *is_on),
        Value::Number(number) => out.put_plain(number.as_str().as_bytes()),
        Value::String(text) => out.put_str(text),
        Value::Array(items) => array(out, items, value),
        Value::Object(members) => object(out, members, value),
    }
}

fn array<'a, 't, T: 't>(
    out: Room<'a>,
    items: impl IntoIterator<Item = &'t T>,
    item: impl for<'r> Fn(Room<'r>, &T) -> Option<Room<'r>>,
) -> Option<Room<'a>> {
    let out = out.put_list(b'[', |mut out| {
        for one in items {
            out = item(out.put(b",")?, one)?;
        }
        Some(out)
    });
    out?.put(b"]")
}

fn object<'a, 't, T: 't>(
    out: Room<'a>,
    members: impl IntoIterator<Item = (&'t String, &'t T)>,
    member: impl for<'r> Fn(Room<'r>, &T) -> Option<Room<'r>>,
) -> Option<Room<'a>> {
    let out = out.put_list(b'{', |mut out| {
        for (name, one) in members {
            out = out.put(b",")?.put_str(name)?.put(b":")?;
            out = member(out, one)?;
        }
        Some(out)
    });
    out?.put(b"}")
}

// Inlined, the length of a member's name is a constant: a few moves instead of a call.

#[inline(always)]
fn text<'a, const N: usize>(out: Room<'a>, key: &[u8; N], text: &str) -> Option<Room<'a>> {
    out.put(key)?.put_str(text)
}

#[inline(always)]
fn some_text<'a, const N: usize>(
    out: Room<'a>,
    key: &[u8; N],
    some: &Option<impl Deref<Target = str>>,
) -> Option<Room<'a>> {
    match some {
        Some(some) => text(out, key, some),
        None => Some(out),
    }
}

#[inline(always)]
fn text_or_null<'a, const N: usize>(
    out: Room<'a>,
    key: &[u8; N],
    some: Option<&str>,
) -> Option<Room<'a>> {
    let out = out.put(key)?;
    match some {
        Some(text) => out.put_str(text),
        None => out.put(b"null"),
    }
}

/// A name of ours: nothing in it is escaped. The key brings the opening quote.
#[inline(always)]
fn name<'a, const N: usize>(out: Room<'a>, key: &[u8; N], name: &'static str) -> Option<Room<'a>> {
    out.put(key)?.put_plain(name.as_bytes())?.put(b"\"")
}

#[inline(always)]
fn count<'a, const N: usize>(out: Room<'a>, key: &[u8; N], count: u64) -> Option<Room<'a>> {
    out.put(key)?.put_u64(count)
}

#[inline(always)]
fn some_count<'a, const N: usize>(
    out: Room<'a>,
    key: &[u8; N],
    some: Option<u64>,
) -> Option<Room<'a>> {
    match some {
        Some(some) => count(out, key, some),
        None => Some(out),
    }
}

#[inline(always)]
fn flag<'a, const N: usize>(out: Room<'a>, key: &[u8; N], is_set: bool) -> Option<Room<'a>> {
    put_bool(out.put(key)?, is_set)
}

#[inline(always)]
fn put_bool(out: Room<'_>, is_set: bool) -> Option<Room<'_>> {
    match is_set {
        true => out.put(b"true"),
        false => out.put(b"false"),
    }
}

/// The key brings the opening quote.
#[inline(always)]
fn some_decimal<'a, const N: usize>(
    out: Room<'a>,
    key: &[u8; N],
    some: Option<Decimal>,
) -> Option<Room<'a>> {
    match some {
        Some(decimal) => out.put(key)?.put_decimal(decimal)?.put(b"\""),
        None => Some(out),
    }
}

#[cfg(test)]
mod tests;
