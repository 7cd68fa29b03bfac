//! A few named facts of a request or an answer: names, numbers and switches, never content.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::money::Decimal;

/// Facts there is room for at first; most answers say no more.
const ROOM: usize = 6;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A switch.
    Bool(bool),
    /// A whole number.
    Count(u64),
    /// Another number, exactly.
    Number(Decimal),
    /// A name.
    Text(Box<str>),
}

impl Fact {
    /// A name.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A switch.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(is_on) => Some(*is_on),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(*count),
            Self::Number(number) if !number.is_negative() && number.scale() == 0 => {
                u64::try_from(number.mantissa()).ok()
            }
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Self::Count(count) => Some((*count).into()),
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<bool> for Fact {
    fn from(is_on: bool) -> Self {
        Self::Bool(is_on)
    }
}

impl From<u64> for Fact {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<Decimal> for Fact {
    fn from(number: Decimal) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(is_on) => serializer.serialize_bool(*is_on),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Number(number) => {
                let raw = RawValue::from_string(number.to_string());
                raw.map_err(serde::ser::Error::custom)?
                    .serialize(serializer)
            }
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(text)
                .map(Self::from)
                .map_err(serde::de::Error::custom),
            Some(b't') => Ok(Self::Bool(true)),
            Some(b'f') => Ok(Self::Bool(false)),
            _ => {
                if let Ok(count) = text.parse() {
                    return Ok(Self::Count(count));
                }
                // What a newer version may have kept is no reason to lose the record.
                Ok(text.parse().map_or_else(|_| Self::from(text), Self::Number))
            }
        }
    }
}

/// Facts by name, in the order they were learnt; few enough to look through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Vec<(Cow<'static, str>, Fact)>);

impl Facts {
    /// Sets a fact, replacing what stood there.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, fact: impl Into<Fact>) {
        let (name, fact) = (name.into(), fact.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = fact,
            None => {
                if self.0.capacity() == 0 {
                    self.0.reserve_exact(ROOM);
                }
                self.0.push((name, fact));
            }
        }
    }

    /// The fact of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, fact)| fact)
    }

    /// The text of a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The whole number of a name.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_count()
    }

    /// Whether the switch of a name is on.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).and_then(Fact::as_bool) == Some(true)
    }

    /// Whether there is a fact of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and facts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.0.iter().map(|(name, fact)| (&**name, fact))
    }

    /// Names and facts, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Cow<'static, str>, &mut Fact)> {
        self.0.iter_mut().map(|(name, fact)| (name, fact))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, fact)| (name, fact)))
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Facts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("facts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
                let mut facts = Facts::default();
                while let Some((name, fact)) = map.next_entry::<String, Fact>()? {
                    facts.insert(name, fact);
                }
                Ok(facts)
            }
        }

        deserializer.deserialize_map(Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_as_they_were() {
        let mut facts = Facts::default();
        facts.insert("model", "m");
        facts.insert("n", 7_u64);
        facts.insert("model", "gpt \"x\"");
        facts.insert("seconds", "2.50".parse::<Decimal>().unwrap());
        facts.insert("stream", true);
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            text,
            r#"{"model":"gpt \"x\"","n":7,"seconds":2.5,"stream":true}"#
        );
        let read: Facts = serde_json::from_str(&text).unwrap();
        assert_eq!(read, facts);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_value::<Facts>(value).unwrap(), facts);
    }
}
