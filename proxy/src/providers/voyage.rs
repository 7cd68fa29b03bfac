//! Voyage: embeddings and reranking, billed by the token; pictures and films count as the tokens that
//! their pixels make.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::pick;
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, ErrorText, Glance, Keeps, Provider, StreamUsage};
use crate::providers::facts::{self, BYTES_PER_TOKEN, Counted, keep_response_text, keep_usage};
use crate::providers::{compatible, openai, state};

/// Voyage's own API.
pub static PROVIDER: Provider = Provider {
    name: "voyage",
    base_url: "https://api.voyageai.com",
    credential: Credential::Bearer,
    credential_env: "VOYAGE_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event: |_| None,
};

const ENDPOINTS: &[Endpoint] = &[
    embeddings("/v1/embeddings", Kind::Embeddings),
    embeddings("/v1/contextualizedembeddings", Kind::Embeddings),
    embeddings("/v1/multimodalembeddings", Kind::Embeddings),
    embeddings("/v1/rerank", Kind::Rerank),
    // Batches are OpenAI's; each result tells its model and its tokens as the endpoint itself would.
    openai::batch("/v1/batches"),
    state(Get, "/v1/batches", Keeps::List),
    openai::stored_batch(Get, "/v1/batches/{id}"),
    openai::stored_batch(Post, "/v1/batches/{id}/cancel"),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    openai::file_content("/v1/files/{id}/content"),
];

const fn embeddings(path: &'static str, kind: Kind) -> Endpoint {
    Endpoint {
        path,
        kind,
        is_read: true,
        request_facts: facts::model_of_request,
        glance: |_| Glance::Telling,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["model", "usage"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    keep_response_text(evidence, "model", picked.members[0]);
    keep_usage(evidence, "usage", picked.members[1]);
    evidence.response.insert("finished", true);
}

/// All tokens; where text is counted apart, the rest is what pixels made.
fn usage_of(evidence: &Evidence) -> UsageDraft {
    let line = |usage: Usage| Line {
        model: facts::model(evidence),
        usage,
        ..Line::default()
    };
    let of = |count: u64| Usage::from_iter([(Meter::InputTokens, count.into())]);
    let mut counted = evidence.object("usage").map(Counted::new);
    let total = counted
        .as_mut()
        .and_then(|counted| counted.count(&["total_tokens"]));
    if let (Some(counted), Some(total)) = (&mut counted, total) {
        let text = counted.count(&["text_tokens"]);
        let text = text.map_or(total, |text| counted.within(text, total));
        let mut usage = of(text);
        if total > text {
            usage.set(Meter::InputImageTokens, total - text);
        }
        return UsageDraft {
            lines: vec![line(usage)],
            source: UsageSource::Reported,
            reason: counted.is_clamped.then_some(compatible::CLAMPED),
            low: None,
            high: None,
        };
    }
    facts::refused(evidence).unwrap_or_else(|| {
        let bytes = evidence.counts.request_bytes;
        let estimate = || line(of(bytes / BYTES_PER_TOKEN));
        facts::unreported(evidence, estimate, of(0), of(bytes))
    })
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({"detail": error.message, "code": error.code})
        .to_string()
        .into_bytes()
}
