//! OpenAI's Responses over a WebSocket, `/v1/responses`: the events of the streamed answer, one response
//! after the other. Each terminal event carries its response's usage and ends a part, also when a steered
//! response is followed by its successor.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Usage, UsageDraft};

use super::realtime_socket::{KEY_PROTOCOL, cut_message, runs};
use super::responses;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::providers::facts::{self, keep_request, member, missing};
use crate::providers::sockets;
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/responses`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    models: Some(models),
    last_words: LastWords::Turns { stop: None, runs },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    if !heard.is_json() {
        return Turn::Goes;
    }
    let Some(picked) = pick(
        heard.data,
        ["type", "model", "max_output_tokens", "response"],
    ) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [kind, model, max_output, response] = picked.members;
    let Some(kind) = kind.and_then(text_of) else {
        return Turn::Goes;
    };
    if heard.from == From::Caller {
        if kind == "response.create" {
            let inner = response.and_then(|raw| pick_in(raw, ["model", "max_output_tokens"]));
            let [inner_model, inner_max] = inner.map_or([None; 2], |inner| inner.members);
            keep_request(evidence, "model", inner_model.or(model));
            keep_request(evidence, "max_output_tokens", inner_max.or(max_output));
            evidence.response.insert("in_progress", true);
        }
        return Turn::Goes;
    }
    match &*kind {
        "response.created" => {
            evidence.response.insert("in_progress", true);
            Turn::Goes
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            keep_terminal(evidence, response);
            Turn::Ends
        }
        "error" => {
            evidence.flag("error_message");
            // What it refuses never ran; one that fails under way says so by its terminal event.
            evidence.response.insert("in_progress", false);
            Turn::Goes
        }
        _ => {
            evidence.counts.output_frames += u64::from(kind.ends_with(".delta"));
            Turn::Goes
        }
    }
}

/// The models that a response is asked of.
fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    let Some(picked) = pick(heard.data, ["model", "response"]) else {
        return;
    };
    let [model, response] = picked.members;
    for model in [model, member(response, "model")] {
        if let Some(model) = model.and_then(text_of) {
            on(&model);
        }
    }
}

/// Keeps what the last event of a response says of it.
pub(super) fn keep_terminal(evidence: &mut Evidence, response: Option<Raw<'_>>) {
    evidence.response.insert("in_progress", false);
    evidence.response.insert("done", true);
    if let Some(response) = response {
        responses::read_response(evidence, response.bytes());
    }
}

/// The line of one response.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    if evidence.response.is_set("done") {
        return ended(evidence);
    }
    if evidence.response.is_set("in_progress") {
        let high = facts::text_tokens(0, facts::output_high(evidence));
        return missing(facts::CUT, Some(Usage::new()), Some(high));
    }
    sockets::nothing()
}

/// The lines of a terminal event.
pub(super) fn ended(evidence: &Evidence) -> UsageDraft {
    responses::reported(evidence).unwrap_or_else(|| {
        let high = facts::text_tokens(0, facts::output_high(evidence));
        missing("no_usage_in_answer", Some(Usage::new()), Some(high))
    })
}
