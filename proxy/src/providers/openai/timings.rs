//! What a local server times when nobody asked for its usage: how many tokens it read in, took from its
//! cache and made.
//!
//! A server that does not say how much came from its cache has read in less than the whole input.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Meter, Usage, UsageDraft, UsageSource};

use super::tokens;
use crate::framing::json::Raw;
use crate::providers::facts::{self, Counted, keep_usage};

/// The member, and where it stands in the evidence.
pub(super) const MEMBER: &str = "timings";
/// The reason of a row whose input leaves out what a cache served.
const CACHED_NOT_COUNTED: &str = "cached_input_not_counted";

/// Whether a chunk without output, as a stream's last one is, has them.
pub(super) fn are_in(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"\"timings\"").is_some()
}

/// Keeps those of an answer without usage.
pub(super) fn keep(evidence: &mut Evidence, timed: Option<Raw<'_>>) {
    if evidence.object("usage").is_none() {
        keep_usage(evidence, MEMBER, timed);
    }
}

/// The draft that they make.
pub(super) fn draft(evidence: &Evidence) -> Option<UsageDraft> {
    let is_whole = evidence.counts.is_complete || facts::is_set(evidence, "finished");
    let mut timed = Counted::new(evidence.object(MEMBER).filter(|_| is_whole)?);
    let mut of = |name| timed.count(&[name]);
    let (read, made) = (of("prompt_n")?, of("predicted_n")?);
    let cached = of("cache_n");
    let mut usage = facts::text_tokens(read, made);
    if let Some(cached) = cached {
        usage.set(Meter::CacheReadTokens, cached);
    }
    let draft = UsageDraft {
        lines: vec![tokens::line(evidence, usage.clone())],
        source: UsageSource::Reported,
        reason: timed.is_clamped.then_some("negative_clamped"),
        ..UsageDraft::default()
    };
    if cached.is_some() {
        return Some(draft);
    }
    let most = evidence.counts.request_bytes.max(read);
    let is_bounded = !evidence.request.is_set(tokens::UNBOUNDED_INPUT);
    let high = [(Meter::InputTokens, most), (Meter::OutputTokens, made)];
    Some(UsageDraft {
        source: UsageSource::Partial,
        reason: Some(CACHED_NOT_COUNTED),
        low: Some(usage),
        high: is_bounded.then(|| {
            let high = high.map(|(meter, count)| (meter, count.into()));
            Usage::from_iter(high)
        }),
        ..draft
    })
}
