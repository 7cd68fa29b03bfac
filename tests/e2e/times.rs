//! The times of a call: never shorter than the upstream took by its own clock, never longer than the caller
//! waited by its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use farebox_tests::wire::Connection;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{Result, chat_stream, fresh, text, with_key};

/// How long the upstream thinks before its head, its first text, and its end.
const THINKS: Duration = Duration::from_millis(40);
/// A time is cut to its microsecond.
const CUT: Duration = Duration::from_micros(2);
/// What it says, in order: who speaks, a text, the usage.
const SAYS: [&str; 3] = [
    r#"{"id":"c","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
    r#"{"id":"c","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hi"}}]}"#,
    r#"{"id":"c","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
];

/// When a side had the request, the head with who speaks, the text, and the end.
#[derive(Debug)]
struct Seen {
    began: Instant,
    marks: Vec<Instant>,
}

impl Seen {
    fn until(&self, mark: usize) -> Duration {
        self.marks[mark] - self.began
    }
}

/// Milliseconds with up to three decimals.
fn time(row: &serde_json::Value, field: &str) -> Result<Duration> {
    let text = text(row, field);
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let micros: u64 = format!("{whole}{rest:0<3}").parse()?;
    Ok(Duration::from_micros(micros))
}

async fn upstream(seen: UnboundedSender<Seen>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut connection = Connection::new(Box::new(stream));
                if connection.request().await?.is_none() {
                    return Ok(());
                }
                let began = Instant::now();
                let mut marks = Vec::new();
                for (number, said) in SAYS.iter().enumerate() {
                    // What a model takes: the time that is measured.
                    tokio::time::sleep(THINKS).await;
                    let event = format!("data: {said}\n\n");
                    let mut bytes = format!("{:x}\r\n{event}\r\n", event.len());
                    if number == 0 {
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                        bytes.insert_str(0, head);
                    }
                    if number + 1 == SAYS.len() {
                        bytes.push_str("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
                    }
                    marks.push(Instant::now());
                    connection.write(bytes.as_bytes()).await?;
                }
                seen.send(Seen { began, marks })?;
                Result::Ok(())
            });
        }
    });
    Ok(address)
}

#[tokio::test]
async fn times_lie_between_the_upstreams_and_the_callers() -> Result {
    let (told, mut truths): (_, UnboundedReceiver<Seen>) = unbounded_channel();
    let address = upstream(told).await?;
    let (stack, key) =
        with_key(&[("upstreams.openai.base_url", &format!("http://{address}"))]).await?;
    let id = fresh("times");
    let mut connection = Connection::open(stack.plain).await?;
    let mut caller = Seen {
        began: Instant::now(),
        marks: Vec::new(),
    };
    connection.write(&chat_stream(&key, &id).bytes()).await?;
    connection.head().await?.ok_or("no answer")?;
    caller.marks.push(Instant::now());
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\"Hi\"") {
        if !connection.more(&mut answer).await? {
            return Err("the text never came".into());
        }
    }
    caller.marks.push(Instant::now());
    while !answer.ends_with(b"0\r\n\r\n") && connection.more(&mut answer).await? {}
    caller.marks.push(Instant::now());
    let truth = truths.recv().await.ok_or("the upstream said nothing")?;
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    for (number, field) in ["ttfb_ms", "ttft_ms", "duration_ms"]
        .into_iter()
        .enumerate()
    {
        let measured = time(&rows[0], field)?;
        let (least, most) = (truth.until(number), caller.until(number));
        assert!(
            least <= measured + CUT && measured <= most + CUT,
            "{field} is {measured:?}, of {least:?} to {most:?}"
        );
    }
    // What is ours alone is within what the caller waited for the head and the upstream did not take.
    let ours = time(&rows[0], "overhead_ms")?;
    let rest = caller.until(0).saturating_sub(truth.until(0));
    assert!(
        !ours.is_zero() && ours <= rest + CUT,
        "{ours:?} of {rest:?}"
    );
    Ok(())
}
