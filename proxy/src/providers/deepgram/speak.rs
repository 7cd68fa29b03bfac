//! Deepgram's text to speech over HTTP: characters, by the vendor's count in a header, else by ours.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::listen;
use crate::framing::Frame;
use crate::framing::json::pick;
use crate::provider::{Asked, Endpoint, Form};
use crate::providers::facts::{self, keep_response_text};
use crate::providers::spoken::{self, CHARACTERS, Charged};

/// The vendor's voice when the query names none.
const DEFAULT_MODEL: &str = "aura-asteria-en";
/// Characters that were billed.
const COUNT: &str = "dg-char-count";
const HEADERS: &[&str] = &[COUNT, "dg-model-name"];

/// The endpoint at a path.
pub(super) const fn at(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Speak,
        is_read: true,
        form: Form::Opaque,
        answer_headers: HEADERS,
        request_facts,
        glance: listen::glance,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// The voice of the query and how long the text is.
fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    listen::keep_query(evidence, asked, &["model", "callback", "encoding"]);
    let Some(body) = asked.body else { return };
    match pick(body, ["text"]) {
        Some(picked) => spoken::keep(evidence, picked.members[0]),
        None => {
            let is_text = asked
                .content_type
                .is_some_and(|kind| kind.trim_start().starts_with("text/plain"));
            if let (true, Ok(text)) = (is_text, std::str::from_utf8(body)) {
                evidence
                    .request
                    .insert(CHARACTERS, text.chars().count() as u64);
            }
        }
    }
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["request_id", "err_code"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    keep_response_text(evidence, "id", picked.members[0]);
    keep_response_text(evidence, "error_code", picked.members[1]);
    evidence.response.insert("finished", true);
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let counted = spoken::header_count(evidence, COUNT);
    let is_sent_elsewhere = counted.is_none()
        && evidence.request.contains_key("callback")
        && facts::is_set(evidence, "finished")
        && facts::status(evidence).is_some_and(|status| status < 400);
    if is_sent_elsewhere {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("callback"),
            ..UsageDraft::default()
        };
    }
    let line = Line {
        model: evidence
            .request_text("model")
            .unwrap_or(DEFAULT_MODEL)
            .to_owned(),
        ..Line::default()
    };
    let reported = counted.map(|count| (Meter::Characters, count.into()));
    spoken::draft(evidence, line, reported, Charged::Whole)
}
