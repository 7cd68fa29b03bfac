//! OpenAI's responses: usage stands in the response object, which is the body of an answer or a member
//! of the events at a stream's beginning and end. Hosted tools are counted beside the tokens.
//!
//! A background response has no usage yet when it is created; the call that fetches it tells.

use std::sync::LazyLock;

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};
use memchr::memmem::Finder;

use super::chat::value_after;
use super::{tokens, tools};
use crate::framing::json::{pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, is_present, keep_error, keep_request, keep_response_text, keep_usage, response_count,
};

/// The fact of a call that fetches what another one made.
const POLL: &str = "poll";

/// Model, stream, background and what bounds the output.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 8] = [
        "model",
        "stream",
        "background",
        "service_tier",
        "max_output_tokens",
        "store",
        "background_options",
        "prompt",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    for (name, member) in NAMES.iter().zip(picked.members).take(6) {
        keep_request(evidence, name, member);
    }
    let window = picked.members[6].and_then(|options| pick_in(options, ["completion_window"]));
    if let Some(window) = window {
        keep_request(evidence, "completion_window", window.members[0]);
    }
    // A stored prompt lies with the vendor.
    if is_present(picked.members[7]) {
        evidence.request.insert(tokens::UNBOUNDED_INPUT, true);
    }
    tokens::note_unbounded_input(evidence, asked);
}

/// A call that fetches or cancels a response that another one made.
pub(crate) fn poll_facts(evidence: &mut Evidence, _asked: &Asked<'_>) {
    evidence.request.insert(POLL, true);
}

static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"response\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".delta\""));
static SUMMARY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_summary_"));

/// Events with a response object tell, and errors. Texts cannot look like either: their quotes are
/// escaped. Deltas of a reasoning summary are no output: the summary is not what is billed.
pub(crate) fn glance(data: &[u8]) -> Glance {
    let has_response = RESPONSE
        .find_iter(data)
        .any(|found| value_after(&data[found + RESPONSE.needle().len()..]) == Some(b'{'));
    let is_error = ERROR.find_iter(data).any(|found| {
        let rest = &data[found + ERROR.needle().len()..];
        let is_name = rest
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_some_and(|byte| *byte == b':');
        !is_name || value_after(rest) != Some(b'n')
    });
    if has_response || is_error {
        return Glance::Telling;
    }
    let type_end = data.len().min(TYPE_BYTES_MAX);
    if DELTA.find(data).is_some() && SUMMARY.find(&data[..type_end]).is_none() {
        return Glance::Output;
    }
    Glance::Dull
}

/// How far from its beginning an event's type is looked for.
const TYPE_BYTES_MAX: usize = 128;

/// Keeps what a response object says.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event {
        if frame.data == b"[DONE]" {
            return;
        }
        let Some(picked) = pick(frame.data, ["type", "response", "code", "error"]) else {
            evidence.flag(frame.origin.flag_of_invalid_json());
            return;
        };
        let [kind, response, code, error] = picked.members;
        let kind = kind.and_then(text_of).unwrap_or_default();
        if let Some(response) = response.filter(|raw| raw.get().starts_with('{')) {
            read_response(evidence, response.bytes());
            if ENDS.contains(&&*kind) {
                evidence.response.insert("finished", true);
            }
        } else if kind == "error" || is_present(error) {
            evidence.response.insert("error", true);
            keep_error(evidence, error);
            keep_response_text(evidence, "error_code", code);
        } else if glance(frame.data) == Glance::Output {
            evidence.counts.output_frames += 1;
        }
        return;
    }
    if !read_response(evidence, frame.data) {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    }
    evidence.response.insert("finished", true);
}

/// Events after which nothing follows.
const ENDS: [&str; 4] = [
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
];

/// Keeps what a response object says; whether it is one.
pub(super) fn read_response(evidence: &mut Evidence, json: &[u8]) -> bool {
    const NAMES: [&str; 10] = [
        "id",
        "model",
        "service_tier",
        "status",
        "usage",
        "error",
        "tool_usage",
        "output",
        "tools",
        "background_options",
    ];
    let Some(picked) = pick(json, NAMES) else {
        return false;
    };
    let [
        id,
        model,
        tier,
        status,
        usage,
        error,
        tool_usage,
        output,
        asked_tools,
        background,
    ] = picked.members;
    if let Some(background) = background.and_then(|raw| pick_in(raw, ["completion_window"])) {
        keep_response_text(evidence, "completion_window", background.members[0]);
    }
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "service_tier", tier);
    keep_response_text(evidence, "state", status);
    keep_usage(evidence, "usage", usage);
    keep_usage(evidence, "tool_usage", tool_usage);
    keep_error(evidence, error);
    tools::collect(evidence, output, asked_tools);
    true
}

/// The lines of one response: its tokens, and what hosted tools did.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = reported(evidence) {
        return draft;
    }
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let is_read = facts::is_set(evidence, "finished") || evidence.response_text("state").is_some();
    if evidence.request.is_set(POLL) {
        return polled(evidence, is_read);
    }
    let goes_on = match evidence.response_text("state") {
        Some("queued" | "in_progress") => {
            facts::is_set(evidence, "finished") || evidence.request.is_set("background")
        }
        _ => false,
    };
    if goes_on {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("background"),
            ..UsageDraft::default()
        };
    }
    let low = evidence.counts.output_frames;
    let draft = tokens::unreported(evidence, low, facts::output_high(evidence));
    match evidence.response_text("state") {
        // What the vendor charges for it is not known.
        Some("failed" | "cancelled") => facts::missing("failed", draft.low, draft.high),
        _ => draft,
    }
}

/// What a response object reported.
pub(super) fn reported(evidence: &Evidence) -> Option<UsageDraft> {
    let mut draft = tokens::reported(evidence, evidence.object("usage")?)?;
    background(evidence, &mut draft);
    tools::add(evidence, &mut draft);
    Some(draft)
}

/// The lines of one decision: the same usage; what it puts out has its own price.
pub(crate) fn decision_usage_of(evidence: &Evidence) -> UsageDraft {
    as_decision(usage_of(evidence))
}

/// The same usage, at a decision's price.
pub(super) fn as_decision(mut draft: UsageDraft) -> UsageDraft {
    for line in &mut draft.lines {
        line.conditions.insert("mode".into(), "decisions".into());
    }
    draft
}

/// A fetched response without usage costs nothing by being fetched; the call that made it stays
/// pending. An answer that cannot be read says nothing.
fn polled(evidence: &Evidence, is_read: bool) -> UsageDraft {
    if !is_read || response_count(evidence, "status").is_none_or(|status| status >= 400) {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    }
    let reason = match evidence.response_text("state") {
        Some("queued" | "in_progress") => "not_finished",
        _ => "no_usage_in_answer",
    };
    UsageDraft {
        source: UsageSource::None,
        reason: Some(reason),
        ..UsageDraft::default()
    }
}

/// A background response with a completion window is discounted.
fn background(evidence: &Evidence, draft: &mut UsageDraft) {
    let answered = evidence.response_text("completion_window");
    if let Some(window) = answered.or_else(|| evidence.request_text("completion_window")) {
        for line in &mut draft.lines {
            line.conditions.insert("background".into(), window.into());
        }
    }
}
