//! AssemblyAI's transcripts of recorded audio: seconds of each channel, known once the transcript is
//! completed. One call makes it, others fetch it, and the first that finds it completed is billed.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{items, pick};
use crate::provider::Verb::Get;
use crate::provider::{Asked, Class, Endpoint, Glance, Keeps};
use crate::providers::facts::{self, Counted, keep_request, keep_response_text, response_count};
use crate::providers::speech;

/// The vendor's model when neither side names one.
const DEFAULT_MODEL: &str = "universal";
/// The one model that answers at once.
const SYNC_MODEL: &str = "sync";
/// Thousandths of a second.
const MILLIS_SCALE: u8 = 3;

/// What a transcript says of itself. The first ones say what is billed, the rest which features
/// raise it; none of them is content.
const FACTS: [&str; 17] = [
    "audio_duration",
    "audio_channels",
    "multichannel",
    "dual_channel",
    "speaker_labels",
    "auto_chapters",
    "auto_highlights",
    "content_safety",
    "entity_detection",
    "iab_categories",
    "language_detection",
    "sentiment_analysis",
    "summarization",
    "redact_pii",
    "redact_pii_audio",
    "custom_topics",
    "format_text",
];
/// The first of [`FACTS`] that is a feature, and how many follow that have a price of their own.
const FEATURES: std::ops::Range<usize> = 4..16;

/// A new transcript.
pub(super) const CREATED: Endpoint = Endpoint {
    path: "/v2/transcript",
    kind: Kind::Transcription,
    keeps: Keeps::Creates,
    is_read: true,
    request_facts,
    glance: |_| Glance::Telling,
    collect,
    usage_of,
    ..Endpoint::DEFAULT
};

/// One that was made before.
pub(super) const FETCHED: Endpoint = Endpoint {
    path: "/v2/transcript/{id}",
    verb: Get,
    class: Class::State,
    keeps: Keeps::Item,
    request_facts: |evidence, _| evidence.request.insert("poll", true),
    ..CREATED
};

/// Short audio, answered by the transcript itself.
pub(super) const fn at_once(path: &'static str, base_url: Option<&'static str>) -> Endpoint {
    Endpoint {
        path,
        base_url,
        kind: Kind::Transcription,
        is_read: true,
        glance: |_| Glance::Telling,
        collect: collect_at_once,
        usage_of: usage_at_once,
        ..Endpoint::DEFAULT
    }
}

fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(picked) = asked
        .body
        .and_then(|body| pick(body, ["speech_model", "speech_models", "multichannel"]))
    else {
        return;
    };
    let [model, models, multichannel] = picked.members;
    let first = models.and_then(|models| items(models).next());
    keep_request(evidence, "model", first);
    keep_request(evidence, "model", model);
    keep_request(evidence, "multichannel", multichannel);
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 5] = ["id", "status", "speech_model", "speech_model_used", "error"];
    let (Some(picked), Some(said)) = (pick(frame.data, NAMES), pick(frame.data, FACTS)) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, status, model, model_used, _] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "model", model_used);
    keep_response_text(evidence, "status_text", status);
    evidence.response.insert("finished", true);
    let kept: Vec<_> = FACTS
        .iter()
        .zip(said.members)
        .filter_map(|(name, raw)| {
            let raw = raw.filter(|raw| !raw.get().starts_with(['{', '[']))?;
            Some((*name, farebox_pricing::evidence::Kept::of(raw.get())?))
        })
        .collect();
    let members = kept.iter().map(|(name, value)| (*name, value.json()));
    evidence.replace_object(
        "transcript",
        farebox_pricing::evidence::Kept::object(members),
    );
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let status = evidence.response_text("status_text");
    if status == Some("completed")
        && let Some(draft) = completed(evidence)
    {
        return draft;
    }
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let is_poll = evidence.request.is_set("poll");
    let (source, reason) = match status {
        Some("queued" | "processing") if is_poll => (UsageSource::None, "not_finished"),
        Some("queued" | "processing") => (UsageSource::Pending, "transcript"),
        // The vendor charges nothing for a transcript that failed.
        Some("error") => (UsageSource::None, "failed"),
        _ => return facts::missing(facts::why_no_usage(evidence), None, None),
    };
    UsageDraft {
        source,
        reason: Some(reason),
        ..UsageDraft::default()
    }
}

fn completed(evidence: &Evidence) -> Option<UsageDraft> {
    let transcript = evidence.object("transcript")?;
    let seconds = transcript.get("audio_duration")?.decimal()?;
    let is_on = |name: &str| transcript.get(name).and_then(Json::bool) == Some(true);
    let channels = if is_on("multichannel") || is_on("dual_channel") {
        Counted::new(transcript).count(&["audio_channels"])
    } else {
        None
    };
    let channels = match channels {
        Some(channels) => channels.max(1),
        None if is_on("dual_channel") => 2,
        None => 1,
    };
    if seconds.is_negative() {
        return None;
    }
    let seconds = seconds.checked_mul(channels.into())?;
    let has_features = FACTS[FEATURES].iter().any(|name| is_on(name));
    let model = facts::model(evidence);
    let model = if model.is_empty() {
        DEFAULT_MODEL.to_owned()
    } else {
        model
    };
    Some(UsageDraft {
        lines: vec![line(model, "prerecorded", seconds)],
        source: UsageSource::Reported,
        reason: has_features.then_some("features_unpriced"),
        low: None,
        high: None,
    })
}

fn line(model: String, mode: &str, seconds: Decimal) -> Line {
    let mut line = Line {
        model,
        usage: Usage::from_iter([(Meter::AudioSeconds, seconds)]),
        ..Line::default()
    };
    line.conditions.insert("mode".into(), mode.into());
    line
}

fn collect_at_once(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["id", "audio_duration_ms", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    keep_response_text(evidence, "id", picked.members[0]);
    if let Some(millis) = picked.members[1].and_then(|raw| raw.get().parse::<u64>().ok()) {
        evidence.response.insert("audio_duration_ms", millis);
    }
    evidence.response.insert("finished", true);
}

fn usage_at_once(evidence: &Evidence) -> UsageDraft {
    let seconds = response_count(evidence, "audio_duration_ms")
        .and_then(|millis| Decimal::new(i128::from(millis), MILLIS_SCALE).ok());
    match seconds {
        Some(seconds) => UsageDraft {
            lines: vec![line(SYNC_MODEL.to_owned(), SYNC_MODEL, seconds)],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        },
        None => speech::unheard(evidence),
    }
}
