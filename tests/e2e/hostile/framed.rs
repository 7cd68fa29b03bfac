//! Answers that are framed and break their framing: AWS event streams, arrays that grow, lines without an end.

use serde_json::{Value, json};

use super::{CHAT, Case, EVENTS, JSON, STREAM, case};

const AWS: &str = "application/vnd.amazon.eventstream";
const LINES: &str = "application/x-ndjson";
const CONVERSE: (&str, &str) = (
    "/bedrock/model/us.amazon.nova-pro-v1%3A0/converse-stream",
    r#"{"messages":[],"inferenceConfig":{"maxTokens":40}}"#,
);
const ARRAY: (&str, &str) = (
    "/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent",
    r#"{"contents":[],"generationConfig":{"maxOutputTokens":40}}"#,
);
/// A stream as it should be.
const WHOLE: &[u8] = include_bytes!("../../fixtures/bedrock/stream/response.aws");
/// Where its last message, the one that counts, begins.
const COUNTS_AT: usize = 678;
/// More than a reader holds of one event, line or element.
const LONG: usize = 9 * 1024 * 1024;

/// An element with counts, and perhaps an end.
fn element(reason: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}}{reason}}}],"usageMetadata":{{"promptTokenCount":12,"candidatesTokenCount":3}}}}"#
    )
}

fn damaged(at: usize) -> Vec<u8> {
    let mut stream = WHOLE.to_vec();
    stream[at] ^= 0x10;
    stream
}

pub(super) fn cases() -> Vec<Case> {
    let unread = || ("missing", "answer_not_read", json!({}));
    let counted = || json!({"input_tokens": "12", "output_tokens": "3"});
    let so_far = || ("partial", "cut_before_usage", counted());
    let finished = element(r#","finishReason":"STOP""#);
    let long = "x".repeat(LONG);
    let mut cases = messages(unread());
    cases.extend([
        case(
            "an array that never ends",
            ARRAY,
            JSON,
            format!("[{},", element("")),
            so_far(),
        ),
        case(
            "an array of no objects",
            ARRAY,
            JSON,
            r#"[1,"a",null,[true]]"#,
            unread(),
        ),
        case(
            "an array with half an element",
            ARRAY,
            JSON,
            format!(
                r#"[{},{{"usageMetadata":{{"promptTokenCount":]"#,
                element("")
            ),
            so_far(),
        ),
        case(
            "an array behind which more comes",
            ARRAY,
            JSON,
            format!("[{finished}]<html>{finished}"),
            ("reported", "", counted()),
        ),
        case(
            "an array deeper than anything",
            ARRAY,
            JSON,
            format!("[{}", r#"{"a":["#.repeat(50_000)),
            ("missing", "no_usage_in_answer", json!({})),
        ),
        case(
            "an element without an end",
            ARRAY,
            JSON,
            format!(r#"[{{"candidates":"{long}"#),
            unread(),
        ),
        case(
            "an event without an end",
            ("/openai/v1/chat/completions", STREAM),
            EVENTS,
            format!("data: {long}"),
            unread(),
        ),
        case(
            "a line without an end",
            ("/openai/api/chat", CHAT),
            LINES,
            format!(r#"{{"model":"m","message":"{long}"#),
            unread(),
        ),
        case(
            "a body without an end",
            ("/openai/v1/chat/completions", CHAT),
            JSON,
            format!(r#"{{"choices":[{}"#, r#"{"a":["#.repeat(50_000)),
            unread(),
        ),
        case(
            "a picture that is JSON",
            ("/openai/v1/chat/completions", CHAT),
            "image/png",
            r#"{"usage":{"prompt_tokens":12,"completion_tokens":3}}"#,
            unread(),
        ),
    ]);
    cases
}

/// Streams of messages whose lengths and checksums are not what they should be.
fn messages(unread: (&'static str, &'static str, Value)) -> Vec<Case> {
    let of = |name, answer: Vec<u8>| case(name, CONVERSE, AWS, answer, unread.clone());
    let mut endless = u32::MAX.to_be_bytes().to_vec();
    endless.extend([0xff; 64]);
    vec![
        of("a message with a wrong checksum", damaged(COUNTS_AT + 200)),
        of("a message with a wrong length", damaged(COUNTS_AT + 2)),
        of("a message of four gigabytes", endless),
        of("messages that are none", vec![0; 4096]),
        of(
            "messages that are a text",
            b"data: {\"metadata\":{\"usage\":{\"inputTokens\":12,\"outputTokens\":3}}}\n\n"
                .to_vec(),
        ),
        case(
            "half a message at the end",
            CONVERSE,
            AWS,
            &WHOLE[..COUNTS_AT + 100],
            (
                "estimated",
                "cut_before_usage",
                json!({"input_tokens": "12", "output_tokens": "2"}),
            ),
        ),
    ]
}
