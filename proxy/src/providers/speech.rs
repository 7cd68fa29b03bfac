//! Transcriptions in the shape of OpenAI's endpoints that are billed by the second, wherever the answer
//! tells the seconds; and what endpoints that speak a text keep of their request.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use crate::framing::json::{Raw, pick};
use crate::framing::multipart;
use crate::provider::{Asked, Endpoint};
use crate::providers::facts::{self, keep_request};
use crate::providers::openai::{self, transcription as reader};
use crate::providers::spoken;

/// Where seconds of audio are kept that the answer tells outside a usage object.
const SECONDS: &str = "duration";

/// Transcription at a path: a form in, JSON or plain text out.
pub(super) const fn transcription(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: heard,
        ..openai::transcription(path)
    }
}

/// Keeps a request's model and how many characters its text has, by the names of both.
pub(super) fn text_facts(evidence: &mut Evidence, asked: &Asked<'_>, names: [&'static str; 2]) {
    if let Some(picked) = asked.body.and_then(|body| pick(body, names)) {
        keep_request(evidence, "model", picked.members[0]);
        spoken::keep(evidence, picked.members[1]);
    }
}

/// The text of the last field of a name in a form.
pub(super) fn field(body: &[u8], name: &str) -> Option<String> {
    let mut parts = multipart::parts(body);
    parts.retain(|part| part.name == name);
    Some(parts.last()?.text()?.to_owned())
}

/// The line of an answer, its model and nothing counted yet.
pub(super) fn model_line(evidence: &Evidence) -> Line {
    Line {
        model: facts::model(evidence),
        ..Line::default()
    }
}

/// Keeps seconds that are a number, or a text that is one.
pub(super) fn keep_seconds(evidence: &mut Evidence, raw: Option<Raw<'_>>) {
    let text = raw.map(|raw| raw.get().trim_matches('"'));
    let seconds = text.and_then(|text| text.parse::<Decimal>().ok());
    if let Some(seconds) = seconds.filter(|seconds| !seconds.is_negative()) {
        evidence.response.insert(SECONDS, seconds);
    }
}

/// The seconds that an answer told.
pub(super) fn seconds(evidence: &Evidence) -> Option<Decimal> {
    let usage = evidence.object("usage");
    let of = |name| usage?.get(name).and_then(Json::decimal);
    of("seconds")
        .or_else(|| of("prompt_audio_seconds"))
        .or_else(|| evidence.response.get(SECONDS)?.as_decimal())
        .filter(|seconds| !seconds.is_negative())
}

/// The line of a transcription: the seconds it told, else what its tokens, cues or file say.
fn heard(evidence: &Evidence) -> UsageDraft {
    match seconds(evidence) {
        Some(seconds) => heard_for(model_line(evidence), seconds),
        None => reader::usage_of(evidence),
    }
}

/// The draft of an answer that told its seconds, and of one that did not, on a line of the vendor's.
pub(super) fn heard_on(evidence: &Evidence, line: &Line) -> UsageDraft {
    if let Some(seconds) = seconds(evidence) {
        return heard_for(line.clone(), seconds);
    }
    let mut draft = reader::usage_of(evidence);
    for estimated in &mut draft.lines {
        estimated.model.clone_from(&line.model);
        estimated.conditions.clone_from(&line.conditions);
    }
    draft
}

/// The draft of seconds that the answer told.
fn heard_for(mut line: Line, seconds: Decimal) -> UsageDraft {
    line.usage.set(Meter::AudioSeconds, seconds);
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}

/// The draft of an answer that told nothing.
pub(super) fn unheard(evidence: &Evidence) -> UsageDraft {
    facts::refused(evidence).unwrap_or_else(|| {
        let reason = facts::why_no_usage(evidence);
        facts::missing(reason, None, None)
    })
}
