//! The OpenAI side: `/v1/chat/completions` as JSON and as a stream, and the list of models.
//!
//! A stream carries usage only when `stream_options.include_usage` asks for it, exactly as the
//! vendor documents: `usage: null` on every chunk, then a last one without choices.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Behaviour};
use super::truth::{Served, meters};
use super::words::{Seed, text_tokens, words};

/// `created` of everything it serves: an answer follows from the request alone.
const CREATED: u64 = 1_790_000_000;
/// Prompts of fewer tokens are never cached, as the vendor documents.
const CACHE_TOKENS_MIN: u64 = 1_024;
const MODELS: &[&str] = &[
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5-mini",
    "gpt-6-sol",
];

pub(super) fn error(status: u16, message: &str) -> Answer {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        404 => ("invalid_request_error", json!("not_found")),
        429 => ("requests", json!("rate_limit_exceeded")),
        400..500 => ("invalid_request_error", Value::Null),
        _ => ("server_error", Value::Null),
    };
    Answer::json(
        status,
        &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
    )
    .with_header("x-request-id", "req_simulated")
}

pub(super) fn models() -> Answer {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "simulated"}))
        .collect();
    Answer::json(200, &json!({"object": "list", "data": models}))
}

/// What the call is billed for, decided before a byte of the wire is written.
struct Counts {
    fresh: u64,
    cached: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

impl Counts {
    fn of(request: &Value, model: &str, output: u64, seed: &Seed) -> Self {
        let messages = request.get("messages").and_then(Value::as_array);
        let prompt = 3
            + messages
                .into_iter()
                .flatten()
                .map(message_tokens)
                .sum::<u64>()
            + request
                .get("tools")
                .map_or(0, |tools| text_tokens(&tools.to_string()));
        // Whole blocks of 128, as the vendor caches; the rest of a long prompt is written where the
        // model bills writes.
        let cached = if prompt >= CACHE_TOKENS_MIN {
            prompt / 256 * 128
        } else {
            0
        };
        let writes_are_billed = model.starts_with("gpt-6") || model.starts_with("gpt-5.6");
        let cache_write = if writes_are_billed { cached / 2 } else { 0 };
        let reasons = ["gpt-5", "gpt-6", "o1", "o3", "o4"]
            .iter()
            .any(|family| model.starts_with(family));
        Self {
            fresh: prompt - cached - cache_write,
            cached,
            cache_write,
            output,
            reasoning: if reasons { 32 + seed.below(4) * 32 } else { 0 },
        }
    }

    fn wire(&self) -> Value {
        let prompt = self.fresh + self.cached + self.cache_write;
        let completion = self.output + self.reasoning;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": self.cached,
                "cache_write_tokens": self.cache_write,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }

    fn meters(&self) -> BTreeMap<&'static str, String> {
        meters([
            ("input_tokens", self.fresh),
            ("cache_read_tokens", self.cached),
            ("cache_write_tokens", self.cache_write),
            ("output_tokens", self.output),
            ("reasoning_tokens", self.reasoning),
        ])
    }
}

fn message_tokens(message: &Value) -> u64 {
    let content = match message.get("content") {
        Some(Value::String(text)) => text_tokens(text),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .map(text_tokens)
            .sum(),
        _ => 0,
    };
    content + 4
}

/// `POST /v1/chat/completions`.
pub(super) fn chat(body: &Bytes, behaviour: &Behaviour) -> Answer {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return error(400, "We could not parse the JSON body of your request.");
    };
    let Some(model) = request.get("model").and_then(Value::as_str) else {
        return error(400, "you must provide a model parameter");
    };
    if !request.get("messages").is_some_and(Value::is_array) {
        return error(400, "Missing required parameter: 'messages'.");
    }
    let seed = Seed::of(body);
    let id = format!("chatcmpl-{}", seed.unique_id());
    let pieces = match called_tool(&request) {
        Some(name) => Reply::ToolCall(name),
        None => Reply::Text(words(&seed, behaviour.chunks)),
    };
    let counts = Counts::of(&request, model, pieces.tokens(), &seed);
    let tier = match request.get("service_tier").and_then(Value::as_str) {
        Some("fast" | "priority") => "priority",
        Some("flex") => "flex",
        _ => "default",
    };
    let served = Served {
        provider: "openai",
        model: model.to_owned(),
        response_id: id.clone(),
        conditions: BTreeMap::from([("service_tier", tier.to_owned())]),
        usage: counts.meters(),
        is_finished: false,
    };
    let is_stream = request.get("stream").and_then(Value::as_bool) == Some(true);
    let answer = if is_stream {
        let asks_for_usage = request
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            == Some(true);
        let usage = asks_for_usage.then(|| counts.wire());
        Answer::events(stream(&id, model, tier, &pieces, usage))
    } else {
        Answer::json(
            200,
            &json!({
                "id": id,
                "object": "chat.completion",
                "created": CREATED,
                "model": model,
                "service_tier": tier,
                "choices": [{
                    "index": 0,
                    "message": pieces.message(),
                    "logprobs": null,
                    "finish_reason": pieces.finish_reason(),
                }],
                "usage": counts.wire(),
            }),
        )
    };
    answer
        .with_header("x-request-id", &format!("req_{}", seed.hex()))
        .with_header("openai-processing-ms", "1")
        .serving(served)
}

/// The tool that the answer calls: the first one offered, unless the caller forbids it or the last
/// message already holds a tool's result.
fn called_tool(request: &Value) -> Option<String> {
    if request.get("tool_choice").and_then(Value::as_str) == Some("none") {
        return None;
    }
    let last = request.get("messages")?.as_array()?.last()?;
    if last.get("role").and_then(Value::as_str) == Some("tool") {
        return None;
    }
    let tool = request.get("tools")?.as_array()?.first()?;
    Some(tool.pointer("/function/name")?.as_str()?.to_owned())
}

enum Reply {
    Text(Vec<String>),
    ToolCall(String),
}

/// Arguments of every simulated tool call, in the pieces of a stream.
const ARGUMENTS: [&str; 2] = ["{\"simulated\":", "true}"];
const CALL_ID: &str = "call_simulated";

impl Reply {
    fn tokens(&self) -> u64 {
        match self {
            Self::Text(words) => words.len() as u64,
            Self::ToolCall(name) => 8 + text_tokens(name),
        }
    }

    fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text(_) => "stop",
            Self::ToolCall(_) => "tool_calls",
        }
    }

    fn message(&self) -> Value {
        match self {
            Self::Text(words) => {
                json!({"role": "assistant", "content": words.concat(), "refusal": null, "annotations": []})
            }
            Self::ToolCall(name) => json!({
                "role": "assistant",
                "content": null,
                "refusal": null,
                "tool_calls": [{
                    "id": CALL_ID,
                    "type": "function",
                    "function": {"name": name, "arguments": ARGUMENTS.concat()},
                }],
            }),
        }
    }

    /// The deltas between the first one, which opens the message, and the finish.
    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Text(words) => words.iter().map(|word| json!({"content": word})).collect(),
            Self::ToolCall(name) => {
                let mut deltas = vec![json!({"tool_calls": [{
                    "index": 0,
                    "id": CALL_ID,
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }]})];
                deltas.extend(ARGUMENTS.iter().map(
                    |piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
                ));
                deltas
            }
        }
    }
}

fn stream(
    id: &str,
    model: &str,
    tier: &str,
    reply: &Reply,
    usage: Option<Value>,
) -> VecDeque<Bytes> {
    let event = |choices: Value, usage_member: Option<Value>| {
        let mut chunk = Map::new();
        chunk.insert("id".to_owned(), json!(id));
        chunk.insert("object".to_owned(), json!("chat.completion.chunk"));
        chunk.insert("created".to_owned(), json!(CREATED));
        chunk.insert("model".to_owned(), json!(model));
        chunk.insert("service_tier".to_owned(), json!(tier));
        chunk.insert("choices".to_owned(), choices);
        if let Some(usage) = usage_member {
            chunk.insert("usage".to_owned(), usage);
        }
        Bytes::from(format!("data: {}\n\n", Value::Object(chunk)))
    };
    let null_usage = || usage.as_ref().map(|_| Value::Null);
    let choice = |delta: Value, finish: Option<&str>| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let mut events = VecDeque::new();
    let opening = json!({"role": "assistant", "content": "", "refusal": null});
    events.push_back(event(choice(opening, None), null_usage()));
    for delta in reply.deltas() {
        events.push_back(event(choice(delta, None), null_usage()));
    }
    events.push_back(event(
        choice(json!({}), Some(reply.finish_reason())),
        null_usage(),
    ));
    if let Some(usage) = &usage {
        events.push_back(event(json!([]), Some(usage.clone())));
    }
    events.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: Value) -> (String, Served) {
        let answer = chat(&Bytes::from(request.to_string()), &Behaviour::default());
        (answer.text(), answer.served.clone().unwrap())
    }

    fn request(extra: Value) -> Value {
        let mut request = json!({
            "model": "gpt-6-sol",
            "messages": [{"role": "user", "content": "a question of some length ".repeat(200)}],
        });
        for (name, value) in extra.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    }

    #[test]
    fn a_stream_holds_usage_only_where_it_is_asked_for() {
        let (silent, _) = answer(request(json!({"stream": true})));
        assert!(!silent.contains("usage"), "{silent}");
        let (asked, _) = answer(request(
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ));
        let events: Vec<&str> = asked
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .collect();
        let (last, before) = events.split_last().unwrap();
        let (usage, others) = before.split_last().unwrap();
        assert_eq!(*last, "data: [DONE]");
        assert!(
            usage.contains("\"choices\":[]") && usage.contains("\"total_tokens\""),
            "{usage}"
        );
        assert!(
            others
                .iter()
                .all(|event| event.ends_with("\"usage\":null}")),
            "{others:?}"
        );
    }

    #[test]
    fn the_wires_counts_are_the_sums_of_the_disjoint_ones() {
        let (body, served) = answer(request(json!({})));
        let body: Value = serde_json::from_str(&body).unwrap();
        let wire = |path: &str| body.pointer(path).unwrap().as_u64().unwrap();
        let meter = |name: &str| served.usage[name].parse::<u64>().unwrap();
        assert_eq!(
            wire("/usage/prompt_tokens"),
            meter("input_tokens") + meter("cache_read_tokens") + meter("cache_write_tokens")
        );
        assert_eq!(
            wire("/usage/completion_tokens"),
            meter("output_tokens") + meter("reasoning_tokens")
        );
        assert!(meter("cache_read_tokens") > 0 && meter("cache_write_tokens") > 0);
    }

    #[test]
    fn a_tool_is_called_once_and_its_result_is_answered_in_words() {
        let tools = json!([{"type": "function", "function": {"name": "look_up"}}]);
        let (called, _) = answer(request(json!({ "tools": tools })));
        assert!(called.contains("\"name\":\"look_up\"") && called.contains("tool_calls"));
        let messages = json!([{"role": "tool", "tool_call_id": CALL_ID, "content": "found"}]);
        let (answered, _) = answer(request(json!({"tools": tools, "messages": messages})));
        assert!(
            answered.contains("\"finish_reason\":\"stop\""),
            "{answered}"
        );
    }
}
