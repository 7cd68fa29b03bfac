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
mod gate;
mod gone;
pub mod handshake;
mod parts;
mod protocols;
mod relay;
mod rules;
#[cfg(test)]
mod tests;

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
/// The same where its caller is gone and the tenant wants it stopped at once.
pub const CANCEL_ANSWER_MAX: Duration = Duration::from_millis(50);

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
    /// It is a JSON object, as far as its first byte tells, and all of it is here.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let first = self.data.iter().find(|byte| !byte.is_ascii_whitespace());
        self.is_whole() && first == Some(&b'{')
    }

    /// Nothing of it is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.data.len() as u64 == self.len
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

/// How a vendor is brought to say its last count.
#[derive(Clone, Copy, Debug)]
pub enum LastWords {
    /// Not at all: it says none, or none that can be asked for.
    None,
    /// This message ends the session in order; the count comes before the vendor's own close.
    Session(&'static str),
    /// Every turn ends with its own count.
    Turns {
        /// The message that stops the turn that runs, which then says its count.
        stop: Option<&'static str>,
        /// Whether one runs.
        runs: fn(&Evidence) -> bool,
    },
}

/// Members of a caller's messages that carry a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMembers {
    /// The operator's credential takes the place of these.
    pub swapped: &'static [&'static str],
    /// These are taken out.
    pub removed: &'static [&'static str],
}

/// Hands on the models that a message names.
pub type Models = fn(&Heard<'_>, &mut dyn FnMut(&str));

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
    /// Parameters of the query in which they send one.
    pub key_query: &'static [&'static str],
    /// Members of the first messages in which they send one.
    pub key_members: Option<KeyMembers>,
    /// Hands on each model that a message of the caller asks for. Where nothing names a model before
    /// the switch, the first message has to, if the key is for some models only.
    pub models: Option<Models>,
    /// How the vendor is asked to end, and to say its last count, when we cut or the caller is gone.
    pub last_words: LastWords,
    /// The message that tells the caller why we cut.
    pub cut_message: Option<fn(&ErrorText<'_>) -> String>,
}

impl Socket {
    /// Reads one message into the evidence of its part.
    fn read(&self, heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
        match heard.from {
            From::Caller => evidence.counts.sent_frames += 1,
            From::Upstream => evidence.counts.frames += 1,
        }
        (self.collect)(heard, evidence)
    }

    /// Nothing is known of the socket.
    pub const DEFAULT: Self = Self {
        collect: |_, _| Turn::Goes,
        key_protocol: KeyProtocol::None,
        key_query: &[],
        key_members: None,
        models: None,
        last_words: LastWords::None,
        cut_message: None,
    };
}
