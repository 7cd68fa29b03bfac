//! Groq: OpenAI's dialect. A stream's last chunk holds usage in `x_groq`, whether asked or not, and
//! again beside it when asked; compound systems divide it by model.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Line, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{pick, pick_in};
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Credential, Endpoint, Keeps, Provider, StreamUsage};
use crate::providers::facts::{Counted, is_present, keep_usage};
use crate::providers::openai::{self, chat, tokens};
use crate::providers::{compatible, free, speech, state};

/// Groq's own API. The vendor's clients add `/openai/v1` themselves.
pub static PROVIDER: Provider = Provider {
    name: "groq",
    base_url: "https://api.groq.com",
    credential: Credential::Bearer,
    credential_env: "GROQ_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        collect,
        usage_of,
        ..compatible::chat("/openai/v1/chat/completions")
    },
    openai::responses("/openai/v1/responses", Keeps::Creates),
    openai::embeddings("/openai/v1/embeddings"),
    speech::transcription("/openai/v1/audio/transcriptions"),
    speech::transcription("/openai/v1/audio/translations"),
    openai::speech("/openai/v1/audio/speech"),
    free(Get, "/openai/v1/models"),
    free(Get, "/openai/v1/models/{model}"),
    openai::batch("/openai/v1/batches"),
    state(Get, "/openai/v1/batches", Keeps::List),
    openai::stored_batch(Get, "/openai/v1/batches/{id}"),
    openai::stored_batch(Post, "/openai/v1/batches/{id}/cancel"),
    state(Post, "/openai/v1/files", Keeps::Creates),
    state(Get, "/openai/v1/files", Keeps::List),
    state(Get, "/openai/v1/files/{id}", Keeps::Item),
    state(Delete, "/openai/v1/files/{id}", Keeps::Item),
    openai::file_content("/openai/v1/files/{id}/content"),
];

/// Where a stream's own usage is kept; the answer's usual place goes before, and both say the same.
const OWN: &str = "x_groq.usage";
/// Where the division by model is kept.
const BREAKDOWN: &str = "usage_breakdown";

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    chat::collect(frame, evidence);
    let Some(picked) = pick(frame.data, ["x_groq", BREAKDOWN]) else {
        return;
    };
    let [own, breakdown] = picked.members;
    keep_usage(evidence, BREAKDOWN, breakdown);
    if let Some(own) = own.and_then(|own| pick_in(own, ["usage", BREAKDOWN, "error"])) {
        keep_usage(evidence, OWN, own.members[0]);
        keep_usage(evidence, BREAKDOWN, own.members[1]);
        if is_present(own.members[2]) {
            evidence.response.insert("error", true);
        }
    }
}

/// The reason of a compound system's row whose division by model repeats the whole for each of them,
/// as its streams do: the whole is right, and whose it is is not known.
const NOT_DIVIDED: &str = "breakdown_repeats_the_whole";

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let usual = evidence.object("usage").is_some();
    let own = evidence.object(OWN).filter(|_| !usual);
    let mut whole = own
        .and_then(|object| tokens::reported(evidence, object))
        .unwrap_or_else(|| chat::usage_of(evidence));
    let Some(lines) = divided(evidence) else {
        return whole;
    };
    let [line] = whole.lines.as_mut_slice() else {
        return reported(lines);
    };
    if lines.len() < 2 || lines.iter().any(|other| other.usage != line.usage) {
        return reported(lines);
    }
    if lines.iter().all(|other| other.model == lines[0].model) {
        line.model.clone_from(&lines[0].model);
    }
    whole.reason = whole.reason.or(Some(NOT_DIVIDED));
    whole
}

fn reported(lines: Vec<Line>) -> UsageDraft {
    UsageDraft {
        lines,
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}

/// A line for each model that a compound system names.
fn divided(evidence: &Evidence) -> Option<Vec<Line>> {
    let models = evidence.object(BREAKDOWN)?.get("models")?;
    let lines = models.items().filter_map(|item| {
        let mut counted = Counted::new(item.get("usage")?);
        Some(Line {
            model: item.get("model").and_then(Json::str)?.into_owned(),
            conditions: tokens::conditions(evidence),
            usage: tokens::usage(&mut counted, tokens::TEXT)?,
        })
    });
    let lines: Vec<Line> = lines.collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_with_usage_of_its_own_is_told() {
        let glanced = chat::glance(br#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":1}}}"#);
        assert_eq!(glanced, crate::provider::Glance::Telling);
    }
}
