//! Runs of OpenAI's threads: usage stands in the run, null until it has ended. A call that starts a
//! run is pending unless its stream goes to the end; a call that asks for it tells.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};

use super::{chat, tokens};
use crate::framing::json::{pick, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, keep_error, keep_response_text, keep_usage};

/// The fact of a call that asks for what another one started.
const POLL: &str = "poll";

/// A call that asks for a run.
pub(crate) fn poll_facts(evidence: &mut Evidence, _asked: &Asked<'_>) {
    evidence.request.insert(POLL, true);
}

/// Deltas are output; what has usage, an error or is a run tells.
pub(crate) fn glance(data: &[u8]) -> Glance {
    let has = |text: &[u8]| memchr::memmem::find(data, text).is_some();
    if chat::glance(data) == Glance::Telling || has(b"\"thread.run\"") {
        Glance::Telling
    } else if has(b".delta\"") {
        Glance::Output
    } else {
        Glance::Dull
    }
}

/// Keeps what a run says of itself. Its steps report the same tokens once more.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event && frame.data == b"[DONE]" {
        evidence.response.insert("finished", true);
        return;
    }
    const NAMES: [&str; 7] = [
        "id",
        "object",
        "model",
        "status",
        "usage",
        "error",
        "thread_id",
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, object, model, status, usage, error, thread] = picked.members;
    let object = object.and_then(text_of).unwrap_or_default();
    if object == "thread.run" {
        keep_response_text(evidence, "id", id);
        keep_response_text(evidence, "thread_id", thread);
        keep_response_text(evidence, "model", model);
        keep_response_text(evidence, "state", status);
        keep_usage(evidence, "usage", usage);
    } else if object.ends_with(".delta") {
        evidence.counts.output_frames += 1;
    }
    keep_error(evidence, error);
    if frame.origin == Origin::Body {
        evidence.response.insert("finished", true);
    }
}

/// The line of one run.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let reported = evidence
        .object("usage")
        .and_then(|object| tokens::reported(evidence, object));
    if let Some(draft) = reported.or_else(|| facts::refused(evidence)) {
        return draft;
    }
    let state = evidence.response_text("state");
    let is_over = matches!(
        state,
        Some("completed" | "failed" | "cancelled" | "expired" | "incomplete")
    );
    match state {
        None => facts::missing(facts::why_no_usage(evidence), None, None),
        Some(_) if evidence.request.is_set(POLL) => UsageDraft {
            source: UsageSource::None,
            reason: Some(if is_over {
                "no_usage_in_answer"
            } else {
                "not_finished"
            }),
            ..UsageDraft::default()
        },
        Some(_) if is_over => facts::missing("no_usage_in_answer", None, None),
        // It goes on without us.
        Some(_) => UsageDraft {
            source: UsageSource::Pending,
            reason: Some("not_finished"),
            ..UsageDraft::default()
        },
    }
}
