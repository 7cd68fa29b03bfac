//! What the vendors' socket readers have in common: seconds out of bytes and clocks, and drafts for
//! sockets that never opened or whose vendor reports nothing.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use super::facts;

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
            "linear16" | "pcm" | "pcm16" | "pcm_s16le" | "audio/pcm" => 2,
            "linear32" | "pcm_f32le" => 4,
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

/// Bytes that a base64 text holds. Quotes and white space around it are no part of it.
#[must_use]
pub fn base64_bytes(text: &str) -> u64 {
    let text = text.trim_matches('"');
    let digits = text.trim_end_matches('=').len() as u64;
    digits * 3 / 4
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
    fn base64_is_as_long_as_what_it_holds() {
        for (text, bytes) in [
            ("", 0),
            ("QQ==", 1),
            ("QUI=", 2),
            ("QUJD", 3),
            ("\"QUJDRA\"", 4),
        ] {
            assert_eq!(base64_bytes(text), bytes, "{text}");
        }
    }
}
