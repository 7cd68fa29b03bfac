//! xAI's deferred completions: one call names a request, another fetches its answer, which has an id of
//! its own. The request's id is what both go by.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};

use super::chat_usage_of;
use crate::framing::Frame;
use crate::framing::json::pick;
use crate::provider::Asked;
use crate::providers::facts::{self, keep_response_text};
use crate::providers::openai::chat;

/// The fact of a call that fetches, and what it fetches.
pub(super) const REQUEST_ID: &str = "deferred_id";
/// The fact of an answer that is promised: what it is fetched by.
pub(super) const PROMISED: &str = "promised_id";
/// The status of an answer that is not there yet.
pub(super) const ACCEPTED: u64 = 202;

/// Keeps what is fetched.
pub(super) fn poll_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(id) = asked.path.rsplit('/').next() {
        evidence.request.insert(REQUEST_ID, id);
    }
}

pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    chat::collect(frame, evidence);
    if let Some(id) = evidence.request.text(REQUEST_ID).map(str::to_owned) {
        evidence.set_response_text("id", &id);
    } else if frame.origin == crate::framing::Origin::Body
        && let Some(picked) = pick(frame.data, ["request_id"])
        && facts::is_present(picked.members[0])
    {
        keep_response_text(evidence, "id", picked.members[0]);
        keep_response_text(evidence, PROMISED, picked.members[0]);
        evidence.response.insert("deferred", true);
    }
}

/// A completion, or the promise of one.
pub(super) fn created_usage_of(evidence: &Evidence) -> UsageDraft {
    let is_deferred = facts::is_set(evidence, "deferred")
        && evidence.object("usage").is_none()
        && facts::status(evidence).is_some_and(|status| status < 400);
    if is_deferred {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("deferred"),
            ..UsageDraft::default()
        };
    }
    chat_usage_of(evidence)
}

/// A fetched completion; fetching one that is not there yet costs nothing.
pub(super) fn fetched_usage_of(evidence: &Evidence) -> UsageDraft {
    if facts::status(evidence) == Some(ACCEPTED) {
        return UsageDraft {
            source: UsageSource::None,
            reason: Some("not_finished"),
            ..UsageDraft::default()
        };
    }
    if evidence.object("usage").is_some() {
        return chat_usage_of(evidence);
    }
    facts::refused(evidence)
        .unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None))
}
