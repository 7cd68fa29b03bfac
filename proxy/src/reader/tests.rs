//! What a reader says about answers that it cannot read whole.

use bytes::Bytes;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageSource;
use http::Method;

use super::{JSON_BODY_BYTES_MAX, Reader};
use crate::provider::{Endpoint, find};

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
