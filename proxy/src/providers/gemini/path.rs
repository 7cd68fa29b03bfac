//! What the path of a Google call says: the model before its verb, the place it runs in.

use std::borrow::Cow;

use farebox_pricing::event::MODEL_BYTES_MAX;
use farebox_pricing::evidence::{EVIDENCE_TEXT_BYTES_MAX, Evidence};
use percent_encoding::percent_decode_str;

use crate::provider::Asked;

/// Keeps the model, the place, and whether the answer is asked for as a stream.
pub(crate) fn keep(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(model) = model(asked.path) {
        evidence.request.insert("model", &*model);
    }
    keep_location(evidence, asked);
    let verb = asked.path.rsplit(':').next().unwrap_or_default();
    if matches!(verb, "streamGenerateContent" | "streamRawPredict") {
        evidence.request.insert("stream", true);
    }
}

/// Keeps the place alone.
pub(crate) fn keep_location(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(location) = after(asked.path, "locations")
        && location.len() <= EVIDENCE_TEXT_BYTES_MAX
    {
        evidence.request.insert("location", location);
    }
}

/// What stands behind `models` and before a verb.
pub(crate) fn model(path: &str) -> Option<Cow<'_, str>> {
    let segment = ["models", "tunedModels", "endpoints"]
        .iter()
        .find_map(|name| after(path, name))?;
    let name = segment.rsplit_once(':').map_or(segment, |(name, _)| name);
    let name = percent_decode_str(name).decode_utf8().ok()?;
    (!name.is_empty() && name.len() <= MODEL_BYTES_MAX).then_some(name)
}

fn after<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == name)?;
    segments.next()
}

/// The last part of a resource's name: `abc` of `cachedContents/abc`.
pub(crate) fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_stands_before_the_verb() {
        for (path, expected) in [
            (
                "/v1beta/models/gemini-3.8-flash:generateContent",
                Some("gemini-3.8-flash"),
            ),
            ("/v1/models/gemini-3%2Ex:predict", Some("gemini-3.x")),
            ("/v1beta/tunedModels/mine:generateContent", Some("mine")),
            (
                "/v1/projects/p/locations/us/publishers/google/models/m@001:countTokens",
                Some("m@001"),
            ),
            ("/v1beta/models/m/operations/7", Some("m")),
            ("/v1beta/cachedContents", None),
            ("/v1beta/models/:x", None),
        ] {
            assert_eq!(model(path).as_deref(), expected, "{path}");
        }
        assert_eq!(last_part("models/m/operations/7"), "7");
    }
}
