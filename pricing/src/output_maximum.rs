//! The most tokens one answer of a model can have, where that is known: what a limit reserves for a
//! request that names no maximum of its own. Data in `output_maxima/models.json`; never a price.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// The data, with its source and the day it was checked.
const MODELS: &str = include_str!("../output_maxima/models.json");

#[derive(Deserialize)]
struct Models {
    providers: HashMap<String, HashMap<String, u64>>,
}

/// The most output tokens of a model of a vendor; `None`: nobody said.
#[must_use]
pub fn of(provider: &str, model: &str) -> Option<u64> {
    static READ: OnceLock<HashMap<String, HashMap<String, u64>>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        // A test reads it, so that it cannot be broken.
        serde_json::from_str::<Models>(MODELS)
            .map_or_else(|_| HashMap::new(), |read| read.providers)
    });
    let models = read.get(provider)?;
    let last = model.rsplit('/').next().unwrap_or(model);
    [model, last, undated(last)]
        .into_iter()
        .find_map(|name| models.get(name).copied())
}

/// Without the date of a version: `-20250929`, `-2024-08-06`.
fn undated(model: &str) -> &str {
    let is_date = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        digits == 8
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    for length in [9, 11] {
        let at = model.len().saturating_sub(length);
        if let (Some(rest), Some(tail)) = (model.get(..at), model.get(at..))
            && let Some(date) = tail.strip_prefix('-')
            && is_date(date)
        {
            return rest;
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_maximum_is_known_by_its_name_with_and_without_a_date() {
        let check = |provider, model, expected| {
            assert_eq!(of(provider, model), expected, "{provider} {model}");
        };
        check("openai", "gpt-4o-mini", Some(16_384));
        check("openai", "gpt-4o-mini-2031-01-02", Some(16_384));
        check("anthropic", "claude-sonnet-4-5", Some(64_000));
        check("anthropic", "claude-sonnet-4-5-20310102", Some(64_000));
        check("gemini", "models/gemini-2.5-flash", Some(65_536));
        check("openai", "gpt-of-tomorrow", None);
        check("nobody", "gpt-4o-mini", None);
        check("openai", "", None);
        check("openai", "ä-20310102", None);
    }

    #[test]
    fn every_maximum_is_one_that_an_answer_can_have() {
        let read: Models = serde_json::from_str(MODELS).unwrap();
        let mut count = 0;
        for (provider, models) in &read.providers {
            for (model, most) in models {
                count += 1;
                assert!((1..=10_000_000).contains(most), "{provider} {model} {most}");
            }
        }
        assert!(count > 500, "{count}");
    }
}
