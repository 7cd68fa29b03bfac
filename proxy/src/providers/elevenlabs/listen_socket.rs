//! ElevenLabs' transcription while it is spoken, `/v1/speech-to-text/realtime`: the seconds of audio
//! that were appended. An edited transcript is billed as ten seconds at least, each.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft};

use super::speech_sockets::KEY_QUERY;
use super::transcription::key_terms;
use crate::framing::json::{pick, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::facts::{keep_request, keep_response_text};
use crate::providers::sockets::{
    self, add_encoded_audio, keep_format, keep_query, larger, only, plus, query_values,
    sent_seconds,
};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/speech-to-text/realtime`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    // Commits what was appended; there is no message that ends the session.
    last_words: LastWords::Turns {
        stop: Some(r#"{"message_type":"input_audio_chunk","audio_base_64":"","commit":true}"#),
        runs: |evidence| is_uncommitted(evidence),
    },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// What an edited transcript is billed for at least.
const EDITED_SECONDS_MIN: u64 = 10;
/// The vendor's format when the query names none.
const DEFAULT_FORMAT: &str = "pcm_16000";

fn cut_message(error: &ErrorText<'_>) -> String {
    serde_json::json!({"message_type": "error", "error": error.message, "code": error.code})
        .to_string()
}

/// The model, the format of the audio, and what costs more.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    keep_query(evidence, asked, &[("model_id", "model")]);
    let format = query_values(asked, "audio_format").last();
    keep_format(evidence, format.as_deref().unwrap_or(DEFAULT_FORMAT));
    let terms = query_values(asked, "keyterms").filter(|term| !term.is_empty());
    let terms = terms.count() as u64;
    if terms > 0 {
        evidence.request.insert("keyterms", terms);
    }
    let edit = query_values(asked, "transcript_edit").last();
    if edit.is_some_and(|edit| !matches!(&*edit, "" | "false")) {
        evidence.request.insert("transcript_edit", true);
    }
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    const NAMES: [&str; 5] = [
        "message_type",
        "audio_base_64",
        "sample_rate",
        "session_id",
        "error",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        return Turn::Goes;
    };
    let [kind, audio, rate, session, error] = picked.members;
    let kind = kind.and_then(text_of).unwrap_or_default();
    if heard.from == From::Caller {
        if kind == "input_audio_chunk" {
            add_encoded_audio(evidence, audio);
            keep_request(evidence, "sample_rate", rate);
        }
        return Turn::Goes;
    }
    match &*kind {
        "session_started" => keep_response_text(evidence, "id", session),
        "partial_transcript" => evidence.counts.output_frames += 1,
        "committed_transcript" => {
            evidence.counts.output_frames += 1;
            keep_committed(evidence);
        }
        _ if error.is_some() || kind == "error" => evidence.flag("error_message"),
        _ => {}
    }
    Turn::Goes
}

/// With edits each transcript has a minimum of its own.
fn keep_committed(evidence: &mut Evidence) {
    let Some(sent) = sent_seconds(evidence) else {
        return;
    };
    let before = number(evidence, "committed_seconds");
    let segment = sent.checked_sub(before).unwrap_or_default();
    let short = Decimal::from(EDITED_SECONDS_MIN).checked_sub(segment);
    let short = short.filter(|short| !short.is_negative());
    evidence.response.insert("committed_seconds", sent);
    if let (true, Some(short)) = (evidence.request.is_set("transcript_edit"), short) {
        let sum = plus(number(evidence, "minimum_seconds"), short);
        evidence.response.insert("minimum_seconds", sum);
    }
}

fn number(evidence: &Evidence, name: &str) -> Decimal {
    let fact = evidence.response.get(name).and_then(Fact::as_decimal);
    fact.unwrap_or_default()
}

fn is_uncommitted(evidence: &Evidence) -> bool {
    let sent = sent_seconds(evidence).unwrap_or_default();
    let committed = number(evidence, "committed_seconds");
    sent.checked_sub(committed)
        .is_some_and(|rest| !rest.is_negative() && !rest.is_zero())
}

/// The line of one session.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let mut conditions = Conditions::from([("mode".to_owned(), "streaming".to_owned())]);
    key_terms(evidence, &mut conditions);
    let more = number(evidence, "minimum_seconds");
    let line = |seconds: Decimal| Line {
        model: evidence
            .request_text("model")
            .unwrap_or("scribe_v2_realtime")
            .to_owned(),
        conditions: conditions.clone(),
        usage: only(Meter::AudioSeconds, plus(seconds, more)),
    };
    let mut draft = sockets::sent_audio(evidence, line, None);
    for bound in [&mut draft.low, &mut draft.high].into_iter().flatten() {
        let seconds = bound.quantity(Meter::AudioSeconds).unwrap_or_default();
        bound.set(Meter::AudioSeconds, larger(plus(seconds, more), seconds));
    }
    draft
}
