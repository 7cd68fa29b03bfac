//! Mistral: OpenAI's dialect with usage in the last chunk unasked; audio input is billed by the
//! second, documents by the page, connectors of a conversation by the call.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{items, pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Asked, Class, Credential, Endpoint, ErrorText, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::facts::{
    self, Counted, is_present, keep_request, keep_response_text, keep_usage,
};
use crate::providers::openai::{self, chat, embeddings, tokens};
use crate::providers::spoken::{self, Charged};
use crate::providers::{compatible, escape, free, socket, speech, state};

mod realtime_sockets;

/// Mistral's own API.
pub static PROVIDER: Provider = Provider {
    name: "mistral",
    base_url: "https://api.mistral.ai",
    credential: Credential::Bearer,
    credential_env: "MISTRAL_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "mistral-correlation-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    mistral_chat("/v1/chat/completions"),
    mistral_chat("/v1/fim/completions"),
    mistral_chat("/v1/agents/completions"),
    openai::responses("/v1/responses", Keeps::Nothing),
    free(Post, "/v1/responses/input_tokens"),
    openai::embeddings("/v1/embeddings"),
    classifier("/v1/moderations"),
    classifier("/v1/chat/moderations"),
    classifier("/v1/classifications"),
    classifier("/v1/chat/classifications"),
    Endpoint {
        path: "/v1/ocr",
        kind: Kind::Ocr,
        is_read: true,
        request_facts: ocr_facts,
        glance: |_| Glance::Telling,
        collect: collect_ocr,
        usage_of: ocr_usage_of,
        ..Endpoint::DEFAULT
    },
    speech::transcription("/v1/audio/transcriptions"),
    Endpoint {
        usage_of: spoken_usage_of,
        ..openai::speech("/v1/audio/speech")
    },
    Endpoint {
        made: &[CONVERSATION],
        ..conversation("/v1/conversations", Keeps::Creates)
    },
    state(Get, "/v1/conversations", Keeps::List),
    Endpoint {
        class: Class::State,
        request_facts: append_facts,
        ..conversation("/v1/conversations/{id}", Keeps::Item)
    },
    Endpoint {
        class: Class::State,
        request_facts: append_facts,
        made: &[CONVERSATION],
        ..conversation("/v1/conversations/{id}/restart", Keeps::Item)
    },
    state(Get, "/v1/conversations/{id}", Keeps::Item),
    state(Delete, "/v1/conversations/{id}", Keeps::Item),
    state(Get, "/v1/conversations/{id}/history", Keeps::Item),
    state(Get, "/v1/conversations/{id}/messages", Keeps::Item),
    // Sockets.
    socket(
        "/v1/audio/transcriptions/realtime",
        Kind::Transcription,
        &realtime_sockets::LISTENS,
        realtime_sockets::request_facts,
        realtime_sockets::usage_of_heard,
    ),
    socket(
        "/v1/audio/speech/realtime",
        Kind::Speech,
        &realtime_sockets::SPEAKS,
        realtime_sockets::request_facts,
        realtime_sockets::usage_of_spoken,
    ),
    escape(Post, "/v1/client/sessions"),
    escape(Post, "/v1/audio/sessions"),
    openai::batch("/v1/batch/jobs"),
    state(Get, "/v1/batch/jobs", Keeps::List),
    openai::stored_batch(Get, "/v1/batch/jobs/{id}"),
    openai::stored_batch(Post, "/v1/batch/jobs/{id}/cancel"),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    openai::file_content("/v1/files/{id}/content"),
    state(Get, "/v1/files/{id}/url", Keeps::Item),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    free(Get, "/v1/audio/voices"),
];

/// The fact of the conversation that an answer belongs to.
const CONVERSATION: &str = "conversation_id";

const fn mistral_chat(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: chat_usage_of,
        ..compatible::chat(path)
    }
}

const fn classifier(path: &'static str) -> Endpoint {
    Endpoint {
        kind: Kind::Other,
        usage_of: embeddings::usage_of,
        ..openai::embeddings(path)
    }
}

const fn conversation(path: &'static str, keeps: Keeps) -> Endpoint {
    Endpoint {
        kind: Kind::Responses,
        keeps,
        glance: conversation_glance,
        collect: collect_conversation,
        usage_of: conversation_usage_of,
        ..compatible::chat(path)
    }
}

/// Seconds of audio stand beside the tokens, which are of text alone; the tier stands among them.
fn chat_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = chat::usage_of(evidence);
    let seconds = compatible::amount(evidence.object("usage"), &["prompt_audio_seconds"]);
    let tier = evidence
        .object("usage")
        .and_then(|object| object.get("service_tier"))
        .and_then(Json::str)
        .filter(|tier| !matches!(&**tier, "standard" | "default"));
    if let Some(line) = draft.lines.first_mut() {
        if let Some(seconds) = seconds.filter(|seconds| !seconds.is_zero()) {
            line.usage.set(Meter::AudioSeconds, seconds);
        }
        if let Some(tier) = tier {
            line.conditions
                .insert("service_tier".into(), tier.into_owned());
        }
    }
    draft
}

/// Characters are what is billed, whatever tokens a stream tells at its end.
fn spoken_usage_of(evidence: &Evidence) -> UsageDraft {
    spoken::draft(
        evidence,
        speech::model_line(evidence),
        None,
        Charged::Spoken,
    )
}

/// The model, and whether pages are annotated, which costs more.
fn ocr_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 3] = [
        "model",
        "document_annotation_format",
        "bbox_annotation_format",
    ];
    if let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) {
        keep_request(evidence, "model", picked.members[0]);
        let is_annotated = is_present(picked.members[1]) || is_present(picked.members[2]);
        evidence.request.insert("annotated", is_annotated);
    }
}

fn collect_ocr(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["model", "usage_info"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    keep_response_text(evidence, "model", picked.members[0]);
    keep_usage(evidence, "usage_info", picked.members[1]);
    evidence.response.insert("finished", true);
}

fn ocr_usage_of(evidence: &Evidence) -> UsageDraft {
    let pages = evidence
        .object("usage_info")
        .and_then(|object| Counted::new(object).count(&["pages_processed"]));
    let Some(pages) = pages else {
        return speech::unheard(evidence);
    };
    let mut line = speech::model_line(evidence);
    line.usage.set(Meter::Pages, pages);
    if evidence.request.is_set("annotated") {
        line.conditions.insert("annotated".into(), "true".into());
    }
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}

/// A further turn; its answer names the conversation again, which is no name of the turn.
fn append_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    chat::request_facts(evidence, asked);
    evidence.request.insert("append", true);
}

/// Events of a conversation name their type; the last one carries the usage.
fn conversation_glance(data: &[u8]) -> Glance {
    match chat::glance(data) {
        Glance::Telling => Glance::Telling,
        _ if memchr::memmem::find(data, b"\"message.output.delta\"").is_some() => Glance::Output,
        _ if memchr::memmem::find(data, b"\"conversation.response.").is_some() => Glance::Telling,
        _ => Glance::Dull,
    }
}

fn collect_conversation(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 7] = [
        "type",
        "conversation_id",
        "model",
        "usage",
        "code",
        "error",
        "outputs",
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [kind, id, model, usage, code, error, outputs] = picked.members;
    for output in outputs.into_iter().flat_map(items) {
        let model = pick_in(output, ["model"]).and_then(|picked| picked.members[0]);
        keep_response_text(evidence, "model", model);
    }
    keep_response_text(evidence, CONVERSATION, id);
    if !evidence.request.is_set("append") {
        keep_response_text(evidence, "id", id);
    }
    keep_response_text(evidence, "model", model);
    keep_usage(evidence, "usage", usage);
    let kind = kind.and_then(text_of).unwrap_or_default();
    if kind == "conversation.response.error" || is_present(error) {
        evidence.response.insert("error", true);
        keep_response_text(evidence, "error_code", code);
    }
    if frame.origin == Origin::Body || kind == "conversation.response.done" {
        evidence.response.insert("finished", true);
    }
}

/// Tokens, those that connectors put in, and how often each connector was called.
fn conversation_usage_of(evidence: &Evidence) -> UsageDraft {
    let Some(mut draft) = evidence
        .object("usage")
        .and_then(|object| tokens::reported(evidence, object))
    else {
        return chat::usage_of(evidence);
    };
    let mut counted = evidence.object("usage").map(Counted::new);
    let inserted = counted
        .as_mut()
        .and_then(|counted| counted.count(&["connector_tokens"]));
    let model = match draft.lines.first_mut() {
        Some(line) => {
            let input = compatible::whole(&line.usage, Meter::InputTokens);
            if let (Some(inserted), Some(input)) = (inserted, input) {
                line.usage
                    .set(Meter::InputTokens, input.saturating_add(inserted));
            }
            line.model.clone()
        }
        None => facts::model(evidence),
    };
    let connectors = counted.and_then(|counted| counted.member("connectors"));
    for (name, calls) in connectors.into_iter().flat_map(Json::members) {
        let Some(calls) = calls.count().filter(|calls| *calls > 0) else {
            continue;
        };
        let mut line = Line {
            model: model.clone(),
            usage: Usage::from_iter([(Meter::ToolCalls, calls.into())]),
            ..Line::default()
        };
        line.conditions.insert("tool".into(), name.into_owned());
        draft.lines.push(line);
    }
    draft
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    error_value(error).to_string().into_bytes()
}

fn error_value(error: &ErrorText<'_>) -> serde_json::Value {
    let kind = match error.status {
        401 | 403 => "authentication_error",
        429 => "rate_limited",
        400..=499 => "invalid_request_error",
        _ => "internal_server_error",
    };
    serde_json::json!({
        "object": "error",
        "message": error.message,
        "type": kind,
        "param": null,
        "code": error.code,
    })
}

fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    let body = String::from_utf8(error_body(error)).ok()?;
    Some(format!("data: {body}\n\n").into_bytes())
}
