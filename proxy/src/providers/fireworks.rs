//! Fireworks: OpenAI's dialect under `/inference/v1`; cached input stands in the usage or in a header.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::openai::{self, chat, completions};
use crate::providers::{compatible, free, images, metered_unread, spoken, state};

/// Fireworks' own API.
pub static PROVIDER: Provider = Provider {
    name: "fireworks",
    base_url: "https://api.fireworks.ai",
    credential: Credential::Bearer,
    credential_env: "FIREWORKS_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

/// Tokens of the prompt that a cache served.
const CACHED: &str = "fireworks-cached-prompt-tokens";
const HEADERS: &[&str] = &["fireworks-prompt-tokens", CACHED];

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        answer_headers: HEADERS,
        usage_of: |evidence| with_cached(evidence, chat::usage_of(evidence)),
        ..compatible::chat("/inference/v1/chat/completions")
    },
    Endpoint {
        answer_headers: HEADERS,
        usage_of: |evidence| with_cached(evidence, completions::usage_of(evidence)),
        ..compatible::completions("/inference/v1/completions")
    },
    openai::embeddings("/inference/v1/embeddings"),
    Endpoint {
        kind: Kind::Rerank,
        ..openai::embeddings("/inference/v1/rerank")
    },
    openai::responses("/inference/v1/responses", Keeps::Creates),
    openai::stored_response(Get, "/inference/v1/responses/{id}"),
    state(Delete, "/inference/v1/responses/{id}", Keeps::Item),
    crate::providers::anthropic::messages("/inference/v1/messages"),
    images::by_path("/inference/v1/workflows/accounts/{account}/models/{model}/text_to_image"),
    images::by_path("/inference/v1/image_generation/accounts/{account}/models/{model}"),
    metered_unread(
        Post,
        "/inference/v1/workflows/accounts/{account}/models/{model}",
        Kind::Image,
        Keeps::Nothing,
    ),
    free(Get, "/inference/v1/models"),
    free(Get, "/inference/v1/models/{model}"),
];

fn with_cached(evidence: &Evidence, mut draft: UsageDraft) -> UsageDraft {
    compatible::take_cached(&mut draft, spoken::header_count(evidence, CACHED));
    draft
}
