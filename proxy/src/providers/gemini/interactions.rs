//! Gemini's interactions: counts of their own names, at once, at a stream's end, or with the fetch of
//! one that runs in the background.
//!
//! Prompts of tools stand beside the input and thoughts beside the output, as elsewhere at this
//! vendor; a total that says otherwise is believed.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use super::generate::{note_error, partial_up_to, tier};
use super::modalities::{Split, set_input, set_output};
use crate::framing::json::{Raw, pick, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, Counted, keep_request, keep_response_text, keep_usage, member, text_tokens,
};

/// Model or agent, tier and limit.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let names = [
        "model",
        "agent",
        "stream",
        "background",
        "service_tier",
        "generation_config",
        "store",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, names)) else {
        return;
    };
    let [model, agent, stream, background, tier, config, store] = picked.members;
    keep_request(evidence, "model", model.or(agent));
    keep_request(evidence, "stream", stream);
    keep_request(evidence, "store", store);
    keep_request(evidence, "background", background);
    keep_request(evidence, "service_tier", tier);
    let most = member(config, "max_output_tokens");
    keep_request(evidence, "max_output_tokens", most);
}

/// Deltas come by the hundred and are told apart by their type.
pub(super) fn glance(data: &[u8]) -> Glance {
    let is_delta = memchr::memmem::find(data, b"\"step.delta\"").is_some()
        || memchr::memmem::find(data, b"\"content.delta\"").is_some();
    let has_usage = memchr::memmem::find(data, b"\"total_usage\"").is_some();
    if is_delta && !has_usage {
        Glance::Output
    } else {
        Glance::Telling
    }
}

/// Keeps the counts and the state of an interaction, whole or in events.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Body {
        if pick::<0>(frame.data, []).is_none() {
            evidence.flag(frame.origin.flag_of_invalid_json());
            return;
        }
        read_interaction(evidence, frame.data);
        evidence.response.insert("whole", true);
        let state = evidence.response_text("state");
        if !state.is_some_and(|state| RUNNING.contains(&state)) {
            evidence.response.insert("finished", true);
        }
        return;
    }
    let names = [
        "event_type",
        "interaction",
        "metadata",
        "error",
        "interaction_id",
        "status",
    ];
    let Some(picked) = pick(frame.data, names) else {
        if frame.data != b"[DONE]" {
            evidence.flag(frame.origin.flag_of_invalid_json());
        }
        return;
    };
    let [kind, interaction, metadata, error, id, status] = picked.members;
    let kind = kind.and_then(text_of).unwrap_or_default();
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "state", status);
    if let Some(interaction) = interaction {
        read_interaction(evidence, interaction.bytes());
    }
    keep_usage(evidence, "usage", member(metadata, "total_usage"));
    if matches!(&*kind, "interaction.completed" | "interaction.complete") {
        evidence.response.insert("finished", true);
    }
    if matches!(&*kind, "step.delta" | "content.delta") {
        evidence.counts.output_frames += 1;
    }
    note_error(evidence, error);
}

fn read_interaction(evidence: &mut Evidence, json: &[u8]) {
    let names = [
        "id",
        "model",
        "agent",
        "status",
        "usage",
        "service_tier",
        "error",
    ];
    let Some(picked) = pick(json, names) else {
        return;
    };
    let [id, model, agent, state, usage, tier, error] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(
        evidence,
        "model",
        model.filter(|raw| is_text(*raw)).or(agent),
    );
    keep_response_text(evidence, "state", state);
    keep_response_text(evidence, "service_tier", tier);
    keep_usage(evidence, "usage", usage);
    if evidence
        .response_text("state")
        .is_some_and(|state| ENDS.contains(&state))
    {
        evidence.response.insert("finished", true);
    }
    note_error(evidence, error);
}

fn is_text(raw: Raw<'_>) -> bool {
    raw.get().len() > 2 && raw.get().starts_with('"')
}

/// States after which the counts do not change.
const ENDS: [&str; 5] = [
    "completed",
    "requires_action",
    "incomplete",
    "failed",
    "cancelled",
];

/// States of one that still runs.
const RUNNING: [&str; 2] = ["in_progress", "queued"];

/// The line of one interaction.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let state = evidence.response_text("state");
    let is_final = facts::is_set(evidence, "finished");
    let usage = evidence.object("usage").and_then(|object| {
        let mut counted = Counted::new(object);
        let usage = tokens(&mut counted)?;
        Some((usage, counted.is_clamped))
    });
    if let (true, Some((usage, is_clamped))) = (is_final, usage.clone()) {
        return reported(evidence, usage, is_clamped, true);
    }
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let goes_on = evidence.request.is_set("background") || facts::is_set(evidence, "whole");
    if goes_on && state.is_some_and(|state| RUNNING.contains(&state)) {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("background"),
            ..UsageDraft::default()
        };
    }
    match usage {
        Some((usage, is_clamped)) => reported(evidence, usage, is_clamped, false),
        None if matches!(state, Some("failed" | "cancelled")) => {
            facts::missing("failed_without_usage", None, None)
        }
        None => unreported(evidence),
    }
}

fn reported(evidence: &Evidence, usage: Usage, is_clamped: bool, is_final: bool) -> UsageDraft {
    let line = Line {
        model: facts::model(evidence),
        conditions: conditions(evidence),
        usage,
    };
    if is_final {
        let lines = [Some(line), maps(evidence)];
        return UsageDraft {
            lines: lines.into_iter().flatten().collect(),
            source: UsageSource::Reported,
            reason: is_clamped.then_some("negative_clamped"),
            low: None,
            high: None,
        };
    }
    partial_up_to(line, facts::output_high(evidence))
}

fn tokens(counted: &mut Counted<'_>) -> Option<Usage> {
    let input = counted.count(&["total_input_tokens"]);
    let tools = counted.count(&["total_tool_use_tokens"]);
    let cached = counted.count(&["total_cached_tokens"]);
    let output = counted.count(&["total_output_tokens"]);
    let thoughts = counted
        .count(&["total_thought_tokens"])
        .or_else(|| counted.count(&["total_reasoning_tokens"]));
    let total = counted.count(&["total_tokens"]);
    let split = |counted: &Counted<'_>, name: &str| Split::of(counted.member(name));
    let mut usage = Usage::new();
    let whole = input.unwrap_or(0).checked_add(tools.unwrap_or(0))?;
    if input.is_some() || tools.is_some() {
        let parts = split(counted, "input_tokens_by_modality")
            .plus(split(counted, "tool_use_tokens_by_modality"));
        let cached_parts = split(counted, "cached_tokens_by_modality");
        set_input(counted, &mut usage, whole, cached, parts, cached_parts);
    }
    if let Some(output) = output {
        let is_inside = thoughts.is_some_and(|thoughts| thoughts > 0 && thoughts <= output)
            && total.is_some()
            && total == whole.checked_add(output);
        let text = output - thoughts.filter(|_| is_inside).unwrap_or(0);
        let parts = split(counted, "output_tokens_by_modality");
        set_output(counted, &mut usage, text, parts);
    }
    if let Some(thoughts) = thoughts {
        usage.set(Meter::ReasoningTokens, thoughts);
    }
    let tools = counted.member("grounding_tool_count");
    for item in tools.into_iter().flat_map(Json::items) {
        let count = item.get("count").and_then(Json::count).unwrap_or(0);
        let kind = item.get("type").and_then(Json::str).unwrap_or_default();
        if kind == "google_search" && count > 0 {
            usage.set(Meter::WebSearches, count);
        }
    }
    (!usage.is_empty()).then_some(usage)
}

/// Grounding by maps, which is billed by the call.
fn maps(evidence: &Evidence) -> Option<Line> {
    let tools = evidence.object("usage")?.get("grounding_tool_count")?;
    let is_maps =
        |item: &Json<'_>| item.get("type").and_then(Json::str).as_deref() == Some("google_maps");
    let count = tools.items().find(is_maps)?.get("count")?.count()?;
    let mut usage = Usage::new();
    usage.set(Meter::ToolCalls, count);
    let mut conditions = conditions(evidence);
    conditions.insert("tool".into(), "google_maps".into());
    (count > 0).then(|| Line {
        model: facts::model(evidence),
        conditions,
        usage,
    })
}

fn conditions(evidence: &Evidence) -> Conditions {
    let tier = evidence
        .response_text("service_tier")
        .or_else(|| evidence.request_text("service_tier"))
        .and_then(tier);
    let mut conditions = Conditions::new();
    if let Some(tier) = tier {
        conditions.insert("service_tier".into(), tier);
    }
    conditions
}

fn unreported(evidence: &Evidence) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let low = evidence.counts.output_frames;
    let high = facts::output_high(evidence).max(low);
    let line = || Line {
        model: facts::model(evidence),
        conditions: Conditions::new(),
        usage: text_tokens(request_bytes / facts::BYTES_PER_TOKEN, low),
    };
    facts::unreported(
        evidence,
        line,
        text_tokens(0, low),
        text_tokens(request_bytes, high),
    )
}
