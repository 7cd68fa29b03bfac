//! Picks a few members out of a JSON object without building the rest.
//!
//! The last of several members with one name wins, as most servers have it; `is_repeated` tells.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members asked for, in the order of their names.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a, const N: usize> {
    /// The raw text of each member that was there.
    pub members: [Option<&'a RawValue>; N],
    /// The object has no member at all.
    pub is_empty: bool,
    /// One of the names came more than once.
    pub is_repeated: bool,
}

/// Reads a whole JSON object; `None` when the text is none, or more follows it.
#[must_use]
pub fn pick<'a, const N: usize>(json: &'a [u8], names: [&str; N]) -> Option<Picked<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let picked = Members { names }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(picked)
}

/// [`pick`] on a member that is an object itself.
#[must_use]
pub fn pick_in<'a, const N: usize>(raw: &'a RawValue, names: [&str; N]) -> Option<Picked<'a, N>> {
    pick(raw.get().as_bytes(), names)
}

/// The text of a JSON string.
#[must_use]
pub fn text_of(raw: &RawValue) -> Option<std::borrow::Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw.get())
            .ok()
            .map(Into::into);
    }
    Some(inner.into())
}

struct Members<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, N> {
    type Value = Picked<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = Picked<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = Picked {
            members: [None; N],
            is_empty: true,
            is_repeated: false,
        };
        while let Some(index) = map.next_key_seed(Name { names: &self.names })? {
            picked.is_empty = false;
            match index {
                Some(index) => {
                    let raw = map.next_value::<&'de RawValue>()?;
                    picked.is_repeated |= picked.members[index].replace(raw).is_some();
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

/// The index of a member's name among those asked for.
struct Name<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|wanted| *wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_by_name_and_the_last_one_wins() {
        let picked = pick(
            br#" {"a":{"b":[1]},"skip":"\"a\":9","b":1,"b":2.50} "#,
            ["a", "b", "c"],
        )
        .unwrap();
        let texts = picked.members.map(|raw| raw.map(RawValue::get));
        assert_eq!(texts, [Some(r#"{"b":[1]}"#), Some("2.50"), None]);
        assert!(picked.is_repeated && !picked.is_empty);
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
        let picked = pick(br#"{"m":"gpt\u002d6","n":"plain","o":7}"#, ["m", "n", "o"]).unwrap();
        let texts = picked.members.map(|raw| raw.and_then(text_of));
        assert_eq!(texts, [Some("gpt-6".into()), Some("plain".into()), None]);
    }
}
