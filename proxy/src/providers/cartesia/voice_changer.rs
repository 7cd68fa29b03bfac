//! Cartesia's voice changer: billed by the second of audio. The answer is as long as what went in, so
//! its bytes and the format that was asked for tell.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{EVIDENCE_TEXT_BYTES_MAX, Evidence};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{Raw, pick, text_of};
use crate::framing::{Frame, multipart};
use crate::provider::{Asked, Endpoint, Form, Glance};
use crate::providers::facts::{self, is_present, response_count};

/// What the vendor bills under.
const MODEL: &str = "voice-changer";
/// Bytes of a WAV header.
const WAV_HEADER_BYTES: u64 = 44;
/// Digits kept of a second.
const SECONDS_SCALE: u8 = 6;
const MICROS: u128 = 1_000_000;
/// Bytes of an answer that is compressed say nothing of its length.
const ENCODING: &str = "content-encoding";
/// The fact that counts audio inside events.
const AUDIO_BYTES: &str = "audio_bytes";

/// The endpoint at a path.
pub(super) const fn at(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        kind: Kind::Speech,
        is_read: true,
        form: Form::Opaque,
        answer_headers: &[ENCODING],
        request_facts,
        glance: |_| Glance::Telling,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// Fields of the form that say what the audio will be.
const FIELDS: [(&str, &str); 4] = [
    ("output_format[container]", "container"),
    ("output_format[encoding]", "encoding"),
    ("output_format[sample_rate]", "sample_rate"),
    ("output_format[bit_rate]", "bit_rate"),
];

fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body else { return };
    for part in multipart::parts(body) {
        let name = FIELDS.iter().find(|(field, _)| *field == part.name);
        let text = part
            .text()
            .filter(|text| text.len() <= EVIDENCE_TEXT_BYTES_MAX);
        if let (Some((_, name)), Some(text)) = (name, text) {
            match text.parse::<u64>() {
                Ok(count) => evidence.request.insert(*name, count),
                Err(_) => evidence.request.insert(*name, text),
            }
        }
    }
}

/// Counts the audio of an event by the length of its text.
fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["type", "data", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [kind, data, error] = picked.members;
    if let Some(bytes) = data.and_then(decoded_bytes) {
        let before = response_count(evidence, AUDIO_BYTES).unwrap_or(0);
        evidence
            .response
            .insert(AUDIO_BYTES, before.saturating_add(bytes));
        evidence.counts.output_frames += 1;
    }
    match &*kind.and_then(text_of).unwrap_or_default() {
        "error" => evidence.response.insert("error", true),
        "done" => evidence.response.insert("finished", true),
        _ if is_present(error) => evidence.response.insert("error", true),
        _ => {}
    }
}

/// Bytes that a base64 text stands for.
fn decoded_bytes(raw: Raw<'_>) -> Option<u64> {
    let text = text_of(raw)?;
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    Some((text.len() / 4 * 3).saturating_sub(padding) as u64)
}

fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let is_answered = facts::status(evidence).is_some_and(|status| status < 400);
    let seconds = is_answered.then(|| seconds(evidence)).flatten();
    let Some((seconds, is_exact)) = seconds else {
        return facts::missing(facts::why_no_usage(evidence), None, None);
    };
    let usage = Usage::from_iter([(Meter::OutputAudioSeconds, seconds)]);
    let is_whole = (evidence.counts.is_complete || facts::is_set(evidence, "finished"))
        && !facts::is_set(evidence, "error");
    UsageDraft {
        lines: vec![Line {
            model: MODEL.to_owned(),
            usage: usage.clone(),
            ..Line::default()
        }],
        source: if is_whole && is_exact {
            UsageSource::Measured
        } else {
            UsageSource::Estimated
        },
        reason: (!is_whole).then_some(facts::CUT),
        low: Some(usage.clone()),
        high: (is_whole && is_exact).then_some(usage),
    }
}

/// Seconds of the audio that came, and whether its format lets them be told exactly.
fn seconds(evidence: &Evidence) -> Option<(Decimal, bool)> {
    let count = |name| facts::request_count(evidence, name);
    let is_stream = evidence.counts.frames > 0;
    let bytes = if is_stream {
        response_count(evidence, AUDIO_BYTES)?
    } else if evidence.headers.contains_key(ENCODING) {
        return None;
    } else {
        evidence.counts.response_bytes
    };
    let (header, per_second, is_exact) = match evidence.request_text("container") {
        Some("mp3") => (0, count("bit_rate")? / 8, false),
        container => {
            let width = match evidence.request_text("encoding") {
                Some("pcm_f32le") => 4,
                Some("pcm_mulaw" | "pcm_alaw") => 1,
                Some("pcm_s16le") | None => 2,
                Some(_) => return None,
            };
            let header = if container == Some("wav") {
                WAV_HEADER_BYTES
            } else {
                0
            };
            (header, count("sample_rate")?.checked_mul(width)?, true)
        }
    };
    let micros = u128::from(bytes.saturating_sub(header))
        .checked_mul(MICROS)?
        .checked_div(u128::from(per_second))?;
    let seconds = Decimal::new(i128::try_from(micros).ok()?, SECONDS_SCALE).ok()?;
    Some((seconds, is_exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_of(container: &str, more: [(&'static str, u64); 1], bytes: u64) -> Option<String> {
        let mut evidence = Evidence::default();
        evidence.request.insert("container", container);
        for (name, value) in more {
            evidence.request.insert(name, value);
        }
        evidence.counts.response_bytes = bytes;
        seconds(&evidence).map(|(seconds, _)| seconds.to_string())
    }

    #[test]
    fn bytes_and_format_tell_the_seconds() {
        let of = |container, name, value, bytes| seconds_of(container, [(name, value)], bytes);
        assert_eq!(
            of("raw", "sample_rate", 8_000, 160).as_deref(),
            Some("0.01")
        );
        assert_eq!(
            of("wav", "sample_rate", 8_000, 204).as_deref(),
            Some("0.01")
        );
        assert_eq!(of("mp3", "bit_rate", 32_000, 40).as_deref(), Some("0.01"));
        assert_eq!(of("raw", "bit_rate", 1, 40), None);
        assert_eq!(of("raw", "sample_rate", 0, 40), None);
    }
}
