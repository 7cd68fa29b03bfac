//! Bedrock's invoke: each model's own body. Claude's is read as Anthropic's messages; of others the
//! counts in the body, in the last message of a stream or in the headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::usage::{Line, UsageDraft, UsageSource};

use super::converse::{self, TIER_HEADER};
use super::{path, pieces};
use crate::framing::json::{Raw, items, pick, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::{Asked, Glance};
use crate::providers::anthropic::messages;
use crate::providers::facts::{
    self, COUNT_UNREAD, Counted, is_present, keep_request, keep_usage, member,
};
use crate::providers::openai::{delta, tokens};

const INPUT_HEADER: &str = "x-amzn-bedrock-input-token-count";
const OUTPUT_HEADER: &str = "x-amzn-bedrock-output-token-count";
const READ_HEADER: &str = "x-amzn-bedrock-cache-read-input-token-count";
const WRITE_HEADER: &str = "x-amzn-bedrock-cache-write-input-token-count";
/// Counts, and the tier.
pub(super) const ANSWER_HEADERS: &[&str] = &[
    INPUT_HEADER,
    OUTPUT_HEADER,
    READ_HEADER,
    WRITE_HEADER,
    TIER_HEADER,
];
/// Where the counts of whatever has none of Anthropic's stand.
const COUNTS: &str = "counts";

/// The model of the path and the limit of the body, as each family of models spells it.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    messages::request_facts(evidence, asked);
    path::keep(evidence, asked);
    pieces::request_facts(evidence, asked);
    let names = [
        "inferenceConfig",
        "textGenerationConfig",
        "max_gen_len",
        "max_completion_tokens",
    ];
    let Some(picked) = asked.body.and_then(|body| pick(body, names)) else {
        return;
    };
    let [nova, titan, llama, other] = picked.members;
    let named = [
        member(nova, "maxTokens"),
        member(nova, "max_new_tokens"),
        member(titan, "maxTokenCount"),
        llama,
        other,
    ];
    for raw in named.into_iter().flatten() {
        keep_request(evidence, "max_output_tokens", Some(raw));
    }
}

/// The first bytes of a chunk with a piece of Claude's text; base64 keeps them apart.
const OUTPUT: &[u8] = b"{\"chunk\":{\"bytes\":\"eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YS";

/// All but deltas is unpacked.
pub(super) fn glance(data: &[u8]) -> Glance {
    if data.starts_with(OUTPUT) {
        Glance::Output
    } else {
        Glance::Telling
    }
}

/// Keeps the counts of a body, or of what a chunk of a stream carries.
pub(super) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    if frame.origin == Origin::Body {
        read(frame, evidence);
        evidence.response.insert("finished", true);
        return;
    }
    let Some([chunk, error]) = pick(frame.data, ["chunk", "error"]).map(|picked| picked.members)
    else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    converse::note_error(evidence, error);
    let Some(bytes) = member(chunk, "bytes").and_then(text_of) else {
        return;
    };
    let Ok(json) = STANDARD.decode(bytes.as_bytes()) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let inner = Frame {
        origin: Origin::Event,
        data: &json,
    };
    read(&inner, evidence);
}

/// One JSON value of a model.
fn read(frame: &Frame<'_>, evidence: &mut Evidence) {
    let names = [
        "type",
        "amazon-bedrock-invocationMetrics",
        "usage",
        "metadata",
        "inputTextTokenCount",
        "prompt_token_count",
        "images",
        "results",
    ];
    let Some(picked) = pick(frame.data, names) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [
        kind,
        metrics,
        usage,
        metadata,
        titan,
        llama,
        images,
        results,
    ] = picked.members;
    pieces::collect(evidence, images, results);
    if kind.is_some() {
        messages::collect(frame, evidence);
        // The path names what is billed; the body has the model's name at its maker.
        if let Some(model) = evidence.request_text("model").map(str::to_owned) {
            evidence.set_response_text("model", &model);
        }
    } else if frame.origin == Origin::Event && delta::has_output(frame.data) {
        evidence.counts.output_frames += 1;
    }
    let has_metrics = keep_usage(evidence, COUNTS, metrics);
    if has_metrics {
        evidence.response.insert("finished", true);
    }
    if !has_metrics && kind.is_none() {
        keep_usage(evidence, COUNTS, usage.or(member(metadata, "usage")));
    }
    if titan.is_some() || llama.is_some() {
        keep_old(frame.data, evidence);
    }
}

/// Titan's and Llama's names.
fn keep_old(json: &[u8], evidence: &mut Evidence) {
    let names = [
        "inputTextTokenCount",
        "prompt_token_count",
        "totalOutputTextTokenCount",
        "generation_token_count",
        "results",
    ];
    let Some(picked) = pick(json, names) else {
        return;
    };
    let [titan_in, llama_in, titan_out, llama_out, results] = picked.members;
    let mut is_unread = false;
    let mut count = |raw: Option<Raw<'_>>| {
        let count = Kept::of(raw?.get()).and_then(|kept| kept.json().count());
        is_unread |= count.is_none() && is_present(raw);
        count
    };
    let of_results = results.map(|results| {
        items(results)
            .filter_map(|item| count(member(Some(item), "tokenCount")))
            .fold(0u64, u64::saturating_add)
    });
    let input = count(titan_in.or(llama_in));
    let output = count(titan_out.or(llama_out)).or(of_results);
    if is_unread {
        evidence.response.insert(COUNT_UNREAD, true);
    }
    let members = [("inputTokenCount", input), ("outputTokenCount", output)];
    keep_counts(evidence, &members);
}

/// Counts under Bedrock's own names; later ones go before.
fn keep_counts(evidence: &mut Evidence, members: &[(&'static str, Option<u64>)]) {
    let members: Vec<String> = members
        .iter()
        .filter_map(|(name, count)| Some(format!("\"{name}\":{}", (*count)?)))
        .collect();
    if let Some(value) = Kept::of(&format!("{{{}}}", members.join(","))) {
        let merged = match evidence.kept(COUNTS) {
            Some(earlier) => earlier.merged(&value),
            None => value,
        };
        evidence.replace_object(COUNTS, merged);
    }
}

/// The lines of one invocation: Claude's own counts, else Bedrock's.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    let has_own = ["usage", "message_start", "message_delta"]
        .iter()
        .any(|at| evidence.object(at).is_some());
    let own = has_own.then(|| messages::usage_of(evidence));
    if let Some(mut draft) = own.filter(|draft| !draft.lines.is_empty())
        && (draft.source == UsageSource::Reported || counts(evidence).is_none())
    {
        for line in &mut draft.lines {
            line.conditions.extend(converse::conditions(evidence));
        }
        return draft;
    }
    if let Some(draft) = pieces::usage_of(evidence).or_else(|| counts(evidence)) {
        return draft;
    }
    facts::refused(evidence).unwrap_or_else(|| converse::unreported(evidence))
}

/// The counts of the body or the last message, and of the headers where it has none: what a guardrail
/// changed comes with its input alone.
fn counts(evidence: &Evidence) -> Option<UsageDraft> {
    let header = |name: &str| evidence.headers.get(name)?.parse::<u64>().ok();
    let of_headers = || {
        let members: Vec<String> = [
            ("inputTokenCount", header(INPUT_HEADER)),
            ("outputTokenCount", header(OUTPUT_HEADER)),
            ("cacheReadInputTokenCount", header(READ_HEADER)),
            ("cacheWriteInputTokenCount", header(WRITE_HEADER)),
        ]
        .into_iter()
        .filter_map(|(name, count)| Some(format!("\"{name}\":{}", count?)))
        .collect();
        Kept::of(&format!("{{{}}}", members.join(",")))
    };
    let of = |kept: &Kept| {
        let mut counted = Counted::new(kept.json());
        let usage = converse::tokens(&mut counted);
        // Models of other makers have OpenAI's body.
        let usage = usage.or_else(|| tokens::usage(&mut counted, tokens::TEXT))?;
        Some((usage, counted.is_clamped))
    };
    let of_headers = of_headers().as_ref().and_then(of);
    let (usage, is_clamped) = match (evidence.kept(COUNTS).and_then(of), of_headers) {
        (Some((mut usage, is_clamped)), Some((others, _))) => {
            for (meter, quantity) in others.iter() {
                if usage.quantity(meter).is_none() {
                    usage.set(meter, quantity);
                }
            }
            (usage, is_clamped)
        }
        (of_body, of_headers) => of_body.or(of_headers)?,
    };
    Some(UsageDraft {
        lines: vec![Line {
            model: facts::model(evidence),
            conditions: converse::conditions(evidence),
            usage,
        }],
        source: UsageSource::Reported,
        reason: is_clamped.then_some("negative_clamped"),
        ..UsageDraft::default()
    })
}
