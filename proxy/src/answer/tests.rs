use proptest::prelude::*;

use super::*;

/// The fields as they are kept, and all of them in a map.
fn both(text: &[u8]) -> (Fields, HeaderMap) {
    let mut parsed = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut parsed);
    assert!(answer.parse(text).is_ok_and(|status| status.is_complete()));
    let fields = Fields::of(text, answer.headers).unwrap();
    (
        fields,
        HeadBuffer::new(text).fields(answer.headers).unwrap(),
    )
}

fn head(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in fields {
        text.extend_from_slice(&[name.as_bytes(), b":", value, b"\r\n"].concat());
    }
    [&text, &b"\r\n"[..]].concat()
}

fn written(fields: &Fields, without: &[HeaderName]) -> Vec<u8> {
    let mut text = BytesMut::new();
    fields.write(&mut text, |name| {
        !without
            .iter()
            .any(|other| other.as_str().as_bytes() == name)
    });
    text.to_vec()
}

fn is_text(fields: &[(&str, &[u8])]) -> bool {
    matches!(both(&head(fields)).0, Fields::Text(_))
}

#[test]
fn most_answers_need_no_map() {
    assert!(is_text(&[]));
    assert!(is_text(&[
        ("Content-Type", b" text/event-stream"),
        ("Connection", b" Keep-Alive"),
        ("Keep-Alive", b" timeout=5"),
        ("Transfer-Encoding", b" chunked"),
        ("content-encoding", b" gzip"),
        ("x-request-id", b""),
        ("x-odd", b" \xff"),
    ]));
}

#[test]
fn what_must_be_understood_comes_as_a_map() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    for (name, value) in [
        ("connection", &b"x-private"[..]),
        ("connection", b"keep-alive, close"),
        ("transfer-encoding", b"gzip, chunked"),
        ("X-Farebox-Event", b"1"),
        ("SET-COOKIE", b"b=2"),
        (&long, b"1"),
    ] {
        assert!(!is_text(&[("set-cookie", b"a=1"), (name, value)]), "{name}");
    }
}

#[test]
fn every_byte_that_is_parsed_is_one_for_a_map_too() {
    for byte in 0..=u8::MAX {
        for text in [
            [&b"HTTP/1.1 200 OK\r\nn"[..], &[byte], b"m: v\r\n\r\n"].concat(),
            [&b"HTTP/1.1 200 OK\r\nn: v"[..], &[byte], b"w\r\n\r\n"].concat(),
        ] {
            let mut parsed = [httparse::EMPTY_HEADER; 4];
            let mut answer = httparse::Response::new(&mut parsed);
            if !matches!(answer.parse(&text), Ok(status) if status.is_complete()) {
                continue;
            }
            let map = HeadBuffer::new(&text).fields(answer.headers).unwrap();
            let fields = FieldText::of(&text, answer.headers)
                .map(Fields::Text)
                .unwrap();
            assert_eq!(
                written(&fields, &[]),
                written(&Fields::Map(map.clone()), &[])
            );
            assert_eq!(fields.into_map(), map);
        }
    }
}

const NAMES: [&str; 20] = [
    "content-type",
    "Content-Type",
    "content-length",
    "Content-Length",
    "content-encoding",
    "Connection",
    "connection",
    "Transfer-Encoding",
    "Keep-Alive",
    "proxy-authenticate",
    "Proxy-Connection",
    "upgrade",
    "Upgrade",
    "te",
    "trailer",
    "set-cookie",
    "x-request-id",
    "X-Request-ID",
    "x-farebox-event",
    "X-Farebox-Warning",
];
const VALUES: [&str; 14] = [
    "close",
    "keep-alive",
    "Keep-Alive",
    "CLOSE",
    "keep-alive, x-request-id",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "identity",
    "7",
    "7, 7",
    "",
    "text/event-stream; charset=utf-8",
    "h2c",
];

proptest! {
    #[test]
    fn both_forms_go_down_as_the_same_bytes(
        fields in prop::collection::vec((
            prop_oneof![
                6 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
                4 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}",
                1 => "[A-Za-z-]{60,70}",
            ],
            prop_oneof![
                prop::sample::select(VALUES.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
                prop::collection::vec(prop::sample::select(b"aZ09,;=\" \t\x80\xff".to_vec()), 0..12),
                prop::collection::vec(prop::sample::select(b"aZ \xc3".to_vec()), 180..260),
            ],
            prop::sample::select(vec!["", " ", "\t ", "  "]),
        ), 0..9),
        is_marked in any::<(bool, bool)>(),
        is_rewritten in any::<(bool, bool)>(),
        without in prop::sample::subsequence(
            vec![header::CONTENT_LENGTH, header::CONNECTION, header::CONTENT_TYPE], 0..=3,
        ),
    ) {
        let fields: Vec<(&str, Vec<u8>)> = fields
            .iter()
            .map(|(name, value, before)| (name.as_str(), [before.as_bytes(), value].concat()))
            .collect();
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (*name, &value[..])).collect();
        let text = head(&fields);
        let (mut fast, map) = both(&text);
        for version in [Version::HTTP_10, Version::HTTP_11] {
            prop_assert_eq!(fast.keeps_alive(version), http1::keeps_alive(version, &map));
        }
        prop_assert_eq!(fast.ends_chunked(), http1::ends_chunked(&map));
        prop_assert_eq!(&both(&text).0.into_map(), &map);

        let mut slow = Fields::Map(map);
        fast.clean();
        slow.clean();
        for name in NAMES.into_iter().filter(|name| !name.contains(char::is_uppercase)) {
            let Fields::Map(map) = &slow else { unreachable!() };
            let value = map.get(name);
            prop_assert_eq!(fast.get(name), value.map(HeaderValue::as_bytes), "{}", name);
            prop_assert_eq!(fast.text(name), value.and_then(|value| value.to_str().ok()), "{}", name);
            prop_assert_eq!(slow.text(name), fast.text(name), "{}", name);
        }
        for fields in [&mut fast, &mut slow] {
            if is_rewritten.0 {
                fields.remove(&header::CONTENT_ENCODING);
            }
            if is_rewritten.1 {
                fields.remove(&header::CONTENT_LENGTH);
            }
            fields.mark(Marks {
                event: is_marked.0.then_some(Uuid::from_u128(0xABCDEF)),
                warning: is_marked.1.then(|| HeaderValue::from_static("rate")),
            });
        }
        let down = written(&slow, &without);
        prop_assert_eq!(written(&fast, &without), &down[..]);
        // What other callers get.
        prop_assert_eq!(written(&Fields::Map(fast.into_map()), &without), &down[..]);
    }
}
