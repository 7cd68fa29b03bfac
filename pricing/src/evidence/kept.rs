//! The part of a JSON value that evidence keeps: numbers, booleans, null and short texts, to a bounded
//! depth, as compact text made in one pass. Usage objects are read on every call.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::counts;
use super::json::{Index, Json, Places};
use super::{
    EVIDENCE_BYTES_MAX, EVIDENCE_DEPTH_MAX, EVIDENCE_OBJECTS_MAX, EVIDENCE_TEXT_BYTES_MAX,
};
use crate::json::{has_control, string_end};
use crate::usage::QUANTITY_DIGITS_MAX;

/// Most bytes of a value that may go as deep as [`EVIDENCE_DEPTH_MAX`]; evidence has room for one of them.
const KEPT_BYTES_MAX: usize = EVIDENCE_BYTES_MAX - 7 * 1024;
/// How deep the counts of a usage object stand: in it, in its details and in what divides those.
const COUNTS_DEPTH: usize = 3;

/// A JSON value without content: no text longer than [`EVIDENCE_TEXT_BYTES_MAX`], nothing deeper than
/// [`EVIDENCE_DEPTH_MAX`], no spaces between its tokens.
#[derive(Clone)]
pub struct Kept {
    text: String,
    has_counts_alone: bool,
    /// Where its members stand, if that was learnt on the way.
    places: Places,
}

impl Kept {
    /// Keeps what evidence may hold of a value; `None` when nothing of it may stay, or it is no JSON. Of one
    /// that is too large what stands deepest goes first, as a list of what each message took.
    #[must_use]
    pub fn of(json: &str) -> Option<Self> {
        if json.len() <= KEPT_BYTES_MAX
            && let Some(places) = counts::places(json.as_bytes())
        {
            return Some(Self {
                text: json.to_owned(),
                has_counts_alone: true,
                places,
            });
        }
        Self::in_bounds(json)
    }

    pub(super) fn in_bounds(json: &str) -> Option<Self> {
        let mut depth = EVIDENCE_DEPTH_MAX;
        loop {
            let kept = Self::to_depth(json, depth)?;
            if kept.text.len() <= KEPT_BYTES_MAX || depth == COUNTS_DEPTH {
                return Some(kept);
            }
            depth -= 1;
        }
    }

    fn to_depth(json: &str, depth: usize) -> Option<Self> {
        let mut scan = Scan {
            text: json,
            at: 0,
            from: 0,
            out: String::with_capacity(json.len().min(1024)),
            has_counts_alone: true,
        };
        let is_kept = scan.value(depth + 1)?;
        scan.copy();
        let is_whole = scan.peek().is_none();
        (is_kept && is_whole).then_some(Self {
            text: scan.out,
            has_counts_alone: scan.has_counts_alone,
            places: Places::default(),
        })
    }

    /// An object of members that are kept already; later ones of a name win.
    #[must_use]
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Json<'a>)>) -> Self {
        let mut out = String::from("{");
        for (name, value) in members {
            if out.len() > 1 {
                out.push(',');
            }
            // Names of ours need no escapes; others came from a kept text and were read out of it.
            out.push_str(&serde_json::Value::from(name).to_string());
            out.push(':');
            out.push_str(value.text());
        }
        out.push('}');
        Self {
            text: out,
            has_counts_alone: false,
            places: Places::default(),
        }
    }

    /// The same object with the members of `later` that are not null in place of its own.
    #[must_use]
    pub fn merged(&self, later: &Self) -> Self {
        let mut members: Vec<(std::borrow::Cow<'_, str>, Json<'_>)> = Vec::new();
        let news = later.json().members().filter(|(_, value)| !value.is_null());
        for (name, value) in self.json().members().chain(news) {
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => members.push((name, value)),
            }
        }
        Self::object(members.iter().map(|(name, value)| (&**name, *value)))
    }

    /// The value, to look into.
    #[must_use]
    pub fn json(&self) -> Json<'_> {
        Json::of_compact(&self.text)
    }

    /// The value, to be asked for many members.
    #[must_use]
    pub fn index(&self) -> Index<'_> {
        if self.places.members.is_empty() {
            return Index::of(self.json());
        }
        Index::known(self.json(), &self.places)
    }

    /// The names of all members that are objects, however deep; `None` where they are not known without
    /// looking for them.
    #[must_use]
    pub fn names_of_objects(&self) -> Option<impl Iterator<Item = &str>> {
        let members = &self.places.members;
        let names = || {
            members
                .iter()
                .filter_map(|member| member.name_of_object(&self.text))
        };
        (!members.is_empty()).then(names)
    }

    /// The value as JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing but null and whole numbers of at most [`QUANTITY_DIGITS_MAX`] digits stands in its objects,
    /// and no array; known without looking into it. `false` says nothing.
    #[must_use]
    pub fn has_counts_alone(&self) -> bool {
        self.has_counts_alone
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As `RawValue` does, which could only be made by parsing the text once more.
        let mut raw = serializer.serialize_struct(crate::json::RAW, 1)?;
        raw.serialize_field(crate::json::RAW, &self.text)?;
        raw.end()
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::of(raw.get()).ok_or_else(|| serde::de::Error::custom("nothing that evidence keeps"))
    }
}

/// A place in a text that should be one JSON value. Where it is not, everything ends in `None`.
///
/// What was passed is kept unless it is given up by [`Scan::drop_from`]; it is copied in runs, as long as
/// nothing is left out.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Where the run begins that is kept and not copied yet; it ends at `at`.
    from: usize,
    out: String,
    has_counts_alone: bool,
}

impl Scan<'_> {
    /// The next byte that is no space. Spaces are not kept.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.at)?;
        if byte.is_ascii_whitespace() {
            return self.skip_space();
        }
        Some(byte)
    }

    fn skip_space(&mut self) -> Option<u8> {
        self.copy();
        let bytes = self.text.as_bytes();
        while bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
            self.from = self.at;
        }
        bytes.get(self.at).copied()
    }

    /// Copies the run.
    fn copy(&mut self) {
        self.out
            .push_str(self.text.get(self.from..self.at).unwrap_or_default());
        self.from = self.at;
    }

    /// How much is kept so far.
    #[inline]
    fn len(&self) -> usize {
        self.out.len() + self.at - self.from
    }

    /// Gives up all that was kept behind the first `len` bytes.
    fn drop_from(&mut self, len: usize) {
        self.copy();
        self.out.truncate(len);
    }

    #[inline]
    fn take(&mut self, wanted: u8) -> Option<bool> {
        let is_there = self.peek()? == wanted;
        self.at += usize::from(is_there);
        Some(is_there)
    }

    /// Passes one value; `false` for one that is to be left out.
    fn value(&mut self, depth: usize) -> Option<bool> {
        match self.peek()? {
            b'{' if depth > 1 => return self.object(depth - 1).map(|()| true),
            b'n' => return self.word("null"),
            b'0'..=b'9' => return self.number(),
            _ => self.has_counts_alone = false,
        }
        match self.peek()? {
            b'[' if depth > 1 => self.array(depth - 1).map(|()| true),
            b'{' | b'[' => self.skip_nested().map(|()| false),
            b'"' => self.kept_string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            _ => self.number(),
        }
    }

    /// Passes a string; whether it is short enough to be kept. Escapes are written the one way.
    fn kept_string(&mut self) -> Option<bool> {
        let start = self.at;
        let (end, is_plain) = string_end(self.text.as_bytes(), start)?;
        if is_plain && !has_control(&self.text.as_bytes()[start..end]) {
            self.at = end;
            return Some(end - start <= EVIDENCE_TEXT_BYTES_MAX + 2);
        }
        self.copy();
        self.at = end;
        self.from = end;
        let text: String = serde_json::from_str(self.text.get(start..end)?).ok()?;
        if text.len() > EVIDENCE_TEXT_BYTES_MAX {
            return Some(false);
        }
        // Postgres has no room for NUL in a text.
        let text = text.replace('\0', "\u{FFFD}");
        self.out.push_str(&serde_json::to_string(&text).ok()?);
        Some(true)
    }

    fn number(&mut self) -> Option<bool> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits_end = end_of(bytes, start, |byte| byte.is_ascii_digit());
        let end = end_of(bytes, digits_end, |byte| {
            byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
        });
        let number = self.text.get(start..end)?;
        self.at = end;
        // Nearly all are counts, which need no second look at their grammar.
        let is_count = end == digits_end
            && !number.is_empty()
            && number.len() <= EVIDENCE_TEXT_BYTES_MAX
            && (number.len() == 1 || !number.starts_with('0'));
        self.has_counts_alone &= is_count && number.len() <= QUANTITY_DIGITS_MAX as usize;
        if !is_count {
            if !super::is_storable(number) {
                return Some(false);
            }
            number.parse::<serde_json::Number>().ok()?;
        }
        Some(true)
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let start = self.len();
        self.at += 1;
        if self.take(b'}')? {
            return Some(());
        }
        let mut before = self.len();
        loop {
            self.peek().filter(|byte| *byte == b'"')?;
            let is_named = self.kept_string()?;
            self.peek()?;
            let named = self.len();
            if !self.take(b':')? {
                return None;
            }
            if !(self.value(depth)? && is_named) {
                // The last of several members of one name wins, even by being left out.
                self.drop_from(named);
                if is_named && self.is_repeated(start, before) {
                    self.out.push_str(":null");
                } else {
                    self.out.truncate(before);
                }
            }
            match self.comma_or(b'}', start)? {
                Some(len) => before = len,
                None => return Some(()),
            }
        }
    }

    /// What was kept before a comma that follows; `None` at the end. The comma is kept where something
    /// stands before it.
    fn comma_or(&mut self, end: u8, start: usize) -> Option<Option<usize>> {
        let next = self.peek()?;
        let before = self.len();
        self.at += 1;
        if next == end {
            return Some(None);
        }
        if next != b',' {
            return None;
        }
        if before == start + 1 {
            self.drop_from(before);
        }
        Some(Some(before))
    }

    /// Whether the member's name written from `before` on stands earlier in its object too.
    fn is_repeated(&self, start: usize, before: usize) -> bool {
        let name = Json::of_compact(self.out[before..].trim_start_matches(',')).str();
        let so_far = format!("{}}}", &self.out[start..before]);
        let so_far = Json::of_compact(&so_far);
        name.is_some_and(|name| so_far.get(&name).is_some())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let start = self.len();
        self.at += 1;
        if self.take(b']')? {
            return Some(());
        }
        let mut before = self.len();
        let mut seen = 0;
        loop {
            seen += 1;
            let is_over = seen > EVIDENCE_OBJECTS_MAX;
            let is_kept = self.value(if is_over { 1 } else { depth })?;
            if !is_kept || is_over {
                self.drop_from(before);
            }
            match self.comma_or(b']', start)? {
                Some(len) => before = len,
                None => return Some(()),
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<bool> {
        self.text.get(self.at..)?.strip_prefix(word)?;
        self.at += word.len();
        Some(true)
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut open = 0usize;
        loop {
            match self.peek()? {
                b'"' => (self.at, _) = string_end(self.text.as_bytes(), self.at)?,
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

/// Where bytes of a kind end, from `start` on.
fn end_of(bytes: &[u8], start: usize, is_part: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.iter().position(|byte| !is_part(*byte));
    start + len.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// What evidence keeps, told the slow way.
    fn without_content(value: &Value, depth: usize) -> Option<Value> {
        let is_short = |text: &str| text.len() <= EVIDENCE_TEXT_BYTES_MAX;
        match value {
            Value::Object(_) | Value::Array(_) if depth == 0 => None,
            Value::Object(members) => Some(Value::Object(
                members
                    .iter()
                    .filter(|(name, _)| is_short(name))
                    .filter_map(|(name, member)| {
                        Some((name.clone(), without_content(member, depth - 1)?))
                    })
                    .collect(),
            )),
            Value::Array(items) => Some(
                items
                    .iter()
                    .take(EVIDENCE_OBJECTS_MAX)
                    .filter_map(|item| without_content(item, depth - 1))
                    .collect(),
            ),
            Value::String(text) => is_short(text).then(|| value.clone()),
            Value::Number(number) => {
                super::super::is_storable(number.as_str()).then(|| value.clone())
            }
            Value::Null | Value::Bool(_) => Some(value.clone()),
        }
    }

    fn check(json: &str) {
        let whole: Value = serde_json::from_str(json).unwrap();
        let whole_depth = |json: &str| Kept::to_depth(json, EVIDENCE_DEPTH_MAX);
        let kept = whole_depth(json).unwrap();
        let read: Value = serde_json::from_str(kept.text()).unwrap();
        assert_eq!(
            Some(read),
            without_content(&whole, EVIDENCE_DEPTH_MAX),
            "{json}"
        );
        assert_eq!(whole_depth(kept.text()), Some(kept), "{json}");
    }

    #[test]
    fn keeps_what_is_no_content() {
        for json in [
            "{}",
            " { \"a\" : [ 1 , -2.50e3, true,false ,null ] , \"b\":{}, \"c\" : [] } ",
            r#"{"\u0061":"\"x\\","a":2,"d":{"d":{"d":{"d":{"d":{"d":{"e":1},"f":1}}}}}}"#,
            r#"{"l":[[[[[[[1,"]"],2]]]]]],"n":1e999,"o":1e+1000,"p":-2E-0001000,"q":1e0000999,"d":25.933313000000000001}"#,
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
    fn counts_stay_whatever_stands_beside_them() {
        let counts = r#""input":7,"details":{"cached":{"audio":2}},"list":[{"kind":1}]"#;
        let item = |n: u32| format!(r#""m{n}":{{"input":{n},"parts":[{{"input":{n}}}]}}"#);
        let items: Vec<String> = (0..900).map(item).collect();
        let whole = format!(r#"{{"of":{{"items":{{{}}}}},{counts}}}"#, items.join(","));
        let kept = Kept::of(&whole).unwrap();
        assert_eq!(
            kept.text(),
            format!(r#"{{"of":{{"items":{{}}}},{counts}}}"#)
        );
        assert_eq!(Kept::of(kept.text()), Some(kept));
        // A few of them are kept as they are.
        let few = format!(r#"{{"of":{{"items":{{{}}}}},{counts}}}"#, items[0]);
        assert_eq!(Kept::of(&few).unwrap().text(), few);
    }

    #[test]
    fn the_last_of_several_members_holds() {
        let long = "x".repeat(65);
        let kept = Kept::of(&format!(r#"{{"a":1,"a":"{long}","b":1,"b":2}}"#)).unwrap();
        assert_eq!(kept.text(), r#"{"a":1,"a":null,"b":1,"b":2}"#);
        assert!(kept.json().get("a").is_some_and(|value| value.is_null()));
        assert_eq!(kept.json().get("b").and_then(|b| b.count()), Some(2));
    }

    #[test]
    fn what_is_no_json_is_not_kept() {
        for text in ["", "{", "{\"a\"}", "[1,]", "{} x", "nul", "01", "-", "\"a"] {
            assert_eq!(Kept::of(text), None, "{text}");
        }
        assert_eq!(
            Kept::of(r#"{"a":"\u0000"}"#).unwrap().text(),
            "{\"a\":\"\u{FFFD}\"}"
        );
    }

    #[test]
    fn what_holds_counts_alone_says_so() {
        let has = |json| Kept::of(json).unwrap().has_counts_alone();
        assert!(has(r#"{"a":1,"b":null,"c":{"d":999999999999999,"e":{}}}"#));
        for json in [
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":true}}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1000000000000000}"#,
        ] {
            assert!(!has(json), "{json}");
        }
    }

    #[test]
    fn merging_takes_the_later_members_that_say_something() {
        let of = |json: Value| Kept::of(&json.to_string()).unwrap();
        let merged = of(json!({"a": 1, "b": 2})).merged(&of(json!({"b": null, "a": 3, "c": "x"})));
        assert_eq!(merged.text(), r#"{"a":3,"b":2,"c":"x"}"#);
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
        fn keeps_what_is_no_content_of_any_object(value in json_value()) {
            check(&json!({"v": value}).to_string());
            check(&serde_json::to_string_pretty(&json!({"v": value})).unwrap());
        }

        #[test]
        fn no_text_is_its_end(text in "[{}\\[\\],:\"\\\\a0-9. ntf-]{0,24}") {
            if let Some(kept) = Kept::of(&text) {
                prop_assert!(serde_json::from_str::<Value>(kept.text()).is_ok(), "{text}");
            }
        }
    }
}
