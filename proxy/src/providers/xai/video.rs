//! xAI's videos: one call names a request, another fetches what became of it, with the exact charge.
//! The request's id is what both go by.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::{deferred, with_charge};
use crate::framing::Frame;
use crate::framing::json::{pick, pick_in};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, keep_request, keep_response_text, keep_usage};

/// The fact of an answer: how long the video is.
const SECONDS: &str = "seconds";

/// The model, and how long and how large the video is to be.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 3] = ["model", "duration", "resolution"];
    if let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) {
        for (name, member) in NAMES.iter().zip(picked.members) {
            keep_request(evidence, name, member);
        }
    }
}

/// Its answers are no event streams.
pub(super) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = ["request_id", "status", "video", "model", "usage", "error"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [request_id, status, video, model, usage, error] = picked.members;
    if let Some(id) = evidence
        .request
        .text(deferred::REQUEST_ID)
        .map(str::to_owned)
    {
        evidence.set_response_text("id", &id);
    } else {
        keep_response_text(evidence, "id", request_id);
        keep_response_text(evidence, deferred::PROMISED, request_id);
    }
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "state", status);
    keep_usage(evidence, "usage", usage);
    let seconds = video
        .and_then(|video| pick_in(video, ["duration"]))
        .and_then(|picked| picked.members[0]?.get().parse::<Decimal>().ok());
    if let Some(seconds) = seconds.filter(|seconds| !seconds.is_negative()) {
        evidence.response.insert(SECONDS, seconds);
    }
    let error = error.and_then(|error| pick_in(error, ["code"]));
    if let Some(error) = error {
        keep_response_text(evidence, "error_code", error.members[0]);
    }
    evidence.response.insert("finished", true);
}

/// A video that was asked for; what it costs is told to whoever fetches it.
pub(super) fn started_usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if evidence.response_text(deferred::PROMISED).is_none() {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    }
    UsageDraft {
        source: UsageSource::Pending,
        reason: Some("not_finished"),
        ..UsageDraft::default()
    }
}

/// A fetched video; fetching one that is not there yet costs nothing.
pub(super) fn fetched_usage_of(evidence: &Evidence) -> UsageDraft {
    let nothing = |reason| UsageDraft {
        source: UsageSource::None,
        reason: Some(reason),
        ..UsageDraft::default()
    };
    let seconds = evidence.response.get(SECONDS).and_then(Fact::as_decimal);
    if seconds.is_some() || evidence.object("usage").is_some() {
        let mut line = Line {
            model: facts::model(evidence),
            ..Line::default()
        };
        if let Some(seconds) = seconds {
            line.usage.set(Meter::VideoSeconds, seconds);
        }
        let draft = UsageDraft {
            lines: vec![line],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
        let draft = with_charge(evidence, draft);
        if draft.lines.iter().any(|line| !line.usage.is_empty()) {
            return draft;
        }
    }
    match evidence.response_text("state") {
        Some("failed" | "expired") => nothing("failed"),
        Some("pending" | "processing" | "queued") => nothing("not_finished"),
        _ if facts::status(evidence) == Some(deferred::ACCEPTED) => nothing("not_finished"),
        _ => facts::refused(evidence)
            .unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None)),
    }
}
