//! Deepgram's streaming text to speech, `/v1/speak` and `/v2/speak`: characters.
//!
//! The first version reports none: the scalar values of each `Speak` are what is billed. The second says
//! how many it bills, for each turn and at the end for the session.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::listen_socket::{KEY_PROTOCOL, cut_message};
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::Asked;
use crate::providers::facts::keep_response_text;
use crate::providers::sockets::{self, bounded, only};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// Both versions.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Session(r#"{"type":"Close"}"#),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// The vendor's voice when the query names none.
const DEFAULT_MODEL: &str = "aura-asteria-en";

/// The voice, which decides the price.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let named = asked.query.unwrap_or_default().split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == "model" && !value.is_empty()).then_some(value)
    });
    let model = named.unwrap_or(DEFAULT_MODEL);
    if model.len() <= farebox_pricing::event::MODEL_BYTES_MAX {
        evidence.request.insert("model", model);
    }
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match (heard.from, heard.is_text) {
        (From::Caller, true) => from_caller(heard, evidence),
        (From::Upstream, true) => from_upstream(heard, evidence),
        (From::Upstream, false) => {
            evidence.counts.output_audio_bytes += heard.len;
            evidence.counts.output_frames += 1;
        }
        (From::Caller, false) => {}
    }
    Turn::Goes
}

fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(heard.data, ["type", "text"]) else {
        // A text that is too large to be kept is at least counted as large.
        return;
    };
    let [kind, text] = picked.members;
    match kind.and_then(text_of).as_deref() {
        Some("Speak") => {
            let characters = text
                .and_then(text_of)
                .map_or(0, |text| text.chars().count());
            evidence.counts.characters += characters as u64;
        }
        Some("Flush") => {
            let flushed = evidence.counts.characters;
            evidence.response.insert("flushed_characters", flushed);
        }
        // Whether text that was never spoken is billed is not documented: it is counted and said.
        Some("Clear" | "Interrupt") => evidence.flag("cleared_text"),
        _ => {}
    }
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = [
        "type",
        "request_id",
        "model_name",
        COUNT,
        SPEECH,
        "metadata",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        return;
    };
    let [kind, request_id, model, billable, speech, metadata] = picked.members;
    match kind.and_then(text_of).as_deref() {
        Some("Metadata" | "Connected") => {
            keep_response_text(evidence, "id", request_id);
            keep_response_text(evidence, "model", model);
        }
        Some("SpeechMetadata") => {
            // A turn that was interrupted has told its count already.
            let told = evidence.response_text(INTERRUPTED);
            if speech
                .and_then(text_of)
                .is_none_or(|speech| told != Some(&*speech))
            {
                add_turn(evidence, billable);
            }
        }
        Some("SpeechInterrupted") => {
            if let Some(of) = metadata.and_then(|raw| pick_in(raw, [SPEECH, COUNT])) {
                keep_response_text(evidence, INTERRUPTED, of.members[0]);
                add_turn(evidence, of.members[1]);
            }
        }
        Some("SessionMetadata") => {
            let kept = std::str::from_utf8(heard.data).ok().and_then(Kept::of);
            if let Some(kept) = kept {
                evidence.replace_object("session", kept);
            }
        }
        Some("Error") => evidence.flag("error_message"),
        _ => {}
    }
}

/// What a turn's own report says is billed, and of which turn.
const COUNT: &str = "billable_character_count";
const SPEECH: &str = "speech_id";
/// The fact of the turn that was interrupted last.
const INTERRUPTED: &str = "interrupted_speech";

fn add_turn(evidence: &mut Evidence, billable: Option<Raw<'_>>) {
    let billable: Option<u64> = billable.and_then(|raw| raw.get().parse().ok());
    if let Some(billable) = billable {
        let before = evidence.response.count("turns_characters").unwrap_or(0);
        let sum = before.saturating_add(billable);
        evidence.response.insert("turns_characters", sum);
    }
}

/// The line of one socket.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |characters: u64| Line {
        model: family(
            evidence
                .response_text("model")
                .or_else(|| evidence.request_text("model"))
                .unwrap_or_default(),
        ),
        conditions: Default::default(),
        usage: only(Meter::Characters, characters.into()),
    };
    let session = evidence.object("session");
    let session =
        session.and_then(|session| session.get("total_billable_character_count")?.count());
    if let Some(characters) = session {
        return sockets::reported(vec![line(characters)]);
    }
    let sent = evidence.counts.characters;
    let (source, reason, characters, low) = match evidence.response.count("turns_characters") {
        Some(turns) => (UsageSource::Partial, "no_session_total", turns, turns),
        None => {
            let flushed = evidence.response.count("flushed_characters").unwrap_or(0);
            let is_cleared = evidence.has_flag("cleared_text");
            let low = if is_cleared { flushed } else { sent };
            (UsageSource::Measured, "not_reported_by_vendor", sent, low)
        }
    };
    // How much text may follow a checkpoint is bounded by nothing.
    let high = (evidence.counts.unseen_ms == 0).then(|| Decimal::from(sent.max(characters)));
    let line = line(characters);
    bounded(source, reason, line, Meter::Characters, low.into(), high)
}

/// Voices are priced by their generation.
fn family(voice: &str) -> String {
    if voice.starts_with("aura-2-") {
        "aura-2".to_owned()
    } else if voice.starts_with("aura-") {
        "aura-1".to_owned()
    } else {
        voice.to_owned()
    }
}
