//! Answers of vendors that lie, stumble or change their mind: whatever a body does to its counts, its row says
//! how they are known. None is a reported zero that nobody reported.

use std::net::SocketAddr;

use farebox_tests::measure::Family;
use farebox_tests::wire::{Connection, Request, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Result, fresh, text, with_key};

mod framed;
mod sockets;

/// What was asked, of whom, and the answer to it: type, further headers, body.
struct Case {
    name: &'static str,
    path: &'static str,
    request: &'static str,
    content_type: &'static str,
    headers: &'static str,
    answer: Vec<u8>,
    /// Source, reason and quantities of its row.
    told: (&'static str, &'static str, Value),
}

/// How much the proxy's resident memory may grow over all of it, whatever comes.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

const CHAT: &str = r#"{"model":"gpt-4o-mini","messages":[]}"#;
const STREAM: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const BEYOND: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":18000000000000000000,"messages":[]}"#;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn case(
    name: &'static str,
    (path, request): (&'static str, &'static str),
    content_type: &'static str,
    answer: impl Into<Vec<u8>>,
    told: (&'static str, &'static str, Value),
) -> Case {
    Case {
        name,
        path,
        request,
        content_type,
        headers: "",
        answer: answer.into(),
        told,
    }
}

fn cases() -> Vec<Case> {
    let openai = ("/openai/v1/chat/completions", CHAT);
    let streamed = ("/openai/v1/chat/completions", STREAM);
    let claude = (
        "/anthropic/v1/messages",
        r#"{"model":"claude-opus-5-5","max_tokens":9,"messages":[]}"#,
    );
    let gemini = (
        "/gemini/v1beta/models/gemini-3.8-flash:generateContent",
        r#"{"contents":[]}"#,
    );
    let deepgram = (
        "/deepgram/v1/listen?model=nova-3",
        r#"{"url":"https://e.com/a.wav"}"#,
    );
    let with = |usage: &str| {
        format!(
            r#"{{"id":"h","model":"gpt-4o-mini","choices":[{{"message":{{"content":"x"}}}}],"usage":{usage}}}"#
        )
    };
    let nothing = || json!({});
    let mut cases = vec![
        case(
            "an empty usage",
            openai,
            JSON,
            with("{}"),
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "counts as texts",
            openai,
            JSON,
            with(r#"{"prompt_tokens":"12","completion_tokens":"3"}"#),
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "counts of null",
            openai,
            JSON,
            with(r#"{"prompt_tokens":null,"completion_tokens":null}"#),
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "a usage taken back",
            openai,
            JSON,
            with(r#"{"prompt_tokens":12,"completion_tokens":3},"usage":null"#),
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "one count of two",
            openai,
            JSON,
            with(r#"{"prompt_tokens":12}"#),
            (
                "partial",
                "output_not_reported",
                json!({"input_tokens":"12"}),
            ),
        ),
        case(
            "a count beyond all",
            openai,
            JSON,
            with(r#"{"prompt_tokens":1000000000000000,"completion_tokens":3}"#),
            ("missing", "quantity_too_large", nothing()),
        ),
        case(
            "a count beyond numbers",
            openai,
            JSON,
            with(r#"{"prompt_tokens":1e300,"completion_tokens":3}"#),
            (
                "partial",
                "input_not_reported",
                json!({"input_tokens":"9","output_tokens":"3"}),
            ),
        ),
        case(
            "a count in quotes",
            openai,
            JSON,
            with(
                r#"{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":"4"}}"#,
            ),
            (
                "partial",
                "count_not_read",
                json!({"input_tokens":"12","output_tokens":"3"}),
            ),
        ),
        case(
            "a count below zero",
            openai,
            JSON,
            with(r#"{"prompt_tokens":-12,"completion_tokens":3}"#),
            (
                "reported",
                "negative_clamped",
                json!({"input_tokens":"0","output_tokens":"3"}),
            ),
        ),
        case(
            "an error under 200",
            openai,
            JSON,
            r#"{"error":{"message":"x"}}"#,
            ("missing", "error_in_answer", nothing()),
        ),
        case(
            "a stream whose usage is empty",
            streamed,
            EVENTS,
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n",
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "a maximum beyond all",
            ("/openai/v1/chat/completions", BEYOND),
            EVENTS,
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            (
                "estimated",
                "cut_before_usage",
                json!({"input_tokens":"34","output_tokens":"1"}),
            ),
        ),
        case(
            "no JSON at all",
            openai,
            JSON,
            "<html>fine</html>",
            ("missing", "answer_not_read", nothing()),
        ),
        Case {
            headers: "content-encoding: gzip\r\n",
            ..case(
                "a body that is not what it is coded in",
                openai,
                JSON,
                with(r#"{"prompt_tokens":12,"completion_tokens":3}"#),
                ("missing", "answer_not_read", nothing()),
            )
        },
        case(
            "messages without counts",
            claude,
            JSON,
            r#"{"id":"m","type":"message","model":"claude-opus-5-5","usage":{}}"#,
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "contents without counts",
            gemini,
            JSON,
            r#"{"candidates":[{"content":{}}],"usageMetadata":{}}"#,
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "a length as a text",
            deepgram,
            JSON,
            r#"{"metadata":{"request_id":"r","duration":"4.5","channels":1},"results":{}}"#,
            ("missing", "no_usage_in_answer", nothing()),
        ),
        case(
            "credits that are no number",
            (
                "/elevenlabs/v1/text-to-speech/v",
                r#"{"text":"Hi","model_id":"eleven_v3"}"#,
            ),
            "audio/mpeg",
            "ID3",
            ("measured", "", json!({"characters":"2"})),
        ),
    ];
    cases.extend(framed::cases());
    cases
}

/// Answers each call with the case that its header names.
async fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(socket));
                let cases = cases();
                while let Some(request) = connection.request().await? {
                    let name = header(&request.headers, "x-case").unwrap_or_default();
                    let case = cases
                        .iter()
                        .find(|case| case.name == name)
                        .ok_or("no such case")?;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: {}\r\n{}content-length: {}\r\n\r\n",
                        case.content_type,
                        case.headers,
                        case.answer.len(),
                    );
                    connection.write(head.as_bytes()).await?;
                    connection.write(&case.answer).await?;
                }
                Result::Ok(())
            });
        }
    });
    Ok(address)
}

#[tokio::test]
async fn no_answer_makes_a_quantity_silently_zero() -> Result {
    let base_url = format!("http://{}", upstream().await?);
    let vendors = [
        "openai",
        "anthropic",
        "gemini",
        "deepgram",
        "elevenlabs",
        "bedrock",
    ];
    let names = vendors.map(|vendor| {
        ["base_url", "credential_env"].map(|member| format!("upstreams.{vendor}.{member}"))
    });
    let settings: Vec<(&str, &str)> = names
        .iter()
        .flat_map(|[url, credential]| {
            [
                (url.as_str(), base_url.as_str()),
                (credential, "REPLAY_CREDENTIAL"),
            ]
        })
        .collect();
    let (mut stack, key) = with_key(&settings).await?;
    let proxy = Family::of(stack.proxy()?.pid());
    let before = proxy.peak_resident_bytes()?;
    let run = fresh("hostile");
    let mut wrong = Vec::new();
    for case in cases() {
        let id = format!("{run} {}", case.name);
        let call = Request::post(case.path, case.request)
            .bearer(&key.secret)
            .with("content-type", JSON)
            .with("x-case", case.name)
            // More than a row can hold.
            .with("x-stainless-retry-count", "4294967295")
            .with("x-farebox-session", &id);
        let answer = stack.send(&call).await?;
        assert_eq!(answer.status(), 200, "{}", case.name);
        assert!(answer.body == case.answer, "{}", case.name);
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        let usage = rows[0]["usage"].clone();
        let told = (
            text(&rows[0], "usage_source"),
            text(&rows[0], "usage_reason"),
            usage,
        );
        let (source, reason, quantities) = case.told;
        if told != (source.to_owned(), reason.to_owned(), quantities) {
            wrong.push(format!("{}: {told:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let grown = proxy.peak_resident_bytes()?.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the proxy grew by {grown} bytes");
    Ok(())
}
