//! Together: OpenAI's dialect; usage in the last chunk, by some endpoints in every one.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::{
    compatible, free, images, metered_unread, openai, speech, state, state_unread,
};

/// Together's own API.
pub static PROVIDER: Provider = Provider {
    name: "together",
    base_url: "https://api.together.xyz",
    credential: Credential::Bearer,
    credential_env: "TOGETHER_API_KEY",
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
    openai::embeddings("/v1/embeddings"),
    Endpoint {
        kind: Kind::Rerank,
        ..openai::embeddings("/v1/rerank")
    },
    images::listed("/v1/images/generations"),
    openai::speech("/v1/audio/speech"),
    speech::transcription("/v1/audio/transcriptions"),
    speech::transcription("/v1/audio/translations"),
    metered_unread(Post, "/v2/videos", Kind::Video, Keeps::Creates),
    state_unread(Get, "/v2/videos/{id}", Keeps::Item, Kind::Video),
    free(Get, "/v1/models"),
    free(Get, "/v1/voices"),
    openai::batch("/v1/batches"),
    state(Get, "/v1/batches", Keeps::List),
    openai::stored_batch(Get, "/v1/batches/{id}"),
    openai::stored_batch(Post, "/v1/batches/{id}/cancel"),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    openai::file_content("/v1/files/{id}/content"),
];
