//! Gemini: generated content in its three forms, interactions, embeddings, images, videos, caches and
//! batches; its other routes by class. Vertex reads the same shapes.

use farebox_pricing::event::EndpointKind as Kind;

pub(crate) use self::compatible::chat as compatible_chat;
use crate::provider::Verb::{Delete, Get, Patch, Post};
use crate::provider::{
    Class, Credential, Endpoint, ErrorText, Form, Glance, Keeps, Provider, StreamUsage, Verb,
};
use crate::providers::{
    created, escape, free, metered_unread, openai, socket, state, state_unread,
};

mod batches;
pub(crate) mod caches;
mod compatible;
pub(crate) mod embeddings;
pub(crate) mod generate;
mod interactions;
pub(crate) mod kept;
pub(crate) mod live;
pub(crate) mod media;
mod modalities;
pub(crate) mod path;

/// Google's API for its models.
pub static PROVIDER: Provider = Provider {
    name: "gemini",
    base_url: "https://generativelanguage.googleapis.com",
    credential: Credential::Header("x-goog-api-key"),
    credential_env: "GEMINI_API_KEY",
    endpoints: &ENDPOINTS,
    // Its streams report usage unasked.
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-goog-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

/// Content at a path, in one answer.
pub(crate) const fn generate(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::GenerateContent,
        is_read: true,
        request_facts: generate::request_facts,
        glance: generate::glance,
        answer_headers: generate::ANSWER_HEADERS,
        collect: generate::collect,
        usage_of: generate::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Content at a path, as events or as an array that grows.
pub(crate) const fn generate_stream(path: &'static str) -> Endpoint {
    Endpoint {
        form: Form::Elements,
        ..generate(path)
    }
}

/// Embeddings at a path.
pub(crate) const fn embeddings(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Embeddings,
        is_read: true,
        request_facts: embeddings::request_facts,
        collect: embeddings::collect,
        usage_of: embeddings::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Images at a path, or embeddings, by what comes back.
pub(crate) const fn predict(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Image,
        is_read: true,
        request_facts: media::request_facts,
        collect: media::collect_images,
        usage_of: media::usage_of_images,
        ..Endpoint::DEFAULT
    }
}

/// The start of an operation that makes videos.
pub(crate) const fn predict_long(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Video,
        keeps: Keeps::Creates,
        made: &[kept::OBJECT],
        is_read: true,
        request_facts: media::request_facts,
        collect: media::collect_operation,
        usage_of: media::usage_of_started,
        ..Endpoint::DEFAULT
    }
}

/// A fetch of an operation.
pub(crate) const fn operation(verb: Verb, path: &'static str) -> Endpoint {
    Endpoint {
        verb,
        path,
        kind: Kind::Video,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        request_facts: media::request_facts,
        collect: media::collect_operation,
        usage_of: media::usage_of_operation,
        ..Endpoint::DEFAULT
    }
}

/// A cache that is made.
pub(crate) const fn cache(path: &'static str) -> Endpoint {
    Endpoint {
        class: Class::State,
        keeps: Keeps::Creates,
        made: &[kept::OBJECT],
        path,
        is_read: true,
        request_facts: caches::request_facts,
        collect: caches::collect,
        usage_of: caches::usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A session that talks and listens, at a path.
pub(crate) const fn live(path: &'static str) -> Endpoint {
    socket(
        path,
        Kind::Realtime,
        &live::SOCKET,
        live::request_facts,
        live::usage_of,
    )
}

const fn interaction(verb: Verb, path: &'static str) -> Endpoint {
    Endpoint {
        verb,
        path,
        kind: Kind::Interactions,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        glance: interactions::glance,
        collect: interactions::collect,
        usage_of: interactions::usage_of,
        ..Endpoint::DEFAULT
    }
}

const fn batch(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Batch,
        keeps: Keeps::Creates,
        made: &[kept::OBJECT],
        is_read: true,
        request_facts: batches::request_facts,
        collect: batches::collect,
        usage_of: batches::usage_of_created,
        ..Endpoint::DEFAULT
    }
}

/// A file that may hold a batch's results.
const fn download(path: &'static str) -> Endpoint {
    Endpoint {
        verb: Get,
        path,
        kind: Kind::Batch,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        form: Form::Lines,
        request_facts: batches::file_facts,
        glance: |_| Glance::Telling,
        collect: batches::collect_file,
        usage_of: batches::usage_of_file,
        ..Endpoint::DEFAULT
    }
}

const fn made(path: &'static str) -> Endpoint {
    Endpoint {
        made: &[kept::OBJECT],
        collect: kept::collect,
        ..created(path)
    }
}

static ENDPOINTS: [Endpoint; 51] = [
    generate("/v*/models/{model}:generateContent"),
    generate_stream("/v*/models/{model}:streamGenerateContent"),
    generate("/v*/tunedModels/{model}:generateContent"),
    generate_stream("/v*/tunedModels/{model}:streamGenerateContent"),
    free(Post, "/v*/models/{model}:countTokens"),
    embeddings("/v*/models/{model}:embedContent"),
    embeddings("/v*/models/{model}:batchEmbedContents"),
    predict("/v*/models/{model}:predict"),
    predict_long("/v*/models/{model}:predictLongRunning"),
    operation(Get, "/v*/models/{model}/operations/{id}"),
    batch("/v*/models/{model}:batchGenerateContent"),
    batch("/v*/models/{model}:asyncBatchEmbedContent"),
    Endpoint {
        class: Class::Metered,
        keeps: Keeps::Creates,
        request_facts: interactions::request_facts,
        ..interaction(Post, "/v*/interactions")
    },
    state(Get, "/v*/interactions", Keeps::List),
    interaction(Get, "/v*/interactions/{id}"),
    interaction(Post, "/v*/interactions/{id}/cancel"),
    state(Delete, "/v*/interactions/{id}", Keeps::Item),
    // In OpenAI's dialect.
    compatible::chat("/v*/openai/chat/completions"),
    openai::embeddings("/v*/openai/embeddings"),
    free(Get, "/v*/openai/models"),
    free(Get, "/v*/openai/models/{model}"),
    metered_unread(
        Post,
        "/v*/openai/images/generations",
        Kind::Image,
        Keeps::Nothing,
    ),
    free(Get, "/v*/models"),
    free(Get, "/v*/models/{model}"),
    state(Get, "/v*/tunedModels", Keeps::List),
    state(Get, "/v*/tunedModels/{id}", Keeps::Item),
    // Caches; one that is kept longer costs more, which its answer does not tell.
    cache("/v*/cachedContents"),
    state(Get, "/v*/cachedContents", Keeps::List),
    state(Get, "/v*/cachedContents/{id}", Keeps::Item),
    state_unread(Patch, "/v*/cachedContents/{id}", Keeps::Item, Kind::Other),
    state(Delete, "/v*/cachedContents/{id}", Keeps::Item),
    // Files. An upload begins with a request that is answered by an address of the vendor's own.
    made("/upload/v*/files"),
    made("/v*/files"),
    made("/v*/files:register"),
    state(Get, "/v*/files", Keeps::List),
    download("/v*/files/{id}:download"),
    download("/download/v*/files/{id}:download"),
    state(Get, "/v*/files/{id}", Keeps::Item),
    state(Delete, "/v*/files/{id}", Keeps::Item),
    // Batches.
    state(Get, "/v*/batches", Keeps::List),
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        made: &[batches::RESULTS_FILE],
        usage_of: batches::usage_of,
        ..batch("/v*/batches/{id}")
    },
    state(Post, "/v*/batches/{id}:cancel", Keeps::Item),
    state(Delete, "/v*/batches/{id}", Keeps::Item),
    // Stores to search in: what is put in is billed as embeddings, which no answer counts.
    made("/v*/fileSearchStores"),
    state(Get, "/v*/fileSearchStores", Keeps::List),
    state(Get, "/v*/fileSearchStores/{id}", Keeps::Item),
    state(Delete, "/v*/fileSearchStores/{id}", Keeps::Item),
    state_unread(
        Post,
        "/v*/fileSearchStores/{id}:importFile",
        Keeps::Item,
        Kind::Embeddings,
    ),
    state_unread(
        Post,
        "/upload/v*/fileSearchStores/{id}:uploadToFileSearchStore",
        Keeps::Item,
        Kind::Embeddings,
    ),
    // A socket, and the tokens that open one past the meter.
    live("/ws/{service}"),
    escape(Post, "/v*/auth_tokens"),
];

/// The vendor's names of what went wrong; ours stands in the details.
pub(crate) fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    let status = match error.status {
        400 | 413 | 431 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        502 | 503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    serde_json::json!({
        "error": {
            "code": error.status,
            "message": error.message,
            "status": status,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": error.code,
                "domain": "farebox",
                "metadata": {},
            }],
        }
    })
    .to_string()
    .into_bytes()
}

/// The client raises on an event with `error`, which is the last one.
pub(crate) fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&error_body(error));
    event.extend_from_slice(b"\r\n\r\n");
    Some(event)
}
