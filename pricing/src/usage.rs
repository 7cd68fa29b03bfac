//! What is counted: meters, quantities, and the lines that pricing reads.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::Decimal;

macro_rules! meters {
    ($($variant:ident $name:literal $doc:literal;)+) => {
        /// A countable kind. Meters are disjoint: a token or a second is in one of them only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Meter {
            $(#[doc = $doc] $variant,)+
        }

        impl Meter {
            /// Every meter, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON, SQL and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                const NAMES: &[&str] = &[$($name,)+];
                NAMES[self as usize]
            }
        }

        impl FromStr for Meter {
            type Err = UnknownMeter;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownMeter),
                }
            }
        }
    };
}

/// The name is no meter of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMeter;

impl fmt::Display for UnknownMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a known meter")
    }
}

impl std::error::Error for UnknownMeter {}

meters! {
    InputTokens "input_tokens" "Fresh text input: neither cached nor written to a cache.";
    CacheReadTokens "cache_read_tokens" "Input served from a cache.";
    CacheWriteTokens "cache_write_tokens" "Input written to the vendor's default cache (5 m Anthropic, 30 m OpenAI).";
    CacheWrite1hTokens "cache_write_1h_tokens" "Input written to a cache of one hour.";
    CacheWrite12hTokens "cache_write_12h_tokens" "Input written to a cache of twelve hours.";
    CacheStorageTokenHours "cache_storage_token_hours" "Cached tokens times the hours they were kept.";
    OutputTokens "output_tokens" "Output without reasoning.";
    ReasoningTokens "reasoning_tokens" "Reasoning; priced as output where a card has no rate for it.";
    InputAudioTokens "input_audio_tokens" "Fresh audio input.";
    CacheReadAudioTokens "cache_read_audio_tokens" "Audio input served from a cache.";
    OutputAudioTokens "output_audio_tokens" "Audio output.";
    InputImageTokens "input_image_tokens" "Fresh image input.";
    CacheReadImageTokens "cache_read_image_tokens" "Image input served from a cache.";
    OutputImageTokens "output_image_tokens" "Image output.";
    InputVideoTokens "input_video_tokens" "Fresh video input.";
    CacheReadVideoTokens "cache_read_video_tokens" "Video input served from a cache.";
    AudioSeconds "audio_seconds" "Speech to text: seconds times billed channels.";
    OutputAudioSeconds "output_audio_seconds" "Seconds of generated audio.";
    SessionSeconds "session_seconds" "Seconds a connection was open.";
    Characters "characters" "Unicode scalar values of text spoken.";
    Credits "credits" "A vendor's own unit of account.";
    Images "images" "Images made.";
    VideoSeconds "video_seconds" "Seconds of video made.";
    Pages "pages" "Document pages read.";
    Searches "searches" "Rerank searches.";
    WebSearches "web_searches" "Web searches by a hosted tool.";
    FileSearches "file_searches" "File searches by a hosted tool.";
    ToolCalls "tool_calls" "Calls of other hosted tools.";
    Requests "requests" "Requests billed as such.";
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Meter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Meter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// Meters there is room for at first; most calls count no more.
const ROOM: usize = 4;

/// Quantities by meter, never negative. Absent is not zero: a meter that is missing was not reported.
///
/// Kept in the order of [`Meter::ALL`], each meter once: there are few, and each call makes, copies,
/// prints and drops several of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(Vec<(Meter, Decimal)>);

impl Usage {
    /// No meter at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a meter, replacing what stood there.
    pub fn set(&mut self, meter: Meter, quantity: impl Into<Decimal>) {
        let quantity = quantity.into();
        let place = self.0.partition_point(|(known, _)| *known < meter);
        match self.0.get_mut(place) {
            Some((known, old)) if *known == meter => *old = quantity,
            _ => {
                if self.0.capacity() == 0 {
                    self.0 = Vec::with_capacity(ROOM);
                }
                self.0.insert(place, (meter, quantity));
            }
        }
    }

    /// The same without quantities of zero.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        self.0.retain(|(_, quantity)| !quantity.is_zero());
        self
    }

    /// Adds to a meter; the sum. `None`, and nothing is added, past the bounds of a decimal.
    pub fn add(&mut self, meter: Meter, quantity: Decimal) -> Option<Decimal> {
        let before = self.quantity(meter).unwrap_or(Decimal::ZERO);
        let sum = before.checked_add(quantity)?;
        self.set(meter, sum);
        Some(sum)
    }

    /// The quantity, when the meter was reported.
    #[must_use]
    pub fn quantity(&self, meter: Meter) -> Option<Decimal> {
        self.iter()
            .find(|(known, _)| *known == meter)
            .map(|(_, quantity)| quantity)
    }

    /// Meters and quantities in the order of [`Meter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Meter, Decimal)> + '_ {
        self.0.iter().copied()
    }

    /// How many meters were reported.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No meter was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Meter, Decimal)> for Usage {
    fn from_iter<I: IntoIterator<Item = (Meter, Decimal)>>(pairs: I) -> Self {
        let mut usage = Self::new();
        for (meter, quantity) in pairs {
            usage.set(meter, quantity);
        }
        usage
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The last of several quantities of one meter holds.
        let quantities = BTreeMap::<Meter, Decimal>::deserialize(deserializer)?;
        Ok(quantities.into_iter().collect())
    }
}

/// Longest model name kept, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;
/// Quantities that can be booked stay below ten to this power, so that sums of them always fit.
pub const QUANTITY_DIGITS_MAX: u32 = 15;

/// Whether a quantity can be booked, as far as its size goes.
#[must_use]
pub fn is_bookable(quantity: Decimal) -> bool {
    const END: u128 = 10u128.pow(QUANTITY_DIGITS_MAX);
    let mantissa = quantity.mantissa().unsigned_abs();
    // Nearly all are small whole numbers.
    mantissa < END || mantissa / 10u128.pow(u32::from(quantity.scale())) < END
}

/// What decides between rates of one model: `service_tier`, `batch`, `speed`, `geo`, `mode`,
/// `language`, … by name. Only what a rate card can ask for; never content.
pub type Conditions = BTreeMap<String, String>;

/// One model's part of an exchange: what pricing reads, and all it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The model billed, as the provider named it.
    pub model: String,
    /// What decides between rates.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub conditions: Conditions,
    /// Disjoint quantities.
    pub usage: Usage,
}

/// How the quantities of an event are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider's own final count.
    Reported,
    /// Part of it reported, the rest bounded.
    Partial,
    /// Counted by us from the wire.
    Measured,
    /// Guessed from the wire, within bounds.
    Estimated,
    /// Another call will tell.
    Pending,
    /// Nothing known. Never zero.
    #[default]
    Missing,
    /// Nothing to bill: a free route, a refusal by the upstream, no upstream reached.
    None,
}

impl UsageSource {
    /// The name in JSON, SQL and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Partial => "partial",
            Self::Measured => "measured",
            Self::Estimated => "estimated",
            Self::Pending => "pending",
            Self::Missing => "missing",
            Self::None => "none",
        }
    }
}

/// What a reader makes of the evidence: lines to price, how they are known, and their bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageDraft {
    /// Empty when nothing is known or nothing is to be billed.
    pub lines: Vec<Line>,
    /// How the lines are known.
    pub source: UsageSource,
    /// Why the source is not `reported`, or what is unusual: `cut_before_usage`, `negative_clamped`, ….
    pub reason: Option<&'static str>,
    /// Lower bounds over all lines, when the source is not `reported`.
    pub low: Option<Usage>,
    /// Upper bounds over all lines, when the source is not `reported`.
    pub high: Option<Usage>,
}

impl UsageDraft {
    /// The lines' sum by meter. A sum past the bounds of a decimal leaves its meter at what it was before;
    /// the lines stand.
    #[must_use]
    pub fn total(&self) -> Usage {
        if let [line] = self.lines.as_slice() {
            return line.usage.clone();
        }
        let mut total = Usage::new();
        for (meter, quantity) in self.lines.iter().flat_map(|line| line.usage.iter()) {
            let _ = total.add(meter, quantity);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_come_in_their_order_and_zeros_may_go() {
        let mut usage = Usage::new();
        for (number, meter) in Meter::ALL.iter().rev().enumerate() {
            usage.set(*meter, number as u64 % 3);
        }
        assert!(
            usage
                .iter()
                .map(|(meter, _)| meter)
                .eq(Meter::ALL.iter().copied())
        );
        let without: Usage = usage.iter().filter(|(_, q)| !q.is_zero()).collect();
        assert_eq!(usage.without_zeros(), without);
        assert_eq!(Usage::new().without_zeros(), Usage::new());
    }
}
