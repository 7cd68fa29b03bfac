//! OpenAI's text to speech: characters of the request, or tokens that only the event stream tells.
//!
//! Models named `gpt-…` are billed by tokens; of their binary answers the sound's length is estimated
//! from its bytes. All others are billed by the characters spoken.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::tokens::{self, Undivided};
use crate::framing::json::{pick, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, BYTES_PER_TOKEN, Counted, keep_error, keep_request, keep_usage,
};

/// The fact of how many characters are to be spoken.
const CHARACTERS: &str = "characters";
/// The fact of how many bytes those are.
const TEXT_BYTES: &str = "text_bytes";
/// Audio tokens of a minute of generated speech.
const TOKENS_PER_MINUTE: u64 = 1250;
/// Bytes of a second of uncompressed speech: 24,000 samples of 16 bits.
const PCM_BYTES_PER_SECOND: u64 = 48_000;
/// Bytes of a WAV file's header.
const WAV_HEADER_BYTES: u64 = 44;
/// Bytes of a second of compressed speech: the fewest, as usual, and the most.
const COMPRESSED_BYTES_PER_SECOND: [u64; 3] = [2_000, 16_000, 40_000];

const SPEECH: Undivided = Undivided {
    input: Meter::InputTokens,
    output: Meter::OutputAudioTokens,
};

/// Model, format, and how much text there is; never the text.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    const NAMES: [&str; 4] = ["model", "response_format", "stream_format", "input"];
    let Some(picked) = asked.body.and_then(|body| pick(body, NAMES)) else {
        return;
    };
    let [model, format, stream_format, input] = picked.members;
    keep_request(evidence, "model", model);
    keep_request(evidence, "response_format", format);
    keep_request(evidence, "stream_format", stream_format);
    if let Some(text) = input.and_then(text_of) {
        let request = &mut evidence.request;
        request.insert(CHARACTERS, text.chars().count() as u64);
        request.insert(TEXT_BYTES, text.len() as u64);
    }
}

/// The end and errors tell; everything else is sound.
pub(crate) fn glance(data: &[u8]) -> Glance {
    let is_sound = memchr::memmem::find(data, b"\"speech.audio.delta\"").is_some();
    if is_sound {
        Glance::Output
    } else {
        Glance::Telling
    }
}

/// Keeps the usage at a stream's end, and errors.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event && glance(frame.data) == Glance::Output {
        evidence.counts.output_frames += 1;
        return;
    }
    let Some(picked) = pick(frame.data, ["type", "usage", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [kind, usage, error] = picked.members;
    keep_usage(evidence, "usage", usage);
    keep_error(evidence, error);
    if kind.and_then(text_of).as_deref() == Some("speech.audio.done") {
        evidence.response.insert("finished", true);
    }
}

/// The line of one speech.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let reported = evidence.object("usage").and_then(|object| {
        let mut counted = Counted::new(object);
        let usage = tokens::usage(&mut counted, SPEECH)?;
        Some(UsageDraft {
            reason: counted.is_clamped.then_some("negative_clamped"),
            lines: vec![line(evidence, usage)],
            source: UsageSource::Reported,
            low: None,
            high: None,
        })
    });
    if let Some(draft) = reported.or_else(|| facts::refused(evidence)) {
        return draft;
    }
    let characters = facts::request_count(evidence, CHARACTERS);
    let Some(characters) = characters else {
        return facts::missing("request_not_read", None, None);
    };
    if facts::model(evidence).starts_with("gpt-") {
        return estimated(evidence, characters);
    }
    spoken(evidence, characters)
}

/// Characters are counted in the request; a cut answer may have been charged for fewer.
fn spoken(evidence: &Evidence, characters: u64) -> UsageDraft {
    let of = |count: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::Characters, count);
        usage
    };
    let is_answered = facts::status(evidence).is_some_and(|status| status < 400);
    if !is_answered {
        let reason = facts::why_no_usage(evidence);
        return facts::missing(reason, Some(of(0)), Some(of(characters)));
    }
    let is_whole = evidence.counts.is_complete;
    UsageDraft {
        lines: vec![line(evidence, of(characters))],
        source: UsageSource::Measured,
        reason: (!is_whole).then_some(facts::CUT),
        low: Some(of(if is_whole { characters } else { 0 })),
        high: Some(of(characters)),
    }
}

/// Tokens of a binary answer: the text's by its length, the sound's by its bytes.
fn estimated(evidence: &Evidence, characters: u64) -> UsageDraft {
    let bytes = evidence.counts.response_bytes;
    let per_second = match evidence.request_text("response_format") {
        Some("pcm") => [PCM_BYTES_PER_SECOND; 3],
        Some("wav") => [PCM_BYTES_PER_SECOND; 3],
        _ => COMPRESSED_BYTES_PER_SECOND,
    };
    let sound = bytes.saturating_sub(WAV_HEADER_BYTES);
    let audio = |per_second: u64| sound.saturating_mul(TOKENS_PER_MINUTE) / (60 * per_second);
    let of = |input: u64, output: u64| {
        let mut usage = Usage::new();
        usage.set(Meter::InputTokens, input);
        usage.set(Meter::OutputAudioTokens, output);
        usage
    };
    let text_bytes = facts::request_count(evidence, TEXT_BYTES).unwrap_or(0);
    let low = of(0, audio(per_second[2]));
    let high = of(text_bytes, audio(per_second[0]));
    let is_answered = facts::status(evidence).is_some_and(|status| status < 400);
    if !is_answered || evidence.request_text("stream_format") == Some("sse") {
        return facts::missing(facts::why_no_usage(evidence), Some(low), Some(high));
    }
    UsageDraft {
        lines: vec![line(
            evidence,
            of(characters / BYTES_PER_TOKEN, audio(per_second[1])),
        )],
        source: UsageSource::Estimated,
        reason: Some(if evidence.counts.is_complete {
            "no_usage_in_answer"
        } else {
            facts::CUT
        }),
        low: Some(low),
        high: Some(high),
    }
}

fn line(evidence: &Evidence, usage: Usage) -> Line {
    Line {
        model: facts::model(evidence),
        conditions: tokens::conditions(evidence),
        usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(format: &str, response_bytes: u64) -> UsageDraft {
        let body = format!(
            r#"{{"model":"gpt-4o-mini-tts","input":"Gr\u00fc\u00dfe, Welt","response_format":"{format}"}}"#
        );
        let mut evidence = Evidence::default();
        let asked = Asked {
            body: Some(body.as_bytes()),
            ..Asked::default()
        };
        request_facts(&mut evidence, &asked);
        evidence.response.insert("status", 200u64);
        evidence.counts.is_complete = true;
        evidence.counts.response_bytes = response_bytes;
        usage_of(&evidence)
    }

    fn counts(usage: &Usage) -> [Option<i128>; 2] {
        [Meter::InputTokens, Meter::OutputAudioTokens]
            .map(|meter| usage.quantity(meter).map(|count| count.mantissa()))
    }

    #[test]
    fn sound_without_usage_is_estimated_by_its_bytes() {
        // Six seconds of samples behind a header.
        let wav = draft("wav", 6 * PCM_BYTES_PER_SECOND + WAV_HEADER_BYTES);
        assert_eq!(wav.source, UsageSource::Estimated);
        assert_eq!(counts(&wav.lines[0].usage), [Some(2), Some(125)]);
        assert_eq!(wav.low.as_ref().map(counts), Some([Some(0), Some(125)]));
        assert_eq!(wav.high.as_ref().map(counts), Some([Some(13), Some(125)]));

        let mp3 = draft("mp3", 6 * COMPRESSED_BYTES_PER_SECOND[1] + WAV_HEADER_BYTES);
        assert_eq!(counts(&mp3.lines[0].usage), [Some(2), Some(125)]);
        assert_eq!(mp3.low.as_ref().map(counts), Some([Some(0), Some(50)]));
        assert_eq!(mp3.high.as_ref().map(counts), Some([Some(13), Some(1000)]));
    }
}
