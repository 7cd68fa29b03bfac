//! OpenAI's Responses over a WebSocket, `/v1/responses`: the events of the streamed answer, one response
//! after the other. Each terminal event carries its response's usage and ends a part, also when a steered
//! response is followed by its successor.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft, UsageSource};

use super::realtime_socket::{KEY_PROTOCOL, cut_message};
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::providers::facts::{
    self, Counted, keep_request, keep_response_text, keep_usage, missing,
};
use crate::providers::sockets;
use crate::socket::{From, Heard, Socket, Turn};

/// `/v1/responses`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    if !heard.is_json() {
        return Turn::Goes;
    }
    let Some(picked) = pick(
        heard.data,
        ["type", "model", "max_output_tokens", "response"],
    ) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [kind, model, max_output, response] = picked.members;
    let Some(kind) = kind.and_then(text_of) else {
        return Turn::Goes;
    };
    if heard.from == From::Caller {
        if kind == "response.create" {
            let inner = response.and_then(|raw| pick_in(raw, ["model", "max_output_tokens"]));
            let [inner_model, inner_max] = inner.map_or([None; 2], |inner| inner.members);
            keep_request(evidence, "model", inner_model.or(model));
            keep_request(evidence, "max_output_tokens", inner_max.or(max_output));
            evidence.response.insert("in_progress", true);
        }
        return Turn::Goes;
    }
    match &*kind {
        "response.created" => {
            evidence.response.insert("in_progress", true);
            Turn::Goes
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            keep_terminal(evidence, response);
            Turn::Ends
        }
        "error" => {
            evidence.flag("error_message");
            // What it refuses never ran; one that fails under way says so by its terminal event.
            evidence.response.insert("in_progress", false);
            Turn::Goes
        }
        _ => {
            evidence.counts.output_frames += u64::from(kind.ends_with(".delta"));
            Turn::Goes
        }
    }
}

/// Keeps what the last event of a response says of it.
pub(super) fn keep_terminal(evidence: &mut Evidence, response: Option<Raw<'_>>) {
    const NAMES: [&str; 6] = [
        "id",
        "model",
        "service_tier",
        "status",
        "usage",
        "tool_usage",
    ];
    evidence.response.insert("in_progress", false);
    evidence.response.insert("done", true);
    let picked = response.and_then(|raw| pick_in(raw, NAMES));
    let [id, model, tier, status, usage, tools] = picked.map_or([None; 6], |picked| picked.members);
    keep_response_text(evidence, "id", id);
    keep_response_text(evidence, "model", model);
    keep_response_text(evidence, "service_tier", tier);
    keep_response_text(evidence, "response_status", status);
    keep_usage(evidence, "usage", usage);
    keep_usage(evidence, "tool_usage", tools);
}

/// The line of one response.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    if let Some(draft) = reported(evidence) {
        return draft;
    }
    if evidence.response.is_set("in_progress") || evidence.response.is_set("done") {
        let reason = if evidence.response.is_set("done") {
            "no_usage_in_answer"
        } else {
            facts::CUT
        };
        let high = facts::text_tokens(0, facts::output_high(evidence));
        return missing(reason, Some(Usage::new()), Some(high));
    }
    UsageDraft {
        source: UsageSource::None,
        reason: Some("nothing_generated"),
        ..UsageDraft::default()
    }
}

/// The usage of a terminal event, when it has one.
pub(super) fn reported(evidence: &Evidence) -> Option<UsageDraft> {
    let mut counted = Counted::new(evidence.object("usage")?);
    let input = counted.count(&["input_tokens"]);
    let output = counted.count(&["output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut usage = Usage::new();
    if let Some(input) = input {
        let mut of = |path: &[&str]| {
            let mut whole = vec!["input_tokens_details"];
            whole.extend(path);
            counted.count(&whole).unwrap_or(0)
        };
        let cached = of(&["cached_tokens"]);
        let written = of(&["cache_write_tokens"]);
        let written_12h = of(&["cache_write_tokens_details", "ttl_12h_tokens"]);
        let fresh = counted.less(input, cached.saturating_add(written));
        let written_default = counted.less(written, written_12h);
        usage.set(Meter::InputTokens, fresh);
        for (meter, quantity) in [
            (Meter::CacheReadTokens, cached),
            (Meter::CacheWriteTokens, written_default),
            (Meter::CacheWrite12hTokens, written_12h),
        ] {
            if quantity > 0 {
                usage.set(meter, quantity);
            }
        }
    }
    if let Some(output) = output {
        let reasoning = counted
            .count(&["output_tokens_details", "reasoning_tokens"])
            .unwrap_or(0);
        usage.set(Meter::OutputTokens, counted.less(output, reasoning));
        if reasoning > 0 {
            usage.set(Meter::ReasoningTokens, reasoning);
        }
    }
    let searches = evidence.object("tool_usage");
    let searches = searches.and_then(|tools| tools.at(&["web_search", "num_requests"])?.count());
    if let Some(searches) = searches.filter(|searches| *searches > 0) {
        usage.set(Meter::WebSearches, searches);
    }
    let mut conditions = Conditions::default();
    let tier = match evidence.response_text("service_tier") {
        None | Some("default" | "auto" | "standard") => None,
        // Asked for by one name and answered by the other; both are the one premium tier.
        Some("fast") => Some("priority"),
        tier => tier,
    };
    if let Some(tier) = tier {
        conditions.insert("service_tier".into(), tier.into());
    }
    let line = Line {
        model: facts::model(evidence),
        conditions,
        usage,
    };
    Some(UsageDraft {
        reason: counted.is_clamped.then_some("negative_clamped"),
        ..sockets::reported(vec![line])
    })
}
