//! Cerebras: OpenAI's dialect; a stream's last chunk reports usage and timings.

use crate::provider::Verb::Get;
use crate::provider::{Credential, Endpoint, Provider, StreamUsage};
use crate::providers::{compatible, free, openai};

/// Cerebras' own API.
pub static PROVIDER: Provider = Provider {
    name: "cerebras",
    base_url: "https://api.cerebras.ai",
    credential: Credential::Bearer,
    credential_env: "CEREBRAS_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    compatible::chat("/v1/chat/completions"),
    compatible::completions("/v1/completions"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
];
