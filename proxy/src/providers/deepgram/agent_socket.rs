//! Deepgram's voice agent, `/v1/agent/converse`: minutes of connection, at a price by whose models think
//! and speak.
//!
//! `Settings` holds others' secrets: nothing of it is kept but which providers it names.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft};

use super::listen_socket::{KEY_PROTOCOL, cut_message};
use crate::framing::json::{Raw, items, pick, pick_in, text_of};
use crate::providers::facts::{is_present, keep_response_text, member};
use crate::providers::sockets::{self, only};
use crate::socket::{From, Heard, Socket, Turn};

/// The agent.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    models: Some(models),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// What the events call it.
const MODEL: &str = "agent/converse";
/// The vendor itself, as a provider of an agent's parts.
const VENDOR: &str = "deepgram";

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    match (heard.from, heard.is_text) {
        (From::Caller, false) => evidence.counts.audio_bytes += heard.len,
        (From::Upstream, false) => {
            evidence.counts.output_audio_bytes += heard.len;
            evidence.counts.output_frames += 1;
        }
        (From::Caller, true) => from_caller(heard, evidence),
        (From::Upstream, true) => {
            let picked = pick(heard.data, ["type", "request_id"]);
            let [kind, request_id] = picked.map_or([None; 2], |picked| picked.members);
            match kind.and_then(text_of).as_deref() {
                Some("Welcome") => keep_response_text(evidence, "id", request_id),
                Some("Error") => evidence.flag("error_message"),
                _ => {}
            }
        }
    }
    Turn::Goes
}

fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    let picked = pick(heard.data, ["type", "agent", "audio", "think", "speak"]);
    let [kind, agent, audio, think, speak] = picked.map_or([None; 5], |picked| picked.members);
    match kind.and_then(text_of).as_deref() {
        Some("Settings") => {
            let agent = agent.and_then(|raw| pick_in(raw, ["think", "speak"]));
            let [think, speak] = agent.map_or([None; 2], |agent| agent.members);
            keep_own(evidence, "own_llm", think, true);
            keep_own(evidence, "own_tts", speak, false);
            let input = audio.and_then(|raw| pick_in(raw, ["input"]));
            let input = input.and_then(|audio| audio.members[0]);
            let input = input.and_then(|raw| pick_in(raw, ["encoding", "sample_rate"]));
            let [encoding, rate] = input.map_or([None; 2], |input| input.members);
            if let Some(encoding) = encoding.and_then(text_of).filter(|text| text.len() <= 32) {
                evidence.request.insert("encoding", &*encoding);
            }
            if let Some(rate) = rate.and_then(|raw| raw.get().parse::<u64>().ok()) {
                evidence.request.insert("sample_rate", rate);
            }
        }
        Some("UpdateThink") => keep_own(evidence, "own_llm", think, true),
        Some("UpdateSpeak") => keep_own(evidence, "own_tts", speak, false),
        _ => {}
    }
}

/// The models of every part that `Settings` or an update names.
fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    const PARTS: [&str; 3] = ["listen", "think", "speak"];
    if !heard.is_text {
        return;
    }
    let Some([agent, listen, think, speak]) =
        pick(heard.data, ["agent", PARTS[0], PARTS[1], PARTS[2]]).map(|picked| picked.members)
    else {
        return;
    };
    let inner = agent.and_then(|raw| pick_in(raw, PARTS));
    let inner = inner.map_or([None; 3], |picked| picked.members);
    for part in [listen, think, speak].into_iter().chain(inner).flatten() {
        let is_list = part.get().starts_with('[');
        let alternatives = is_list.then(|| items(part)).into_iter().flatten();
        for part in (!is_list).then_some(part).into_iter().chain(alternatives) {
            let model = member(member(Some(part), "provider"), "model");
            if let Some(model) = model.and_then(text_of) {
                on(&model);
            }
        }
    }
}

/// Whether a part of the agent is the customer's own: it has an endpoint of its own, or is of a vendor
/// that is reached through one. Several may be named in order of preference; the first counts.
fn keep_own(evidence: &mut Evidence, name: &'static str, part: Option<Raw<'_>>, is_llm: bool) {
    let Some(part) = part else {
        return;
    };
    let first = items(part).next();
    let picked = pick_in(first.unwrap_or(part), ["endpoint", "provider"]);
    let [endpoint, provider] = picked.map_or([None; 2], |picked| picked.members);
    let is_own = is_own(endpoint, provider, is_llm);
    evidence.request.insert(name, is_own);
}

/// A language model of another vendor is managed by this one unless it has an endpoint; a voice is its
/// own unless it is of this one.
fn is_own(endpoint: Option<Raw<'_>>, provider: Option<Raw<'_>>, is_llm: bool) -> bool {
    if is_present(endpoint) {
        return true;
    }
    let kind = provider.and_then(|raw| pick_in(raw, ["type"]));
    let kind = kind.and_then(|provider| provider.members[0].and_then(text_of));
    !is_llm && kind.is_some_and(|kind| kind != VENDOR)
}

/// The line of one conversation: the time the socket was open.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let own = |name| evidence.request.is_set(name);
    let mode = match (own("own_llm"), own("own_tts")) {
        (false, false) => "standard",
        (false, true) => "own_tts",
        (true, false) => "own_llm",
        (true, true) => "own_llm_and_tts",
    };
    let line = |open| Line {
        model: MODEL.to_owned(),
        conditions: Conditions::from([("mode".to_owned(), mode.to_owned())]),
        usage: only(Meter::SessionSeconds, open),
    };
    sockets::open_session(evidence, line, sockets::open_seconds(evidence))
}
