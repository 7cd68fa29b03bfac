//! Azure OpenAI: OpenAI's endpoints under a deployment's path or under `/openai/v1`.
//!
//! Each resource has a host of its own, so a base URL must be configured. The deployment stands for
//! the model until the answer names it.

use farebox_pricing::event::MODEL_BYTES_MAX;
use farebox_pricing::evidence::Evidence;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Asked, Class, Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::{compatible, escape, free, openai, state};

/// Azure OpenAI.
pub static PROVIDER: Provider = Provider {
    name: "azure",
    base_url: "",
    credential: Credential::Header("api-key"),
    credential_env: "AZURE_OPENAI_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Ask,
    request_id_header: "apim-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

/// Each reader under both kinds of paths.
static ENDPOINTS: &[Endpoint] = &[
    deployed_chat("/openai/deployments/{deployment}/chat/completions"),
    openai::chat("/openai/v1/chat/completions"),
    deployed_completions("/openai/deployments/{deployment}/completions"),
    openai::completions("/openai/v1/completions"),
    Endpoint {
        request_facts: |evidence, asked| {
            crate::providers::facts::model_of_request(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::embeddings("/openai/deployments/{deployment}/embeddings")
    },
    openai::embeddings("/openai/v1/embeddings"),
    deployed_transcription("/openai/deployments/{deployment}/audio/transcriptions"),
    deployed_transcription("/openai/deployments/{deployment}/audio/translations"),
    openai::transcription("/openai/v1/audio/transcriptions"),
    openai::transcription("/openai/v1/audio/translations"),
    Endpoint {
        request_facts: |evidence, asked| {
            openai::speech::request_facts(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::speech("/openai/deployments/{deployment}/audio/speech")
    },
    openai::speech("/openai/v1/audio/speech"),
    deployed_images("/openai/deployments/{deployment}/images/generations"),
    deployed_images("/openai/deployments/{deployment}/images/edits"),
    openai::images("/openai/v1/images/generations"),
    openai::images("/openai/v1/images/edits"),
    openai::responses("/openai/responses", Keeps::Creates),
    openai::stored_response(Get, "/openai/responses/{id}"),
    openai::stored_response(Post, "/openai/responses/{id}/cancel"),
    state(Delete, "/openai/responses/{id}", Keeps::Item),
    state(Get, "/openai/responses/{id}/input_items", Keeps::Item),
    openai::responses("/openai/v1/responses", Keeps::Creates),
    free(Post, "/openai/v1/responses/input_tokens"),
    openai::responses("/openai/v1/responses/compact", Keeps::Nothing),
    openai::stored_response(Get, "/openai/v1/responses/{id}"),
    openai::stored_response(Post, "/openai/v1/responses/{id}/cancel"),
    state(Delete, "/openai/v1/responses/{id}", Keeps::Item),
    state(Get, "/openai/v1/responses/{id}/input_items", Keeps::Item),
    // Other vendors' models have a path beside OpenAI's.
    compatible::chat("/models/chat/completions"),
    openai::embeddings("/models/embeddings"),
    free(Get, "/models/info"),
    openai::video("/openai/v1/videos"),
    state(Get, "/openai/v1/videos", Keeps::List),
    openai::stored_video("/openai/v1/videos/{id}"),
    state(Delete, "/openai/v1/videos/{id}", Keeps::Item),
    Endpoint {
        class: Class::State,
        keeps: Keeps::Item,
        made: &["id"],
        ..openai::video("/openai/v1/videos/{id}/remix")
    },
    state(Get, "/openai/v1/videos/{id}/content", Keeps::Item),
    state(Post, "/openai/files", Keeps::Creates),
    state(Get, "/openai/files", Keeps::List),
    state(Get, "/openai/files/{id}", Keeps::Item),
    state(Delete, "/openai/files/{id}", Keeps::Item),
    openai::file_content("/openai/files/{id}/content"),
    openai::batch("/openai/batches"),
    state(Get, "/openai/batches", Keeps::List),
    openai::stored_batch(Get, "/openai/batches/{id}"),
    openai::stored_batch(Post, "/openai/batches/{id}/cancel"),
    state(Post, "/openai/v1/files", Keeps::Creates),
    state(Get, "/openai/v1/files", Keeps::List),
    state(Get, "/openai/v1/files/{id}", Keeps::Item),
    state(Delete, "/openai/v1/files/{id}", Keeps::Item),
    openai::file_content("/openai/v1/files/{id}/content"),
    openai::batch("/openai/v1/batches"),
    state(Get, "/openai/v1/batches", Keeps::List),
    openai::stored_batch(Get, "/openai/v1/batches/{id}"),
    openai::stored_batch(Post, "/openai/v1/batches/{id}/cancel"),
    // Sockets.
    openai::realtime("/openai/realtime"),
    openai::realtime("/openai/v1/realtime"),
    openai::responses_socket("/openai/v1/responses"),
    escape(Post, "/openai/realtimeapi/sessions"),
    escape(Post, "/openai/v1/realtime/calls"),
    escape(Post, "/openai/v1/realtime/client_secrets"),
    free(Get, "/openai/models"),
    free(Get, "/openai/models/{model}"),
    free(Get, "/openai/v1/models"),
    free(Get, "/openai/v1/models/{model}"),
];

/// The first api-version whose legacy paths take `stream_options`; earlier ones answer 400.
const ASKING_SINCE: &str = "2024-09-01";

/// Legacy paths take usage options from some api-version on, which stands in the query. Versions are
/// dates, with `-preview` behind some; what is no date is not asked.
fn knows_stream_options(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split('&');
    let version = pairs.find_map(|pair| pair.strip_prefix("api-version="));
    let date = version.and_then(|version| version.get(..ASKING_SINCE.len()));
    date.is_some_and(|date| date.as_bytes()[0].is_ascii_digit() && date >= ASKING_SINCE)
}

/// Chat completions under a deployment's path.
pub(super) const fn deployed_chat(path: &'static str) -> Endpoint {
    Endpoint {
        amends_when: knows_stream_options,
        request_facts: |evidence, asked| {
            openai::chat::request_facts(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::chat(path)
    }
}

const fn deployed_completions(path: &'static str) -> Endpoint {
    Endpoint {
        amends_when: knows_stream_options,
        request_facts: |evidence, asked| {
            openai::completions::request_facts(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::completions(path)
    }
}

const fn deployed_transcription(path: &'static str) -> Endpoint {
    Endpoint {
        request_facts: |evidence, asked| {
            openai::transcription::request_facts(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::transcription(path)
    }
}

const fn deployed_images(path: &'static str) -> Endpoint {
    Endpoint {
        request_facts: |evidence, asked| {
            openai::images::request_facts(evidence, asked);
            deployment(evidence, asked);
        },
        ..openai::images(path)
    }
}

/// The deployment's name is the model asked for; a model in the body is not looked at there.
fn deployment(evidence: &mut Evidence, asked: &Asked<'_>) {
    let mut segments = asked.path.split('/');
    let name = segments
        .find(|segment| *segment == "deployments")
        .and_then(|_| segments.next());
    if let Some(name) = name.filter(|name| name.len() <= MODEL_BYTES_MAX) {
        evidence.request.insert("model", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_paths_are_asked_from_the_version_that_knows_the_option() {
        for (query, expected) in [
            (None, false),
            (Some("api-version=2024-06-01"), false),
            (Some("api-version=2024-08-01-preview"), false),
            (Some("api-version=2024-09-01-preview"), true),
            (Some("a=b&api-version=2024-10-21"), true),
            (Some("api-version=preview"), false),
            (Some("api-version=2025-01-01-preview&x"), true),
        ] {
            assert_eq!(knows_stream_options(query), expected, "{query:?}");
        }
        let chat = "/openai/deployments/d/chat/completions";
        let endpoint = PROVIDER.endpoint(&http::Method::POST, chat).unwrap();
        assert!(endpoint.amend_request.is_some());
    }
}
