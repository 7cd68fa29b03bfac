//! Splits a count of tokens by modality, each token in one meter.
//!
//! Details may be missing, cover less than the whole or more: what they do not cover is text, and
//! nothing is counted twice.

use farebox_pricing::evidence::Json;
use farebox_pricing::usage::{Meter, Usage};

use crate::providers::facts::Counted;

/// Tokens that are not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    audio: u64,
    image: u64,
    video: u64,
}

impl Split {
    /// Adds up one array of `{modality, tokenCount}`. Documents cost what images cost.
    pub(crate) fn of(details: Option<Json<'_>>) -> Self {
        let mut split = Self::default();
        for item in details.into_iter().flat_map(Json::items) {
            let modality = item.get("modality").and_then(Json::str).unwrap_or_default();
            let count = ["tokenCount", "tokens", "token_count"]
                .iter()
                .find_map(|name| item.get(name)?.count())
                .unwrap_or(0);
            let place = match modality.to_ascii_uppercase().as_str() {
                "AUDIO" => &mut split.audio,
                "IMAGE" | "DOCUMENT" => &mut split.image,
                "VIDEO" => &mut split.video,
                _ => continue,
            };
            *place = place.saturating_add(count);
        }
        split
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            audio: self.audio.saturating_add(other.audio),
            image: self.image.saturating_add(other.image),
            video: self.video.saturating_add(other.video),
        }
    }

    /// The array that says so.
    pub(crate) fn written(self) -> String {
        let parts = ["AUDIO", "IMAGE", "VIDEO"].iter().zip(self.parts());
        let parts: Vec<String> = parts
            .map(|(modality, count)| {
                format!("{{\"modality\":\"{modality}\",\"tokenCount\":{count}}}")
            })
            .collect();
        format!("[{}]", parts.join(","))
    }

    fn parts(self) -> [u64; 3] {
        [self.audio, self.image, self.video]
    }
}

const FRESH: [Meter; 3] = [
    Meter::InputAudioTokens,
    Meter::InputImageTokens,
    Meter::InputVideoTokens,
];
const CACHED: [Meter; 3] = [
    Meter::CacheReadAudioTokens,
    Meter::CacheReadImageTokens,
    Meter::CacheReadVideoTokens,
];

/// Sets the input's meters. `whole` holds the cached part; `split` is of the whole, `cached_split`
/// of the cached part. Where that is not split it is taken from text first.
pub(crate) fn set_input(
    counted: &mut Counted<'_>,
    usage: &mut Usage,
    whole: u64,
    cached: Option<u64>,
    split: Split,
    cached_split: Split,
) {
    let cached = cached.map(|cached| counted.within(cached, whole));
    let mut cached_text = cached.unwrap_or(0);
    let mut fresh_text = whole - cached_text;
    for (at, (part, cached_part)) in split
        .parts()
        .into_iter()
        .zip(cached_split.parts())
        .enumerate()
    {
        let cached_part = counted.within(cached_part, cached_text);
        cached_text -= cached_part;
        let fresh_part = counted.less(part, cached_part);
        let fresh_part = counted.within(fresh_part, fresh_text);
        fresh_text -= fresh_part;
        set_some(usage, FRESH[at], fresh_part);
        set_some(usage, CACHED[at], cached_part);
    }
    usage.set(Meter::InputTokens, fresh_text);
    if cached.is_some() {
        usage.set(Meter::CacheReadTokens, cached_text);
    }
}

/// Sets the output's meters without reasoning.
pub(crate) fn set_output(counted: &mut Counted<'_>, usage: &mut Usage, whole: u64, split: Split) {
    let audio = counted.within(split.audio, whole);
    let image = counted.within(split.image.saturating_add(split.video), whole - audio);
    usage.set(Meter::OutputTokens, whole - audio - image);
    set_some(usage, Meter::OutputAudioTokens, audio);
    set_some(usage, Meter::OutputImageTokens, image);
}

/// Modalities that a call does not have may be reported as zero; they are left out.
fn set_some(usage: &mut Usage, meter: Meter, count: u64) {
    if count > 0 {
        usage.set(meter, count);
    }
}
