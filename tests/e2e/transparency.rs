//! Every recorded exchange with and without Farebox: what the caller gets and what the upstream sees differ
//! by the documented list (docs/proofs.md) and by nothing else, and no byte waits for a later one.

use std::collections::BTreeMap;

use farebox_tests::corpus::{self, Case, Corpus, Piece, RUN_HEADER, Run, Script};
use farebox_tests::exchange::{self, Received};
use farebox_tests::stack::{Key, PROVIDER_CREDENTIAL, SHIPPED_MAX, Stack};
use farebox_tests::wire::{Headers, Message, Request};
use farebox_tests::{tls, wait};
use tokio::sync::OnceCell;

use crate::{Result, fresh};

/// Headers that belong to the hop, so each side of Farebox has its own.
const OF_THE_HOP: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "te"];
/// Where providers expect their credential.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "xi-api-key",
];

/// A stack whose every upstream is the corpus.
struct Bench {
    corpus: Corpus,
    stack: Stack,
    key: Key,
}

async fn bench() -> Result<&'static Bench> {
    static BENCH: OnceCell<Bench> = OnceCell::const_new();
    BENCH
        .get_or_try_init(|| start("untouched", Over::Http1))
        .await
}

async fn start(stream_usage: &str, upstream: Over) -> Result<Bench> {
    // On a thread of its own: it outlives the test that starts it.
    let (told, address) = std::sync::mpsc::channel();
    let folder = tempfile::tempdir()?;
    let certificate = tls::certificate(folder.path())?;
    let ca = certificate.cert.display().to_string();
    std::thread::spawn(move || -> Result {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let corpus = Corpus::start().await?;
            let over_http2 = corpus::http2::listen(&corpus, &certificate).await?;
            told.send((corpus, over_http2))?;
            std::future::pending().await
        })
    });
    let (corpus, over_http2) = tokio::task::spawn_blocking(move || address.recv()).await??;
    let base_url = match upstream {
        Over::Http1 => format!("http://{}", corpus.address),
        Over::Http2 => format!("https://{over_http2}"),
    };
    let mut vendors: Vec<String> = corpus::cases()?
        .into_iter()
        .map(|case| case.vendor)
        .collect();
    vendors.dedup();
    let mut settings = Vec::new();
    for vendor in &vendors {
        for (name, value) in [
            ("base_url", base_url.clone()),
            // Of no meaning without TLS.
            ("ca_file", ca.clone()),
            ("credential_env", "REPLAY_CREDENTIAL".to_owned()),
            ("stream_usage", stream_usage.to_owned()),
            ("shared_state", "true".to_owned()),
        ] {
            settings.push((format!("upstreams.{vendor}.{name}"), value));
        }
    }
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let stack = Stack::with(&settings).await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    Ok(Bench { corpus, stack, key })
}

/// Headers by name, each with its values in their order, without those named.
fn by_name(headers: &Headers, without: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !without.contains(&name.as_str()))
    {
        found.entry(name.clone()).or_default().push(value.clone());
    }
    found
}

fn request(case: &Case, prefix: &str, run: &str) -> Request {
    let path = format!("{prefix}{}", case.path);
    let request = match case.method.as_str() {
        "GET" => Request::get(&path),
        method => Request::with_method(method, &path)
            .with_body(case.request.clone())
            .with("content-type", &case.request_type),
    };
    request
        .with(RUN_HEADER, run)
        .with("te", "trailers")
        .with("accept", "a/b")
        .with("accept", "c/d;q=0.1")
        .with(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .with("x-stainless-retry-count", "2")
        .with("x-unheard-of", "kept as it is")
}

/// The exchange without Farebox.
async fn directly(bench: &Bench, case: &Case) -> Result<(Received, Message)> {
    let id = fresh("direct");
    let run = bench.corpus.run(&id, case);
    let request = request(case, "", &id).bearer(PROVIDER_CREDENTIAL);
    let received = exchange::http1(bench.corpus.address, &request, &run).await?;
    Ok((received, run.seen().ok_or("nothing was seen")?))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

/// The exchange through Farebox.
async fn through(
    bench: &Bench,
    case: &Case,
    tenant: &str,
    over: Over,
) -> Result<(Received, Message)> {
    let id = fresh("through");
    let run = bench.corpus.run(&id, case);
    let request = request(case, &format!("/{}", case.vendor), &id)
        .bearer(&bench.key.secret)
        .with("x-farebox-tenant", tenant);
    let received = send(bench, &request, &run, over).await?;
    Ok((received, run.seen().ok_or("nothing was seen")?))
}

async fn send(bench: &Bench, request: &Request, run: &Run, over: Over) -> Result<Received> {
    match over {
        Over::Http1 => exchange::http1(bench.stack.plain, request, run).await,
        Over::Http2 => exchange::http2(bench.stack.plain, request, run).await,
    }
}

/// What the caller got differs by nothing but the list.
fn compare_answers(what: &str, direct: &Received, ours: &Received) {
    assert_eq!(ours.status, direct.status, "{what}: status");
    let event = ours
        .headers
        .iter()
        .find(|(name, _)| name == "x-farebox-event");
    assert!(event.is_some(), "{what}: no event id in {:?}", ours.headers);
    let added = [&OF_THE_HOP[..], &["x-farebox-event"]].concat();
    assert_eq!(
        by_name(&ours.headers, &added),
        by_name(&direct.headers, &added),
        "{what}: headers"
    );
    assert!(
        ours.body == direct.body,
        "{what}: body: {} bytes are not {}",
        ours.body.len(),
        direct.body.len()
    );
    assert_eq!(ours.trailers, direct.trailers, "{what}: trailers");
    assert_eq!(ours.is_whole, direct.is_whole, "{what}: end");
}

/// What the upstream saw differs by nothing but the list.
fn compare_requests(what: &str, direct: &Message, ours: &Message) {
    assert_eq!(ours.start, direct.start, "{what}: method, path, query");
    assert!(ours.body == direct.body, "{what}: the request's body");
    let changed = [&OF_THE_HOP[..], &CREDENTIALS, &["host", RUN_HEADER]].concat();
    assert_eq!(
        by_name(&ours.headers, &changed),
        by_name(&direct.headers, &changed),
        "{what}: the request's headers"
    );
    let hosts = ours.headers.iter().filter(|(name, _)| name == "host");
    assert_eq!(hosts.count(), 1, "{what}: {:?}", ours.headers);
    assert_eq!(ours.header("te"), Some("trailers"), "{what}");
    let shown: Vec<&(String, String)> = ours
        .headers
        .iter()
        .filter(|(_, value)| value.contains(PROVIDER_CREDENTIAL))
        .collect();
    assert!(
        shown.len() == 1 && CREDENTIALS.contains(&shown[0].0.as_str()),
        "{what}: {shown:?}"
    );
    assert!(
        !format!("{} {:?}", ours.start, ours.headers).contains("vk_"),
        "{what}: a virtual key went up"
    );
}

async fn replay(family: &str, at_least: usize, is_of: impl Fn(&Case) -> bool) -> Result {
    replay_at(bench().await?, family, at_least, is_of).await
}

/// Replays every case that `is_of` the family, both ways, over both versions of HTTP.
async fn replay_at(
    bench: &Bench,
    family: &str,
    at_least: usize,
    is_of: impl Fn(&Case) -> bool,
) -> Result {
    let tenant = fresh(family);
    let mut exchanges = 0;
    let cases: Vec<Case> = corpus::cases()?.into_iter().filter(is_of).collect();
    assert!(
        cases.len() >= at_least,
        "{family} has only {} cases",
        cases.len()
    );
    for case in &cases {
        let (direct, seen_direct) = directly(bench, case)
            .await
            .map_err(|error| format!("{}: {error}", case.name))?;
        for over in [Over::Http1, Over::Http2] {
            let what = format!("{} over {over:?}", case.name);
            let (ours, seen) = through(bench, case, &tenant, over)
                .await
                .map_err(|error| format!("{what}: {error}"))?;
            compare_answers(&what, &direct, &ours);
            compare_requests(&what, &seen_direct, &seen);
            exchanges += 1;
        }
    }
    // Whatever the answer was, the call has its row, and it says the client's own count of its retries.
    let sql = bench.stack.sql().await?;
    wait::eventually(
        &format!("{exchanges} rows of {family}"),
        SHIPPED_MAX,
        || async {
            let query = "select count(*) from farebox.usage_events where tenant_id = $1 and client_retry = 2";
            let row = sql
                .query_one(query, &[&tenant])
                .await
                .map_err(|error| error.to_string())?;
            let count: i64 = row.get(0);
            wait::holds(count == exchanges, count)
        },
    )
    .await
}

#[tokio::test]
async fn json_answers() -> Result {
    replay("json", 300, |case| {
        case.form == "json" && !case.answer.starts_with(b"[") && case.request_form != "form"
    })
    .await
}

#[tokio::test]
async fn event_streams() -> Result {
    replay("sse", 100, |case| {
        case.form == "sse" && case.request_form != "form"
    })
    .await
}

#[tokio::test]
async fn aws_event_streams() -> Result {
    replay("aws", 5, |case| case.form == "aws").await
}

#[tokio::test]
async fn json_arrays() -> Result {
    replay("array", 2, |case| {
        case.form == "json" && case.answer.starts_with(b"[")
    })
    .await
}

#[tokio::test]
async fn json_lines() -> Result {
    replay("jsonl", 15, |case| case.form == "jsonl").await
}

#[tokio::test]
async fn sounds_and_texts() -> Result {
    replay("txt", 25, |case| {
        case.form == "txt" && case.request_form != "form"
    })
    .await
}

#[tokio::test]
async fn multipart_uploads() -> Result {
    replay("multipart", 40, |case| case.request_form == "form").await
}

/// Streams of every kind, and one vendor's other answers.
#[tokio::test]
async fn an_upstream_that_speaks_http2() -> Result {
    let bench = start("untouched", Over::Http2).await?;
    replay_at(&bench, "http2", 200, |case| {
        let is_stream = case.form != "json" || case.answer.starts_with(b"[");
        is_stream || case.vendor == "openai"
    })
    .await
}

/// Two chunks, the end of a choice, and the last event: none of them speaks of usage.
const UNTOUCHED: [&str; 4] = [
    r#"data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"the \"usage\": {"}}],"obfuscation":"xY"}"#,
    r#"data: { "id" : "c", "choices" : [ {"index":0,"delta":{"content":"\n data: more"}} ] }"#,
    r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "data: [DONE]",
];
const COUNTED: &str = r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}"#;

/// How servers add the usage that was asked for.
const WAYS: [&str; 4] = [
    "an event of its own",
    "null everywhere",
    "in the last choice",
    "in every chunk",
];

fn untouched(end: &str) -> Vec<Piece> {
    let event = |text: &&str| Piece::visible(format!("{text}{end}{end}").into_bytes());
    std::iter::once(Piece::visible(format!(": ping{end}{end}").into_bytes()))
        .chain(UNTOUCHED.iter().map(event))
        .collect()
}

fn with_usage(way: &str, end: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for piece in untouched(end) {
        let text = String::from_utf8_lossy(&piece.bytes).into_owned();
        let is_chunk = text.contains("\"id\"");
        let is_last_choice = text.contains("finish_reason");
        let added = match way {
            "null everywhere" if is_chunk => ",\"usage\":null}",
            "in the last choice" if is_last_choice => ",\"usage\":COUNTED}",
            "in every chunk" if is_chunk => ",\"usage\":COUNTED}",
            _ => "}",
        };
        if text.contains("[DONE]") && ["an event of its own", "null everywhere"].contains(&way) {
            let event =
                format!("data: {{\"id\":\"c\",\"choices\":[],\"usage\":{COUNTED}}}{end}{end}");
            pieces.push(Piece {
                bytes: event.into_bytes(),
                visible: 0,
            });
        }
        let at = text.rfind('}').filter(|_| is_chunk);
        let text = match at {
            Some(at) => format!(
                "{}{}{}",
                &text[..at],
                added.replace("COUNTED", COUNTED),
                &text[at + 1..]
            ),
            None => text,
        };
        pieces.push(Piece {
            bytes: text.into_bytes(),
            visible: piece.visible,
        });
    }
    pieces
}

#[tokio::test]
async fn asking_for_usage_leaves_every_event_as_it_was() -> Result {
    let bench = start("ask", Over::Http1).await?;
    let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[]}"#;
    for end in ["\n", "\r\n", "\r"] {
        for way in WAYS {
            let script = |pieces| Script {
                status: 200,
                headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
                pieces,
                is_chunked: true,
                is_complete: true,
            };
            for over in [Over::Http1, Over::Http2] {
                let what = format!("usage {way} over {over:?} with {end:?}");
                let ask = |path: &str, id: &str| {
                    Request::post(path, body)
                        .with(RUN_HEADER, id)
                        .with("te", "trailers")
                };
                let id = fresh("plain");
                let run = bench
                    .corpus
                    .play(&id, script(untouched(end)), |request, script| {
                        assert!(!request.text().contains("include_usage"));
                        script.clone()
                    });
                let direct = ask("/v1/chat/completions", &id);
                let direct = exchange::http1(bench.corpus.address, &direct, &run).await?;

                let id = fresh("asked");
                let run =
                    bench
                        .corpus
                        .play(&id, script(with_usage(way, end)), |request, script| {
                            assert!(request.text().contains("include_usage"));
                            script.clone()
                        });
                let ours = ask("/openai/v1/chat/completions", &id)
                    .bearer(&bench.key.secret)
                    .with("x-farebox-session", &id);
                let ours = send(&bench, &ours, &run, over)
                    .await
                    .map_err(|error| format!("{what}: {error}"))?;
                compare_answers(&what, &direct, &ours);
                let rows = bench
                    .stack
                    .rows_when(&format!("session_id = '{id}'"), 1)
                    .await?;
                assert_eq!(rows[0]["usage_source"], "reported", "{what}: {}", rows[0]);
                assert_eq!(
                    rows[0]["usage"]["output_tokens"], "2",
                    "{what}: {}",
                    rows[0]
                );
                assert_eq!(rows[0]["request_amended"], true, "{what}");
            }
        }
    }
    Ok(())
}
