use std::future::poll_fn;

use http_body::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A caller's end and ours.
async fn pair() -> (TcpStream, SharedLine) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (caller, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
    let caller = caller.unwrap();
    caller.set_nodelay(true).unwrap();
    let line = SharedLine::new(Wire::Plain(ours.unwrap().0), HEAD_BYTES_MAX);
    (caller, line)
}

/// What was understood of what a caller sent.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request {
        target: String,
        body: Vec<u8>,
        has_trailers: bool,
        follows: bool,
    },
    BrokenBody(String),
    Refused(u16),
    End,
}

impl Seen {
    fn request(target: &str, body: &str) -> Self {
        Self::Request {
            target: target.into(),
            body: body.into(),
            has_trailers: false,
            follows: true,
        }
    }

    fn last(target: &str, body: &str) -> Self {
        Self::Request {
            target: target.into(),
            body: body.into(),
            has_trailers: false,
            follows: false,
        }
    }
}

/// Reads the connection as the serving task does, to its end.
async fn seen(line: &SharedLine) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        let (head, body) = match poll_fn(|cx| line.lock().poll_next(cx)).await {
            Next::Request(head, body) => (head, body),
            Next::NoHead(NoHead(status)) => {
                all.push(Seen::Refused(status.as_u16()));
                return all;
            }
            Next::End => {
                all.push(Seen::End);
                return all;
            }
        };
        let turn = line.lock().turn();
        let body = match body {
            Some(bytes) => CallerBody::here(bytes),
            None => CallerBody::on_line(line.clone(), turn),
        };
        let exact = body.size_hint().exact();
        let announced = head
            .head
            .parts()
            .headers
            .get(http::header::CONTENT_LENGTH)
            .map(|value| {
                let text = value.to_str().unwrap();
                text.parse::<u64>().unwrap()
            });
        assert!(announced.is_none() || announced == exact);
        let collected = match body.collect().await {
            Ok(collected) => collected,
            Err(error) => {
                all.push(Seen::BrokenBody(error.to_string()));
                for _ in 0..3 {
                    assert!(!poll_fn(|cx| Poll::Ready(line.lock().is_through_or_here(cx))).await);
                }
                return all;
            }
        };
        let has_trailers = collected.trailers().is_some();
        let body = collected.to_bytes().to_vec();
        assert!(exact.is_none_or(|exact| exact == body.len() as u64));
        let follows = head.keeps_alive && line.lock().is_body_through();
        all.push(Seen::Request {
            target: head.head.parts().uri.to_string(),
            body,
            has_trailers,
            follows,
        });
        if !follows {
            return all;
        }
    }
}

async fn sent_in(pieces: &[&[u8]]) -> Vec<Seen> {
    let (mut caller, line) = pair().await;
    let writing = async {
        for piece in pieces {
            caller.write_all(piece).await.unwrap();
            // Long enough for the reader to see the piece alone, most of the time; any time is right.
            tokio::task::yield_now().await;
        }
        caller.shutdown().await.unwrap();
    };
    tokio::join!(writing, seen(&line)).1
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn of(text: &str) -> Vec<Seen> {
    run(sent_in(&[text.as_bytes()]))
}

#[test]
fn requests_follow_one_another_wherever_they_are_cut() {
    let text = "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello\
        POST /b?c=d HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n\
        GET /e HTTP/1.1\r\nhost: h\r\n\r\n";
    let expected = [
        Seen::request("/a", "hello"),
        Seen::request("/b?c=d", "abcde"),
        Seen::request("/e", ""),
        Seen::End,
    ];
    run(async {
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(sent_in(&[first, second]).await, expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(sent_in(&bytes).await, expected);
    });
}

#[test]
fn a_head_that_comes_again_means_what_it_says_now() {
    let post = |length: &str, body: &str| {
        format!("POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\nb: c\r\n\r\n{body}")
    };
    let get = "GET /g HTTP/1.1\r\nhost: h\r\n\r\n";
    let same = |body: &str| Seen::request("/a", body);
    let text = [
        post("1", "x"),
        post("2", "xy"),
        post("2", "zy"),
        post("10", "0123456789"),
        post("0", ""),
        get.into(),
        get.into(),
        get.into(),
        post("3", "abc"),
    ]
    .concat();
    let expected = [
        same("x"),
        same("xy"),
        same("zy"),
        same("0123456789"),
        same(""),
        Seen::request("/g", ""),
        Seen::request("/g", ""),
        Seen::request("/g", ""),
        same("abc"),
        Seen::End,
    ];
    run(async {
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(sent_in(&[first, second]).await, expected, "cut at {at}");
        }
    });
    for odd in ["+1", "1 1", "1,1", "", "18446744073709551616"] {
        let text = [post("1", "x"), post("1", "x"), post(odd, "x")].concat();
        assert_eq!(
            of(&text),
            [same("x"), same("x"), Seen::Refused(400)],
            "{odd:?}"
        );
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    for head in [
        "POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6",
        "POST / HTTP/1.1\r\ncontent-length: 5, 5",
        "POST / HTTP/1.1\r\ncontent-length: +5",
        "POST / HTTP/1.1\r\ncontent-length: -1",
        "POST / HTTP/1.1\r\ncontent-length: ",
        "POST / HTTP/1.1\r\ncontent-length: 18446744073709551616",
        "POST / HTTP/1.1\r\ncontent-length : 5",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked, identity",
        "POST / HTTP/1.1\r\ntransfer-encoding: xchunked",
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked",
        "POST / HTTP/1.1\r\na: b\r\n folded: c",
        "POST / HTTP/1.1\r\na\0: b",
        "POST / HTTP/1.1\r\na: b\0",
        "POST  / HTTP/1.1\r\na: b",
        "POST / HTTP/2.0\r\na: b",
        "PO ST / HTTP/1.1\r\na: b",
    ] {
        let all = of(&format!(
            "{head}\r\n\r\nhello GET /smuggled HTTP/1.1\r\n\r\n"
        ));
        assert_eq!(all, [Seen::Refused(400)], "{head}");
    }
}

#[test]
fn with_both_lengths_the_chunks_hold_and_nothing_follows() {
    let both = "POST /a HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
        1\r\nx\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
    assert_eq!(of(both), [Seen::last("/a", "x")]);
    let repeated = "POST /a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\n";
    assert_eq!(
        of(repeated),
        [Seen::request("/a", "x"), Seen::request("/b", ""), Seen::End]
    );
}

#[test]
fn bad_chunks_end_the_connection() {
    for body in [
        "zz\r\n",
        "-1\r\n",
        "1\r\nab\r\n",
        "fffffffffffffffff\r\n",
        "1 \n x",
    ] {
        let all = of(&format!(
            "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
        ));
        assert_eq!(all.len(), 1, "{body:?}: {all:?}");
        assert!(matches!(all[0], Seen::BrokenBody(_)), "{body:?}: {all:?}");
    }
    let cut = of("POST /a HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf");
    assert_eq!(
        cut,
        [Seen::BrokenBody("closed in the middle of a body".into())]
    );
}

#[test]
fn trailers_come_behind_the_last_chunk() {
    let all =
        of("POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nsum: 7\r\n\r\n");
    let Seen::Request { has_trailers, .. } = &all[0] else {
        panic!("{all:?}")
    };
    assert!(has_trailers);
}

#[test]
fn a_connection_is_kept_as_the_version_says() {
    assert_eq!(of("GET /a HTTP/1.0\r\n\r\n"), [Seen::last("/a", "")]);
    assert_eq!(
        of("GET /a HTTP/1.1\r\nconnection: x, Close\r\n\r\n"),
        [Seen::last("/a", "")]
    );
    assert_eq!(
        of("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
        [Seen::request("/a", ""), Seen::End]
    );
}

#[test]
fn heads_have_bounds() {
    let long = "x".repeat(HEAD_BYTES_MAX);
    assert_eq!(
        of(&format!("GET /a HTTP/1.1\r\na: {long}\r\n\r\n")),
        [Seen::Refused(431)]
    );
    assert_eq!(of(&format!("GET /{long}")), [Seen::Refused(431)]);
    let fields = "a: b\r\n".repeat(101);
    assert_eq!(
        of(&format!("GET /a HTTP/1.1\r\n{fields}\r\n")),
        [Seen::Refused(431)]
    );
    let fields = "a: b\r\n".repeat(100);
    let all = of(&format!("GET /a HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(all[0], Seen::request("/a", ""));
}

#[test]
fn a_caller_that_waits_is_told_to_go_on_once_its_body_is_wanted() {
    run(async {
        let (mut caller, line) = pair().await;
        let head = "POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        caller.write_all(head.as_bytes()).await.unwrap();
        let asking = async {
            let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
            let mut came = [0; 25];
            caller.read_exact(&mut came).await.unwrap();
            assert_eq!(&came, expected);
            caller.write_all(b"hi").await.unwrap();
            caller.shutdown().await.unwrap();
        };
        let all = tokio::join!(asking, seen(&line)).1;
        assert_eq!(all, [Seen::request("/a", "hi"), Seen::End]);
    });
}

#[test]
fn a_body_left_over_reads_nothing_of_a_later_request() {
    run(async {
        let (mut caller, line) = pair().await;
        let text = "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
            POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        caller.write_all(text.as_bytes()).await.unwrap();
        assert!(matches!(
            poll_fn(|cx| line.lock().poll_next(cx)).await,
            Next::Request(..)
        ));
        let left_over = CallerBody::on_line(line.clone(), line.lock().turn());
        assert!(poll_fn(|cx| Poll::Ready(line.lock().is_through_or_here(cx))).await);
        assert!(matches!(
            poll_fn(|cx| line.lock().poll_next(cx)).await,
            Next::Request(..)
        ));
        assert!(left_over.is_end_stream());
        assert!(left_over.collect().await.unwrap().to_bytes().is_empty());
        let own = CallerBody::on_line(line.clone(), line.lock().turn());
        assert_eq!(own.collect().await.unwrap().to_bytes(), "x");
    });
}

/// What a caller reads of `response` to a request of `version`.
fn written(response: http::Response<AnswerBody>, asked: Asked) -> String {
    run(async {
        let (mut caller, line) = pair().await;
        let mut down = Down::new(response.into(), asked, false);
        poll_fn(|cx| down.poll(&line, cx)).await.unwrap();
        line.lock().close();
        let mut text = String::new();
        caller.read_to_string(&mut text).await.unwrap();
        text
    })
}

const GET: Asked = Asked {
    version: Version::HTTP_11,
    is_head_request: false,
    takes_trailers: false,
    keeps_alive: true,
};

fn whole(status: u16, body: &str) -> http::Response<AnswerBody> {
    let body = (!body.is_empty()).then(|| body.to_owned().into());
    let mut response = http::Response::new(AnswerBody::Whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[test]
fn an_answer_says_how_long_it_is() {
    let hello = || whole(200, "hello");
    assert_eq!(
        written(hello(), GET),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    );
    let closing = Asked {
        keeps_alive: false,
        ..GET
    };
    assert_eq!(
        written(hello(), closing),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    );
    let old = Asked {
        version: Version::HTTP_10,
        ..GET
    };
    assert_eq!(
        written(hello(), old),
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello"
    );
    let head = Asked {
        is_head_request: true,
        ..GET
    };
    assert_eq!(written(hello(), head), "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(
        written(whole(200, ""), GET),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(
        written(whole(204, ""), GET),
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    let mut not_modified = whole(304, "");
    not_modified
        .headers_mut()
        .insert("content-length", 9.into());
    assert_eq!(
        written(not_modified, GET),
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"
    );
    // A status that nobody has named keeps the space before the name it lacks.
    assert_eq!(
        written(whole(299, ""), GET),
        "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn an_answer_other_than_announced_takes_the_connection_with_it() {
    for announced in [4, 6] {
        run(async {
            let (_caller, line) = pair().await;
            let mut response = whole(200, "hello");
            response
                .headers_mut()
                .insert("content-length", announced.into());
            let mut down = Down::new(response.into(), GET, false);
            assert!(
                poll_fn(|cx| down.poll(&line, cx)).await.is_err(),
                "{announced}"
            );
        });
    }
}

proptest! {
    #[test]
    fn nothing_that_a_caller_sends_panics_or_hangs(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        run(sent_in(&[&bytes]));
    }

    #[test]
    fn chunks_of_any_cut_are_the_same_body(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        sizes in proptest::collection::vec(1_usize..50, 1..20),
        cut in 1_usize..40,
    ) {
        let mut text = b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let mut rest = &body[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, left) = rest.split_at((*size).min(rest.len()));
            text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
            rest = left;
        }
        text.extend_from_slice(b"0\r\n\r\n");
        let pieces: Vec<&[u8]> = text.chunks(cut).collect();
        let all = run(sent_in(&pieces));
        prop_assert_eq!(
            all,
            [
                Seen::Request { target: "/a".into(), body, has_trailers: false, follows: true },
                Seen::End,
            ]
        );
    }
}
