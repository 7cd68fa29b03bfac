//! OpenAI's videos: seconds, known when a job is complete. The call that starts it is pending; each
//! call that asks for it costs nothing until it tells the whole.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use super::transcription::keep_field;
use crate::framing::json::{pick, pick_in, text_of};
use crate::framing::{Frame, multipart};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, keep_request, keep_response_text};

const FACTS: [&str; 3] = ["model", "seconds", "size"];
/// The fact of a call that asks for what another one started.
const POLL: &str = "poll";

/// Model, seconds and size, out of JSON or a form.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else {
        return;
    };
    if multipart::begins(body) {
        for part in multipart::parts(body) {
            if let Some(name) = FACTS.iter().find(|name| **name == part.name) {
                keep_field(evidence, name, part.text());
            }
        }
    } else if let Some(picked) = pick(body, FACTS) {
        for (name, member) in FACTS.iter().zip(picked.members) {
            keep_request(evidence, name, member);
        }
    }
}

/// A call that asks for a video.
pub(crate) fn poll_facts(evidence: &mut Evidence, _asked: &Asked<'_>) {
    evidence.request.insert(POLL, true);
}

/// Its answers are no event streams.
pub(crate) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Keeps what a video object says of itself.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = ["id", "model", "status", "size", "seconds", "error"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, model, status, size, seconds, error] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "state", status);
    keep_response_text(evidence, "size", size);
    // Written as a text.
    let seconds = seconds.and_then(|raw| match text_of(raw) {
        Some(text) => text.parse().ok(),
        None => raw.get().parse::<Decimal>().ok(),
    });
    if let Some(seconds) = seconds.filter(|seconds| !seconds.is_negative()) {
        evidence.response.insert("seconds", seconds);
    }
    // A job that failed is told by a call that did not.
    let error = error.and_then(|error| pick_in(error, ["code"]));
    if let Some(error) = error {
        keep_response_text(evidence, "error_code", error.members[0]);
    }
    evidence.response.insert("finished", true);
}

/// The line of one video.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let is_poll = evidence.request.is_set(POLL);
    let nothing = |reason| UsageDraft {
        source: UsageSource::None,
        reason: Some(reason),
        ..UsageDraft::default()
    };
    match evidence.response_text("state") {
        Some("completed") => completed(evidence),
        // A failed video is not billed.
        Some("failed") => nothing("failed"),
        Some(_) if is_poll => nothing("not_finished"),
        Some(_) => UsageDraft {
            source: UsageSource::Pending,
            reason: Some("not_finished"),
            ..UsageDraft::default()
        },
        None => facts::missing(facts::why_no_usage(evidence), None, None),
    }
}

fn completed(evidence: &Evidence) -> UsageDraft {
    let seconds = evidence.response.get("seconds").and_then(Fact::as_decimal);
    let Some(seconds) = seconds else {
        return facts::missing("no_usage_in_answer", None, None);
    };
    let mut usage = Usage::new();
    usage.set(Meter::VideoSeconds, seconds);
    let mut conditions = Conditions::new();
    if let Some(size) = evidence.response_text("size") {
        conditions.insert("size".into(), size.into());
    }
    UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions,
            usage,
        }],
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}
