//! What Bedrock bills by the piece: pictures, and the searches of models that rank documents. Neither
//! has counts of its own.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{Raw, items, pick};
use crate::provider::Asked;
use crate::providers::facts::{self, is_set, member, request_count, response_count};

/// The fact of a request that counts what is to be ranked.
const DOCUMENTS: &str = "documents";
/// The fact of how much of the request was held to be counted.
const HELD: &str = "held_bytes";
/// The fact of an answer that counts its pictures.
const IMAGES: &str = "images";
/// The fact of an answer that ranked documents.
const RANKED: &str = "ranked";
/// A search ranks as many.
const DOCUMENTS_PER_SEARCH: u64 = 100;

/// What is to be ranked.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else {
        return;
    };
    let documents = pick(body, [DOCUMENTS]).and_then(|picked| picked.members[0]);
    if let Some(documents) = documents {
        let count = items(documents).count() as u64;
        evidence.request.insert(DOCUMENTS, count);
        evidence.request.insert(HELD, body.len() as u64);
    }
}

/// Notes the pictures and the places of an answer.
pub(super) fn collect(evidence: &mut Evidence, images: Option<Raw<'_>>, results: Option<Raw<'_>>) {
    let pictures = images.into_iter().flat_map(items).count() as u64;
    if pictures > 0 {
        evidence.response.insert(IMAGES, pictures);
    }
    let first = results.and_then(|results| items(results).next());
    if member(first, "relevance_score").is_some() {
        evidence.response.insert(RANKED, true);
    }
}

/// The line of one answer; `None` where it has no pieces.
pub(super) fn usage_of(evidence: &Evidence) -> Option<UsageDraft> {
    let of = |meter, count: u64| Usage::from_iter([(meter, count.into())]);
    let line = |usage| Line {
        model: facts::model(evidence),
        usage,
        ..Line::default()
    };
    if let Some(pictures) = response_count(evidence, IMAGES) {
        return Some(UsageDraft {
            lines: vec![line(of(Meter::Images, pictures))],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        });
    }
    // A request that was not held whole says less than there were.
    let held = request_count(evidence, HELD)?;
    let documents = request_count(evidence, DOCUMENTS)?;
    if !is_set(evidence, RANKED) || held != evidence.counts.request_bytes {
        return None;
    }
    let searches = of(
        Meter::Searches,
        documents.div_ceil(DOCUMENTS_PER_SEARCH).max(1),
    );
    Some(UsageDraft {
        lines: vec![line(searches.clone())],
        source: UsageSource::Measured,
        reason: None,
        low: Some(searches.clone()),
        high: Some(searches),
    })
}
