//! Moonshot: OpenAI's dialect; a stream reports usage inside its last choice, and cached input stands
//! at the top of the usage object.

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::{compatible, free, openai, state};

/// Moonshot's own API.
pub static PROVIDER: Provider = Provider {
    name: "moonshot",
    base_url: "https://api.moonshot.ai",
    credential: Credential::Bearer,
    credential_env: "MOONSHOT_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "msh-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    compatible::chat("/v1/chat/completions"),
    crate::providers::anthropic::messages("/anthropic/v1/messages"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    free(Post, "/v1/tokenizers/estimate-token-count"),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    state(Get, "/v1/files/{id}/content", Keeps::Item),
];
