//! Deepgram: speech to text, text to speech and text intelligence over HTTP; its other routes by class.
//!
//! Projects, keys, usage and balances are administration and therefore not listed.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Get, Post};
use crate::provider::{Credential, Endpoint, ErrorText, Provider, StreamUsage};
use crate::providers::{escape, free, socket};

mod agent_socket;
mod listen;
mod listen_socket;
mod read;
mod speak;
mod speak_socket;

/// Where agents are spoken to.
const AGENT: Option<&str> = Some("https://agent.deepgram.com");

/// Deepgram's own API.
pub static PROVIDER: Provider = Provider {
    name: "deepgram",
    base_url: "https://api.deepgram.com",
    credential: Credential::Token,
    credential_env: "DEEPGRAM_API_KEY",
    endpoints: &ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "dg-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

static ENDPOINTS: [Endpoint; 13] = [
    Endpoint {
        path: "/v1/listen",
        kind: Kind::Listen,
        is_read: true,
        request_facts: listen::request_facts,
        glance: listen::glance,
        collect: listen::collect,
        usage_of: listen::usage_of,
        ..Endpoint::DEFAULT
    },
    speak::at("/v1/speak"),
    speak::at("/v2/speak"),
    Endpoint {
        path: "/v1/read",
        kind: Kind::Other,
        is_read: true,
        request_facts: read::request_facts,
        glance: listen::glance,
        collect: read::collect,
        usage_of: read::usage_of,
        ..Endpoint::DEFAULT
    },
    socket(
        "/v1/listen",
        Kind::Listen,
        &listen_socket::V1,
        listen_socket::request_facts,
        listen_socket::usage_of_v1,
    ),
    socket(
        "/v2/listen",
        Kind::Listen,
        &listen_socket::V2,
        listen_socket::request_facts,
        listen_socket::usage_of_v2,
    ),
    socket(
        "/v1/speak",
        Kind::Speak,
        &speak_socket::SOCKET,
        speak_socket::request_facts,
        speak_socket::usage_of,
    ),
    socket(
        "/v2/speak",
        Kind::Speak,
        &speak_socket::SOCKET,
        speak_socket::request_facts,
        speak_socket::usage_of,
    ),
    Endpoint {
        base_url: AGENT,
        ..socket(
            "/v1/agent/converse",
            Kind::Agent,
            &agent_socket::SOCKET,
            |_, _| {},
            agent_socket::usage_of,
        )
    },
    Endpoint {
        base_url: AGENT,
        ..free(Get, "/v1/agent/settings/think/models")
    },
    escape(Post, "/v1/auth/grant"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
];

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({
        "err_code": error.code,
        "err_msg": error.message,
        "request_id": error.request_id,
    })
    .to_string()
    .into_bytes()
}

/// Its answers over HTTP are no event streams.
fn cut_event(_error: &ErrorText<'_>) -> Option<Vec<u8>> {
    None
}
