//! Deepgram's pre-recorded speech to text: seconds of audio, for each channel where channels are
//! heard apart. Everything else that decides its price stands in the query.

use farebox_pricing::evidence::{Evidence, Fact, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{pick, pick_in};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, Counted, keep_response_text, keep_usage};

/// The vendor's model when the query names none.
const DEFAULT_MODEL: &str = "base-general";
/// Query parameters that can decide a price. `tag` and `extra` are the caller's own words.
const FACTS: [&str; 18] = [
    "model",
    "version",
    "language",
    "detect_language",
    "multichannel",
    "diarize",
    "diarize_model",
    "redact",
    "keyterm",
    "detect_entities",
    "summarize",
    "topics",
    "intents",
    "sentiment",
    "callback",
    "mip_opt_out",
    "tier",
    "encoding",
];

/// What has a price of its own beside the audio, by the parameters that ask for it.
const ADDONS: &[(&str, &[&str])] = &[
    ("redact", &["redact"]),
    ("keyterm", &["keyterm"]),
    ("detect_entities", &["detect_entities"]),
    ("diarize", &["diarize", "diarize_model"]),
];

/// Keeps the parameters that decide the price; of `callback`, `keyterm` and other free texts only
/// that they were there.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    keep_query(evidence, asked, &FACTS);
}

/// Keeps the named parameters of a query.
pub(super) fn keep_query(evidence: &mut Evidence, asked: &Asked<'_>, names: &[&str]) {
    for pair in asked.query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !names.contains(&name) {
            continue;
        }
        let is_word = !value.is_empty()
            && value.len() <= farebox_pricing::evidence::EVIDENCE_TEXT_BYTES_MAX
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let value = match (name, value) {
            ("callback" | "keyterm", _) => Fact::Bool(true),
            (_, "true") => Fact::Bool(true),
            (_, "false") => Fact::Bool(false),
            _ if is_word => Fact::from(value),
            _ => Fact::Bool(true),
        };
        // A repeated parameter is a list; any of it that is on counts as on.
        if evidence
            .request
            .get(name)
            .is_none_or(|before| *before == Fact::Bool(false))
        {
            evidence.request.insert(name.to_owned(), value);
        }
    }
}

/// Its answers are no event streams.
pub(super) fn glance(_data: &[u8]) -> Glance {
    Glance::Telling
}

/// Keeps duration, channels, served models and what text intelligence counted.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["metadata", "request_id", "err_code"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [metadata, request_id, err_code] = picked.members;
    keep_response_text(evidence, "id", request_id);
    keep_response_text(evidence, "error_code", err_code);
    evidence.response.insert("finished", true);
    let Some(metadata) = metadata.and_then(|raw| pick_in(raw, METADATA)) else {
        return;
    };
    let [request_id, facts @ .., _, _, _, _] = metadata.members;
    keep_response_text(evidence, "id", request_id);
    let kept: Vec<(&str, Kept)> = METADATA[1..]
        .iter()
        .zip(facts)
        .filter_map(|(name, raw)| Some((*name, Kept::of(raw?.get())?)))
        .collect();
    let members = kept.iter().map(|(name, value)| (*name, value.json()));
    evidence.replace_object("metadata", Kept::object(members));
    for (name, raw) in METADATA.iter().zip(metadata.members).skip(4) {
        keep_usage(evidence, name, raw);
    }
}

/// The id, the facts of the audio, and what text intelligence counted.
const METADATA: [&str; 8] = [
    "request_id",
    "duration",
    "channels",
    "model_info",
    "summary_info",
    "sentiment_info",
    "topics_info",
    "intents_info",
];

/// The line of one transcription.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(seconds) = seconds(evidence) {
        let mut usage = Usage::new();
        usage.set(Meter::AudioSeconds, seconds);
        let heard = Line {
            model: model(evidence),
            conditions: conditions(evidence),
            usage,
        };
        return UsageDraft {
            lines: std::iter::once(heard)
                .chain(super::read::intelligence(evidence))
                .collect(),
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
    }
    unreported(evidence)
}

/// The draft of an answer without usage; one that goes to the caller's own address is yet to come.
pub(super) fn unreported(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    if evidence.request.contains_key("callback") && facts::is_set(evidence, "finished") {
        return UsageDraft {
            source: UsageSource::Pending,
            reason: Some("callback"),
            ..UsageDraft::default()
        };
    }
    facts::missing(facts::why_no_usage(evidence), None, None)
}

/// The audio's length, once for each channel that is heard apart.
fn seconds(evidence: &Evidence) -> Option<Decimal> {
    let metadata = evidence.object("metadata")?;
    let duration = metadata.get("duration")?.decimal()?;
    if duration.is_negative() {
        return None;
    }
    if !is_on(evidence, "multichannel") {
        return Some(duration);
    }
    let channels = Counted::new(metadata).count(&["channels"])?;
    let mantissa = duration.mantissa().checked_mul(i128::from(channels))?;
    Decimal::new(mantissa, duration.scale()).ok()
}

pub(super) fn is_on(evidence: &Evidence, name: &str) -> bool {
    evidence
        .request
        .get(name)
        .is_some_and(|value| *value != Fact::Bool(false))
}

/// How answers name the family that is asked for as `enhanced`; of all others the two names are one.
const ENHANCED_ARCH: &str = "polaris";

/// The served model. The answer names the family (`arch`); the query may name a member of it
/// (`nova-3-medical`), and `-general` is the family itself.
fn model(evidence: &Evidence) -> String {
    let asked = evidence.request_text("model");
    let models = evidence
        .object("metadata")
        .and_then(|metadata| metadata.get("model_info"));
    let mut models = models.into_iter().flat_map(Json::members);
    let family = match (models.next(), models.next()) {
        (Some((_, only)), None) => only.get("arch").and_then(Json::str),
        _ => None,
    };
    billed_model(family.as_deref(), asked)
}

/// The name of a family, or of the member of it that was asked for.
pub(super) fn billed_model(family: Option<&str>, asked: Option<&str>) -> String {
    let family = family.map(|family| {
        if family == ENHANCED_ARCH {
            "enhanced"
        } else {
            family
        }
    });
    let name = match (family, asked) {
        (Some(family), Some(asked)) if asked.starts_with(family) => asked,
        (Some(family), _) => family,
        (None, asked) => asked.unwrap_or(DEFAULT_MODEL),
    };
    name.strip_suffix("-general").unwrap_or(name).to_owned()
}

/// The way in which audio came, and what of it is heard at a price of its own.
pub(super) fn heard_in(evidence: &Evidence, mode: &str) -> Conditions {
    let is_asked = |names: &[&str]| names.iter().any(|name| is_on(evidence, name));
    let mut conditions = Conditions::from([("mode".to_owned(), mode.to_owned())]);
    for (addon, parameters) in ADDONS {
        if is_asked(parameters) {
            conditions.insert((*addon).into(), "true".into());
        }
    }
    conditions
}

/// How the audio came, and what is heard beside the words.
fn conditions(evidence: &Evidence) -> Conditions {
    let mut conditions = heard_in(evidence, "prerecorded");
    if evidence.request_text("language") == Some("multi") {
        conditions.insert("language".into(), "multi".into());
    }
    conditions
}
