//! Perplexity: OpenAI's dialect with searches; usage grows from chunk to chunk and carries what the
//! call costs, in US dollars.
//!
//! Reasoning and cited input are counted beside completion and prompt. Each answer has a fee by the
//! size of its search context; deep research is billed by its searches instead.

use farebox_pricing::event::EndpointKind as Kind;
use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::pick;
use crate::provider::Verb::{Delete, Get, Post};
use crate::provider::{Class, Credential, Endpoint, Glance, Keeps, Provider, StreamUsage};
use crate::providers::facts::{self, Counted, is_present, keep_response_text};
use crate::providers::openai::{self, chat, responses};
use crate::providers::{compatible, free, state, state_unread};

/// Perplexity's own API.
pub static PROVIDER: Provider = Provider {
    name: "perplexity",
    base_url: "https://api.perplexity.ai",
    credential: Credential::Bearer,
    credential_env: "PERPLEXITY_API_KEY",
    endpoints: ENDPOINTS,
    stream_usage_default: StreamUsage::Untouched,
    request_id_header: "x-request-id",
    error_content_type: "application/json",
    error_body: openai::error_body,
    cut_event: openai::cut_event,
};

const ENDPOINTS: &[Endpoint] = &[
    sonar("/chat/completions"),
    sonar("/v1/chat/completions"),
    sonar("/v1/sonar"),
    Endpoint {
        collect: collect_async,
        glance: |_| Glance::Telling,
        usage_of: usage_of_async,
        keeps: Keeps::Creates,
        ..compatible::chat("/async/chat/completions")
    },
    state(Get, "/async/chat/completions", Keeps::List),
    Endpoint {
        verb: Get,
        class: Class::State,
        keeps: Keeps::Item,
        collect: collect_async,
        glance: |_| Glance::Telling,
        request_facts: |evidence, _| {
            evidence.request.insert("poll", true);
        },
        usage_of: usage_of_async,
        ..compatible::chat("/async/chat/completions/{id}")
    },
    Endpoint {
        path: "/search",
        kind: Kind::Other,
        is_read: true,
        glance: |_| Glance::Telling,
        collect: collect_search,
        usage_of: usage_of_search,
        ..Endpoint::DEFAULT
    },
    openai::embeddings("/v1/embeddings"),
    openai::embeddings("/v1/contextualizedembeddings"),
    agent("/v1/agent"),
    agent("/v1/responses"),
    Endpoint {
        usage_of: agent_usage_of,
        ..openai::stored_response(Get, "/v1/responses/{id}")
    },
    openai::responses("/v1/decisions", Keeps::Nothing),
    state_unread(
        Post,
        "/v1/responses/{id}/cancel",
        Keeps::Item,
        Kind::Responses,
    ),
    state(Post, "/v1/files", Keeps::Creates),
    state(Get, "/v1/files", Keeps::List),
    state(Get, "/v1/files/{id}", Keeps::Item),
    state(Delete, "/v1/files/{id}", Keeps::Item),
    free(Get, "/v1/models"),
];

const fn sonar(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: sonar_usage_of,
        ..compatible::chat(path)
    }
}

/// An answer of the agent, which searches by itself, under either name of its API.
const fn agent(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of: agent_usage_of,
        ..openai::responses(path, Keeps::Creates)
    }
}

/// Deep research counts its reasoning and what it cited beside completion and prompt, and is billed by
/// the search.
const DEEP_RESEARCH: &str = "deep-research";

fn sonar_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = chat::usage_of(evidence);
    let Some(object) = evidence.object("usage") else {
        return draft;
    };
    let Some(line) = draft.lines.first_mut() else {
        return draft;
    };
    let mut counted = Counted::new(object);
    let queries = counted.count(&["num_search_queries"]);
    let size = object
        .get("search_context_size")
        .and_then(Json::str)
        .filter(|size| !size.is_empty());
    if line.model.contains(DEEP_RESEARCH) {
        let cited = counted.count(&["citation_tokens"]).unwrap_or(0);
        let counts = [
            (
                Meter::InputTokens,
                counted
                    .count(&["prompt_tokens"])
                    .map(|prompt| prompt.saturating_add(cited)),
            ),
            (Meter::OutputTokens, counted.count(&["completion_tokens"])),
            (Meter::ReasoningTokens, counted.count(&["reasoning_tokens"])),
            (Meter::WebSearches, queries),
        ];
        for (meter, count) in counts {
            if let Some(count) = count {
                line.usage.set(meter, count);
            }
        }
        draft.reason = counted.is_clamped.then_some(compatible::CLAMPED);
    } else if let Some(size) = size {
        // The fee of an answer that searched, however often it did.
        line.usage.set(Meter::WebSearches, 1);
        line.conditions
            .insert("search_context_size".into(), size.into_owned());
    } else if let Some(queries) = queries.filter(|count| *count > 0) {
        // Before there was a fee for an answer, each query had one.
        line.usage.set(Meter::WebSearches, queries);
    }
    so_far(evidence, draft)
}

/// What the agent's searches are called among its tools.
const SEARCHES: [&str; 2] = ["search_web", "web_search"];

/// Tokens, and how often the agent searched and ran its other tools. The tier that it repeats is that of
/// the model's own vendor and changes none of its prices.
fn agent_usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = responses::usage_of(evidence);
    for line in &mut draft.lines {
        line.conditions.remove("service_tier");
    }
    let tools = evidence
        .object("usage")
        .and_then(|object| object.get("tool_calls_details"));
    let (Some(tools), UsageSource::Reported) = (tools, draft.source) else {
        return draft;
    };
    let mut searches: u64 = 0;
    for (name, tool) in tools.members() {
        let calls = Counted::new(tool).count(&["invocation"]);
        let Some(calls) = calls.filter(|calls| *calls > 0) else {
            continue;
        };
        if SEARCHES.contains(&&*name) {
            searches = searches.saturating_add(calls);
            continue;
        }
        let mut line = Line {
            model: facts::model(evidence),
            usage: Usage::from_iter([(Meter::ToolCalls, calls.into())]),
            ..Line::default()
        };
        line.conditions.insert("tool".into(), name.into_owned());
        draft.lines.push(line);
    }
    if let Some(line) = draft.lines.first_mut().filter(|_| searches > 0) {
        line.usage.set(Meter::WebSearches, searches);
    }
    draft
}

/// Usage grows from chunk to chunk: of a stream that broke off it is what was counted so far.
fn so_far(evidence: &Evidence, draft: UsageDraft) -> UsageDraft {
    let is_whole = evidence.counts.is_complete && !facts::is_set(evidence, "error");
    if is_whole || draft.source != UsageSource::Reported {
        return draft;
    }
    let low = draft.lines[0].usage.clone();
    let mut high = low.clone();
    let counted = compatible::whole(&low, Meter::OutputTokens).unwrap_or(0);
    high.set(
        Meter::OutputTokens,
        facts::output_high(evidence).max(counted),
    );
    UsageDraft {
        source: UsageSource::Partial,
        reason: Some(facts::CUT),
        low: Some(low),
        high: Some(high),
        ..draft
    }
}

/// A job: its own id and status around the answer, once there is one.
fn collect_async(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["id", "status", "model", "response", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    let [id, status, model, response, error] = picked.members;
    if let Some(response) = response.filter(|raw| raw.get().starts_with('{')) {
        let inner = Frame {
            origin: frame.origin,
            data: response.bytes(),
        };
        chat::collect(&inner, evidence);
    }
    evidence.response.insert("finished", true);
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "status_text", status);
    if is_present(error) {
        evidence.response.insert("error", true);
    }
}

fn usage_of_async(evidence: &Evidence) -> UsageDraft {
    if evidence.object("usage").is_some() {
        return sonar_usage_of(evidence);
    }
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let status = evidence.response_text("status_text");
    let is_poll = evidence.request.is_set("poll");
    let (source, reason) = match status {
        Some("CREATED" | "IN_PROGRESS") if is_poll => (UsageSource::None, "not_finished"),
        Some("CREATED" | "IN_PROGRESS") => (UsageSource::Pending, "asynchronous"),
        Some("FAILED") => (UsageSource::None, "failed"),
        _ => return facts::missing(facts::why_no_usage(evidence), None, None),
    };
    UsageDraft {
        source,
        reason: Some(reason),
        ..UsageDraft::default()
    }
}

fn collect_search(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some(picked) = pick(frame.data, ["id", "results", "error"]) else {
        evidence.flag(frame.origin.flag_of_invalid_json());
        return;
    };
    keep_response_text(evidence, "id", picked.members[0]);
    evidence.response.insert("finished", true);
    evidence
        .response
        .insert("has_results", is_present(picked.members[1]));
}

/// A search is billed by the request.
fn usage_of_search(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    let one = |count: u64| Usage::from_iter([(Meter::Searches, count.into())]);
    if facts::is_set(evidence, "has_results") {
        return UsageDraft {
            lines: vec![Line {
                model: "search".into(),
                usage: one(1),
                ..Line::default()
            }],
            source: UsageSource::Measured,
            reason: None,
            low: Some(one(1)),
            high: Some(one(1)),
        };
    }
    facts::missing(facts::why_no_usage(evidence), Some(one(0)), Some(one(1)))
}
