//! Gemini's cached contents: what a cache costs is its tokens times the hours it is kept, known when
//! it is made with an end, and less when it is deleted before.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::generate::{note_error, place};
use super::{kept, path};
use crate::framing::Frame;
use crate::framing::json::{pick, text_of};
use crate::provider::Asked;
use crate::providers::facts;

/// Milliseconds of an hour.
const HOUR_MS: i128 = 3_600_000;
/// Digits kept behind the point of token-hours.
const HOURS_SCALE: u8 = 6;

/// The model and the place.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    path::keep(evidence, asked);
    if let Some(body) = asked.body.and_then(|body| pick(body, ["model"]))
        && let Some(model) = body.members[0].and_then(text_of)
    {
        evidence.request.insert("model", path::last_part(&model));
    }
}

/// Keeps the name, the tokens and the two ends of a cache.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = [
        "name",
        "model",
        "usageMetadata",
        "createTime",
        "expireTime",
        "error",
    ];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [name, model, usage, created, expires, error] = picked.members;
    kept::keep_name(evidence, name.and_then(text_of));
    if let Some(model) = model.and_then(text_of) {
        evidence.set_response_text("model", path::last_part(&model));
    }
    let parts = [
        ("usageMetadata", usage),
        ("createTime", created),
        ("expireTime", expires),
    ];
    let kept: Vec<(&str, Kept)> = parts
        .iter()
        .filter_map(|(name, raw)| Some((*name, Kept::of(raw.as_ref()?.get())?)))
        .collect();
    let members = kept.iter().map(|(name, value)| (*name, value.json()));
    evidence.replace_object("cache", Kept::object(members));
    note_error(evidence, error);
    evidence.response.insert("finished", true);
}

/// The storage of a cache that was made.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let Some(token_hours) = evidence.object("cache").and_then(token_hours) else {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    };
    let usage = |quantity: Decimal| {
        let mut usage = Usage::new();
        usage.set(Meter::CacheStorageTokenHours, quantity);
        usage
    };
    UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions: place(evidence),
            usage: usage(token_hours),
        }],
        source: UsageSource::Estimated,
        reason: Some("unless_deleted_before"),
        low: Some(usage(Decimal::ZERO)),
        high: Some(usage(token_hours)),
    }
}

fn token_hours(cache: Json<'_>) -> Option<Decimal> {
    let tokens = cache.at(&["usageMetadata", "totalTokenCount"])?.count()?;
    let at = |name| cache.get(name)?.str()?.parse::<Timestamp>().ok();
    let kept_ms = at("expireTime")?.as_millis() - at("createTime")?.as_millis();
    let scaled = i128::from(tokens)
        .checked_mul(i128::from(kept_ms.max(0)))?
        .checked_mul(10i128.pow(u32::from(HOURS_SCALE)))?;
    Decimal::new(scaled / HOUR_MS, HOURS_SCALE).ok()
}
