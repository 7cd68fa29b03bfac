//! ElevenLabs' conversational agents, `/v1/convai/conversation`: the time of the conversation. No
//! message says how long it was or what its models used.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use super::speech_sockets::KEY_QUERY;
use crate::framing::json::{pick, pick_in, text_of};
use crate::providers::facts::keep_response_text;
use crate::providers::sockets::{
    self, add_encoded_audio, add_encoded_output, keep_format, only, open_session,
};
use crate::socket::{From, Heard, Socket, Turn};

/// `/v1/convai/conversation`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    ..Socket::DEFAULT
};

/// What the events call it.
const MODEL: &str = "conversational-ai";

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    const NAMES: [&str; 4] = [
        "type",
        "user_audio_chunk",
        "audio_event",
        "conversation_initiation_metadata_event",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        return Turn::Goes;
    };
    let [kind, spoken, audio, metadata] = picked.members;
    match (heard.from, &*kind.and_then(text_of).unwrap_or_default()) {
        (From::Caller, _) => add_encoded_audio(evidence, spoken),
        (From::Upstream, "conversation_initiation_metadata") => {
            const NAMES: [&str; 2] = ["conversation_id", "user_input_audio_format"];
            let metadata = metadata.and_then(|raw| pick_in(raw, NAMES));
            let [id, format] = metadata.map_or([None; 2], |picked| picked.members);
            keep_response_text(evidence, "id", id);
            if let Some(format) = format.and_then(text_of) {
                keep_format(evidence, &format);
            }
        }
        (From::Upstream, "audio") => {
            let audio = audio.and_then(|raw| pick_in(raw, ["audio_base_64"]));
            add_encoded_output(evidence, audio.and_then(|picked| picked.members[0]));
        }
        (From::Upstream, "error") => evidence.flag("error_message"),
        _ => {}
    }
    Turn::Goes
}

/// The line of one conversation.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |open| Line {
        model: MODEL.to_owned(),
        usage: only(Meter::SessionSeconds, open),
        ..Line::default()
    };
    open_session(evidence, line, sockets::open_seconds(evidence))
}
