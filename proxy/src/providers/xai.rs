//! xAI: OpenAI's dialect. Chat counts reasoning beside the completion; every usage object carries the
//! exact charge of the call, tools included, in ticks of 1e-10 US dollars.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Class, Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::facts::{self, Counted};
use crate::providers::openai::{self, chat, embeddings, responses};
use crate::providers::spoken::{self, Charged};
use crate::providers::{compatible, escape, free, images, socket, speech, state};

mod batches;
mod deferred;
mod realtime_socket;
mod speech_sockets;
mod video;

/// xAI's own API.
pub static PROVIDER: Provider = Provider {
    name: "xai",
    base_url: "https://api.x.ai",
    credential: Credential::Bearer,
    credential_env: "XAI_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

/// The charge of a call in ticks.
const TICKS: &str = "cost_in_usd_ticks";

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        keeps: Keeps::Nothing,
        made: &[deferred::PROMISED],
        collect: deferred::collect,
        usage_of: deferred::created_usage_of,
        ..compatible::chat("/v1/chat/completions")
    },
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        request_facts: deferred::poll_facts,
        collect: deferred::collect,
        usage_of: deferred::fetched_usage_of,
        ..compatible::chat("/v1/chat/deferred-completion/{id}")
    },
    compatible::completions("/v1/completions"),
    Endpoint {
        usage_of: |evidence| with_charge(evidence, responses::usage_of(evidence)),
        ..openai::responses("/v1/responses", Keeps::Creates)
    },
    Endpoint {
        usage_of: |evidence| with_charge(evidence, responses::usage_of(evidence)),
        ..openai::stored_response(Get, "/v1/responses/{id}")
    },
    state(Delete, "/v1/responses/{id}", Keeps::Item),
    crate::providers::anthropic::messages("/v1/messages"),
    Endpoint {
        usage_of: |evidence| with_charge(evidence, embeddings::usage_of(evidence)),
        ..openai::embeddings("/v1/embeddings")
    },
    Endpoint {
        usage_of: |evidence| with_charge(evidence, images::usage_of(evidence)),
        ..images::listed("/v1/images/generations")
    },
    Endpoint {
        usage_of: |evidence| with_charge(evidence, images::usage_of(evidence)),
        ..images::listed("/v1/images/edits")
    },
    started_video("/v1/videos/generations"),
    started_video("/v1/videos/edits"),
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        made: &[],
        request_facts: deferred::poll_facts,
        usage_of: video::fetched_usage_of,
        ..started_video("/v1/videos/{id}")
    },
    Endpoint {
        request_facts: |evidence, asked| speech::text_facts(evidence, asked, ["model", "text"]),
        usage_of: spoken_usage_of,
        ..openai::speech("/v1/tts")
    },
    Endpoint {
        usage_of: heard_usage_of,
        ..speech::transcription("/v1/stt")
    },
    // Sockets.
    socket(
        "/v1/realtime",
        Kind::Realtime,
        &realtime_socket::SOCKET,
        realtime_socket::request_facts,
        realtime_socket::usage_of,
    ),
    socket(
        "/v1/tts",
        Kind::Speech,
        &speech_sockets::SPEAKS,
        |_, _| {},
        speech_sockets::usage_of_spoken,
    ),
    socket(
        "/v1/stt",
        Kind::Transcription,
        &speech_sockets::LISTENS,
        speech_sockets::heard_facts,
        speech_sockets::usage_of_heard,
    ),
    escape(Post, "/v1/realtime/client_secrets"),
    free(Post, "/v1/tokenize-text"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    free(Get, "/v1/language-models"),
    free(Get, "/v1/language-models/{model}"),
    free(Get, "/v1/embedding-models"),
    free(Get, "/v1/embedding-models/{model}"),
    free(Get, "/v1/image-generation-models"),
    free(Get, "/v1/image-generation-models/{model}"),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    state(Get, "/v1/files/{id}/content", Keeps::Item),
    Endpoint {
        path: "/v1/batches",
        kind: Kind::Batch,
        keeps: Keeps::Creates,
        is_read: true,
        collect: batches::collect,
        usage_of: facts::batch_created,
        ..Endpoint::DEFAULT
    },
    state(Get, "/v1/batches", Keeps::List),
    Endpoint {
        verb: Get,
        path: "/v1/batches/{id}",
        kind: Kind::Batch,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        collect: batches::collect,
        usage_of: batches::usage_of,
        ..Endpoint::DEFAULT
    },
    state(Post, "/v1/batches/{id}:cancel", Keeps::Item),
    state(Get, "/v1/batches/{id}/requests", Keeps::Item),
    state(Post, "/v1/batches/{id}/requests", Keeps::Item),
    state(Get, "/v1/batches/{id}/results", Keeps::Item),
];

const fn started_video(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Video,
        made: &[deferred::PROMISED],
        is_read: true,
        request_facts: video::request_facts,
        glance: video::glance,
        collect: video::collect,
        usage_of: video::started_usage_of,
        ..Endpoint::DEFAULT
    }
}

/// One model speaks, and no request names it.
fn spoken_usage_of(evidence: &Evidence) -> UsageDraft {
    let line = Line {
        model: "text-to-speech".into(),
        ..Line::default()
    };
    spoken::draft(evidence, line, None, Charged::Spoken)
}

/// One model listens, and no request names it.
fn heard_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut line = Line {
        model: "speech-to-text".into(),
        ..Line::default()
    };
    line.conditions.insert("mode".into(), "prerecorded".into());
    speech::heard_on(evidence, &line)
}

fn chat_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = chat::usage_of(evidence);
    if let Some(object) = evidence.object("usage") {
        put_reasoning_beside(object, &mut draft);
    }
    with_charge(evidence, draft)
}

/// Reasoning is beside the completion, whether or not a total is there to tell; unless the total says
/// that it is inside.
fn put_reasoning_beside(object: Json<'_>, draft: &mut UsageDraft) {
    let mut counted = Counted::new(object);
    let completion = counted.count(&["completion_tokens"]);
    let reasoning = counted.count(&["completion_tokens_details", "reasoning_tokens"]);
    let (Some(completion), Some(reasoning)) = (completion, reasoning) else {
        return;
    };
    let prompt = counted.count(&["prompt_tokens"]).unwrap_or(0);
    let is_inside = counted.count(&["total_tokens"]) == prompt.checked_add(completion);
    if is_inside && reasoning <= completion {
        return;
    }
    if let Some(line) = draft.lines.first_mut() {
        let audio = compatible::whole(&line.usage, Meter::OutputAudioTokens).unwrap_or(0);
        line.usage
            .set(Meter::OutputTokens, completion.saturating_sub(audio));
        line.usage.set(Meter::ReasoningTokens, reasoning);
        if !counted.is_clamped && draft.reason == Some(compatible::CLAMPED) {
            draft.reason = None;
        }
    }
}

/// Where the vendor counts the tools that it ran.
const TOOLS: &str = "server_side_tool_usage_details";

/// Runs of code are told by items of the output too, under OpenAI's name: they count where the vendor
/// does not count them itself.
fn name_items(object: Json<'_>, draft: &mut UsageDraft) {
    let is_counted = object.get(TOOLS).is_some_and(|tools| !tools.is_null());
    draft.lines.retain_mut(|line| {
        let tool = line.conditions.get_mut("tool");
        let Some(tool) = tool.filter(|tool| *tool == "code_interpreter") else {
            return true;
        };
        *tool = "code_execution".into();
        !is_counted
    });
}

/// The tools that the vendor ran, and its charge, which covers them.
fn with_charge(evidence: &Evidence, mut draft: UsageDraft) -> UsageDraft {
    let Some(object) = evidence.object("usage") else {
        return draft;
    };
    name_items(object, &mut draft);
    let mut counted = Counted::new(object);
    let mut tool = |name| counted.count(&[TOOLS, name]).filter(|count| *count > 0);
    let searches = [
        (Meter::WebSearches, tool("web_search_calls")),
        (Meter::FileSearches, tool("file_search_calls")),
    ];
    let calls = [
        ("x_search", tool("x_search_calls")),
        ("code_execution", tool("code_interpreter_calls")),
        ("attachment_search", tool("document_search_calls")),
    ];
    if let Some(line) = draft.lines.first_mut() {
        for (meter, count) in searches {
            if let Some(count) = count {
                line.usage.set(meter, count);
            }
        }
        let model = line.model.clone();
        for (name, count) in calls {
            let Some(count) = count else { continue };
            let mut line = Line {
                model: model.clone(),
                ..Line::default()
            };
            line.conditions.insert("tool".into(), name.into());
            line.usage.set(Meter::ToolCalls, count);
            draft.lines.push(line);
        }
    }
    compatible::set_amount(&mut draft, compatible::amount(Some(object), &[TICKS]));
    draft
}
