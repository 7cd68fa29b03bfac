//! What was seen on the wire of one call: numbers, names and our own counts, never what was said.
//!
//! Live calls and `farebox reread` compute usage from this by the same code, so whatever a reader
//! needs must be in here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod counts;
mod facts;
mod json;
mod kept;

pub use facts::{Fact, Facts};
pub use json::{Index, Json};
pub use kept::Kept;

/// Most bytes of evidence an event carries, as JSON.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
/// Longest text kept inside evidence, in bytes; longer ones are left out.
pub const EVIDENCE_TEXT_BYTES_MAX: usize = 64;
/// Most usage objects kept; past it the flag `objects_dropped` is set.
pub const EVIDENCE_OBJECTS_MAX: usize = 64;
/// Usage objects there is room for at first; streams that say theirs in two events have two.
const OBJECTS_ROOM: usize = 2;
/// Deepest nesting kept of a usage object; deeper members are left out.
pub const EVIDENCE_DEPTH_MAX: usize = 6;

/// Longest exponent of a number that is kept, in digits: Postgres' `numeric` has an end, and one number
/// past it would make a whole view unreadable.
const EXPONENT_DIGITS_MAX: usize = 3;

/// Whether a JSON number can be stored wherever records are read.
#[must_use]
pub fn is_storable(number: &str) -> bool {
    let exponent = number
        .split_once(['e', 'E'])
        .map_or("", |(_, digits)| digits);
    number.len() <= EVIDENCE_TEXT_BYTES_MAX
        && exponent.trim_start_matches(['+', '-', '0']).len() <= EXPONENT_DIGITS_MAX
}

/// Everything a reader may look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Version of the reader that collected this.
    pub reader_version: u32,
    /// Whose reader that is: a route of the vendor's table, `POST /v1/chat/completions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Cow<'static, str>>,
    /// Facts of the request that can decide a price: `model`, `stream`, `service_tier`,
    /// `max_output_tokens`, query parameters such as `multichannel`.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub request: Facts,
    /// Facts of the answer: `model`, `id`, `service_tier`, `error`, `finished`.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub response: Facts,
    /// Usage objects as they came, by the place they stood in (`usage`, `message_start`, …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<UsageObject>,
    /// Usage headers of the answer, lower-case names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Our own counts.
    #[serde(default)]
    pub counts: Counts,
    /// What was unusual while collecting: `frame_too_large`, `invalid_json`, `objects_dropped`, ….
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Cow<'static, str>>,
}

/// One usage object and where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageObject {
    /// The place, fixed by the reader.
    pub at: Cow<'static, str>,
    /// Numbers, booleans, null and texts of at most [`EVIDENCE_TEXT_BYTES_MAX`] bytes.
    pub value: Kept,
}

/// Counts made by the proxy itself, in bytes, events and Unicode scalar values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Bytes of the request body that went upstream.
    pub request_bytes: u64,
    /// Bytes of the answer's body that came from upstream, as sent (compressed or not).
    pub response_bytes: u64,
    /// Frames (SSE events, WebSocket messages, one for a JSON body) that came from upstream.
    pub frames: u64,
    /// Frames that carried generated output, as far as cheaply seen.
    pub output_frames: u64,
    /// The answer ended as its framing says it ends.
    pub is_complete: bool,
    /// WebSocket messages that the caller sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent_frames: u64,
    /// Bytes of audio that went up, out of whatever they were wrapped in.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_bytes: u64,
    /// Bytes of audio that came from upstream.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio_bytes: u64,
    /// Unicode scalar values of text that went up to be spoken.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// How long a socket, or the present part of it, was open.
    #[serde(skip_serializing_if = "is_zero")]
    pub open_ms: u64,
    /// In a checkpoint: how long the socket may go on unseen after it.
    #[serde(skip_serializing_if = "is_zero")]
    pub unseen_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Evidence {
    /// Keeps a usage object in its place; one that came before in the same place is replaced
    /// (usage is cumulative nearly everywhere).
    pub fn replace_object(&mut self, at: impl Into<Cow<'static, str>>, value: Kept) {
        let at = at.into();
        match self.objects.iter_mut().find(|object| object.at == at) {
            Some(object) => object.value = value,
            None => self.push_object(at, value),
        }
    }

    /// Keeps a usage object beside those that came before in the same place.
    pub fn push_object(&mut self, at: impl Into<Cow<'static, str>>, value: Kept) {
        if self.objects.len() < EVIDENCE_OBJECTS_MAX {
            if self.objects.capacity() == 0 {
                self.objects = Vec::with_capacity(OBJECTS_ROOM);
            }
            self.objects.push(UsageObject {
                at: at.into(),
                value,
            });
        } else {
            self.flag("objects_dropped");
        }
    }

    /// The last usage object of a place.
    #[must_use]
    pub fn object(&self, at: &str) -> Option<Json<'_>> {
        self.kept(at).map(Kept::json)
    }

    /// The last usage object of a place, as it is kept.
    #[must_use]
    pub fn kept(&self, at: &str) -> Option<&Kept> {
        self.objects
            .iter()
            .rev()
            .find(|object| object.at == at)
            .map(|object| &object.value)
    }

    /// Every usage object of a place, in the order they came.
    pub fn objects_at(&self, at: &str) -> impl Iterator<Item = Json<'_>> {
        self.objects
            .iter()
            .filter(move |object| object.at == at)
            .map(|object| object.value.json())
    }

    /// Notes something unusual, once.
    pub fn flag(&mut self, name: &'static str) {
        if !self.has_flag(name) {
            self.flags.push(Cow::Borrowed(name));
        }
    }

    /// Replaces NUL in names and facts, for which Postgres has no room; whether there was any. Usage
    /// objects never hold one, headers cannot.
    pub fn replace_nul(&mut self) -> bool {
        fn replace(text: &mut Cow<'static, str>) -> bool {
            let has_nul = text.contains('\0');
            if has_nul {
                *text = Cow::Owned(text.replace('\0', "\u{FFFD}"));
            }
            has_nul
        }
        let mut is_changed = false;
        for (name, fact) in self.request.iter_mut().chain(self.response.iter_mut()) {
            is_changed |= replace(name);
            if let Fact::Text(text) = fact
                && text.contains('\0')
            {
                *text = text.replace('\0', "\u{FFFD}").into();
                is_changed = true;
            }
        }
        let places = self.objects.iter_mut().map(|object| &mut object.at);
        for text in places.chain(&mut self.flags) {
            is_changed |= replace(text);
        }
        is_changed
    }

    /// Whether something unusual was noted.
    #[must_use]
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// A text fact of the request.
    #[must_use]
    pub fn request_text(&self, name: &str) -> Option<&str> {
        self.request.text(name)
    }

    /// A text fact of the answer.
    #[must_use]
    pub fn response_text(&self, name: &str) -> Option<&str> {
        self.response.text(name)
    }

    /// Sets a text fact of the answer, unless it is too long to be a name.
    pub fn set_response_text(&mut self, name: &'static str, text: &str) {
        if text.len() <= crate::usage::MODEL_BYTES_MAX {
            self.response.insert(name, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_of_a_place_holds() {
        let of = |json: &str| Kept::of(json).unwrap();
        let mut evidence = Evidence::default();
        evidence.replace_object("usage", of(r#"{"n":1}"#));
        evidence.replace_object("usage", of(r#"{"n":2}"#));
        evidence.push_object("turn", of(r#"{"n":3}"#));
        evidence.push_object("turn", of(r#"{"n":4}"#));
        let count = |json: Json<'_>| json.get("n").and_then(Json::count);
        assert_eq!(evidence.object("usage").and_then(count), Some(2));
        let turns: Vec<_> = evidence.objects_at("turn").filter_map(count).collect();
        assert_eq!(turns, [3, 4]);
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    }

    #[test]
    fn objects_are_bounded() {
        let mut evidence = Evidence::default();
        for _ in 0..=EVIDENCE_OBJECTS_MAX {
            evidence.push_object("turn", Kept::of("{}").unwrap());
        }
        assert_eq!(evidence.objects.len(), EVIDENCE_OBJECTS_MAX);
        assert!(evidence.has_flag("objects_dropped"));
    }
}
