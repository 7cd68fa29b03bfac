//! The one text of a raw value or number, written as it is.

use serde::ser::{self, Impossible, Serialize};

use super::{NO_VARIANT, NotARecord, Text};

/// Takes the one text of a raw value or number as it is.
pub(super) struct Verbatim<'a> {
    pub(super) out: &'a mut Text,
}

macro_rules! refuse_all_but_text {
    ($($method:ident($($type:ty),*);)+) => {
        $(fn $method(self, $(_: $type),*) -> Result<(), NotARecord> {
            Err(ser::Error::custom("a raw value is a text"))
        })+
    };
}

impl ser::Serializer for Verbatim<'_> {
    type Ok = ();
    type Error = NotARecord;
    type SerializeSeq = Impossible<(), NotARecord>;
    type SerializeTuple = Impossible<(), NotARecord>;
    type SerializeTupleStruct = Impossible<(), NotARecord>;
    type SerializeTupleVariant = Impossible<(), NotARecord>;
    type SerializeMap = Impossible<(), NotARecord>;
    type SerializeStruct = Impossible<(), NotARecord>;
    type SerializeStructVariant = Impossible<(), NotARecord>;

    fn serialize_str(self, value: &str) -> Result<(), NotARecord> {
        self.out.put(value.as_bytes());
        Ok(())
    }

    refuse_all_but_text! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotARecord> {
        value.serialize(self)
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

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
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

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStruct, NotARecord> {
        Err(ser::Error::custom(NO_VARIANT))
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
