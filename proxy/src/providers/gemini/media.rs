//! Gemini's and Vertex's predictions: images that come at once, videos that are made while the caller
//! polls an operation.
//!
//! An operation says how many videos there are and never how long they are: their length is taken
//! from the vendor's default, between the shortest and the longest there is.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::generate::{note_error, place};
use super::{kept, path};
use crate::framing::Frame;
use crate::framing::json::{Raw, items, pick, pick_in, text_of};
use crate::provider::Asked;
use crate::providers::facts::{self, keep_request, member};

/// Seconds of a video whose request is not at hand.
const SECONDS_DEFAULT: u64 = 8;
/// Seconds of the shortest and the longest video.
const SECONDS: (u64, u64) = (4, 8);

/// The model of the path; number, length and form of what is to be made.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
    let body = asked
        .body
        .and_then(|body| pick(body, ["parameters", "operationName"]));
    let Some([parameters, operation]) = body.map(|body| body.members) else {
        return;
    };
    // A fetch names its operation in the body.
    if let Some(operation) = operation.and_then(text_of) {
        evidence
            .request
            .insert("operation", path::last_part(&operation));
    }
    let names = [
        "sampleCount",
        "durationSeconds",
        "resolution",
        "generateAudio",
    ];
    if let Some(parameters) = parameters.and_then(|raw| pick_in(raw, names)) {
        let [count, seconds, resolution, audio] = parameters.members;
        keep_request(evidence, "n", count);
        keep_request(evidence, "seconds", seconds);
        keep_request(evidence, "resolution", resolution);
        keep_request(evidence, "audio", audio);
    }
}

/// Counts the images of an answer; embeddings come the same way.
pub(crate) fn collect_images(frame: &Frame<'_>, evidence: &mut Evidence) {
    super::embeddings::collect(frame, evidence);
    let Some(picked) = pick(frame.data, ["predictions"]) else {
        return;
    };
    let images = picked.members[0]
        .into_iter()
        .flat_map(items)
        .filter(is_made);
    let images = images.count() as u64;
    if images > 0 {
        evidence.response.insert("images", images);
    }
}

/// A prediction with an image, not one that was filtered out.
fn is_made(prediction: &Raw<'_>) -> bool {
    pick_in(*prediction, ["bytesBase64Encoded", "gcsUri"])
        .is_some_and(|picked| picked.members.iter().any(Option::is_some))
}

/// The images, or what the embeddings' reader finds.
pub(crate) fn usage_of_images(evidence: &Evidence) -> UsageDraft {
    let Some(images) = facts::response_count(evidence, "images") else {
        return super::embeddings::usage_of(evidence);
    };
    let mut usage = Usage::new();
    usage.set(Meter::Images, images);
    UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions: place(evidence),
            usage,
        }],
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}

/// Keeps the name of an operation, and what it made once it is done.
pub(crate) fn collect_operation(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["name", "done", "response", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [name, done, response, error] = picked.members;
    if let Some(name) = name.and_then(text_of) {
        kept::keep_name(evidence, Some(name.clone()));
        if let Some(model) = path::model(&name) {
            evidence.set_response_text("model", &model);
        }
    }
    evidence.response.insert("finished", true);
    if done.is_some_and(|raw| raw.get() == "true") {
        evidence.response.insert("done", true);
        let videos = response.map_or(0, videos);
        evidence.response.insert("videos", videos);
    }
    if error.is_some_and(|raw| raw.get() != "null") {
        // The operation failed, the call that asked for it did not.
        evidence.response.insert("failed", true);
        if facts::status(evidence).is_some_and(|status| status >= 400) {
            note_error(evidence, error);
        }
    }
}

/// `videos`, or the samples inside `generateVideoResponse`.
fn videos(response: Raw<'_>) -> u64 {
    let names = ["videos", "generateVideoResponse", "generatedSamples"];
    let Some([videos, inner, samples]) = pick_in(response, names).map(|picked| picked.members)
    else {
        return 0;
    };
    let lists = [videos, samples, member(inner, "generatedSamples")]
        .into_iter()
        .flatten();
    lists.flat_map(items).count() as u64
}

/// The operation will tell how many; until then there are bounds.
pub(crate) fn usage_of_started(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let count = facts::request_count(evidence, "n").unwrap_or(1);
    let seconds = facts::request_count(evidence, "seconds").unwrap_or(SECONDS.1);
    let high = video_seconds(count.saturating_mul(seconds));
    if evidence.response_text("id").is_none() {
        let reason = facts::why_no_usage(evidence);
        return facts::missing(reason, Some(video_seconds(0)), Some(high));
    }
    UsageDraft {
        lines: Vec::new(),
        source: UsageSource::Pending,
        reason: Some("operation"),
        low: Some(video_seconds(0)),
        high: Some(high),
    }
}

/// The videos of an operation that is done; nothing of one that runs or failed.
pub(crate) fn usage_of_operation(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let videos = facts::response_count(evidence, "videos").unwrap_or(0);
    if videos == 0 {
        let is_read = facts::is_set(evidence, "finished");
        if !is_read {
            return facts::missing(facts::why_no_usage(evidence), None, None);
        }
        return UsageDraft {
            source: UsageSource::None,
            ..UsageDraft::default()
        };
    }
    let line = Line {
        model: facts::model(evidence),
        conditions: place(evidence),
        usage: video_seconds(videos.saturating_mul(SECONDS_DEFAULT)),
    };
    UsageDraft {
        lines: vec![line],
        source: UsageSource::Estimated,
        reason: Some("length_not_told"),
        low: Some(video_seconds(videos.saturating_mul(SECONDS.0))),
        high: Some(video_seconds(videos.saturating_mul(SECONDS.1))),
    }
}

fn video_seconds(seconds: u64) -> Usage {
    let mut usage = Usage::new();
    usage.set(Meter::VideoSeconds, Decimal::from(seconds));
    usage
}
