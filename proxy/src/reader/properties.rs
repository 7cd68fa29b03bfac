//! No input whatever breaks a reader, and the stripper loses nothing.

use bytes::Bytes;
use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use proptest::prelude::*;

use super::Reader;
use crate::amend::{UsageStripper, ask_for_stream_usage};
use crate::framing::array::ArrayFraming;
use crate::framing::aws::{self, AwsFraming};
use crate::framing::lines::LinesFraming;
use crate::framing::sse::SseFraming;
use crate::provider::{ALL, Asked, Endpoint};

/// Bytes that look enough like an answer to get past the first check.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "data: ",
        "data:",
        "event: error",
        ": x",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "-1",
        "1e400",
        "99999999999999999999",
        "0.5",
        "\"usage\"",
        "\"choices\"",
        "\"type\"",
        "\"message_start\"",
        "\"message\"",
        "\"message_delta\"",
        "\"metadata\"",
        "\"duration\"",
        "\"error\"",
        "\"prompt_tokens\"",
        "\"input_tokens\"",
        "\"\\ud800\"",
        "[DONE]",
        "\u{feff}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}",
        "{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":-4,\"iterations\":[{\"type\":\"fallback_message\"}]}}",
        "{\"metadata\":{\"duration\":1e300,\"channels\":-2,\"model_info\":{}}}",
    ]);
    let piece = prop_oneof![
        4 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn endpoint() -> impl Strategy<Value = &'static Endpoint> {
    let read = ALL.iter().flat_map(|provider| provider.endpoints);
    prop::sample::select(read.filter(|endpoint| endpoint.is_read).collect::<Vec<_>>())
}

fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..5)
}

fn strip(pieces: &[&[u8]]) -> Vec<u8> {
    let mut stripper = UsageStripper::new();
    let mut out = Vec::new();
    for piece in pieces {
        stripper.push(Bytes::copy_from_slice(piece), &mut out);
    }
    stripper.finish(&mut out);
    out.concat()
}

proptest! {
    #[test]
    fn any_answer_is_read_without_a_panic(
        endpoint in endpoint(),
        answer in answer(),
        request in answer(),
        cuts in cuts(),
        status in prop::sample::select(vec![200u16, 400, 503]),
        content_type in prop::sample::select(vec![
            None, Some("text/event-stream"), Some("application/vnd.amazon.eventstream"),
            Some("application/x-ndjson"), Some("application/json; charset=utf-8"), Some("audio/mpeg"), Some("é"),
        ]),
        encoding in prop::sample::select(vec![
            None, Some("identity"), Some("gzip"), Some("deflate"), Some("br"), Some("zstd"), Some("gzip, br"),
        ]),
        is_complete in any::<bool>(),
    ) {
        let mut evidence = Evidence::default();
        let query = String::from_utf8_lossy(&request);
        let asked = Asked {
            path: endpoint.path,
            query: Some(&query),
            content_type: None,
            body: Some(&request),
        };
        (endpoint.request_facts)(&mut evidence, &asked);
        let read = |is_last_known: bool, is_complete: bool| {
            let mut reader = Reader::new(endpoint, evidence.clone(), status, content_type, encoding);
            let mut pieces = split(&answer, &cuts).into_iter().map(Bytes::copy_from_slice).peekable();
            while let Some(piece) = pieces.next() {
                match pieces.peek() {
                    None if is_last_known => reader.push_last(&piece),
                    _ => reader.push(&piece),
                }
            }
            reader.finish(is_complete)
        };
        prop_assert_eq!(read(true, true), read(false, true));
        let evidence = read(false, is_complete);
        prop_assert_eq!(evidence.counts.response_bytes, answer.len() as u64);
        let stored = serde_json::to_string(&evidence).unwrap();
        prop_assert!(stored.len() <= EVIDENCE_BYTES_MAX);
        let draft = endpoint.draft(&evidence);
        if let (Some(low), Some(high)) = (&draft.low, &draft.high) {
            for (meter, quantity) in low.iter() {
                let high = high.quantity(meter).unwrap();
                prop_assert!(!quantity.is_negative() && quantity.mantissa() <= high.mantissa());
            }
        }
    }

    #[test]
    fn events_do_not_depend_on_the_pieces(answer in answer(), cuts in cuts()) {
        let events = |pieces: &[&[u8]]| {
            let mut events: Vec<Vec<u8>> = Vec::new();
            let mut framing = SseFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |data| events.push(data.to_vec()));
            }
            framing.finish(&mut |data| events.push(data.to_vec()));
            events
        };
        prop_assert_eq!(events(&split(&answer, &cuts)), events(&[&answer]));
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces(answer in answer(), cuts in cuts()) {
        let lines = |pieces: &[&[u8]]| {
            let mut lines: Vec<Vec<u8>> = Vec::new();
            let mut framing = LinesFraming::default();
            let mut add = |line: &[u8]| lines.push(line.to_vec());
            for piece in pieces {
                framing.push(piece, &mut add);
            }
            framing.finish(&mut add);
            lines
        };
        prop_assert_eq!(lines(&split(&answer, &cuts)), lines(&[&answer]));
    }

    #[test]
    fn elements_do_not_depend_on_the_pieces(answer in answer(), is_array in any::<bool>(), cuts in cuts()) {
        let elements = |pieces: &[&[u8]]| {
            let mut elements: Vec<Vec<u8>> = Vec::new();
            let mut framing = ArrayFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |element| elements.push(element.to_vec()));
            }
            (elements, framing.finish())
        };
        let answer = if is_array { [b"[{", answer.as_slice()].concat() } else { answer };
        prop_assert_eq!(elements(&split(&answer, &cuts)), elements(&[&answer]));
    }

    #[test]
    fn messages_do_not_depend_on_the_pieces(
        kinds in prop::collection::vec(("[a-zA-Z\"-]{0,12}", answer()), 0..4),
        garbage in answer(),
        cuts in cuts(),
    ) {
        let messages = |pieces: &[&[u8]]| {
            let mut messages: Vec<Vec<u8>> = Vec::new();
            let mut framing = AwsFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |message| messages.push(message.to_vec()));
            }
            (messages, framing.finish())
        };
        let mut stream: Vec<u8> = Vec::new();
        for (kind, payload) in &kinds {
            stream.extend(aws::event(kind, payload));
        }
        stream.extend(&garbage);
        let whole = messages(&[&stream]);
        prop_assert_eq!(&messages(&split(&stream, &cuts)), &whole);
        prop_assert_eq!(whole.0.len(), kinds.len());
        prop_assert_eq!(whole.1.is_broken, garbage.len() >= 12);
    }

    #[test]
    fn stripping_does_not_depend_on_the_pieces(answer in answer(), cuts in cuts()) {
        prop_assert_eq!(strip(&split(&answer, &cuts)), strip(&[&answer]));
    }

    #[test]
    fn what_speaks_of_no_usage_keeps_every_byte(answer in answer(), cuts in cuts()) {
        let text = String::from_utf8_lossy(&answer).replace("\"usage\"", "\"used\"");
        prop_assert_eq!(strip(&split(text.as_bytes(), &cuts)), text.as_bytes());
    }

    #[test]
    fn an_amended_body_is_the_same_object_that_asks(body in answer()) {
        if let Some(splice) = ask_for_stream_usage(&body) {
            let amended = splice.apply(&Bytes::from(body.clone()));
            prop_assert!(ask_for_stream_usage(&amended).is_none());
            let value: serde_json::Value = serde_json::from_slice(&amended).unwrap();
            prop_assert_eq!(&value["stream_options"]["include_usage"], &serde_json::Value::Bool(true));
        }
    }

    #[test]
    fn a_streaming_body_is_amended_wherever_its_members_stand(
        before in "[a-z]{0,3}",
        options in prop::sample::select(vec!["", r#","stream_options":{}"#, r#","stream_options":null"#]),
    ) {
        let body = format!(r#"{{"x":"{before}","stream":true{options},"m":[{{"stream":false}}]}}"#);
        let splice = ask_for_stream_usage(body.as_bytes()).expect("it is a stream");
        let amended = splice.apply(&Bytes::from(body.clone()));
        prop_assert_eq!(amended.len(), body.len() - splice.remove + splice.insert.len());
        let mut value: serde_json::Value = serde_json::from_slice(&amended).unwrap();
        prop_assert_eq!(&value["stream_options"]["include_usage"], &serde_json::Value::Bool(true));
        let mut original: serde_json::Value = serde_json::from_str(&body).unwrap();
        value.as_object_mut().unwrap().remove("stream_options");
        original.as_object_mut().unwrap().remove("stream_options");
        prop_assert_eq!(value, original);
    }
}
