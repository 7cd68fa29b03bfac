//! OpenAI's chat completions: usage in the body, or in whichever chunk of a stream carries it.
//!
//! `prompt_tokens` holds cached, cache-written and audio input, `completion_tokens` holds reasoning
//! and audio output; what is set here counts each token once.

use std::sync::LazyLock;

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};
use memchr::memmem::Finder;

use crate::framing::json::{pick, pick_in};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, BYTES_PER_TOKEN, Counted, is_present, keep_request, keep_response_text, keep_usage,
    text_tokens,
};

/// Model, stream and what bounds the output.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 6] = [
        "model",
        "stream",
        "service_tier",
        "n",
        "max_completion_tokens",
        "max_tokens",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    let [model, stream, tier, n, max_completion, max_tokens] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "stream", stream);
    keep_request(evidence, "service_tier", tier);
    keep_request(evidence, "n", n);
    let max = if is_present(max_completion) {
        max_completion
    } else {
        max_tokens
    };
    keep_request(evidence, "max_output_tokens", max);
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));

/// Chunks are dull unless their usage is more than `null`, they speak of an error, or end it all.
pub(super) fn glance(data: &[u8]) -> Glance {
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
    let has_delta = DELTA.find(data).is_some_and(|found| {
        let rest = &data[found + DELTA.needle().len()..];
        let inside = rest
            .iter()
            .position(|byte| *byte == b'{')
            .map(|at| &rest[at + 1..]);
        inside
            .and_then(first_solid)
            .is_some_and(|byte| byte != b'}')
    });
    if has_delta {
        Glance::Output
    } else {
        Glance::Dull
    }
}

/// The first byte of the value behind a member's name.
fn value_after(rest: &[u8]) -> Option<u8> {
    let colon = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if rest[colon] != b':' {
        // Not a member's name after all but a text; nothing to learn.
        return Some(b'n');
    }
    first_solid(&rest[colon + 1..])
}

fn first_solid(bytes: &[u8]) -> Option<u8> {
    bytes
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// Keeps usage, model, tier and id of a body or chunk.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event && frame.data == b"[DONE]" {
        evidence.response.insert("finished", true);
        return;
    }
    const NAMES: [&str; 6] = ["id", "model", "service_tier", "usage", "error", "choices"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, model, tier, usage, error, choices] = picked.members;
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "service_tier", tier);
    keep_usage(evidence, "usage", usage);
    if is_present(error) {
        evidence.response.insert("error", true);
        if let Some(error) = error.and_then(|error| pick_in(error, ["type", "code"])) {
            keep_response_text(evidence, "error_type", error.members[0]);
            keep_response_text(evidence, "error_code", error.members[1]);
        }
    }
    match frame.origin {
        Origin::Event => {
            let has_output =
                choices.is_some_and(|raw| glance(raw.get().as_bytes()) == Glance::Output);
            evidence.counts.output_frames += u64::from(has_output);
        }
        Origin::Body => {
            evidence.response.insert("finished", true);
        }
    }
}

/// The lines of one chat completion.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = evidence
        .object("usage")
        .and_then(|object| reported(evidence, object))
    {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| unreported(evidence))
}

fn reported(evidence: &Evidence, object: Json<'_>) -> Option<UsageDraft> {
    let mut counted = Counted::new(object);
    let prompt = counted.count(&["prompt_tokens"]);
    let completion = counted.count(&["completion_tokens"]);
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let mut usage = Usage::new();
    if let Some(prompt) = prompt {
        input(&mut counted, prompt, &mut usage);
    }
    if let Some(completion) = completion {
        output(&mut counted, prompt, completion, &mut usage);
    }
    Some(UsageDraft {
        reason: counted.is_clamped.then_some("negative_clamped"),
        lines: vec![line(evidence, usage)],
        source: UsageSource::Reported,
        low: None,
        high: None,
    })
}

fn input(counted: &mut Counted<'_>, prompt: u64, usage: &mut Usage) {
    let details = |name| ["prompt_tokens_details", name];
    let cached = counted.count(&details("cached_tokens"));
    let written = counted.count(&details("cache_write_tokens"));
    let audio = counted.count(&details("audio_tokens"));
    let image = counted.count(&details("image_tokens"));
    let split = |name| ["prompt_tokens_details", "cached_tokens_details", name];
    let cached_audio = counted.count(&split("audio_tokens"));

    // The cached part is undivided unless split: then it is taken from text first.
    let cached = cached.map(|cached| counted.within(cached, prompt));
    let written = written.map(|written| counted.within(written, prompt - cached.unwrap_or(0)));
    let fresh = prompt - cached.unwrap_or(0) - written.unwrap_or(0);
    let cached_audio = cached_audio.map(|part| counted.within(part, cached.unwrap_or(0)));
    let fresh_audio = audio
        .map(|audio| counted.less(audio, cached_audio.unwrap_or(0)))
        .map(|audio| counted.within(audio, fresh));
    let fresh_image = image.map(|image| counted.within(image, fresh - fresh_audio.unwrap_or(0)));

    usage.set(
        Meter::InputTokens,
        fresh - fresh_audio.unwrap_or(0) - fresh_image.unwrap_or(0),
    );
    set(
        usage,
        Meter::CacheReadTokens,
        cached.map(|cached| cached - cached_audio.unwrap_or(0)),
    );
    set(usage, Meter::CacheWriteTokens, written);
    set_some(usage, Meter::InputAudioTokens, fresh_audio);
    set_some(usage, Meter::CacheReadAudioTokens, cached_audio);
    set_some(usage, Meter::InputImageTokens, fresh_image);
}

fn output(counted: &mut Counted<'_>, prompt: Option<u64>, completion: u64, usage: &mut Usage) {
    let details = |name| ["completion_tokens_details", name];
    let reasoning = counted.count(&details("reasoning_tokens"));
    let audio = counted.count(&details("audio_tokens"));
    let total = counted.count(&["total_tokens"]);
    // Some servers of the dialect count reasoning beside the completion; their total tells.
    let is_outside = reasoning.is_some_and(|reasoning| {
        reasoning > 0
            && total.is_some()
            && total
                == prompt
                    .and_then(|prompt| prompt.checked_add(completion))
                    .and_then(|sum| sum.checked_add(reasoning))
    });
    let mut rest = completion;
    if is_outside {
        set(usage, Meter::ReasoningTokens, reasoning);
    } else if let Some(reasoning) = reasoning {
        let reasoning = counted.within(reasoning, rest);
        usage.set(Meter::ReasoningTokens, reasoning);
        rest -= reasoning;
    }
    let audio = audio.map(|audio| counted.within(audio, rest));
    usage.set(Meter::OutputTokens, rest - audio.unwrap_or(0));
    set_some(usage, Meter::OutputAudioTokens, audio);
}

fn set(usage: &mut Usage, meter: Meter, count: Option<u64>) {
    if let Some(count) = count {
        usage.set(meter, count);
    }
}

/// Modalities that the model does not have are reported as zero; they are left out.
fn set_some(usage: &mut Usage, meter: Meter, count: Option<u64>) {
    set(usage, meter, count.filter(|count| *count > 0));
}

fn line(evidence: &Evidence, usage: Usage) -> Line {
    let mut conditions = Conditions::new();
    match evidence.response_text("service_tier") {
        None | Some("default" | "auto" | "standard") => {}
        // Asked for by one name and answered by the other; both are the one premium tier.
        Some("fast") => {
            conditions.insert("service_tier".into(), "priority".into());
        }
        Some(tier) => {
            conditions.insert("service_tier".into(), tier.into());
        }
    }
    Line {
        model: facts::model(evidence),
        conditions,
        usage,
    }
}

fn unreported(evidence: &Evidence) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let (output_low, output_high) = output_bounds(evidence);
    let estimate = text_tokens(request_bytes / BYTES_PER_TOKEN, output_low);
    facts::unreported(
        evidence,
        line(evidence, estimate),
        text_tokens(0, output_low),
        text_tokens(request_bytes, output_high),
    )
}

/// Each output event holds a token at least; `n` choices may each be as long as the limit says.
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
        let cases: [(&[u8], Glance); 10] = [
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
            (b"[DONE]", Glance::Telling),
            (b"", Glance::Dull),
        ];
        for (data, glanced) in cases {
            assert_eq!(glance(data), glanced, "{}", String::from_utf8_lossy(data));
        }
    }
}
