//! OpenAI: its endpoints, each with its reader, and its routes that cost nothing by themselves.

use farebox_pricing::event::EndpointKind as Kind;

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Class, Credential, Endpoint, ErrorText, Form, Keeps, Provider, StreamUsage, Verb,
};
use crate::providers::{
    anthropic, azure, escape, facts, free, ollama, socket, state, state_unread,
};

mod audio_length;
pub(crate) mod batches;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod delta;
pub(crate) mod embeddings;
mod halves;
pub(crate) mod images;
mod live_socket;
pub(crate) mod realtime_socket;
pub(crate) mod responses;
mod responses_socket;
pub(crate) mod runs;
pub(crate) mod speech;
mod timings;
pub(crate) mod tokens;
mod tools;
pub(crate) mod transcription;
pub(crate) mod videos;

/// OpenAI, and every host that speaks its dialect.
pub static PROVIDER: Provider = Provider {
    name: "openai",
    base_url: "https://api.openai.com",
    credential: Credential::Bearer,
    credential_env: "OPENAI_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Ask,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

/// Chat completions at a path.
pub(crate) const fn chat(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Chat,
        keeps: Keeps::Stores,
        is_read: true,
        amend_request: Some(crate::amend::ask_for_stream_usage),
        request_facts: chat::request_facts,
        glance: chat::glance,
        is_steady: true,
        collect: chat::collect,
        usage_of: chat::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Text completions at a path.
pub(crate) const fn completions(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Completions,
        is_read: true,
        amend_request: Some(crate::amend::ask_for_stream_usage),
        request_facts: completions::request_facts,
        glance: completions::glance,
        is_steady: true,
        collect: completions::collect,
        usage_of: completions::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Responses at a path, new ones or the passes over them.
pub(crate) const fn responses(path: &'static str, keeps: Keeps) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Responses,
        keeps,
        is_read: true,
        request_facts: responses::request_facts,
        glance: responses::glance,
        is_steady: true,
        collect: responses::collect,
        usage_of: responses::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Responses over a socket at a path.
pub(crate) const fn responses_socket(path: &'static str) -> Endpoint {
    Endpoint {
        keeps: Keeps::Creates,
        ..socket(
            path,
            Kind::Responses,
            &responses_socket::SOCKET,
            |_, _| {},
            responses_socket::usage_of,
        )
    }
}

/// A session that talks and listens, at a path.
pub(crate) const fn realtime(path: &'static str) -> Endpoint {
    socket(
        path,
        Kind::Realtime,
        &realtime_socket::SOCKET,
        realtime_socket::request_facts,
        realtime_socket::usage_of,
    )
}

/// A stored response, fetched or cancelled.
pub(crate) const fn stored_response(verb: Verb, path: &'static str) -> Endpoint {
    Endpoint {
        verb,
        class: Class::State,
        request_facts: responses::poll_facts,
        ..responses(path, Keeps::Item)
    }
}

/// Embeddings at a path.
pub(crate) const fn embeddings(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Embeddings,
        is_read: true,
        request_facts: facts::model_of_request,
        glance: embeddings::glance,
        collect: embeddings::collect,
        usage_of: embeddings::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Transcriptions or translations at a path.
pub(crate) const fn transcription(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Transcription,
        is_read: true,
        form: Form::JsonOrText,
        request_facts: transcription::request_facts,
        glance: transcription::glance,
        collect: transcription::collect,
        usage_of: transcription::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Speech at a path.
pub(crate) const fn speech(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Speech,
        is_read: true,
        form: Form::Opaque,
        request_facts: speech::request_facts,
        glance: speech::glance,
        collect: speech::collect,
        usage_of: speech::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// New or edited images at a path.
pub(crate) const fn images(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Image,
        is_read: true,
        request_facts: images::request_facts,
        glance: images::glance,
        collect: images::collect,
        usage_of: images::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that starts a video.
pub(crate) const fn video(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Video,
        keeps: Keeps::Creates,
        is_read: true,
        request_facts: videos::request_facts,
        glance: videos::glance,
        collect: videos::collect,
        usage_of: videos::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that asks for a video.
pub(crate) const fn stored_video(path: &'static str) -> Endpoint {
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        request_facts: videos::poll_facts,
        ..video(path)
    }
}

/// A call that starts a batch.
pub(crate) const fn batch(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Batch,
        keeps: Keeps::Creates,
        is_read: true,
        request_facts: batches::request_facts,
        glance: batches::glance,
        collect: batches::collect_job,
        usage_of: batches::job_usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that asks for a batch or ends it.
pub(crate) const fn stored_batch(verb: Verb, path: &'static str) -> Endpoint {
    Endpoint {
        verb,
        class: Class::State,
        keeps: Keeps::Item,
        made: &batches::FILES,
        request_facts: |evidence, _| evidence.request.insert("poll", true),
        ..batch(path)
    }
}

/// What a file holds, perhaps a batch's results.
pub(crate) const fn file_content(path: &'static str) -> Endpoint {
    Endpoint {
        verb: Get,
        path,
        kind: Kind::Batch,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        form: Form::Lines,
        request_facts: batches::file_facts,
        glance: batches::glance,
        collect: batches::collect_result,
        usage_of: batches::results_usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that starts a run of a thread.
pub(crate) const fn run(path: &'static str, class: Class, keeps: Keeps) -> Endpoint {
    Endpoint {
        path,
        class,
        keeps,
        is_read: true,
        request_facts: facts::model_of_request,
        glance: runs::glance,
        collect: runs::collect,
        usage_of: runs::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that asks for a run, or ends it.
pub(crate) const fn stored_run(verb: Verb, path: &'static str) -> Endpoint {
    Endpoint {
        verb,
        request_facts: runs::poll_facts,
        ..run(path, Class::State, Keeps::Item)
    }
}

/// Reranking at a path, as servers of the dialect have it: input tokens and nothing else.
const fn rerank(path: &'static str) -> Endpoint {
    Endpoint {
        kind: Kind::Rerank,
        ..embeddings(path)
    }
}

static ENDPOINTS: &[Endpoint] = &[
    chat("/v1/chat/completions"),
    chat("/chat/completions"),
    azure::deployed_chat("/openai/deployments/{deployment}/chat/completions"),
    completions("/v1/completions"),
    completions("/completions"),
    // As clients before 2023 name the model.
    completions("/v1/engines/{model}/completions"),
    embeddings("/v1/engines/{model}/embeddings"),
    responses("/v1/responses", Keeps::Creates),
    responses_socket("/v1/responses"),
    free(Post, "/v1/responses/input_tokens"),
    responses("/v1/responses/compact", Keeps::Nothing),
    Endpoint {
        usage_of: responses::decision_usage_of,
        ..responses("/v1/decisions", Keeps::Nothing)
    },
    embeddings("/v1/embeddings"),
    embeddings("/embeddings"),
    free(Post, "/v1/moderations"),
    transcription("/v1/audio/transcriptions"),
    transcription("/audio/transcriptions"),
    transcription("/v1/audio/translations"),
    transcription("/audio/translations"),
    speech("/v1/audio/speech"),
    speech("/audio/speech"),
    images("/v1/images/generations"),
    images("/images/generations"),
    images("/v1/images/edits"),
    images("/images/edits"),
    Endpoint {
        request_facts: images::variation_facts,
        ..images("/v1/images/variations")
    },
    // What gateways and local servers have beside the vendor's own routes.
    responses("/responses", Keeps::Creates),
    stored_response(Get, "/responses/{id}"),
    state(Delete, "/responses/{id}", Keeps::Item),
    stored_response(Post, "/responses/{id}/cancel"),
    anthropic::messages("/v1/messages"),
    free(Post, "/v1/messages/count_tokens"),
    rerank("/v1/rerank"),
    rerank("/v2/rerank"),
    rerank("/rerank"),
    free(Post, "/tokenize"),
    free(Post, "/detokenize"),
    free(Get, "/health"),
    free(Get, "/version"),
    // The own API of a server that is reached by this dialect.
    ollama::generation("/api/chat", Kind::Chat),
    ollama::generation("/api/generate", Kind::Completions),
    ollama::embeddings("/api/embed"),
    ollama::embeddings("/api/embeddings"),
    free(Get, "/api/tags"),
    free(Get, "/api/ps"),
    free(Get, "/api/version"),
    free(Post, "/api/show"),
    // What the agents of its own library send home.
    free(Post, "/v1/traces/ingest"),
    realtime("/v1/realtime"),
    socket(
        "/v1/realtime/translations",
        Kind::Realtime,
        &realtime_socket::SOCKET,
        realtime_socket::request_facts,
        realtime_socket::usage_of_translation,
    ),
    socket(
        "/v1/live/sessions",
        Kind::Realtime,
        &live_socket::SOCKET,
        realtime_socket::request_facts,
        live_socket::usage_of,
    ),
    socket(
        "/v1/live/sessions/{session}",
        Kind::Realtime,
        &live_socket::SOCKET,
        realtime_socket::request_facts,
        live_socket::usage_of,
    ),
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
    stored_response(Get, "/v1/responses/{id}"),
    state(Delete, "/v1/responses/{id}", Keeps::Item),
    stored_response(Post, "/v1/responses/{id}/cancel"),
    state(Get, "/v1/responses/{id}/input_items", Keeps::Item),
    state(Post, "/v1/conversations", Keeps::Creates),
    state(Get, "/v1/conversations/{id}", Keeps::Item),
    state(Post, "/v1/conversations/{id}", Keeps::Item),
    state(Delete, "/v1/conversations/{id}", Keeps::Item),
    state(Get, "/v1/conversations/{id}/items", Keeps::Item),
    state(Post, "/v1/conversations/{id}/items", Keeps::Item),
    state(Get, "/v1/conversations/{id}/items/{item}", Keeps::Item),
    state(Delete, "/v1/conversations/{id}/items/{item}", Keeps::Item),
    // Files, in one piece or in parts, and batches.
    state(Post, "/v1/uploads", Keeps::Creates),
    state(Post, "/v1/uploads/{id}/parts", Keeps::Item),
    state(Post, "/v1/uploads/{id}/cancel", Keeps::Item),
    Endpoint {
        made: &[batches::FILE],
        collect: batches::collect_upload,
        ..state(Post, "/v1/uploads/{id}/complete", Keeps::Item)
    },
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    file_content("/v1/files/{id}/content"),
    batch("/v1/batches"),
    state(Get, "/v1/batches", Keeps::List),
    stored_batch(Get, "/v1/batches/{id}"),
    stored_batch(Post, "/v1/batches/{id}/cancel"),
    // Stores to search in: what is kept in them is billed by the day, which no answer counts.
    state(Post, "/v1/vector_stores", Keeps::Creates),
    state(Get, "/v1/vector_stores", Keeps::List),
    state(Get, "/v1/vector_stores/{id}", Keeps::Item),
    state(Post, "/v1/vector_stores/{id}", Keeps::Item),
    state(Delete, "/v1/vector_stores/{id}", Keeps::Item),
    state_unread(
        Post,
        "/v1/vector_stores/{id}/search",
        Keeps::Item,
        Kind::Other,
    ),
    state_unread(
        Post,
        "/v1/vector_stores/{id}/files",
        Keeps::Item,
        Kind::Other,
    ),
    state(Get, "/v1/vector_stores/{id}/files", Keeps::Item),
    state(Get, "/v1/vector_stores/{id}/files/{file}", Keeps::Item),
    state(Delete, "/v1/vector_stores/{id}/files/{file}", Keeps::Item),
    state_unread(
        Post,
        "/v1/vector_stores/{id}/file_batches",
        Keeps::Item,
        Kind::Other,
    ),
    state(
        Get,
        "/v1/vector_stores/{id}/file_batches/{batch}",
        Keeps::Item,
    ),
    state(
        Post,
        "/v1/vector_stores/{id}/file_batches/{batch}/cancel",
        Keeps::Item,
    ),
    // Videos.
    video("/v1/videos"),
    video("/v1/videos/edits"),
    video("/v1/videos/extensions"),
    state(Get, "/v1/videos", Keeps::List),
    stored_video("/v1/videos/{id}"),
    state(Delete, "/v1/videos/{id}", Keeps::Item),
    Endpoint {
        class: Class::State,
        keeps: Keeps::Item,
        made: &["id"],
        ..video("/v1/videos/{id}/remix")
    },
    state(Get, "/v1/videos/{id}/content", Keeps::Item),
    // Threads.
    state(Post, "/v1/threads", Keeps::Creates),
    Endpoint {
        made: &["thread_id"],
        ..run("/v1/threads/runs", Class::Metered, Keeps::Creates)
    },
    state(Get, "/v1/threads/{id}", Keeps::Item),
    state(Post, "/v1/threads/{id}", Keeps::Item),
    state(Delete, "/v1/threads/{id}", Keeps::Item),
    state(Post, "/v1/threads/{id}/messages", Keeps::Item),
    state(Get, "/v1/threads/{id}/messages", Keeps::Item),
    state(Get, "/v1/threads/{id}/messages/{message}", Keeps::Item),
    run("/v1/threads/{id}/runs", Class::State, Keeps::Item),
    state(Get, "/v1/threads/{id}/runs", Keeps::Item),
    stored_run(Get, "/v1/threads/{id}/runs/{run}"),
    stored_run(Post, "/v1/threads/{id}/runs/{run}/cancel"),
    run(
        "/v1/threads/{id}/runs/{run}/submit_tool_outputs",
        Class::State,
        Keeps::Item,
    ),
    state(Get, "/v1/threads/{id}/runs/{run}/steps", Keeps::Item),
    // Assistants are no more than settings.
    state(Post, "/v1/assistants", Keeps::Creates),
    state(Get, "/v1/assistants", Keeps::List),
    state(Get, "/v1/assistants/{id}", Keeps::Item),
    state(Post, "/v1/assistants/{id}", Keeps::Item),
    state(Delete, "/v1/assistants/{id}", Keeps::Item),
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

pub(crate) fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    error_value(error).to_string().into_bytes()
}

/// The client raises on an event with `error`; there is no `[DONE]` after it.
pub(crate) fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    Some(format!("data: {}\n\n", error_value(error)).into_bytes())
}
