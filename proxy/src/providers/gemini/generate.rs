//! Gemini's `generateContent`: one answer, a stream of events, or an array that grows. Each chunk
//! repeats the counts so far, and the last one holds.
//!
//! `promptTokenCount` holds the cached part; prompts of tools stand beside it, thoughts beside the
//! candidates. Counts of zero are left out by the vendor.

use std::collections::HashSet;

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};
use memchr::memmem;

use super::modalities::{Split, set_input, set_output};
use super::path;
use crate::framing::json::{Raw, items, pick, pick_in};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, Counted, is_present, keep_request, keep_response_text, member, text_tokens,
};

/// The header that names the tier of an answer.
pub(crate) const ANSWER_HEADERS: &[&str] = &["x-gemini-service-tier"];

/// Model and verb of the path; tier and limit of the body, in either spelling.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
    let names = [
        "serviceTier",
        "service_tier",
        "generationConfig",
        "generation_config",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, names)) else {
        return;
    };
    let [tier, tier_snake, config, config_snake] = picked.members;
    keep_request(evidence, "service_tier", tier.or(tier_snake));
    let names = [
        "maxOutputTokens",
        "max_output_tokens",
        "candidateCount",
        "candidate_count",
    ];
    let config = config.or(config_snake);
    if let Some(config) = config.and_then(|config| pick_in(config, names)) {
        let [max, max_snake, count, count_snake] = config.members;
        keep_request(evidence, "max_output_tokens", max.or(max_snake));
        keep_request(evidence, "n", count.or(count_snake));
    }
}

/// Each chunk has the counts so far.
pub(crate) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Keeps the last counts, names, and how often the web was searched.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = [
        "candidates",
        "usageMetadata",
        "modelVersion",
        "responseId",
        "promptFeedback",
        "error",
    ];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [candidates, usage, model, id, feedback, error] = picked.members;
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "id", id);
    keep_counts(evidence, usage);
    let has_output = read_candidates(evidence, candidates);
    if is_present(member(feedback, "blockReason")) {
        evidence.response.insert("finished", true);
    }
    note_error(evidence, error);
    match frame.origin {
        Origin::Body => evidence.response.insert("finished", true),
        Origin::Event => evidence.counts.output_frames += u64::from(has_output),
    }
}

/// An object without a count says nothing and does not replace one that has some.
pub(super) fn keep_counts(evidence: &mut Evidence, usage: Option<Raw<'_>>) {
    let object = usage.filter(|raw| raw.get().starts_with('{'));
    let Some(value) = object.and_then(|raw| Kept::of(raw.get())) else {
        return;
    };
    let has_count = value
        .json()
        .members()
        .any(|(name, value)| name.ends_with("TokenCount") && value.count().is_some());
    if has_count {
        evidence.replace_object("usageMetadata", value);
    }
}

pub(crate) fn note_error(evidence: &mut Evidence, error: Option<Raw<'_>>) {
    if !is_present(error) {
        return;
    }
    evidence.response.insert("error", true);
    if let Some(error) = error.and_then(|error| pick_in(error, ["status", "code"])) {
        keep_response_text(evidence, "error_type", error.members[0]);
        keep_response_text(evidence, "error_code", error.members[1]);
    }
}

/// Notes an end and the searches; whether there is output.
fn read_candidates(evidence: &mut Evidence, candidates: Option<Raw<'_>>) -> bool {
    let mut has_output = false;
    let (mut queries, mut grounded) = (0, 0);
    for candidate in candidates.into_iter().flat_map(items) {
        let names = [
            "content",
            "finishReason",
            "groundingMetadata",
            "urlContextMetadata",
        ];
        let Some(picked) = pick_in(candidate, names) else {
            continue;
        };
        let [content, reason, grounding, pages] = picked.members;
        has_output |= content.is_some_and(|raw| memmem::find(raw.bytes(), b"\"parts\"").is_some());
        if is_present(reason) {
            keep_response_text(evidence, "finish_reason", reason);
            evidence.response.insert("finished", true);
        }
        let searched = searched(grounding, pages);
        queries += searched.0;
        grounded |= searched.1;
    }
    keep_searches(evidence, queries, grounded);
    has_output
}

/// Distinct queries of one grounding that are not empty, as the vendor bills them, and whether the web
/// grounded anything: files and maps ground answers too, as do pages that the request named.
fn searched(grounding: Option<Raw<'_>>, pages: Option<Raw<'_>>) -> (u64, u64) {
    let names = ["webSearchQueries", "groundingChunks"];
    let Some(grounding) = grounding.and_then(|raw| pick_in(raw, names)) else {
        return (0, 0);
    };
    let [searched, mut chunks] = grounding.members.map(|raw| raw.into_iter().flat_map(items));
    let queries: HashSet<&str> = searched
        .map(Raw::get)
        .filter(|query| *query != "\"\"")
        .collect();
    let has_pages = chunks.any(|chunk| is_present(member(Some(chunk), "web")));
    let is_grounded = !queries.is_empty() || (has_pages && !is_present(pages));
    (queries.len() as u64, u64::from(is_grounded))
}

/// Chunks repeat what was searched so far.
fn keep_searches(evidence: &mut Evidence, queries: u64, grounded: u64) {
    for (name, count) in [("web_search_queries", queries), ("grounded", grounded)] {
        if count > facts::response_count(evidence, name).unwrap_or(0) {
            evidence.response.insert(name, count);
        }
    }
}

/// Notes what one content of a session searched.
pub(super) fn note_searches(evidence: &mut Evidence, content: Raw<'_>) {
    let names = ["groundingMetadata", "urlContextMetadata"];
    let Some([grounding, pages]) = pick_in(content, names).map(|picked| picked.members) else {
        return;
    };
    let (queries, grounded) = searched(grounding, pages);
    keep_searches(evidence, queries, grounded);
}

/// Adds what was searched to a line.
pub(super) fn set_searches(evidence: &Evidence, line: &mut Line) {
    if let Some(searches) = searches(evidence, &line.model) {
        line.usage.set(Meter::WebSearches, searches);
    }
}

/// The lines of one answer.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let counts = evidence.object("usageMetadata");
    if let Some(draft) = counts.and_then(|object| reported(evidence, object)) {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| unreported(evidence))
}

fn reported(evidence: &Evidence, object: Json<'_>) -> Option<UsageDraft> {
    let mut counted = Counted::new(object);
    let usage = tokens(&mut counted)?;
    let (conditions, is_assumed) = conditions(evidence, object);
    let mut line = Line {
        model: facts::model(evidence),
        conditions,
        usage,
    };
    set_searches(evidence, &mut line);
    // A stream ends with a reason; its last byte alone says nothing.
    if !facts::is_set(evidence, "finished") || facts::is_set(evidence, "error") {
        return Some(partial(evidence, line));
    }
    let reason = match (counted.is_clamped, is_assumed) {
        (true, _) => Some("negative_clamped"),
        (_, true) => Some("service_tier_not_echoed"),
        _ => None,
    };
    Some(UsageDraft {
        lines: vec![line],
        source: UsageSource::Reported,
        reason,
        low: None,
        high: None,
    })
}

/// Disjoint meters of `usageMetadata`; `None` when it has no count.
pub(crate) fn tokens(counted: &mut Counted<'_>) -> Option<Usage> {
    let prompt = counted.count(&["promptTokenCount"]);
    let tools = counted.count(&["toolUsePromptTokenCount"]);
    let cached = counted.count(&["cachedContentTokenCount"]);
    let thoughts = counted.count(&["thoughtsTokenCount"]);
    let candidates = counted
        .count(&["candidatesTokenCount"])
        .or_else(|| counted.count(&["responseTokenCount"]));
    let split = |counted: &Counted<'_>, name: &str| Split::of(counted.member(name));
    let mut usage = Usage::new();
    if prompt.is_some() || tools.is_some() {
        let whole = prompt.unwrap_or(0).checked_add(tools.unwrap_or(0))?;
        let parts = split(counted, "promptTokensDetails")
            .plus(split(counted, "promptTokenDetails"))
            .plus(split(counted, "toolUsePromptTokensDetails"));
        let cached_parts = split(counted, "cacheTokensDetails");
        set_input(counted, &mut usage, whole, cached, parts, cached_parts);
    }
    if let Some(candidates) = candidates {
        let parts =
            split(counted, "candidatesTokensDetails").plus(split(counted, "responseTokensDetails"));
        set_output(counted, &mut usage, candidates, parts);
    }
    if let Some(thoughts) = thoughts {
        usage.set(Meter::ReasoningTokens, thoughts);
    }
    (!usage.is_empty()).then_some(usage)
}

/// Models before the third are billed by prompt that was grounded, later ones by query.
fn searches(evidence: &Evidence, model: &str) -> Option<u64> {
    let name = path::last_part(model);
    let is_by_prompt = ["gemini-1", "gemini-2"]
        .iter()
        .any(|start| name.starts_with(start));
    let name = if is_by_prompt {
        "grounded"
    } else {
        "web_search_queries"
    };
    facts::response_count(evidence, name)
}

/// The tier of the answer; where it names none, the one asked for, and that it was assumed.
pub(super) fn conditions(evidence: &Evidence, object: Json<'_>) -> (Conditions, bool) {
    let named = |name| object.get(name).and_then(Json::str);
    let header = ANSWER_HEADERS
        .iter()
        .find_map(|name| evidence.headers.get(*name));
    let answered = named("serviceTier")
        .or_else(|| named("service_tier"))
        .or_else(|| named("trafficType"))
        .or_else(|| header.map(|tier| tier.as_str().into()));
    let asked = evidence.request_text("service_tier");
    let is_answered = answered.is_some();
    let tier = answered.as_deref().or(asked).and_then(tier);
    let is_assumed = !is_answered && tier.is_some();
    let mut conditions = place(evidence);
    if let Some(tier) = tier {
        conditions.insert("service_tier".into(), tier);
    }
    (conditions, is_assumed)
}

/// A place that is not the whole world, as Vertex has them.
pub(crate) fn place(evidence: &Evidence) -> Conditions {
    let mut conditions = Conditions::new();
    if evidence
        .request_text("location")
        .is_some_and(|location| location != "global")
    {
        conditions.insert("geo".into(), "regional".into());
    }
    conditions
}

/// One name for what is spelt `flex`, `SERVICE_TIER_FLEX` and `ON_DEMAND_FLEX`; none for the base.
pub(crate) fn tier(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let name = ["service_tier_", "on_demand_"]
        .iter()
        .find_map(|start| name.strip_prefix(start))
        .unwrap_or(&name);
    match name {
        ""
        | "standard"
        | "default"
        | "auto"
        | "on_demand"
        | "unspecified"
        | "traffic_type_unspecified" => None,
        tier => Some(tier.to_owned()),
    }
}

/// The input is known, of the output only what was counted so far.
fn partial(evidence: &Evidence, mut line: Line) -> UsageDraft {
    let meters = &line.usage;
    let counted = meters.quantity(Meter::OutputTokens);
    let frames = evidence.counts.output_frames;
    if counted.is_none() {
        line.usage.set(Meter::OutputTokens, frames);
    }
    // Thoughts count towards the request's own limit.
    partial_up_to(line, output_high(evidence))
}

/// A line of which more output may have come than it says, up to a bound.
pub(super) fn partial_up_to(line: Line, output_high: u64) -> UsageDraft {
    let low = line.usage.clone();
    let mut high = low.clone();
    let most = farebox_pricing::money::Decimal::from(output_high);
    let output = low.quantity(Meter::OutputTokens).unwrap_or_default();
    let is_more = most
        .checked_sub(output)
        .is_some_and(|more| !more.is_negative());
    high.set(Meter::OutputTokens, if is_more { most } else { output });
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Partial,
        reason: Some(facts::CUT),
        low: Some(low),
        high: Some(high),
    }
}

fn output_high(evidence: &Evidence) -> u64 {
    let choices = facts::request_count(evidence, "n").unwrap_or(1).max(1);
    let high = match facts::request_count(evidence, "max_output_tokens") {
        Some(max) => max.saturating_mul(choices),
        None => facts::output_high(evidence),
    };
    high.max(evidence.counts.output_frames)
}

/// Bounds, and where generation was under way an estimate.
pub(crate) fn unreported(evidence: &Evidence) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let low = evidence.counts.output_frames;
    let line = || Line {
        model: facts::model(evidence),
        conditions: place(evidence),
        usage: text_tokens(request_bytes / facts::BYTES_PER_TOKEN, low),
    };
    facts::unreported(
        evidence,
        line,
        text_tokens(0, low),
        text_tokens(request_bytes, output_high(evidence)),
    )
}
