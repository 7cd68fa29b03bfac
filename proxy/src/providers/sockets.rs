//! What the vendors' socket readers have in common: seconds out of bytes and clocks, and drafts for
//! sockets that never opened or whose vendor reports nothing.

use std::borrow::Cow;

use farebox_pricing::event::MODEL_BYTES_MAX;
use farebox_pricing::evidence::{EVIDENCE_TEXT_BYTES_MAX, Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};
use percent_encoding::percent_decode_str;

use super::facts;
use crate::framing::json::Raw;
use crate::provider::Asked;
use crate::socket::{From, Heard, Turn};

/// What the vendor switched with.
const SWITCHED: u64 = 101;
/// Seconds are kept to the microsecond, cut off below.
const MICROS: u128 = 1_000_000;
/// Where the chunks of a RIFF file begin.
const RIFF_HEAD_BYTES: usize = 12;

/// The draft of a handshake that no socket came of.
#[must_use]
pub fn not_open(evidence: &Evidence) -> Option<UsageDraft> {
    if facts::status(evidence) == Some(SWITCHED) {
        return None;
    }
    let draft = facts::refused(evidence);
    Some(draft.unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None)))
}

/// The vendor says no quantity by design.
pub const NOT_REPORTED: &str = "not_reported_by_vendor";

/// The values of a parameter of the query, in their order.
pub fn query_values<'a>(asked: &Asked<'a>, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = asked.query.unwrap_or_default().split('&');
    pairs.filter_map(move |pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_decode_str(found).decode_utf8_lossy() != name {
            return None;
        }
        let value: Cow<'a, str> = match value.contains('+') {
            true => Cow::Owned(value.replace('+', " ")),
            false => Cow::Borrowed(value),
        };
        Some(match value {
            Cow::Borrowed(value) => percent_decode_str(value).decode_utf8_lossy(),
            Cow::Owned(value) => percent_decode_str(&value)
                .decode_utf8_lossy()
                .into_owned()
                .into(),
        })
    })
}

/// Keeps parameters of the query under the names of facts: whole numbers as such, the last one of a name.
pub fn keep_query(evidence: &mut Evidence, asked: &Asked<'_>, names: &[(&str, &'static str)]) {
    for (parameter, fact) in names {
        let Some(value) = query_values(asked, parameter).last() else {
            continue;
        };
        let longest = match *fact {
            "model" => MODEL_BYTES_MAX,
            _ => EVIDENCE_TEXT_BYTES_MAX,
        };
        match value.parse::<u64>() {
            Ok(count) if *fact != "model" => evidence.request.insert(*fact, count),
            _ if !value.is_empty() && value.len() <= longest => {
                evidence.request.insert(*fact, &*value);
            }
            _ => {}
        }
    }
}

/// Keeps a format that names its encoding and its rate in one word, `pcm_16000`.
pub fn keep_format(evidence: &mut Evidence, format: &str) {
    if let Some((encoding, rate)) = format.split_once('_')
        && let Ok(rate) = rate.parse::<u64>()
        && encoding.len() <= EVIDENCE_TEXT_BYTES_MAX
    {
        evidence.request.insert("encoding", encoding);
        evidence.request.insert("sample_rate", rate);
    }
}

/// A socket of speech that is heard: the caller's binary messages are audio, its texts say nothing that is
/// billed, and what the vendor says stands in its texts.
pub fn listen(
    heard: &Heard<'_>,
    evidence: &mut Evidence,
    from_upstream: fn(&Heard<'_>, &mut Evidence),
) -> Turn {
    match (heard.from, heard.is_text) {
        (From::Caller, false) => add_audio(evidence, heard.data, heard.len),
        (From::Caller, true) | (From::Upstream, false) => {}
        (From::Upstream, true) => from_upstream(heard, evidence),
    }
    Turn::Goes
}

/// Audio in a binary message of the caller; the head of a WAV file goes before what the query says.
pub fn add_audio(evidence: &mut Evidence, start: &[u8], len: u64) {
    let mut bytes = len;
    if evidence.counts.audio_bytes == 0
        && let Some(wav) = Wav::read(start)
    {
        evidence.request.insert("encoding", wav.encoding);
        evidence.request.insert("sample_rate", wav.sample_rate);
        evidence.request.insert("channels", wav.channels);
        bytes = bytes.saturating_sub(wav.head_bytes);
    }
    evidence.counts.audio_bytes += bytes;
}

/// Audio in base64, in a member of a message of the caller.
pub fn add_encoded_audio(evidence: &mut Evidence, audio: Option<Raw<'_>>) {
    evidence.counts.audio_bytes += audio.map_or(0, |raw| base64_bytes(raw.get()));
}

/// The same of the vendor: generated output.
pub fn add_encoded_output(evidence: &mut Evidence, audio: Option<Raw<'_>>) {
    evidence.counts.output_audio_bytes += audio.map_or(0, |raw| base64_bytes(raw.get()));
    evidence.counts.output_frames += 1;
}

/// A number that is not below zero.
#[must_use]
pub fn decimal(raw: Option<Raw<'_>>) -> Option<Decimal> {
    let number: Decimal = raw?.get().parse().ok()?;
    (!number.is_negative()).then_some(number)
}

/// Keeps how far the vendor has come, which only grows.
pub fn keep_farthest(evidence: &mut Evidence, name: &'static str, quantity: Decimal) {
    let before = evidence.response.get(name).and_then(Fact::as_decimal);
    let farthest = before.map_or(quantity, |before| larger(before, quantity));
    evidence.response.insert(name, farthest);
}

/// Seconds of audio that went up, where its format tells.
#[must_use]
pub fn sent_seconds(evidence: &Evidence) -> Option<Decimal> {
    if evidence.counts.audio_bytes == 0 {
        return Some(Decimal::ZERO);
    }
    let encoding = evidence.request_text("encoding")?;
    let rate = evidence.request.count("sample_rate")?;
    let channels = evidence.request.count("channels").unwrap_or(1);
    Some(Pcm::new(encoding, rate, channels)?.seconds(evidence.counts.audio_bytes))
}

/// The draft of audio that is billed by its length and whose vendor says no sum of it: our own count,
/// between what the vendor has surely heard and what may follow a checkpoint.
#[must_use]
pub fn sent_audio(
    evidence: &Evidence,
    line: impl Fn(Decimal) -> Line,
    heard: Option<Decimal>,
) -> UsageDraft {
    let meter = Meter::AudioSeconds;
    let unseen = unseen_seconds(evidence);
    let sent = sent_seconds(evidence);
    let low = heard.unwrap_or(Decimal::ZERO);
    let open = plus(larger(open_seconds(evidence), low), unseen);
    let has_failed = evidence.has_flag("error_message");
    if has_failed && heard.is_none_or(Decimal::is_zero) && evidence.counts.output_frames == 0 {
        let high = only(meter, sent.unwrap_or(open));
        return facts::missing(
            "error_in_answer",
            Some(only(meter, Decimal::ZERO)),
            Some(high),
        );
    }
    match (sent, heard) {
        (Some(sent), _) => {
            let high = plus(larger(sent, low), unseen);
            // What the vendor heard may be ahead of the bytes by a rounding of its own.
            let low = match heard {
                None if evidence.counts.output_frames > 0 && !has_failed => sent,
                _ => smaller(low, sent),
            };
            let source = UsageSource::Measured;
            bounded(source, NOT_REPORTED, line(sent), meter, low, Some(high))
        }
        (None, Some(heard)) => {
            let source = UsageSource::Partial;
            bounded(source, NOT_REPORTED, line(heard), meter, low, Some(open))
        }
        (None, None) => {
            let source = UsageSource::Estimated;
            let seconds = open_seconds(evidence);
            bounded(source, NOT_REPORTED, line(seconds), meter, low, Some(open))
        }
    }
}

/// The draft of a session that is billed for the time it was open and whose vendor says no sum of it.
#[must_use]
pub fn open_session(
    evidence: &Evidence,
    line: impl Fn(Decimal) -> Line,
    low: Decimal,
) -> UsageDraft {
    let open = larger(open_seconds(evidence), low);
    let high = plus(open, unseen_seconds(evidence));
    let (source, meter) = (UsageSource::Measured, Meter::SessionSeconds);
    bounded(source, NOT_REPORTED, line(open), meter, low, Some(high))
}

/// A part in which nothing ran.
#[must_use]
pub fn nothing() -> UsageDraft {
    UsageDraft {
        source: UsageSource::None,
        reason: Some("nothing_generated"),
        ..UsageDraft::default()
    }
}

/// How long the part was open, in seconds.
#[must_use]
pub fn open_seconds(evidence: &Evidence) -> Decimal {
    millis(evidence.counts.open_ms)
}

/// In a checkpoint, how long the socket may go on before the next one.
#[must_use]
pub fn unseen_seconds(evidence: &Evidence) -> Decimal {
    millis(evidence.counts.unseen_ms)
}

fn millis(millis: u64) -> Decimal {
    Decimal::new(i128::from(millis), 3).unwrap_or(Decimal::ZERO)
}

/// The sum; what is past the bounds of a decimal is no quantity of a socket.
#[must_use]
pub fn plus(one: Decimal, other: Decimal) -> Decimal {
    one.checked_add(other).unwrap_or(one)
}

/// So many times.
#[must_use]
pub fn times(quantity: Decimal, count: u64) -> Decimal {
    quantity.checked_mul(count.into()).unwrap_or(quantity)
}

/// The larger of two.
#[must_use]
pub fn larger(one: Decimal, other: Decimal) -> Decimal {
    match one.checked_sub(other) {
        Some(more) if more.is_negative() => other,
        _ => one,
    }
}

/// The smaller of two.
#[must_use]
pub fn smaller(one: Decimal, other: Decimal) -> Decimal {
    match one.checked_sub(other) {
        Some(more) if more.is_negative() => one,
        _ => other,
    }
}

/// One meter.
#[must_use]
pub fn only(meter: Meter, quantity: Decimal) -> Usage {
    let mut usage = Usage::new();
    usage.set(meter, quantity);
    usage
}

/// A line that the provider's own final count makes.
#[must_use]
pub fn reported(lines: Vec<Line>) -> UsageDraft {
    UsageDraft {
        lines,
        source: UsageSource::Reported,
        ..UsageDraft::default()
    }
}

/// A line of one meter that is known by other means, with its bounds.
#[must_use]
pub fn bounded(
    source: UsageSource,
    reason: &'static str,
    line: Line,
    meter: Meter,
    low: Decimal,
    high: Option<Decimal>,
) -> UsageDraft {
    UsageDraft {
        lines: vec![line],
        source,
        reason: Some(reason),
        low: Some(only(meter, low)),
        high: high.map(|high| only(meter, high)),
    }
}

/// Audio whose length is told by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcm {
    bytes_per_second: u64,
}

impl Pcm {
    /// `None` where a sample has no fixed size, or no rate is known.
    #[must_use]
    pub fn new(encoding: &str, sample_rate: u64, channels: u64) -> Option<Self> {
        let bytes = match encoding {
            "linear16" | "pcm" | "pcm16" | "pcm_s16le" | "pcm_f16le" | "audio/pcm" => 2,
            "linear32" | "pcm_f32le" | "pcm_s32le" => 4,
            "mulaw" | "alaw" | "g711_ulaw" | "g711_alaw" | "pcm_mulaw" | "pcm_alaw" | "ulaw"
            | "audio/pcmu" | "audio/pcma" => 1,
            _ => return None,
        };
        Self::of(bytes, sample_rate, channels)
    }

    fn of(sample_bytes: u64, sample_rate: u64, channels: u64) -> Option<Self> {
        let bytes_per_second = sample_bytes
            .checked_mul(sample_rate)?
            .checked_mul(channels)?;
        (bytes_per_second > 0).then_some(Self { bytes_per_second })
    }

    /// How long so many bytes sound.
    #[must_use]
    pub fn seconds(self, bytes: u64) -> Decimal {
        let micros = u128::from(bytes) * MICROS / u128::from(self.bytes_per_second);
        i128::try_from(micros)
            .ok()
            .and_then(|micros| Decimal::new(micros, 6).ok())
            .unwrap_or(Decimal::ZERO)
    }
}

/// The head of a WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second.
    pub sample_rate: u64,
    /// Channels.
    pub channels: u64,
    /// What the samples are, in the words of a query.
    pub encoding: &'static str,
    /// Bytes before the samples.
    pub head_bytes: u64,
}

impl Wav {
    /// Reads the first bytes of a stream; `None` when they are no WAV file, or hold no samples yet.
    #[must_use]
    pub fn read(start: &[u8]) -> Option<Self> {
        if start.get(..4)? != b"RIFF" || start.get(8..RIFF_HEAD_BYTES)? != b"WAVE" {
            return None;
        }
        let word = |at: usize| Some(u16::from_le_bytes(start.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_le_bytes(start.get(at..at + 4)?.try_into().ok()?));
        let mut at = RIFF_HEAD_BYTES;
        let mut format = None;
        loop {
            let name = start.get(at..at + 4)?;
            let len = usize::try_from(long(at + 4)?).ok()?;
            let body = at + 8;
            if name == b"fmt " {
                let encoding = match (word(body)?, word(body + 14)?) {
                    (1 | 0xfffe, 16) => "linear16",
                    (3, 32) => "linear32",
                    (6, 8) => "alaw",
                    (7, 8) => "mulaw",
                    _ => return None,
                };
                format = Some((encoding, word(body + 2)?, long(body + 4)?));
            }
            if name == b"data" {
                let (encoding, channels, sample_rate) = format?;
                return Some(Self {
                    sample_rate: sample_rate.into(),
                    channels: channels.into(),
                    encoding,
                    head_bytes: body as u64,
                });
            }
            // Chunks are padded to an even length.
            at = body.checked_add(len)?.checked_add(len % 2)?;
        }
    }
}

/// Bytes that a base64 text holds. Quotes around it and line ends are no part of it, and what is escaped is
/// counted as what it means: some writers escape `/`, `+` or `=`.
#[must_use]
pub fn base64_bytes(text: &str) -> u64 {
    let mut rest = text.trim_matches('"');
    let mut digits = 0;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        digits += plain.trim_end_matches('=').len() as u64;
        let (is_digit, len) = match escaped.as_bytes() {
            [b'/', ..] => (true, 1),
            [b'u', code @ ..] => (code.first_chunk().is_some_and(is_base64), 5),
            _ => (false, 1),
        };
        digits += u64::from(is_digit);
        rest = escaped.get(len..).unwrap_or_default();
    }
    digits += rest.trim_end_matches('=').len() as u64;
    digits.saturating_mul(3) / 4
}

/// Whether four hexadecimal digits stand for one of base64.
fn is_base64(code: &[u8; 4]) -> bool {
    let code = std::str::from_utf8(code).ok();
    let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
    let sign = code.and_then(char::from_u32);
    sign.is_some_and(|sign| sign.is_ascii_alphanumeric() || "+/-_".contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_come_from_bytes_where_samples_have_a_size() {
        let seconds = |encoding, rate, channels, bytes| {
            Pcm::new(encoding, rate, channels).map(|pcm| pcm.seconds(bytes).to_string())
        };
        assert_eq!(seconds("linear16", 16_000, 1, 32_000), Some("1".into()));
        assert_eq!(seconds("linear16", 16_000, 2, 32_000), Some("0.5".into()));
        assert_eq!(seconds("mulaw", 8_000, 1, 12_345), Some("1.543125".into()));
        assert_eq!(seconds("linear32", 44_100, 1, 1), Some("0.000005".into()));
        assert_eq!(seconds("opus", 48_000, 1, 1_000), None);
        assert_eq!(seconds("linear16", 0, 1, 1_000), None);
        assert_eq!(seconds("linear16", u64::MAX, 2, 1_000), None);
    }

    #[test]
    fn a_wav_head_tells_its_format_and_where_the_samples_begin() {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
        wav.extend(44_100u32.to_le_bytes());
        wav.extend([0; 4]);
        wav.extend([4, 0, 16, 0]);
        wav.extend(b"data\xff\xff\xff\x7f");
        let expected = Wav {
            sample_rate: 44_100,
            channels: 2,
            encoding: "linear16",
            head_bytes: 44,
        };
        assert_eq!(Wav::read(&wav), Some(expected));
        for end in 0..wav.len() {
            assert_eq!(Wav::read(&wav[..end]), None);
        }
        assert_eq!(Wav::read(&[0; 64]), None);
    }

    #[test]
    fn the_query_is_read_as_it_is_meant() {
        let asked = Asked {
            query: Some("model=a%2Fb+c&rate=8000&rate=16000&m%6fdel=last&e="),
            ..Asked::default()
        };
        let mut evidence = Evidence::default();
        let names = [
            ("model", "model"),
            ("rate", "sample_rate"),
            ("e", "encoding"),
        ];
        keep_query(&mut evidence, &asked, &names);
        assert_eq!(evidence.request_text("model"), Some("last"));
        assert_eq!(evidence.request.count("sample_rate"), Some(16_000));
        assert_eq!(evidence.request_text("encoding"), None);
        let models: Vec<_> = query_values(&asked, "model").collect();
        assert_eq!(models, ["a/b c", "last"]);
    }

    #[test]
    fn base64_is_as_long_as_what_it_holds() {
        for (text, bytes) in [
            ("", 0),
            ("QQ==", 1),
            ("QUI=", 2),
            ("QUJD", 3),
            ("\"QUJDRA\"", 4),
            ("\"QUJD\\/\\/\\/\\/\"", 6),
            ("\"QUJD\\r\\nQUJD\\n\"", 6),
            ("\"QUJD\\u002bU\\u002FD\"", 6),
            ("\"QQ\\u003d\\u003D\"", 1),
            ("\"QUJD\\u00\u{e9}\\u00e9\"", 3),
            ("\\\\\\\\\\", 0),
            ("\"QUJD\\\"", 3),
        ] {
            assert_eq!(base64_bytes(text), bytes, "{text}");
        }
    }
}
