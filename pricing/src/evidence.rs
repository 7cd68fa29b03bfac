//! What was seen on the wire of one call: numbers, names and our own counts, never what was said.
//!
//! Live calls and `farebox reread` compute usage from this by the same code, so whatever a reader
//! needs must be in here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of evidence an event carries, as JSON.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
/// Longest text kept inside evidence, in bytes; longer ones are left out.
pub const EVIDENCE_TEXT_BYTES_MAX: usize = 64;
/// Most usage objects kept; past it the flag `objects_dropped` is set.
pub const EVIDENCE_OBJECTS_MAX: usize = 64;
/// Deepest nesting kept of a usage object; deeper members are left out.
pub const EVIDENCE_DEPTH_MAX: usize = 6;

/// Everything a reader may look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Version of the reader that collected this.
    pub reader_version: u32,
    /// Facts of the request that can decide a price: `model`, `stream`, `service_tier`,
    /// `max_output_tokens`, query parameters such as `multichannel`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request: BTreeMap<String, Value>,
    /// Facts of the answer: `model`, `id`, `service_tier`, `error`, `finished`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response: BTreeMap<String, Value>,
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
    pub flags: Vec<String>,
}

/// One usage object and where it stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageObject {
    /// The place, fixed by the reader.
    pub at: String,
    /// Numbers, booleans, null and texts of at most [`EVIDENCE_TEXT_BYTES_MAX`] bytes.
    pub value: Value,
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
}

impl Evidence {
    /// Keeps a usage object in its place; one that came before in the same place is replaced
    /// (usage is cumulative nearly everywhere).
    pub fn replace_object(&mut self, at: &str, value: &Value) {
        let value = without_content(value, EVIDENCE_DEPTH_MAX);
        match self.objects.iter_mut().find(|object| object.at == at) {
            Some(object) => object.value = value,
            None => self.push_sanitised(at, value),
        }
    }

    /// Keeps a usage object beside those that came before in the same place.
    pub fn push_object(&mut self, at: &str, value: &Value) {
        self.push_sanitised(at, without_content(value, EVIDENCE_DEPTH_MAX));
    }

    fn push_sanitised(&mut self, at: &str, value: Value) {
        if self.objects.len() < EVIDENCE_OBJECTS_MAX {
            self.objects.push(UsageObject {
                at: at.to_owned(),
                value,
            });
        } else {
            self.flag("objects_dropped");
        }
    }

    /// The last usage object of a place.
    #[must_use]
    pub fn object(&self, at: &str) -> Option<&Value> {
        self.objects
            .iter()
            .rev()
            .find(|object| object.at == at)
            .map(|object| &object.value)
    }

    /// Notes something unusual, once.
    pub fn flag(&mut self, name: &str) {
        if !self.flags.iter().any(|flag| flag == name) {
            self.flags.push(name.to_owned());
        }
    }

    /// Whether something unusual was noted.
    #[must_use]
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// A text fact of the request.
    #[must_use]
    pub fn request_text(&self, name: &str) -> Option<&str> {
        self.request.get(name).and_then(Value::as_str)
    }

    /// A text fact of the answer.
    #[must_use]
    pub fn response_text(&self, name: &str) -> Option<&str> {
        self.response.get(name).and_then(Value::as_str)
    }

    /// Sets a text fact of the answer, unless it is too long to be a name.
    pub fn set_response_text(&mut self, name: &str, text: &str) {
        if text.len() <= crate::event::MODEL_BYTES_MAX {
            self.response
                .insert(name.to_owned(), Value::String(text.to_owned()));
        }
    }
}

/// A copy without long texts and without what is nested too deep.
fn without_content(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(members) if depth > 0 => Value::Object(
            members
                .iter()
                .filter(|(name, member)| {
                    name.len() <= EVIDENCE_TEXT_BYTES_MAX && is_kept(member, depth - 1)
                })
                .map(|(name, member)| (name.clone(), without_content(member, depth - 1)))
                .collect(),
        ),
        Value::Array(items) if depth > 0 => Value::Array(
            items
                .iter()
                .take(EVIDENCE_OBJECTS_MAX)
                .filter(|item| is_kept(item, depth - 1))
                .map(|item| without_content(item, depth - 1))
                .collect(),
        ),
        Value::Object(_) | Value::Array(_) => Value::Null,
        scalar => scalar.clone(),
    }
}

fn is_kept(value: &Value, depth: usize) -> bool {
    match value {
        Value::String(text) => text.len() <= EVIDENCE_TEXT_BYTES_MAX,
        Value::Object(_) | Value::Array(_) => depth > 0,
        Value::Number(number) => number.as_str().len() <= EVIDENCE_TEXT_BYTES_MAX,
        Value::Null | Value::Bool(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_texts_and_deep_members_are_left_out() {
        let mut evidence = Evidence::default();
        let said = "x".repeat(65);
        evidence.replace_object(
            "usage",
            &json!({"a": 1, "said": said, "d": {"d": {"d": {"d": {"d": {"d": {"e": 1}}}}}}}),
        );
        let kept = serde_json::to_string(evidence.object("usage").unwrap()).unwrap();
        assert_eq!(kept, r#"{"a":1,"d":{"d":{"d":{"d":{"d":{}}}}}}"#);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let value: Value = serde_json::from_str(r#"{"duration":25.933313000000000001}"#).unwrap();
        let mut evidence = Evidence::default();
        evidence.replace_object("metadata", &value);
        assert_eq!(
            evidence.object("metadata").unwrap()["duration"].to_string(),
            "25.933313000000000001"
        );
    }

    #[test]
    fn the_last_object_of_a_place_holds() {
        let mut evidence = Evidence::default();
        evidence.replace_object("usage", &json!({"n": 1}));
        evidence.replace_object("usage", &json!({"n": 2}));
        assert_eq!(evidence.objects.len(), 1);
        assert_eq!(evidence.object("usage").unwrap()["n"], json!(2));
    }
}
