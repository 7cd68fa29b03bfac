//! xAI's speech and transcription on sockets, `/v1/tts` and `/v1/stt`: characters of the text that went
//! up, and seconds of the audio. One model speaks and one listens; no request names it.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft};

use crate::framing::json::{pick, text_of};
use crate::provider::Asked;
use crate::providers::contexts::{self, End};
use crate::providers::openai::realtime_socket::{KEY_PROTOCOL, cut_message};
use crate::providers::sockets::{
    self, add_audio, add_encoded_output, decimal, keep_query, only, sent_audio,
};
use crate::providers::spoken::scalars;
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/tts`.
pub(super) static SPEAKS: Socket = Socket {
    collect: collect_spoken,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Turns {
        stop: None,
        runs: |evidence| evidence.objects_at("context").next().is_some(),
    },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// `/v1/stt`.
pub(super) static LISTENS: Socket = Socket {
    collect: collect_heard,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Session(r#"{"type":"audio.done"}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// The vendor's rate when the query names none.
const DEFAULT_RATE: u64 = 16_000;

/// What the audio is.
pub(super) fn heard_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    evidence.request.insert("encoding", "pcm");
    evidence.request.insert("sample_rate", DEFAULT_RATE);
    const NAMES: [(&str, &str); 3] = [
        ("encoding", "encoding"),
        ("sample_rate", "sample_rate"),
        ("channels", "channels"),
    ];
    keep_query(evidence, asked, &NAMES);
}

fn collect_spoken(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    let Some(picked) = pick(heard.data, ["type", "delta"]) else {
        if heard.from == From::Caller && !heard.is_whole() {
            evidence.flag("text_not_read");
        }
        return Turn::Goes;
    };
    let [kind, delta] = picked.members;
    match (heard.from, &*kind.and_then(text_of).unwrap_or_default()) {
        (From::Caller, "text.delta") => {
            contexts::add(evidence, "", "", delta.and_then(scalars).unwrap_or(0));
        }
        (From::Caller, "text.clear") => contexts::end(evidence, "", End::Left),
        (From::Upstream, "audio.delta") => add_encoded_output(evidence, delta),
        (From::Upstream, "audio.done") => contexts::end(evidence, "", End::Spoken),
        (From::Upstream, "error") => {
            evidence.flag("error_message");
            contexts::end_all(evidence, End::Failed);
        }
        _ => {}
    }
    Turn::Goes
}

fn collect_heard(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match (heard.from, heard.is_text) {
        (From::Caller, false) => add_audio(evidence, heard.data, heard.len),
        (From::Caller, true) | (From::Upstream, false) => {}
        (From::Upstream, true) => {
            let picked = pick(heard.data, ["type", "duration"]);
            let [kind, duration] = picked.map_or([None; 2], |picked| picked.members);
            match &*kind.and_then(text_of).unwrap_or_default() {
                "transcript.partial" => evidence.counts.output_frames += 1,
                "transcript.done" => {
                    evidence.counts.output_frames += 1;
                    if let Some(seconds) = decimal(duration) {
                        evidence.response.insert("duration", seconds);
                    }
                }
                "error" => evidence.flag("error_message"),
                _ => {}
            }
        }
    }
    Turn::Goes
}

/// The line of a socket that speaks.
pub(super) fn usage_of_spoken(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    contexts::usage_of(evidence, "text-to-speech")
}

/// The line of a socket that listens: the length that its last transcript says, else of the bytes.
pub(super) fn usage_of_heard(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |seconds| Line {
        model: "speech-to-text".to_owned(),
        conditions: Conditions::from([("mode".to_owned(), "streaming".to_owned())]),
        usage: only(Meter::AudioSeconds, seconds),
    };
    match evidence.response.get("duration").and_then(Fact::as_decimal) {
        Some(seconds) => sockets::reported(vec![line(seconds)]),
        None => sent_audio(evidence, line, None),
    }
}
