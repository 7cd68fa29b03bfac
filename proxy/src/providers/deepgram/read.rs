//! Deepgram's text intelligence: tokens of each feature that was asked for, of a text or beside a
//! transcription.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::listen;
use crate::framing::Frame;
use crate::framing::json::{Raw, pick, pick_in};
use crate::provider::Asked;
use crate::providers::facts::{Counted, keep_response_text, keep_usage};

/// What the tokens of all features are billed under.
const MODEL: &str = "text-intelligence";
/// Where each feature counts its tokens.
const INFOS: [&str; 4] = [
    "summary_info",
    "sentiment_info",
    "topics_info",
    "intents_info",
];
/// Query parameters that ask for features.
const FACTS: [&str; 6] = [
    "summarize",
    "topics",
    "intents",
    "sentiment",
    "language",
    "callback",
];

pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    super::listen::keep_query(evidence, asked, &FACTS);
}

/// Keeps what each feature counted; some answers nest the metadata once more.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["metadata", "request_id", "err_code"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [metadata, request_id, err_code] = picked.members;
    keep_response_text(evidence, "id", request_id);
    keep_response_text(evidence, "error_code", err_code);
    evidence.response.insert("finished", true);
    let nested = metadata.and_then(|metadata| pick_in(metadata, ["metadata"]));
    for metadata in [metadata, nested.and_then(|picked| picked.members[0])] {
        keep_infos(evidence, metadata);
    }
}

fn keep_infos(evidence: &mut Evidence, metadata: Option<Raw<'_>>) {
    if let Some(picked) = metadata.and_then(|raw| pick_in(raw, INFOS)) {
        for (name, raw) in INFOS.iter().zip(picked.members) {
            keep_usage(evidence, name, raw);
        }
    }
    let id = metadata.and_then(|raw| pick_in(raw, ["request_id"]));
    keep_response_text(evidence, "id", id.and_then(|picked| picked.members[0]));
}

pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(line) = intelligence(evidence) {
        return UsageDraft {
            lines: vec![line],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
    }
    listen::unreported(evidence)
}

/// The tokens of all features together, when any counted some.
pub(super) fn intelligence(evidence: &Evidence) -> Option<Line> {
    let mut usage = Usage::new();
    for object in INFOS.iter().filter_map(|name| evidence.object(name)) {
        let mut counted = Counted::new(object);
        for (meter, name) in [
            (Meter::InputTokens, "input_tokens"),
            (Meter::OutputTokens, "output_tokens"),
        ] {
            let Some(count) = counted.count(&[name]) else {
                continue;
            };
            let before = usage.quantity(meter);
            let sum = match before {
                Some(before) => before.checked_add(count.into()),
                None => Some(count.into()),
            };
            if let Some(sum) = sum {
                usage.set(meter, sum);
            }
        }
    }
    (!usage.is_empty()).then(|| Line {
        model: MODEL.to_owned(),
        usage,
        ..Line::default()
    })
}
