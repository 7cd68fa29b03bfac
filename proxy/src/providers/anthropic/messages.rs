//! Anthropic's messages: usage in the body, or begun in `message_start` and finished by each
//! `message_delta`, field by field.
//!
//! Input, cache reads and cache writes stand beside each other; thinking stands inside the output.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::facts::{
    self, Counted, is_present, keep_request, keep_response_text, keep_usage, text_tokens,
};

/// Model, stream and the limit of the output.
pub(crate) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    let names = [
        "model",
        "stream",
        "max_tokens",
        "service_tier",
        "speed",
        "inference_geo",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, names)) else {
        return;
    };
    for (name, raw) in names.iter().zip(picked.members) {
        let name = match *name {
            "max_tokens" => "max_output_tokens",
            name => name,
        };
        keep_request(evidence, name, raw);
    }
}

const OUTPUT: &[u8] = br#"{"type":"content_block_delta""#;
const DULL: [&[u8]; 3] = [
    br#"{"type":"content_block_start""#,
    br#"{"type":"content_block_stop""#,
    br#"{"type":"ping""#,
];

/// The vendor writes `type` first; an event that begins in another way is parsed.
pub(crate) fn glance(data: &[u8]) -> Glance {
    if data.starts_with(OUTPUT) {
        return Glance::Output;
    }
    if DULL.iter().any(|start| data.starts_with(start)) {
        return Glance::Dull;
    }
    Glance::Telling
}

/// Keeps the usage objects and names of a message, whole or in events.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = [
        "type",
        "message",
        "usage",
        "error",
        "delta",
        "id",
        "model",
        "stop_reason",
        "container",
    ];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [
        kind,
        message,
        usage,
        error,
        delta,
        id,
        model,
        stop_reason,
        container,
    ] = picked.members;
    let kind = kind.and_then(text_of).unwrap_or_default();
    match (&*kind, frame.origin) {
        ("message", Origin::Body) => {
            keep_response_text(evidence, "id", id);
            keep_response_text(evidence, "model", model);
            keep_response_text(evidence, "stop_reason", stop_reason);
            note_container(evidence, container);
            keep_usage(evidence, "usage", usage);
            evidence.response.insert("finished", true);
        }
        ("message_start", _) => {
            let names = ["id", "model", "usage", "container"];
            let Some(message) = message.and_then(|raw| pick_in(raw, names)) else {
                return;
            };
            let [id, model, usage, container] = message.members;
            note_container(evidence, container);
            keep_response_text(evidence, "id", id);
            keep_response_text(evidence, "model", model);
            keep_usage(evidence, "message_start", usage);
        }
        ("message_delta", _) => {
            let delta = delta.and_then(|raw| pick_in(raw, ["stop_reason", "container"]));
            if let Some([stop_reason, container]) = delta.map(|delta| delta.members) {
                keep_response_text(evidence, "stop_reason", stop_reason);
                note_container(evidence, container);
            }
            merge_delta(evidence, usage);
        }
        ("message_stop", _) => {
            evidence.response.insert("finished", true);
        }
        ("content_block_delta", _) => evidence.counts.output_frames += 1,
        _ => {
            if is_present(error) {
                evidence.response.insert("error", true);
                let error = error.and_then(|error| pick_in(error, ["type"]));
                keep_response_text(evidence, "error_type", error.and_then(|e| e.members[0]));
            }
        }
    }
}

/// Code ran in a container, whose time is billed and not said.
fn note_container(evidence: &mut Evidence, container: Option<Raw<'_>>) {
    if is_present(container) {
        evidence.response.insert("container", true);
    }
}

/// Several deltas become one object: each field's last value that is not null.
fn merge_delta(evidence: &mut Evidence, usage: Option<Raw<'_>>) {
    let object = usage.filter(|raw| raw.get().starts_with('{'));
    let Some(latest) = object.and_then(|raw| Kept::of(raw.get())) else {
        return;
    };
    let merged = match evidence.kept("message_delta") {
        Some(earlier) => earlier.merged(&latest),
        None => latest,
    };
    evidence.replace_object("message_delta", merged);
}

/// The lines of one message.
pub(crate) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(counted) = counted(evidence)
        && let Some(draft) = reported(evidence, counted)
    {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| unreported(evidence))
}

/// The usage objects of whatever came.
fn counted(evidence: &Evidence) -> Option<Counted<'_>> {
    if let Some(object) = evidence.object("usage") {
        return Some(Counted::new(object));
    }
    match (
        evidence.object("message_start"),
        evidence.object("message_delta"),
    ) {
        (Some(start), Some(delta)) => Some(Counted::merged(start, delta)),
        (Some(one), None) | (None, Some(one)) => Some(Counted::new(one)),
        (None, None) => None,
    }
}

fn reported(evidence: &Evidence, mut counted: Counted<'_>) -> Option<UsageDraft> {
    let has_input = counted.count(&["input_tokens"]).is_some();
    let output = counted.count(&["output_tokens"]);
    if !has_input && output.is_none() {
        return None;
    }
    let is_final = evidence.object("usage").is_some()
        || (evidence.object("message_delta").is_some()
            && (facts::is_set(evidence, "finished")
                || evidence.response_text("stop_reason").is_some()));
    let mut notes = Notes::default();
    let mut lines = vec![Line {
        model: facts::model(evidence),
        conditions: conditions(&counted),
        usage: tokens(&mut counted, &mut notes),
    }];
    if let Some(items) = counted.member("iterations") {
        let items: Vec<_> = items.items().collect();
        iterations(&items, &mut lines, &mut notes);
    }
    let redeemed = counted
        .member("fallback_credit")
        .and_then(|credit| credit.at(&["status", "type"]))
        .and_then(Json::str);
    if redeemed.as_deref() == Some("redeemed") {
        // The refund of the retry's cache writes is in no count.
        notes.add("fallback_credit_redeemed");
    }
    if facts::is_set(evidence, "container") {
        notes.add("container_time_unpriced");
    }
    if is_final {
        return Some(UsageDraft {
            lines,
            source: UsageSource::Reported,
            reason: notes.reason,
            low: None,
            high: None,
        });
    }
    Some(partial(evidence, output.unwrap_or(0), lines))
}

/// The input is known, of the output only how much came at least.
fn partial(evidence: &Evidence, output: u64, mut lines: Vec<Line>) -> UsageDraft {
    let low_output = output.max(evidence.counts.output_frames);
    let high_output = facts::output_high(evidence).max(low_output);
    if let Some(line) = lines.first_mut() {
        // Thinking of an unfinished answer is not told apart.
        line.usage = line
            .usage
            .iter()
            .filter(|(meter, _)| *meter != Meter::ReasoningTokens)
            .collect();
        line.usage.set(Meter::OutputTokens, low_output);
    }
    let low = lines.first().map(|line| line.usage.clone());
    let high = low.clone().map(|mut usage| {
        usage.set(Meter::OutputTokens, high_output);
        usage
    });
    UsageDraft {
        lines,
        source: UsageSource::Partial,
        reason: Some(facts::CUT),
        low,
        high,
    }
}

/// What was unusual; the first is told.
#[derive(Default)]
struct Notes {
    reason: Option<&'static str>,
}

impl Notes {
    fn add(&mut self, reason: &'static str) {
        self.reason.get_or_insert(reason);
    }
}

fn tokens(counted: &mut Counted<'_>, notes: &mut Notes) -> Usage {
    let mut usage = Usage::new();
    let input = counted.count(&["input_tokens"]);
    let read = counted.count(&["cache_read_input_tokens"]);
    let written = counted.count(&["cache_creation_input_tokens"]);
    let short = counted.count(&["cache_creation", "ephemeral_5m_input_tokens"]);
    let long = counted.count(&["cache_creation", "ephemeral_1h_input_tokens"]);
    let output = counted.count(&["output_tokens"]);
    let thinking = counted.count(&["output_tokens_details", "thinking_tokens"]);
    let searches = counted.count(&["server_tool_use", "web_search_requests"]);

    let mut set = |meter, count: Option<u64>| {
        if let Some(count) = count {
            usage.set(meter, count);
        }
    };
    set(Meter::InputTokens, input);
    set(Meter::CacheReadTokens, read);
    let (short, long) = match (written, short, long) {
        (written, None, None) => {
            if written.is_some_and(|written| written > 0) {
                notes.add("cache_writes_unsplit");
            }
            (written, None)
        }
        (None, short, long) => (short, long),
        (Some(written), short, long) => {
            let split = short.unwrap_or(0).saturating_add(long.unwrap_or(0));
            if split == written {
                (short, long)
            } else if let Some((short, long)) = split_of_passes(counted, written) {
                (Some(short), Some(long))
            } else {
                notes.add("cache_split_differs");
                // The total is cumulative and the split is of the start: what it does not cover
                // is of the default kind.
                let long = long.map(|long| long.min(written));
                (Some(written - long.unwrap_or(0)), long)
            }
        }
    };
    set(Meter::CacheWriteTokens, short);
    set(Meter::CacheWrite1hTokens, long);
    if let Some(output) = output {
        let thinking = thinking.map(|thinking| counted.within(thinking, output));
        set(Meter::OutputTokens, Some(output - thinking.unwrap_or(0)));
        set(Meter::ReasoningTokens, thinking);
    }
    set(
        Meter::WebSearches,
        searches.filter(|searches| *searches > 0),
    );
    if counted.is_clamped {
        notes.add("negative_clamped");
    }
    usage
}

/// What the passes that the top level holds wrote for five minutes and for an hour, where they say all
/// of it: a stream's last usage has no split of its own.
fn split_of_passes(counted: &Counted<'_>, written: u64) -> Option<(u64, u64)> {
    let (mut short, mut long) = (0u64, 0u64);
    let passes = counted.member("iterations")?.items();
    for pass in passes.filter(|pass| is_kind(pass, "message")) {
        let wrote = |name| pass.at(&["cache_creation", name]).and_then(Json::count);
        short = short.checked_add(wrote("ephemeral_5m_input_tokens").unwrap_or(0))?;
        long = long.checked_add(wrote("ephemeral_1h_input_tokens").unwrap_or(0))?;
    }
    (short.checked_add(long)? == written).then_some((short, long))
}

fn is_kind(item: &Json<'_>, kind: &str) -> bool {
    item.get("type").and_then(Json::str).as_deref() == Some(kind)
}

/// Sampling passes that the top level does not hold (compaction, advisors), or that another model
/// served (fallbacks).
fn iterations(items: &[Json<'_>], lines: &mut Vec<Line>, notes: &mut Notes) {
    let Some(base) = lines.first().cloned() else {
        return;
    };
    let priced = |item: &Json<'_>, notes: &mut Notes| Line {
        model: item
            .get("model")
            .and_then(Json::str)
            .map_or_else(|| base.model.clone(), |model| model.into_owned()),
        conditions: base.conditions.clone(),
        usage: tokens(&mut Counted::new(*item), notes),
    };
    let has_fallback = items.iter().any(|item| is_kind(item, "fallback_message"));
    if has_fallback {
        // Another model served it: each pass by its own model, the top level not at all, but for
        // the searches, which only it counts.
        let searches = base.usage.quantity(Meter::WebSearches);
        *lines = items.iter().map(|item| priced(item, notes)).collect();
        if let (Some(searches), Some(line)) = (searches, lines.last_mut()) {
            line.usage.set(Meter::WebSearches, searches);
        }
        notes.add("fallback_model");
        return;
    }
    for item in items {
        if is_kind(item, "compaction") || is_kind(item, "advisor_message") {
            lines.push(priced(item, notes));
        }
    }
}

fn conditions(counted: &Counted<'_>) -> Conditions {
    let text = |name| {
        let text = counted.member(name).and_then(Json::str);
        text.filter(|text| !text.is_empty())
    };
    let mut conditions = Conditions::new();
    match text("service_tier").as_deref() {
        None | Some("standard") => {}
        Some("batch") => {
            conditions.insert("batch".into(), "true".into());
        }
        Some(tier) => {
            conditions.insert("service_tier".into(), tier.into());
        }
    }
    if let Some(speed) = text("speed").filter(|speed| speed != "standard") {
        conditions.insert("speed".into(), speed.into());
    }
    if let Some(geo) =
        text("inference_geo").filter(|geo| !matches!(&**geo, "global" | "not_available"))
    {
        conditions.insert("geo".into(), geo.into());
    }
    conditions
}

fn unreported(evidence: &Evidence) -> UsageDraft {
    let request_bytes = evidence.counts.request_bytes;
    let output_low = evidence.counts.output_frames;
    let output_high = facts::output_high(evidence).max(output_low);
    let line = || Line {
        model: facts::model(evidence),
        conditions: Conditions::new(),
        usage: text_tokens(request_bytes / facts::BYTES_PER_TOKEN, output_low),
    };
    facts::unreported(
        evidence,
        line,
        text_tokens(0, output_low),
        text_tokens(request_bytes, output_high),
    )
}
