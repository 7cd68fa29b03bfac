//! Picks a few members out of a JSON object without looking at the rest more than finding its end
//! takes: answers are mostly long texts, and nothing is learnt from those.
//!
//! The last of several members with one name wins, as most servers have it; `is_repeated` tells. What
//! is skipped is not checked: a body that is no JSON inside a skipped member passes for one.

use std::borrow::Cow;

use farebox_pricing::json::first_quote;
use memchr::memchr2;

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 128;
/// Bytes of a text that are looked at, eight at a time, before a search is set up.
const SHORT_BYTES: usize = 48;

/// The text of one member, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// The JSON text; empty when it is no UTF-8.
    #[must_use]
    pub fn get(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    /// The JSON text's bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The members asked for, in the order of their names.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a, const N: usize> {
    /// The raw text of each member that was there.
    pub members: [Option<Raw<'a>>; N],
    /// The object has no member at all.
    pub is_empty: bool,
    /// One of the names came more than once.
    pub is_repeated: bool,
}

/// Reads a whole JSON object; `None` when the text is none, or more follows it.
#[must_use]
pub fn pick<'a, const N: usize>(json: &'a [u8], names: [&str; N]) -> Option<Picked<'a, N>> {
    let mut scan = Scan { json, at: 0 };
    let mut picked = Picked {
        members: [None; N],
        is_empty: true,
        is_repeated: false,
    };
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        scan.at += 1;
        return scan.is_at_end().then_some(picked);
    }
    picked.is_empty = false;
    loop {
        scan.skip_space();
        let (name, is_plain) = scan.string()?;
        scan.expect(b':')?;
        scan.skip_space();
        let value = scan.value()?;
        if let Some(index) = index_of(name, is_plain, &names) {
            picked.is_repeated |= picked.members[index].replace(Raw(value)).is_some();
        }
        match scan.peek()? {
            b',' => scan.at += 1,
            b'}' => {
                scan.at += 1;
                return scan.is_at_end().then_some(picked);
            }
            _ => return None,
        }
    }
}

/// [`pick`] on a member that is an object itself.
#[must_use]
pub fn pick_in<'a, const N: usize>(raw: Raw<'a>, names: [&str; N]) -> Option<Picked<'a, N>> {
    pick(raw.0, names)
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, as it is meant.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: Raw<'a>,
    /// Name and value, as they came.
    pub text: &'a [u8],
}

/// Every member of a whole JSON object; `None` when the text is none, or more follows it.
#[must_use]
pub fn members(json: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut scan = Scan { json, at: 0 };
    let mut members = Vec::new();
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        scan.at += 1;
        return scan.is_at_end().then_some(members);
    }
    loop {
        scan.skip_space();
        let begins = scan.at;
        let name = text_of(Raw(scan.string()?.0))?;
        scan.expect(b':')?;
        scan.skip_space();
        let value = Raw(scan.value()?);
        let text = &json[begins..scan.at];
        members.push(Member { name, value, text });
        match scan.peek()? {
            b',' => scan.at += 1,
            b'}' => {
                scan.at += 1;
                return scan.is_at_end().then_some(members);
            }
            _ => return None,
        }
    }
}

/// The items of an array, in their order, as far as it is well formed; none where it is no array.
pub fn items(raw: Raw<'_>) -> impl Iterator<Item = Raw<'_>> {
    let mut scan = Scan { json: raw.0, at: 0 };
    let mut is_open = scan.expect(b'[').is_some() && scan.peek() != Some(b']');
    std::iter::from_fn(move || {
        if !is_open {
            return None;
        }
        scan.skip_space();
        let item = scan.value()?;
        is_open = scan.expect(b',').is_some();
        Some(Raw(item))
    })
}

/// The text of a JSON string.
#[must_use]
pub fn text_of(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw.get())
            .ok()
            .map(Into::into);
    }
    Some(inner.into())
}

/// `name` stands between its quotes, and is plain where it has no escapes.
fn index_of(name: &[u8], is_plain: bool, names: &[&str]) -> Option<usize> {
    let inner = name.get(1..name.len() - 1)?;
    if !is_plain {
        let name: String = serde_json::from_slice(name).ok()?;
        return names.iter().position(|wanted| *wanted == name);
    }
    names.iter().position(|wanted| wanted.as_bytes() == inner)
}

struct Scan<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn skip_space(&mut self) {
        while self
            .json
            .get(self.at)
            .is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.json.get(self.at).copied()
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// A string with its quotes, and whether it has no escapes.
    fn string(&mut self) -> Option<(&'a [u8], bool)> {
        let start = self.at;
        let (end, is_plain) = string_end(self.json, start)?;
        self.at = end;
        Some((&self.json[start..end], is_plain))
    }

    /// One value, to its end.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.json.get(start)? {
            b'"' => return self.string().map(|(string, _)| string),
            b'{' | b'[' => self.nested()?,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let rest = &self.json[start..];
                let is_over = |byte: &u8| !is_part(byte);
                self.at += rest.iter().position(is_over).unwrap_or(rest.len());
                let word = &self.json[start..self.at];
                let is_word = matches!(word, b"true" | b"false" | b"null");
                if !is_word && !matches!(word[0], b'-' | b'0'..=b'9') {
                    return None;
                }
            }
            _ => return None,
        }
        Some(&self.json[start..self.at])
    }

    /// To the end of an object or array; its brackets match, what is between is not looked at.
    fn nested(&mut self) -> Option<()> {
        let mut rest = self.json.get(self.at..)?;
        // A bit for each open bracket: set for an array.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = match byte {
                b'"' => behind.get(text_len(behind)?.0..)?,
                b'{' | b'[' => {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    open = open << 1 | u128::from(*byte == b'[');
                    depth += 1;
                    behind
                }
                b'}' | b']' => {
                    if (open & 1 == 1) != (*byte == b']') {
                        return None;
                    }
                    open >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        self.at = self.json.len() - behind.len();
                        return Some(());
                    }
                    behind
                }
                _ => behind,
            };
        }
    }
}

/// Where the string that begins at `start` ends, its closing quote included; and whether it has no
/// escapes.
#[inline]
fn string_end(json: &[u8], start: usize) -> Option<(usize, bool)> {
    let inside = json.get(start..)?.strip_prefix(b"\"")?;
    let (len, is_plain) = one_text_len(inside)?;
    Some((start + 1 + len, is_plain))
}

/// How long a string is behind its opening quote, its closing one included; and whether it has no escapes.
#[inline(always)]
fn text_len(inside: &[u8]) -> Option<(usize, bool)> {
    // Names and counts are short, a search pays only where a text is long.
    let mut at = 0;
    while at < SHORT_BYTES {
        let Some(word) = inside.get(at..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        if let Some(offset) = first_quote(u64::from_le_bytes(*word)) {
            at += offset;
            if inside.get(at) == Some(&b'"') {
                return Some((at + 1, true));
            }
            break;
        }
        at += 8;
    }
    long_text_len(inside, at)
}

/// The same, where it is asked for now and then.
#[inline(never)]
fn one_text_len(inside: &[u8]) -> Option<(usize, bool)> {
    text_len(inside)
}

/// The same, where the first `at` bytes hold neither a quote nor an escape.
#[inline(never)]
fn long_text_len(inside: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut is_plain = true;
    loop {
        at += memchr2(b'"', b'\\', inside.get(at..)?)?;
        if inside.get(at) == Some(&b'"') {
            return Some((at + 1, is_plain));
        }
        is_plain = false;
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn items_end_where_the_array_does() {
        let count = |json: &str| items(Raw(json.as_bytes())).count();
        assert_eq!(count(r#" [1, "a]", {"b":[2]} ] "#), 3);
        for json in ["[]", "[ ]", "{}", "", "null", "[,1]"] {
            assert_eq!(count(json), 0, "{json}");
        }
        assert_eq!(count("[1,2"), 2);
    }

    #[test]
    fn picks_by_name_and_the_last_one_wins() {
        let picked = pick(
            br#" {"a":{"b":[1]},"skip":"\"a\":9","b":1,"b":2.50} "#,
            ["a", "b", "c"],
        )
        .unwrap();
        let texts = picked.members.map(|raw| raw.map(Raw::get));
        assert_eq!(texts, [Some(r#"{"b":[1]}"#), Some("2.50"), None]);
        assert!(picked.is_repeated && !picked.is_empty);
    }

    #[test]
    fn members_come_as_they_stand() {
        let read = members(br#" {"a" : [1,{}], "\u0062":"}" } "#).unwrap();
        let seen: Vec<_> = read
            .iter()
            .map(|member| (&*member.name, member.value.get(), member.text))
            .collect();
        let expected: [(&str, &str, &[u8]); 2] = [
            ("a", "[1,{}]", br#""a" : [1,{}]"#),
            ("b", "\"}\"", br#""\u0062":"}""#),
        ];
        assert_eq!(seen, expected);
        assert_eq!(members(b"{}"), Some(Vec::new()));
        for json in ["", "[]", "{", r#"{"a":1,}"#, r#"{"a":1}x"#] {
            assert_eq!(members(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        for json in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a":1}x"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":[}]}"#,
            r#"{"a":"x}"#,
            r#"{"a":tru}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 "b":2}"#,
            "\u{feff}{}",
        ] {
            assert!(pick(json.as_bytes(), ["a"]).is_none(), "{json}");
        }
        assert!(pick(b"{}", ["a"]).unwrap().is_empty);
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        let json = format!(r#"{{"a":{}}}"#, "[".repeat(1_000_000));
        assert!(pick(json.as_bytes(), ["a"]).is_none());
        assert!(pick(json.as_bytes(), ["b"]).is_none());
    }

    #[test]
    fn escaped_texts_are_read_as_what_they_say() {
        let picked = pick(
            br#"{"m":"gpt\u002d6","n":"plain","\u006f":7}"#,
            ["m", "n", "o"],
        )
        .unwrap();
        let texts = picked.members.map(|raw| raw.and_then(text_of));
        assert_eq!(texts, [Some("gpt-6".into()), Some("plain".into()), None]);
        assert_eq!(picked.members[2].map(Raw::get), Some("7"));
    }

    #[test]
    fn a_text_ends_at_its_quote_wherever_that_stands() {
        for before in 0..70 {
            for text in ["", "\\\"", "\\\\", "\u{e9}\u{1}\u{a2}", "!#[]"] {
                let text = format!("{}{text}", "x".repeat(before));
                let json = format!(r#"{{"a":"{text}","b":1}}"#);
                let picked = pick(json.as_bytes(), ["a", "b"]).unwrap();
                let quoted = format!("\"{text}\"");
                assert_eq!(picked.members[0].map(Raw::get), Some(quoted.as_str()));
                assert_eq!(picked.members[1].map(Raw::get), Some("1"), "{json}");
            }
        }
    }

    #[test]
    fn a_member_that_is_no_text_says_nothing() {
        let picked = pick(b"{\"m\":\"\xff\"}", ["m"]).unwrap();
        assert_eq!(picked.members[0].map(Raw::get), Some(""));
        assert_eq!(picked.members[0].and_then(text_of), None);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:\u{e9}\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn picks_what_a_whole_parse_would(a in json_value(), b in json_value(), is_pretty: bool) {
            let whole = json!({"x": b, "a": a, "b": [b, a], "\"": 1});
            let text = if is_pretty {
                serde_json::to_string_pretty(&whole).unwrap()
            } else {
                whole.to_string()
            };
            let picked = pick(text.as_bytes(), ["a", "b", "c", "\""]).unwrap();
            for (name, raw) in ["a", "b", "c", "\""].iter().zip(picked.members) {
                let read = raw.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
                prop_assert_eq!(read.as_ref(), whole.get(*name));
            }
            for end in 0..text.trim_end().len() {
                prop_assert!(pick(&text.as_bytes()[..end], ["a"]).is_none());
            }
        }

        #[test]
        fn no_text_is_its_end(text in "[{}\\[\\],:\"\\\\a0-9. ntf-]{0,24}") {
            let _ = pick(text.as_bytes(), ["a"]);
        }
    }
}
