//! OpenAI's chat completions: usage in the body, or in whichever chunk of a stream carries it.

use std::sync::LazyLock;

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::usage::{Meter, UsageDraft};
use memchr::memmem::Finder;

use crate::framing::json::{Raw, items, pick, pick_in};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance, running};
use crate::providers::facts::{
    self, Counted, is_present, keep_error, keep_request, keep_response_text,
};
use crate::providers::openai::{delta, halves, timings, tokens};

/// Model, stream and what bounds the output.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 8] = [
        "model",
        "stream",
        "service_tier",
        "n",
        "max_completion_tokens",
        "max_tokens",
        "web_search_options",
        "store",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    let [
        model,
        stream,
        tier,
        n,
        max_completion,
        max_tokens,
        web_search,
        store,
    ] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "stream", stream);
    keep_request(evidence, "service_tier", tier);
    keep_request(evidence, "n", n);
    keep_request(evidence, "store", store);
    let max = if is_present(max_completion) {
        max_completion
    } else {
        max_tokens
    };
    keep_request(evidence, "max_output_tokens", max);
    if is_present(web_search) {
        evidence.request.insert("web_search", true);
    }
    tokens::note_unbounded_input(evidence, asked);
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));

/// Chunks are dull unless their usage is more than `null`, they speak of an error, or end it all.
pub(crate) fn glance(data: &[u8]) -> Glance {
    if data == b"[DONE]"
        || USAGE
            .find_iter(data)
            .any(|found| value_after(&data[found + USAGE.needle().len()..]) != Some(b'n'))
        || ERROR
            .find_iter(data)
            .any(|found| value_after(&data[found + ERROR.needle().len()..]) != Some(b'n'))
    {
        return Glance::Telling;
    }
    let has_output = DELTA.find_iter(data).any(|found| {
        let rest = &data[found + DELTA.needle().len()..];
        let inside = rest.iter().position(|byte| *byte == b'{');
        inside.is_some_and(|at| delta::has_output(&rest[at..]))
    });
    if has_output {
        Glance::Output
    } else if timings::are_in(data) {
        Glance::Telling
    } else {
        Glance::Dull
    }
}

/// The first byte of the value behind a member's name.
pub(super) fn value_after(rest: &[u8]) -> Option<u8> {
    let colon = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if rest[colon] != b':' {
        // Not a member's name after all but a text; nothing to learn.
        return Some(b'n');
    }
    first_solid(&rest[colon + 1..])
}

pub(super) fn first_solid(bytes: &[u8]) -> Option<u8> {
    bytes
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// Keeps usage, model, tier and id of a body or chunk.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    collect_with(frame, evidence, glance);
}

/// The same for choices that another glance understands.
pub(super) fn collect_with(
    frame: &Frame<'_>,
    evidence: &mut Evidence,
    glance: fn(&[u8]) -> Glance,
) {
    if frame.origin == Origin::Event && frame.data == b"[DONE]" {
        evidence.response.insert("finished", true);
        return;
    }
    const NAMES: [&str; 7] = [
        "id",
        "model",
        "service_tier",
        "usage",
        "error",
        "choices",
        timings::MEMBER,
    ];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, model, tier, usage, error, choices, timed] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "service_tier", tier);
    let is_counted =
        keep_counts(evidence, usage) || keep_counts(evidence, of_choice(usage, choices));
    keep_error(evidence, error);
    if !is_counted {
        timings::keep(evidence, timed);
    }
    match frame.origin {
        Origin::Event => {
            if is_counted {
                running::note(evidence, choices);
            }
            let has_output = choices.is_some_and(|raw| glance(raw.bytes()) == Glance::Output);
            evidence.counts.output_frames += u64::from(has_output);
        }
        Origin::Body => {
            evidence.response.insert("finished", true);
        }
    }
}

/// Keeps a usage object; one that counts nothing itself, as one of details alone, completes the one before.
fn keep_counts(evidence: &mut Evidence, usage: Option<Raw<'_>>) -> bool {
    let has_counts = |usage: Json<'_>| {
        let mut names = tokens::INPUT.iter().chain(&tokens::OUTPUT);
        names.any(|name| usage.get(name).is_some_and(|count| !count.is_null()))
    };
    let object = usage.filter(|raw| raw.bytes().starts_with(b"{"));
    let Some(value) = object.and_then(|raw| Kept::of(raw.get())) else {
        return false;
    };
    let value = match evidence.kept(USAGE_AT) {
        Some(earlier) if !has_counts(value.json()) => earlier.merged(&value),
        _ => value,
    };
    evidence.replace_object(USAGE_AT, value);
    true
}

/// The usage that some servers put inside a choice, where none stands beside them.
fn of_choice<'a>(usage: Option<Raw<'a>>, choices: Option<Raw<'a>>) -> Option<Raw<'a>> {
    let choices =
        choices.filter(|choices| !is_present(usage) && USAGE.find(choices.bytes()).is_some());
    choices
        .into_iter()
        .flat_map(items)
        .filter_map(|choice| pick_in(choice, ["usage"])?.members[0])
        .last()
}

/// Where the usage stands in the evidence.
const USAGE_AT: &str = "usage";

/// The line of one chat completion.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let reported = evidence.kept(USAGE_AT).and_then(|object| {
        let mut counted = Counted::kept(object);
        Some((tokens::counted(evidence, &mut counted)?, counted))
    });
    if let Some((mut draft, mut counted)) = reported {
        halves::complete(evidence, &mut counted, output_bounds, &mut draft);
        count_search(evidence, &mut draft);
        return draft;
    }
    facts::refused(evidence)
        .or_else(|| timings::draft(evidence))
        .unwrap_or_else(|| unreported(evidence))
}

/// A model made for search searches once a call and is billed for that; how often another one did
/// that may search is in no answer.
fn count_search(evidence: &Evidence, draft: &mut UsageDraft) {
    let Some(line) = draft.lines.first_mut() else {
        return;
    };
    let is_search_model = SEARCH_MODELS.iter().any(|part| line.model.contains(part));
    if is_search_model {
        line.usage.set(Meter::WebSearches, 1);
    } else if evidence.request.is_set("web_search") {
        draft.reason = draft.reason.or(Some("web_search_not_counted"));
    }
}

/// What the names of models made for search hold.
const SEARCH_MODELS: [&str; 2] = ["-search-preview", "-search-api"];

fn unreported(evidence: &Evidence) -> UsageDraft {
    let (low, high) = output_bounds(evidence);
    tokens::unreported(evidence, low, high)
}

/// Each event with output holds a token at least; `n` choices may each be as long as the limit says.
fn output_bounds(evidence: &Evidence) -> (u64, u64) {
    let low = evidence.counts.output_frames;
    let choices = facts::request_count(evidence, "n").unwrap_or(1).max(1);
    let high = match facts::request_count(evidence, "max_output_tokens") {
        Some(max) => max.saturating_mul(choices),
        None => facts::output_high(evidence),
    };
    (low, high.max(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_parses_only_what_tells() {
        let cases: [(&[u8], Glance); 15] = [
            (
                br#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                Glance::Dull,
            ),
            (
                br#"{"choices":[{"delta":{"content":""}},{"delta":{"content":"Hi"}}]}"#,
                Glance::Output,
            ),
            (br#"{"choices":[{"delta":null}]}"#, Glance::Dull),
            (
                br#"{"choices":[{"delta":{"content":"Hi"}}],"usage":null}"#,
                Glance::Output,
            ),
            (
                br#"{"choices":[{"delta":{"content":"Hi"}}]}"#,
                Glance::Output,
            ),
            (
                br#"{"choices":[{"delta": { }}],"usage" : null}"#,
                Glance::Dull,
            ),
            (
                br#"{"choices":[],"usage" : {"prompt_tokens":1}}"#,
                Glance::Telling,
            ),
            (br#"{"usage":null,"x":{"usage":{"a":1}}}"#, Glance::Telling),
            (
                br#"{"choices":[{"delta":{"content":"the \"usage\": {"}}]}"#,
                Glance::Output,
            ),
            (
                br#"{"choices":[{"delta":{"content":"usage"}}]}"#,
                Glance::Output,
            ),
            (br#"{"error":{"message":"x"}}"#, Glance::Telling),
            (
                br#"{"choices":[{"delta":{}}],"timings":{"prompt_n":1}}"#,
                Glance::Telling,
            ),
            (
                br#"{"choices":[{"delta":{"content":"a"}}],"timings":{"prompt_n":1}}"#,
                Glance::Output,
            ),
            (b"[DONE]", Glance::Telling),
            (b"", Glance::Dull),
        ];
        for (data, glanced) in cases {
            assert_eq!(glance(data), glanced, "{}", String::from_utf8_lossy(data));
        }
    }
}
