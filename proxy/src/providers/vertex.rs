//! Vertex: Gemini's shapes under a project and a place, and Claude's messages behind raw predictions.
//!
//! The place of the path decides prices: every one but `global` is `geo=regional`.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use crate::provider::Verb::{Delete, Get, Patch, Post};
use crate::provider::{Asked, Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::anthropic;
use crate::providers::gemini::{
    self, cache, embeddings, generate, generate_stream, path, predict, predict_long,
};
use crate::providers::{free, metered_unread, openai, state, state_unread};

/// Google Cloud's API for models.
pub static PROVIDER: Provider = Provider {
    name: "vertex",
    // `https://{location}-aiplatform.googleapis.com`, or without a location for `global`.
    base_url: "",
    credential: Credential::Bearer,
    credential_env: "VERTEX_API_KEY",
    endpoints: &ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-goog-request-id",
    error_content_type: "application/json",
    error_body: gemini::error_body,
    cut_event: gemini::cut_event,
};

/// Claude behind a raw prediction: the model is in the path.
const fn claude(path: &'static str) -> Endpoint {
    Endpoint {
        request_facts: claude_facts,
        usage_of: claude_usage,
        ..anthropic::messages(path)
    }
}

fn claude_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    anthropic::messages::request_facts(evidence, asked);
    path::keep(evidence, asked);
}

fn claude_usage(evidence: &Evidence) -> UsageDraft {
    placed(evidence, anthropic::messages::usage_of(evidence))
}

fn chat_usage(evidence: &Evidence) -> UsageDraft {
    placed(evidence, (gemini::compatible_chat("").usage_of)(evidence))
}

fn placed(evidence: &Evidence, mut draft: UsageDraft) -> UsageDraft {
    let place = gemini::generate::place(evidence);
    for line in &mut draft.lines {
        line.conditions.extend(place.clone());
    }
    draft
}

static ENDPOINTS: [Endpoint; 39] = [
    generate(
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:generateContent",
    ),
    generate_stream(
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:streamGenerateContent",
    ),
    free(
        Post,
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:countTokens",
    ),
    free(
        Post,
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:computeTokens",
    ),
    embeddings(
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:embedContent",
    ),
    predict("/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:predict"),
    predict_long(
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:predictLongRunning",
    ),
    fetch_operation(
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}:fetchPredictOperation",
    ),
    gemini::operation(
        Get,
        "/v*/projects/{project}/locations/{location}/publishers/google/models/{model}/operations/{id}",
    ),
    // With an API key a call may leave out project and place.
    generate("/v*/publishers/google/models/{model}:generateContent"),
    generate_stream("/v*/publishers/google/models/{model}:streamGenerateContent"),
    free(Post, "/v*/publishers/google/models/{model}:countTokens"),
    embeddings("/v*/publishers/google/models/{model}:embedContent"),
    predict("/v*/publishers/google/models/{model}:predict"),
    predict_long("/v*/publishers/google/models/{model}:predictLongRunning"),
    fetch_operation("/v*/publishers/google/models/{model}:fetchPredictOperation"),
    // Models of one's own.
    generate("/v*/projects/{project}/locations/{location}/endpoints/{model}:generateContent"),
    generate_stream(
        "/v*/projects/{project}/locations/{location}/endpoints/{model}:streamGenerateContent",
    ),
    free(
        Post,
        "/v*/projects/{project}/locations/{location}/endpoints/{model}:countTokens",
    ),
    metered_unread(
        Post,
        "/v*/projects/{project}/locations/{location}/endpoints/{model}:predict",
        Kind::Other,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/v*/projects/{project}/locations/{location}/endpoints/{model}:rawPredict",
        Kind::Other,
        Keeps::Nothing,
    ),
    // Claude. Counting is a model of its own.
    free(
        Post,
        "/v*/projects/{project}/locations/{location}/publishers/anthropic/models/count-tokens:rawPredict",
    ),
    claude(
        "/v*/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:rawPredict",
    ),
    claude(
        "/v*/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:streamRawPredict",
    ),
    // Models of others, each in a dialect of its own.
    metered_unread(
        Post,
        "/v*/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}:rawPredict",
        Kind::Other,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/v*/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}:streamRawPredict",
        Kind::Other,
        Keeps::Nothing,
    ),
    Endpoint {
        request_facts: chat_facts,
        usage_of: chat_usage,
        ..gemini::compatible_chat(
            "/v*/projects/{project}/locations/{location}/endpoints/openapi/chat/completions",
        )
    },
    free(
        Get,
        "/v*/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}",
    ),
    free(Get, "/v*/publishers/{publisher}/models"),
    free(Get, "/v*/publishers/{publisher}/models/{model}"),
    // Caches.
    cache("/v*/projects/{project}/locations/{location}/cachedContents"),
    state(
        Get,
        "/v*/projects/{project}/locations/{location}/cachedContents",
        Keeps::List,
    ),
    state(
        Get,
        "/v*/projects/{project}/locations/{location}/cachedContents/{id}",
        Keeps::Item,
    ),
    state_unread(
        Patch,
        "/v*/projects/{project}/locations/{location}/cachedContents/{id}",
        Keeps::Item,
        Kind::Other,
    ),
    state(
        Delete,
        "/v*/projects/{project}/locations/{location}/cachedContents/{id}",
        Keeps::Item,
    ),
    // Batches: their results go to the caller's own storage.
    metered_unread(
        Post,
        "/v*/projects/{project}/locations/{location}/batchPredictionJobs",
        Kind::Batch,
        Keeps::Creates,
    ),
    state(
        Get,
        "/v*/projects/{project}/locations/{location}/batchPredictionJobs/{id}",
        Keeps::Item,
    ),
    gemini::live("/ws/{service}"),
    gemini::live("/ws/{service}/{method}"),
];

/// A fetch whose operation stands in its body, so that the path cannot say whose it is.
const fn fetch_operation(path: &'static str) -> Endpoint {
    Endpoint {
        keeps: Keeps::Told("operationName"),
        ..gemini::operation(Post, path)
    }
}

/// The model is the body's; what stands in the path is the endpoint `openapi`.
fn chat_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    (openai::chat("").request_facts)(evidence, asked);
    path::keep_location(evidence, asked);
}
