//! ElevenLabs' speech from text that is still being written: `stream-input`, with one context or
//! several, and dialogues likewise. No message says a count: the scalar values of each text are what is
//! billed, but for the single space that opens a context.

use std::borrow::Cow;

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use super::KEY_MEMBERS;
use crate::framing::json::{Raw, items, pick, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::contexts::{self, End};
use crate::providers::facts::{is_present, member};
use crate::providers::sockets::{self, add_encoded_output, keep_query};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// Browsers send a key or a token of theirs so.
pub(super) const KEY_QUERY: &[&str] = &[
    "xi-api-key",
    "xi_api_key",
    "authorization",
    "token",
    "single_use_token",
];

/// One context.
pub(super) static ONE: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    key_members: Some(KEY_MEMBERS),
    last_words: LastWords::Session(r#"{"text":""}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// Several contexts, or a dialogue.
pub(super) static SEVERAL: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    key_members: Some(KEY_MEMBERS),
    last_words: LastWords::Session(r#"{"close_socket":true}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// What opens a context and is no text.
const OPENING: &str = " ";

/// Its error message, as its clients know it; the code is the close's that follows.
fn cut_message(error: &ErrorText<'_>) -> String {
    serde_json::json!({"message": error.message, "error": error.code, "code": 1008}).to_string()
}

/// The model, which stands in the query.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    keep_query(evidence, asked, &[("model_id", "model")]);
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match heard.from {
        From::Caller => from_caller(heard, evidence),
        From::Upstream => from_upstream(heard, evidence),
    }
    Turn::Goes
}

fn name_of<'a>(snake: Option<Raw<'a>>, camel: Option<Raw<'a>>) -> Cow<'a, str> {
    snake.or(camel).and_then(text_of).unwrap_or_default()
}

fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = [
        "text",
        "inputs",
        "context_id",
        "contextId",
        "close_context",
        "close_socket",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        // A text that is too large to be kept is text all the same.
        if heard.is_text && (!heard.is_whole() || heard.is_json()) {
            evidence.flag("text_not_read");
        }
        return;
    };
    let [text, inputs, snake, camel, close_context, close_socket] = picked.members;
    let name = name_of(snake, camel);
    let is_on = |raw: Option<Raw<'_>>| raw.is_some_and(|raw| raw.get() == "true");
    if is_on(close_socket) {
        return;
    }
    if is_on(close_context) {
        // What was sent is still spoken where it was flushed before; nobody says so.
        return evidence.response.insert("context_closed", true);
    }
    let is_first = evidence.counts.sent_frames <= 1;
    let mut characters = 0;
    if let Some(text) = text.and_then(text_of)
        && (text != OPENING || !(is_first || is_present(snake.or(camel))))
    {
        characters += text.chars().count() as u64;
    }
    for line in inputs.into_iter().flat_map(items) {
        let text = member(Some(line), "text").and_then(text_of);
        characters += text.map_or(0, |text| text.chars().count() as u64);
    }
    if characters > 0 {
        contexts::add(evidence, &name, "", characters);
    }
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 7] = [
        "audio",
        "isFinal",
        "is_final",
        "contextId",
        "context_id",
        "error",
        "is_final_audio_for_turn",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        if !heard.is_text {
            evidence.counts.output_audio_bytes += heard.len;
            evidence.counts.output_frames += 1;
        }
        return;
    };
    let [audio, is_final, is_final_snake, camel, snake, error, turn] = picked.members;
    let name = name_of(camel, snake);
    let is_on = |raw: Option<Raw<'_>>| raw.is_some_and(|raw| raw.get() == "true");
    if is_present(audio) {
        add_encoded_output(evidence, audio);
    }
    if is_present(error) {
        evidence.flag("error_message");
        return contexts::end_all(evidence, End::Failed);
    }
    if is_on(turn) {
        contexts::note_spoken(evidence, &name);
    }
    if is_on(is_final) || is_on(is_final_snake) {
        let was_heard = evidence.counts.output_frames > 0;
        let is_left = evidence.response.is_set("context_closed") && !was_heard;
        contexts::end(
            evidence,
            &name,
            if is_left { End::Left } else { End::Spoken },
        );
    }
}

/// The lines of a socket that speaks.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    counted(evidence, "eleven_multilingual_v2")
}

/// The lines of a dialogue.
pub(super) fn usage_of_dialogue(evidence: &Evidence) -> UsageDraft {
    counted(evidence, "eleven_v3")
}

fn counted(evidence: &Evidence, default_model: &str) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let model = evidence.request_text("model").unwrap_or(default_model);
    contexts::usage_of(evidence, model)
}
