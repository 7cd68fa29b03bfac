//! Calls that go up a second time, and those that must not: what the upstream never worked on is sent again
//! once, each time with a row of its own; what it may have worked on is not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use farebox_tests::stack::Stack;
use farebox_tests::tls;
use farebox_tests::wire::{Connection, Request};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::{Result, chat, chat_body, fresh, text, with_key};

const LONGEST: Duration = Duration::from_secs(20);
/// What a call asks the upstream to do with it.
const MANNER: &str = "x-manner";
const ANSWER: &str = r#"{"id":"c","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

/// An upstream over HTTP/2: what it was sent, in order, and its way to say that it wants no more streams.
#[derive(Default)]
struct Upstream {
    bodies: Mutex<Vec<Bytes>>,
    connections: Mutex<usize>,
    leaves: Notify,
    has_left: Notify,
}

impl Upstream {
    fn bodies(&self) -> Vec<Bytes> {
        let bodies = self.bodies.lock();
        bodies.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn connections(&self) -> usize {
        let connections = self.connections.lock();
        *connections.unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> std::result::Result<Response<Full<Bytes>>, h2::Error> {
        let manner = request.headers().get(MANNER).cloned();
        let body = request.into_body().collect().await;
        let body = body.map_err(|_| h2::Reason::CANCEL)?.to_bytes();
        let seen = {
            let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
            bodies.push(body);
            bodies.len()
        };
        if manner.is_some_and(|manner| manner == "always" || seen == 1) {
            return Err(h2::Reason::REFUSED_STREAM.into());
        }
        let mut answer = Response::new(Full::from(ANSWER));
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert("content-type", json);
        Ok(answer)
    }
}

async fn upstream(certificate: &tls::Certificate) -> Result<(Arc<Upstream>, SocketAddr)> {
    let acceptor = tls::server(certificate, &["h2"])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let upstream = Arc::new(Upstream::default());
    let serving = Arc::clone(&upstream);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), Arc::clone(&serving));
            tokio::spawn(async move {
                let io = TokioIo::new(acceptor.accept(socket).await?);
                *upstream
                    .connections
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) += 1;
                let answers = Arc::clone(&upstream);
                let service = service_fn(move |request| {
                    let upstream = Arc::clone(&answers);
                    async move { upstream.answer(request).await }
                });
                let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service);
                let mut served = std::pin::pin!(served);
                tokio::select! {
                    _ = served.as_mut() => {}
                    () = upstream.leaves.notified() => {
                        served.as_mut().graceful_shutdown();
                        // The other side closes, or it has already.
                        let _ = served.await;
                        upstream.has_left.notify_one();
                    }
                }
                Result::Ok(())
            });
        }
    });
    Ok((upstream, address))
}

struct Bench {
    upstream: Arc<Upstream>,
    stack: Stack,
    key: farebox_tests::stack::Key,
    _folder: tempfile::TempDir,
}

async fn bench() -> Result<Bench> {
    let folder = tempfile::tempdir()?;
    let certificate = tls::certificate(folder.path())?;
    let (upstream, address) = upstream(&certificate).await?;
    let (stack, key) = with_key(&[
        ("upstreams.openai.base_url", &format!("https://{address}")),
        (
            "upstreams.openai.ca_file",
            &certificate.cert.display().to_string(),
        ),
    ])
    .await?;
    Ok(Bench {
        upstream,
        stack,
        key,
        _folder: folder,
    })
}

#[tokio::test]
async fn a_stream_that_http2_refused_goes_up_again_with_a_row_of_its_own() -> Result {
    let bench = bench().await?;
    let id = fresh("refused");
    let call = chat(&bench.key, &id)
        .with("x-farebox-tenant", &id)
        .with(MANNER, "once");
    let answer = bench.stack.send(&call).await?;
    assert_eq!((answer.status(), answer.text().as_str()), (200, ANSWER));
    // The second time it is the same, to the byte.
    assert_eq!(bench.upstream.bodies(), vec![chat_body(false); 2]);

    let mut rows = bench
        .stack
        .rows_when(&format!("session_id = '{id}'"), 2)
        .await?;
    rows.sort_by_key(|row| text(row, "attempt"));
    let told = |field| rows.iter().map(|row| text(row, field)).collect::<Vec<_>>();
    assert_eq!(told("attempt"), ["1", "2"]);
    assert_eq!(told("ending"), ["upstream_failed", "complete"]);
    assert_eq!(told("usage_source"), ["none", "reported"]);
    assert_eq!(told("usage_reason"), ["refused_stream", ""]);
    assert_eq!(told("pricing"), ["free", "priced"]);
    assert_eq!(
        told("request_bytes"),
        vec![chat_body(false).len().to_string(); 2]
    );
    let first = text(&rows[0], "event_id");
    assert_eq!(told("call_id"), vec![first.clone(); 2]);
    assert_eq!(answer.header("x-farebox-event"), Some(first.as_str()));
    // One call, however often it went up.
    let sql = bench.stack.sql().await?;
    let query = "select sum(quantity)::text, sum(events)::text from farebox.usage_daily
                 where tenant_id = $1 and meter = 'calls'";
    let row = sql.query_one(query, &[&id]).await?;
    assert_eq!((row.get(0), row.get(1)), (Some("1"), Some("2")));
    Ok(())
}

#[tokio::test]
async fn what_may_have_been_worked_on_does_not_go_up_again() -> Result {
    let bench = bench().await?;
    // Refused twice; and refused once, but its body went up as it came and is held by nobody.
    let embeddings = |id: &str| {
        let body = r#"{"model":"text-embedding-3-small","input":"hi"}"#;
        Request::post("/openai/v1/embeddings", body)
            .bearer(&bench.key.secret)
            .with("x-farebox-session", id)
    };
    let (twice, streamed) = (fresh("twice"), fresh("streamed"));
    for (call, id, attempts) in [
        (chat(&bench.key, &twice), &twice, 2),
        (embeddings(&streamed), &streamed, 1),
    ] {
        let before = bench.upstream.bodies().len();
        let answer = bench.stack.send(&call.with(MANNER, "always")).await?;
        assert_eq!(
            (answer.status(), answer.header("x-farebox-error")),
            (502, Some("upstream_closed")),
            "{id}"
        );
        assert_eq!(bench.upstream.bodies().len() - before, attempts, "{id}");
        let rows = bench
            .stack
            .rows_when(&format!("session_id = '{id}'"), attempts)
            .await?;
        let last = rows
            .iter()
            .max_by_key(|row| text(row, "attempt"))
            .ok_or("no row")?;
        assert_eq!(text(last, "attempt"), attempts.to_string(), "{id}");
        assert_eq!(text(last, "ending"), "upstream_failed", "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_goes_away_over_http2_is_connected_to_again() -> Result {
    let bench = bench().await?;
    let mut connection = Connection::open(bench.stack.plain).await?;
    for number in 1..=3 {
        let id = fresh("goaway");
        let answer =
            tokio::time::timeout(LONGEST, connection.send(&chat(&bench.key, &id))).await??;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(bench.upstream.connections(), number);
        bench.upstream.leaves.notify_waiters();
        tokio::time::timeout(LONGEST, bench.upstream.has_left.notified()).await?;
    }
    Ok(())
}

/// An upstream that keeps its connection open after an answer, and closes it when it is told to.
async fn closing(
    seen: Arc<Mutex<usize>>,
    closes: Arc<Notify>,
    closed: Arc<Notify>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let mut connection = Connection::new(Box::new(socket));
            connection.request().await?;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
                ANSWER.len()
            );
            connection.write(answer.as_bytes()).await?;
            closes.notified().await;
            drop(connection);
            closed.notify_one();
        }
        Ok::<_, farebox_tests::Error>(())
    });
    Ok(address)
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closed_serves_nobody() -> Result {
    let (seen, closes, closed) = (
        Arc::default(),
        Arc::<Notify>::default(),
        Arc::<Notify>::default(),
    );
    let address = closing(Arc::clone(&seen), Arc::clone(&closes), Arc::clone(&closed)).await?;
    let (stack, key) =
        with_key(&[("upstreams.openai.base_url", &format!("http://{address}"))]).await?;
    let id = fresh("idle");
    // One connection of the caller is one worker, whose pool has the upstream's.
    let mut connection = Connection::open(stack.plain).await?;
    for number in 1..=3 {
        let answer = tokio::time::timeout(LONGEST, connection.send(&chat(&key, &id))).await??;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(*seen.lock().unwrap_or_else(PoisonError::into_inner), number);
        closes.notify_one();
        tokio::time::timeout(LONGEST, closed.notified()).await?;
    }
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 3).await?;
    assert!(
        rows.iter().all(|row| text(row, "attempt") == "1"),
        "{rows:?}"
    );
    Ok(())
}
