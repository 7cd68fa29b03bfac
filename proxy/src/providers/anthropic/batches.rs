//! Anthropic's message batches: pending when made, paid for by the results.
//!
//! Results come as JSON lines in any order; only those that succeeded carry a message and its usage,
//! and all of it is at the batch's price.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::Line;

use super::messages;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::Asked;
use crate::providers::facts::{is_present, keep_response_text};
use crate::providers::sums;

/// Keeps the name of a batch that was made.
pub(super) fn collect_created(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = ["id", "processing_status", "error"];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, status, error] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "processing_status", status);
    note_error(evidence, error);
    evidence.response.insert("finished", true);
}

/// The batch whose results are asked for: `/v1/messages/batches/{id}/results`.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(id) = asked.path.split('/').nth(4) {
        evidence.request.insert("batch", id);
    }
}

/// Adds one line of the results.
pub(super) fn collect_results(frame: &Frame<'_>, evidence: &mut Evidence) {
    if let Some(id) = evidence.request_text("batch").map(str::to_owned) {
        evidence.set_response_text("id", &id);
    }
    let Some(picked) = pick(frame.data, ["result", "error", "type"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [result, error, _] = picked.members;
    if frame.origin == Origin::Body {
        note_error(evidence, error);
        return;
    }
    match result.and_then(|raw| pick_in(raw, ["type", "message"])) {
        Some(result) => {
            let kind = result.members[0].and_then(text_of).unwrap_or_default();
            match (&*kind, result.members[1]) {
                ("succeeded", Some(message)) => match lines_of(message) {
                    Some(lines) => sums::add(evidence, &lines),
                    None => sums::drop_one(evidence),
                },
                ("succeeded", None) => sums::drop_one(evidence),
                // Errored, canceled and expired ones are not billed.
                _ => sums::add(evidence, &[]),
            }
        }
        None => sums::drop_one(evidence),
    }
}

fn lines_of(message: Raw<'_>) -> Option<Vec<Line>> {
    let one = Evidence::default();
    sums::lines_of(one, message.bytes(), messages::collect, messages::usage_of)
}

fn note_error(evidence: &mut Evidence, error: Option<Raw<'_>>) {
    if is_present(error) {
        evidence.response.insert("error", true);
        let error = error.and_then(|error| pick_in(error, ["type"]));
        keep_response_text(evidence, "error_type", error.and_then(|e| e.members[0]));
    }
}
