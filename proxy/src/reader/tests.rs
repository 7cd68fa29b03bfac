//! What a reader says about answers that it cannot read whole.

use bytes::Bytes;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageSource;
use http::Method;

use super::{JSON_BODY_BYTES_MAX, Reader};
use crate::framing::aws::{self, AwsFraming};
use crate::provider::{Endpoint, ErrorText, find};

fn chat() -> &'static Endpoint {
    let provider = find("openai").expect("it is built in");
    provider
        .endpoint(&Method::POST, "/v1/chat/completions")
        .expect("it is listed")
}

fn read(content_type: Option<&str>, encoding: Option<&str>, pieces: &[&[u8]]) -> Evidence {
    let mut reader = Reader::new(chat(), Evidence::default(), 200, content_type, encoding);
    for piece in pieces {
        reader.push(&Bytes::copy_from_slice(piece));
    }
    reader.finish(true)
}

const USAGE: &[u8] = br#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;

#[test]
fn a_large_body_is_read_without_its_bulk() {
    let piece = vec![b'x'; JSON_BODY_BYTES_MAX];
    let mut pieces: Vec<&[u8]> = vec![br#"{"choices":[{"text":""#];
    pieces.extend([piece.as_slice(); 40]);
    pieces.push(br#""}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    let evidence = read(Some("application/json"), None, &pieces);
    assert!(evidence.flags.is_empty());
    let draft = (chat().usage_of)(&evidence);
    assert_eq!(draft.source, UsageSource::Reported);
}

#[test]
fn a_body_over_every_bound_is_counted_and_not_read() {
    let piece = "{},".repeat(JSON_BODY_BYTES_MAX / 3).into_bytes();
    let mut pieces: Vec<&[u8]> = vec![b"{\"list\":["];
    pieces.extend([piece.as_slice(); 20]);
    pieces.push(b"{}],\"usage\":{\"prompt_tokens\":1}}");
    let evidence = read(Some("application/json"), None, &pieces);
    assert!(evidence.has_flag("body_too_large"));
    let draft = (chat().usage_of)(&evidence);
    assert_eq!(draft.source, UsageSource::Missing);
    assert_eq!(draft.reason, Some("answer_not_read"));
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    assert_eq!(evidence.counts.response_bytes, bytes as u64);
}

#[test]
fn other_types_and_encodings_are_counted_and_not_read() {
    for (content_type, encoding, flag) in [
        (Some("audio/mpeg"), None, "unknown_type"),
        (Some("Video/MP4"), None, "unknown_type"),
        (
            Some("application/json"),
            Some("gzip, gzip"),
            "unknown_encoding",
        ),
        (Some("application/json"), Some("gzip"), "invalid_encoding"),
    ] {
        let evidence = read(content_type, encoding, &[USAGE]);
        assert!(evidence.objects.is_empty());
        assert_eq!(evidence.counts.response_bytes, USAGE.len() as u64);
        assert_eq!(evidence.flags, [flag]);
    }
    for content_type in [
        None,
        Some("application/problem+json"),
        Some("Application/JSON;x=y"),
    ] {
        assert_eq!(
            read(content_type, Some("identity"), &[USAGE]).objects.len(),
            1
        );
    }
}

#[test]
fn what_begins_like_nothing_that_is_read_is_counted_and_not_read() {
    for text in ["<html></html>", "\u{feff} \n<html>", "upstream error"] {
        for pieces in [vec![text.as_bytes()], text.as_bytes().chunks(1).collect()] {
            let evidence = read(Some("text/html"), None, &pieces);
            assert_eq!(evidence.flags, ["unknown_type"], "{text}");
            assert_eq!(evidence.counts.response_bytes, text.len() as u64);
        }
    }
    let evidence = read(Some("text/html"), None, &[b" \n"]);
    assert_eq!(evidence.flags, ["unknown_type"]);
}

#[test]
fn usage_objects_are_left_out_where_evidence_would_grow_too_large() {
    let member = |n: usize| format!("\"m{n}\":\"{}\"", "x".repeat(60));
    let members: Vec<String> = (0..400).map(member).collect();
    let body = format!("{{\"usage\":{{{}}}}}", members.join(","));
    let evidence = read(None, None, &[body.as_bytes()]);
    assert!(evidence.objects.is_empty() && evidence.has_flag("objects_dropped"));
}

#[test]
fn output_is_noticed_with_the_first_event_that_carries_some() {
    let mut reader = Reader::new(
        chat(),
        Evidence::default(),
        200,
        Some("text/event-stream"),
        None,
    );
    reader.push(&Bytes::from_static(b": hello\n\n"));
    assert!(reader.is_stream() && !reader.has_output());
    reader.push(&Bytes::from_static(
        b"data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n",
    ));
    assert!(reader.has_output());
}

#[test]
fn a_cut_speaks_the_form_of_the_answer() {
    let error = ErrorText {
        status: 429,
        code: "budget_exceeded",
        message: "Enough.",
        request_id: None,
    };
    let cut = |vendor: &str, path: &str, kind: &str, encoding: Option<&str>, begun: &[u8]| {
        let provider = find(vendor).expect("it is built in");
        let endpoint = provider
            .endpoint(&Method::POST, path)
            .expect("it is listed");
        let mut reader = Reader::new(endpoint, Evidence::default(), 200, Some(kind), encoding);
        reader.push(&Bytes::copy_from_slice(begun));
        reader.cut_event(provider, &error)
    };
    let stream = "/v1beta/models/m:streamGenerateContent";
    let event = cut("gemini", stream, "text/event-stream", None, b"data: {}\n\n").unwrap();
    assert!(event.starts_with(b"data: {\"error\":{") && event.ends_with(b"}\r\n\r\n"));

    let json = "application/json; charset=UTF-8";
    let begun = b"[{\"candidates\":[]}\n";
    let end = cut("gemini", stream, json, None, begun).unwrap();
    let whole: serde_json::Value =
        serde_json::from_slice(&[begun, end.as_slice()].concat()).unwrap();
    assert_eq!(whole[1]["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(whole[1]["error"]["details"][0]["reason"], "budget_exceeded");
    assert_eq!(
        cut("gemini", stream, json, None, b"[{\"candidates\":"),
        None
    );
    assert_eq!(cut("gemini", stream, json, Some("gzip"), b""), None);

    let path = "/model/m/converse-stream";
    let aws = "application/vnd.amazon.eventstream";
    let message = aws::event("messageStart", b"{}");
    let end = cut("bedrock", path, aws, None, &message).unwrap();
    let mut seen = Vec::new();
    let mut framing = AwsFraming::default();
    framing.push(&end, &mut |object| seen.push(object.to_vec()));
    assert_eq!(
        seen,
        [br#"{"error":{"type":"throttlingException"}}"#.to_vec()]
    );
    assert_eq!(cut("bedrock", path, aws, None, &message[..20]), None);
    assert_eq!(cut("bedrock", "/model/m/converse", json, None, b"{"), None);
}

#[test]
fn a_draft_says_why_there_is_no_usage() {
    let sse = Some("text/event-stream");
    let done: &[u8] = b"data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n";
    let begun = &done[..done.len() - 14];
    for (content_type, answer, is_complete, source, reason) in [
        (sse, done, true, UsageSource::Missing, "no_usage_in_answer"),
        // The caller left with the last event in hand; the connection was not yet at its end.
        (sse, done, false, UsageSource::Missing, "no_usage_in_answer"),
        (
            sse,
            begun,
            false,
            UsageSource::Estimated,
            "cut_before_usage",
        ),
        (sse, begun, true, UsageSource::Estimated, "cut_before_usage"),
        (
            None,
            b"{}".as_slice(),
            true,
            UsageSource::Missing,
            "no_usage_in_answer",
        ),
        (None, b"", true, UsageSource::Missing, "no_usage_in_answer"),
        (None, b"{", true, UsageSource::Missing, "answer_not_read"),
        (
            None,
            b"{",
            false,
            UsageSource::Estimated,
            "cut_before_usage",
        ),
        (None, b"", false, UsageSource::Estimated, "cut_before_usage"),
    ] {
        let mut reader = Reader::new(chat(), Evidence::default(), 200, content_type, None);
        reader.push(&Bytes::copy_from_slice(answer));
        let draft = (chat().usage_of)(&reader.finish(is_complete));
        let text = String::from_utf8_lossy(answer);
        assert_eq!(
            (draft.source, draft.reason),
            (source, Some(reason)),
            "{text} {is_complete}"
        );
    }
    let draft = (chat().usage_of)(&Evidence::default());
    assert_eq!(
        (draft.source, draft.reason),
        (UsageSource::Missing, Some("no_answer"))
    );
}

#[test]
fn streams_are_told_by_their_frames_and_files_of_lines_are_none() {
    let check = |provider: &str, method: Method, path: &str, asked: bool, kind: &str, expected| {
        let endpoint = find(provider)
            .and_then(|provider| provider.endpoint(&method, path))
            .expect(path);
        let mut evidence = Evidence::default();
        if asked {
            evidence.request.insert("stream", true);
        }
        let reader = Reader::new(endpoint, evidence, 200, Some(kind), None);
        assert_eq!(reader.is_stream(), expected, "{path} {kind}");
    };
    let generate = "/v1beta/models/m:streamGenerateContent";
    check(
        "gemini",
        Method::POST,
        generate,
        true,
        "application/json",
        true,
    );
    check(
        "gemini",
        Method::POST,
        generate,
        true,
        "text/event-stream",
        true,
    );
    let generate = "/v1beta/models/m:generateContent";
    check(
        "gemini",
        Method::POST,
        generate,
        false,
        "application/json",
        false,
    );
    let converse = "/model/m/converse-stream";
    let aws = "application/vnd.amazon.eventstream";
    check("bedrock", Method::POST, converse, false, aws, true);
    check(
        "cohere",
        Method::POST,
        "/v1/chat",
        true,
        "application/stream+json",
        true,
    );
    check(
        "cohere",
        Method::POST,
        "/v1/chat",
        true,
        "application/json",
        false,
    );
    let file = "/v1/files/f/content";
    check(
        "openai",
        Method::GET,
        file,
        false,
        "application/jsonl",
        false,
    );
    let transcription = "/v1/audio/transcriptions";
    check(
        "openai",
        Method::POST,
        transcription,
        false,
        "text/plain",
        false,
    );
    // Known by its name where it is not read.
    let realtime = "/model/m/invoke-with-bidirectional-stream";
    check("bedrock", Method::POST, realtime, false, aws, true);
}

#[test]
fn the_first_output_of_other_framings_is_noticed_too() {
    let check = |provider: &str, path: &str, kind: &str, asked: bool, pieces: &[&[u8]]| {
        let endpoint = find(provider)
            .and_then(|provider| provider.endpoint(&Method::POST, path))
            .expect(path);
        let mut evidence = Evidence::default();
        if asked {
            evidence.request.insert("stream", true);
        }
        let mut reader = Reader::new(endpoint, evidence, 200, Some(kind), None);
        let (last, before) = pieces.split_last().expect("there are pieces");
        for piece in before {
            reader.push(&Bytes::copy_from_slice(piece));
            assert!(!reader.has_output(), "{path}");
        }
        reader.push(&Bytes::copy_from_slice(last));
        assert!(reader.has_output(), "{path}");
    };
    check(
        "gemini",
        "/v1beta/models/m:streamGenerateContent",
        "application/json",
        true,
        &[
            b"[",
            br#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":1}}"#,
        ],
    );
    check(
        "cohere",
        "/v1/chat",
        "application/stream+json",
        true,
        &[
            b"{\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n",
            b"{\"event_type\":\"text-generation\",\"text\":\"Hi\"}\n",
        ],
    );
}
