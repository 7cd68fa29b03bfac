//! The recorded exchanges under `tests/fixtures`, and an upstream that serves them piece by piece: it
//! sends a piece only after the caller has received everything before it, so a byte that waits for a later
//! one makes the exchange stand still, whatever the machine's speed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Result;
use crate::wire::{Connection, Headers, Message};

pub mod http2;

/// Names the exchange that a request is part of.
pub const RUN_HEADER: &str = "x-corpus-run";
/// What follows the last chunk of every chunked answer.
pub const TRAILER: (&str, &str) = ("x-corpus-trailer", "done");
/// Longest wait for the other side of a handshake: far beyond what any machine needs.
const STALL_MAX: Duration = Duration::from_secs(10);

/// One recorded exchange.
#[derive(Clone, Debug)]
pub struct Case {
    /// `vendor/case`.
    pub name: String,
    /// The folder's name of the vendor.
    pub vendor: String,
    /// The request's method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The request's content type.
    pub request_type: String,
    /// The request's body.
    pub request: Vec<u8>,
    /// What the request's body is in: `json`, `form`, or empty.
    pub request_form: String,
    /// The answer's status.
    pub status: u16,
    /// All headers of the answer but the framing ones.
    pub headers: Headers,
    /// The answer's body.
    pub answer: Vec<u8>,
    /// What the answer's body is in, by its file's name: `json`, `sse`, `jsonl`, `aws`, `txt`.
    pub form: String,
    /// Whether the answer ends as its framing should.
    pub is_complete: bool,
}

/// Every recorded exchange.
pub fn cases() -> Result<Vec<Case>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut found = Vec::new();
    for vendor in folders(&root)? {
        for folder in folders(&vendor)? {
            // Sessions of sockets are recorded in another form.
            if folder.join("exchange.json").is_file() {
                found.push(Case::load(&vendor, &folder)?);
            }
        }
    }
    Ok(found)
}

fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(of)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

impl Case {
    fn load(vendor: &Path, folder: &Path) -> Result<Self> {
        let exchange: Value =
            serde_json::from_slice(&std::fs::read(folder.join("exchange.json"))?)?;
        let text = |name: &str| exchange[name].as_str().unwrap_or_default().to_owned();
        let (mut request, mut answer) = (None, None);
        for entry in std::fs::read_dir(folder)? {
            let name = file_name(&entry?.path());
            match name.split_once('.') {
                Some(("request", form)) => request = Some(form.to_owned()),
                Some(("response", form)) if !form.ends_with(".br") => {
                    answer = Some(form.to_owned())
                }
                _ => {}
            }
        }
        let form = answer.ok_or_else(|| format!("{} has no answer", folder.display()))?;
        let request_form = request.unwrap_or_default();
        let mut headers = vec![("content-type".to_owned(), text("content_type"))];
        for (name, value) in exchange["headers"].as_object().into_iter().flatten() {
            headers.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
        }
        // Two of a name, in their order.
        for cookie in ["a=1; Path=/", "b=2; Path=/"] {
            headers.push(("set-cookie".to_owned(), cookie.to_owned()));
        }
        let path = match exchange["query"].as_str() {
            Some(query) => format!("{}?{query}", text("path")),
            None => text("path"),
        };
        let request_type = match exchange["request_type"].as_str() {
            Some(named) => named.to_owned(),
            None => "application/json".to_owned(),
        };
        Ok(Self {
            name: format!("{}/{}", file_name(vendor), file_name(folder)),
            vendor: file_name(vendor),
            method: text("method"),
            path,
            request_type,
            request: match request_form.as_str() {
                "" => Vec::new(),
                form => std::fs::read(folder.join(format!("request.{form}")))?,
            },
            request_form,
            status: exchange["status"].to_string().parse()?,
            headers,
            answer: std::fs::read(folder.join(format!("response.{form}")))?,
            form,
            is_complete: exchange["is_complete"] == Value::Bool(true),
        })
    }

    /// The answer in pieces: each unit of a stream in two halves, anything else in four pieces.
    #[must_use]
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let units = match self.form.as_str() {
            "sse" => ends_of(&self.answer, b"\n\n"),
            "jsonl" => ends_of(&self.answer, b"\n"),
            "aws" => ends_of_messages(&self.answer),
            _ => vec![self.answer.len() / 2, self.answer.len()],
        };
        let mut start = 0;
        let mut pieces = Vec::new();
        for end in units {
            let middle = start + (end - start) / 2;
            pieces.push(self.answer[start..middle].to_vec());
            pieces.push(self.answer[middle..end].to_vec());
            start = end;
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    fn script(&self) -> Script {
        Script {
            status: self.status,
            headers: self.headers.clone(),
            pieces: self.pieces().into_iter().map(Piece::visible).collect(),
            // An array grows, all other JSON has its length up front.
            is_chunked: self.form != "json" || self.answer.starts_with(b"["),
            is_complete: self.is_complete,
        }
    }
}

fn ends_of(bytes: &[u8], separator: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> = (separator.len()..bytes.len())
        .filter(|end| bytes[..*end].ends_with(separator))
        .collect();
    ends.push(bytes.len());
    ends
}

/// An AWS event stream's messages begin with their length.
fn ends_of_messages(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        at += u32::from_be_bytes(*length) as usize;
        if length == &[0; 4] || at >= bytes.len() {
            break;
        }
        ends.push(at);
    }
    ends.push(bytes.len());
    ends
}

/// A piece of an answer, and how many of its bytes the caller is to get.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What arrives of it.
    pub visible: usize,
}

impl Piece {
    /// One that arrives as it is.
    #[must_use]
    pub fn visible(bytes: Vec<u8>) -> Self {
        Self {
            visible: bytes.len(),
            bytes,
        }
    }
}

/// An answer to be given.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its status.
    pub status: u16,
    /// Its headers but the framing ones.
    pub headers: Headers,
    /// Its body.
    pub pieces: Vec<Piece>,
    /// Chunks and a trailer; else its length is known.
    pub is_chunked: bool,
    /// Whether it ends as it should.
    pub is_complete: bool,
}

/// One exchange, shared by the two ends of it.
#[derive(Debug)]
pub struct Run {
    /// What the upstream answers, by what it was asked.
    answer: fn(&Message, &Script) -> Script,
    script: Script,
    /// The request's body is expected in halves.
    is_stepwise: bool,
    received: watch::Sender<usize>,
    uploaded: watch::Sender<usize>,
    seen: Mutex<Option<Message>>,
}

impl Run {
    /// The caller has received this much of the body.
    pub fn received(&self, bytes: usize) {
        self.received.send_replace(bytes);
    }

    /// Waits until the upstream has received this much of the request's body, where it comes as it is sent.
    pub async fn uploaded(&self, bytes: usize) -> Result<()> {
        if !self.is_stepwise {
            return Ok(());
        }
        reached(&self.uploaded, bytes, "the upload").await
    }

    /// The request as the upstream saw it.
    #[must_use]
    pub fn seen(&self) -> Option<Message> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn reached(count: &watch::Sender<usize>, wanted: usize, what: &str) -> Result<()> {
    let mut count = count.subscribe();
    let wait = count.wait_for(|count| *count >= wanted);
    let in_time = tokio::time::timeout(STALL_MAX, wait).await.is_ok();
    if in_time {
        return Ok(());
    }
    let stands = *count.borrow();
    Err(format!("{what} stands at {stands} of {wanted}: a byte waits for a later one").into())
}

/// An upstream that plays the corpus.
#[derive(Clone)]
pub struct Corpus {
    /// Where it listens.
    pub address: SocketAddr,
    runs: Arc<Mutex<HashMap<String, Arc<Run>>>>,
}

impl Corpus {
    /// Starts one on a free port of the present runtime.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let corpus = Self {
            address: listener.local_addr()?,
            runs: Arc::default(),
        };
        let serving = corpus.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    socket.set_nodelay(true)?;
                    serving.converse(Connection::new(Box::new(socket))).await
                });
            }
        });
        Ok(corpus)
    }

    /// A new exchange under this id.
    #[must_use]
    pub fn run(&self, id: &str, case: &Case) -> Arc<Run> {
        self.begin(id, case.script(), true, |_, script| script.clone())
    }

    /// An exchange whose answer depends on the request, which may be held whole before it goes up.
    #[must_use]
    pub fn play(
        &self,
        id: &str,
        script: Script,
        answer: fn(&Message, &Script) -> Script,
    ) -> Arc<Run> {
        self.begin(id, script, false, answer)
    }

    fn begin(
        &self,
        id: &str,
        script: Script,
        is_stepwise: bool,
        answer: fn(&Message, &Script) -> Script,
    ) -> Arc<Run> {
        let run = Arc::new(Run {
            answer,
            script,
            is_stepwise,
            received: watch::Sender::new(0),
            uploaded: watch::Sender::new(0),
            seen: Mutex::default(),
        });
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(id.to_owned(), Arc::clone(&run));
        run
    }

    fn take(&self, id: &str) -> Result<Arc<Run>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.remove(id).ok_or_else(|| "a request of no run".into())
    }

    async fn converse(&self, mut connection: Connection) -> Result<()> {
        while let Some(mut request) = connection.head().await? {
            let id = request.header(RUN_HEADER).unwrap_or_default().to_owned();
            let run = self.take(&id)?;
            let length: usize = match request.header("content-length") {
                Some(length) => length.parse()?,
                None => 0,
            };
            let mut body = Vec::new();
            while body.len() < length {
                if !connection.more(&mut body).await? {
                    return Err("the request broke off".into());
                }
                run.uploaded.send_replace(body.len());
            }
            request.body = body;
            let script = (run.answer)(&request, &run.script);
            *run.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
            if !serve(&mut connection, &script, &run).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Writes the answer, each piece after the caller has the one before; false when it was left unended.
async fn serve(connection: &mut Connection, script: &Script, run: &Run) -> Result<bool> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", script.status);
    for (name, value) in &script.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let whole: usize = script.pieces.iter().map(|piece| piece.bytes.len()).sum();
    if script.is_chunked {
        head.push_str(&format!(
            "transfer-encoding: chunked\r\ntrailer: {}\r\n\r\n",
            TRAILER.0
        ));
    } else {
        let length = if script.is_complete { whole } else { whole + 1 };
        head.push_str(&format!("content-length: {length}\r\n\r\n"));
    }
    connection.write(head.as_bytes()).await?;
    let mut sent = 0;
    for piece in &script.pieces {
        reached(&run.received, sent, "the answer").await?;
        if script.is_chunked {
            let mut chunk = format!("{:x}\r\n", piece.bytes.len()).into_bytes();
            chunk.extend_from_slice(&piece.bytes);
            chunk.extend_from_slice(b"\r\n");
            connection.write(&chunk).await?;
        } else {
            connection.write(&piece.bytes).await?;
        }
        sent += piece.visible;
    }
    reached(&run.received, sent, "the answer").await?;
    if script.is_complete && script.is_chunked {
        let end = format!("0\r\n{}: {}\r\n\r\n", TRAILER.0, TRAILER.1);
        connection.write(end.as_bytes()).await?;
    }
    Ok(script.is_complete)
}
