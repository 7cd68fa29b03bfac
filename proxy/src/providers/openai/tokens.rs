//! From OpenAI's usage objects to meters that count each token once.
//!
//! Input holds cached, cache-written, audio, image and video tokens; output holds reasoning, audio and image
//! tokens. Endpoints name the same counts differently, and servers of the dialect mix the names.

use crate::framing::quotes::{Beginnings, Letters, any_text};
use crate::provider::Asked;
use crate::providers::facts::{self, BYTES_PER_TOKEN, Counted};
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

pub(super) const INPUT: [&str; 2] = ["prompt_tokens", "input_tokens"];
pub(super) const OUTPUT: [&str; 2] = ["completion_tokens", "output_tokens"];
const INPUT_DETAILS: [&str; 4] = [
    "prompt_tokens_details",
    "prompt_token_details",
    "input_tokens_details",
    "input_token_details",
];
const OUTPUT_DETAILS: [&str; 3] = [
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
];

/// What the tokens that a cache served are called at the top, by vendors of the dialect and by gateways
/// before others.
const READS: [&str; 4] = [
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
];
/// What the tokens written to a cache are called, by the vendor and by gateways before others.
const WRITES: [&str; 3] = [
    "cache_write_tokens",
    "cache_creation_tokens",
    "cache_creation_input_tokens",
];
/// Where gateways divide them by how long they stay.
const SPLITS: [&str; 2] = ["cache_creation_token_details", "cache_creation"];
/// Those that stay for an hour.
const HOUR: &str = "ephemeral_1h_input_tokens";

/// The fact of a request whose input may be larger than its bytes.
pub(crate) const UNBOUNDED_INPUT: &str = "input_unbounded";

/// What tokens are where nothing divides them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undivided {
    /// Of the input.
    pub(crate) input: Meter,
    /// Of the output.
    pub(crate) output: Meter,
}

/// Text in, text out.
pub(crate) const TEXT: Undivided = Undivided {
    input: Meter::InputTokens,
    output: Meter::OutputTokens,
};

/// The draft of one usage object; `None` when it counts nothing.
pub(crate) fn reported(evidence: &Evidence, object: Json<'_>) -> Option<UsageDraft> {
    counted(evidence, &mut Counted::new(object))
}

/// The same of one that is looked into already.
pub(super) fn counted(evidence: &Evidence, counted: &mut Counted<'_>) -> Option<UsageDraft> {
    let usage = usage(counted, TEXT)?;
    Some(UsageDraft {
        reason: counted.is_clamped.then_some("negative_clamped"),
        lines: vec![line(evidence, usage)],
        source: UsageSource::Reported,
        low: None,
        high: None,
    })
}

/// The disjoint counts of one usage object; `None` when it counts nothing.
pub(crate) fn usage(counted: &mut Counted<'_>, undivided: Undivided) -> Option<Usage> {
    let prompt = top(counted, &INPUT);
    let completion = top(counted, &OUTPUT);
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let mut usage = Usage::new();
    let beside = Beside::of(counted);
    let prompt = prompt.map(|prompt| beside.whole(counted, prompt, completion));
    if let Some(prompt) = prompt {
        input(counted, prompt, beside, undivided.input, &mut usage);
    }
    if let Some(completion) = completion {
        output(counted, prompt, completion, undivided.output, &mut usage);
    }
    Some(usage)
}

/// The line of an answer: its model, or the one asked for, and what it says of its tier.
pub(crate) fn line(evidence: &Evidence, usage: Usage) -> Line {
    Line {
        model: facts::model(evidence),
        conditions: conditions(evidence),
        usage,
    }
}

/// The tier of the answer; the one asked for says nothing.
pub(crate) fn conditions(evidence: &Evidence) -> Conditions {
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
    conditions
}

/// The draft of an answer that ended without its usage: the output between what came and what was
/// allowed, the input by the request's bytes where those hold all of it.
pub(crate) fn unreported(evidence: &Evidence, output_low: u64, output_high: u64) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let (mut low, mut high) = (Usage::new(), Usage::new());
    if !evidence.request.is_set(UNBOUNDED_INPUT) {
        low.set(Meter::InputTokens, 0);
        high.set(Meter::InputTokens, request_bytes);
    }
    low.set(Meter::OutputTokens, output_low);
    high.set(Meter::OutputTokens, output_high.max(output_low));
    let estimate = || {
        let usage = facts::text_tokens(request_bytes / BYTES_PER_TOKEN, output_low);
        line(evidence, usage)
    };
    facts::unreported(evidence, estimate, low, high)
}

/// Notes that the request's bytes do not bound its input: it names things that lie elsewhere, or
/// whose tokens are not made of their bytes.
pub(crate) fn note_unbounded_input(evidence: &mut Evidence, asked: &Asked<'_>) {
    const ELSEWHERE: [&str; 11] = [
        "image_url\"",
        "input_image\"",
        "input_file\"",
        "file_id\"",
        "file_url\"",
        "file_search\"",
        "previous_response_id\"",
        "conversation\"",
        "code_interpreter\"",
        "web_search",
        "mcp\"",
    ];
    const FIRST: Letters = Letters::of(b"ifpcwm");
    const BEGINNINGS: Beginnings<11> = Beginnings::of(ELSEWHERE);
    let body = asked.body.unwrap_or_default();
    let is_there = |text: &[u8]| {
        let mut names = ELSEWHERE.iter();
        BEGINNINGS.hold(text) && names.any(|name| text.starts_with(name.as_bytes()))
    };
    if any_text(body, FIRST, is_there) {
        evidence.request.insert(UNBOUNDED_INPUT, true);
    }
}

/// The first of the top-level counts of these names.
pub(super) fn top(counted: &mut Counted<'_>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| counted.count(&[name]))
}

/// Those of the objects that are there, without names for the rest: they are asked for many members.
fn present<const N: usize>(counted: &Counted<'_>, objects: [&'static str; N]) -> [&'static str; N] {
    objects.map(|object| counted.member(object).map_or("", |_| object))
}

/// What is said of caches beside the details, by the names of one vendor or another.
#[derive(Clone, Copy, Debug)]
struct Beside {
    read: Option<u64>,
    written: Option<u64>,
}

impl Beside {
    fn of(counted: &mut Counted<'_>) -> Self {
        Self {
            read: top(counted, &READS),
            written: counted.count(&["cache_creation_input_tokens"]),
        }
    }

    /// The whole input: what caches read or took lies inside it, unless the total says otherwise.
    fn whole(self, counted: &mut Counted<'_>, prompt: u64, completion: Option<u64>) -> u64 {
        let caches = self
            .read
            .unwrap_or(0)
            .saturating_add(self.written.unwrap_or(0));
        let whole = prompt.saturating_add(caches);
        let sum = completion.and_then(|completion| whole.checked_add(completion));
        let is_beside = caches > 0 && sum.is_some() && counted.count(&["total_tokens"]) == sum;
        if is_beside { whole } else { prompt }
    }
}

fn detail(counted: &mut Counted<'_>, objects: &[&str], path: &[&str]) -> Option<u64> {
    // Most of what may be in the details is in none.
    if counted.lacks(path) {
        return None;
    }
    let objects = objects.iter().filter(|object| !object.is_empty());
    objects.into_iter().find_map(|object| match path {
        [name] => counted.count(&[object, name]),
        [part, name] => counted.count(&[object, part, name]),
        _ => None,
    })
}

fn input(
    counted: &mut Counted<'_>,
    prompt: u64,
    beside: Beside,
    undivided: Meter,
    usage: &mut Usage,
) {
    let details = present(counted, INPUT_DETAILS);
    let mut of = |path: &[&str]| detail(counted, &details, path);
    let text = of(&["text_tokens"]);
    let cached = of(&["cached_tokens"]).or(beside.read);
    let written = WRITES
        .iter()
        .find_map(|name| of(&[name]))
        .or(beside.written);
    let written_30m = of(&["cache_write_tokens_details", "ttl_30m_tokens"]);
    let written_12h = of(&["cache_write_tokens_details", "ttl_12h_tokens"]);
    let audio = of(&["audio_tokens"]);
    let image = of(&["image_tokens"]);
    let video = of(&["video_tokens"]);
    let cached_audio = of(&["cached_tokens_details", "audio_tokens"]);
    let cached_image = of(&["cached_tokens_details", "image_tokens"]);
    let written_1h = match (written, written_12h) {
        (Some(1..), None) => SPLITS
            .iter()
            .find_map(|split| of(&[split, HOUR]))
            .or_else(|| counted.count(&[SPLITS[1], HOUR])),
        _ => None,
    };
    let written = written.or_else(|| match (written_30m, written_12h) {
        (None, None) => None,
        (short, long) => Some(short.unwrap_or(0).saturating_add(long.unwrap_or(0))),
    });

    // The cached part is undivided unless split: then it is taken from text first.
    let cached = cached.map(|cached| counted.within(cached, prompt));
    let written = written.map(|written| counted.within(written, prompt - cached.unwrap_or(0)));
    let written_12h = written_12h.map(|long| counted.within(long, written.unwrap_or(0)));
    let written_1h = written_1h.map(|long| counted.within(long, written.unwrap_or(0)));
    let fresh = prompt - cached.unwrap_or(0) - written.unwrap_or(0);
    let cached_audio = cached_audio.map(|part| counted.within(part, cached.unwrap_or(0)));
    let cached_text_or_image = cached.unwrap_or(0) - cached_audio.unwrap_or(0);
    let cached_image = cached_image.map(|part| counted.within(part, cached_text_or_image));
    let fresh_audio = audio
        .map(|audio| counted.less(audio, cached_audio.unwrap_or(0)))
        .map(|audio| counted.within(audio, fresh));
    let fresh_image = image
        .map(|image| counted.less(image, cached_image.unwrap_or(0)))
        .map(|image| counted.within(image, fresh - fresh_audio.unwrap_or(0)));
    let rest = fresh - fresh_audio.unwrap_or(0) - fresh_image.unwrap_or(0);
    let fresh_video = video.map(|video| counted.within(video, rest));

    let rest = rest - fresh_video.unwrap_or(0);
    let is_divided = text.is_some() || audio.is_some() || image.is_some();
    let rest_meter = if is_divided {
        Meter::InputTokens
    } else {
        undivided
    };
    usage.set(rest_meter, rest);
    set(
        usage,
        Meter::CacheReadTokens,
        cached.map(|_| cached_text_or_image - cached_image.unwrap_or(0)),
    );
    set(
        usage,
        Meter::CacheWriteTokens,
        written.map(|written| {
            let long = written_12h.or(written_1h);
            written - long.unwrap_or(0)
        }),
    );
    set_some(usage, Meter::CacheWrite12hTokens, written_12h);
    set_some(usage, Meter::CacheWrite1hTokens, written_1h);
    set_some(usage, Meter::InputAudioTokens, fresh_audio);
    set_some(usage, Meter::CacheReadAudioTokens, cached_audio);
    set_some(usage, Meter::InputImageTokens, fresh_image);
    set_some(usage, Meter::CacheReadImageTokens, cached_image);
    set_some(usage, Meter::InputVideoTokens, fresh_video);
}

fn output(
    counted: &mut Counted<'_>,
    prompt: Option<u64>,
    completion: u64,
    undivided: Meter,
    usage: &mut Usage,
) {
    let details = present(counted, OUTPUT_DETAILS);
    let mut of = |name| detail(counted, &details, &[name]);
    let text = of("text_tokens");
    let reasoning = of("reasoning_tokens");
    let audio = of("audio_tokens");
    let image = of("image_tokens");
    let reasoning = reasoning.or_else(|| counted.count(&["reasoning_tokens"]));
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
    rest -= audio.unwrap_or(0);
    let image = image.map(|image| counted.within(image, rest));
    rest -= image.unwrap_or(0);
    set_some(usage, Meter::OutputAudioTokens, audio);
    set_some(usage, Meter::OutputImageTokens, image);
    if text.is_some() || audio.is_some() || image.is_some() {
        usage.set(Meter::OutputTokens, rest);
    } else {
        usage.set(undivided, rest);
    }
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
