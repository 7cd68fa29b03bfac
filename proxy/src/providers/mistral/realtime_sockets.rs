//! Mistral's transcription and speech on sockets. A transcription's end says the seconds of audio it was
//! billed for and ends a part; speech says tokens and is billed by the character, which we count.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use super::error_value;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::contexts::{self, End};
use crate::providers::facts::{self, keep_request, keep_response_text, keep_usage, member};
use crate::providers::sockets::{
    self, add_encoded_audio, add_encoded_output, keep_query, only, sent_audio,
};
use crate::providers::spoken::scalars;
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/audio/transcriptions/realtime`.
pub(super) static LISTENS: Socket = Socket {
    collect: collect_heard,
    last_words: LastWords::Turns {
        stop: Some(r#"{"type":"input_audio.end"}"#),
        runs: |evidence| evidence.counts.audio_bytes > 0,
    },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// `/v1/audio/speech/realtime`.
pub(super) static SPEAKS: Socket = Socket {
    collect: collect_spoken,
    last_words: LastWords::Turns {
        stop: None,
        runs: |evidence| evidence.objects_at("context").next().is_some(),
    },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

fn cut_message(error: &ErrorText<'_>) -> String {
    let mut inner = error_value(error);
    // Its clients take nothing but a number here.
    inner["code"] = 1008.into();
    inner["reason"] = error.code.into();
    serde_json::json!({"type": "error", "error": inner}).to_string()
}

/// The model.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    keep_query(evidence, asked, &[("model", "model")]);
}

fn keep_session(evidence: &mut Evidence, session: Option<Raw<'_>>, is_served: bool) {
    let names = ["request_id", "model", "audio_format"];
    let Some(picked) = session.and_then(|raw| pick_in(raw, names)) else {
        return;
    };
    let [_, model, format] = picked.members;
    if is_served {
        keep_request(evidence, "session_model", model);
    }
    if let Some(format) = format.and_then(|raw| pick_in(raw, ["encoding", "sample_rate"])) {
        keep_request(evidence, "encoding", format.members[0]);
        keep_request(evidence, "sample_rate", format.members[1]);
    }
}

fn collect_heard(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    let Some(picked) = pick(heard.data, ["type", "audio", "session", "model", "usage"]) else {
        return Turn::Goes;
    };
    let [kind, audio, session, model, usage] = picked.members;
    let kind = kind.and_then(text_of).unwrap_or_default();
    match (heard.from, &*kind) {
        (From::Caller, "input_audio.append") => add_encoded_audio(evidence, audio),
        (From::Caller, "session.update") => keep_session(evidence, session, false),
        (From::Upstream, "session.created" | "session.updated") => {
            keep_session(evidence, session, true);
        }
        (From::Upstream, "transcription.done") => {
            keep_response_text(evidence, "model", model);
            keep_usage(evidence, "usage", usage);
            evidence.response.insert("done", true);
            return Turn::Ends;
        }
        (From::Upstream, "error") => evidence.flag("error_message"),
        (From::Upstream, kind) if kind.starts_with("transcription.") => {
            evidence.counts.output_frames += 1;
        }
        _ => {}
    }
    Turn::Goes
}

fn collect_spoken(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    let Some(picked) = pick(
        heard.data,
        ["type", "text", "session", "audio_data", "usage"],
    ) else {
        if heard.from == From::Caller && !heard.is_whole() {
            evidence.flag("text_not_read");
        }
        return Turn::Goes;
    };
    let [kind, text, session, audio, usage] = picked.members;
    match (heard.from, &*kind.and_then(text_of).unwrap_or_default()) {
        (From::Caller, "input_text.append") => {
            contexts::add(evidence, "", "", text.and_then(scalars).unwrap_or(0));
        }
        (From::Upstream, "session.created" | "session.updated") => {
            keep_request(evidence, "session_model", member(session, "model"));
        }
        (From::Upstream, "speech.audio.delta") => add_encoded_output(evidence, audio),
        (From::Upstream, "speech.audio.done") => {
            keep_usage(evidence, "usage", usage);
            contexts::end(evidence, "", End::Spoken);
            return Turn::Ends;
        }
        (From::Upstream, "error") => {
            evidence.flag("error_message");
            contexts::end_all(evidence, End::Failed);
        }
        _ => {}
    }
    Turn::Goes
}

fn model(evidence: &Evidence) -> String {
    evidence
        .response_text("model")
        .or_else(|| evidence.request_text("session_model"))
        .or_else(|| evidence.request_text("model"))
        .unwrap_or_default()
        .to_owned()
}

/// The line of one transcription.
pub(super) fn usage_of_heard(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |seconds| Line {
        model: model(evidence),
        usage: only(Meter::AudioSeconds, seconds),
        ..Line::default()
    };
    let seconds = evidence.object("usage");
    let seconds =
        seconds.and_then(|object| object.get("prompt_audio_seconds").and_then(Json::decimal));
    if let Some(seconds) = seconds.filter(|seconds| !seconds.is_negative()) {
        return sockets::reported(vec![line(seconds)]);
    }
    let is_done = evidence.response.is_set("done");
    if evidence.counts.audio_bytes == 0 && !is_done && evidence.counts.output_frames == 0 {
        return sockets::nothing();
    }
    let mut draft = sent_audio(evidence, line, None);
    if !draft.lines.is_empty() {
        draft.reason = Some(if is_done {
            "no_usage_in_answer"
        } else {
            facts::CUT
        });
    }
    draft
}

/// The line of one text that was spoken.
pub(super) fn usage_of_spoken(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    contexts::usage_of(evidence, &model(evidence))
}
