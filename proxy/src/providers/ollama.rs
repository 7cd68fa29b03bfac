//! Ollama's own API, beside OpenAI's dialect that it speaks too: chat and completions as JSON lines
//! whose last one counts, and embeddings. Its hosts are configured upstreams of that dialect.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Meter, Usage, UsageDraft};
use memchr::memmem;

use crate::framing::json::{Raw, pick};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Endpoint, Glance};
use crate::providers::facts::{
    self, BYTES_PER_TOKEN, keep_error, keep_request, keep_response_text,
};
use crate::providers::openai::tokens;

/// What was read in, absent where all of it was cached, and what was made.
const INPUT: &str = "prompt_eval_count";
const OUTPUT: &str = "eval_count";
/// The reason of a row whose input was not counted because all of it was cached.
const INPUT_NOT_COUNTED: &str = "cached_input_not_counted";

/// A call that generates.
pub(super) const fn generation(path: &'static str, kind: Kind) -> Endpoint {
    Endpoint {
        path,
        kind,
        is_read: true,
        request_facts,
        glance,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A call that embeds.
pub(super) const fn embeddings(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: embedded_usage_of,
        ..generation(path, Kind::Embeddings)
    }
}

/// Model, stream and the most that may be generated.
fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 4] = ["model", "stream", "options", "images"];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    let [model, stream, options, images] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "stream", stream);
    // Below zero there is no bound.
    keep_request(
        evidence,
        "max_output_tokens",
        facts::member(options, "num_predict"),
    );
    if facts::is_present(images) {
        evidence.request.insert(tokens::UNBOUNDED_INPUT, true);
    }
    tokens::note_unbounded_input(evidence, asked);
}

/// A line says whether it is the last, or that something went wrong. What is generated cannot look like
/// that: its quotes are escaped.
fn glance(data: &[u8]) -> Glance {
    let value_of = |name: &[u8]| {
        let found = memmem::find(data, name)?;
        let rest = data[found + name.len()..].trim_ascii_start();
        rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start)
    };
    let done = value_of(b"\"done\"");
    if done.is_some_and(|value| value.starts_with(b"true")) || value_of(b"\"error\"").is_some() {
        Glance::Telling
    } else if done.is_some() {
        Glance::Output
    } else {
        Glance::Dull
    }
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 5] = ["model", INPUT, OUTPUT, "done", "error"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [model, input, output, done, error] = picked.members;
    keep_response_text(evidence, "model", model);
    keep_count(evidence, INPUT, input);
    keep_count(evidence, OUTPUT, output);
    keep_error(evidence, error);
    let is_done = done.is_some_and(|done| done.bytes() == b"true");
    if frame.origin == Origin::Body || is_done {
        evidence.response.insert("finished", true);
    } else if !facts::is_present(error) {
        evidence.counts.output_frames += 1;
    }
}

fn keep_count(evidence: &mut Evidence, name: &'static str, raw: Option<Raw<'_>>) {
    if let Some(count) = raw.and_then(|raw| raw.get().parse::<u64>().ok()) {
        evidence.response.insert(name, count);
    }
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    let Some(output) = facts::response_count(evidence, OUTPUT) else {
        return facts::refused(evidence).unwrap_or_else(|| {
            let low = evidence.counts.output_frames;
            tokens::unreported(evidence, low, facts::output_high(evidence))
        });
    };
    let input = facts::response_count(evidence, INPUT);
    let counts = [
        (Meter::InputTokens, input),
        (Meter::OutputTokens, Some(output)),
    ];
    reported(
        evidence,
        counts,
        input.is_none().then_some(INPUT_NOT_COUNTED),
    )
}

/// What is embedded is no more than the request; the older route of the two counts nothing.
fn embedded_usage_of(evidence: &Evidence) -> UsageDraft {
    let Some(input) = facts::response_count(evidence, INPUT) else {
        return facts::refused(evidence).unwrap_or_else(|| {
            let of = |count: u64| Usage::from_iter([(Meter::InputTokens, count.into())]);
            let bytes = evidence.counts.request_bytes;
            let estimate = || tokens::line(evidence, of(bytes / BYTES_PER_TOKEN));
            facts::unreported(evidence, estimate, of(0), of(bytes))
        });
    };
    reported(evidence, [(Meter::InputTokens, Some(input))], None)
}

fn reported<const N: usize>(
    evidence: &Evidence,
    counts: [(Meter, Option<u64>); N],
    reason: Option<&'static str>,
) -> UsageDraft {
    let usage = counts
        .into_iter()
        .filter_map(|(meter, count)| Some((meter, count?.into())))
        .collect();
    facts::reported(evidence, usage, reason)
}
