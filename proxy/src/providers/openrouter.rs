//! OpenRouter: OpenAI's dialect; usage is always sent and carries what the call costs, in US dollars.
//!
//! With the caller's own key at the serving vendor that amount is the vendor's fee alone.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Meter, UsageDraft};

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::facts::Counted;
use crate::providers::openai::{self, chat, completions, embeddings, responses};
use crate::providers::{compatible, escape, free, state};

/// OpenRouter's own API.
pub static PROVIDER: Provider = Provider {
    name: "openrouter",
    base_url: "https://openrouter.ai",
    credential: Credential::Bearer,
    credential_env: "OPENROUTER_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-generation-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    routed_chat("/api/v1/chat/completions"),
    // For a base URL that has the prefix already.
    routed_chat("/v1/chat/completions"),
    Endpoint {
        usage_of: |evidence| with_cost(evidence, completions::usage_of(evidence)),
        ..compatible::completions("/api/v1/completions")
    },
    Endpoint {
        usage_of: |evidence| with_cost(evidence, embeddings::usage_of(evidence)),
        ..openai::embeddings("/api/v1/embeddings")
    },
    Endpoint {
        usage_of: |evidence| with_cost(evidence, responses::usage_of(evidence)),
        ..openai::responses("/api/v1/responses", Keeps::Creates)
    },
    decisions("/api/v1/decisions"),
    // Its name before that one.
    decisions("/api/alpha/decisions"),
    crate::providers::anthropic::messages("/api/v1/messages"),
    // Costs and tokens of any call by its id, which stands in the query.
    state(Get, "/api/v1/generation", Keeps::List),
    free(Get, "/api/v1/models"),
    free(Get, "/api/v1/models/count"),
    free(Get, "/api/v1/models/user"),
    free(Get, "/api/v1/models/{author}/{slug}/endpoints"),
    free(Get, "/api/v1/embeddings/models"),
    free(Get, "/api/v1/providers"),
    free(Get, "/api/v1/endpoints/zdr"),
    escape(Post, "/api/v1/auth/keys"),
    escape(Post, "/api/v1/keys"),
    escape(Delete, "/api/v1/keys/{hash}"),
];

const fn routed_chat(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: |evidence| with_cost(evidence, chat::usage_of(evidence)),
        ..compatible::chat(path)
    }
}

const fn decisions(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: |evidence| with_cost(evidence, responses::usage_of(evidence)),
        ..openai::responses(path, Keeps::Nothing)
    }
}

/// Where the tools that it ran itself are counted.
const TOOLS: [&str; 2] = ["server_tool_use", "server_tool_use_details"];

fn with_cost(evidence: &Evidence, mut draft: UsageDraft) -> UsageDraft {
    let Some(object) = evidence.object("usage") else {
        return draft;
    };
    let mut counted = Counted::new(object);
    let searches = TOOLS
        .iter()
        .find_map(|tools| counted.count(&[tools, "web_search_requests"]));
    if let (Some(searches), Some(line)) =
        (searches.filter(|count| *count > 0), draft.lines.first_mut())
    {
        line.usage.set(Meter::WebSearches, searches);
    }
    compatible::set_amount(&mut draft, compatible::amount(Some(object), &["cost"]));
    if object.get("is_byok").and_then(Json::bool) == Some(true) {
        draft.reason = draft.reason.or(Some("byok_fee_only"));
    }
    draft
}
