//! AssemblyAI's speech, `/v1/ws`: characters, which its termination says; until then those of each
//! `Generate`.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::usage::{Line, Meter, UsageDraft};

use super::streaming::{KEY_QUERY, TERMINATE, cut_message};
use crate::framing::json::{pick, pick_in, text_of};
use crate::provider::Asked;
use crate::providers::contexts::{self, End};
use crate::providers::facts::keep_response_text;
use crate::providers::sockets::{self, add_encoded_output, keep_query, only};
use crate::providers::spoken::scalars;
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/ws`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_query: KEY_QUERY,
    last_words: LastWords::Session(TERMINATE),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// What the events call it where neither side names a model.
const DEFAULT_MODEL: &str = "text-to-speech";

/// The model.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    keep_query(evidence, asked, &[("model_id", "model")]);
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    const NAMES: [&str; 6] = [
        "type",
        "text",
        "id",
        "configuration",
        "audio",
        "total_input_char_length",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        if heard.from == From::Caller && !heard.is_whole() {
            evidence.flag("text_not_read");
        }
        return Turn::Goes;
    };
    let [kind, text, id, configuration, audio, total] = picked.members;
    match (heard.from, &*kind.and_then(text_of).unwrap_or_default()) {
        (From::Caller, "Generate") => {
            let characters = text.and_then(scalars).unwrap_or(0);
            contexts::add(evidence, "", "", characters);
        }
        (From::Caller, "Cancel") => contexts::end(evidence, "", End::Left),
        (From::Upstream, "Begin") => {
            keep_response_text(evidence, "id", id);
            let served = configuration.and_then(|raw| pick_in(raw, ["model"]));
            keep_response_text(evidence, "model", served.and_then(|of| of.members[0]));
        }
        (From::Upstream, "Audio") => add_encoded_output(evidence, audio),
        (From::Upstream, "FlushDone") => contexts::end(evidence, "", End::Spoken),
        (From::Upstream, "Termination") => {
            if let Some(total) = total.and_then(|raw| Kept::of(raw.get())) {
                let members = [("total_input_char_length", total.json())];
                evidence.replace_object("termination", Kept::object(members));
            }
        }
        (From::Upstream, "Error") => evidence.flag("error_message"),
        _ => {}
    }
    Turn::Goes
}

/// The line of one session.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let model = evidence
        .response_text("model")
        .or_else(|| evidence.request_text("model"))
        .unwrap_or(DEFAULT_MODEL);
    let total = evidence.object("termination");
    let total = total.and_then(|object| object.get("total_input_char_length")?.count());
    match total {
        Some(total) => sockets::reported(vec![Line {
            model: model.to_owned(),
            usage: only(Meter::Characters, total.into()),
            ..Line::default()
        }]),
        None => contexts::usage_of(evidence, model),
    }
}
