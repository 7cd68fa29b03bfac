//! ElevenLabs' speech to text: each channel is billed at the audio's whole length; key terms and
//! edited transcripts cost more. With a webhook the result is fetched, or never passes here.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{Raw, items, pick, pick_in};
use crate::framing::{Frame, multipart};
use crate::provider::Verb::Get;
use crate::provider::{Asked, Class, Endpoint, Glance, Keeps};
use crate::providers::facts::{
    self, keep_request, keep_response_text, request_count, response_count,
};
use crate::providers::speech;

/// Key terms above which a request has a longer minimum.
const KEY_TERMS_MANY: u64 = 100;
/// The fact of an answer that knows its end only by the last word.
const LAST_WORD: &str = "last_word_end";

/// A new transcription.
pub(super) const fn created(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Transcription,
        keeps: Keeps::Creates,
        is_read: true,
        request_facts,
        glance: |_| Glance::Telling,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// One that was made before.
pub(super) const fn fetched(path: &'static str) -> Endpoint {
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        request_facts: |evidence, _| evidence.request.insert("poll", true),
        ..created(path)
    }
}

fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 4] = ["model_id", "use_multi_channel", "webhook", "diarize"];
    let Some(body) = asked.body else { return };
    let mut terms = 0_u64;
    let mut is_edited = false;
    if let Some(picked) = pick(body, NAMES) {
        keep_request(evidence, "model", picked.members[0]);
        for (name, member) in NAMES.iter().zip(picked.members).skip(1) {
            keep_request(evidence, name, member);
        }
        if let Some(more) = pick(body, ["keyterms", "transcript_edit"]) {
            terms = more.members[0].into_iter().flat_map(items).count() as u64;
            is_edited = facts::is_present(more.members[1]);
        }
    }
    for part in multipart::parts(body) {
        match (part.name.as_str(), part.text()) {
            ("model_id", Some(model)) => evidence.request.insert("model", model),
            ("keyterms", Some(text)) => terms += u64::from(!text.is_empty()),
            ("transcript_edit", Some(text)) => is_edited |= !text.is_empty(),
            (name, Some(text)) => {
                if let Some(name) = NAMES.iter().find(|known| **known == name) {
                    evidence
                        .request
                        .insert(*name, text.eq_ignore_ascii_case("true"));
                }
            }
            _ => {}
        }
    }
    if terms > 0 {
        evidence.request.insert("keyterms", terms);
    }
    if is_edited {
        evidence.request.insert("transcript_edit", true);
    }
}

/// Keeps the length of the audio and how many channels were heard; of words only where they end.
fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = [
        "transcription_id",
        "audio_duration_secs",
        "words",
        "transcripts",
        "message",
        "detail",
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, seconds, words, transcripts, message, _] = picked.members;
    keep_response_text(evidence, "id", id);
    speech::keep_seconds(evidence, seconds);
    evidence.response.insert("finished", true);
    if facts::is_present(message) {
        evidence.response.insert("accepted", true);
    }
    let mut heard = Heard::default();
    heard.add(words);
    let transcripts: Vec<Raw<'_>> = transcripts.into_iter().flat_map(items).collect();
    for transcript in &transcripts {
        const NAMES: [&str; 3] = ["words", "audio_duration_secs", "transcription_id"];
        let Some(picked) = pick_in(*transcript, NAMES) else {
            continue;
        };
        heard.add(picked.members[0]);
        if !evidence.response.contains_key("duration") {
            speech::keep_seconds(evidence, picked.members[1]);
        }
        if evidence.response_text("id").is_none() {
            keep_response_text(evidence, "id", picked.members[2]);
        }
    }
    let channels = (transcripts.len() as u64).max(heard.channels);
    if channels > 0 {
        evidence.response.insert("channels", channels);
    }
    if let Some(end) = heard.end {
        evidence.response.insert(LAST_WORD, end);
    }
}

#[derive(Default)]
struct Heard {
    end: Option<Decimal>,
    channels: u64,
}

impl Heard {
    fn add(&mut self, words: Option<Raw<'_>>) {
        for word in words.into_iter().flat_map(items) {
            let Some(picked) = pick_in(word, ["end", "channel_index"]) else {
                continue;
            };
            let [end, channel] = picked.members.map(|raw| raw.map(Raw::get));
            if let Some(end) = end.and_then(|end| end.parse::<Decimal>().ok())
                && self.end.is_none_or(|before| is_less(before, end))
            {
                self.end = Some(end);
            }
            if let Some(channel) = channel.and_then(|text| text.parse::<u64>().ok()) {
                self.channels = self.channels.max(channel.saturating_add(1));
            }
        }
    }
}

fn is_less(left: Decimal, right: Decimal) -> bool {
    left.checked_sub(right).is_some_and(Decimal::is_negative)
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let is_multichannel =
        evidence.request.is_set("use_multi_channel") || evidence.request.is_set("poll");
    let channels = response_count(evidence, "channels")
        .filter(|_| is_multichannel)
        .unwrap_or(1)
        .max(1);
    let times = |seconds: Decimal| seconds.checked_mul(channels.into());
    let line = |seconds: Decimal| Line {
        model: facts::model(evidence),
        conditions: conditions(evidence),
        usage: Usage::from_iter([(Meter::AudioSeconds, seconds)]),
    };
    if let Some(seconds) = speech::seconds(evidence).and_then(times) {
        return UsageDraft {
            lines: vec![line(seconds)],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
    }
    let last_word = evidence
        .response
        .get(LAST_WORD)
        .and_then(farebox_pricing::evidence::Fact::as_decimal);
    if let Some(seconds) = last_word.and_then(times) {
        return UsageDraft {
            lines: vec![line(seconds)],
            source: UsageSource::Estimated,
            reason: Some(LAST_WORD),
            low: Some(line(seconds).usage),
            high: None,
        };
    }
    let is_accepted = facts::is_set(evidence, "accepted") && evidence.request.is_set("webhook");
    if is_accepted {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("webhook"),
            ..UsageDraft::default()
        };
    }
    speech::unheard(evidence)
}

fn conditions(evidence: &Evidence) -> Conditions {
    let mut conditions = Conditions::new();
    key_terms(evidence, &mut conditions);
    conditions
}

/// What costs more: key terms, and edited transcripts.
pub(super) fn key_terms(evidence: &Evidence, conditions: &mut Conditions) {
    if let Some(terms) = request_count(evidence, "keyterms") {
        let how = if terms > KEY_TERMS_MANY {
            "over_100"
        } else {
            "true"
        };
        conditions.insert("keyterms".into(), how.into());
    }
    if evidence.request.is_set("transcript_edit") {
        conditions.insert("transcript_edit".into(), "true".into());
    }
}
