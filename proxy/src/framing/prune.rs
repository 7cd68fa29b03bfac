//! A JSON text with its bulk left out, as it comes: long strings become `null` (long names `""`), long runs of plain
//! values in an array are shortened. What is learnt of a body stands in short members, wherever they
//! are, so that bodies of any size are read in constant memory.
//!
//! It checks nothing but the nesting: what was no JSON before is none afterwards.

use memchr::memchr2;

/// Longest string kept.
pub const STRING_BYTES_MAX: usize = 1024;
/// Plain values kept at the beginning of an array.
const VALUES_MAX: usize = 16;
/// Most bytes of what is kept.
pub const PRUNED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting followed.
const DEPTH_MAX: usize = 128;

/// Prunes one JSON text.
#[derive(Debug, Default)]
pub struct Pruner {
    out: Vec<u8>,
    open: Vec<Level>,
    state: State,
    /// A string was left out of what is kept.
    is_long: bool,
    is_given_up: bool,
}

/// One open bracket.
#[derive(Clone, Copy, Debug)]
struct Level {
    is_array: bool,
    /// Plain values seen in an array.
    values: usize,
    /// Where the comma before the present value stands in what is kept.
    comma: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    /// Inside a string that began at this place of what is kept.
    String(usize),
    /// Behind a backslash in such a string.
    Escaped(usize),
}

impl Pruner {
    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() && !self.is_given_up {
            rest = match self.state {
                State::Between => self.between(rest),
                State::String(start) => self.string(rest, start),
                State::Escaped(start) => {
                    self.keep_string(&rest[..1], start);
                    self.state = State::String(start);
                    &rest[1..]
                }
            };
        }
        if self.out.len() > PRUNED_BYTES_MAX {
            self.give_up();
        }
    }

    /// What is kept; `None` when even that is too much, or the text nests too deep.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.is_given_up).then_some(self.out)
    }

    fn give_up(&mut self) {
        self.is_given_up = true;
        self.out = Vec::new();
    }

    fn between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::String(self.out.len());
                    self.out.push(b'"');
                    self.is_long = false;
                    return &bytes[at + 1..];
                }
                b'{' | b'[' => {
                    if self.open.len() == DEPTH_MAX {
                        self.give_up();
                        return &[];
                    }
                    // Objects and arrays in an array all stay.
                    if let Some(level) = self.open.last_mut() {
                        level.values = 0;
                    }
                    self.out.push(*byte);
                    self.open.push(Level {
                        is_array: *byte == b'[',
                        values: 0,
                        comma: self.out.len(),
                    });
                }
                b'}' | b']' => {
                    self.end_value();
                    self.open.pop();
                    self.out.push(*byte);
                }
                b',' => {
                    self.end_value();
                    if let Some(level) = self.open.last_mut() {
                        level.comma = self.out.len();
                    }
                    self.out.push(b',');
                }
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => self.out.push(*byte),
            }
        }
        &[]
    }

    /// A value of an array is over; past the bound it is taken out again with its comma.
    fn end_value(&mut self) {
        let Some(level) = self.open.last_mut().filter(|level| level.is_array) else {
            return;
        };
        let is_plain = !matches!(self.out.last(), Some(b'}' | b']' | b'['));
        if is_plain {
            level.values += 1;
            if level.values > VALUES_MAX {
                self.out.truncate(level.comma);
            }
        }
    }

    fn string<'a>(&mut self, bytes: &'a [u8], start: usize) -> &'a [u8] {
        let Some(at) = memchr2(b'"', b'\\', bytes) else {
            self.keep_string(bytes, start);
            return &[];
        };
        self.keep_string(&bytes[..=at], start);
        if bytes[at] == b'\\' {
            self.state = State::Escaped(start);
        } else {
            self.state = State::Between;
            if self.is_long {
                // A member's name stays a string, so that what was JSON still is.
                let kept: &[u8] = if self.is_name() { b"\"\"" } else { b"null" };
                self.out.extend_from_slice(kept);
            }
        }
        &bytes[at + 1..]
    }

    /// What comes behind what is kept is the name of a member.
    fn is_name(&self) -> bool {
        let is_in_object = self.open.last().is_some_and(|level| !level.is_array);
        is_in_object && matches!(self.out.last(), Some(b'{' | b','))
    }

    fn keep_string(&mut self, bytes: &[u8], start: usize) {
        if self.is_long {
            return;
        }
        if self.out.len() - start + bytes.len() > STRING_BYTES_MAX {
            self.is_long = true;
            self.out.truncate(start);
        } else {
            self.out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn pruned(json: &[u8]) -> Option<String> {
        let mut pruner = Pruner::default();
        pruner.push(json);
        let whole = pruner.finish();
        for at in 0..json.len().min(400) {
            let mut pruner = Pruner::default();
            pruner.push(&json[..at]);
            pruner.push(&json[at..]);
            assert_eq!(pruner.finish(), whole, "split at {at}");
        }
        whole.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn short_things_stay_and_long_ones_go() {
        let long = "x\\\"".repeat(STRING_BYTES_MAX);
        let text = format!(
            r#" {{ "a" : "b\"c", "long":"{long}", "list":[1, 2.5,"x",null,{{"k":[]}}] }} "#
        );
        assert_eq!(
            pruned(text.as_bytes()).unwrap(),
            r#"{"a":"b\"c","long":null,"list":[1,2.5,"x",null,{"k":[]}]}"#
        );
        let named =
            format!(r#"{{"{long}":"{long}", "{long}" : {{"{long}":["{long}","{long}"]}}}}"#);
        assert_eq!(
            pruned(named.as_bytes()).unwrap(),
            r#"{"":null,"":{"":[null,null]}}"#
        );
        let numbers = vec!["0.25"; 3000].join(", ");
        let text =
            format!(r#"{{"data":[{{"e":[{numbers}]}},{{"e":[{numbers}]}}],"usage":{{"n":1}}}}"#);
        let value: Value = serde_json::from_str(&pruned(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(value["data"].as_array().unwrap().len(), 2);
        assert_eq!(value["data"][1]["e"].as_array().unwrap().len(), VALUES_MAX);
        assert_eq!(value["usage"], json!({"n": 1}));
    }

    #[test]
    fn what_stays_is_bounded() {
        let many = "[{}]".replace("{}", &"{\"a\":1},".repeat(PRUNED_BYTES_MAX / 7));
        let mut pruner = Pruner::default();
        many.as_bytes()
            .chunks(60_000)
            .for_each(|piece| pruner.push(piece));
        assert_eq!(pruner.finish(), None);
        let mut pruner = Pruner::default();
        pruner.push("[".repeat(1_000_000).as_bytes());
        assert_eq!(pruner.finish(), None);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:\u{e9}\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_small_text_says_the_same_afterwards(value in json_value()) {
            let text = serde_json::to_string_pretty(&json!({"v": value})).unwrap();
            let kept = pruned(text.as_bytes()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), json!({"v": value}));
        }

        #[test]
        fn no_text_is_its_end(text in "[{}\\[\\],:\"\\\\a0-9. n\u{e9}-]{0,40}") {
            let _ = pruned(text.as_bytes());
        }
    }
}
