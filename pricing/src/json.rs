//! Writes records as compact JSON into memory.
//!
//! The same text as `serde_json::to_writer` gives, held to it by a property test, in a third of the
//! instructions: each call writes two records, and that was the largest single cost of a call.
//! Floats, bytes and map keys that are no text are refused; records have none.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

mod text;
mod verbatim;

pub use text::Text;
use verbatim::Verbatim;

/// A value that records do not hold.
#[derive(Debug)]
pub struct NotARecord(String);

impl fmt::Display for NotARecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotARecord {}

impl ser::Error for NotARecord {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

const NO_FLOAT: &str = "a record holds no float";
const NO_BYTES: &str = "a record holds no bytes";
const NO_VARIANT: &str = "a record holds no variant with fields";
const TEXT_KEYS: &str = "the keys of a record are texts";

/// How `serde_json` hands on numbers and raw values that keep their text: a struct of such a name
/// with one field, the text.
pub(crate) const RAW: &str = "$serde_json::private::RawValue";
const RAW_NUMBER: &str = "$serde_json::private::Number";

/// Appends `value` to `out`.
///
/// # Errors
///
/// A value that records do not hold, see above. `out` then ends in the middle.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut Text) -> Result<(), NotARecord> {
    value.serialize(Writer { out })
}

struct Writer<'a> {
    out: &'a mut Text,
}

/// The lowest bit of each of eight bytes.
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Where the first quote or backslash stands among eight bytes, the first byte lowest.
#[inline]
#[must_use]
pub fn first_quote(word: u64) -> Option<usize> {
    // The lowest marked byte is a true zero; only those above it may be marked wrongly.
    let zeros = |word: u64| word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS;
    let quotes = zeros(word ^ (LOW_BITS * u64::from(b'"')));
    let backslashes = zeros(word ^ (LOW_BITS * u64::from(b'\\')));
    let found = quotes | backslashes;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// Where the string that begins at `start` ends in a text, its closing quote included; and whether it
/// has no escapes. `None` when none begins there or it does not end.
#[inline]
pub(crate) fn string_end(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    let mut has_escapes = false;
    loop {
        let found = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
            Some(word) => match first_quote(u64::from_le_bytes(*word)) {
                Some(offset) => at + offset,
                None => {
                    at += 8;
                    continue;
                }
            },
            None => at,
        };
        match bytes.get(found)? {
            b'"' => return Some((found + 1, !has_escapes)),
            b'\\' => {
                has_escapes = true;
                at = found + 2;
            }
            _ => at = found + 1,
        }
    }
}

/// Fills decimal digits from the right; where they begin.
pub(crate) fn digits_of(mut number: u64, digits: &mut [u8]) -> usize {
    let mut at = digits.len();
    loop {
        at -= 1;
        // The remainder of ten fits a digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return at;
        }
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotARecord;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Impossible<(), NotARecord>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Impossible<(), NotARecord>;

    fn serialize_bool(self, value: bool) -> Result<(), NotARecord> {
        match value {
            true => self.out.put(b"true"),
            false => self.out.put(b"false"),
        }
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), NotARecord> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), NotARecord> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), NotARecord> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), NotARecord> {
        if value < 0 {
            self.out.put(b"-");
        }
        self.out.put_u64(value.unsigned_abs());
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), NotARecord> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), NotARecord> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), NotARecord> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), NotARecord> {
        self.out.put_u64(value);
        Ok(())
    }

    fn serialize_f32(self, _value: f32) -> Result<(), NotARecord> {
        Err(ser::Error::custom(NO_FLOAT))
    }

    fn serialize_f64(self, _value: f64) -> Result<(), NotARecord> {
        Err(ser::Error::custom(NO_FLOAT))
    }

    fn serialize_char(self, value: char) -> Result<(), NotARecord> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), NotARecord> {
        self.out.put_str(value);
        Ok(())
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<(), NotARecord> {
        Err(ser::Error::custom(NO_BYTES))
    }

    fn serialize_none(self) -> Result<(), NotARecord> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotARecord> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotARecord> {
        self.out.put(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), NotARecord> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), NotARecord> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), NotARecord> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'a>, NotARecord> {
        self.out.put(b"[");
        Ok(Items {
            out: self.out,
            is_first: true,
        })
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'a>, NotARecord> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Items<'a>, NotARecord> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Members<'a>, NotARecord> {
        self.out.put(b"{");
        Ok(Members {
            out: self.out,
            is_first: true,
            is_raw: false,
        })
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Members<'a>, NotARecord> {
        let is_raw = name == RAW || name == RAW_NUMBER;
        if !is_raw {
            self.out.put(b"{");
        }
        Ok(Members {
            out: self.out,
            is_first: true,
            is_raw,
        })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }
}

/// An array that is being written.
struct Items<'a> {
    out: &'a mut Text,
    is_first: bool,
}

impl Items<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARecord> {
        if !std::mem::take(&mut self.is_first) {
            self.out.put(b",");
        }
        value.serialize(Writer { out: self.out })
    }

    fn close(self) {
        self.out.put(b"]");
    }
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = NotARecord;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARecord> {
        self.push(value)
    }

    fn end(self) -> Result<(), NotARecord> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = NotARecord;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARecord> {
        self.push(value)
    }

    fn end(self) -> Result<(), NotARecord> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Items<'_> {
    type Ok = ();
    type Error = NotARecord;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARecord> {
        self.push(value)
    }

    fn end(self) -> Result<(), NotARecord> {
        self.close();
        Ok(())
    }
}

/// An object that is being written.
struct Members<'a> {
    out: &'a mut Text,
    is_first: bool,
    is_raw: bool,
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = NotARecord;

    // Inlined, the name is a constant.
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotARecord> {
        if self.is_raw {
            return value.serialize(Verbatim { out: self.out });
        }
        // Names of fields are Rust's or ours: they need no escapes.
        match std::mem::take(&mut self.is_first) {
            true => self.out.put(b"\""),
            false => self.out.put(b",\""),
        }
        self.out.put(key.as_bytes());
        self.out.put(b"\":");
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), NotARecord> {
        if !self.is_raw {
            self.out.put(b"}");
        }
        Ok(())
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = NotARecord;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotARecord> {
        if !std::mem::take(&mut self.is_first) {
            self.out.put(b",");
        }
        let start = self.out.as_bytes().len();
        key.serialize(Writer { out: self.out })?;
        if self.out.as_bytes().get(start) != Some(&b'"') {
            return Err(ser::Error::custom(TEXT_KEYS));
        }
        self.out.put(b":");
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARecord> {
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), NotARecord> {
        self.out.put(b"}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn check<T: Serialize>(value: &T) {
        let mut out = Text::default();
        write(value, &mut out).unwrap();
        assert_eq!(
            std::str::from_utf8(out.as_bytes()).unwrap(),
            serde_json::to_string(value).unwrap()
        );
    }

    #[test]
    fn writes_what_serde_json_writes() {
        check(&json!({"a": [1, -2, {"b": null}], "c": true, "d": 1.50}));
        check(&(1_u8, -3_i32, u64::MAX, i64::MIN, 'é', "x"));
        check(&Some(
            RawValue::from_string("{\"n\": 1.10}".to_owned()).unwrap(),
        ));
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        check(&all);
        for at in 0..24 {
            for special in ['"', '\\', '\u{1}', '\u{1f}', '\u{80}', '\u{7f}'] {
                let mut text = "x".repeat(at);
                text.push(special);
                text.push_str("yyyyyyyyy");
                check(&text);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_record() {
        assert!(write(&1.5_f64, &mut Text::default()).is_err());
        let keys = std::collections::BTreeMap::from([(1, 2)]);
        assert!(write(&keys, &mut Text::default()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_and_number_is_as_serde_json_writes_it(text in any::<String>(), number in any::<i64>()) {
            check(&json!({ text.clone(): [text, number] }));
            check(&Value::from(number));
        }
    }
}
