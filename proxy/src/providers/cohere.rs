//! Cohere: chat, embeddings, reranking and classification of both API versions. Billed units stand
//! beside real tokens and differ from them; all counts may be fractions.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Meter, Usage, UsageDraft};
use memchr::memmem;

use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::framing::{Frame, Origin};
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{
    Class, Credential, Endpoint, ErrorText, Glance, Keeps, Provider, StreamUsage,
};
use crate::providers::facts::{self, BYTES_PER_TOKEN, keep_response_text, keep_usage};
use crate::providers::openai::{self, chat, tokens};
use crate::providers::{compatible, free, metered_unread, speech, state, state_unread};

mod batches;

/// Cohere's own API.
pub static PROVIDER: Provider = Provider {
    name: "cohere",
    base_url: "https://api.cohere.com",
    credential: Credential::Bearer,
    credential_env: "COHERE_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-debug-trace-id",
    error_content_type: "application/json",
    error_body,
    cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    billed("/v2/chat", Kind::Chat),
    billed("/v1/chat", Kind::Chat),
    compatible::chat("/compatibility/v1/chat/completions"),
    openai::embeddings("/compatibility/v1/embeddings"),
    unspoken("/v2/embed", Kind::Embeddings, embedded_usage_of),
    unspoken("/v1/embed", Kind::Embeddings, embedded_usage_of),
    unspoken("/v2/rerank", Kind::Rerank, unit_usage_of),
    unspoken("/v1/rerank", Kind::Rerank, unit_usage_of),
    unspoken("/v1/classify", Kind::Other, unit_usage_of),
    unspoken("/v2/classify", Kind::Other, unit_usage_of),
    billed("/v1/generate", Kind::Completions),
    billed("/v1/summarize", Kind::Completions),
    unspoken("/v2/parse", Kind::Ocr, unit_usage_of),
    speech::transcription("/v2/audio/transcriptions"),
    free(Post, "/v1/tokenize"),
    free(Post, "/v1/detokenize"),
    free(Get, "/v1/models"),
    free(Get, "/v1/models/{model}"),
    metered_unread(Post, "/v1/embed-jobs", Kind::Embeddings, Keeps::Creates),
    state(Get, "/v1/embed-jobs", Keeps::List),
    state_unread(Get, "/v1/embed-jobs/{id}", Keeps::Item, Kind::Embeddings),
    state(Post, "/v1/embed-jobs/{id}/cancel", Keeps::Item),
    Endpoint {
        path: "/v2/batches",
        kind: Kind::Batch,
        keeps: Keeps::Creates,
        is_read: true,
        collect: batches::collect,
        usage_of: facts::batch_created,
        ..Endpoint::DEFAULT
    },
    state(Get, "/v2/batches", Keeps::List),
    Endpoint {
        verb: Get,
        path: "/v2/batches/{id}",
        kind: Kind::Batch,
        class: Class::State,
        keeps: Keeps::Item,
        is_read: true,
        collect: batches::collect,
        usage_of: batches::usage_of,
        ..Endpoint::DEFAULT
    },
    state(Post, "/v2/batches/{id}:cancel", Keeps::Item),
    state(Post, "/v1/datasets", Keeps::Creates),
    state(Get, "/v1/datasets", Keeps::List),
    state(Get, "/v1/datasets/{id}", Keeps::Item),
    state(Delete, "/v1/datasets/{id}", Keeps::Item),
];

const fn billed(path: &'static str, kind: Kind) -> Endpoint {
    Endpoint {
        path,
        kind,
        is_read: true,
        request_facts: chat::request_facts,
        glance,
        collect,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// An endpoint that generates nothing.
const fn unspoken(
    path: &'static str,
    kind: Kind,
    usage_of: fn(&Evidence) -> UsageDraft,
) -> Endpoint {
    Endpoint {
        usage_of,
        ..billed(path, kind)
    }
}

/// Events name their type; a text cannot look like one, its quotes are escaped.
fn glance(data: &[u8]) -> Glance {
    const TELLING: [&[u8]; 5] = [
        b"\"message-end\"",
        b"\"stream-end\"",
        b"\"message-start\"",
        b"\"stream-start\"",
        b"\"error\"",
    ];
    // One that only announces a tool by its name is none.
    const OUTPUT: [&[u8]; 5] = [
        b"\"content-delta\"",
        b"\"text-generation\"",
        b"\"tool-call-delta\"",
        b"\"tool-calls-chunk\"",
        b"\"tool-plan-delta\"",
    ];
    let has = |names: &[&[u8]]| names.iter().any(|name| memmem::find(data, name).is_some());
    if has(&TELLING) {
        Glance::Telling
    } else if has(&OUTPUT) && memmem::find(data, b"\"arguments\":\"\"").is_none() {
        Glance::Output
    } else {
        Glance::Dull
    }
}

fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 10] = [
        "type",
        "event_type",
        "id",
        "response_id",
        "generation_id",
        "usage",
        "meta",
        "delta",
        "response",
        "finish_reason",
    ];
    if frame.data == b"[DONE]" {
        return;
    }
    let Some(picked) = pick(frame.data, NAMES) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [
        kind,
        event_kind,
        id,
        response_id,
        generation_id,
        usage,
        meta,
        delta,
        response,
        reason,
    ] = picked.members;
    for id in [generation_id, response_id, id] {
        keep_response_text(evidence, "id", id);
    }
    keep_usage(evidence, "usage", meta);
    keep_usage(evidence, "usage", usage);
    note_reason(evidence, reason);
    if let Some(delta) = delta.and_then(|delta| pick_in(delta, ["usage", "finish_reason"])) {
        keep_usage(evidence, "usage", delta.members[0]);
        note_reason(evidence, delta.members[1]);
    }
    if let Some(response) =
        response.and_then(|response| pick_in(response, ["meta", "generation_id", "response_id"]))
    {
        keep_usage(evidence, "usage", response.members[0]);
        keep_response_text(evidence, "id", response.members[1]);
        keep_response_text(evidence, "id", response.members[2]);
    }
    match frame.origin {
        Origin::Body => {
            evidence.response.insert("finished", true);
        }
        Origin::Event => {
            let kind = kind.or(event_kind).and_then(text_of).unwrap_or_default();
            match &*kind {
                "message-end" | "stream-end" => evidence.response.insert("finished", true),
                "error" => evidence.response.insert("error", true),
                _ if glance(frame.data) == Glance::Output => evidence.counts.output_frames += 1,
                _ => {}
            }
        }
    }
}

fn note_reason(evidence: &mut Evidence, reason: Option<Raw<'_>>) {
    let reason = reason.and_then(text_of).unwrap_or_default();
    if reason.starts_with("ERROR") {
        evidence.response.insert("error", true);
    }
}

/// What is generated lies between the output that came and what was allowed.
fn usage_of(evidence: &Evidence) -> UsageDraft {
    reported(evidence).unwrap_or_else(|| {
        let low = evidence.counts.output_frames;
        tokens::unreported(evidence, low, facts::output_high(evidence))
    })
}

/// What is embedded is no more than the request.
fn embedded_usage_of(evidence: &Evidence) -> UsageDraft {
    reported(evidence).unwrap_or_else(|| {
        let of = |count: u64| Usage::from_iter([(Meter::InputTokens, count.into())]);
        let bytes = evidence.counts.request_bytes;
        let estimate = || tokens::line(evidence, of(bytes / BYTES_PER_TOKEN));
        facts::unreported(evidence, estimate, of(0), of(bytes))
    })
}

/// Searches, classifications and pages are counted by the vendor alone.
fn unit_usage_of(evidence: &Evidence) -> UsageDraft {
    reported(evidence).unwrap_or_else(|| facts::missing(facts::why_no_usage(evidence), None, None))
}

/// The line of one call: what is billed; real tokens only where nothing says what is billed. Or
/// nothing, of a refusal.
fn reported(evidence: &Evidence) -> Option<UsageDraft> {
    let object = evidence.object("usage");
    let of = |name| {
        let usage = units(object?.get(name)?);
        (!usage.is_empty()).then_some(usage)
    };
    let (usage, reason) = match (of("billed_units"), of("tokens")) {
        (Some(usage), _) => (usage, None),
        (None, Some(usage)) => (usage, Some("billed_units_absent")),
        (None, None) => return facts::refused(evidence),
    };
    Some(facts::reported(evidence, usage, reason))
}

fn units(object: Json<'_>) -> Usage {
    let of = |name| compatible::amount(Some(object), &[name]);
    let image_tokens = of("image_tokens");
    let counts = [
        (Meter::InputTokens, of("text_tokens").or(of("input_tokens"))),
        (Meter::OutputTokens, of("output_tokens")),
        (Meter::InputImageTokens, image_tokens),
        (
            Meter::Images,
            of("images").filter(|_| image_tokens.is_none()),
        ),
        (Meter::Searches, of("search_units")),
        (Meter::Pages, of("pages")),
        // Classifications are billed by the text that is put in.
        (Meter::Requests, of("classifications")),
    ];
    counts
        .into_iter()
        .filter_map(|(meter, count)| Some((meter, count?)))
        .collect()
}

fn error_body(error: &ErrorText<'_>) -> Vec<u8> {
    serde_json::json!({
        "id": error.request_id,
        "message": error.message,
        "code": error.code,
    })
    .to_string()
    .into_bytes()
}

/// Its clients skip events of a type they do not know, and stop where the stream ends.
fn cut_event(error: &ErrorText<'_>) -> Option<Vec<u8>> {
    let event = serde_json::json!({
        "type": "error",
        "event_type": "error",
        "message": error.message,
        "code": error.code,
    });
    Some(format!("event: error\ndata: {event}\n\n").into_bytes())
}
