//! The part of a JSON value that evidence keeps, built in one pass.
//!
//! The same as parsing it whole and leaving out long texts and deep members afterwards, at a
//! fraction of the cost: usage objects are read on every call.

use farebox_pricing::evidence::{
    EVIDENCE_DEPTH_MAX, EVIDENCE_OBJECTS_MAX, EVIDENCE_TEXT_BYTES_MAX,
};
use memchr::memchr2;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Numbers, booleans, null and short texts, to the depth that evidence allows.
#[must_use]
pub fn kept(raw: &RawValue) -> Option<Value> {
    let mut scan = Scan {
        text: raw.get(),
        at: 0,
    };
    scan.value(EVIDENCE_DEPTH_MAX + 1).flatten()
}

/// A place in a text that is known to be one JSON value. Were it not, everything ends in `None`.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Option<bool> {
        let is_there = self.peek()? == wanted;
        self.at += usize::from(is_there);
        Some(is_there)
    }

    /// One value; the inner `None` is one that is left out.
    fn value(&mut self, depth: usize) -> Option<Option<Value>> {
        match self.peek()? {
            b'{' if depth > 1 => self.object(depth - 1).map(Some),
            b'[' if depth > 1 => self.array(depth - 1).map(Some),
            b'{' | b'[' => self.skip_nested().map(|()| None),
            b'"' => {
                let text = self.string()?;
                if text.contains('\\') {
                    let text: String = serde_json::from_str(text).ok()?;
                    return Some(is_short(&text).then_some(Value::String(text)));
                }
                let text = inner(text)?;
                Some(is_short(text).then(|| Value::String(text.to_owned())))
            }
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Option<Value>> {
        let rest = self.text.get(self.at..)?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let end = rest
            .bytes()
            .position(|byte| !is_part(byte))
            .unwrap_or(rest.len());
        let number = &rest[..end];
        self.at += end;
        if !is_short(number) {
            return Some(None);
        }
        // Nearly all are counts, which need no second look at their grammar.
        if let Ok(count) = number.parse::<u64>() {
            return Some(Some(Value::from(count)));
        }
        number
            .parse()
            .ok()
            .map(|number| Some(Value::Number(number)))
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut members = Map::new();
        if self.take(b'}')? {
            return Some(Value::Object(members));
        }
        loop {
            self.peek().filter(|byte| *byte == b'"')?;
            let name = self.string()?;
            if !self.take(b':')? {
                return None;
            }
            let value = self.value(depth)?;
            let name = if name.contains('\\') {
                serde_json::from_str(name).ok()?
            } else {
                inner(name)?.to_owned()
            };
            // The last of several wins, even by being left out.
            match value.filter(|_| is_short(&name)) {
                Some(value) => drop(members.insert(name, value)),
                None => drop(members.remove(&name)),
            }
            if !self.take(b',')? {
                return self.take(b'}')?.then_some(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']')? {
            return Some(Value::Array(items));
        }
        let mut seen = 0;
        loop {
            seen += 1;
            if seen > EVIDENCE_OBJECTS_MAX {
                self.value(1)?;
            } else if let Some(item) = self.value(depth)? {
                items.push(item);
            }
            if !self.take(b',')? {
                return self.take(b']')?.then_some(Value::Array(items));
            }
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Option<Value>> {
        self.text.get(self.at..)?.strip_prefix(word)?;
        self.at += word.len();
        Some(Some(value))
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes[at] == b'"' {
                break;
            }
            at += 2;
        }
        self.at = at + 1;
        self.text.get(start..self.at)
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut open = 0usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    open = open.checked_sub(1)?;
                    self.at += 1;
                    if open == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

fn inner(string: &str) -> Option<&str> {
    string.strip_prefix('"')?.strip_suffix('"')
}

fn is_short(text: &str) -> bool {
    text.len() <= EVIDENCE_TEXT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use farebox_pricing::evidence::Evidence;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn kept_of(json: &str) -> Option<Value> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        kept(raw)
    }

    /// What evidence itself makes of a whole value.
    fn check(json: &str) {
        let mut evidence = Evidence::default();
        evidence.replace_object("usage", &serde_json::from_str(json).unwrap());
        assert_eq!(kept_of(json).as_ref(), evidence.object("usage"), "{json}");
    }

    #[test]
    fn is_what_evidence_keeps_of_the_whole() {
        for json in [
            "{}",
            " { \"a\" : [ 1 , -2.50e3, true,false ,null ] , \"b\":{}, \"c\" : [] } ",
            r#"{"\u0061":"\"x\\","a":2,"d":{"d":{"d":{"d":{"d":{"d":{"e":1},"f":1}}}}}}"#,
            r#"{"l":[[[[[[[1,"]"],2]]]]]],"n":1e999}"#,
        ] {
            check(json);
        }
        let long = "x".repeat(65);
        check(&format!(
            r#"{{"{long}":1,"a":"{long}","b":"{}"}}"#,
            &long[1..]
        ));
        check(&format!(r#"{{"n":{}}}"#, "1".repeat(65)));
        check(&format!(r#"{{"a":[{}"y"]}}"#, "1,[2],".repeat(100)));
    }

    #[test]
    fn the_last_of_several_members_holds() {
        let long = "x".repeat(65);
        let text = format!(r#"{{"a":1,"a":"{long}","b":1,"b":2}}"#);
        assert_eq!(kept_of(&text), Some(json!({"b": 2})));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:\u{e9}\n]{0,6}".prop_map(Value::from),
            "[a\"]{63,67}".prop_map(Value::from),
        ];
        leaf.prop_recursive(9, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn is_what_evidence_keeps_of_any_object(value in json_value()) {
            check(&json!({"v": value}).to_string());
            check(&serde_json::to_string_pretty(&json!({"v": value})).unwrap());
        }
    }
}
