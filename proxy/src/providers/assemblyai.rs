//! AssemblyAI: several hosts, one for each kind of call. A transcript is made by one call and told by
//! another; short audio, speech and the language models answer at once.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Asked, Credential, Endpoint, ErrorText, Form, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::openai::{self, completions};
use crate::providers::spoken::{self, Charged};
use crate::providers::{compatible, escape, free, metered_unread, socket, speech, state};

mod speech_socket;
mod streaming;
mod transcript;

/// AssemblyAI's own API.
pub static PROVIDER: Provider = Provider {
    name: "assemblyai",
    base_url: "https://api.assemblyai.com",
    credential: Credential::Header("authorization"),
    credential_env: "ASSEMBLYAI_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

/// Where audio is heard while it is spoken.
const STREAMING: Option<&str> = Some("https://streaming.assemblyai.com");
/// Where short audio is heard at once.
const SYNC: Option<&str> = Some("https://sync.assemblyai.com");
/// Where texts are spoken.
const SPEECH: Option<&str> = Some("https://tts.us.assemblyai.com");
/// Where language models answer.
const GATEWAY: Option<&str> = Some("https://llm-gateway.assemblyai.com");

/// What was billed, and by which model.
const BILLED: &str = "x-tts-billed-characters";
const MODEL: &str = "x-tts-model";
const MILLIS: &str = "x-tts-audio-duration-ms";

const ENDPOINTS: &[Endpoint] = &[
    transcript::CREATED,
    transcript::FETCHED,
    state(Get, "/v2/transcript", Keeps::List),
    state(Delete, "/v2/transcript/{id}", Keeps::Item),
    state(Get, "/v2/transcript/{id}/sentences", Keeps::Item),
    state(Get, "/v2/transcript/{id}/paragraphs", Keeps::Item),
    state(Get, "/v2/transcript/{id}/srt", Keeps::Item),
    state(Get, "/v2/transcript/{id}/vtt", Keeps::Item),
    state(Get, "/v2/transcript/{id}/word-search", Keeps::Item),
    state(Get, "/v2/transcript/{id}/redacted-audio", Keeps::Item),
    // The address it answers with is known to its maker alone.
    free(Post, "/v2/upload"),
    prompted("/lemur/v3/generate/task"),
    prompted("/lemur/v3/generate/summary"),
    prompted("/lemur/v3/generate/question-answer"),
    prompted("/lemur/v3/generate/action-items"),
    transcript::at_once("/v1/transcribe", SYNC),
    transcript::at_once("/v1/transcribe/live", SYNC),
    Endpoint {
        base_url: SYNC,
        ..free(Get, "/v1/warm")
    },
    Endpoint {
        base_url: GATEWAY,
        ..compatible::chat("/v1/chat/completions")
    },
    Endpoint {
        base_url: GATEWAY,
        ..metered_unread(Post, "/v1/understanding", Kind::Other, Keeps::Nothing)
    },
    Endpoint {
        base_url: GATEWAY,
        ..free(Get, "/v1/models")
    },
    Endpoint {
        path: "/v1/speech",
        base_url: SPEECH,
        kind: Kind::Speech,
        is_read: true,
        form: Form::Opaque,
        answer_headers: &[BILLED, MODEL, MILLIS],
        request_facts: speech_facts,
        glance: |_| Glance::Dull,
        usage_of: speech_usage_of,
        ..Endpoint::DEFAULT
    },
    // Sockets.
    Endpoint {
        base_url: SPEECH,
        ..socket(
            "/v1/ws",
            Kind::Speech,
            &speech_socket::SOCKET,
            speech_socket::request_facts,
            speech_socket::usage_of,
        )
    },
    Endpoint {
        base_url: STREAMING,
        ..socket(
            "/v3/ws",
            Kind::Transcription,
            &streaming::SOCKET,
            streaming::request_facts,
            streaming::usage_of,
        )
    },
    Endpoint {
        base_url: STREAMING,
        ..escape(Get, "/v3/token")
    },
    escape(Post, "/v2/realtime/token"),
];

/// A model that reads transcripts; its usage names input and output.
const fn prompted(path: &'static str) -> Endpoint {
    Endpoint {
        kind: Kind::Completions,
        request_facts: prompted_facts,
        amend_request: None,
        ..openai::completions(path)
    }
}

fn prompted_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    completions::request_facts(evidence, asked);
    const NAMES: [&str; 2] = ["final_model", "max_output_size"];
    if let Some(picked) = asked
        .body
        .and_then(|body| crate::framing::json::pick(body, NAMES))
    {
        crate::providers::facts::keep_request(evidence, "model", picked.members[0]);
        crate::providers::facts::keep_request(evidence, "max_output_tokens", picked.members[1]);
    }
}

fn speech_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    speech::text_facts(evidence, asked, ["model", "text"]);
}

fn speech_usage_of(evidence: &Evidence) -> UsageDraft {
    let model = evidence.headers.get(MODEL).map(String::as_str);
    let line = Line {
        model: model
            .or_else(|| evidence.request_text("model"))
            .unwrap_or("text-to-speech")
            .to_owned(),
        ..Line::default()
    };
    let billed = spoken::header_count(evidence, BILLED);
    let reported = billed.map(|count| (Meter::Characters, count.into()));
    spoken::draft(evidence, line, reported, Charged::Spoken)
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({"error": error.message, "code": error.code})
        .to_string()
        .into_bytes()
}

/// Its only event streams are the language models'.
fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    openai::cut_event(error)
}
