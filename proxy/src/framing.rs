//! From bytes to frames: events of a stream, objects of an array, lines, or one JSON body.
//!
//! Framing never fails: what does not fit a bound is skipped and said, the rest goes on.

pub mod array;
pub mod aws;
pub mod json;
pub mod lines;
pub mod multipart;
pub mod prune;
pub mod quotes;
pub mod sse;
pub mod websocket;

/// The flag of a body that should be JSON and is not.
pub const INVALID_BODY: &str = "invalid_body";

/// One unit a reader looks at.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// The JSON text, or whatever stands in its place.
    pub data: &'a [u8],
}

/// What kind of answer a frame is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The whole body of an answer.
    Body,
    /// One event of a stream, one line, one object of an array.
    Event,
}

/// How a framing came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Frames that were over their bound.
    pub skipped: u64,
    /// From some place on nothing could be told apart.
    pub is_broken: bool,
}

impl Origin {
    /// What the evidence is flagged with when such a frame should be JSON and is not.
    #[must_use]
    pub fn flag_of_invalid_json(self) -> &'static str {
        match self {
            Self::Body => INVALID_BODY,
            Self::Event => "invalid_event",
        }
    }
}
