//! ElevenLabs: speech billed by what the header `character-cost` says, else by the characters of the
//! request; transcriptions by the second of each channel. Sockets say no count of their own.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use crate::framing::json::{items, pick, pick_in};
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Asked, Credential, Endpoint, ErrorText, Form, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::facts::{self, keep_request};
use crate::providers::spoken::{self, CHARACTERS, Charged};
use crate::providers::{escape, free, metered_unread, socket, speech, state, state_unread};
use crate::socket::KeyMembers;

mod agent_socket;
mod listen_socket;
mod speech_sockets;
mod transcription;

/// ElevenLabs' own API.
pub static PROVIDER: Provider = Provider {
    name: "elevenlabs",
    base_url: "https://api.elevenlabs.io",
    credential: Credential::Header("xi-api-key"),
    credential_env: "ELEVENLABS_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "request-id",
    error_content_type: "application/json",
    error_body,
    cut_event: |_| None,
};

/// Credits charged; an older name counted characters.
const COST: &str = "character-cost";
const COUNT: &str = "x-character-count";
/// What an answer is called in the history.
const HISTORY: &str = "history-item-id";
const HEADERS: &[&str] = &[COST, COUNT, HISTORY];

const ENDPOINTS: &[Endpoint] = &[
    spoken_text("/v1/text-to-speech/{voice}"),
    spoken_text("/v1/text-to-speech/{voice}/stream"),
    spoken_text("/v1/text-to-speech/{voice}/with-timestamps"),
    spoken_text("/v1/text-to-speech/{voice}/stream/with-timestamps"),
    dialogue("/v1/text-to-dialogue"),
    dialogue("/v1/text-to-dialogue/stream"),
    dialogue("/v1/text-to-dialogue/with-timestamps"),
    dialogue("/v1/text-to-dialogue/stream/with-timestamps"),
    made("/v1/sound-generation", sound_usage_of),
    made("/v1/music", music_usage_of),
    made("/v1/music/stream", music_usage_of),
    made("/v1/music/detailed", music_usage_of),
    made("/v1/music/detailed/stream", music_usage_of),
    made("/v1/music/video-to-music", music_usage_of),
    made("/v1/music/stem-separation", music_usage_of),
    free(Post, "/v1/music/plan"),
    made("/v1/speech-to-speech/{voice}", changed_usage_of),
    made("/v1/speech-to-speech/{voice}/stream", changed_usage_of),
    made("/v1/voice-changer/{voice}", changed_usage_of),
    made("/v1/voice-changer/{voice}/stream", changed_usage_of),
    made("/v1/audio-isolation", isolated_usage_of),
    made("/v1/audio-isolation/stream", isolated_usage_of),
    made("/v1/text-to-voice/design", designed_usage_of),
    made("/v1/text-to-voice/create-previews", designed_usage_of),
    made("/v1/text-to-voice/{voice}/remix", designed_usage_of),
    transcription::created("/v1/speech-to-text"),
    transcription::fetched("/v1/speech-to-text/transcripts/{id}"),
    state(Delete, "/v1/speech-to-text/transcripts/{id}", Keeps::Item),
    metered_unread(Post, "/v1/forced-alignment", Kind::Other, Keeps::Nothing),
    metered_unread(Post, "/v1/dubbing", Kind::Other, Keeps::Creates),
    state_unread(Get, "/v1/dubbing/{id}", Keeps::Item, Kind::Other),
    state(Delete, "/v1/dubbing/{id}", Keeps::Item),
    state(Get, "/v1/dubbing/{id}/audio/{language}", Keeps::Item),
    state(Get, "/v1/history", Keeps::List),
    state(Get, "/v1/history/{id}", Keeps::Item),
    state(Delete, "/v1/history/{id}", Keeps::Item),
    state(Get, "/v1/history/{id}/audio", Keeps::Item),
    // Sockets.
    socket(
        "/v1/text-to-speech/{voice}/stream-input",
        Kind::Speech,
        &speech_sockets::ONE,
        speech_sockets::request_facts,
        speech_sockets::usage_of,
    ),
    socket(
        "/v1/text-to-speech/{voice}/multi-stream-input",
        Kind::Speech,
        &speech_sockets::SEVERAL,
        speech_sockets::request_facts,
        speech_sockets::usage_of,
    ),
    socket(
        "/v1/text-to-dialogue/stream-input",
        Kind::Speech,
        &speech_sockets::SEVERAL,
        speech_sockets::request_facts,
        speech_sockets::usage_of_dialogue,
    ),
    socket(
        "/v1/text-to-dialogue/multi-stream-input",
        Kind::Speech,
        &speech_sockets::SEVERAL,
        speech_sockets::request_facts,
        speech_sockets::usage_of_dialogue,
    ),
    socket(
        "/v1/speech-to-text/realtime",
        Kind::Transcription,
        &listen_socket::SOCKET,
        listen_socket::request_facts,
        listen_socket::usage_of,
    ),
    socket(
        "/v1/convai/conversation",
        Kind::Agent,
        &agent_socket::SOCKET,
        |_, _| {},
        agent_socket::usage_of,
    ),
    escape(Post, "/v1/single-use-token/{kind}"),
    escape(Get, "/v1/convai/conversation/get-signed-url"),
    escape(Get, "/v1/convai/conversation/token"),
    escape(Post, "/v1/convai/realtime/client_secrets"),
    free(Get, "/v1/models"),
    free(Get, "/v1/voices"),
    free(Get, "/v2/voices"),
    free(Get, "/v1/voices/{voice}"),
    free(Get, "/v1/voices/{voice}/settings"),
    free(Get, "/v1/voices/settings/default"),
    free(Get, "/v1/shared-voices"),
];

/// Credentials in the first message of a socket, in both spellings.
const KEY_MEMBERS: KeyMembers = KeyMembers {
    swapped: &["xi-api-key", "xi_api_key"],
    removed: &["authorization", "single_use_token"],
};

const fn spoken_text(path: &'static str) -> Endpoint {
    Endpoint {
        request_facts: text_facts,
        ..made(path, speech_usage_of)
    }
}

const fn dialogue(path: &'static str) -> Endpoint {
    Endpoint {
        request_facts: dialogue_facts,
        ..made(path, dialogue_usage_of)
    }
}

/// Audio comes back, bare or inside JSON; what it costs stands in a header.
const fn made(path: &'static str, usage_of: fn(&Evidence) -> UsageDraft) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Speech,
        made: &[HISTORY],
        is_read: true,
        form: Form::Opaque,
        answer_headers: HEADERS,
        request_facts: model_facts,
        glance: |_| Glance::Dull,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

fn text_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(picked) = asked.body.and_then(|body| pick(body, ["model_id", "text"])) {
        keep_request(evidence, "model", picked.members[0]);
        spoken::keep(evidence, picked.members[1]);
    }
}

fn dialogue_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(picked) = asked
        .body
        .and_then(|body| pick(body, ["model_id", "inputs"]))
    else {
        return;
    };
    keep_request(evidence, "model", picked.members[0]);
    let texts = picked.members[1].into_iter().flat_map(items);
    let counts = texts.map(|input| pick_in(input, ["text"])?.members[0].and_then(spoken::scalars));
    if let Some(count) = counts.sum::<Option<u64>>() {
        evidence.request.insert(CHARACTERS, count);
    }
}

fn model_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else { return };
    if let Some(picked) = pick(body, ["model_id"]) {
        keep_request(evidence, "model", picked.members[0]);
    } else if let Some(model) = speech::field(body, "model_id") {
        evidence.request.insert("model", model);
    }
}

fn speech_usage_of(evidence: &Evidence) -> UsageDraft {
    counted(evidence, "eleven_multilingual_v2")
}

fn dialogue_usage_of(evidence: &Evidence) -> UsageDraft {
    counted(evidence, "eleven_v3")
}

fn sound_usage_of(evidence: &Evidence) -> UsageDraft {
    uncounted(evidence, "eleven_text_to_sound_v2")
}

fn music_usage_of(evidence: &Evidence) -> UsageDraft {
    uncounted(evidence, "music_v1")
}

fn changed_usage_of(evidence: &Evidence) -> UsageDraft {
    uncounted(evidence, "eleven_english_sts_v2")
}

fn isolated_usage_of(evidence: &Evidence) -> UsageDraft {
    uncounted(evidence, "audio-isolation")
}

fn designed_usage_of(evidence: &Evidence) -> UsageDraft {
    uncounted(evidence, "eleven_multilingual_ttv_v2")
}

/// The vendor charges the whole text, also of an answer that nobody hears to its end.
fn counted(evidence: &Evidence, default_model: &str) -> UsageDraft {
    let reported = spoken::header_count(evidence, COST)
        .map(|cost| (Meter::Credits, cost.into()))
        .or_else(|| {
            Some((
                Meter::Characters,
                spoken::header_count(evidence, COUNT)?.into(),
            ))
        });
    let line = line(evidence, default_model);
    spoken::draft(evidence, line, reported, Charged::Whole)
}

/// What is billed by no text: only the header knows.
fn uncounted(evidence: &Evidence, default_model: &str) -> UsageDraft {
    if spoken::header_count(evidence, COST).is_some() {
        return counted(evidence, default_model);
    }
    facts::refused(evidence)
        .unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None))
}

fn line(evidence: &Evidence, default_model: &str) -> Line {
    let model = evidence.request_text("model").unwrap_or(default_model);
    Line {
        model: model.to_owned(),
        ..Line::default()
    }
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({
        "detail": {
            "status": error.code,
            "code": error.code,
            "message": error.message,
            "request_id": error.request_id,
        }
    })
    .to_string()
    .into_bytes()
}
