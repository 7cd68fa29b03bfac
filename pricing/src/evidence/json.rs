//! Looks into a compact JSON text without building anything: usage objects have a dozen members, and
//! each call asks for a few of them.

use std::borrow::Cow;
use std::cell::Cell;

use crate::json::{name_len, string_end};
use crate::money::Decimal;

/// Levels of objects that an [`Index`] looks into; deeper ones are found by walking.
const INDEX_LEVELS: usize = 3;
/// Digits of a whole number that are added up without a look at its size.
const QUICK_DIGITS: usize = 8;
/// Members an index has room for without growing; a usage object has a dozen.
const INDEX_MEMBERS: usize = 24;

/// One value inside a kept text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Over a text that is one value without spaces between its tokens. Over anything else it finds
    /// less than there is, and does not panic.
    pub(super) fn of_compact(text: &'a str) -> Self {
        Self(text)
    }

    /// The value's text.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The last member of a name; `None` where this is no object or has none.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        let mut found = None;
        for (raw, value) in RawMembers::of(self) {
            let is_it = if raw.contains('\\') {
                unescaped(raw).is_some_and(|text| text == name)
            } else {
                raw == name
            };
            if is_it {
                found = Some(value);
            }
        }
        found
    }

    /// The value at a path of members.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Option<Json<'a>> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// The members of an object, in their order.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        RawMembers::of(self).filter_map(|(raw, value)| {
            let name = if raw.contains('\\') {
                Cow::Owned(unescaped(raw)?)
            } else {
                Cow::Borrowed(raw)
            };
            Some((name, value))
        })
    }

    /// The items of an array, in their order.
    pub fn items(self) -> impl Iterator<Item = Json<'a>> {
        Items {
            rest: self.0.strip_prefix('[').unwrap_or(""),
        }
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// A boolean.
    #[must_use]
    pub fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn str(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inside.contains('\\') {
            return unescaped(inside).map(Cow::Owned);
        }
        Some(Cow::Borrowed(inside))
    }

    /// A number, as it was written.
    #[must_use]
    pub fn number(self) -> Option<&'a str> {
        matches!(self.0.as_bytes(), [b'-' | b'0'..=b'9', ..]).then_some(self.0)
    }

    /// A number, exactly.
    #[must_use]
    pub fn decimal(self) -> Option<Decimal> {
        self.number()?.parse().ok()
    }

    /// A whole number that is not negative; `7.0` is one.
    #[must_use]
    pub fn count(self) -> Option<u64> {
        let digits = self.0.as_bytes();
        if matches!(digits.len(), 1..=QUICK_DIGITS) && digits.iter().all(u8::is_ascii_digit) {
            let add = |sum, digit: &u8| sum * 10 + u64::from(digit & 0xf);
            return Some(digits.iter().fold(0, add));
        }
        let number = self.number()?;
        if let Ok(count) = number.parse() {
            return Some(count);
        }
        let number: Decimal = number.parse().ok()?;
        if number.is_negative() || number.scale() > 0 {
            return None;
        }
        u64::try_from(number.mantissa()).ok()
    }
}

/// The members of an object and of the objects in it, found in one pass: for readers that ask for many.
#[derive(Debug)]
pub struct Index<'a> {
    whole: Json<'a>,
    members: Cow<'a, [Place]>,
    names: u64,
    has_escapes: bool,
    /// The member of the whole that was looked into last; readers ask one object for many members.
    last: Cell<usize>,
}

/// Where members stand in a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// In their order; those of a member's own object follow it.
    pub(super) members: Vec<Place>,
    /// A bit for each name, that others share: most of what is asked for is not there.
    names: u64,
}

/// Where one of them does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    name: u32,
    name_len: u32,
    ends: u32,
    /// Where the next member of the same object stands among the members.
    next: u32,
}

impl Place {
    /// The name of a member that is an object.
    #[inline]
    pub(super) fn name_of_object(self, text: &str) -> Option<&str> {
        let begins = self.name as usize;
        let ends = begins + self.name_len as usize;
        let is_object = text.as_bytes().get(ends + 2) == Some(&b'{');
        is_object.then(|| text.get(begins..ends))?
    }
}

impl Places {
    /// With room for those of most objects.
    pub(super) fn with_room() -> Self {
        Self {
            members: Vec::with_capacity(INDEX_MEMBERS),
            names: 0,
        }
    }

    /// Adds a member whose name begins at a place; its value follows behind a quote and a colon.
    #[inline]
    pub(super) fn add(&mut self, at: u32, name: &[u8]) {
        self.names |= bit_of(name);
        self.members.push(Place {
            name: at,
            name_len: name.len() as u32,
            ends: 0,
            next: u32::MAX,
        });
    }

    /// Says where a member ends, of which all are added that stand in it.
    #[inline]
    pub(super) fn end(&mut self, number: usize, at: u32) {
        let next = self.members.len() as u32;
        if let Some(member) = self.members.get_mut(number) {
            member.ends = at;
            member.next = next;
        }
    }
}

impl<'a> Index<'a> {
    /// Looks through `whole` once.
    #[must_use]
    pub fn of(whole: Json<'a>) -> Self {
        let mut places = Places::with_room();
        let mut has_escapes = false;
        // What does not end is indexed as far as it goes.
        let _ = fill(&mut places, &mut has_escapes, whole.0);
        Self {
            whole,
            members: Cow::Owned(places.members),
            names: places.names,
            has_escapes,
            last: Cell::new(usize::MAX),
        }
    }

    /// The same of what was looked through when it was kept.
    pub(super) fn known(whole: Json<'a>, places: &'a Places) -> Self {
        Self {
            whole,
            members: Cow::Borrowed(&places.members),
            names: places.names,
            has_escapes: false,
            last: Cell::new(usize::MAX),
        }
    }

    /// Whether one of the names stands nowhere in it: quicker than a look for each.
    #[inline]
    #[must_use]
    pub fn lacks(&self, names: &[&str]) -> bool {
        let is_away = |name: &&str| self.names & bit_of(name.as_bytes()) == 0;
        !self.has_escapes && names.len() <= INDEX_LEVELS && names.iter().any(is_away)
    }

    /// The value at a path of members, as [`Json::at`] finds it.
    #[must_use]
    #[inline]
    pub fn at(&self, path: &[&str]) -> Option<Json<'a>> {
        if self.lacks(path) {
            return None;
        }
        self.look(path)
    }

    fn look(&self, path: &[&str]) -> Option<Json<'a>> {
        if self.has_escapes || path.len() > INDEX_LEVELS {
            return self.whole.at(path);
        }
        let Some((first, rest)) = path.split_first() else {
            return Some(self.whole);
        };
        let members = &*self.members;
        let last = self.last.get();
        let mut place = match members.get(last) {
            Some(member) if self.is_named(member, first) => last,
            _ => self.place(members, 0, first)?,
        };
        self.last.set(place);
        for name in rest {
            let next = members.get(place)?.next as usize;
            let inside = members.get(..next).unwrap_or(members);
            place = self.place(inside, place + 1, name)?;
        }
        let member = members.get(place)?;
        let begins = member.name as usize + member.name_len as usize + 2;
        let value = self.whole.0.get(begins..member.ends as usize);
        value.map(Json)
    }

    /// The last member of a name among those of one object, which begin at `at`.
    #[inline]
    fn place(&self, members: &[Place], mut at: usize, name: &str) -> Option<usize> {
        let mut found = None;
        while let Some(member) = members.get(at) {
            if self.is_named(member, name) {
                found = Some(at);
            }
            at = member.next as usize;
        }
        found
    }

    #[inline]
    fn is_named(&self, member: &Place, name: &str) -> bool {
        let begins = member.name as usize;
        member.name_len as usize == name.len()
            && self.whole.0.as_bytes().get(begins..begins + name.len()) == Some(name.as_bytes())
    }
}

/// Passes all members of a text; `None` at the end.
fn fill(places: &mut Places, has_escapes: &mut bool, text: &str) -> Option<()> {
    // Places are told in four bytes each.
    u32::try_from(text.len()).ok()?;
    let end = text.len();
    // The members whose objects are not over.
    let mut open = [0; INDEX_LEVELS - 1];
    let mut depth = 0usize;
    let mut rest = text.as_bytes().strip_prefix(b"{")?;
    loop {
        match rest {
            [b'}', behind @ ..] => {
                rest = behind;
                depth = depth.checked_sub(1)?;
                places.end(*open.get(depth)?, (end - rest.len()) as u32);
                continue;
            }
            [b',', behind @ ..] => rest = behind,
            _ => {}
        }
        let inside = rest.strip_prefix(b"\"")?;
        let mut len = name_len(inside);
        if inside.get(len) != Some(&b'"') {
            let (behind, is_plain) = string_end(rest, 0)?;
            *has_escapes |= !is_plain;
            len = behind - 2;
        }
        let (name, behind) = inside.split_at_checked(len)?;
        let value = behind.strip_prefix(b"\":")?;
        let number = places.members.len();
        let at = (end - inside.len()) as u32;
        match value {
            [b'{', behind @ ..] if depth < open.len() => {
                *open.get_mut(depth)? = number;
                depth += 1;
                rest = behind;
                places.add(at, name);
            }
            _ => {
                rest = behind_value(text, value)?;
                places.add(at, name);
                places.end(number, (end - rest.len()) as u32);
            }
        }
    }
}

/// The bit of a name: its length and its first letter set most names of usage objects apart.
#[inline]
fn bit_of(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or_default();
    1 << ((name.len() << 2 ^ usize::from(first)) & 63)
}

/// What stands behind a value that is not looked into, with which what is left of a text begins; nearly all
/// are counts.
#[inline]
fn behind_value<'a>(text: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let mut behind = value;
    while let [b'0'..=b'9', more @ ..] = behind {
        behind = more;
    }
    if matches!(behind, [b',' | b'}', ..]) && behind.len() < value.len() {
        return Some(behind);
    }
    value.get(value_end(text.get(text.len() - value.len()..)?)?..)
}

fn unescaped(inside: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{inside}\"")).ok()
}

/// The members of an object, their names as they are written.
struct RawMembers<'a> {
    rest: &'a str,
}

impl<'a> RawMembers<'a> {
    fn of(json: Json<'a>) -> Self {
        Self {
            rest: json.0.strip_prefix('{').unwrap_or(""),
        }
    }
}

impl<'a> Iterator for RawMembers<'a> {
    type Item = (&'a str, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        let (name_end, _) = string_end(rest.as_bytes(), 0)?;
        let name = rest.get(1..name_end - 1)?;
        let rest = rest.get(name_end..)?.strip_prefix(':')?;
        let value_end = value_end(rest)?;
        self.rest = &rest[value_end..];
        Some((name, Json(&rest[..value_end])))
    }
}

struct Items<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Items<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        let end = value_end(rest)?;
        self.rest = &rest[end..];
        Some(Json(&rest[..end]))
    }
}

/// Where the value that begins here ends; `None` when none begins or it does not end.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'"' => string_end(bytes, 0).map(|(end, _)| end),
        b'{' | b'[' => {
            let (mut at, mut open) = (0, 0usize);
            loop {
                match bytes.get(at)? {
                    b'"' => (at, _) = string_end(bytes, at)?,
                    b'{' | b'[' => {
                        open += 1;
                        at += 1;
                    }
                    b'}' | b']' => {
                        open -= 1;
                        at += 1;
                        if open == 0 {
                            return Some(at);
                        }
                    }
                    _ => at += 1,
                }
            }
        }
        b',' | b'}' | b']' | b':' => None,
        _ => Some(
            bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']'))
                .unwrap_or(bytes.len()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_is_there() {
        let json = Json(r#"{"a":{"b":[1,"x,]\"",{"c":-2.5}]},"n":null,"\u0061b":7.0,"t":true}"#);
        let items: Vec<_> = json.at(&["a", "b"]).unwrap().items().collect();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].count(), Some(1));
        assert_eq!(items[1].str().as_deref(), Some("x,]\""));
        assert_eq!(
            items[2].get("c").and_then(Json::decimal),
            "-2.5".parse().ok()
        );
        assert_eq!(items[2].get("c").and_then(Json::count), None);
        assert!(json.get("n").unwrap().is_null());
        assert_eq!(json.get("ab").and_then(Json::count), Some(7));
        assert_eq!(json.get("t").and_then(Json::bool), Some(true));
        assert_eq!(json.get("x"), None);
        assert_eq!(json.members().count(), 4);
    }

    #[test]
    fn an_index_finds_what_a_walk_finds() {
        let deep = r#"{"a":{"b":{"c":{"d":1}},"b":2},"e":[{"f":1}],"g":{},"a":{"b":{"c":3}}}"#;
        let escaped = r#"{"\u0061":{"b":1}}"#;
        let paths: [&[&str]; 9] = [
            &[],
            &["a"],
            &["a", "b"],
            &["a", "b", "c"],
            &["a", "b", "c", "d"],
            &["e"],
            &["e", "f"],
            &["g", "x"],
            &["x"],
        ];
        for text in [deep, escaped, "{}", "[]", "1", "{\"a\":1"] {
            for path in paths {
                assert_eq!(
                    Index::of(Json(text)).at(path),
                    Json(text).at(path),
                    "{text}"
                );
            }
        }
    }

    fn object() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[0-9]{1,20}",
            "-?[0-9]\\.0",
            "\"[},]?\"",
            "null",
            "\\[1,\\{\\}\\]"
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop::collection::vec(("[a-c]{1,2}|[a-c -]|a{5,19}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            })
        })
    }

    proptest! {
        #[test]
        fn an_index_finds_what_a_walk_finds_in_any_object(
            text in object(),
            paths in prop::collection::vec(prop::collection::vec("[a-c]{1,2}", 0..5), 1..9),
        ) {
            let index = Index::of(Json(&text));
            for path in paths {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let found = Json(&text).at(&path);
                prop_assert_eq!(index.at(&path), found, "{} {:?}", text, path);
                prop_assert!(found.is_none() || !index.lacks(&path));
                let digits = found.and_then(Json::number).and_then(|number| number.parse().ok());
                let digits = digits.or_else(|| found.and_then(Json::count));
                prop_assert_eq!(found.and_then(Json::count), digits);
            }
        }

        #[test]
        fn no_text_is_its_end(text in "[{}\\[\\],:\"\\\\a0-9. n\u{e9}-]{0,24}") {
            let json = Json(&text);
            let _ = (json.get("a"), json.items().count(), json.members().count());
            let _ = (json.str(), json.count(), json.decimal());
            let _ = Index::of(json).at(&["a", "b"]);
        }
    }
}
