//! Anthropic: messages in JSON and as a stream, batches of them, the completions before them; its
//! other routes by class.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Class, Credential, Endpoint, ErrorText, Form, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::{compatible, created, facts, free, state, sums};

mod batches;
mod complete;
pub(crate) mod messages;

/// Anthropic's own API.
pub static PROVIDER: Provider = Provider {
    name: "anthropic",
    base_url: "https://api.anthropic.com",
    credential: Credential::Header("x-api-key"),
    credential_env: "ANTHROPIC_API_KEY",
    endpoints: &ENDPOINTS,
    // Its streams report usage unasked.
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

/// Messages at a path.
pub(crate) const fn messages(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Messages,
        is_read: true,
        request_facts: messages::request_facts,
        glance: messages::glance,
        collect: messages::collect,
        usage_of: messages::usage_of,
        ..Endpoint::DEFAULT
    }
}

static ENDPOINTS: [Endpoint; 18] = [
    messages("/v1/messages"),
    // For clients of another dialect.
    compatible::chat("/v1/chat/completions"),
    free(Post, "/v1/messages/count_tokens"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    Endpoint {
        path: "/v1/complete",
        kind: Kind::Completions,
        is_read: true,
        request_facts: complete::request_facts,
        glance: complete::glance,
        collect: complete::collect,
        usage_of: complete::usage_of,
        ..Endpoint::DEFAULT
    },
    Endpoint {
        path: "/v1/messages/batches",
        kind: Kind::Batch,
        keeps: Keeps::Creates,
        is_read: true,
        collect: batches::collect_created,
        usage_of: facts::batch_created,
        ..Endpoint::DEFAULT
    },
    state(Get, "/v1/messages/batches", Keeps::List),
    state(Get, "/v1/messages/batches/{id}", Keeps::Item),
    state(Delete, "/v1/messages/batches/{id}", Keeps::Item),
    state(Post, "/v1/messages/batches/{id}/cancel", Keeps::Item),
    Endpoint {
        verb: Get,
        path: "/v1/messages/batches/{id}/results",
        kind: Kind::Batch,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        form: Form::Lines,
        request_facts: batches::request_facts,
        // Each line is a result.
        glance: |_| Glance::Telling,
        collect: batches::collect_results,
        usage_of: sums::usage_of,
        ..Endpoint::DEFAULT
    },
    created("/v1/files"),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    state(Get, "/v1/files/{id}/content", Keeps::Item),
    state(Post, "/v1/files/{id}/content", Keeps::Item),
];

/// The client picks its error by status; `code` is ours beside its own members.
fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    let kind = match error.status {
        400 | 408 | 431 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    };
    serde_json::json!({
        "type": "error",
        "error": {
            "type": kind,
            "message": error.message,
            "code": error.code,
        },
        "request_id": error.request_id,
    })
    .to_string()
    .into_bytes()
}

/// The client raises on `event: error`; it skips events without a name.
fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.extend_from_slice(&error_body(error));
    event.extend_from_slice(b"\n\n");
    Some(event)
}
