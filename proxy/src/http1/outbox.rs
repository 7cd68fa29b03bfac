//! What is to be written to a socket: head and body in as few writes as their arrival allows.
//!
//! Invariant: `text` goes first, then `data`, then `closing`; nothing is taken in while one of the two waits.
//! Empty it holds no memory, so that a silent stream costs none: what it wrote from goes to the next one of its
//! thread, while the processor still has it at hand.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Wire;

/// A piece of a body up to this goes into one write with what stands before it; a larger one is written
/// from where it lies.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// Room for a head that is written in one go.
const HEAD_BYTES: usize = 1024;
/// Room that is handed on; one that needs more gets its own.
const SPARE_BYTES: usize = 4 * 1024;
/// Rooms that a thread keeps for the next.
const SPARES_MAX: usize = 8;
/// Most digits of a chunk's size.
const SIZE_DIGITS: usize = 16;
/// Most bytes that stand around a chunk.
const CHUNK_FRAME_BYTES: usize = SIZE_DIGITS + 4;

thread_local! {
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty room for so many bytes.
fn room_for(bytes: usize) -> BytesMut {
    if bytes > SPARE_BYTES {
        return BytesMut::with_capacity(bytes);
    }
    let spare = SPARES.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| BytesMut::with_capacity(SPARE_BYTES))
}

/// Keeps a room whose bytes are all written for who comes next.
fn hand_on(mut room: BytesMut) {
    room.clear();
    if room.capacity() == SPARE_BYTES {
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARES_MAX {
                spares.push(room);
            }
        });
    }
}

/// Text and data on their way out. The default is empty and flushed by nobody yet.
#[derive(Default)]
pub(crate) struct Outbox {
    text: BytesMut,
    /// A large piece, which is not copied.
    data: Bytes,
    /// What ends its chunk.
    closing: &'static [u8],
    is_flushed: bool,
}

impl Outbox {
    /// An empty one that has nothing to flush either.
    pub(crate) fn flushed() -> Self {
        Self {
            is_flushed: true,
            ..Self::default()
        }
    }

    /// Where a head is written to, behind which a body of `body_bytes` goes, where that is known.
    pub(crate) fn head(&mut self, body_bytes: Option<u64>) -> &mut BytesMut {
        let body = body_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let body = body.filter(|bytes| *bytes <= COPY_BYTES_MAX);
        self.make_room(HEAD_BYTES + body.unwrap_or(0));
        self.is_flushed = false;
        &mut self.text
    }

    fn make_room(&mut self, bytes: usize) {
        // To grow an empty one costs three times as much as to begin one.
        match self.text.capacity() {
            0 => self.text = room_for(bytes),
            _ => self.text.reserve(bytes),
        }
    }

    /// Appends bytes as they are.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.text.extend_from_slice(bytes);
        self.is_flushed = false;
    }

    /// Appends a piece of a body, as a chunk where it is sent in chunks.
    pub(crate) fn put_piece(&mut self, data: Bytes, is_chunk: bool) {
        self.is_flushed = false;
        let is_copied = data.len() <= COPY_BYTES_MAX;
        if is_chunk || is_copied {
            self.make_room(CHUNK_FRAME_BYTES + if is_copied { data.len() } else { 0 });
        }
        if is_chunk {
            put_size(&mut self.text, data.len());
        }
        if !is_copied {
            self.data = data;
            self.closing = if is_chunk { b"\r\n" } else { b"" };
            return;
        }
        self.text.extend_from_slice(&data);
        // To append nothing costs as much as to append something.
        if is_chunk {
            self.text.extend_from_slice(b"\r\n");
        }
    }

    /// No more should be taken in before something is written.
    pub(crate) fn is_full(&self) -> bool {
        self.text.len() > COPY_BYTES_MAX || !self.data.is_empty() || !self.closing.is_empty()
    }

    /// Something is to be written.
    pub(crate) fn has_bytes(&self) -> bool {
        !self.text.is_empty() || !self.data.is_empty() || !self.closing.is_empty()
    }

    /// Everything is with the socket.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// One write.
    pub(crate) fn poll_write<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = Pin::new(wire);
        let written = if self.data.is_empty() && self.closing.is_empty() {
            wire.poll_write(cx, &self.text)
        } else {
            let pieces = [
                io::IoSlice::new(&self.text),
                io::IoSlice::new(&self.data),
                io::IoSlice::new(self.closing),
            ];
            wire.poll_write_vectored(cx, &pieces)
        };
        let mut written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let len = written.min(self.text.len());
        written -= len;
        if len == self.text.len() {
            hand_on(std::mem::take(&mut self.text));
        } else {
            self.text.advance(len);
        }
        let len = written.min(self.data.len());
        self.data.advance(len);
        written -= len;
        if self.data.is_empty() {
            self.data = Bytes::new();
            self.closing = &self.closing[written.min(self.closing.len())..];
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes what was written, once.
    pub(crate) fn poll_flush<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            ready!(Pin::new(wire).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn put_size(text: &mut BytesMut, mut size: usize) {
    let mut digits = [0; SIZE_DIGITS];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size & 0xf];
        size >>= 4;
        if size == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then none for a turn, then the rest.
    struct Narrow {
        first: usize,
        taken: Vec<u8>,
    }

    impl AsyncRead for Narrow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let left = match self.first.checked_sub(self.taken.len()) {
                Some(0) => {
                    self.first = 0;
                    return Poll::Pending;
                }
                Some(left) => left,
                None => usize::MAX,
            };
            let before = self.taken.len();
            for piece in pieces {
                let room = left - (self.taken.len() - before);
                self.taken
                    .extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Poll::Ready(Ok(self.taken.len() - before))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_chunk_is_closed_before_the_next_begins_wherever_the_socket_stops() {
        const LARGE: usize = COPY_BYTES_MAX + 1;
        let size = format!("{LARGE:x}\r\n");
        let whole = [size.as_bytes(), &[b'a'; LARGE], b"\r\n0\r\n\r\n"].concat();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for first in (1..=size.len() + 2).chain(size.len() + LARGE - 2..whole.len()) {
            let mut outbox = Outbox::default();
            let taken = Vec::new();
            let mut wire = Wire::Tls(Box::new(Narrow { first, taken }));
            outbox.put_piece(vec![b'a'; LARGE].into(), true);
            let mut is_ended = false;
            while outbox.has_bytes() || !is_ended {
                if !outbox.is_full() && !is_ended {
                    outbox.put(b"0\r\n\r\n");
                    is_ended = true;
                }
                if let Poll::Ready(written) = outbox.poll_write(&mut wire, &mut cx) {
                    written.unwrap();
                }
            }
            let Wire::Tls(narrow) = wire else { panic!() };
            assert!(narrow.taken == whole, "stopped behind {first}");
        }
    }

    #[test]
    fn what_the_next_is_written_from_holds_nothing_of_the_one_before() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut sent = Vec::new();
        for body in ["first and long", "second", ""] {
            let mut outbox = Outbox::default();
            outbox
                .head(Some(body.len() as u64))
                .extend_from_slice(b"head ");
            outbox.put_piece(body.into(), false);
            let first = usize::MAX;
            let taken = Vec::new();
            let mut wire = Wire::Tls(Box::new(Narrow { first, taken }));
            assert!(outbox.poll_write(&mut wire, &mut cx).is_ready());
            assert!(!outbox.has_bytes());
            let Wire::Tls(narrow) = wire else { panic!() };
            sent.push(String::from_utf8(narrow.taken).unwrap());
        }
        assert_eq!(sent, ["head first and long", "head second", "head "]);
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for size in [0, 1, 9, 10, 255, 256, 4_096, usize::MAX] {
            let mut text = BytesMut::new();
            put_size(&mut text, size);
            assert_eq!(text, format!("{size:x}\r\n"));
        }
    }
}
