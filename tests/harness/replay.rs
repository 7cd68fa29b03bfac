//! An upstream that answers as the vendors do, writes down every call it saw, and misbehaves on
//! request: the header `x-replay` names how, `x-replay-id` is the test's own name for the call.
//!
//! Invariants: a call stands in the truth log before a byte of its answer leaves; `is_written` is
//! set only after the last byte was given to the socket.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::Result;
use crate::wire::{Connection, Headers, Message, header};

/// One call as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The test's name for it; empty when it gave none.
    pub id: String,
    /// Method, path and query.
    pub line: String,
    /// All headers that arrived.
    pub headers: Headers,
    /// The body that arrived.
    pub body: Vec<u8>,
    /// The id in the answer.
    pub response_id: String,
    /// What it reports as fresh input.
    pub input_tokens: u64,
    /// What it reports as output.
    pub output_tokens: u64,
    /// Whether the whole answer was written.
    pub is_written: bool,
}

/// A running upstream with its truth log.
#[derive(Clone)]
pub struct Replay {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    released: Arc<(Mutex<HashSet<String>>, Notify)>,
}

impl Replay {
    /// Starts one on a free port of the present runtime.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let replay = Self {
            address: listener.local_addr()?,
            calls: Arc::default(),
            released: Arc::default(),
        };
        let serving = replay.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    // A caller that goes away shows in the truth log as an answer not written.
                    let _ = socket.set_nodelay(true);
                    let _ = serving.converse(Connection::new(Box::new(socket))).await;
                });
            }
        });
        Ok(replay)
    }

    /// Everything seen so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many calls were seen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// The one call with this id.
    #[must_use]
    pub fn call(&self, id: &str) -> Option<Call> {
        self.calls().into_iter().find(|call| call.id == id)
    }

    /// Lets the call with this id, which asked to be held or paused, go on; now or when it comes.
    pub fn release(&self, id: &str) {
        let (ids, changed) = &*self.released;
        ids.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned());
        changed.notify_waiters();
    }

    async fn wait_for_release(&self, id: &str) {
        let (ids, changed) = &*self.released;
        loop {
            let change = changed.notified();
            if ids
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(id)
            {
                return;
            }
            change.await;
        }
    }

    async fn converse(&self, mut connection: Connection) -> Result<()> {
        while let Some(request) = connection.request().await? {
            let (number, call) = self.note(&request);
            let manner = header(&call.headers, "x-replay")
                .unwrap_or_default()
                .to_owned();
            if !self.answer(&mut connection, &call, &manner).await? {
                return Ok(());
            }
            if let Some(call) = self
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(number)
            {
                call.is_written = true;
            }
        }
        Ok(())
    }

    fn note(&self, request: &Message) -> (usize, Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.len();
        let call = Call {
            id: request.header("x-replay-id").unwrap_or_default().to_owned(),
            line: request.start.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            response_id: format!("replay-{}", uuid::Uuid::now_v7().simple()),
            input_tokens: 100 + number as u64 % 50,
            output_tokens: 20 + number as u64 % 30,
            is_written: false,
        };
        calls.push(call.clone());
        (number, call)
    }

    /// Writes the answer; false when the connection is to be closed without a whole one.
    async fn answer(&self, connection: &mut Connection, call: &Call, manner: &str) -> Result<bool> {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let is_stream = body.get("stream") == Some(&Value::Bool(true));
        let events = events(call, &body);
        match manner {
            "close" => return Ok(false),
            "hold" => self.wait_for_release(&call.id).await,
            "refuse" => {
                let error = json!({"error": {"message": "upstream says slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}});
                write_json(
                    connection,
                    "429 Too Many Requests",
                    "retry-after: 7\r\n",
                    &error,
                )
                .await?;
                return Ok(true);
            }
            "fail" => {
                let error =
                    json!({"error": {"message": "upstream is ill", "type": "server_error"}});
                write_json(connection, "500 Internal Server Error", "", &error).await?;
                return Ok(true);
            }
            "both-lengths" => {
                connection
                    .write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
                    .await?;
                return Ok(false);
            }
            "bad-chunk" => {
                connection
                    .write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
                    .await?;
                return Ok(false);
            }
            "short" => {
                connection
                    .write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":")
                    .await?;
                return Ok(false);
            }
            _ => {}
        }
        if !is_stream {
            let usage_free = manner == "no-usage";
            write_json(
                connection,
                "200 OK",
                "x-request-id: req-replay\r\n",
                &whole(call, &body, usage_free),
            )
            .await?;
            return Ok(true);
        }
        connection
            .write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req-replay\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        let gap = header(&call.headers, "x-replay-gap-ms")
            .and_then(|text| text.parse().ok())
            .map(Duration::from_millis);
        for (number, event) in events.iter().enumerate() {
            match manner {
                "cut" if number == 3 => return Ok(false),
                "pause" if number == 3 => self.wait_for_release(&call.id).await,
                "error-event" if number == 3 => {
                    write_chunk(connection, &error_event(&call.line)).await?;
                    connection.write(b"0\r\n\r\n").await?;
                    return Ok(true);
                }
                _ => {}
            }
            write_chunk(connection, event).await?;
            if let Some(gap) = gap {
                tokio::time::sleep(gap).await;
            }
        }
        connection.write(b"0\r\n\r\n").await?;
        Ok(true)
    }
}

async fn write_json(
    connection: &mut Connection,
    status: &str,
    headers: &str,
    body: &Value,
) -> Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write(format!("{head}{body}").as_bytes()).await
}

async fn write_chunk(connection: &mut Connection, event: &str) -> Result<()> {
    connection
        .write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
        .await
}

fn model(body: &Value, otherwise: &str) -> String {
    body.get("model")
        .and_then(Value::as_str)
        .unwrap_or(otherwise)
        .to_owned()
}

fn openai_usage(call: &Call) -> Value {
    json!({
        "prompt_tokens": call.input_tokens,
        "completion_tokens": call.output_tokens,
        "total_tokens": call.input_tokens + call.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

/// The answer to a request that asked for no stream.
fn whole(call: &Call, body: &Value, usage_free: bool) -> Value {
    if call.line.contains("/v1/messages") {
        return json!({
            "id": call.response_id, "type": "message", "role": "assistant", "model": model(body, "claude-sonnet-4-6"),
            "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": call.input_tokens, "output_tokens": call.output_tokens,
                      "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard"},
        });
    }
    if call.line.contains("/v1/listen") {
        return json!({
            "metadata": {"request_id": call.response_id, "created": "2026-11-22T00:00:00.000Z", "duration": 25.933313,
                         "channels": 1, "models": ["m1"],
                         "model_info": {"m1": {"name": "general-nova-3", "version": "2026-01-01.0", "arch": "nova-3"}}},
            "results": {"channels": [{"alternatives": [{"transcript": "hi", "confidence": 0.99, "words": []}]}]},
        });
    }
    let mut answer = json!({
        "id": call.response_id, "object": "chat.completion", "created": 1_790_000_000, "model": model(body, "gpt-4o-mini"),
        "service_tier": "default",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": openai_usage(call),
    });
    if usage_free && let Some(fields) = answer.as_object_mut() {
        fields.remove("usage");
    }
    answer
}

/// The answer to a request for a stream, event by event.
fn events(call: &Call, body: &Value) -> Vec<String> {
    if call.line.contains("/v1/messages") {
        return anthropic_events(call, body);
    }
    let asks_for_usage = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": call.response_id, "object": "chat.completion.chunk", "created": 1_790_000_000,
            "model": model(body, "gpt-4o-mini"), "service_tier": "default", "choices": choices,
        });
        if let (Some(usage), Some(fields)) = (usage, chunk.as_object_mut()) {
            fields.insert("usage".to_owned(), usage);
        }
        format!("data: {chunk}\n\n")
    };
    let empty = asks_for_usage.then_some(Value::Null);
    let mut events: Vec<String> = (0..6)
        .map(|n| chunk(json!([{"index": 0, "delta": {"content": format!("word{n} ")}, "finish_reason": null}]), empty.clone()))
        .collect();
    events.push(chunk(
        json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        empty,
    ));
    if asks_for_usage {
        events.push(chunk(json!([]), Some(openai_usage(call))));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn anthropic_events(call: &Call, body: &Value) -> Vec<String> {
    let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    let mut events = vec![
        event(
            "message_start",
            json!({"type": "message_start", "message": {
                "id": call.response_id, "type": "message", "role": "assistant", "model": model(body, "claude-sonnet-4-6"),
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": call.input_tokens, "output_tokens": 1,
                          "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard"}}}),
        ),
        event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    events.extend((0..4).map(|n| {
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": format!("word{n} ")}}))
    }));
    events.extend([
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event(
            "message_delta",
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                   "usage": {"output_tokens": call.output_tokens}}),
        ),
        event("message_stop", json!({"type": "message_stop"})),
    ]);
    events
}

fn error_event(line: &str) -> String {
    if line.contains("/v1/messages") {
        return "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n".to_owned();
    }
    "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"code\":null}}\n\n".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Request;

    fn chat(is_stream: bool, manner: &str) -> Request {
        let body = format!(
            r#"{{"model":"m","stream":{is_stream},"stream_options":{{"include_usage":true}}}}"#
        );
        Request::post("/v1/chat/completions", body)
            .with("x-replay", manner)
            .with("x-replay-id", manner)
    }

    #[tokio::test]
    async fn answers_and_writes_down_what_it_answered() {
        let replay = Replay::start().await.unwrap();
        let mut connection = Connection::open(replay.address).await.unwrap();
        let answer = connection.send(&chat(false, "plain")).await.unwrap();
        let call = replay.call("plain").unwrap();
        assert_eq!((answer.status(), answer.is_whole), (200, true));
        assert_eq!(
            answer.json()["usage"]["prompt_tokens"].to_string(),
            call.input_tokens.to_string()
        );
        let stream = connection.send(&chat(true, "stream")).await.unwrap();
        assert!(stream.is_whole && stream.text().ends_with("data: [DONE]\n\n"));
        assert!(stream.text().contains(&format!(
            "\"prompt_tokens\":{}",
            replay.call("stream").unwrap().input_tokens
        )));
        assert_eq!(replay.count(), 2);
    }

    #[tokio::test]
    async fn misbehaves_as_told() {
        let replay = Replay::start().await.unwrap();
        let send =
            async |request: Request| Connection::open(replay.address).await?.send(&request).await;
        assert!(!send(chat(true, "cut")).await.unwrap().is_whole);
        assert!(!send(chat(false, "short")).await.unwrap().is_whole);
        assert!(send(chat(false, "close")).await.is_err());
        assert_eq!(send(chat(false, "refuse")).await.unwrap().status(), 429);
        assert!(
            send(chat(true, "error-event"))
                .await
                .unwrap()
                .text()
                .contains("\"error\"")
        );
        assert!(!replay.call("cut").unwrap().is_written);
        replay.release("hold");
        assert_eq!(send(chat(false, "hold")).await.unwrap().status(), 200);
    }
}
