//! Cohere's batches: a job over a dataset. The batch itself says how many tokens went in and came out
//! once it has ended; what it wrote lies in a dataset, which counts nothing.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{pick, pick_in};
use crate::providers::facts::{self, keep_count, keep_error, keep_response_text};

/// Counts of a batch, as texts.
const INPUT: &str = "input_tokens";
const OUTPUT: &str = "output_tokens";
/// The fact of an answer: how far the batch is.
const STATUS: &str = "state";

/// Keeps what the batch says of itself.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 5] = ["id", "status", "model", INPUT, OUTPUT];
    let Some(picked) = pick(frame.data, ["batch", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [batch, error] = picked.members;
    keep_error(evidence, error);
    evidence.response.insert("finished", true);
    let Some(of) = batch.and_then(|batch| pick_in(batch, NAMES)) else {
        return;
    };
    let [id, status, model, input, output] = of.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, STATUS, status);
    keep_response_text(evidence, "model", model);
    for (name, raw) in [(INPUT, input), (OUTPUT, output)] {
        keep_count(evidence, name, raw);
    }
}

/// A batch that was looked at; before its end that costs nothing.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let counts = [INPUT, OUTPUT].map(|name| facts::response_count(evidence, name));
    let nothing = |reason| UsageDraft {
        source: UsageSource::None,
        reason: Some(reason),
        ..UsageDraft::default()
    };
    match evidence.response_text(STATUS) {
        Some("BATCH_STATUS_COMPLETED" | "BATCH_STATUS_FAILED" | "BATCH_STATUS_CANCELED")
            if counts.iter().any(Option::is_some) =>
        {
            let mut line = Line {
                model: facts::model(evidence),
                ..Line::default()
            };
            line.conditions.insert("batch".into(), "true".into());
            let meters = [Meter::InputTokens, Meter::OutputTokens];
            for (meter, count) in meters.into_iter().zip(counts) {
                if let Some(count) = count {
                    line.usage.set(meter, count);
                }
            }
            UsageDraft {
                lines: vec![line],
                source: UsageSource::Reported,
                ..UsageDraft::default()
            }
        }
        Some("BATCH_STATUS_FAILED" | "BATCH_STATUS_CANCELED") => nothing("failed"),
        Some(status) if status != "BATCH_STATUS_COMPLETED" => nothing("not_finished"),
        _ => facts::refused(evidence)
            .unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None)),
    }
}
