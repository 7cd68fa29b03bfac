//! OpenAI's realtime sockets, `/v1/realtime` and `/v1/realtime/translations`.
//!
//! Each `response.done` carries the usage of its own response and ends a part; what the model of the
//! input transcription reports is a line of the part it comes in, and in a session that only transcribes
//! it ends one. Translations report nothing: the audio that was appended is counted.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use super::error_value;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::{Asked, ErrorText};
use crate::providers::facts::{
    self, Counted, keep_request, keep_response_text, keep_usage, member, missing,
};
use crate::providers::sockets::{self, Pcm, base64_bytes, bounded, only, plus};
use crate::socket::{From, Heard, KeyProtocol, LastWords, Socket, Turn};

/// `/v1/realtime`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    key_query: &["api-key", "api_key"],
    models: Some(models),
    last_words: LastWords::Turns {
        stop: Some(CANCEL),
        runs,
    },
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// Stops the response that runs, which then says its counts.
pub(crate) const CANCEL: &str = r#"{"type":"response.cancel"}"#;

/// A response runs.
pub(crate) fn runs(evidence: &Evidence) -> bool {
    evidence.response.is_set("in_progress")
}

/// The model of the session and the one of its transcriptions.
pub(crate) fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    let Some(picked) = pick(heard.data, ["session", "response"]) else {
        return;
    };
    let [session, response] = picked.members;
    let audio = member(member(session, "audio"), "input");
    for of in [
        session,
        response,
        member(audio, "transcription"),
        member(session, "input_audio_transcription"),
    ] {
        if let Some(model) = member(of, "model").and_then(text_of) {
            on(&model);
        }
    }
}

/// Browsers send the key as a subprotocol of its own.
pub(crate) const KEY_PROTOCOL: KeyProtocol = KeyProtocol::Prefix("openai-insecure-api-key.");
/// Transcriptions kept in one part; with the last of them the part ends.
const TRANSCRIPTIONS_MAX: usize = 16;
/// Audio is 24 kHz where no format says otherwise.
const DEFAULT_RATE: u64 = 24_000;

/// Its error event.
pub(crate) fn cut_message(error: &ErrorText<'_>) -> String {
    let mut event = error_value(error);
    event["type"] = "error".into();
    event.to_string()
}

/// The model, and whether the session only transcribes.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    for pair in asked.query.unwrap_or_default().split('&') {
        match pair.split_once('=') {
            Some(("model" | "deployment", model))
                if model.len() <= farebox_pricing::event::MODEL_BYTES_MAX =>
            {
                evidence.request.insert("model", model);
            }
            Some(("intent", "transcription")) => evidence.request.insert("transcribes", true),
            // A sideband socket sees the same responses as the first one.
            Some(("call_id", _)) => evidence.request.insert("sideband", true),
            _ => {}
        }
    }
}

/// Reads one message.
pub(crate) fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    const NAMES: [&str; 6] = ["type", "session", "response", "usage", "delta", "audio"];
    if !heard.is_json() {
        return Turn::Goes;
    }
    let Some(picked) = pick(heard.data, NAMES) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [kind, session, response, usage, delta, audio] = picked.members;
    let Some(kind) = kind.and_then(text_of) else {
        return Turn::Goes;
    };
    if heard.from == From::Caller {
        match &*kind {
            "input_audio_buffer.append" | "session.input_audio_buffer.append" => {
                evidence.counts.audio_bytes += audio.map_or(0, |raw| base64_bytes(raw.get()));
            }
            "session.update" => keep_session(evidence, session, false),
            _ => {}
        }
        return Turn::Goes;
    }
    match &*kind {
        "session.created"
        | "session.updated"
        | "transcription_session.created"
        | "transcription_session.updated" => keep_session(evidence, session, true),
        "response.created" => evidence.response.insert("in_progress", true),
        "response.done" => {
            keep_response(evidence, response);
            return Turn::Ends;
        }
        "response.output_audio.delta" | "response.audio.delta" | "session.output_audio.delta" => {
            evidence.counts.output_audio_bytes += delta.map_or(0, |raw| base64_bytes(raw.get()));
            evidence.counts.output_frames += 1;
        }
        "input_audio_buffer.committed" if evidence.request.contains_key("transcription_model") => {
            add_pending(evidence, 1);
        }
        "conversation.item.input_audio_transcription.completed" => {
            add_pending(evidence, -1);
            return keep_transcription(evidence, usage);
        }
        "conversation.item.input_audio_transcription.failed" => add_pending(evidence, -1),
        "error" => evidence.flag("error_message"),
        _ if kind.ends_with(".delta") => evidence.counts.output_frames += 1,
        _ => {}
    }
    Turn::Goes
}

/// Models and formats of the session hold for every part of it.
fn keep_session(evidence: &mut Evidence, session: Option<Raw<'_>>, is_served: bool) {
    const NAMES: [&str; 6] = [
        "model",
        "type",
        "object",
        "audio",
        "input_audio_transcription",
        "input_audio_format",
    ];
    let Some(session) = session.and_then(|raw| pick_in(raw, NAMES)) else {
        return;
    };
    let [model, kind, object, audio, transcription, format] = session.members;
    let is_transcription = |raw: Option<Raw<'_>>| {
        raw.and_then(text_of)
            .is_some_and(|text| text == "transcription" || text == "realtime.transcription_session")
    };
    if is_served {
        keep_request(evidence, "session_model", model);
        if is_transcription(kind) || is_transcription(object) {
            evidence.request.insert("transcribes", true);
        }
    }
    let input = audio.and_then(|raw| pick_in(raw, ["input"]));
    let input = input.and_then(|audio| audio.members[0]);
    let input = input.and_then(|raw| pick_in(raw, ["transcription", "format"]));
    let [inner_transcription, inner_format] = input.map_or([None; 2], |input| input.members);
    if is_served {
        let transcription = inner_transcription.or(transcription);
        let model = transcription.and_then(|raw| pick_in(raw, ["model"]));
        keep_request(
            evidence,
            "transcription_model",
            model.and_then(|of| of.members[0]),
        );
    }
    keep_request(evidence, "encoding", format);
    if let Some(format) = inner_format.and_then(|raw| pick_in(raw, ["type", "rate"])) {
        keep_request(evidence, "encoding", format.members[0]);
        keep_request(evidence, "sample_rate", format.members[1]);
    }
}

fn keep_response(evidence: &mut Evidence, response: Option<Raw<'_>>) {
    evidence.response.insert("in_progress", false);
    evidence.response.insert("done", true);
    let picked = response.and_then(|raw| pick_in(raw, ["id", "status", "usage"]));
    let [id, status, usage] = picked.map_or([None; 3], |picked| picked.members);
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "response_status", status);
    keep_usage(evidence, "usage", usage);
    if let Some(model) = evidence.request_text("session_model").map(str::to_owned) {
        evidence.set_response_text("model", &model);
    }
}

fn keep_transcription(evidence: &mut Evidence, usage: Option<Raw<'_>>) -> Turn {
    if let Some(kept) = usage.and_then(|raw| Kept::of(raw.get())) {
        evidence.push_object("transcription", kept);
    } else {
        evidence.flag("transcription_without_usage");
    }
    let held = evidence.objects_at("transcription").count();
    if evidence.request.is_set("transcribes") || held >= TRANSCRIPTIONS_MAX {
        Turn::Ends
    } else {
        Turn::Goes
    }
}

/// Audio that was committed and whose transcription is to come, in whichever part.
fn add_pending(evidence: &mut Evidence, change: i64) {
    let pending = evidence
        .request
        .count("transcriptions_pending")
        .unwrap_or(0);
    let pending = pending.saturating_add_signed(change);
    evidence.request.insert("transcriptions_pending", pending);
}

/// The lines of one part.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let mut is_clamped = false;
    let mut lines = Vec::new();
    if let Some(object) = evidence.object("usage") {
        let mut counted = Counted::new(object);
        if let Some(usage) = tokens(&mut counted) {
            lines.push(Line {
                model: model(evidence),
                conditions: Conditions::default(),
                usage,
            });
        }
        is_clamped = counted.is_clamped;
    }
    let is_answered = !lines.is_empty();
    for object in evidence.objects_at("transcription") {
        add_transcription(evidence, object, &mut lines);
    }
    let is_done = evidence.response.is_set("done");
    let is_pending = evidence
        .request
        .count("transcriptions_pending")
        .unwrap_or(0)
        > 0;
    let reason = if is_done && !is_answered || evidence.has_flag("transcription_without_usage") {
        Some("no_usage_in_answer")
    } else if !is_done && (evidence.response.is_set("in_progress") || is_pending) {
        Some(facts::CUT)
    } else {
        None
    };
    match (reason, lines.is_empty()) {
        (None, false) => UsageDraft {
            reason: is_clamped.then_some("negative_clamped"),
            ..sockets::reported(lines)
        },
        // No response ran and nothing was transcribed: there is nothing to bill.
        (None, true) => UsageDraft {
            source: UsageSource::None,
            reason: Some("nothing_generated"),
            ..UsageDraft::default()
        },
        (Some(reason), false) => UsageDraft {
            low: Some(sum(&lines)),
            source: UsageSource::Partial,
            reason: Some(reason),
            lines,
            high: None,
        },
        (Some(reason), true) => {
            let high = facts::text_tokens(0, facts::output_high(evidence));
            missing(reason, Some(Usage::new()), Some(high))
        }
    }
}

/// The session's served model, else the one asked for.
fn model(evidence: &Evidence) -> String {
    evidence
        .request_text("session_model")
        .or_else(|| evidence.request_text("model"))
        .unwrap_or_default()
        .to_owned()
}

/// Tokens by modality; each is counted once.
pub(super) fn tokens(counted: &mut Counted<'_>) -> Option<Usage> {
    let input = counted.count(&["input_tokens"]);
    let output = counted.count(&["output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut usage = Usage::new();
    if let Some(input) = input {
        let mut of = |path: &[&str]| counted.count(path);
        let audio = of(&["input_token_details", "audio_tokens"]).unwrap_or(0);
        let image = of(&["input_token_details", "image_tokens"]).unwrap_or(0);
        let cached = of(&["input_token_details", "cached_tokens"]).unwrap_or(0);
        let details = ["text_tokens", "audio_tokens", "image_tokens"]
            .map(|name| of(&["input_token_details", "cached_tokens_details", name]));
        let text = counted.less(input, audio.saturating_add(image));
        let (cached_text, cached_audio, cached_image) = match details {
            // Undivided: from text first.
            [None, None, None] => {
                let cached_text = cached.min(text);
                let cached_audio = (cached - cached_text).min(audio);
                (
                    cached_text,
                    cached_audio,
                    cached - cached_text - cached_audio,
                )
            }
            [_, cached_audio, cached_image] => {
                let (cached_audio, cached_image) =
                    (cached_audio.unwrap_or(0), cached_image.unwrap_or(0));
                let rest = cached_audio.saturating_add(cached_image);
                (counted.less(cached, rest), cached_audio, cached_image)
            }
        };
        let split = [
            (
                text,
                cached_text,
                Meter::InputTokens,
                Meter::CacheReadTokens,
            ),
            (
                audio,
                cached_audio,
                Meter::InputAudioTokens,
                Meter::CacheReadAudioTokens,
            ),
            (
                image,
                cached_image,
                Meter::InputImageTokens,
                Meter::CacheReadImageTokens,
            ),
        ];
        for (all, cached, fresh_meter, cached_meter) in split {
            let fresh = counted.less(all, cached);
            if fresh > 0 || fresh_meter == Meter::InputTokens {
                usage.set(fresh_meter, fresh);
            }
            if cached > 0 {
                usage.set(cached_meter, cached);
            }
        }
    }
    if let Some(output) = output {
        let audio = counted
            .count(&["output_token_details", "audio_tokens"])
            .unwrap_or(0);
        let reasoning = counted
            .count(&["output_token_details", "reasoning_tokens"])
            .unwrap_or(0);
        let text = counted.less(output, audio.saturating_add(reasoning));
        usage.set(Meter::OutputTokens, text);
        if audio > 0 {
            usage.set(Meter::OutputAudioTokens, audio);
        }
        if reasoning > 0 {
            usage.set(Meter::ReasoningTokens, reasoning);
        }
    }
    Some(usage)
}

/// What an input transcription reported, in tokens or in seconds; one line a model.
fn add_transcription(evidence: &Evidence, object: Json<'_>, lines: &mut Vec<Line>) {
    let mut usage = Usage::new();
    if let Some(seconds) = object.get("seconds").and_then(Json::decimal) {
        usage.set(Meter::AudioSeconds, seconds);
    } else if let Some(tokens) = tokens(&mut Counted::new(object)) {
        usage = tokens;
    }
    if usage.is_empty() {
        return;
    }
    let model = evidence
        .request_text("transcription_model")
        .map_or_else(|| model(evidence), str::to_owned);
    match lines.iter_mut().find(|line| line.model == model) {
        Some(line) => add(&mut line.usage, &usage),
        None => lines.push(Line {
            model,
            conditions: Conditions::default(),
            usage,
        }),
    }
}

fn add(to: &mut Usage, more: &Usage) {
    for (meter, quantity) in more.iter() {
        let before = to.quantity(meter).unwrap_or(Decimal::ZERO);
        to.set(meter, plus(before, quantity));
    }
}

fn sum(lines: &[Line]) -> Usage {
    let mut total = Usage::new();
    for line in lines {
        add(&mut total, &line.usage);
    }
    total
}

/// The line of a translation: the seconds of audio that went up.
pub(super) fn usage_of_translation(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let encoding = evidence.request_text("encoding").unwrap_or("pcm16");
    let default_rate = match encoding {
        "pcm16" | "audio/pcm" => DEFAULT_RATE,
        _ => 8_000,
    };
    let rate = evidence
        .request
        .count("sample_rate")
        .unwrap_or(default_rate);
    let Some(pcm) = Pcm::new(encoding, rate, 1) else {
        return missing("unknown_audio_format", None, None);
    };
    let seconds = pcm.seconds(evidence.counts.audio_bytes);
    let line = Line {
        model: model(evidence),
        conditions: Conditions::default(),
        usage: only(Meter::AudioSeconds, seconds),
    };
    let high = plus(seconds, sockets::unseen_seconds(evidence));
    let (source, meter) = (UsageSource::Measured, Meter::AudioSeconds);
    bounded(
        source,
        "not_reported_by_vendor",
        line,
        meter,
        seconds,
        Some(high),
    )
}
