//! A record's text read once: the event as its struct, the evidence as it came.
//!
//! Nothing reads the evidence on this way, and taking it apart would be a third of the cost of a
//! record. It is kept as text, so what Postgres could not read again is taken apart after all.

use std::fmt;

use farebox_pricing::event::Event;
use farebox_pricing::evidence::Evidence;
use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

const EVIDENCE: &str = "evidence";
/// How an escape begins that may stand for what Postgres' JSON refuses: a NUL, half a character.
const UNICODE_ESCAPE: &str = "\\u";

/// The event, and its evidence unless that stands in the event.
pub(super) fn read(raw: &str) -> Result<(Box<Event>, Option<&str>), serde_json::Error> {
    let record: Record<'_> = serde_json::from_str(raw)?;
    record.parted()
}

/// The same of what a text begins with, and where it ends; nothing where no record stands there.
pub(super) fn read_first(text: &str) -> Option<(Box<Event>, Option<&str>, usize)> {
    let mut records = serde_json::Deserializer::from_str(text).into_iter::<Record<'_>>();
    let (event, evidence) = records.next()?.ok()?.parted().ok()?;
    Some((event, evidence, records.byte_offset()))
}

/// An event beside its evidence as it came.
struct Record<'de> {
    event: Box<Event>,
    evidence: Option<&'de RawValue>,
}

impl<'de> Record<'de> {
    fn parted(mut self) -> Result<(Box<Event>, Option<&'de str>), serde_json::Error> {
        let evidence = self.evidence.map(RawValue::get);
        let Some(text) = evidence.filter(|text| *text != "null") else {
            return Ok((self.event, None));
        };
        if text.starts_with('{') && !text.contains(UNICODE_ESCAPE) {
            return Ok((self.event, Some(text)));
        }
        self.event.evidence = Some(serde_json::from_str::<Evidence>(text)?);
        Ok((self.event, None))
    }
}

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let mut evidence = None;
        let event = Box::<Event>::deserialize(SetAside {
            reader,
            evidence: &mut evidence,
        })?;
        Ok(Self { event, evidence })
    }
}

/// A reader of an object that keeps one member to itself.
struct SetAside<'o, 'de, D> {
    reader: D,
    evidence: &'o mut Option<&'de RawValue>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for SetAside<'_, 'de, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.reader.deserialize_map(Members {
            visitor,
            evidence: self.evidence,
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct Members<'o, 'de, V> {
    visitor: V,
    evidence: &'o mut Option<&'de RawValue>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Others {
            members,
            evidence: self.evidence,
        })
    }
}

struct Others<'o, 'de, A> {
    members: A,
    evidence: &'o mut Option<&'de RawValue>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            let name = match self.members.next_key::<Name<'de>>()? {
                None => return Ok(None),
                Some(name) => name,
            };
            match name {
                Name::Borrowed(EVIDENCE) => {
                    let kept: &'de RawValue = self.members.next_value()?;
                    if self.evidence.replace(kept).is_some() {
                        return Err(A::Error::duplicate_field(EVIDENCE));
                    }
                }
                Name::Borrowed(name) => {
                    return seed
                        .deserialize(BorrowedStrDeserializer::new(name))
                        .map(Some);
                }
                Name::Escaped(name) => {
                    return seed.deserialize(StringDeserializer::new(name)).map(Some);
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// A member's name; escapes in it need a copy.
enum Name<'de> {
    Borrowed(&'de str),
    Escaped(String),
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name::Borrowed(name))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name::Escaped(name.to_owned()))
            }
        }
        reader.deserialize_str(Read)
    }
}
