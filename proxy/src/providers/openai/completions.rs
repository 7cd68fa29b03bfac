//! OpenAI's text completions: chat's usage, with the text itself in the choices.

use std::sync::LazyLock;

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;
use memchr::memmem::Finder;

use super::{chat, tokens};
use crate::framing::Frame;
use crate::framing::json::{Raw, items, pick};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, keep_request};

/// The output limit where the request names none.
const DEFAULT_MAX_TOKENS: u64 = 16;

/// Model, stream and what bounds the output.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 6] = ["model", "stream", "n", "best_of", "max_tokens", "prompt"];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    let [model, stream, n, best_of, max_tokens, prompt] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "stream", stream);
    keep_request(evidence, "n", n);
    keep_request(evidence, "best_of", best_of);
    evidence
        .request
        .insert("max_output_tokens", DEFAULT_MAX_TOKENS);
    keep_request(evidence, "max_output_tokens", max_tokens);
    evidence
        .request
        .insert("prompts", prompt.map_or(1, prompts));
}

/// A text, or an array of tokens, is one prompt; an array of either is several.
fn prompts(prompt: Raw<'_>) -> u64 {
    let is_prompt = |item: &Raw<'_>| item.get().starts_with(['"', '[']);
    (items(prompt).filter(is_prompt).count() as u64).max(1)
}

static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"text\""));

/// As chat's, but output is a text that is not empty.
pub(crate) fn glance(data: &[u8]) -> Glance {
    if chat::glance(data) == Glance::Telling {
        return Glance::Telling;
    }
    let has_text = TEXT.find_iter(data).any(|found| {
        let rest = &data[found + TEXT.needle().len()..];
        if chat::value_after(rest) != Some(b'"') {
            return false;
        }
        let quote = rest.iter().position(|byte| *byte == b'"');
        quote.is_some_and(|at| rest.get(at + 1).is_some_and(|byte| *byte != b'"'))
    });
    if has_text {
        Glance::Output
    } else {
        Glance::Dull
    }
}

/// Keeps usage, model and id of a body or chunk.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    chat::collect_with(frame, evidence, glance);
}

/// The line of one completion.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let reported = evidence
        .object("usage")
        .and_then(|object| tokens::reported(evidence, object));
    if let Some(draft) = reported {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| {
        let of = |name| facts::request_count(evidence, name).unwrap_or(1).max(1);
        let choices = of("n").max(of("best_of")).saturating_mul(of("prompts"));
        let high = match facts::request_count(evidence, "max_output_tokens") {
            Some(max) => max.saturating_mul(choices),
            None => facts::output_high(evidence),
        };
        tokens::unreported(evidence, evidence.counts.output_frames, high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_sees_text() {
        let cases: [(&[u8], Glance); 5] = [
            (br#"{"choices":[{"text":"Hi","index":0}]}"#, Glance::Output),
            (
                br#"{"choices":[{"text": "\"text\":\"\""}]}"#,
                Glance::Output,
            ),
            (
                br#"{"choices":[{"text":"","index":0}],"usage":null}"#,
                Glance::Dull,
            ),
            (
                br#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
                Glance::Telling,
            ),
            (b"[DONE]", Glance::Telling),
        ];
        for (data, glanced) in cases {
            assert_eq!(glance(data), glanced, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn prompts_are_counted() {
        for (prompt, count) in [
            (r#""a""#, 1),
            ("[1,2,3]", 1),
            (r#"["a","b"]"#, 2),
            ("[[1],[2],[3]]", 3),
            ("[]", 1),
            ("null", 1),
        ] {
            let body = format!(r#"{{"prompt":{prompt}}}"#);
            let raw = pick(body.as_bytes(), ["prompt"]).unwrap().members[0].unwrap();
            assert_eq!(prompts(raw), count, "{prompt}");
        }
    }
}
