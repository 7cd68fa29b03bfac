//! Every recorded exchange under `tests/fixtures`, in every form its bytes may come in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use farebox_pricing::event::EndpointKind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;
use http::Method;
use serde_json::{Value, json};

use super::Reader;
use crate::amend::UsageStripper;
use crate::provider::{ALL, Asked, Class, Endpoint, Form, Provider};

/// What each kind of endpoint with a reader has, as `plain` or, where a vendor has several kinds, as
/// `batch_plain`; `stream` only where answers are streams.
const CASES: [&str; 3] = ["plain", "cut_short", "error"];
/// Kinds whose answers are never streams.
const NEVER_STREAMS: [&str; 7] = [
    "batch",
    "embeddings",
    "listen",
    "ocr",
    "rerank",
    "speak",
    "video",
];
/// Those of some vendors, which are streams elsewhere.
const NEVER_STREAMS_AT: [(&str, &str); 19] = [
    ("assemblyai", "completions"),
    ("assemblyai", "speech"),
    ("assemblyai", "transcription"),
    ("cartesia", "transcription"),
    ("cohere", "other"),
    ("cohere", "transcription"),
    ("deepgram", "other"),
    ("elevenlabs", "transcription"),
    ("fireworks", "image"),
    ("gemini", "image"),
    ("groq", "transcription"),
    ("mistral", "other"),
    ("perplexity", "other"),
    ("together", "image"),
    ("together", "transcription"),
    ("vertex", "image"),
    ("xai", "image"),
    ("xai", "speech"),
    ("xai", "transcription"),
];
/// What an answer may be recorded as.
const ANSWERS: [&str; 5] = [
    "response.sse",
    "response.json",
    "response.jsonl",
    "response.aws",
    "response.txt",
];

/// Offsets at which a body is split that is not split at each.
const SPLITS: usize = 40;

struct Case {
    name: String,
    endpoint: &'static Endpoint,
    path: String,
    query: Option<String>,
    request_type: Option<String>,
    status: u16,
    headers: http::HeaderMap,
    content_type: String,
    is_complete: bool,
    request: Vec<u8>,
    answer: Vec<u8>,
    answer_path: PathBuf,
    expected: Value,
}

impl Case {
    fn load(provider: &Provider, folder: &Path) -> Self {
        let name = folder.display().to_string();
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let parse = |file: &str| serde_json::from_slice::<Value>(&read(file)).expect(&name);
        let exchange = parse("exchange.json");
        let text = |name: &str| exchange[name].as_str().map(str::to_owned);
        let method: Method = text("method").unwrap().parse().unwrap();
        let endpoint = provider
            .endpoint(&method, &text("path").unwrap())
            .expect(&name);
        let answer_path = ANSWERS
            .map(|file| folder.join(file))
            .into_iter()
            .find(|path| path.exists())
            .expect(&name);
        Self {
            endpoint,
            path: text("path").unwrap(),
            query: text("query"),
            request_type: text("request_type"),
            status: exchange["status"].to_string().parse().unwrap(),
            headers: exchange["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| {
                    (
                        name.parse::<http::HeaderName>().unwrap(),
                        value.as_str().unwrap().parse().unwrap(),
                    )
                })
                .collect(),
            content_type: text("content_type").unwrap(),
            is_complete: exchange["is_complete"].as_bool().unwrap(),
            request: ["request.json", "request.form"]
                .into_iter()
                .find_map(|file| std::fs::read(folder.join(file)).ok())
                .unwrap_or_default(),
            answer: std::fs::read(&answer_path).unwrap(),
            answer_path,
            expected: parse("usage.json"),
            name,
        }
    }

    fn is_stream(&self) -> bool {
        self.answer_path.extension().is_some_and(|end| end == "sse")
    }

    fn draft<'a>(
        &self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        encoding: Option<&str>,
    ) -> Value {
        self.draft_of_type(Some(&self.content_type), pieces, encoding)
    }

    fn draft_of_type<'a>(
        &self,
        content_type: Option<&str>,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        encoding: Option<&str>,
    ) -> Value {
        let mut evidence = Evidence::default();
        evidence.counts.request_bytes = self.request.len() as u64;
        let asked = Asked {
            path: &self.path,
            query: self.query.as_deref(),
            content_type: self.request_type.as_deref(),
            body: Some(&self.request),
        };
        assert!(self.endpoint.is_read, "{} is not read", self.name);
        (self.endpoint.request_facts)(&mut evidence, &asked);
        let mut reader = Reader::new(self.endpoint, evidence, self.status, content_type, encoding);
        reader.keep_headers(|name| self.headers.get(name)?.to_str().ok());
        for piece in pieces {
            reader.push(&Bytes::copy_from_slice(piece));
        }
        let evidence = reader.finish(self.is_complete);
        // What is stored is read again by the same code.
        let stored = serde_json::to_string(&evidence).unwrap();
        assert!(stored.len() <= farebox_pricing::evidence::EVIDENCE_BYTES_MAX);
        let reread: Evidence = serde_json::from_str(&stored).unwrap();
        let draft = self.endpoint.draft(&evidence);
        assert_eq!(self.endpoint.draft(&reread), draft, "{}", self.name);
        as_json(&draft)
    }

    fn check(&self, form: &str, bytes: &[u8], encoding: Option<&str>) {
        let expect = |draft: Value, how: &str| {
            assert_eq!(draft, self.expected, "{} {form} {how}", self.name);
        };
        expect(self.draft([bytes], encoding), "in one piece");
        expect(self.draft(bytes.chunks(1), encoding), "byte by byte");
        // Where frames begin and end is found at every offset; all else is one buffer.
        let is_framed = self
            .answer_path
            .extension()
            .is_some_and(|end| end != "json");
        let step = match (form, is_framed) {
            ("as recorded", true) => 1,
            _ => bytes.len() / SPLITS + 1,
        };
        for at in (0..=bytes.len()).step_by(step) {
            let (head, tail) = bytes.split_at(at);
            expect(
                self.draft([head, tail], encoding),
                &format!("split at {at}"),
            );
        }
    }
}

fn as_json(draft: &UsageDraft) -> Value {
    let mut value = json!({"source": draft.source, "lines": draft.lines});
    let members = value.as_object_mut().unwrap();
    for (name, member) in [
        ("reason", json!(draft.reason)),
        ("low", json!(draft.low)),
        ("high", json!(draft.high)),
    ] {
        if !member.is_null() {
            members.insert(name.to_owned(), member);
        }
    }
    value
}

fn cases() -> Vec<(&'static Provider, Case)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut cases = Vec::new();
    for provider in ALL {
        let folder = root.join(provider.name);
        let mut folders: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        folders.sort();
        cases.extend(
            folders
                .iter()
                .map(|folder| (*provider, Case::load(provider, folder))),
        );
    }
    cases
}

/// Only the name of what was made is read.
fn only_names(endpoint: &Endpoint) -> bool {
    endpoint.class == Class::State && endpoint.kind == EndpointKind::Other
}

#[test]
fn every_endpoint_with_a_reader_has_its_cases() {
    let mut seen: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (provider, case) in cases() {
        let name = case.name.rsplit('/').next().unwrap().to_owned();
        let key = (provider.name, case.endpoint.kind.name());
        seen.entry(key).or_default().push(name);
    }
    for provider in ALL {
        for endpoint in provider
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.is_read && !only_names(endpoint))
        {
            let key = (provider.name, endpoint.kind.name());
            let names = seen.get(&key).cloned().unwrap_or_default();
            let is_stream = !NEVER_STREAMS.contains(&key.1) && !NEVER_STREAMS_AT.contains(&key);
            let stream = is_stream.then_some("stream");
            for wanted in CASES.into_iter().chain(stream) {
                let is_it = |name: &String| {
                    let name = name
                        .strip_prefix(key.1)
                        .map_or(name.as_str(), |rest| rest.strip_prefix('_').unwrap_or(name));
                    name == wanted
                };
                assert!(names.iter().any(is_it), "{key:?} lacks {wanted}");
            }
        }
    }
}

#[test]
fn every_reason_is_in_the_table_of_codes() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/codes.md");
    let table = std::fs::read_to_string(table).unwrap();
    for (_, case) in cases() {
        if let Some(reason) = case.expected["reason"].as_str() {
            assert!(table.contains(&format!("`{reason}`")), "{reason}");
        }
    }
}

#[test]
fn usage_is_what_the_exchange_says() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|(_, case)| {
            let draft = case.draft([case.answer.as_slice()], None);
            (draft != case.expected)
                .then(|| format!("{}\n     is {draft}\n not {}", case.name, case.expected))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn usage_is_the_same_however_the_bytes_are_split() {
    for (_, case) in cases() {
        case.check("as recorded", &case.answer, None);
    }
}

#[test]
fn usage_is_the_same_with_every_line_end_and_a_byte_order_mark() {
    for (_, case) in cases().iter().filter(|(_, case)| case.is_stream()) {
        let text = String::from_utf8(case.answer.clone()).unwrap();
        case.check("with CRLF", text.replace('\n', "\r\n").as_bytes(), None);
        case.check("with CR", text.replace('\n', "\r").as_bytes(), None);
        case.check("with a mark", format!("\u{feff}{text}").as_bytes(), None);
        let commented = text.replace("data:", ": a comment\ndata:");
        case.check("with comments", commented.as_bytes(), None);
        case.check("without a last line end", text.trim_end().as_bytes(), None);
    }
}

#[test]
fn usage_is_the_same_under_no_type_and_under_a_wrong_one() {
    let mut checked = 0;
    for (_, case) in cases() {
        let names = [
            "application/json",
            "text/event-stream",
            "application/vnd.amazon.eventstream",
        ];
        if !names.iter().any(|name| case.content_type.starts_with(name)) || case.answer.is_empty() {
            continue;
        }
        let types = [
            None,
            Some("application/json"),
            Some("application/octet-stream"),
        ];
        for content_type in types {
            // Sounds come under that name too, and are no text of ours.
            if case.endpoint.form == Form::Opaque && content_type == types[2] {
                continue;
            }
            checked += 1;
            for size in [1, case.answer.len()] {
                let pieces = case.answer.chunks(size);
                let draft = case.draft_of_type(content_type, pieces, None);
                assert_eq!(draft, case.expected, "{} as {content_type:?}", case.name);
            }
        }
    }
    assert!(checked > 0);
}

#[test]
fn usage_is_the_same_in_every_encoding() {
    for (_, case) in cases() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&case.answer).unwrap();
        case.check("in gzip", &gzip.finish().unwrap(), Some("gzip"));
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&case.answer).unwrap();
        case.check("in deflate", &zlib.finish().unwrap(), Some("deflate"));
        let zstd = zstd::encode_all(case.answer.as_slice(), 1).unwrap();
        case.check("in zstd", &zstd, Some("zstd"));
        if case.is_stream() {
            // Made by `brotli --keep`; no crate of ours can write it.
            let path = case.answer_path.with_extension("sse.br");
            let brotli =
                std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            case.check("in br", &brotli, Some("br"));
        }
    }
}

#[test]
fn a_stripped_stream_is_the_stream_that_was_not_amended() {
    let usage =
        r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let streams = cases().into_iter().filter(|(provider, case)| {
        provider.name == "openai" && case.is_stream() && case.endpoint.amend_request.is_some()
    });
    let mut checked = 0;
    for (_, case) in streams {
        let unamended = String::from_utf8(case.answer.clone()).unwrap();
        if unamended.contains("\"usage\"") {
            continue;
        }
        checked += 1;
        let amended = unamended
            .replace("}]}\n\n", "}],\"usage\":null}\n\n")
            .replace("data: [DONE]", &format!("{usage}\n\ndata: [DONE]"));
        assert_ne!(amended, unamended);
        for (amended, unamended) in [
            (amended.clone(), unamended.clone()),
            (
                amended.replace('\n', "\r\n"),
                unamended.replace('\n', "\r\n"),
            ),
        ] {
            for at in 0..=amended.len() {
                let mut stripper = UsageStripper::new();
                let mut out = Vec::new();
                let (head, tail) = amended.as_bytes().split_at(at);
                stripper.push(Bytes::copy_from_slice(head), &mut out);
                stripper.push(Bytes::copy_from_slice(tail), &mut out);
                stripper.finish(&mut out);
                assert_eq!(out.concat(), unamended.as_bytes(), "{} at {at}", case.name);
            }
        }
    }
    assert!(checked > 0);
}
