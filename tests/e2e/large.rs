//! Bodies far larger than memory should be: they pass in constant memory, are metered, and whatever is said
//! before they are through is heard.
//!
//! `FAREBOX_LARGE_BYTES` says how large; `make soak` runs them with 1 GiB.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use farebox_tests::measure::Family;
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::{Connection, Message};
use tokio::net::TcpListener;

use crc32fast::Hasher;

use crate::{Result, fresh, quantity, text, with_key};

/// How large in the suite.
const BYTES: u64 = 128 * 1024 * 1024;
/// How much the proxy's resident memory may grow, whatever the size.
const GROWTH_MAX: u64 = 32 * 1024 * 1024;
/// Written and compared in blocks.
const BLOCK: usize = 256 * 1024;
/// Longest of these exchanges; a gibibyte on a busy machine.
const LONGEST: Duration = Duration::from_secs(600);

fn bytes_wanted() -> u64 {
    let given = std::env::var("FAREBOX_LARGE_BYTES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(BYTES)
}

/// Blocks that differ from their neighbours, so that a lost, doubled or swapped one is seen.
fn block(number: u64) -> &'static [u8] {
    static BLOCKS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    const DIFFERENT: u64 = 7;
    let blocks = BLOCKS.get_or_init(|| (1..=DIFFERENT).map(made).collect());
    &blocks[usize::try_from(number % DIFFERENT).unwrap_or_default()]
}

fn made(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Letters and digits: they may stand in a JSON string.
        block.extend(
            state
                .to_le_bytes()
                .map(|byte| b"abcdefghijklmnopqrstuvwxyz012345"[usize::from(byte % 32)]),
        );
    }
    block
}

/// What an upstream read of a body.
#[derive(Debug, Default)]
struct Uploaded {
    bytes: AtomicU64,
}

/// An upstream that serves one manner of answer for each path.
async fn upstream(blocks: u64) -> Result<(SocketAddr, Arc<Uploaded>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let uploaded = Arc::new(Uploaded::default());
    let shared = Arc::clone(&uploaded);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                while let Some(head) = connection.head().await? {
                    if !serve(&mut connection, &head, blocks, &shared).await? {
                        break;
                    }
                }
                Ok::<_, farebox_tests::Error>(())
            });
        }
    });
    Ok((address, uploaded))
}

async fn serve(
    connection: &mut Connection,
    head: &Message,
    blocks: u64,
    uploaded: &Uploaded,
) -> Result<bool> {
    if head.header("x-manner") == Some("early") {
        let body = r#"{"error":{"message":"too large for me","type":"invalid_request_error"}}"#;
        let answer = format!(
            "HTTP/1.1 413 Payload Too Large\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write(answer.as_bytes()).await?;
        // It stays open until the other side has had enough.
        let mut rest = Vec::new();
        while connection.more(&mut rest).await? {
            rest.clear();
        }
        return Ok(false);
    }
    let length: u64 = head.header("content-length").unwrap_or("0").parse()?;
    let mut sum = Hasher::new();
    let (mut seen, mut piece) = (0, Vec::new());
    while seen < length {
        if !connection.more(&mut piece).await? {
            return Ok(false);
        }
        seen += piece.len() as u64;
        uploaded.bytes.store(seen, Ordering::Relaxed);
        sum.update(&piece);
        piece.clear();
    }
    if head.start.contains("/audio/transcriptions") {
        let body = format!(
            r#"{{"text":"{}","usage":{{"type":"tokens","input_tokens":14,"input_token_details":{{"text_tokens":4,"audio_tokens":10}},"output_tokens":5,"total_tokens":19}}}}"#,
            sum.finalize()
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write(answer.as_bytes()).await?;
    } else if head.start.contains("/audio/speech") {
        let length = blocks * BLOCK as u64;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write(answer.as_bytes()).await?;
        for number in 0..blocks {
            connection.write(block(number)).await?;
        }
    } else {
        let start = br#"{"object":"list","model":"text-embedding-3-small","data":[{"embedding":""#;
        let end = br#""}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#;
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        write_chunk(connection, start).await?;
        for number in 0..blocks {
            write_chunk(connection, block(number)).await?;
        }
        write_chunk(connection, end).await?;
        connection.write(b"0\r\n\r\n").await?;
    }
    Ok(true)
}

async fn write_chunk(connection: &mut Connection, bytes: &[u8]) -> Result {
    connection
        .write(format!("{:x}\r\n", bytes.len()).as_bytes())
        .await?;
    connection.write(bytes).await?;
    connection.write(b"\r\n").await
}

struct Bench {
    stack: Stack,
    key: Key,
    uploaded: Arc<Uploaded>,
    blocks: u64,
    before: u64,
}

impl Bench {
    async fn start() -> Result<Self> {
        let blocks = bytes_wanted().div_ceil(BLOCK as u64);
        let (address, uploaded) = upstream(blocks).await?;
        let (mut stack, key) =
            with_key(&[("upstreams.openai.base_url", &format!("http://{address}"))]).await?;
        let before = Family::of(stack.proxy()?.pid()).peak_resident_bytes()?;
        Ok(Self {
            stack,
            key,
            uploaded,
            blocks,
            before,
        })
    }

    fn head(&self, path: &str, id: &str, more: &str) -> String {
        format!(
            "POST /openai/v1/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nx-farebox-session: {id}\r\n{more}\r\n",
            self.key.secret
        )
    }

    /// The proxy never held what went through it.
    fn check_memory(&mut self) -> Result {
        let peak = Family::of(self.stack.proxy()?.pid()).peak_resident_bytes()?;
        let grown = peak.saturating_sub(self.before);
        println!(
            "{} MiB: the proxy grew by {} KiB",
            (self.blocks * BLOCK as u64) >> 20,
            grown >> 10
        );
        assert!(grown < GROWTH_MAX, "it grew by {grown} bytes");
        Ok(())
    }
}

/// A transcription's form around a file of this many blocks, with the model behind it.
fn form(blocks: u64) -> (Vec<u8>, Vec<u8>, u64) {
    let start = b"--b0und\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n".to_vec();
    let end = b"\r\n--b0und\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o-transcribe\r\n--b0und--\r\n".to_vec();
    let length = blocks * BLOCK as u64 + (start.len() + end.len()) as u64;
    (start, end, length)
}

#[tokio::test]
async fn a_large_upload_passes_in_constant_memory() -> Result {
    let mut bench = Bench::start().await?;
    let id = fresh("upload");
    let (start, end, length) = form(bench.blocks);
    let more = format!(
        "content-type: multipart/form-data; boundary=b0und\r\ncontent-length: {length}\r\n"
    );
    let mut expected = Hasher::new();
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection
        .write(bench.head("audio/transcriptions", &id, &more).as_bytes())
        .await?;
    let mut pieces: Vec<&[u8]> = vec![&start];
    for number in 0..bench.blocks {
        pieces.push(block(number));
    }
    pieces.push(&end);
    for piece in pieces {
        expected.update(piece);
        connection.write(piece).await?;
    }
    let answer = tokio::time::timeout(LONGEST, connection.answer()).await??;
    assert_eq!(
        answer.json()["text"],
        expected.finalize().to_string(),
        "{}",
        answer.text()
    );
    let rows = bench
        .stack
        .rows_when(&format!("session_id = '{id}'"), 1)
        .await?;
    assert_eq!(
        text(&rows[0], "model_requested"),
        "gpt-4o-transcribe",
        "{}",
        rows[0]
    );
    assert_eq!(text(&rows[0], "request_bytes"), length.to_string());
    assert_eq!(
        quantity(&rows[0], "input_audio_tokens"),
        "10",
        "{}",
        rows[0]
    );
    bench.check_memory()
}

#[tokio::test]
async fn a_large_answer_passes_in_constant_memory() -> Result {
    let mut bench = Bench::start().await?;
    let blocks = bench.blocks;
    let mut expected = Hasher::new();
    (0..blocks).for_each(|number| expected.update(block(number)));
    let expected = expected.finalize();
    for (path, body, is_chunked) in [
        (
            "audio/speech",
            r#"{"model":"tts-1","input":"Hello","voice":"alloy"}"#,
            false,
        ),
        (
            "embeddings",
            r#"{"model":"text-embedding-3-small","input":"Hi"}"#,
            true,
        ),
    ] {
        let id = fresh("answer");
        let more = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        let mut connection = Connection::open(bench.stack.plain).await?;
        connection
            .write(format!("{}{body}", bench.head(path, &id, &more)).as_bytes())
            .await?;
        let head = connection.head().await?.ok_or("no answer")?;
        assert_eq!(head.status(), 200, "{head:?}");
        let (mut seen, mut sum, mut piece) = (0_u64, Hasher::new(), Vec::new());
        if is_chunked {
            // Sizes of chunks may differ; that all came is told by the usage at the end.
            let mut tail = Vec::new();
            while !tail.ends_with(b"\r\n0\r\n\r\n") && connection.more(&mut piece).await? {
                seen += piece.len() as u64;
                tail.append(&mut piece);
                tail.drain(..tail.len().saturating_sub(256));
            }
            assert!(seen > blocks * BLOCK as u64);
            assert!(String::from_utf8_lossy(&tail).contains(r#""total_tokens":8"#));
        } else {
            while seen < blocks * BLOCK as u64 && connection.more(&mut piece).await? {
                seen += piece.len() as u64;
                sum.update(&piece);
                piece.clear();
            }
            assert_eq!((seen, sum.finalize()), (blocks * BLOCK as u64, expected));
        }
        let rows = bench
            .stack
            .rows_when(&format!("session_id = '{id}'"), 1)
            .await?;
        let (meter, count) = if is_chunked {
            ("input_tokens", "8")
        } else {
            ("characters", "5")
        };
        assert_eq!(quantity(&rows[0], meter), count, "{}", rows[0]);
        assert_eq!(text(&rows[0], "ending"), "complete");
    }
    bench.check_memory()
}

#[tokio::test]
async fn a_caller_that_waits_for_continue_is_told_to() -> Result {
    let bench = Bench::start().await?;
    let id = fresh("continue");
    let (start, end, _) = form(0);
    let body = [start, end].concat();
    let more = format!(
        "content-type: multipart/form-data; boundary=b0und\r\nexpect: 100-continue\r\ncontent-length: {}\r\n",
        body.len()
    );
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection
        .write(bench.head("audio/transcriptions", &id, &more).as_bytes())
        .await?;
    let interim = connection.head().await?.ok_or("no answer")?;
    assert_eq!(interim.status(), 100, "{interim:?}");
    connection.write(&body).await?;
    assert_eq!(connection.answer().await?.status(), 200);
    bench
        .stack
        .rows_when(&format!("session_id = '{id}'"), 1)
        .await?;

    // One that is refused is told so, and keeps its body.
    let more =
        "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n";
    let head = bench
        .head("chat/completions", &id, more)
        .replace(&bench.key.secret, "vk_WRONG");
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection.write(head.as_bytes()).await?;
    let refused = connection.head().await?.ok_or("no answer")?;
    assert_eq!(refused.status(), 401, "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_comes_during_the_upload_is_heard() -> Result {
    let bench = Bench::start().await?;
    let id = fresh("early");
    let (start, _, length) = form(bench.blocks);
    let more = format!(
        "content-type: multipart/form-data; boundary=b0und\r\nx-manner: early\r\ncontent-length: {length}\r\n"
    );
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection
        .write(bench.head("audio/transcriptions", &id, &more).as_bytes())
        .await?;
    connection.write(&start).await?;
    // The rest is never sent: the answer must not wait for it.
    let answer = tokio::time::timeout(LONGEST, connection.answer()).await??;
    assert_eq!(answer.status(), 413, "{}", answer.text());
    assert_eq!(answer.json()["error"]["message"], "too large for me");
    let rows = bench
        .stack
        .rows_when(&format!("session_id = '{id}'"), 1)
        .await?;
    assert_eq!(
        text(&rows[0], "ending"),
        "refused_by_upstream",
        "{}",
        rows[0]
    );
    Ok(())
}

#[tokio::test]
async fn a_length_that_is_not_kept_leaves_its_row() -> Result {
    let bench = Bench::start().await?;
    let id = fresh("short");
    let (start, _, _) = form(0);
    let more = "content-type: multipart/form-data; boundary=b0und\r\ncontent-length: 1000000\r\n";
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection
        .write(bench.head("audio/transcriptions", &id, more).as_bytes())
        .await?;
    connection.write(&start).await?;
    let wanted = start.len() as u64;
    farebox_tests::wait::eventually("what was sent goes up", LONGEST, || async {
        let seen = bench.uploaded.bytes.load(Ordering::Relaxed);
        farebox_tests::wait::holds(seen == wanted, seen)
    })
    .await?;
    drop(connection);
    let rows = bench
        .stack
        .rows_when(&format!("session_id = '{id}'"), 1)
        .await?;
    assert_eq!(text(&rows[0], "ending"), "downstream_gone", "{}", rows[0]);
    assert_eq!(text(&rows[0], "usage_source"), "missing", "{}", rows[0]);

    // Bytes behind the length are another request, and none that can be read.
    let id = fresh("long");
    let body = r#"{"model":"text-embedding-3-small","input":"Hi"}"#;
    let more = format!(
        "content-type: application/json\r\nx-manner: early\r\ncontent-length: {}\r\n",
        body.len()
    );
    let mut connection = Connection::open(bench.stack.plain).await?;
    connection
        .write(
            format!(
                "{}{body}and more\r\n\r\n",
                bench.head("embeddings", &id, &more)
            )
            .as_bytes(),
        )
        .await?;
    assert_eq!(connection.answer().await?.status(), 413);
    assert!(
        connection
            .answer()
            .await
            .map_or(true, |answer| answer.status() == 400)
    );
    Ok(())
}
