//! The one change ever made to a request, and its removal from the answer.
//!
//! Chat streams of OpenAI's dialect that do not ask for usage get `stream_options.include_usage`
//! spliced into their bytes; what the upstream adds for it is taken out again event by event, all
//! other bytes staying as they are.

use bytes::Bytes;

use crate::framing::json::{Raw, pick, pick_in};

mod strip;

pub use strip::{STRIP_EVENT_BYTES_MAX, UsageStripper};

/// A change of some bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where it begins.
    pub offset: usize,
    /// How many bytes go.
    pub remove: usize,
    /// What comes in their place.
    pub insert: Vec<u8>,
}

impl Splice {
    /// The body with the change made. A splice that does not fit leaves the body as it is.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> Bytes {
        let Some(end) = self
            .offset
            .checked_add(self.remove)
            .filter(|end| *end <= body.len())
        else {
            return body.clone();
        };
        let mut amended = Vec::with_capacity(body.len() + self.insert.len());
        amended.extend_from_slice(&body[..self.offset]);
        amended.extend_from_slice(&self.insert);
        amended.extend_from_slice(&body[end..]);
        amended.into()
    }
}

/// The splice that makes a chat stream report its usage; `None` when it is no stream, asks already,
/// or is not plainly understood.
#[must_use]
pub fn ask_for_stream_usage(body: &[u8]) -> Option<Splice> {
    let picked = pick(body, ["stream", "stream_options"])?;
    let [stream, options] = picked.members;
    if picked.is_repeated || stream?.get() != "true" {
        return None;
    }
    let Some(options) = options else {
        return Some(Splice {
            offset: body.iter().position(|byte| *byte == b'{')? + 1,
            remove: 0,
            insert: br#""stream_options":{"include_usage":true},"#.to_vec(),
        });
    };
    let options_at = offset_in(body, options)?;
    if options.get() == "null" {
        return Some(Splice {
            offset: options_at,
            remove: options.get().len(),
            insert: br#"{"include_usage":true}"#.to_vec(),
        });
    }
    let inner = pick_in(options, ["include_usage"])?;
    if inner.is_repeated {
        return None;
    }
    match inner.members[0] {
        None => Some(Splice {
            offset: options_at + 1,
            remove: 0,
            insert: if inner.is_empty {
                br#""include_usage":true"#.to_vec()
            } else {
                br#""include_usage":true,"#.to_vec()
            },
        }),
        Some(value) if matches!(value.get(), "false" | "null") => Some(Splice {
            offset: offset_in(body, value)?,
            remove: value.get().len(),
            insert: b"true".to_vec(),
        }),
        Some(_) => None,
    }
}

/// Where a member picked out of a body stands in it.
fn offset_in(body: &[u8], raw: Raw<'_>) -> Option<usize> {
    (raw.get().as_ptr() as usize)
        .checked_sub(body.as_ptr() as usize)
        .filter(|offset| offset + raw.get().len() <= body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_by_splicing_and_leaves_every_other_byte() {
        for (body, amended) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                " { \"stream\" : true }\n",
                " {\"stream_options\":{\"include_usage\":true}, \"stream\" : true }\n",
            ),
            (
                r#"{"stream":true,"stream_options":{}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":true,"stream_options": {"include_obfuscation":false} }"#,
                r#"{"stream":true,"stream_options": {"include_usage":true,"include_obfuscation":false} }"#,
            ),
            (
                r#"{"stream_options":{"include_usage" : false},"stream":true}"#,
                r#"{"stream_options":{"include_usage" : true},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true}"#,
            ),
            (
                r#"{"stream_options":null,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true}"#,
            ),
        ] {
            let splice = ask_for_stream_usage(body.as_bytes()).expect(body);
            let result = splice.apply(&Bytes::copy_from_slice(body.as_bytes()));
            assert_eq!(String::from_utf8_lossy(&result), amended);
            assert_eq!(ask_for_stream_usage(&result), None, "asks already");
        }
    }

    #[test]
    fn what_is_no_stream_or_odd_is_left_alone() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"stream":false}"#,
            r#"{"stream":"true"}"#,
            r#"{"stream":true"#,
            r#"{"stream":true}{"#,
            r#"{"stream":true,"stream":true}"#,
            r#"{"stream":false,"stream":true}"#,
            r#"{"stream":true,"stream_options":{},"stream_options":{}}"#,
            r#"{"stream":true,"stream_options":[]}"#,
            r#"{"stream":true,"stream_options":7}"#,
            r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false,"include_usage":false}}"#,
            r#"{"x":{"stream":true}}"#,
        ] {
            assert_eq!(ask_for_stream_usage(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_splice_that_does_not_fit_changes_nothing() {
        let body = Bytes::from_static(b"{}");
        for (offset, remove) in [(3, 0), (1, 2), (usize::MAX, 1)] {
            let splice = Splice {
                offset,
                remove,
                insert: b"x".to_vec(),
            };
            assert_eq!(splice.apply(&body), body);
        }
    }
}
