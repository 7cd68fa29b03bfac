//! OpenAI's images: tokens where the model reports them, else pictures by size and quality. A stream
//! reports each picture by itself. Drawings in SVG have usage and a model of their own.

use std::sync::LazyLock;

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};
use memchr::memmem::Finder;

use super::tokens::{self, Undivided};
use super::transcription::keep_field;
use crate::framing::json::{Raw, items, pick, text_of};
use crate::framing::{Frame, Origin, multipart};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, Counted, keep_error, keep_request, keep_response_text, keep_usage,
};

/// What decides the price of a picture, of the request and repeated by the answer.
const FACTS: [&str; 6] = ["model", "n", "size", "quality", "stream", "style"];
/// Where each picture's usage stands in the evidence.
const USAGE: &str = "usage";
/// The fact of how many pictures came.
const IMAGES: &str = "images";
/// The model of variations where the request names none.
const VARIATIONS_MODEL: &str = "dall-e-2";

const PICTURE: Undivided = Undivided {
    input: Meter::InputTokens,
    output: Meter::OutputImageTokens,
};

/// Model, size, quality and number, out of JSON or a form.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else {
        return;
    };
    if multipart::begins(body) {
        for part in multipart::parts(body) {
            if let Some(name) = FACTS.iter().find(|name| **name == part.name) {
                keep_field(evidence, name, part.text());
            }
        }
    } else if let Some(picked) = pick(body, FACTS) {
        for (name, member) in FACTS.iter().zip(picked.members) {
            keep_request(evidence, name, member);
        }
    }
}

/// As [`request_facts`]; one model is all there is.
pub(crate) fn variation_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    request_facts(evidence, asked);
    if !evidence.request.contains_key("model") && asked.body.is_some() {
        evidence.request.insert("model", VARIATIONS_MODEL);
    }
}

static PARTIAL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".partial_image\""));

/// All but half-made pictures tells.
pub(crate) fn glance(data: &[u8]) -> Glance {
    if PARTIAL.find(data).is_some() {
        Glance::Output
    } else {
        Glance::Telling
    }
}

/// Keeps usage, and counts pictures.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event && glance(frame.data) == Glance::Output {
        evidence.counts.output_frames += 1;
        return;
    }
    const NAMES: [&str; 8] = [
        "type",
        "usage",
        "svg_usage",
        "data",
        "size",
        "quality",
        "model",
        "error",
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        if frame.data != b"[DONE]" {
            evidence.flag(frame.origin.flag_of_invalid_json());
        }
        return;
    };
    let [kind, usage, svg_usage, data, size, quality, model, error] = picked.members;
    keep_response_text(evidence, "size", size);
    keep_response_text(evidence, "quality", quality);
    keep_response_text(evidence, "model", model);
    keep_usage(evidence, "svg_usage", svg_usage);
    keep_error(evidence, error);
    let before = facts::response_count(evidence, IMAGES).unwrap_or(0);
    match frame.origin {
        Origin::Body => {
            keep_usage(evidence, USAGE, usage);
            let count = data.map_or(0, |data| items(data).count() as u64);
            evidence.response.insert(IMAGES, count);
            evidence.response.insert("finished", true);
        }
        Origin::Event => {
            let is_picture = kind
                .and_then(text_of)
                .is_some_and(|kind| kind.ends_with(".completed"));
            if is_picture {
                evidence.counts.output_frames += 1;
                push_usage(evidence, usage);
                evidence.response.insert(IMAGES, before + 1);
                if before + 1 >= wanted(evidence) {
                    evidence.response.insert("finished", true);
                }
            }
        }
    }
}

fn push_usage(evidence: &mut Evidence, usage: Option<Raw<'_>>) {
    let usage = usage.filter(|raw| raw.get().starts_with('{'));
    if let Some(kept) = usage.and_then(|raw| farebox_pricing::evidence::Kept::of(raw.get())) {
        evidence.push_object(USAGE, kept);
    }
}

fn wanted(evidence: &Evidence) -> u64 {
    facts::request_count(evidence, "n").unwrap_or(1).max(1)
}

/// The lines of one call.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let mut is_clamped = false;
    let mut sum: Option<Usage> = None;
    for object in evidence.objects_at(USAGE) {
        let mut counted = Counted::new(object);
        if let Some(usage) = tokens::usage(&mut counted, PICTURE) {
            is_clamped |= counted.is_clamped;
            sum = Some(match sum {
                None => usage,
                Some(before) => added(&before, &usage),
            });
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    if let Some(usage) = sum {
        lines.push(Line {
            model: facts::model(evidence),
            conditions: tokens::conditions(evidence),
            usage,
        });
    }
    lines.extend(evidence.object("svg_usage").and_then(drawing));
    if !lines.is_empty() {
        let is_whole = facts::is_set(evidence, "finished");
        let low = lines.first().map(|line| line.usage.clone());
        return UsageDraft {
            source: if is_whole {
                UsageSource::Reported
            } else {
                UsageSource::Partial
            },
            reason: match (is_whole, is_clamped) {
                (false, _) => Some(facts::CUT),
                (true, true) => Some("negative_clamped"),
                (true, false) => None,
            },
            lines,
            low: low.filter(|_| !is_whole),
            high: None,
        };
    }
    facts::refused(evidence).unwrap_or_else(|| by_the_piece(evidence))
}

fn added(left: &Usage, right: &Usage) -> Usage {
    let mut sum = left.clone();
    for (meter, count) in right.iter() {
        // A sum past all bounds stays what it was.
        let _ = sum.add(meter, count);
    }
    sum
}

/// The line of SVG drawings: another model's text.
fn drawing(object: Json<'_>) -> Option<Line> {
    let usage = tokens::usage(&mut Counted::new(object), tokens::TEXT)?;
    let model = object.get("model").and_then(Json::str).unwrap_or_default();
    Some(Line {
        model: model.into_owned(),
        conditions: Conditions::new(),
        usage,
    })
}

/// Pictures that came without usage.
fn by_the_piece(evidence: &Evidence) -> UsageDraft {
    let of = |count: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::Images, count);
        usage
    };
    let images = facts::response_count(evidence, IMAGES).unwrap_or(0);
    if images == 0 {
        let high = of(wanted(evidence));
        return facts::missing(facts::why_no_usage(evidence), Some(of(0)), Some(high));
    }
    let mut conditions = Conditions::new();
    for name in ["size", "quality"] {
        let value = evidence.response_text(name);
        let value = value.or_else(|| evidence.request_text(name));
        if let Some(value) = value.filter(|value| *value != "auto") {
            conditions.insert(name.to_owned(), value.to_owned());
        }
    }
    let is_whole = facts::is_set(evidence, "finished");
    UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions,
            usage: of(images),
        }],
        source: UsageSource::Measured,
        reason: (!is_whole).then_some(facts::CUT),
        low: Some(of(images)),
        high: Some(of(images.max(if is_whole { 0 } else { wanted(evidence) }))),
    }
}
