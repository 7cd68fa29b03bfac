//! Messages whose length could be understood in two ways: each is refused, or forwarded as exactly one
//! request with exactly one body; nothing behind it is ever taken for another caller's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farebox_tests::wire::Connection;
use tokio::net::TcpListener;

use crate::{Result, fresh, with_key};

/// What must come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// No upstream sees it and its connection ends.
    Refused,
    /// One upstream call with this body.
    Forwarded(&'static str),
    /// The same, by its chunks alone (RFC 9112 section 6.3), and its connection ends.
    Last(&'static str),
}
use Outcome::{Forwarded, Last, Refused};

/// Line and headers behind the common ones, body, outcome.
const REQUESTS: [(&str, &str, &str, Outcome); 48] = [
    ("a length", "content-length: 2", "{}", Forwarded("{}")),
    (
        "chunks",
        "transfer-encoding: chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "chunks with an extension",
        "transfer-encoding: chunked",
        "2;a=b\r\n{}\r\n0\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "chunks with a trailer that is a length",
        "transfer-encoding: chunked",
        "2\r\n{}\r\n0\r\ncontent-length: 99\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "chunks, then another length",
        "transfer-encoding: chunked\r\ncontent-length: 2",
        "2\r\n{}\r\n0\r\n\r\n",
        Last("{}"),
    ),
    (
        "a length, then chunks",
        "content-length: 2\r\ntransfer-encoding: chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Last("{}"),
    ),
    (
        "a length of the first chunk",
        "content-length: 7\r\ntransfer-encoding: chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Last("{}"),
    ),
    (
        "chunked twice",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "chunked in a list twice",
        "transfer-encoding: chunked, chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "not chunked in the end",
        "transfer-encoding: chunked, identity",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "another coding",
        "transfer-encoding: gzip, chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Forwarded("{}"),
    ),
    (
        "nearly chunked",
        "transfer-encoding: xchunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "quoted chunked",
        "transfer-encoding: \"chunked\"",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked behind a vertical tab",
        "transfer-encoding: \x0bchunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a space before the colon",
        "transfer-encoding : chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a space before the colon of a length",
        "content-length : 2",
        "{}",
        Refused,
    ),
    (
        "a folded coding",
        "transfer-encoding:\r\n chunked",
        "2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    ("a folded length", "content-length:\r\n 2", "{}", Refused),
    (
        "a folded header",
        "x-a: b\r\n\tcontent-length: 2",
        "{}",
        Refused,
    ),
    (
        "two lengths",
        "content-length: 2\r\ncontent-length: 3",
        "{}",
        Refused,
    ),
    (
        "the same length twice",
        "content-length: 2\r\ncontent-length: 2",
        "{}",
        Forwarded("{}"),
    ),
    ("a list of lengths", "content-length: 2, 3", "{}", Refused),
    ("a length with a sign", "content-length: +2", "{}", Refused),
    ("a negative length", "content-length: -2", "{}", Refused),
    (
        "a length in hexadecimal",
        "content-length: 0x2",
        "{}",
        Refused,
    ),
    (
        "a length with a point",
        "content-length: 2.0",
        "{}",
        Refused,
    ),
    ("an empty length", "content-length:", "{}", Refused),
    (
        "a length beyond all numbers",
        "content-length: 99999999999999999999999",
        "{}",
        Refused,
    ),
    (
        "a length of 2^64 + 2",
        "content-length: 18446744073709551618",
        "{}",
        Refused,
    ),
    (
        "a chunk size with a prefix",
        "transfer-encoding: chunked",
        "0x2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with a sign",
        "transfer-encoding: chunked",
        "+2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a negative chunk size",
        "transfer-encoding: chunked",
        "-2\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "an empty chunk size",
        "transfer-encoding: chunked",
        "\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size that overflows",
        "transfer-encoding: chunked",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size that ends in a line feed",
        "transfer-encoding: chunked",
        "2\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk that is longer than it says",
        "transfer-encoding: chunked",
        "2\r\n{}}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk that does not end",
        "transfer-encoding: chunked",
        "2\r\n{}0\r\n\r\n",
        Refused,
    ),
    (
        "an extension with a line feed",
        "transfer-encoding: chunked",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a name with a space",
        "x a: b\r\ncontent-length: 2",
        "{}",
        Refused,
    ),
    ("no name", ": b\r\ncontent-length: 2", "{}", Refused),
    ("no colon", "nonsense\r\ncontent-length: 2", "{}", Refused),
    (
        "a null in a value",
        "x-a: a\0b\r\ncontent-length: 2",
        "{}",
        Refused,
    ),
    (
        "a bare carriage return in a value",
        "x-a: a\rcontent-length: 99\r\ncontent-length: 2",
        "{}",
        Refused,
    ),
    (
        "a length the hop is told to drop",
        "connection: content-length\r\ncontent-length: 2",
        "{}",
        Forwarded("{}"),
    ),
    (
        "an upgrade to h2c",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\ncontent-length: 2",
        "{}",
        Forwarded("{}"),
    ),
    (
        "a method in another header",
        "x-http-method-override: DELETE\r\ncontent-length: 2",
        "{}",
        Forwarded("{}"),
    ),
    (
        "a host twice",
        "host: other\r\ncontent-length: 2",
        "{}",
        Refused,
    ),
    (
        "the same host twice",
        "host: localhost\r\ncontent-length: 2",
        "{}",
        Refused,
    ),
];

/// First lines that are none.
const LINES: [&str; 9] = [
    "POST /openai/v1/chat/completions HTTP/1.2",
    "POST /openai/v1/chat/completions HTTP/2.0",
    "POST /openai/v1/chat/completions HTTP/1.1 HTTP/1.1",
    "POST /openai/v1/chat/completions",
    "POST  /openai/v1/chat/completions HTTP/1.1",
    "POST /openai/v1/chat completions HTTP/1.1",
    "PO ST /openai/v1/chat/completions HTTP/1.1",
    " POST /openai/v1/chat/completions HTTP/1.1",
    "POST /openai/v1/chat/completions http/1.1",
];

/// Reads answers until the connection ends; their statuses.
async fn statuses(connection: &mut Connection) -> Vec<u16> {
    let mut statuses = Vec::new();
    let bound = Duration::from_secs(20);
    while let Ok(Ok(answer)) = tokio::time::timeout(bound, connection.answer()).await {
        statuses.push(answer.status());
    }
    statuses
}

#[tokio::test]
async fn a_request_has_one_length_or_is_refused() -> Result {
    let (stack, key) = with_key(&[]).await?;
    let common = format!(
        "host: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json",
        key.secret
    );
    let mut wrong = Vec::new();
    let lines = LINES.map(|line| (line, line, "content-length: 2", "{}", Refused));
    let bodies = REQUESTS.map(|(name, headers, body, outcome)| {
        (
            name,
            "POST /openai/v1/chat/completions HTTP/1.1",
            headers,
            body,
            outcome,
        )
    });
    for (name, line, headers, body, outcome) in bodies.into_iter().chain(lines) {
        let (id, smuggled) = (fresh("desync"), fresh("smuggled"));
        let mut connection = Connection::open(stack.plain).await?;
        let first = format!("{line}\r\n{common}\r\nx-replay-id: {id}\r\n{headers}\r\n\r\n{body}");
        let second = format!(
            "POST /openai/v1/chat/completions HTTP/1.1\r\n{common}\r\nx-replay-id: {smuggled}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        connection
            .write(format!("{first}{second}").as_bytes())
            .await?;
        let statuses = statuses(&mut connection).await;
        let calls = stack.replay.calls();
        let seen: Vec<_> = calls.iter().filter(|call| call.id == id).collect();
        let followed = calls.iter().filter(|call| call.id == smuggled).count();
        let is_right = match outcome {
            // The upstream may have seen the head of a body that broke off: never a whole call.
            Refused => {
                seen.is_empty() && followed == 0 && statuses.iter().all(|status| *status >= 400)
            }
            Forwarded(body) => {
                seen.len() == 1
                    && seen[0].body == body.as_bytes()
                    && followed == 1
                    && statuses == [200, 200]
            }
            Last(body) => {
                // A body that was held goes up with its own length, another one in chunks: never both.
                let has = |call: &farebox_tests::replay::Call, wanted: &str| {
                    call.headers.iter().any(|(name, _)| name == wanted)
                };
                let has_both = seen
                    .iter()
                    .any(|call| has(call, "content-length") && has(call, "transfer-encoding"));
                seen.len() == 1
                    && seen[0].body == body.as_bytes()
                    && !has_both
                    && followed == 0
                    && statuses == [200]
            }
        };
        let has_hop = seen
            .iter()
            .flat_map(|call| &call.headers)
            .any(|(name, _)| ["upgrade", "http2-settings"].contains(&name.as_str()));
        if !is_right || has_hop {
            wrong.push(format!(
                "{name}: {statuses:?}, seen {:?}, followed {followed}",
                seen.iter()
                    .map(|call| (&call.line, String::from_utf8_lossy(&call.body).into_owned()))
                    .collect::<Vec<_>>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// What an upstream answers, and whether a caller may get a whole answer of it.
const ANSWERS: [(&str, &str, bool); 16] = [
    (
        "plain",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        true,
    ),
    (
        "more than its length",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        true,
    ),
    (
        "another answer behind the chunks",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        true,
    ),
    (
        "two answers to one request",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        true,
    ),
    (
        "information first",
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        true,
    ),
    (
        "a length and chunks",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        true,
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 8\r\n\r\n{}smuggled",
        false,
    ),
    (
        "a negative length",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
        false,
    ),
    (
        "a bad chunk",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        false,
    ),
    (
        "a chunk that does not end",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}smuggled\r\n0\r\n\r\n",
        false,
    ),
    (
        "a folded length",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n 2\r\n\r\n{}",
        false,
    ),
    (
        "no status",
        "HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\n{}",
        false,
    ),
    (
        "a status of four digits",
        "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}",
        false,
    ),
    ("no HTTP", "hello\r\n\r\n", false),
    (
        "a null in a value",
        "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        false,
    ),
    (
        "a switch nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nsmuggled",
        false,
    ),
];

/// An upstream that answers every request on a connection with the given bytes.
async fn upstream(answer: Arc<Mutex<&'static str>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                while let Ok(Some(_)) = connection.request().await {
                    let bytes = *answer.lock().map_err(|_| "poisoned")?;
                    connection.write(bytes.as_bytes()).await?;
                    if !bytes.ends_with("{}")
                        && !bytes.ends_with("0\r\n\r\n")
                        && !bytes.ends_with("smuggled")
                    {
                        break;
                    }
                }
                Ok::<_, farebox_tests::Error>(())
            });
        }
    });
    Ok(address)
}

#[tokio::test]
async fn an_answer_belongs_to_one_request() -> Result {
    let answer = Arc::new(Mutex::new(""));
    let address = upstream(Arc::clone(&answer)).await?;
    let (stack, key) =
        with_key(&[("upstreams.openai.base_url", &format!("http://{address}"))]).await?;
    let mut wrong = Vec::new();
    for (name, bytes, is_whole) in ANSWERS {
        *answer.lock().map_err(|_| "poisoned")? = bytes;
        // Both workers' kept connections may hold what was behind an answer.
        for attempt in 0..4 {
            let mut connection = Connection::open(stack.plain).await?;
            connection
                .write(&crate::chat(&key, &fresh("answer")).bytes())
                .await?;
            let bound = Duration::from_secs(20);
            let got = tokio::time::timeout(bound, connection.answer()).await?;
            let seen = match &got {
                Ok(message) => format!(
                    "{} {:?} whole {}",
                    message.status(),
                    message.text(),
                    message.is_whole
                ),
                Err(error) => error.to_string(),
            };
            let is_own = got.as_ref().is_ok_and(|message| {
                message.is_whole
                    && message.status() < 300
                    && ["{}", ""].contains(&message.text().as_str())
            });
            let is_failure = got
                .as_ref()
                .map_or(true, |message| message.status() == 502 || !message.is_whole);
            if (is_whole && !is_own) || (!is_whole && !is_failure) || seen.contains("smuggled") {
                wrong.push(format!("{name}, attempt {attempt}: {seen}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
