//! AssemblyAI's transcription while it is spoken, `/v3/ws`: billed for the time the session was open,
//! idle time included, which its termination says. A session that was dropped is measured.

use farebox_pricing::evidence::{Evidence, Fact, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft};

use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::facts::keep_response_text;
use crate::providers::sockets::{self, keep_farthest, keep_query, only, open_session};
use crate::socket::{Heard, LastWords, Socket, Turn};

/// `/v3/ws`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    last_words: LastWords::Session(TERMINATE),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// Tokens of the vendor's, which end here: the operator's key stands in a header.
pub(super) const KEY_QUERY: &[&str] = &["token", "api_key"];
/// Ends any of its sessions in order.
pub(super) const TERMINATE: &str = r#"{"type":"Terminate"}"#;
/// The vendor's model when the query names none.
const DEFAULT_MODEL: &str = "universal-streaming-english";
/// Digits of a heartbeat's milliseconds behind the point of seconds.
const MILLIS_SCALE: u8 = 3;

/// Its error message, as its clients know it; the number is the close's that follows.
pub(super) fn cut_message(error: &ErrorText<'_>) -> String {
    serde_json::json!({
        "type": "Error",
        "error_code": 1008,
        "error": error.message,
        "error_type": error.code,
    })
    .to_string()
}

/// The model and what the audio is.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [(&str, &str); 3] = [
        ("speech_model", "model"),
        ("encoding", "encoding"),
        ("sample_rate", "sample_rate"),
    ];
    keep_query(evidence, asked, &NAMES);
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    sockets::listen(heard, evidence, from_upstream)
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = [
        "type",
        "id",
        "configuration",
        "total_duration_ms",
        "session_duration_seconds",
        "audio_duration_seconds",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        return;
    };
    let [kind, id, configuration, total_ms, session, audio] = picked.members;
    match &*kind.and_then(text_of).unwrap_or_default() {
        "Begin" => {
            keep_response_text(evidence, "id", id);
            let served = configuration.and_then(|raw| pick_in(raw, ["model"]));
            keep_response_text(evidence, "model", served.and_then(|of| of.members[0]));
        }
        "Turn" => evidence.counts.output_frames += 1,
        "Heartbeat" => {
            let millis = total_ms.and_then(|raw| raw.get().parse::<i64>().ok());
            let seconds = millis.and_then(|ms| Decimal::new(ms.max(0).into(), MILLIS_SCALE).ok());
            if let Some(seconds) = seconds {
                keep_farthest(evidence, "heartbeat_seconds", seconds);
            }
        }
        "Termination" => keep_termination(evidence, session, audio),
        "Error" => evidence.flag("error_message"),
        _ => {}
    }
}

fn keep_termination(evidence: &mut Evidence, session: Option<Raw<'_>>, audio: Option<Raw<'_>>) {
    let parts = [
        ("session_duration_seconds", session),
        ("audio_duration_seconds", audio),
    ];
    let kept: Vec<(&str, Kept)> = parts
        .iter()
        .filter_map(|(name, raw)| Some((*name, Kept::of(raw.as_ref()?.get())?)))
        .collect();
    let members = kept.iter().map(|(name, value)| (*name, value.json()));
    evidence.replace_object("termination", Kept::object(members));
}

/// The line of one session.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |seconds| Line {
        model: evidence
            .response_text("model")
            .or_else(|| evidence.request_text("model"))
            .unwrap_or(DEFAULT_MODEL)
            .to_owned(),
        conditions: Conditions::from([("mode".to_owned(), "streaming".to_owned())]),
        usage: only(Meter::SessionSeconds, seconds),
    };
    let reported = evidence.object("termination");
    let reported = reported.and_then(|object| object.get("session_duration_seconds")?.decimal());
    if let Some(seconds) = reported.filter(|seconds| !seconds.is_negative()) {
        return sockets::reported(vec![line(seconds)]);
    }
    let heartbeat = evidence.response.get("heartbeat_seconds");
    let low = heartbeat.and_then(Fact::as_decimal).unwrap_or_default();
    open_session(evidence, line, low)
}
