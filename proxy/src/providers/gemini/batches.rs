//! Gemini's batches: pending when made, paid for by the batch that comes back done with its results,
//! or by the file of them. Everything in one is at the batch's price.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, UsageDraft, UsageSource};

use super::generate;
use super::{kept, path};
use crate::framing::json::{Raw, items, pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::Asked;
use crate::providers::facts::{self, keep_response_text, member};
use crate::providers::sums;

/// How the files of results are named: `batch-` and the batch's own name.
const FILE_START: &str = "batch-";

/// The fact of a finished batch's file of results.
pub(super) const RESULTS_FILE: &str = "results_file";

/// The model of the path.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
}

/// Its results will tell.
pub(super) fn usage_of_created(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if evidence.response_text("id").is_none() {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    }
    UsageDraft {
        source: UsageSource::Pending,
        reason: Some("batch"),
        ..UsageDraft::default()
    }
}

/// Adds up the results that stand in a batch.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = ["name", "done", "response", "error", "metadata"];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [name, done, response, error, metadata] = picked.members;
    kept::keep_name(evidence, name.and_then(text_of));
    evidence.response.insert("finished", true);
    if facts::status(evidence).is_some_and(|status| status >= 400) {
        generate::note_error(evidence, error);
    }
    let is_done = done.is_some_and(|raw| raw.get() == "true");
    if !is_done {
        return;
    }
    evidence.response.insert("done", true);
    let model = member(metadata, "model")
        .and_then(text_of)
        .map(|model| path::last_part(&model).to_owned());
    let output = response.into_iter().chain(member(metadata, "output"));
    let file = output
        .clone()
        .find_map(|output| member(Some(output), "responsesFile"));
    keep_response_text(evidence, RESULTS_FILE, file);
    if let Some(results) = output.into_iter().find_map(inlined) {
        for result in items(results) {
            add(evidence, result, model.as_deref());
        }
    }
}

/// The list, which stands in an object of the same name.
fn inlined(output: Raw<'_>) -> Option<Raw<'_>> {
    let names = ["inlinedResponses", "inlinedEmbedContentResponses"];
    let [texts, embeddings] = pick_in(output, names)?.members;
    let list = texts.or(embeddings)?;
    let [texts, embeddings] = pick_in(list, names)?.members;
    texts.or(embeddings)
}

/// The batch, of which a fetch says nothing until it is done.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let draft = sums::usage_of(evidence);
    let is_done = facts::is_set(evidence, "done");
    if draft.source == UsageSource::Missing && facts::is_set(evidence, "finished") && !is_done {
        return UsageDraft {
            source: UsageSource::None,
            ..UsageDraft::default()
        };
    }
    draft
}

/// The batch a file of results belongs to: `…/files/batch-{id}:download`.
pub(super) fn file_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let name = path::last_part(asked.path);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    evidence
        .request
        .insert("batch", name.strip_prefix(FILE_START).unwrap_or(name));
}

/// Adds one line of a file, when it is a result.
pub(super) fn collect_file(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Body {
        if let Some(picked) = pick(frame.data, ["error"]) {
            generate::note_error(evidence, picked.members[0]);
        }
        return;
    }
    let Some(line) = std::str::from_utf8(frame.data).ok().and_then(|_| {
        let picked = pick(frame.data, ["response", "error", "key"])?;
        picked.members.iter().any(Option::is_some).then_some(picked)
    }) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    if let Some(id) = evidence.request_text("batch").map(str::to_owned) {
        evidence.set_response_text("id", &id);
    }
    match line.members[0] {
        Some(response) => add_response(evidence, response, None),
        None => sums::add(evidence, &[]),
    }
}

/// A file without a result is somebody's file.
pub(super) fn usage_of_file(evidence: &Evidence) -> UsageDraft {
    if facts::response_count(evidence, "results").is_none() && facts::refused(evidence).is_none() {
        return UsageDraft {
            source: UsageSource::None,
            ..UsageDraft::default()
        };
    }
    sums::usage_of(evidence)
}

/// One of the inlined results: `{"response":…}` or `{"error":…}`.
fn add(evidence: &mut Evidence, result: Raw<'_>, model: Option<&str>) {
    match member(Some(result), "response") {
        Some(response) => add_response(evidence, response, model),
        None => sums::add(evidence, &[]),
    }
}

fn add_response(evidence: &mut Evidence, response: Raw<'_>, model: Option<&str>) {
    match lines_of(response, model) {
        Some(lines) => sums::add(evidence, &lines),
        None => sums::drop_one(evidence),
    }
}

/// One answer as its own reader has it, at the batch's price.
fn lines_of(response: Raw<'_>, model: Option<&str>) -> Option<Vec<Line>> {
    let mut one = Evidence::default();
    if let Some(model) = model {
        one.request.insert("model", model);
    }
    let body = response.bytes();
    let mut lines = sums::lines_of(one, body, generate::collect, generate::usage_of)?;
    for line in &mut lines {
        line.conditions.remove("service_tier");
    }
    Some(lines)
}
