//! The request's body on its way to the upstream: whole where a decision needed it, else streamed
//! with a bounded copy for the facts that pricing asks of a request. Of a large one only what is short
//! is copied: the fields of a form without its files, the members of a JSON text without its bulk.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::bound::Bound;
use crate::downstream::{CallerBody, CallerError};
use crate::framing::multipart::Form;
use crate::framing::prune::Pruner;

/// Most bytes of a streamed request that are copied as they are; of a larger one the bulk is left out.
pub const SNIFF_BYTES_MAX: usize = 256 * 1024;

/// What went up so far, shared between the body and the call it belongs to.
#[derive(Default)]
pub struct Upload {
    bytes: AtomicU64,
    is_done: AtomicBool,
    is_failed: AtomicBool,
    is_paused: AtomicBool,
    sniffed: Mutex<Sniffed>,
}

#[derive(Default)]
struct Sniffed {
    copy: Copy,
    len: usize,
}

enum Copy {
    /// All of it, so far. Copied, because a part of the connection's buffer would keep all of that.
    Whole(Vec<u8>),
    /// The fields of a large form.
    Form(Form),
    /// The short members of a large JSON text.
    Json(Pruner),
    /// Handed out, or neither of these.
    None,
}

impl Default for Copy {
    fn default() -> Self {
        Self::Whole(Vec::new())
    }
}

impl Sniffed {
    fn push(&mut self, chunk: &Bytes) {
        self.len = self.len.saturating_add(chunk.len());
        match &mut self.copy {
            Copy::Whole(copy) => {
                copy.extend_from_slice(chunk);
                if self.len > SNIFF_BYTES_MAX {
                    self.copy = Copy::without_bulk(copy);
                }
            }
            Copy::Form(form) => form.push(chunk),
            Copy::Json(pruner) => pruner.push(chunk),
            Copy::None => {}
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.copy, Copy::None) {
            Copy::Whole(copy) => (!copy.is_empty()).then(|| copy.into()),
            Copy::Form(form) => Some(form.written().into()),
            Copy::Json(pruner) => pruner.finish().map(Bytes::from),
            Copy::None => None,
        }
    }
}

impl Copy {
    /// What a large body goes on as, by its first byte.
    fn without_bulk(copy: &[u8]) -> Self {
        match copy.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {
                let mut pruner = Pruner::default();
                pruner.push(copy);
                Self::Json(pruner)
            }
            Some(b'-') => {
                let mut form = Form::default();
                form.push(copy);
                Self::Form(form)
            }
            _ => Self::None,
        }
    }
}

impl Upload {
    /// Bytes handed to the upstream's connection.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A held body goes up as a whole.
    pub fn sent_whole(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.is_done.store(true, Ordering::Relaxed);
    }

    /// The body is through.
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    /// The caller went away or sent what is no HTTP while it was sending the body.
    pub fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::Relaxed)
    }

    /// The caller paused longer than the bound.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// The body, when it was copied and came to its end; a large one without its bulk, in the same
    /// form.
    pub fn sniffed(&self) -> Option<Bytes> {
        if !self.is_done() {
            return None;
        }
        let mut sniffed = self.sniffed.lock().unwrap_or_else(PoisonError::into_inner);
        sniffed.take()
    }

    fn saw(&self, chunk: &Bytes, is_sniffing: bool) {
        self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if !is_sniffing {
            return;
        }
        let mut sniffed = self.sniffed.lock().unwrap_or_else(PoisonError::into_inner);
        sniffed.push(chunk);
    }
}

/// Why a body broke off.
#[derive(Debug)]
pub enum UploadError {
    /// The caller went away or sent what is no HTTP.
    Downstream(CallerError),
    /// The caller paused longer than `body_timeout_ms`.
    Paused,
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Downstream(error) => write!(f, "request body: {error}"),
            Self::Paused => f.write_str("request body: the caller paused too long"),
        }
    }
}

impl std::error::Error for UploadError {}

/// A bound on the time between two chunks; its timer is armed by the first wait.
pub struct Pause {
    bound: Duration,
    since: Instant,
    timer: Bound,
}

impl Pause {
    /// Starts now.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            since: Instant::now(),
            timer: Bound::default(),
        }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.poll_over(self.since + self.bound, cx).is_ready()
    }
}

/// The body as the upstream's connection polls it.
pub enum RequestBody {
    /// None, or already sent.
    Empty,
    /// Held whole; empty once it is sent.
    Held(Bytes),
    /// As it comes from the caller.
    Streaming {
        /// What was held and goes first.
        first: VecDeque<Bytes>,
        /// What is left to come.
        incoming: CallerBody,
        /// What went up so far.
        upload: Arc<Upload>,
        /// Whether to keep a copy for the request's facts.
        is_sniffing: bool,
        /// Bounds the caller's pauses.
        pause: Pause,
    },
}

impl RequestBody {
    /// A whole body.
    pub fn held(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Held(bytes)
        }
    }

    /// The same once more, where nothing of it has to come from the caller.
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Held(bytes) => Some(Self::Held(bytes.clone())),
            Self::Streaming { .. } => None,
        }
    }

    /// What still comes from the caller.
    pub fn streaming(
        incoming: CallerBody,
        upload: Arc<Upload>,
        is_sniffing: bool,
        pause: Duration,
    ) -> Self {
        if incoming.is_end_stream() {
            upload.is_done.store(true, Ordering::Relaxed);
            return Self::Empty;
        }
        Self::Streaming {
            first: VecDeque::new(),
            incoming,
            upload,
            is_sniffing,
            pause: Pause::new(pause),
        }
    }

    /// What was held before it grew too large, then what still comes.
    pub fn spilled(
        first: Vec<Bytes>,
        incoming: CallerBody,
        upload: Arc<Upload>,
        pause: Duration,
    ) -> Self {
        Self::Streaming {
            first: first.into(),
            incoming,
            upload,
            is_sniffing: true,
            pause: Pause::new(pause),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Held(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Streaming {
                first,
                incoming,
                upload,
                is_sniffing,
                pause,
            } => {
                if let Some(chunk) = first.pop_front() {
                    upload.saw(&chunk, *is_sniffing);
                    if first.is_empty() && incoming.is_end_stream() {
                        upload.is_done.store(true, Ordering::Relaxed);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(cx) else {
                    if pause.poll_over(cx) {
                        upload.is_paused.store(true, Ordering::Relaxed);
                        return Poll::Ready(Some(Err(UploadError::Paused)));
                    }
                    return Poll::Pending;
                };
                pause.since = Instant::now();
                match &polled {
                    Some(Ok(frame)) => {
                        if let Some(chunk) = frame.data_ref() {
                            upload.saw(chunk, *is_sniffing);
                        }
                        if incoming.is_end_stream() {
                            upload.is_done.store(true, Ordering::Relaxed);
                        }
                    }
                    Some(Err(_)) => upload.is_failed.store(true, Ordering::Relaxed),
                    None => upload.is_done.store(true, Ordering::Relaxed),
                }
                Poll::Ready(polled.map(|frame| frame.map_err(UploadError::Downstream)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Held(bytes) => bytes.is_empty(),
            Self::Streaming {
                first, incoming, ..
            } => first.is_empty() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming {
                first, incoming, ..
            } => {
                let held: u64 = first.iter().map(|part| part.len() as u64).sum();
                match incoming.size_hint().exact() {
                    Some(left) => SizeHint::with_exact(held + left),
                    None => SizeHint::default(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(pieces: impl IntoIterator<Item = Vec<u8>>) -> Option<Bytes> {
        let upload = Upload::default();
        for piece in pieces {
            upload.saw(&piece.into(), true);
        }
        upload.is_done.store(true, Ordering::Relaxed);
        upload.sniffed()
    }

    #[test]
    fn a_small_body_is_copied_as_it_is() {
        let pieces = ["{\"model\":", "\"m\"}"].map(|piece| piece.as_bytes().to_vec());
        assert_eq!(sniffed(pieces).unwrap(), "{\"model\":\"m\"}");
        assert_eq!(sniffed([]), None);
    }

    #[test]
    fn the_model_of_a_large_body_is_found_behind_its_bulk() {
        let bulk = || std::iter::repeat_n(vec![b'x'; 64 * 1024], 64);
        let json = std::iter::once(b" {\"input\":\"".to_vec())
            .chain(bulk())
            .chain([b"\",\"model\":\"m\"}".to_vec()]);
        assert_eq!(sniffed(json).unwrap(), r#"{"input":null,"model":"m"}"#);

        let head = "--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n";
        let tail = "\r\n--b\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--b--\r\n";
        let form = std::iter::once(head.into())
            .chain(bulk())
            .chain([tail.into()]);
        let copy = sniffed(form).unwrap();
        assert!(copy.len() < SNIFF_BYTES_MAX / 16);
        let parts = crate::framing::multipart::parts(&copy);
        assert_eq!(parts[0].len, 64 * 64 * 1024);
        assert_eq!(parts[1].text(), Some("m"));

        assert_eq!(sniffed(bulk()), None);
    }
}
