//! The Anthropic side: `/v1/messages` as JSON and as a stream, token counting, the list of models.
//!
//! Blocks with `cache_control` are written to the cache of the time they name on the first turn of
//! a conversation and read from it on later ones.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Behaviour};
use super::truth::{Served, meters};
use super::words::{Seed, text_tokens, words};

const MODELS: &[&str] = &["claude-haiku-4-5", "claude-opus-5-5", "claude-sonnet-5-5"];
const TOOL_USE_ID: &str = "toolu_simulated";
/// Input of every simulated tool use, in the pieces of a stream.
const INPUT: [&str; 2] = ["{\"simulated\":", "true}"];

pub(super) fn error(status: u16, message: &str) -> Answer {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    Answer::json(
        status,
        &json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": "req_simulated",
        }),
    )
    .with_header("request-id", "req_simulated")
}

pub(super) fn models() -> Answer {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|id| {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"})
        })
        .collect();
    Answer::json(
        200,
        &json!({
            "data": models,
            "has_more": false,
            "first_id": MODELS.first(),
            "last_id": MODELS.last(),
        }),
    )
}

/// `POST /v1/messages/count_tokens`: free.
pub(super) fn count_tokens(body: &Bytes) -> Answer {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return error(400, "The request body is not valid JSON.");
    };
    let input = Input::of(&request);
    Answer::json(
        200,
        &json!({"input_tokens": input.fresh + input.write_5m + input.write_1h + input.read}),
    )
}

/// Disjoint input counts.
#[derive(Default)]
struct Input {
    fresh: u64,
    write_5m: u64,
    write_1h: u64,
    read: u64,
}

impl Input {
    fn of(request: &Value) -> Self {
        let messages = request.get("messages").and_then(Value::as_array);
        let is_later_turn = messages
            .into_iter()
            .flatten()
            .any(|message| message.get("role").and_then(Value::as_str) == Some("assistant"));
        let mut input = Self {
            fresh: 4,
            ..Self::default()
        };
        input.add(request.get("system"), is_later_turn);
        for message in messages.into_iter().flatten() {
            input.add(message.get("content"), is_later_turn);
        }
        for tool in request
            .get("tools")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            input.fresh += text_tokens(&tool.to_string());
        }
        input
    }

    fn add(&mut self, content: Option<&Value>, is_later_turn: bool) {
        match content {
            Some(Value::String(text)) => self.fresh += text_tokens(text),
            Some(Value::Array(blocks)) => {
                for block in blocks {
                    let text = block
                        .get("text")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    let tokens = text_tokens(text);
                    match block.get("cache_control") {
                        None | Some(Value::Null) => self.fresh += tokens,
                        Some(_) if is_later_turn => self.read += tokens,
                        Some(control) => {
                            if control.get("ttl").and_then(Value::as_str) == Some("1h") {
                                self.write_1h += tokens;
                            } else {
                                self.write_5m += tokens;
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn wire(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.fresh,
            "cache_creation_input_tokens": self.write_5m + self.write_1h,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.write_5m,
                "ephemeral_1h_input_tokens": self.write_1h,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        })
    }
}

/// `POST /v1/messages`.
pub(super) fn messages(body: &Bytes, behaviour: &Behaviour) -> Answer {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return error(400, "The request body is not valid JSON.");
    };
    let Some(model) = request.get("model").and_then(Value::as_str) else {
        return error(400, "model: Field required");
    };
    if !request.get("messages").is_some_and(Value::is_array) {
        return error(400, "messages: Field required");
    }
    if !request.get("max_tokens").is_some_and(Value::is_number) {
        return error(400, "max_tokens: Field required");
    }
    let seed = Seed::of(body);
    let id = format!("msg_{}", seed.unique_id());
    let input = Input::of(&request);
    let tools = Tools::of(&request);
    let reply = match &tools.called {
        Some(name) => Reply::ToolUse(name.clone()),
        None => Reply::Text(words(&seed, behaviour.chunks)),
    };
    let is_thinking = request.pointer("/thinking/type").and_then(Value::as_str) == Some("enabled");
    let thinking = if is_thinking { 48 + seed.below(64) } else { 0 };
    let output = reply.tokens();
    let end = End {
        output: output + thinking,
        thinking,
        web_searches: u64::from(tools.searches_web),
    };
    let served = Served {
        provider: "anthropic",
        model: model.to_owned(),
        response_id: id.clone(),
        conditions: BTreeMap::from([("service_tier", "standard".to_owned())]),
        usage: meters([
            ("input_tokens", input.fresh),
            ("cache_write_tokens", input.write_5m),
            ("cache_write_1h_tokens", input.write_1h),
            ("cache_read_tokens", input.read),
            ("output_tokens", output),
            ("reasoning_tokens", thinking),
            ("web_searches", end.web_searches),
        ]),
        is_finished: false,
    };
    let answer = if request.get("stream").and_then(Value::as_bool) == Some(true) {
        Answer::events(stream(&id, model, &input, &reply, &end))
    } else {
        let mut usage = input.wire(end.output);
        end.add_to(&mut usage);
        Answer::json(
            200,
            &json!({
                "id": id,
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [reply.block()],
                "stop_reason": reply.stop_reason(),
                "stop_sequence": null,
                "usage": usage,
            }),
        )
    };
    answer
        .with_header("request-id", &format!("req_{}", seed.hex()))
        .serving(served)
}

/// What the end of an answer adds to its usage.
struct End {
    output: u64,
    thinking: u64,
    web_searches: u64,
}

impl End {
    fn add_to(&self, usage: &mut Value) {
        if self.thinking > 0 {
            usage["output_tokens_details"] = json!({"thinking_tokens": self.thinking});
        }
        if self.web_searches > 0 {
            usage["server_tool_use"] =
                json!({"web_search_requests": self.web_searches, "web_fetch_requests": 0});
        }
    }
}

struct Tools {
    called: Option<String>,
    searches_web: bool,
}

impl Tools {
    fn of(request: &Value) -> Self {
        let offered = request.get("tools").and_then(Value::as_array);
        let kind = |tool: &Value| {
            tool.get("type")
                .and_then(Value::as_str)
                .unwrap_or("custom")
                .to_owned()
        };
        let searches_web = offered
            .into_iter()
            .flatten()
            .any(|tool| kind(tool).starts_with("web_search"));
        let has_result = request
            .get("messages")
            .and_then(Value::as_array)
            .and_then(|messages| messages.last()?.get("content")?.as_array())
            .is_some_and(|blocks| {
                blocks
                    .iter()
                    .any(|block| block.get("type").and_then(Value::as_str) == Some("tool_result"))
            });
        let called = offered
            .into_iter()
            .flatten()
            .find(|tool| kind(tool) == "custom")
            .and_then(|tool| tool.get("name")?.as_str())
            .filter(|_| !has_result)
            .map(str::to_owned);
        Self {
            called,
            searches_web,
        }
    }
}

enum Reply {
    Text(Vec<String>),
    ToolUse(String),
}

impl Reply {
    fn tokens(&self) -> u64 {
        match self {
            Self::Text(words) => words.len() as u64,
            Self::ToolUse(name) => 8 + text_tokens(name),
        }
    }

    fn stop_reason(&self) -> &'static str {
        match self {
            Self::Text(_) => "end_turn",
            Self::ToolUse(_) => "tool_use",
        }
    }

    fn block(&self) -> Value {
        match self {
            Self::Text(words) => json!({"type": "text", "text": words.concat()}),
            Self::ToolUse(name) => json!({
                "type": "tool_use",
                "id": TOOL_USE_ID,
                "name": name,
                "input": {"simulated": true},
            }),
        }
    }

    fn opening(&self) -> Value {
        match self {
            Self::Text(_) => json!({"type": "text", "text": ""}),
            Self::ToolUse(name) => {
                json!({"type": "tool_use", "id": TOOL_USE_ID, "name": name, "input": {}})
            }
        }
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Text(words) => words
                .iter()
                .map(|word| json!({"type": "text_delta", "text": word}))
                .collect(),
            Self::ToolUse(_) => INPUT
                .iter()
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                .collect(),
        }
    }
}

fn stream(id: &str, model: &str, input: &Input, reply: &Reply, end: &End) -> VecDeque<Bytes> {
    let event = |name: &str, data: Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    let mut events = VecDeque::new();
    events.push_back(event(
        "message_start",
        json!({"type": "message_start", "message": {
            "id": id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": input.wire(1),
        }}),
    ));
    events.push_back(event(
        "content_block_start",
        json!({"type": "content_block_start", "index": 0, "content_block": reply.opening()}),
    ));
    events.push_back(event("ping", json!({"type": "ping"})));
    for delta in reply.deltas() {
        events.push_back(event(
            "content_block_delta",
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
    }
    events.push_back(event(
        "content_block_stop",
        json!({"type": "content_block_stop", "index": 0}),
    ));
    let mut usage = json!({
        "input_tokens": input.fresh,
        "cache_creation_input_tokens": input.write_5m + input.write_1h,
        "cache_read_input_tokens": input.read,
        "output_tokens": end.output,
    });
    end.add_to(&mut usage);
    events.push_back(event(
        "message_delta",
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": reply.stop_reason(), "stop_sequence": null},
            "usage": usage,
        }),
    ));
    events.push_back(event("message_stop", json!({"type": "message_stop"})));
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(is_stream: bool, turns: &[&str]) -> Value {
        let messages: Vec<Value> = turns
            .iter()
            .map(|role| json!({"role": role, "content": "some words"}))
            .collect();
        let cached = |ttl: &str| {
            json!({
                "type": "text",
                "text": "remember this ".repeat(40),
                "cache_control": {"type": "ephemeral", "ttl": ttl},
            })
        };
        json!({
            "model": "claude-opus-5-5",
            "max_tokens": 64,
            "stream": is_stream,
            "system": [cached("5m"), cached("1h")],
            "messages": messages,
        })
    }

    fn served(request: &Value) -> (String, Served) {
        let answer = messages(&Bytes::from(request.to_string()), &Behaviour::default());
        (answer.text(), answer.served.clone().unwrap())
    }

    #[test]
    fn the_first_turn_writes_both_caches_and_a_later_one_reads_them() {
        let (_, first) = served(&request(false, &["user"]));
        assert_eq!(first.usage["cache_write_tokens"], "140");
        assert_eq!(first.usage["cache_write_1h_tokens"], "140");
        assert!(!first.usage.contains_key("cache_read_tokens"));
        let (_, later) = served(&request(false, &["user", "assistant", "user"]));
        assert_eq!(later.usage["cache_read_tokens"], "280");
        assert!(!later.usage.contains_key("cache_write_tokens"));
    }

    #[test]
    fn a_stream_begins_with_the_input_and_ends_with_the_whole_output() {
        let (text, truth) = served(&request(true, &["user"]));
        let data: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let start = &data[0]["message"]["usage"];
        assert_eq!(
            start["cache_creation"]["ephemeral_1h_input_tokens"],
            json!(140)
        );
        assert_eq!(start["output_tokens"], json!(1));
        let delta = data
            .iter()
            .find(|event| event["type"] == "message_delta")
            .unwrap();
        assert_eq!(
            delta["usage"]["output_tokens"].to_string(),
            truth.usage["output_tokens"]
        );
        assert_eq!(data.last().unwrap()["type"], "message_stop");
    }
}
