//! OpenAI's batches: the job, which is pending until its results are fetched, and the file of results,
//! one JSON line each, whose usage is summed.
//!
//! A file of results does not name its batch: a finished job names its files, and by that the ledger
//! knows whose results they are. Whether a file holds results shows in its lines; every other file
//! costs nothing.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};

use super::{chat, embeddings, images, responses, tokens};
use crate::framing::json::{pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, Counted, keep_request, keep_response_text, keep_usage};
use crate::providers::sums;

/// The fact of a file that holds results.
const HAS_RESULTS: &str = "has_results";
/// The fact of any other file.
const PLAIN: &str = "plain_file";
/// The fact of a result whose usage could not be read.
const UNREAD: &str = "unread_results";

/// The facts that name the files of a finished job.
pub(crate) const FILES: [&str; 2] = ["output_file_id", "error_file_id"];
/// The fact that names the file of a finished upload.
pub(crate) const FILE: &str = "file_id";

/// What a new job is for.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 2] = ["endpoint", "completion_window"];
    if let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) {
        for (name, member) in NAMES.iter().zip(picked.members) {
            keep_request(evidence, name, member);
        }
    }
}

/// Neither is an event stream; each line tells.
pub(crate) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Keeps what a job says of itself.
pub(crate) fn collect_job(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 9] = [
        "id",
        "model",
        "status",
        "output_file_id",
        "error_file_id",
        "usage",
        "output_file",
        "error_file",
        "job",
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [
        id,
        model,
        status,
        output,
        errors,
        usage,
        output_file,
        error_file,
        job,
    ] = picked.members;
    if let Some(job) = job.filter(|_| id.is_none()) {
        let frame = Frame {
            origin: frame.origin,
            data: job.bytes(),
        };
        return collect_job(&frame, evidence);
    }
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, FILES[0], output.or(output_file));
    keep_response_text(evidence, FILES[1], errors.or(error_file));
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "state", status);
    keep_usage(evidence, "usage", usage);
    evidence.response.insert("finished", true);
}

/// A job is pending until its results are read; its own count of them bounds what is to come.
pub(crate) fn job_usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let nothing = |reason| UsageDraft {
        source: UsageSource::None,
        reason: Some(reason),
        ..UsageDraft::default()
    };
    let has_output = evidence.response_text(FILES[0]).is_some();
    match evidence.response_text("state") {
        None => facts::missing(facts::why_no_usage(evidence), None, None),
        Some("failed" | "FAILED") => nothing("failed"),
        // The call that made it waits for the results.
        Some(_) if evidence.request.is_set("poll") && has_output => nothing("results_in_file"),
        Some(_) if evidence.request.is_set("poll") => nothing("not_finished"),
        Some(_) => {
            let usage = evidence
                .object("usage")
                .and_then(|object| tokens::usage(&mut Counted::new(object), tokens::TEXT))
                .filter(|usage| usage.iter().any(|(_, count)| !count.is_zero()));
            UsageDraft {
                source: UsageSource::Pending,
                reason: Some("batch"),
                low: usage.clone(),
                high: usage,
                ..UsageDraft::default()
            }
        }
    }
}

/// Keeps what a finished upload became.
pub(crate) fn collect_upload(frame: &Frame<'_>, evidence: &mut Evidence) {
    if let Some(picked) = pick(frame.data, ["id", "file"]) {
        let [id, file] = picked.members;
        keep_response_text(evidence, "id", id);
        keep_response_text(evidence, FILE, facts::member(file, "id"));
    }
}

/// Which file is read.
pub(crate) fn file_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let mut segments = asked.path.rsplit('/');
    if segments.next() == Some("content")
        && let Some(file) = segments.next()
        && file.len() <= farebox_pricing::evidence::EVIDENCE_TEXT_BYTES_MAX
    {
        evidence.request.insert("file", file);
    }
}

/// Adds up what one result used.
pub(crate) fn collect_result(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Body {
        // A file of one line with a JSON name; or an error.
        evidence.response.insert("finished", true);
    }
    let picked = pick(frame.data, ["custom_id", "response", "error"]);
    let Some([Some(_), Some(response), _]) = picked.map(|picked| picked.members) else {
        if facts::is_set(evidence, HAS_RESULTS) {
            evidence.response.insert(UNREAD, true);
        } else if evidence.counts.frames <= 1 {
            evidence.response.insert(PLAIN, true);
        }
        return;
    };
    if !facts::is_set(evidence, HAS_RESULTS) {
        evidence.response.insert(HAS_RESULTS, true);
        if let Some(file) = evidence.request_text("file").map(str::to_owned) {
            evidence.set_response_text("id", &file);
        }
    }
    // A request that failed has no response, or one of status 400 and above.
    let Some(picked) = pick_in(response, ["status_code", "body"]) else {
        return;
    };
    let [status, body] = picked.members;
    let status: u64 = status.and_then(|raw| raw.get().parse().ok()).unwrap_or(200);
    let Some(body) = body.filter(|_| status < 400) else {
        return;
    };
    let (collect, usage_of) = reader_of(body.bytes());
    let lines = sums::lines_of(Evidence::default(), body.bytes(), collect, usage_of);
    let Some(mut lines) = lines else {
        evidence.response.insert(UNREAD, true);
        return;
    };
    for line in &mut lines {
        // The whole batch has one price; what tier a result names is no other one.
        line.conditions.remove("service_tier");
        if evidence.response_text("model").is_none() {
            evidence.set_response_text("model", &line.model);
        }
    }
    sums::add(evidence, &lines);
}

/// How an endpoint's answer is read.
type ReaderOf = (fn(&Frame<'_>, &mut Evidence), fn(&Evidence) -> UsageDraft);

/// The reader of the endpoint that an answer's shape is of.
fn reader_of(body: &[u8]) -> ReaderOf {
    let object = pick(body, ["object"]).and_then(|picked| picked.members[0].and_then(text_of));
    match object.as_deref() {
        Some("response" | "response.compaction") => (responses::collect, responses::usage_of),
        Some("list") => (embeddings::collect, embeddings::usage_of),
        Some(_) => (chat::collect, chat::usage_of),
        None => (images::collect, images::usage_of),
    }
}

/// The lines of a file of results, once it was read to its end.
pub(crate) fn results_usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if facts::status(evidence).is_none_or(|status| status >= 400) {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    }
    let lines = sums::lines(evidence);
    // Of a first line that was cut off nothing is known.
    let counts = &evidence.counts;
    let is_told = counts.is_complete || counts.frames > 1;
    let is_plain = (facts::is_set(evidence, PLAIN) && is_told)
        || (counts.is_complete && evidence.counts.frames == 0 && evidence.flags.is_empty());
    if is_plain {
        return UsageDraft {
            source: UsageSource::None,
            reason: Some("no_results"),
            ..UsageDraft::default()
        };
    }
    if !evidence.counts.is_complete {
        return facts::missing("incomplete_results", None, None);
    }
    let has = |flag| evidence.has_flag(flag);
    let reason = if has("frame_too_large") || facts::is_set(evidence, UNREAD) {
        Some("results_not_read")
    } else if has(sums::DROPPED) || has("objects_dropped") {
        Some(sums::DROPPED)
    } else {
        None
    };
    if lines.is_empty() {
        return match reason {
            Some(reason) => facts::missing(reason, None, None),
            None => UsageDraft {
                source: UsageSource::None,
                reason: Some("no_results"),
                ..UsageDraft::default()
            },
        };
    }
    UsageDraft {
        lines,
        source: match reason {
            None => UsageSource::Reported,
            Some(_) => UsageSource::Partial,
        },
        reason,
        ..UsageDraft::default()
    }
}
