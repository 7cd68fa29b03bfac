//! Anthropic's text completions, which report no usage at all: estimated from the wire.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Conditions, Line, UsageDraft, UsageSource};

use crate::framing::json::{pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, BYTES_PER_TOKEN, is_present, keep_request, keep_response_text, text_tokens,
};

/// Model, stream and the limit of the output.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let names = ["model", "stream", "max_tokens_to_sample"];
    let Some(picked) = asked.body.and_then(|body| pick(body, names)) else {
        return;
    };
    let [model, stream, max_tokens] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "stream", stream);
    keep_request(evidence, "max_output_tokens", max_tokens);
}

/// Each event is short and its text is counted.
pub(super) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Counts the bytes of the text; of the text itself nothing stays.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = ["id", "model", "completion", "stop_reason", "error"];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, model, completion, stop_reason, error] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    if let Some(text) = completion.and_then(text_of).filter(|text| !text.is_empty()) {
        let before = facts::response_count(evidence, "output_bytes").unwrap_or(0);
        let bytes = before.saturating_add(text.len() as u64);
        evidence.response.insert("output_bytes", bytes);
        evidence.counts.output_frames += u64::from(frame.origin == Origin::Event);
    }
    if is_present(stop_reason) {
        keep_response_text(evidence, "stop_reason", stop_reason);
        evidence.response.insert("finished", true);
    }
    if is_present(error) {
        evidence.response.insert("error", true);
        let error = error.and_then(|error| pick_in(error, ["type"]));
        keep_response_text(evidence, "error_type", error.and_then(|e| e.members[0]));
    }
}

/// A quarter of the bytes each way, between none and all of them.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let request_bytes = evidence.counts.request_bytes;
    let output_bytes = facts::response_count(evidence, "output_bytes");
    let output_low = u64::from(output_bytes.is_some()).max(evidence.counts.output_frames);
    let output_high = facts::output_high(evidence).max(output_low);
    let low = text_tokens(0, output_low);
    let high = text_tokens(request_bytes, output_high);
    let Some(output_bytes) = output_bytes else {
        return facts::missing(facts::why_no_usage(evidence), Some(low), Some(high));
    };
    let output = (output_bytes / BYTES_PER_TOKEN).clamp(output_low, output_high);
    UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions: Conditions::new(),
            usage: text_tokens(request_bytes / BYTES_PER_TOKEN, output),
        }],
        source: UsageSource::Estimated,
        reason: Some(facts::why_no_usage(evidence)),
        low: Some(low),
        high: Some(high),
    }
}
