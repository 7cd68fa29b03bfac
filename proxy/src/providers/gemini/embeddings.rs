//! Gemini's embeddings: counted by newer models, by Vertex within each embedding, and not at all by
//! older ones, where a quarter of the request's bytes is taken.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::generate::{note_error, place, tokens};
use super::path;
use crate::framing::Frame;
use crate::framing::json::{Raw, items, pick, pick_in};
use crate::provider::Asked;
use crate::providers::facts::{self, Counted, keep_usage};

/// The model of the path.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
}

/// Keeps the counts of the whole, or adds up those of each embedding.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = [
        "usageMetadata",
        "embeddings",
        "predictions",
        "error",
        "embedding",
    ];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [usage, embeddings, predictions, error, one] = picked.members;
    keep_usage(evidence, "usageMetadata", usage);
    let several = embeddings.into_iter().chain(predictions).flat_map(items);
    let (mut count, mut sum) = (0u64, None);
    for item in several {
        count += 1;
        if let Some(tokens) = token_count(item) {
            sum = Some(sum.unwrap_or(0u64).saturating_add(tokens));
        }
    }
    evidence
        .response
        .insert("embeddings", count + u64::from(one.is_some()));
    let sum = sum.and_then(|sum| Kept::of(&format!("{{\"promptTokenCount\":{sum}}}")));
    if let Some(sum) = sum.filter(|_| usage.is_none()) {
        evidence.replace_object("usageMetadata", sum);
    }
    note_error(evidence, error);
    evidence.response.insert("finished", true);
}

/// `statistics.token_count` of an embedding, or of the one inside a prediction.
fn token_count(item: Raw<'_>) -> Option<u64> {
    let [statistics, inner] = pick_in(item, ["statistics", "embeddings"])?.members;
    let statistics = match statistics {
        Some(statistics) => statistics,
        None => pick_in(inner?, ["statistics"])?.members[0]?,
    };
    let [snake, camel] = pick_in(statistics, ["token_count", "tokenCount"])?.members;
    let count = Kept::of(snake.or(camel)?.get())?;
    count.json().count()
}

/// The line of the embeddings.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let line = |usage| Line {
        model: facts::model(evidence),
        conditions: place(evidence),
        usage,
    };
    if let Some(object) = evidence.object("usageMetadata") {
        let mut counted = Counted::new(object);
        if let Some(usage) = tokens(&mut counted) {
            return UsageDraft {
                lines: vec![line(usage)],
                source: UsageSource::Reported,
                reason: counted.is_clamped.then_some("negative_clamped"),
                ..UsageDraft::default()
            };
        }
    }
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let bytes = evidence.counts.request_bytes;
    let input = |count: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::InputTokens, count);
        usage
    };
    let reason = facts::why_no_usage(evidence);
    let made = facts::response_count(evidence, "embeddings").unwrap_or(0);
    if made == 0 {
        return facts::missing(reason, Some(input(0)), Some(input(bytes)));
    }
    let low = made.min(bytes);
    UsageDraft {
        lines: vec![line(input((bytes / facts::BYTES_PER_TOKEN).max(low)))],
        source: UsageSource::Estimated,
        reason: Some(reason),
        low: Some(input(low)),
        high: Some(input(bytes)),
    }
}
