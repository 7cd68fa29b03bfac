//! DeepSeek: OpenAI's dialect, with cache hits and misses counted at the top of the usage object too.
//!
//! While a call is queued it sends comments, or empty lines before a body. Its prices depend on the
//! hour, which the card knows.

use crate::provider::Verb::Get;
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::{free, openai};

/// DeepSeek's own API.
pub static PROVIDER: Provider = Provider {
    name: "deepseek",
    base_url: "https://api.deepseek.com",
    credential: Credential::Bearer,
    credential_env: "DEEPSEEK_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-ds-trace-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    openai::chat("/chat/completions"),
    openai::chat("/v1/chat/completions"),
    openai::chat("/beta/chat/completions"),
    openai::chat("/beta/v1/chat/completions"),
    openai::completions("/beta/completions"),
    openai::completions("/beta/v1/completions"),
    // Nothing of them is stored.
    openai::responses("/responses", Keeps::Nothing),
    openai::responses("/v1/responses", Keeps::Nothing),
    crate::providers::anthropic::messages("/anthropic/v1/messages"),
    free(Get, "/models"),
    free(Get, "/v1/models"),
];
