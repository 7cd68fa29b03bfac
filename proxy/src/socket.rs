//! WebSockets: the handshake goes up as any call does, and after the upstream's 101 bytes pass
//! untouched both ways while a copy is read.
//!
//! Owns the relay and the parts of a call. What a vendor's messages mean stands in its own file, as a
//! [`Socket`]. Holds true: nothing is switched before the upstream has switched, no byte is changed,
//! added or held back but where we end the socket, no message is kept longer than it takes to read it.
//! Only HTTP/1.1 handshakes are served; extended CONNECT (RFC 8441) is not offered.
//!
//! Memory of an idle socket: two connections, one boxed future, no buffer; while a message comes in, at
//! most [`MESSAGE_BYTES_MAX`](crate::framing::websocket::MESSAGE_BYTES_MAX) of it and, where compression
//! was agreed, two windows of about 44 KiB.

use std::time::Duration;

use farebox_pricing::evidence::Evidence;

use crate::provider::ErrorText;

mod closing;
mod flow;
pub mod handshake;
mod parts;
mod protocols;
mod relay;

pub use handshake::{Handshake, Outcome, answer};
pub use protocols::KeyProtocol;
pub use relay::Relay;

/// A socket on which nothing passes either way is closed after this long: later than any vendor ends
/// one of its own accord, so that only what is dead on both sides is found by it.
pub const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// A side that takes no byte for this long is gone.
pub const BLOCKED_MAX: Duration = Duration::from_secs(60);
/// After one side's close the other has this long to answer it.
pub const CLOSE_ANSWER_MAX: Duration = Duration::from_secs(10);
/// After the last frame a side has this long to close its connection.
pub const LINGER_MAX: Duration = Duration::from_millis(500);
/// A frame that passes while we cut has this long to end.
pub const CUT_FRAME_MAX: Duration = Duration::from_millis(250);
/// What we write ourselves must be taken within this.
pub const CUT_WRITE_MAX: Duration = Duration::from_millis(250);
/// After the dialect's terminate message the upstream has this long to say its last count.
pub const CUT_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The caller.
    Caller,
    /// The vendor.
    Upstream,
}

/// One message as a reader gets it: a copy, after the fact, unmasked and inflated.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Who said it.
    pub from: From,
    /// Its frame said text. Some vendors send JSON in binary frames.
    pub is_text: bool,
    /// All of it; only the first bytes of a binary message that does not begin with `{`; nothing when
    /// it was too large.
    pub data: &'a [u8],
    /// Bytes it has, inflated.
    pub len: u64,
}

impl Heard<'_> {
    /// It is JSON, as far as its first byte tells, and all of it is here.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.data.len() as u64 == self.len && self.data.first() == Some(&b'{')
    }
}

/// What a message means for the part it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The part goes on.
    Goes,
    /// It carried the part's own final usage: the part is settled, the next one begins.
    Ends,
}

/// What a vendor's file says of a socket.
///
/// `collect` sees every whole message of both sides and keeps facts and counts in the evidence; the
/// endpoint's `usage_of` makes lines of it. Facts of `Evidence::request` go over into the next part,
/// everything else begins anew, so what holds for the session belongs there. The relay itself counts
/// frames, bytes and the time a part was open.
#[derive(Debug)]
pub struct Socket {
    /// Reads one message.
    pub collect: fn(&Heard<'_>, &mut Evidence) -> Turn,
    /// How browsers send a key in `sec-websocket-protocol`.
    pub key_protocol: KeyProtocol,
    /// The message that asks the vendor to end, and to say its last count, when we cut.
    pub terminate: Option<&'static str>,
    /// The message that tells the caller why we cut.
    pub cut_message: Option<fn(&ErrorText<'_>) -> String>,
}

impl Socket {
    /// Nothing is known of the socket.
    pub const DEFAULT: Self = Self {
        collect: |_, _| Turn::Goes,
        key_protocol: KeyProtocol::None,
        terminate: None,
        cut_message: None,
    };
}
