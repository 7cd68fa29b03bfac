//! OpenAI: chat completions in JSON and as a stream; its other routes by class.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, ErrorText, Keeps, Provider, StreamUsage};
use crate::providers::{escape, free, metered_unread, state, state_unread};

mod chat;

/// OpenAI, and every host that speaks its dialect.
pub static PROVIDER: Provider = Provider {
    name: "openai",
    base_url: "https://api.openai.com",
    credential: Credential::Bearer,
    credential_env: "OPENAI_API_KEY",
    endpoints: &ENDPOINTS,
    stream_usage_default: StreamUsage::Ask,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

const fn chat(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Chat,
        is_read: true,
        amend_request: Some(crate::amend::ask_for_stream_usage),
        request_facts: chat::request_facts,
        glance: chat::glance,
        collect: chat::collect,
        usage_of: chat::usage_of,
        ..Endpoint::DEFAULT
    }
}

static ENDPOINTS: [Endpoint; 76] = [
    chat("/v1/chat/completions"),
    chat("/chat/completions"),
    metered_unread(Post, "/v1/completions", Kind::Completions, Keeps::Nothing),
    metered_unread(Post, "/completions", Kind::Completions, Keeps::Nothing),
    metered_unread(Post, "/v1/responses", Kind::Responses, Keeps::Creates),
    metered_unread(Get, "/v1/responses", Kind::Responses, Keeps::Nothing),
    free(Post, "/v1/responses/input_tokens"),
    metered_unread(
        Post,
        "/v1/responses/compact",
        Kind::Responses,
        Keeps::Nothing,
    ),
    metered_unread(Post, "/v1/decisions", Kind::Responses, Keeps::Nothing),
    metered_unread(Post, "/v1/embeddings", Kind::Embeddings, Keeps::Nothing),
    metered_unread(Post, "/embeddings", Kind::Embeddings, Keeps::Nothing),
    free(Post, "/v1/moderations"),
    metered_unread(
        Post,
        "/v1/audio/transcriptions",
        Kind::Transcription,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/audio/transcriptions",
        Kind::Transcription,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/v1/audio/translations",
        Kind::Transcription,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/audio/translations",
        Kind::Transcription,
        Keeps::Nothing,
    ),
    metered_unread(Post, "/v1/audio/speech", Kind::Speech, Keeps::Nothing),
    metered_unread(Post, "/audio/speech", Kind::Speech, Keeps::Nothing),
    metered_unread(Post, "/v1/images/generations", Kind::Image, Keeps::Nothing),
    metered_unread(Post, "/v1/images/edits", Kind::Image, Keeps::Nothing),
    metered_unread(Post, "/v1/images/variations", Kind::Image, Keeps::Nothing),
    // Sockets; the part of a call that is a handshake is listed, its reader is not built.
    metered_unread(Get, "/v1/realtime", Kind::Realtime, Keeps::Nothing),
    metered_unread(
        Get,
        "/v1/realtime/translations",
        Kind::Realtime,
        Keeps::Nothing,
    ),
    metered_unread(Get, "/v1/live/sessions", Kind::Realtime, Keeps::Nothing),
    escape(Post, "/v1/realtime/calls"),
    escape(Post, "/v1/realtime/client_secrets"),
    escape(Post, "/v1/realtime/sessions"),
    escape(Post, "/v1/realtime/transcription_sessions"),
    escape(Post, "/v1/realtime/translations/client_secrets"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    free(Get, "/models"),
    free(Get, "/models/{model}"),
    // Stored chat completions.
    state(Get, "/v1/chat/completions", Keeps::List),
    state(Get, "/v1/chat/completions/{id}", Keeps::Item),
    state(Post, "/v1/chat/completions/{id}", Keeps::Item),
    state(Delete, "/v1/chat/completions/{id}", Keeps::Item),
    state(Get, "/v1/chat/completions/{id}/messages", Keeps::Item),
    // Stored responses.
    state_unread(Get, "/v1/responses/{id}", Keeps::Item, Kind::Responses),
    state(Delete, "/v1/responses/{id}", Keeps::Item),
    state_unread(
        Post,
        "/v1/responses/{id}/cancel",
        Keeps::Item,
        Kind::Responses,
    ),
    state(Get, "/v1/responses/{id}/input_items", Keeps::Item),
    state(Post, "/v1/conversations", Keeps::Creates),
    state(Get, "/v1/conversations/{id}", Keeps::Item),
    state(Post, "/v1/conversations/{id}", Keeps::Item),
    state(Delete, "/v1/conversations/{id}", Keeps::Item),
    state(Get, "/v1/conversations/{id}/items", Keeps::Item),
    state(Post, "/v1/conversations/{id}/items", Keeps::Item),
    state(Get, "/v1/conversations/{id}/items/{item}", Keeps::Item),
    state(Delete, "/v1/conversations/{id}/items/{item}", Keeps::Item),
    // Files and batches.
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    state_unread(Get, "/v1/files/{id}/content", Keeps::Item, Kind::Batch),
    metered_unread(Post, "/v1/batches", Kind::Batch, Keeps::Creates),
    state(Get, "/v1/batches", Keeps::List),
    state_unread(Get, "/v1/batches/{id}", Keeps::Item, Kind::Batch),
    state_unread(Post, "/v1/batches/{id}/cancel", Keeps::Item, Kind::Batch),
    // Videos.
    metered_unread(Post, "/v1/videos", Kind::Video, Keeps::Creates),
    metered_unread(Post, "/v1/videos/edits", Kind::Video, Keeps::Creates),
    metered_unread(Post, "/v1/videos/extensions", Kind::Video, Keeps::Creates),
    state(Get, "/v1/videos", Keeps::List),
    state_unread(Get, "/v1/videos/{id}", Keeps::Item, Kind::Video),
    state(Delete, "/v1/videos/{id}", Keeps::Item),
    state_unread(Post, "/v1/videos/{id}/remix", Keeps::Item, Kind::Video),
    state(Get, "/v1/videos/{id}/content", Keeps::Item),
    // Threads.
    state(Post, "/v1/threads", Keeps::Creates),
    metered_unread(Post, "/v1/threads/runs", Kind::Other, Keeps::Creates),
    state(Get, "/v1/threads/{id}", Keeps::Item),
    state(Delete, "/v1/threads/{id}", Keeps::Item),
    state(Post, "/v1/threads/{id}/messages", Keeps::Item),
    state(Get, "/v1/threads/{id}/messages", Keeps::Item),
    state_unread(Post, "/v1/threads/{id}/runs", Keeps::Item, Kind::Other),
    state_unread(Get, "/v1/threads/{id}/runs/{run}", Keeps::Item, Kind::Other),
    state_unread(
        Post,
        "/v1/threads/{id}/runs/{run}/submit_tool_outputs",
        Keeps::Item,
        Kind::Other,
    ),
];

fn error_value(error: &ErrorText<'_>) -> serde_json::Value {
    let kind = match error.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    serde_json::json!({
        "error": {
            "message": error.message,
            "type": kind,
            "param": null,
            "code": error.code,
        }
    })
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    error_value(error).to_string().into_bytes()
}

/// The client raises on an event with `error`; there is no `[DONE]` after it.
fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    Some(format!("data: {}\n\n", error_value(error)).into_bytes())
}
