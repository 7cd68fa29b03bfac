//! Pictures in the shape of OpenAI's endpoints, for vendors that bill them by the piece.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{items, pick};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Endpoint, Form, Glance};
use crate::providers::facts::{
    self, is_present, keep_request, keep_response_text, keep_usage, response_count,
};

/// The fact of an answer that counts its pictures.
const IMAGES: &str = "images";
/// The fact of a call whose answer may be a picture itself.
const IS_BARE: &str = "bare_image";

/// Pictures listed in a JSON answer.
pub(super) const fn listed(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Image,
        is_read: true,
        request_facts: body_facts,
        glance: |_| Glance::Telling,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A model that its path names; its answer lists pictures or is one.
pub(super) const fn by_path(path: &'static str) -> Endpoint {
    Endpoint {
        form: Form::Opaque,
        request_facts: path_facts,
        ..listed(path)
    }
}

fn body_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 4] = ["model", "n", "size", "quality"];
    if let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) {
        for (name, member) in NAMES.iter().zip(picked.members) {
            keep_request(evidence, name, member);
        }
    }
}

fn path_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    body_facts(evidence, asked);
    let named = asked
        .path
        .find("/accounts/")
        .map(|at| &asked.path[at + 1..]);
    if let Some(name) = named {
        let name = name.strip_suffix("/text_to_image").unwrap_or(name);
        evidence.request.insert("model", name);
    }
    evidence.request.insert(IS_BARE, true);
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = ["id", "model", "data", "base64", "usage", "error"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, model, data, base64, usage, error] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_usage(evidence, "usage", usage);
    if is_present(error) {
        evidence.response.insert("error", true);
    }
    if let Some(list) = data.or(base64) {
        let count = items(list).count() as u64;
        evidence.response.insert(IMAGES, count);
    }
    if frame.origin == Origin::Body {
        evidence.response.insert("finished", true);
    }
}

/// The pictures of one answer.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let of = |count: u64| Usage::from_iter([(Meter::Images, count.into())]);
    let line = |count: u64| {
        let mut line = Line {
            model: facts::model(evidence),
            usage: of(count),
            ..Line::default()
        };
        for name in ["size", "quality"] {
            if let Some(text) = evidence.request_text(name) {
                line.conditions.insert(name.into(), text.into());
            }
        }
        line
    };
    let is_answered = facts::status(evidence).is_some_and(|status| status < 400);
    if let Some(count) = response_count(evidence, IMAGES).filter(|_| is_answered) {
        return UsageDraft {
            lines: vec![line(count)],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
    }
    let asked = facts::request_count(evidence, "n").unwrap_or(1);
    let is_bare = evidence.request.is_set(IS_BARE) && evidence.counts.frames == 0;
    if is_bare && is_answered && evidence.counts.is_complete {
        return UsageDraft {
            lines: vec![line(1)],
            source: UsageSource::Measured,
            reason: None,
            low: Some(of(1)),
            high: Some(of(1)),
        };
    }
    facts::missing(facts::why_no_usage(evidence), Some(of(0)), Some(of(asked)))
}
