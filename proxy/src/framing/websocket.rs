//! WebSocket messages out of a copy of one direction's bytes (RFC 6455, with RFC 7692's compression).
//!
//! Never fails and never waits: what is no WebSocket is said once ([`Framing::is_broken`]) and read no
//! further, what is too large is counted and not kept. At most [`MESSAGE_BYTES_MAX`] of a message are
//! held, and nothing between two messages but the window of a compressed direction.

pub mod inflate;
#[cfg(test)]
mod tests;
pub mod write;

use inflate::{Failure, Inflater};

/// Largest message kept whole; of a larger one only its length is known.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What is kept of a binary message that is no JSON: enough for the header of a WAV file.
pub const BINARY_START_BYTES: usize = 64;
/// Room kept from one message to the next.
const BUFFER_KEPT_BYTES: usize = 16 * 1024;
/// Longest head of a frame.
const HEAD_BYTES_MAX: usize = 14;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 by its frame's word; not checked.
    Text,
    /// Anything.
    Binary,
    /// The end of this direction; the payload begins with the code, if there is one.
    Close,
    /// To be answered by a pong.
    Ping,
    /// The answer to a ping, or a sign of life.
    Pong,
}

/// One message, unmasked, inflated and put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// The payload; only the beginning of a binary message that is no JSON; nothing of one that is too
    /// large or cannot be inflated.
    pub data: &'a [u8],
    /// Bytes of the payload, inflated; 0 where that was not possible.
    pub len: u64,
}

impl Message<'_> {
    /// Nothing of the payload is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.data.len() as u64 == self.len
    }

    /// The code of a close (RFC 6455 section 7.1.5).
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match (self.kind, self.data) {
            (Kind::Close, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

/// What was unusual about a direction so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unusual {
    /// The bytes are no WebSocket frames from somewhere on.
    pub is_broken: bool,
    /// A message was too large to be kept.
    pub has_large: bool,
    /// A compressed message could not be inflated, nor can those after it.
    pub not_inflated: Option<Failure>,
}

/// The reader of one direction.
#[derive(Debug)]
pub struct Framing {
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    frame: Option<Frame>,
    message: Option<Assembly>,
    control: [u8; CONTROL_BYTES_MAX],
    control_len: usize,
    /// Kept between messages, so that small ones need no new room.
    buffer: Vec<u8>,
    inflater: Option<Inflater>,
    unusual: Unusual,
}

/// The frame whose payload passes.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    is_last: bool,
    mask: Option<[u8; 4]>,
    /// Payload seen.
    seen: u64,
    left: u64,
}

/// A message of which not all is in.
#[derive(Debug)]
struct Assembly {
    kind: Kind,
    is_compressed: bool,
    keeps: Keeps,
    data: Vec<u8>,
    len: u64,
}

/// How much of a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// A binary message of which no byte is in.
    Undecided,
    All,
    Start,
    Nothing,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Framing {
    /// A direction whose messages are not compressed, or are, as was negotiated.
    #[must_use]
    pub fn new(inflater: Option<Inflater>) -> Self {
        Self {
            head: [0; HEAD_BYTES_MAX],
            head_len: 0,
            frame: None,
            message: None,
            control: [0; CONTROL_BYTES_MAX],
            control_len: 0,
            buffer: Vec::new(),
            inflater,
            unusual: Unusual::default(),
        }
    }

    /// A direction that speaks an extension we do not know: nothing of it is read.
    #[must_use]
    pub fn unread() -> Self {
        let mut framing = Self::new(None);
        framing.unusual.is_broken = true;
        framing
    }

    /// What was unusual so far.
    #[must_use]
    pub fn unusual(&self) -> Unusual {
        self.unusual
    }

    /// The bytes are no frames from somewhere on: there are no more messages, and no boundaries.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.unusual.is_broken
    }

    /// A message has begun and not ended: only control frames may stand here.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Bytes that are surely missing until a frame ends; `None` between two frames.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        match &self.frame {
            Some(frame) => Some(frame.left),
            None if self.head_len == 0 => None,
            None => Some((head_bytes(&self.head[..self.head_len]) - self.head_len) as u64),
        }
    }

    /// Takes a copy of what passes and hands on each message that ends in it.
    pub fn push(&mut self, mut bytes: &[u8], on: &mut dyn FnMut(Message<'_>)) {
        while !self.unusual.is_broken {
            match self.frame.take() {
                None => {
                    if bytes.is_empty() {
                        return;
                    }
                    bytes = self.take_head(bytes, on);
                }
                Some(mut frame) => {
                    let len = usize::try_from(frame.left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    let (piece, rest) = bytes.split_at(len);
                    self.take_payload(&frame, piece);
                    frame.seen += len as u64;
                    frame.left -= len as u64;
                    bytes = rest;
                    if frame.left > 0 {
                        self.frame = Some(frame);
                        return;
                    }
                    self.end_frame(&frame, on);
                }
            }
        }
    }

    /// Takes bytes of a head; a frame that is whole and needs no work is handed on as it lies there.
    fn take_head<'a>(&mut self, mut bytes: &'a [u8], on: &mut dyn FnMut(Message<'_>)) -> &'a [u8] {
        loop {
            let missing = head_bytes(&self.head[..self.head_len]) - self.head_len;
            if missing == 0 {
                break;
            }
            let taken = missing.min(bytes.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if taken < missing {
                return bytes;
            }
        }
        let first = self.head[0];
        let frame = self.read_head();
        self.head_len = 0;
        let Some(frame) = frame else {
            self.unusual.is_broken = true;
            self.message = None;
            return bytes;
        };
        let is_compressed = first & 0x40 != 0;
        if frame.opcode == TEXT || frame.opcode == BINARY {
            let kind = if frame.opcode == TEXT {
                Kind::Text
            } else {
                Kind::Binary
            };
            let len = usize::try_from(frame.left).unwrap_or(usize::MAX);
            if frame.is_last
                && frame.mask.is_none()
                && !is_compressed
                && let Some((data, rest)) = bytes.split_at_checked(len)
                && len <= MESSAGE_BYTES_MAX
            {
                let is_start =
                    kind == Kind::Binary && !data.first().is_some_and(|byte| may_be_json(*byte));
                let kept = if is_start { BINARY_START_BYTES } else { len };
                on(Message {
                    kind,
                    data: &data[..kept.min(len)],
                    len: frame.left,
                });
                return rest;
            }
            self.message = Some(Assembly {
                kind,
                is_compressed,
                keeps: match kind {
                    Kind::Text => Keeps::All,
                    _ => Keeps::Undecided,
                },
                data: std::mem::take(&mut self.buffer),
                len: 0,
            });
        }
        self.control_len = 0;
        self.frame = Some(frame);
        bytes
    }

    /// The whole head; `None` when it breaks the protocol.
    fn read_head(&self) -> Option<Frame> {
        let [first, second, ..] = self.head;
        let opcode = first & 0x0f;
        let is_last = first & 0x80 != 0;
        let is_compressed = first & 0x40 != 0;
        let (left, at) = match second & 0x7f {
            126 => (
                u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
                4,
            ),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.head[2..10]);
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        let mask = (second & 0x80 != 0).then(|| {
            let mut mask = [0; 4];
            mask.copy_from_slice(&self.head[at..at + 4]);
            mask
        });
        let fits = match opcode {
            CONTINUATION => self.message.is_some() && !is_compressed,
            TEXT | BINARY => self.message.is_none() && (!is_compressed || self.inflater.is_some()),
            CLOSE | PING | PONG => is_last && !is_compressed && left <= CONTROL_BYTES_MAX as u64,
            _ => false,
        };
        (fits && first & 0x30 == 0 && left <= i64::MAX.cast_unsigned()).then_some(Frame {
            opcode,
            is_last,
            mask,
            seen: 0,
            left,
        })
    }

    fn take_payload(&mut self, frame: &Frame, piece: &[u8]) {
        if frame.opcode >= CLOSE {
            let to = &mut self.control[self.control_len..][..piece.len()];
            to.copy_from_slice(piece);
            unmask(to, frame.mask, frame.seen);
            self.control_len += piece.len();
            return;
        }
        let Some(message) = &mut self.message else {
            return;
        };
        if !message.is_compressed {
            message.take(piece, frame.mask, frame.seen);
            return;
        }
        let Some(inflater) = &mut self.inflater else {
            return;
        };
        let result = match frame.mask {
            None => inflater.push(piece, &mut |plain| message.take(plain, None, 0)),
            Some(_) => {
                let mut plain = piece.to_vec();
                unmask(&mut plain, frame.mask, frame.seen);
                inflater.push(&plain, &mut |plain| message.take(plain, None, 0))
            }
        };
        if let Err(failure) = result {
            self.unusual.not_inflated = Some(failure);
            message.spoil();
        }
    }

    fn end_frame(&mut self, frame: &Frame, on: &mut dyn FnMut(Message<'_>)) {
        let kind = match frame.opcode {
            CLOSE => Kind::Close,
            PING => Kind::Ping,
            PONG => Kind::Pong,
            _ if frame.is_last => return self.end_message(on),
            _ => return,
        };
        let data = &self.control[..self.control_len];
        on(Message {
            kind,
            data,
            len: data.len() as u64,
        });
    }

    fn end_message(&mut self, on: &mut dyn FnMut(Message<'_>)) {
        let Some(mut message) = self.message.take() else {
            return;
        };
        if message.is_compressed
            && let Some(inflater) = &mut self.inflater
            && let Err(failure) = inflater.end_message(&mut |plain| message.take(plain, None, 0))
        {
            self.unusual.not_inflated = Some(failure);
            message.spoil();
        }
        self.unusual.has_large |= message.keeps == Keeps::Nothing
            && (!message.is_compressed || self.unusual.not_inflated.is_none());
        on(Message {
            kind: message.kind,
            data: &message.data,
            len: message.len,
        });
        message.data.clear();
        if message.data.capacity() <= BUFFER_KEPT_BYTES {
            self.buffer = message.data;
        }
    }
}

impl Assembly {
    /// Takes a piece of the payload, still masked from `at` on when there is a mask.
    fn take(&mut self, piece: &[u8], mask: Option<[u8; 4]>, at: u64) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len() as u64;
        if self.keeps == Keeps::Undecided {
            let mut first = [piece[0]];
            unmask(&mut first, mask, at);
            self.keeps = if may_be_json(first[0]) {
                Keeps::All
            } else {
                Keeps::Start
            };
        }
        let room = match self.keeps {
            Keeps::All if self.len <= MESSAGE_BYTES_MAX as u64 => piece.len(),
            Keeps::All => return self.drop_data(),
            Keeps::Start => BINARY_START_BYTES.saturating_sub(self.data.len()),
            Keeps::Nothing | Keeps::Undecided => 0,
        };
        let begins = self.data.len();
        self.data.extend_from_slice(&piece[..room.min(piece.len())]);
        unmask(&mut self.data[begins..], mask, at);
    }

    /// What came out of it before it broke depends on how it came: none of it counts.
    fn spoil(&mut self) {
        self.drop_data();
        self.len = 0;
    }

    fn drop_data(&mut self) {
        self.keeps = Keeps::Nothing;
        self.data = Vec::new();
    }
}

/// Whether a JSON object may begin so, white space and all.
fn may_be_json(first: u8) -> bool {
    first == b'{' || first.is_ascii_whitespace()
}

/// Bytes of the head that begins so, as far as that can be told yet.
fn head_bytes(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else {
        return 2;
    };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

/// Takes the mask off bytes that stand at `at` in a frame's payload, or puts it on.
fn unmask(bytes: &mut [u8], mask: Option<[u8; 4]>, at: u64) {
    let Some(mut mask) = mask else {
        return;
    };
    mask.rotate_left((at % 4) as usize);
    for chunk in bytes.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}
