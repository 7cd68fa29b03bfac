//! permessage-deflate (RFC 7692): what was negotiated, and the inflater of one direction's copy.
//!
//! The window is made with the first compressed message. Whatever goes wrong stops the inflating of
//! this direction: later messages may lean on the window that was lost.

use flate2::{Decompress, FlushDecompress, Status};

/// Most bytes one message may unfold to; past it the direction is inflated no further.
pub const INFLATED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The end of each message, which its sender leaves out (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Unfolded at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// Why a direction is inflated no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is no deflate.
    Invalid,
    /// A message unfolds to more than [`INFLATED_BYTES_MAX`].
    TooLarge,
}

/// What the two sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The caller's messages lean on the window of those before.
    pub caller_takes_over: bool,
    /// The upstream's do.
    pub upstream_takes_over: bool,
}

/// What an answer's `sec-websocket-extensions` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extensions {
    /// None.
    None,
    /// Compression and nothing else.
    Deflate(Negotiated),
    /// One that changes frames in a way we do not know.
    Unknown,
}

impl Extensions {
    /// Reads the header's values.
    pub fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::None;
        for extension in values.flat_map(|value| value.split(',')).map(str::trim) {
            let mut parameters = extension.split(';').map(str::trim);
            match parameters.next() {
                None | Some("") => continue,
                Some(name) if name.eq_ignore_ascii_case("permessage-deflate") => {}
                Some(_) => return Self::Unknown,
            }
            let mut negotiated = Negotiated {
                caller_takes_over: true,
                upstream_takes_over: true,
            };
            for parameter in parameters {
                let name = parameter.split('=').next().unwrap_or_default().trim();
                if name.eq_ignore_ascii_case("client_no_context_takeover") {
                    negotiated.caller_takes_over = false;
                } else if name.eq_ignore_ascii_case("server_no_context_takeover") {
                    negotiated.upstream_takes_over = false;
                }
            }
            if found != Self::None {
                return Self::Unknown;
            }
            found = Self::Deflate(negotiated);
        }
        found
    }
}

/// Inflates one direction.
pub struct Inflater {
    takes_over: bool,
    stream: Option<Box<Decompress>>,
    /// Bytes the present message has unfolded to.
    unfolded: u64,
    failure: Option<Failure>,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater")
            .field("takes_over", &self.takes_over)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Inflater {
    /// A direction's, by whether its messages lean on those before.
    #[must_use]
    pub fn new(takes_over: bool) -> Self {
        Self {
            takes_over,
            stream: None,
            unfolded: 0,
            failure: None,
        }
    }

    /// Unfolds a piece of a message.
    pub(super) fn push(
        &mut self,
        mut piece: &[u8],
        on: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let stream = self
            .stream
            .get_or_insert_with(|| Box::new(Decompress::new(false)));
        let mut unfolded = [0; PIECE_BYTES];
        loop {
            let (read, written) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(piece, &mut unfolded, FlushDecompress::None);
            let read = usize::try_from(stream.total_in() - read).unwrap_or(usize::MAX);
            let written = usize::try_from(stream.total_out() - written).unwrap_or(usize::MAX);
            let Ok(status) = status else {
                return Err(self.give_up(Failure::Invalid));
            };
            self.unfolded += written as u64;
            if self.unfolded > INFLATED_BYTES_MAX {
                return Err(self.give_up(Failure::TooLarge));
            }
            on(&unfolded[..written.min(PIECE_BYTES)]);
            piece = &piece[read.min(piece.len())..];
            if status == Status::StreamEnd {
                // A sender may end each message with a last block (RFC 7692 section 7.2.3.4).
                stream.reset(false);
            }
            let is_stuck = read == 0 && written == 0;
            if is_stuck || (piece.is_empty() && written < PIECE_BYTES) {
                return Ok(());
            }
        }
    }

    /// The message is through.
    pub(super) fn end_message(&mut self, on: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        self.push(&TAIL, on)?;
        self.unfolded = 0;
        if !self.takes_over {
            // Made again by the next message; an idle socket keeps no window it does not need.
            self.stream = None;
        }
        Ok(())
    }

    fn give_up(&mut self, failure: Failure) -> Failure {
        self.failure = Some(failure);
        self.stream = None;
        failure
    }
}
