//! How soon an upstream is stopped when its caller goes away, by the upstream's own clock.

use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farebox_tests::socket::{Log, Socket, SocketUpstream};
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::Connection;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{Result, chat_stream, fresh, text, with_key};

/// Callers that go away, one after the other.
const TRIES: usize = 6;
/// The bound; the machine may be busy at some of the tries, not at all of them.
const STOPPED_MAX: Duration = Duration::from_millis(100);
/// At none of them does it take so long.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LISTEN: &str = "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";

/// An upstream that begins a stream and says no more: it tells when its connection ended.
async fn begins_a_stream(ends: UnboundedSender<Instant>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ends = ends.clone();
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                if connection.request().await?.is_none() {
                    return Ok(());
                }
                connection
                    .write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1c\r\ndata: {\"id\":\"c\",\"usage\":0}\n\n\r\n")
                    .await?;
                let mut rest = Vec::new();
                while let Ok(true) = connection.more(&mut rest).await {}
                ends.send(Instant::now())?;
                Result::Ok(())
            });
        }
    });
    Ok(address)
}

/// The same on a socket; it tells what it heard last, too.
async fn hears_a_socket(ends: UnboundedSender<Instant>) -> Result<SocketUpstream> {
    SocketUpstream::start(move |mut socket: Socket, log: Log| {
        let ends = ends.clone();
        async move {
            while let Some(message) = socket.next().await {
                log.note(message.to_string());
                socket.text("{}").await?;
            }
            ends.send(Instant::now())?;
            Ok(())
        }
    })
    .await
}

#[derive(Clone, Copy, Debug)]
enum Over {
    Http1,
    Http2,
    Socket,
}

/// Begins a call, goes away in its midst, and says when; what it hands back is what stays open.
async fn go_away(
    stack: &Stack,
    key: &Key,
    id: &str,
    over: Over,
) -> Result<(Instant, Option<Box<dyn Any>>)> {
    match over {
        Over::Http1 => {
            let mut connection = Connection::open(stack.plain).await?;
            connection.write(&chat_stream(key, id).bytes()).await?;
            connection.head().await?.ok_or("no answer")?;
            let mut begun = Vec::new();
            while begun.is_empty() {
                connection.more(&mut begun).await?;
            }
            drop(connection);
        }
        Over::Http2 => {
            let io = TokioIo::new(TcpStream::connect(stack.plain).await?);
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let request = chat_stream(key, id);
            let mut built = hyper::Request::post(format!("http://localhost{}", request.path()));
            for (name, value) in request.headers() {
                built = built.header(name, value);
            }
            let body = Full::new(Bytes::copy_from_slice(request.body()));
            let mut answer = sender.send_request(built.body(body)?).await?;
            answer.body_mut().frame().await.ok_or("no event")??;
            drop(answer);
            let since = Instant::now();
            // The connection stays: it is the stream that is reset.
            return Ok((since, Some(Box::new(sender))));
        }
        Over::Socket => {
            let headers = [
                ("x-farebox-key", key.secret.as_str()),
                ("x-farebox-session", id),
            ];
            let (mut socket, _) = Socket::open(stack.plain, LISTEN, &headers).await?;
            socket.binary(vec![0; 3_200]).await?;
            socket.next().await.ok_or("no message")?;
            socket.hang_up();
        }
    }
    Ok((Instant::now(), None))
}

/// The least time between a caller's end and its upstream's.
async fn stopped(
    stack: &Stack,
    key: &Key,
    id: &str,
    over: Over,
    ends: &mut UnboundedReceiver<Instant>,
) -> Result<Duration> {
    let mut took = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let (since, _open) = go_away(stack, key, id, over).await?;
        let end = tokio::time::timeout(WAIT_MAX, ends.recv()).await?;
        took.push(end.ok_or("no end")?.saturating_duration_since(since));
    }
    eprintln!("stopped over {over:?} after {took:?}");
    took.into_iter()
        .min()
        .ok_or_else(|| "nothing was tried".into())
}

#[tokio::test]
async fn an_upstream_is_stopped_within_a_tenth_of_a_second() -> Result {
    let (http_ended, mut http_ends) = unbounded_channel();
    let (socket_ended, mut socket_ends) = unbounded_channel();
    let http = format!("http://{}", begins_a_stream(http_ended).await?);
    let socket = hears_a_socket(socket_ended).await?;
    let (stack, key) = with_key(&[
        ("upstreams.openai.base_url", &http),
        ("upstreams.deepgram.base_url", &socket.base_url()),
    ])
    .await?;
    for over in [Over::Http1, Over::Http2, Over::Socket] {
        let ends = match over {
            Over::Socket => &mut socket_ends,
            _ => &mut http_ends,
        };
        let id = fresh("away");
        let took = stopped(&stack, &key, &id, over, ends).await?;
        assert!(took <= STOPPED_MAX, "over {over:?} after {took:?}");
        let rows = stack
            .rows_when(&format!("session_id = '{id}'"), TRIES)
            .await?;
        for row in &rows {
            assert_eq!(text(row, "ending"), "downstream_gone", "{over:?}: {row}");
            assert_ne!(text(row, "usage_source"), "reported", "{over:?}: {row}");
        }
    }
    // The vendor was told in its own words that no more comes.
    let heard = socket.log.seen();
    assert!(
        heard
            .iter()
            .all(|seen| seen.notes.iter().any(|note| note.contains("CloseStream"))),
        "{heard:?}"
    );
    Ok(())
}
