//! Cartesia's transcription while it is spoken, `/stt/websocket` and `/stt/turns/websocket`: seconds of
//! the audio that went up, silence included. What transcripts say of their length is a part of it.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft};

use super::speech_socket::{KEY_QUERY, cut_message};
use crate::framing::json::{pick, text_of};
use crate::provider::Asked;
use crate::providers::facts::keep_response_text;
use crate::providers::sockets::{self, decimal, keep_query, only, plus, sent_audio};
use crate::socket::{Heard, LastWords, Socket, Turn};

/// `/stt/websocket`, whose commands are bare words.
pub(super) static WORDS: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    last_words: LastWords::Session("close"),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// `/stt/turns/websocket`, whose commands are JSON.
pub(super) static TURNS: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    last_words: LastWords::Session(r#"{"type":"close"}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// The fact of what final transcripts say of their length.
const HEARD: &str = "heard_seconds";

/// The model and what the audio is.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [(&str, &str); 3] = [
        ("model", "model"),
        ("encoding", "encoding"),
        ("sample_rate", "sample_rate"),
    ];
    keep_query(evidence, asked, &NAMES);
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    sockets::listen(heard, evidence, from_upstream)
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(heard.data, ["type", "request_id", "is_final", "duration"]) else {
        return;
    };
    let [kind, request_id, is_final, duration] = picked.members;
    let kind = kind.and_then(text_of).unwrap_or_default();
    keep_response_text(evidence, "id", request_id);
    match &*kind {
        "transcript" => {
            evidence.counts.output_frames += 1;
            let is_final = is_final.is_some_and(|raw| raw.get() == "true");
            if let (true, Some(duration)) = (is_final, decimal(duration)) {
                let before = evidence.response.get(HEARD).and_then(Fact::as_decimal);
                let sum = plus(before.unwrap_or_default(), duration);
                evidence.response.insert(HEARD, sum);
            }
        }
        "error" => evidence.flag("error_message"),
        kind if kind.starts_with("turn.") => evidence.counts.output_frames += 1,
        _ => {}
    }
}

/// The line of one session.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |seconds| Line {
        model: evidence
            .request_text("model")
            .unwrap_or_default()
            .to_owned(),
        conditions: Conditions::from([("mode".to_owned(), "streaming".to_owned())]),
        usage: only(Meter::AudioSeconds, seconds),
    };
    let heard = evidence.response.get(HEARD).and_then(Fact::as_decimal);
    sent_audio(evidence, line, heard)
}
