//! OpenAI's embeddings: input tokens and nothing else.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Meter, Usage, UsageDraft, UsageSource};

use super::{chat, tokens};
use crate::framing::Frame;
use crate::provider::Glance;
use crate::providers::facts::{self, BYTES_PER_TOKEN, Counted};

/// Its answers are no event streams.
pub(crate) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Keeps usage and model of a body.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    chat::collect_with(frame, evidence, glance);
}

/// The line of one call. Servers of the dialect report completion tokens of zero; there are none, and
/// where only a total is told it is all input.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let reported = evidence.object("usage").and_then(|object| {
        let mut counted = Counted::new(object);
        let usage = tokens::usage(&mut counted, tokens::TEXT).or_else(|| {
            let total = counted.count(&["total_tokens"])?;
            Some(Usage::from_iter([(Meter::InputTokens, total.into())]))
        })?;
        let usage: Usage = usage
            .iter()
            .filter(|(meter, count)| *meter != Meter::OutputTokens || !count.is_zero())
            .collect();
        Some(UsageDraft {
            reason: counted.is_clamped.then_some("negative_clamped"),
            lines: vec![tokens::line(evidence, usage)],
            source: UsageSource::Reported,
            low: None,
            high: None,
        })
    });
    if let Some(draft) = reported.or_else(|| facts::refused(evidence)) {
        return draft;
    }
    let of = |count: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::InputTokens, count);
        usage
    };
    let bytes = evidence.counts.request_bytes;
    let estimate = || tokens::line(evidence, of(bytes / BYTES_PER_TOKEN));
    facts::unreported(evidence, estimate, of(0), of(bytes))
}
