use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::downstream::CallerBody;

/// The client's end and the server's.
async fn pair() -> (Box<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (
        Connection::new(crate::http1::Wire::Plain(client.unwrap())),
        server.unwrap().0,
    )
}

fn request(method: Method, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = "/v1/x?y=1".parse().unwrap();
    request.headers_mut().insert("host", "h".parse().unwrap());
    request
}

/// Reads until what came ends with `end`.
async fn read_until(server: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut came = Vec::new();
    while !came.ends_with(end) {
        let mut byte = [0; 4096];
        let len = server.read(&mut byte).await.unwrap();
        assert!(len > 0, "closed after {:?}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&byte[..len]);
    }
    came
}

type Whole = (Vec<u8>, Option<HeaderMap>);
/// Status and body, or why there is none; and whether the connection may serve again.
type Outcome = (Result<(u16, Whole), Broken>, bool);

async fn rest(connection: &mut Connection) -> Result<Whole, Broken> {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(piece) = poll_fn(|cx| connection.poll_piece(cx)).await {
        match piece? {
            Piece::Data(bytes) => data.extend_from_slice(&bytes),
            Piece::Trailers(fields) => trailers = Some(fields),
        }
    }
    Ok((data, trailers))
}

/// The server's answer to a request, written in one go, then closed if so asked.
async fn answered(method: Method, text: &[u8], closes: bool) -> Outcome {
    let (mut connection, mut server) = pair().await;
    connection.begin_made(request(method, RequestBody::Empty));
    let serve = async {
        read_until(&mut server, b"\r\n\r\n").await;
        server.write_all(text).await.unwrap();
        if closes {
            server.shutdown().await.unwrap();
        }
    };
    let ask = async {
        let head = poll_fn(|cx| connection.poll_head(cx)).await?;
        Ok((head.status.as_u16(), rest(&mut connection).await?))
    };
    let (_, answer) = tokio::join!(serve, ask);
    (answer, connection.is_reusable())
}

fn body(answer: &Outcome) -> (u16, &str, bool) {
    let (status, (data, _)) = answer.0.as_ref().unwrap();
    (*status, std::str::from_utf8(data).unwrap(), answer.1)
}

#[tokio::test]
async fn every_framing_ends_where_it_says_and_only_a_clean_one_serves_again() {
    /// Method, answer, whether it is closed behind; status, body, whether it may serve again.
    type Case = (&'static str, &'static str, bool, (u16, &'static str, bool));
    const CASES: &[Case] = &[
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            false,
            (200, "hi", true),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi",
            false,
            (200, "hi", true),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: x, Close\r\n\r\nhi",
            false,
            (200, "hi", false),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!",
            false,
            (200, "hi", false),
        ),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhi", true, (200, "hi", false)),
        (
            "GET",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            false,
            (200, "hi", false),
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi",
            false,
            (200, "hi", true),
        ),
        (
            "GET",
            "HTTP/1.1 204 None\r\ncontent-length: 5\r\n\r\n",
            false,
            (204, "", true),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            false,
            (200, "", true),
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            false,
            (304, "", true),
        ),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nz",
            false,
            (200, "z", true),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n",
            false,
            (200, "hi", true),
        ),
        // Two lengths: the chunks hold, nobody else is served.
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
            (200, "hi", false),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
            true,
            (200, "hi", false),
        ),
    ];
    for (method, text, closes, wanted) in CASES {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = answered(method, text.as_bytes(), *closes).await;
        assert_eq!(body(&answer), *wanted, "{text}");
    }
}

#[tokio::test]
async fn what_is_no_answer_or_half_of_one_is_broken() {
    let many = "HTTP/1.1 102 Wait\r\n\r\n".repeat(INTERIM_HEADS_MAX as usize + 1);
    let wide = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(300 * 1024));
    let cases: &[&str] = &[
        "",
        "HTTP/1.1 200 OK\r\n",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nhi\n0\n\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n00000000000000002\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n",
        &many,
        &wide,
        &long,
    ];
    for text in cases {
        let (answer, is_reusable) = answered(Method::GET, text.as_bytes(), true).await;
        assert!(
            answer.is_err(),
            "{:?}: {answer:?}",
            &text[..text.len().min(80)]
        );
        assert!(!is_reusable, "{:?}", &text[..text.len().min(80)]);
    }
}

#[tokio::test]
async fn trailers_follow_the_last_chunk() {
    let text =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n";
    let (answer, is_reusable) = answered(Method::GET, text, false).await;
    let (data, trailers) = answer.unwrap().1;
    assert_eq!((data.as_slice(), is_reusable), (&b"a"[..], true));
    assert_eq!(trailers.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn an_own_reason_phrase_is_kept() {
    let (mut connection, mut server) = pair().await;
    connection.begin_made(request(Method::GET, RequestBody::Empty));
    let text = b"HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n";
    server.write_all(text).await.unwrap();
    let head = poll_fn(|cx| connection.poll_head(cx)).await.unwrap();
    assert_eq!(head.reason.unwrap().as_bytes(), b"Fine");
}

#[tokio::test]
async fn a_request_goes_up_as_it_was_meant() {
    let (mut connection, mut server) = pair().await;
    let held = RequestBody::held([b"ab", &[b'c'; 40_000][..]].concat().into());
    connection.begin_made(request(Method::POST, held));
    let serve = async {
        let came = read_until(&mut server, b"c").await;
        let head = "POST /v1/x?y=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 40002\r\n\r\nab";
        assert!(
            came.starts_with(head.as_bytes()),
            "{}",
            String::from_utf8_lossy(&came[..200])
        );
        let mut left = head.len() + 40_000 - came.len();
        while left > 0 {
            let mut more = vec![0; left];
            left -= server.read(&mut more).await.unwrap();
        }
        server
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    };
    let (_, head) = tokio::join!(serve, poll_fn(|cx| connection.poll_head(cx)));
    assert_eq!(head.unwrap().status, StatusCode::OK);
    assert!(connection.is_reusable());
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_through_is_had_and_ends_the_connection() {
    let (mut connection, mut server) = pair().await;
    // More than the sockets between the two take.
    let held = RequestBody::held(vec![b'x'; 64 * 1024 * 1024].into());
    connection.begin_made(request(Method::POST, held));
    let text = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    server.write_all(text).await.unwrap();
    let head = poll_fn(|cx| connection.poll_head(cx)).await.unwrap();
    assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
    drop(server);
    assert_eq!(rest(&mut connection).await.unwrap().0, b"no");
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn an_idle_connection_on_which_anything_came_is_not_open() {
    let (mut connection, mut server) = pair().await;
    assert!(poll_fn(|cx| Poll::Ready(connection.is_open(cx))).await);
    server.write_all(b"x").await.unwrap();
    wait_until_closed(&mut connection).await;
    let (mut connection, server) = pair().await;
    drop(server);
    wait_until_closed(&mut connection).await;
}

async fn wait_until_closed(connection: &mut Connection) {
    let closed = poll_fn(|cx| match connection.is_open(cx) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    });
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("it stays open");
}

#[tokio::test]
async fn a_request_that_was_not_written_can_be_had_back() {
    let (mut connection, _server) = pair().await;
    let held = RequestBody::held("body".into());
    connection.begin_made(request(Method::POST, held));
    let body = connection.take_unwritten().expect("nothing was written");
    assert!(matches!(&body, RequestBody::Held(bytes) if bytes == "body"));
    connection.begin_made(request(Method::POST, body));
    let _ = poll_fn(|cx| Poll::Ready(connection.poll_head(cx).is_pending())).await;
    assert!(connection.take_unwritten().is_none());
}

#[tokio::test]
async fn a_caller_that_breaks_off_breaks_the_exchange() {
    let (mut connection, _server) = pair().await;
    let (sender, broken) = broken_body().await;
    let upload = Arc::new(crate::body::Upload::default());
    let body = RequestBody::streaming(
        CallerBody::H2(broken),
        upload,
        false,
        Duration::from_secs(60),
    );
    connection.begin_made(request(Method::POST, body));
    drop(sender);
    let answer = poll_fn(|cx| connection.poll_head(cx)).await;
    let broken = answer.err();
    assert!(matches!(broken, Some(Broken::Upload)), "{broken:?}");
}

/// A body of which half came before its caller's connection went, as hyper gives it.
async fn broken_body() -> (TcpStream, hyper::body::Incoming) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let mut client = client.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    let (hand_over, body) = tokio::sync::oneshot::channel();
    let hand_over = std::sync::Mutex::new(Some(hand_over));
    let io = hyper_util::rt::TokioIo::new(server.unwrap().0);
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let hand_over = hand_over.lock().unwrap().take().unwrap();
            assert!(hand_over.send(request.into_body()).is_ok());
            std::future::pending::<Result<http::Response<String>, std::io::Error>>()
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
    });
    (client, body.await.unwrap())
}

#[test]
fn a_head_comes_in_whatever_pieces_and_what_follows_is_the_body() {
    const TEXT: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody!";
    let end = TEXT.len() - b"body!".len();
    for size in 1..=TEXT.len() {
        let mut reading = Reading::new();
        let mut seen = 0;
        for piece in TEXT.chunks(size) {
            seen += piece.len();
            let head = reading.head_of(piece).unwrap();
            assert_eq!(head.is_some(), seen >= end, "{size}");
            if let Some(head) = head {
                assert_eq!(head.status, StatusCode::OK);
                break;
            }
        }
        let behind = &TEXT[end..seen];
        assert_eq!(reading.unused, behind, "{size}");
        let body = reading.next_of_unused();
        assert_eq!(body, behind[..behind.len().min(4)], "{size}");
        assert_eq!(reading.transfer.left(), Some(4 - body.len() as u64));
        assert_eq!(reading.unused.len(), behind.len().saturating_sub(4));
    }
}

#[test]
fn a_head_that_never_ends_is_refused_whatever_stands_before_it() {
    for before in ["", "\r\n\r\n"] {
        let mut reading = Reading::new();
        let first = format!("{before}HTTP/1.1 200 OK\r\nx: ");
        assert!(reading.head_of(first.as_bytes()).unwrap().is_none());
        let more = [b'a'; 16 * 1024];
        let refused = (0..32).find_map(|_| reading.head_of(&more).err());
        assert!(
            matches!(refused, Some(Broken::Malformed("head too large"))),
            "{refused:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_head_panic_or_are_read_twice(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let head = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
        if let Ok((_, len)) = head::parse(&head, false) {
            prop_assert!(0 < len && len <= head.len());
        }
    }
}
