//! Cartesia: no answer says what it costs. Spoken text is counted in the request, changed voices by
//! the audio that comes back; a transcription tells its seconds.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use crate::framing::Frame;
use crate::framing::json::{pick, text_of};
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Asked, Credential, Endpoint, ErrorText, Form, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::facts::{self, is_present, keep_response_text};
use crate::providers::spoken::{self, CHARACTERS, Charged};
use crate::providers::{escape, free, socket, speech, state};

mod listen_sockets;
mod speech_socket;
mod voice_changer;

/// Cartesia's own API.
pub static PROVIDER: Provider = Provider {
    name: "cartesia",
    base_url: "https://api.cartesia.ai",
    credential: Credential::Bearer,
    credential_env: "CARTESIA_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    spoken_text("/tts/bytes"),
    spoken_text("/tts/sse"),
    Endpoint {
        request_facts: infill_facts,
        usage_of: infill_usage_of,
        ..spoken_text("/infill/bytes")
    },
    voice_changer::at("/voice-changer/bytes"),
    voice_changer::at("/voice-changer/sse"),
    heard("/stt"),
    heard("/audio/transcriptions"),
    // Sockets.
    socket(
        "/tts/websocket",
        Kind::Speech,
        &speech_socket::SOCKET,
        |_, _| {},
        speech_socket::usage_of,
    ),
    socket(
        "/stt/websocket",
        Kind::Transcription,
        &listen_sockets::WORDS,
        listen_sockets::request_facts,
        listen_sockets::usage_of,
    ),
    socket(
        "/stt/turns/websocket",
        Kind::Transcription,
        &listen_sockets::TURNS,
        listen_sockets::request_facts,
        listen_sockets::usage_of,
    ),
    escape(Post, "/access-token"),
    free(Get, "/"),
    free(Get, "/voices"),
    free(Get, "/voices/{id}"),
    state(Get, "/datasets/", Keeps::List),
    state(Post, "/datasets/", Keeps::Creates),
    state(Get, "/datasets/{id}", Keeps::Item),
    state(Delete, "/datasets/{id}", Keeps::Item),
];

const fn spoken_text(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Speech,
        is_read: true,
        form: Form::Opaque,
        request_facts: |evidence, asked| {
            speech::text_facts(evidence, asked, ["model_id", "transcript"]);
        },
        glance,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

const fn heard(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: heard_usage_of,
        ..speech::transcription(path)
    }
}

/// Chunks hold audio and nothing else; every other event is small.
fn glance(data: &[u8]) -> Glance {
    if memchr::memmem::find(data, b"\"chunk\"").is_some() {
        Glance::Output
    } else {
        Glance::Telling
    }
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 4] = ["type", "error_code", "error", "request_id"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [kind, code, error, request_id] = picked.members;
    keep_response_text(evidence, "error_code", code);
    keep_response_text(evidence, "id", request_id);
    match &*kind.and_then(text_of).unwrap_or_default() {
        "error" => evidence.response.insert("error", true),
        "done" => evidence.response.insert("finished", true),
        "chunk" => evidence.counts.output_frames += 1,
        _ if is_present(error) => evidence.response.insert("error", true),
        _ => {}
    }
}

/// An answer that broke off has spoken a part of the text.
fn usage_of(evidence: &Evidence) -> UsageDraft {
    spoken::draft(
        evidence,
        speech::model_line(evidence),
        None,
        Charged::Spoken,
    )
}

/// The text between two recordings, which lie in the same form.
fn infill_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else { return };
    if let Some(text) = speech::field(body, "transcript") {
        evidence
            .request
            .insert(CHARACTERS, text.chars().count() as u64);
    }
    if let Some(model) = speech::field(body, "model_id") {
        evidence.request.insert("model", model);
    }
}

/// A flat price beside the characters, whichever model speaks.
fn infill_usage_of(evidence: &Evidence) -> UsageDraft {
    let line = Line {
        model: "infill".into(),
        ..Line::default()
    };
    let mut draft = spoken::draft(evidence, line, None, Charged::Spoken);
    if let Some(line) = draft.lines.first_mut() {
        line.usage.set(Meter::Requests, 1);
        for (bound, count) in [(&mut draft.low, 0), (&mut draft.high, 1)] {
            if let Some(bound) = bound {
                bound.set(Meter::Requests, count);
            }
        }
    }
    draft
}

fn heard_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut line = Line {
        model: facts::model(evidence),
        ..Line::default()
    };
    line.conditions.insert("mode".into(), "prerecorded".into());
    speech::heard_on(evidence, &line)
}

fn error_value(error: &ErrorText<'_>) -> serde_json::Value {
    serde_json::json!({
        "error_code": error.code,
        "title": error.code,
        "message": error.message,
        "request_id": error.request_id,
        "status_code": error.status,
    })
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    error_value(error).to_string().into_bytes()
}

fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    let mut value = error_value(error);
    if let Some(members) = value.as_object_mut() {
        members.insert("type".into(), "error".into());
        members.insert("done".into(), true.into());
        members.insert("error".into(), error.message.into());
    }
    Some(format!("event: error\ndata: {value}\n\n").into_bytes())
}
