//! Anthropic: messages in JSON and as a stream; its other routes by class.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, ErrorText, Keeps, Provider, StreamUsage};
use crate::providers::{free, metered_unread, state, state_unread};

mod messages;

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

static ENDPOINTS: [Endpoint; 17] = [
    messages("/v1/messages"),
    free(Post, "/v1/messages/count_tokens"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    metered_unread(Post, "/v1/complete", Kind::Completions, Keeps::Nothing),
    metered_unread(Post, "/v1/messages/batches", Kind::Batch, Keeps::Creates),
    state(Get, "/v1/messages/batches", Keeps::List),
    state(Get, "/v1/messages/batches/{id}", Keeps::Item),
    state(Delete, "/v1/messages/batches/{id}", Keeps::Item),
    state(Post, "/v1/messages/batches/{id}/cancel", Keeps::Item),
    state_unread(
        Get,
        "/v1/messages/batches/{id}/results",
        Keeps::Item,
        Kind::Batch,
    ),
    state(Post, "/v1/files", Keeps::Creates),
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
