//! Bedrock's converse: one shape for every model, in JSON or as an AWS event stream whose last
//! message carries the counts.
//!
//! Input, cache reads and cache writes stand beside each other, as at Anthropic.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use super::path;
use crate::framing::json::{Raw, pick, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, Counted, is_present, keep_request, keep_response_text, keep_usage, member, text_tokens,
};
use crate::providers::openai::delta;

/// The model of the path, the limit and the tier of the body.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
    let names = ["inferenceConfig", "serviceTier"];
    let Some([config, tier]) = asked
        .body
        .and_then(|body| pick(body, names))
        .map(|picked| picked.members)
    else {
        return;
    };
    keep_request(evidence, "max_output_tokens", member(config, "maxTokens"));
    keep_request(evidence, "service_tier", member(tier, "type"));
}

/// Messages are named by their type, which stands first.
pub(super) fn glance(data: &[u8]) -> Glance {
    if data.starts_with(b"{\"contentBlockDelta\"") {
        return Glance::Output;
    }
    let dull: [&[u8]; 3] = [
        b"{\"messageStart\"",
        b"{\"contentBlockStart\"",
        b"{\"contentBlockStop\"",
    ];
    if dull.iter().any(|start| data.starts_with(start)) {
        Glance::Dull
    } else {
        Glance::Telling
    }
}

/// Keeps the counts, the tier and the model that a router chose.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Body {
        let Some([usage, stop, message]) =
            pick(frame.data, ["usage", "stopReason", "message"]).map(|picked| picked.members)
        else {
            evidence.flag(frame.origin.flag_of_invalid_json());
            return;
        };
        keep_response_text(evidence, "stop_reason", stop);
        keep_usage(evidence, "usage", usage);
        read_pricing(evidence, frame.data);
        if usage.is_some() || message.is_none() {
            evidence.response.insert("finished", true);
        }
        return;
    }
    let names = ["metadata", "messageStop", "contentBlockDelta", "error"];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [metadata, stop, delta, error] = picked.members;
    let has_output = delta.is_some_and(|delta| delta::has_output(delta.bytes()));
    evidence.counts.output_frames += u64::from(has_output);
    keep_response_text(evidence, "stop_reason", member(stop, "stopReason"));
    if let Some(metadata) = metadata {
        keep_usage(evidence, "usage", member(Some(metadata), "usage"));
        read_pricing(evidence, metadata.bytes());
        evidence.response.insert("finished", true);
    }
    note_error(evidence, error);
}

/// What decides the price, beside the counts.
fn read_pricing(evidence: &mut Evidence, json: &[u8]) {
    let names = ["serviceTier", "performanceConfig", "trace"];
    let Some([tier, performance, trace]) = pick(json, names).map(|picked| picked.members) else {
        return;
    };
    keep_response_text(evidence, "service_tier", member(tier, "type"));
    keep_response_text(evidence, "latency", member(performance, "latency"));
    let router = member(trace, "promptRouter");
    if let Some(model) = member(router, "invokedModelId").and_then(text_of)
        && let Some(model) = path::model(&model)
    {
        evidence.set_response_text("model", &model);
    }
}

/// An exception in a stream.
pub(super) fn note_error(evidence: &mut Evidence, error: Option<Raw<'_>>) {
    if is_present(error) {
        evidence.response.insert("error", true);
        keep_response_text(evidence, "error_type", member(error, "type"));
    }
}

/// The line of one conversation.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = evidence
        .object("usage")
        .and_then(|object| reported(evidence, object))
    {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| unreported(evidence))
}

fn reported(evidence: &Evidence, object: Json<'_>) -> Option<UsageDraft> {
    let mut counted = Counted::new(object);
    let usage = tokens(&mut counted)?;
    Some(UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions: conditions(evidence),
            usage,
        }],
        source: UsageSource::Reported,
        reason: counted.is_clamped.then_some("negative_clamped"),
        ..UsageDraft::default()
    })
}

/// Disjoint meters of Bedrock's counts, in each of its spellings; `None` when there is none.
pub(super) fn tokens(counted: &mut Counted<'_>) -> Option<Usage> {
    let mut first = |names: &[&str]| names.iter().find_map(|name| counted.count(&[name]));
    let input = first(&["inputTokens", "inputTokenCount"]);
    let output = first(&["outputTokens", "outputTokenCount"]);
    let read = first(&["cacheReadInputTokens", "cacheReadInputTokenCount"]);
    let written = first(&["cacheWriteInputTokens", "cacheWriteInputTokenCount"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let long = written.map_or(0, |written| written_for_an_hour(counted, written));
    let mut usage = Usage::new();
    for (meter, count) in [
        (Meter::InputTokens, input),
        (Meter::OutputTokens, output),
        (Meter::CacheReadTokens, read),
        (
            Meter::CacheWriteTokens,
            written.map(|written| written - long),
        ),
        (
            Meter::CacheWrite1hTokens,
            Some(long).filter(|long| *long > 0),
        ),
    ] {
        if let Some(count) = count {
            usage.set(meter, count);
        }
    }
    Some(usage)
}

/// Of the tokens written to a cache those that stay for an hour: `cacheDetails` of `{ttl, inputTokens}`.
fn written_for_an_hour(counted: &mut Counted<'_>, written: u64) -> u64 {
    let details = counted.member("cacheDetails");
    let hours = details
        .into_iter()
        .flat_map(Json::items)
        .filter(|item| item.get("ttl").and_then(Json::str).as_deref() == Some("1h"))
        .filter_map(|item| item.get("inputTokens")?.count())
        .fold(0u64, u64::saturating_add);
    counted.within(hours, written)
}

/// The tier and the speed of the answer.
pub(super) fn conditions(evidence: &Evidence) -> Conditions {
    let mut conditions = Conditions::new();
    let header = evidence.headers.get(TIER_HEADER).map(String::as_str);
    let tier = evidence.response_text("service_tier").or(header);
    if let Some(tier) = tier.filter(|tier| !matches!(*tier, "default" | "standard")) {
        conditions.insert("service_tier".into(), tier.into());
    }
    let latency = evidence.response_text("latency");
    if let Some(latency) = latency.filter(|latency| *latency != "standard") {
        conditions.insert("speed".into(), latency.into());
    }
    conditions
}

/// The header that names the tier of an answer.
pub(super) const TIER_HEADER: &str = "x-amzn-bedrock-service-tier";

/// Bounds, and where generation was under way an estimate.
pub(super) fn unreported(evidence: &Evidence) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let low = evidence.counts.output_frames;
    let high = facts::output_high(evidence).max(low);
    let line = || Line {
        model: facts::model(evidence),
        conditions: conditions(evidence),
        usage: text_tokens(request_bytes / facts::BYTES_PER_TOKEN, low),
    };
    facts::unreported(
        evidence,
        line,
        text_tokens(0, low),
        text_tokens(request_bytes, high),
    )
}
