//! Which model a Bedrock path names, plain or as an ARN.

use std::borrow::Cow;

use farebox_pricing::event::MODEL_BYTES_MAX;
use farebox_pricing::evidence::Evidence;
use percent_encoding::percent_decode_str;

use crate::provider::Asked;

/// ARNs of these kinds end in the name of a model; of others only the owner knows which it is.
const NAMING_KINDS: [&str; 2] = ["foundation-model", "inference-profile"];

/// Keeps the model of `/model/{id}/…`.
pub(super) fn keep(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(model) = asked.path.split('/').nth(2).and_then(model) {
        evidence.request.insert("model", &*model);
    }
}

/// The model an id names.
pub(super) fn model(id: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_decode_str(id).decode_utf8().ok()?;
    let name = match decoded.rsplit_once('/') {
        Some((kind, name))
            if NAMING_KINDS
                .iter()
                .any(|naming| kind.rsplit(':').next() == Some(naming)) =>
        {
            Cow::Owned(name.to_owned())
        }
        _ => decoded,
    };
    (!name.is_empty() && name.len() <= MODEL_BYTES_MAX).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_arns_name_their_model() {
        for (id, expected) in [
            (
                "us.anthropic.claude-opus-5-5-v1%3A0",
                "us.anthropic.claude-opus-5-5-v1:0",
            ),
            (
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.nova-pro-v1%3A0",
                "amazon.nova-pro-v1:0",
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile%2Feu.amazon.nova-pro-v1:0",
                "eu.amazon.nova-pro-v1:0",
            ),
            (
                "arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fa1b2",
                "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2",
            ),
        ] {
            assert_eq!(model(id).as_deref(), Some(expected), "{id}");
        }
    }
}
