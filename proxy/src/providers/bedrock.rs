//! Bedrock: converse and invoke, at once or as AWS event streams; with an API key as bearer.
//!
//! Models stand in the path. What a vendor's model is called there is what is billed.

use farebox_pricing::event::EndpointKind as Kind;

use crate::framing::aws;
use crate::provider::Verb::{Get, Post};
use crate::provider::{Credential, Endpoint, ErrorText, Keeps, Provider, StreamUsage};
use crate::providers::{anthropic, free, metered_unread, openai, state};

mod converse;
mod invoke;
mod path;
mod pieces;

/// Amazon's API for models.
pub static PROVIDER: Provider = Provider {
    name: "bedrock",
    // `https://bedrock-runtime.{region}.amazonaws.com`.
    base_url: "",
    credential: Credential::Bearer,
    credential_env: "BEDROCK_API_KEY",
    endpoints: &ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-amzn-requestid",
    error_content_type: "application/json",
    error_body,
    // Of the route in OpenAI's dialect; its own streams are cut by a message.
    cut_event: openai::cut_event,
};

const fn converse(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Chat,
        is_read: true,
        request_facts: converse::request_facts,
        glance: converse::glance,
        answer_headers: invoke::ANSWER_HEADERS,
        collect: converse::collect,
        usage_of: converse::usage_of,
        ..Endpoint::DEFAULT
    }
}

const fn invoke(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Messages,
        is_read: true,
        request_facts: invoke::request_facts,
        glance: invoke::glance,
        answer_headers: invoke::ANSWER_HEADERS,
        collect: invoke::collect,
        usage_of: invoke::usage_of,
        ..Endpoint::DEFAULT
    }
}

static ENDPOINTS: [Endpoint; 13] = [
    converse("/model/{model+}/converse"),
    converse("/model/{model+}/converse-stream"),
    invoke("/model/{model+}/invoke"),
    invoke("/model/{model+}/invoke-with-response-stream"),
    free(Post, "/model/{model+}/count-tokens"),
    metered_unread(
        Post,
        "/model/{model+}/invoke-with-bidirectional-stream",
        Kind::Realtime,
        Keeps::Nothing,
    ),
    metered_unread(
        Post,
        "/guardrail/{guardrail+}/version/{version}/apply",
        Kind::Other,
        Keeps::Nothing,
    ),
    // Results go to the caller's own storage.
    metered_unread(Post, "/async-invoke", Kind::Video, Keeps::Creates),
    state(Get, "/async-invoke", Keeps::List),
    state(Get, "/async-invoke/{id+}", Keeps::Item),
    // In the dialects of others, the first of them at a host of its own.
    anthropic::messages("/anthropic/v1/messages"),
    free(Post, "/anthropic/v1/messages/count_tokens"),
    openai::chat("/openai/v1/chat/completions"),
];

/// The client picks its error by `__type`; `reason` is ours beside it.
fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({
        "__type": aws::exception_name(error.status),
        "message": error.message,
        "reason": error.code,
    })
    .to_string()
    .into_bytes()
}
