//! DeepSeek: OpenAI's dialect, with cache hits and misses counted at the top of the usage object.
//!
//! While a call is queued it sends comments, or empty lines before a body. Its prices depend on the
//! hour, which the card knows.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use crate::provider::Verb::Get;
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::facts::Counted;
use crate::providers::openai::{self, chat};
use crate::providers::{compatible, free};

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
    deep_chat("/chat/completions"),
    deep_chat("/v1/chat/completions"),
    deep_chat("/beta/chat/completions"),
    deep_chat("/beta/v1/chat/completions"),
    Endpoint {
        usage_of,
        ..openai::completions("/beta/completions")
    },
    Endpoint {
        usage_of,
        ..openai::completions("/beta/v1/completions")
    },
    // Nothing of them is stored.
    openai::responses("/responses", Keeps::Nothing),
    openai::responses("/v1/responses", Keeps::Nothing),
    crate::providers::anthropic::messages("/anthropic/v1/messages"),
    free(Get, "/models"),
    free(Get, "/v1/models"),
];

const fn deep_chat(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of,
        ..openai::chat(path)
    }
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = chat::usage_of(evidence);
    let hit = evidence
        .object("usage")
        .and_then(|object| Counted::new(object).count(&["prompt_cache_hit_tokens"]));
    compatible::take_cached(&mut draft, hit);
    draft
}
