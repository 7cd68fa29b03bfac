//! Cartesia's speech, `/tts/websocket`: many contexts on one socket, each billed by the characters of its
//! transcripts unless it failed. No message says a count.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use crate::framing::json::{pick, text_of};
use crate::provider::ErrorText;
use crate::providers::contexts::{self, End};
use crate::providers::facts::{is_present, keep_request};
use crate::providers::sockets::{self, add_encoded_output};
use crate::providers::spoken::scalars;
use crate::socket::{From, Heard, Socket, Turn};

/// `/tts/websocket`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    models: Some(models),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// Browsers send a key or a token of theirs so.
pub(super) const KEY_QUERY: &[&str] = &["api_key", "access_token"];

/// Its error message, as its clients know it.
pub(super) fn cut_message(error: &ErrorText<'_>) -> String {
    let mut value = super::error_value(error);
    value["type"] = "error".into();
    value["done"] = true.into();
    value["error"] = error.message.into();
    value.to_string()
}

/// Every request names its model.
fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    let picked = pick(heard.data, ["model_id"]);
    let model = picked.and_then(|picked| picked.members[0]?.into());
    if let Some(model) = model.and_then(text_of) {
        on(&model);
    }
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match heard.from {
        From::Caller => from_caller(heard, evidence),
        From::Upstream => from_upstream(heard, evidence),
    }
    Turn::Goes
}

fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 4] = ["context_id", "model_id", "transcript", "cancel"];
    let Some(picked) = pick(heard.data, NAMES) else {
        if !heard.is_whole() {
            evidence.flag("text_not_read");
        }
        return;
    };
    let [context, model, transcript, cancel] = picked.members;
    let context = context.and_then(text_of).unwrap_or_default();
    if cancel.is_some_and(|raw| raw.get() == "true") {
        // What was generated until then stays billable; nobody says how much that is.
        return contexts::end(evidence, &context, End::Left);
    }
    keep_request(evidence, "model", model);
    let model = model.and_then(text_of).unwrap_or_default();
    let characters = transcript.and_then(scalars).unwrap_or(0);
    if characters > 0 {
        contexts::add(evidence, &context, &model, characters);
    }
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(heard.data, ["type", "context_id", "data", "error"]) else {
        return;
    };
    let [kind, context, audio, error] = picked.members;
    let name = context.and_then(text_of).unwrap_or_default();
    match &*kind.and_then(text_of).unwrap_or_default() {
        "chunk" => add_encoded_output(evidence, audio),
        "flush_done" => contexts::note_spoken(evidence, &name),
        "done" => contexts::end(evidence, &name, End::Spoken),
        kind if kind == "error" || is_present(error) => {
            evidence.flag("error_message");
            match is_present(context) {
                true => contexts::end(evidence, &name, End::Failed),
                false => contexts::end_all(evidence, End::Failed),
            }
        }
        _ => {}
    }
}

/// The lines of one socket.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let model = evidence.request_text("model").unwrap_or_default();
    contexts::usage_of(evidence, model)
}
