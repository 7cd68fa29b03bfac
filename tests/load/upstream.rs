//! An upstream that answers chat completions from prepared bytes.
//!
//! Invariants: each answer has an id of its own, as real ones do; one write for a JSON answer, one write for each chunk of a stream, no-delay always on.
//! It reads just enough of a request to find its end, and does not speak anything but HTTP/1.1.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farebox_tests::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Chunks of one event stream, the usage event and `[DONE]` not counted.
pub(crate) const STREAM_CHUNKS: usize = 50;
/// The pause between two chunks of a slow stream.
pub(crate) const SLOW_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of one request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What stands in the prepared bytes where an answer's number goes.
const NUMBER: &str = "000000000000";

#[derive(Clone)]
struct Answers {
    json: Vec<u8>,
    stream_head: Vec<u8>,
    stream_chunks: Vec<Vec<u8>>,
}

/// Serves until the process ends; prints the address first.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("{}", listener.local_addr()?);
    let answers = Answers::prepare();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut answers = answers.clone();
        tokio::spawn(async move {
            // A caller that goes away is its own business.
            let _ = converse(stream, &mut answers).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answers: &mut Answers) -> std::io::Result<()> {
    let mut held = Vec::with_capacity(2048);
    loop {
        let Some(request) = next_request(&mut stream, &mut held).await? else {
            return Ok(());
        };
        answers.number(matches!(request, Asked::Json));
        match request {
            Asked::Json => stream.write_all(&answers.json).await?,
            Asked::Stream => {
                stream.write_all(&answers.stream_head).await?;
                for chunk in &answers.stream_chunks {
                    stream.write_all(chunk).await?;
                }
            }
            Asked::SlowStream => {
                stream.write_all(&answers.stream_head).await?;
                let (body, end) = answers.stream_chunks.split_at(STREAM_CHUNKS);
                for chunk in body.iter().cycle().take(STREAM_CHUNKS * 20) {
                    stream.write_all(chunk).await?;
                    tokio::time::sleep(SLOW_PAUSE).await;
                }
                for chunk in end {
                    stream.write_all(chunk).await?;
                }
            }
        }
    }
}

enum Asked {
    Json,
    Stream,
    SlowStream,
}

async fn next_request(
    stream: &mut TcpStream,
    held: &mut Vec<u8>,
) -> std::io::Result<Option<Asked>> {
    let head_end = loop {
        if let Some(at) = find(held, b"\r\n\r\n") {
            break at + 4;
        }
        if held.len() > HEAD_BYTES_MAX || stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    };
    let head = &held[..head_end];
    let is_slow = find(head, b"x-load-slow").is_some();
    let length = header_number(head, b"content-length");
    let is_chunked = length.is_none() && find_ignoring_case(head, b"transfer-encoding").is_some();
    let total = loop {
        let total = match length {
            Some(length) => Some(head_end + length),
            None if is_chunked => find(&held[head_end..], b"0\r\n\r\n").map(|at| head_end + at + 5),
            None => Some(head_end),
        };
        match total {
            Some(total) if held.len() >= total => break total,
            _ => {
                if stream.read_buf(held).await? == 0 {
                    return Ok(None);
                }
            }
        }
    };
    let is_stream = find(&held[head_end..total], b"\"stream\":true").is_some();
    held.drain(..total);
    Ok(Some(match (is_slow, is_stream) {
        (true, _) => Asked::SlowStream,
        (false, true) => Asked::Stream,
        (false, false) => Asked::Json,
    }))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn find_ignoring_case(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted))
}

fn header_number(head: &[u8], name: &[u8]) -> Option<usize> {
    let at = find_ignoring_case(head, name)? + name.len() + 1;
    let digits = head[at..]
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| byte.is_ascii_digit());
    std::str::from_utf8(&digits.copied().collect::<Vec<u8>>())
        .ok()?
        .parse()
        .ok()
}

impl Answers {
    /// Gives the next answer its number, in place.
    fn number(&mut self, is_json: bool) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = format!("{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        let texts = if is_json {
            std::slice::from_mut(&mut self.json)
        } else {
            &mut self.stream_chunks
        };
        for text in texts {
            if let Some(at) = find(text, b"chatcmpl-") {
                let at = at + b"chatcmpl-".len();
                text[at..at + number.len()].copy_from_slice(number.as_bytes());
            }
        }
    }

    fn prepare() -> Self {
        // About 1.2 KB, as a short answer of a chat model is.
        let content = "All work and no play makes a dull benchmark. ".repeat(15);
        let body = format!(
            r#"{{"id":"chatcmpl-{NUMBER}","object":"chat.completion","created":1790000000,"model":"gpt-4o-mini","service_tier":"default","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":120,"completion_tokens":180,"total_tokens":300,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}}}"#
        );
        let json = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_load\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut chunks: Vec<String> = (0..STREAM_CHUNKS)
            .map(|n| {
                format!(
                    r#"{{"id":"chatcmpl-{NUMBER}","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini","service_tier":"default","choices":[{{"index":0,"delta":{{"content":" word{n}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
                )
            })
            .collect();
        chunks.push(
            format!(r#"{{"id":"chatcmpl-{NUMBER}","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini","service_tier":"default","choices":[],"usage":{{"prompt_tokens":120,"completion_tokens":50,"total_tokens":170,"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0}}}}}}"#),
        );
        chunks.push("[DONE]".to_owned());
        let mut stream_chunks: Vec<Vec<u8>> = chunks.iter().map(|chunk| framed(chunk)).collect();
        if let Some(last) = stream_chunks.last_mut() {
            last.extend_from_slice(b"0\r\n\r\n");
        }
        Self {
            json: json.into_bytes(),
            stream_head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_load\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            stream_chunks,
        }
    }
}

fn framed(text: &str) -> Vec<u8> {
    let event = format!("data: {text}\n\n");
    let mut chunk = String::new();
    let _ = write!(chunk, "{:x}\r\n{event}\r\n", event.len());
    chunk.into_bytes()
}
