//! Gemini Live, `…BidiGenerateContent`: the last counts of each turn hold, and a turn ends with
//! `turnComplete`. The session's context is charged again in each turn, so turns are parts and are added
//! up. Messages of the vendor come as text or as binary frames alike.
//!
//! A session that translates has no turns: each of its reports is of what passed since the one before,
//! and they are added up.
//!
//! Totals say nothing (some leave the thoughts out), and what the details by modality do not cover is
//! text.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::usage::{Line, Usage, UsageDraft, UsageSource};

use super::generate::{self, keep_counts, note_searches};
use super::modalities::Split;
use super::path;
use crate::framing::json::{Raw, items, pick, pick_in, text_of};
use crate::provider::Asked;
use crate::providers::facts::{self, Counted, is_present, keep_request, member, missing};
use crate::providers::sockets::{self, add_encoded_audio, add_encoded_output};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/ws/…BidiGenerateContent`.
pub(crate) static SOCKET: Socket = Socket {
    collect,
    key_query: &["access_token"],
    models: Some(models),
    last_words: LastWords::Turns {
        stop: None,
        runs: |evidence| evidence.response.is_set("in_progress"),
    },
    ..Socket::DEFAULT
};

/// The service in whose sessions usage is counted.
const CONTENT: &str = "BidiGenerateContent";
/// The fact of a turn that said its end before its counts.
const ENDED: &str = "turn_complete";
/// The fact of a session whose reports are added up.
const TRANSLATES: &str = "translates";

/// Whether the session is one whose usage is told.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep_location(evidence, asked);
    if !asked.path.contains(CONTENT) {
        evidence.request.insert("untold", true);
    }
}

/// The setup names the model, in either spelling of a resource.
fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    if let Some(model) = setup_model(heard).and_then(text_of) {
        on(path::last_part(&model));
    }
}

fn setup_model<'a>(heard: &Heard<'a>) -> Option<Raw<'a>> {
    let setup = pick(heard.data, ["setup"])?.members[0];
    member(setup, "model")
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    if !heard.is_json() {
        return Turn::Goes;
    }
    match heard.from {
        From::Caller => {
            from_caller(heard, evidence);
            Turn::Goes
        }
        From::Upstream => from_upstream(heard, evidence),
    }
}

fn from_caller(heard: &Heard<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 5] = [
        "setup",
        "realtimeInput",
        "realtime_input",
        "clientContent",
        "client_content",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        evidence.flag("invalid_event");
        return;
    };
    let [setup, input, input_snake, content, content_snake] = picked.members;
    if setup.is_some() {
        keep_setup(evidence, heard, setup);
    }
    if let Some(input) = input.or(input_snake) {
        keep_input(evidence, input);
    }
    // What is said by text is answered once it says that the turn is complete.
    let content = content.or(content_snake);
    let is_complete = ["turnComplete", "turn_complete"]
        .iter()
        .any(|name| member(content, name).is_some_and(|raw| raw.get() == "true"));
    if is_complete {
        evidence.response.insert("in_progress", true);
    }
}

fn keep_setup(evidence: &mut Evidence, heard: &Heard<'_>, setup: Option<Raw<'_>>) {
    if let Some(model) = setup_model(heard).and_then(text_of) {
        let model = path::last_part(&model);
        if model.len() <= farebox_pricing::event::MODEL_BYTES_MAX {
            evidence.request.insert("model", model);
        }
    }
    let config = member(setup, "generationConfig").or_else(|| member(setup, "generation_config"));
    let translation = member(config, "translationConfig")
        .or_else(|| member(config, "translation_config"))
        .or_else(|| member(setup, "translationConfig"));
    if is_present(translation) {
        evidence.request.insert(TRANSLATES, true);
    }
    let most = member(config, "maxOutputTokens").or_else(|| member(config, "max_output_tokens"));
    keep_request(evidence, "max_output_tokens", most);
}

fn keep_input(evidence: &mut Evidence, input: Raw<'_>) {
    const NAMES: [&str; 3] = ["audio", "mediaChunks", "media_chunks"];
    let Some(picked) = pick_in(input, NAMES) else {
        return;
    };
    let [audio, chunks, chunks_snake] = picked.members;
    let chunks = chunks.or(chunks_snake).into_iter().flat_map(items);
    for blob in audio.into_iter().chain(chunks) {
        const NAMES: [&str; 3] = ["data", "mimeType", "mime_type"];
        let Some(picked) = pick_in(blob, NAMES) else {
            continue;
        };
        let [data, mime, mime_snake] = picked.members;
        let mime = mime.or(mime_snake).and_then(text_of).unwrap_or_default();
        if let Some(rest) = mime.strip_prefix("audio/pcm") {
            add_encoded_audio(evidence, data);
            evidence.request.insert("encoding", "audio/pcm");
            let rate = rest
                .strip_prefix(";rate=")
                .and_then(|rate| rate.parse::<u64>().ok());
            if let Some(rate) = rate {
                evidence.request.insert("sample_rate", rate);
            }
        }
    }
}

fn from_upstream(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    const NAMES: [&str; 4] = [
        "setupComplete",
        "serverContent",
        "toolCall",
        "usageMetadata",
    ];
    let Some(picked) = pick(heard.data, NAMES) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [setup, content, tool, usage] = picked.members;
    if let Some(session) = member(setup, "sessionId") {
        keep_request(evidence, "session", Some(session));
    }
    if evidence.request.is_set(TRANSLATES) {
        add_counts(evidence, usage);
        if let Some(content) = content {
            keep_output(evidence, content);
            evidence.response.insert("in_progress", false);
        }
        return Turn::Goes;
    }
    // Counts that come after a turn's end are its own; what else comes is of the next one.
    let was_ended = evidence.response.is_set(ENDED);
    let is_next = was_ended && (content.is_some() || tool.is_some());
    if !is_next {
        keep_counts(evidence, usage);
    }
    if was_ended && (is_next || usage.is_some()) {
        return end_turn(evidence);
    }
    if tool.is_some() {
        evidence.response.insert("in_progress", true);
        evidence.counts.output_frames += 1;
    }
    let Some(content) = content else {
        return Turn::Goes;
    };
    keep_output(evidence, content);
    note_searches(evidence, content);
    let is_complete = member(Some(content), "turnComplete").is_some_and(|raw| raw.get() == "true");
    if is_complete {
        if evidence.object("usageMetadata").is_some() {
            return end_turn(evidence);
        }
        evidence.response.insert(ENDED, true);
    }
    Turn::Goes
}

/// Counts, and their parts by modality. Text in the parts is the session's context and in no count.
const COUNTS: [(&str, &str); 3] = [
    ("promptTokenCount", "promptTokensDetails"),
    ("cachedContentTokenCount", "cacheTokensDetails"),
    ("responseTokenCount", "responseTokensDetails"),
];

/// Adds a report to those before it.
fn add_counts(evidence: &mut Evidence, usage: Option<Raw<'_>>) {
    let object = usage.filter(|raw| raw.get().starts_with('{'));
    let Some(latest) = object.and_then(|raw| Kept::of(raw.get())) else {
        return;
    };
    let reports = [evidence.object("usageMetadata"), Some(latest.json())];
    let mut members = Vec::new();
    for (count, parts) in COUNTS {
        let counts = reports
            .iter()
            .flatten()
            .filter_map(|of| of.get(count)?.count());
        let Some(sum) = counts.reduce(u64::saturating_add) else {
            continue;
        };
        let split = reports
            .iter()
            .flatten()
            .map(|of| Split::of(of.get(parts)))
            .fold(Split::default(), Split::plus);
        members.push(format!("\"{count}\":{sum},\"{parts}\":{}", split.written()));
    }
    let sum = Kept::of(&format!("{{{}}}", members.join(",")));
    if let Some(sum) = sum.filter(|_| !members.is_empty()) {
        evidence.replace_object("usageMetadata", sum);
    }
}

fn keep_output(evidence: &mut Evidence, content: Raw<'_>) {
    let turn = member(Some(content), "modelTurn");
    if is_present(turn) {
        evidence.response.insert("in_progress", true);
    }
    for part in member(turn, "parts").into_iter().flat_map(items) {
        match member(member(Some(part), "inlineData"), "data") {
            Some(data) => add_encoded_output(evidence, Some(data)),
            None => evidence.counts.output_frames += 1,
        }
    }
}

/// The turn has its counts, and a name of its own where the session has one.
fn end_turn(evidence: &mut Evidence) -> Turn {
    let turns = evidence
        .request
        .count("turns")
        .unwrap_or(0)
        .saturating_add(1);
    evidence.request.insert("turns", turns);
    if let Some(session) = evidence.request_text("session") {
        let id = format!("{session}/{turns}");
        evidence.set_response_text("id", &id);
    }
    evidence.response.insert("in_progress", false);
    evidence.response.insert("done", true);
    Turn::Ends
}

/// The line of one turn.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    if evidence.request.is_set("untold") {
        return missing(sockets::NOT_REPORTED, None, None);
    }
    let is_done = evidence.response.is_set("done") || evidence.request.is_set(TRANSLATES);
    let object = evidence.object("usageMetadata");
    let mut is_clamped = false;
    let line = object.and_then(|object| {
        let mut counted = Counted::new(object);
        let usage = generate::tokens(&mut counted)?;
        is_clamped = counted.is_clamped;
        let model = facts::model(evidence);
        let mut line = Line {
            conditions: generate::conditions(evidence, object).0,
            usage,
            model,
        };
        generate::set_searches(evidence, &mut line);
        Some(line)
    });
    match line {
        Some(line) if is_done => UsageDraft {
            reason: is_clamped.then_some("negative_clamped"),
            ..sockets::reported(vec![line])
        },
        // The vendor counts as it goes: more may have followed.
        Some(line) => UsageDraft {
            low: Some(line.usage.clone()),
            lines: vec![line],
            source: UsageSource::Partial,
            reason: Some(facts::CUT),
            high: None,
        },
        None if is_done => missing("no_usage_in_answer", None, None),
        None if evidence.response.is_set("in_progress") || evidence.response.is_set(ENDED) => {
            let high = facts::text_tokens(0, facts::output_high(evidence));
            missing(facts::CUT, Some(Usage::new()), Some(high))
        }
        None => sockets::nothing(),
    }
}
