//! OpenAI's transcriptions and translations: tokens or seconds, in JSON or at a stream's end.
//!
//! Plain text, SRT and VTT tell nothing; then the last cue and the uploaded file's own header say how
//! long the audio is, as an estimate.

use std::sync::LazyLock;

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};
use memchr::memmem::Finder;

use super::tokens::{self, Undivided};
use super::{audio_length, chat};
use crate::framing::json::{pick, pick_in, text_of};
use crate::framing::{Frame, Origin, multipart};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{self, Counted, keep_error, keep_response_text, keep_usage};

/// Fields of the form that are kept.
const FIELDS: [&str; 4] = ["model", "response_format", "stream", "language"];
/// The fact of the uploaded file's length in bytes.
const FILE_BYTES: &str = "file_bytes";
/// The fact of its length in seconds, by its own header.
const FILE_SECONDS: &str = "file_seconds";
/// The fact of where the last cue of a subtitle ends.
const LAST_CUE: &str = "last_cue_end";
/// Fewest bytes that hold a second of speech in any format taken (4 kbit/s).
const LEAST_BYTES_PER_SECOND: u64 = 500;

const SPEECH: Undivided = Undivided {
    input: Meter::InputAudioTokens,
    output: Meter::OutputTokens,
};

/// The model, wherever it stands in the form, the format asked for, and the file's length.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let Some(body) = asked.body.filter(|body| multipart::begins(body)) else {
        return facts::model_of_request(evidence, asked);
    };
    for part in multipart::parts(body) {
        if part.is_file {
            evidence.request.insert(FILE_BYTES, part.len);
            if let Some(seconds) = audio_length::seconds(&part.head, part.len) {
                evidence.request.insert(FILE_SECONDS, seconds);
            }
        } else if let Some(name) = FIELDS.iter().find(|name| **name == part.name) {
            keep_field(evidence, name, part.text());
        }
    }
}

/// Keeps a short field of a form; a switch as a switch.
pub(super) fn keep_field(evidence: &mut Evidence, name: &'static str, text: Option<&str>) {
    let longest = farebox_pricing::event::MODEL_BYTES_MAX;
    let Some(text) = text.filter(|text| !text.is_empty() && text.len() <= longest) else {
        return;
    };
    let fact = match text {
        "true" => Fact::Bool(true),
        "false" => Fact::Bool(false),
        _ => text
            .parse()
            .map_or_else(|_| Fact::from(text), |count: u64| Fact::Count(count)),
    };
    evidence.request.insert(name, fact);
}

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".delta\""));
static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".done\""));
static CUE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"-->"));

/// Events with usage, an error or the end tell, and lines of a subtitle with its times.
pub(crate) fn glance(data: &[u8]) -> Glance {
    if !data.starts_with(b"{") {
        return if CUE.find(data).is_some() {
            Glance::Telling
        } else {
            Glance::Dull
        };
    }
    if chat::glance(data) == Glance::Telling || DONE.find(data).is_some() {
        Glance::Telling
    } else if DELTA.find(data).is_some() {
        Glance::Output
    } else {
        Glance::Dull
    }
}

/// Keeps usage, duration and the end.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Event && !frame.data.starts_with(b"{") {
        if let Some(end) = cue_end(frame.data) {
            evidence.response.insert(LAST_CUE, end);
        }
        return;
    }
    const NAMES: [&str; 6] = ["type", "usage", "duration", "model", "error", "x_groq"];
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [kind, usage, duration, model, error, groq] = picked.members;
    keep_usage(evidence, "usage", usage);
    keep_response_text(evidence, "model", model);
    let groq = groq.and_then(|groq| pick_in(groq, ["id"]));
    if let Some(groq) = groq {
        keep_response_text(evidence, "id", groq.members[0]);
    }
    // Some servers write the duration as a text.
    let duration = duration.and_then(|raw| match text_of(raw) {
        Some(text) => text.parse().ok(),
        None => raw.get().parse::<Decimal>().ok(),
    });
    if let Some(duration) = duration.filter(|duration| !duration.is_negative()) {
        evidence.response.insert("duration", duration);
    }
    keep_error(evidence, error);
    match frame.origin {
        Origin::Body => {
            evidence.response.insert("finished", true);
        }
        Origin::Event => match kind.and_then(text_of).as_deref() {
            Some("transcript.text.done") => {
                evidence.response.insert("finished", true);
            }
            Some(kind) if kind.ends_with(".delta") => evidence.counts.output_frames += 1,
            _ => {}
        },
    }
}

/// Where a cue ends: `00:00:04,000 --> 00:00:07,500`, VTT's with a point and perhaps no hours.
fn cue_end(line: &[u8]) -> Option<Decimal> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, end) = line.split_once("-->")?;
    let end = end.split_whitespace().next()?.replace(',', ".");
    let mut parts = end.rsplit(':');
    let seconds: Decimal = parts.next()?.parse().ok()?;
    let mut unit: u64 = 60;
    let mut total = seconds;
    for part in parts {
        let count: u64 = part.parse().ok()?;
        total = total.checked_add(count.checked_mul(unit)?.into())?;
        unit = unit.checked_mul(60)?;
    }
    (!total.is_negative()).then_some(total)
}

/// The line of one transcription.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let of_usage = evidence.object("usage").and_then(|object| {
        let seconds = object.get("seconds").and_then(|seconds| seconds.decimal());
        if let Some(seconds) = seconds.filter(|seconds| !seconds.is_negative()) {
            return Some((of_seconds(seconds), false));
        }
        let mut counted = Counted::new(object);
        let usage = tokens::usage(&mut counted, SPEECH)?;
        Some((usage, counted.is_clamped))
    });
    let of_duration = || Some((of_seconds(fact(evidence, true, "duration")?), false));
    if let Some((usage, is_clamped)) = of_usage.or_else(of_duration) {
        return UsageDraft {
            lines: vec![line(evidence, usage)],
            source: UsageSource::Reported,
            reason: is_clamped.then_some("negative_clamped"),
            low: None,
            high: None,
        };
    }
    facts::refused(evidence).unwrap_or_else(|| unreported(evidence))
}

fn unreported(evidence: &Evidence) -> UsageDraft {
    let reason = facts::why_no_usage(evidence);
    let cue = fact(evidence, true, LAST_CUE);
    let file = fact(evidence, false, FILE_SECONDS);
    let is_text = evidence.response.contains_key(LAST_CUE)
        || matches!(
            evidence.request_text("response_format"),
            Some("text" | "srt" | "vtt")
        );
    let reason = if is_text && evidence.counts.is_complete {
        "no_usage_in_answer"
    } else {
        reason
    };
    let low = cue.unwrap_or(Decimal::ZERO);
    let high = file.or_else(|| {
        let bytes = facts::request_count(evidence, FILE_BYTES);
        let bytes = bytes.unwrap_or(evidence.counts.request_bytes);
        Some((bytes / LEAST_BYTES_PER_SECOND).into())
    });
    let low = of_seconds(low);
    let high = high.map(|high: Decimal| of_seconds(high.max(cue.unwrap_or(Decimal::ZERO))));
    let is_done = matches!(reason, facts::CUT | "no_usage_in_answer")
        && facts::status(evidence).is_none_or(|status| status < 400);
    match file.or(cue).filter(|_| is_done) {
        Some(seconds) => UsageDraft {
            lines: vec![line(evidence, of_seconds(seconds))],
            source: UsageSource::Estimated,
            reason: Some(reason),
            low: Some(low),
            high,
        },
        None => facts::missing(reason, Some(low), high),
    }
}

fn fact(evidence: &Evidence, is_of_answer: bool, name: &str) -> Option<Decimal> {
    let facts = if is_of_answer {
        &evidence.response
    } else {
        &evidence.request
    };
    facts.get(name)?.as_decimal()
}

fn of_seconds(seconds: Decimal) -> Usage {
    let mut usage = Usage::new();
    usage.set(Meter::AudioSeconds, seconds);
    usage
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

    #[test]
    fn cues_end_where_their_times_say() {
        for (line, end) in [
            ("00:00:04,000 --> 00:00:07,500", Some("7.5")),
            ("00:04.000 --> 01:07.250 align:start", Some("67.25")),
            ("00:00:00.000 --> 01:00:00.001", Some("3600.001")),
            ("a --> b", None),
            ("1 -->", None),
            (
                "99999999999999999999:0:0 --> 99999999999999999999:00:00.0",
                None,
            ),
        ] {
            let end: Option<Decimal> = end.map(|end| end.parse().unwrap());
            assert_eq!(cue_end(line.as_bytes()), end, "{line}");
        }
    }
}
