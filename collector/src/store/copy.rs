//! Rows in the binary form of `COPY`, put together in one buffer.
//!
//! Postgres' own documentation of the format: "Binary Format" under COPY, and `numeric_recv` for
//! decimals. Fields are written in the order of the statement's columns; the caller counts them.

use bytes::Bytes;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::time::Timestamp;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Milliseconds between the Unix epoch and that of Postgres, 2000-01-01.
pub(crate) const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const NUMERIC_NEGATIVE: u16 = 0x4000;
/// Version of the binary form of `jsonb`.
const JSONB_VERSION: u8 = 1;
/// The length of a field that is null.
const NULL: i32 = -1;

/// A buffer of rows.
pub(crate) struct Rows {
    fields: Fields,
    columns: i16,
}

impl Rows {
    /// For rows of so many columns.
    pub(crate) fn new(columns: i16, capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.extend_from_slice(SIGNATURE);
        // No flags, no further header.
        buffer.extend_from_slice(&[0; 8]);
        Self {
            fields: Fields { buffer },
            columns,
        }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.fields.buffer.len()
    }

    /// What waits, to be sent before the rest.
    pub(crate) fn take(&mut self) -> Bytes {
        let capacity = self.fields.buffer.capacity();
        std::mem::replace(&mut self.fields.buffer, Vec::with_capacity(capacity)).into()
    }

    /// Begins a row; exactly the columns must follow.
    pub(crate) fn row(&mut self) -> &mut Fields {
        self.fields
            .buffer
            .extend_from_slice(&self.columns.to_be_bytes());
        &mut self.fields
    }

    /// The whole, with its end mark.
    pub(crate) fn finish(mut self) -> Bytes {
        self.fields.buffer.extend_from_slice(&(-1i16).to_be_bytes());
        self.fields.buffer.into()
    }
}

/// Some fields of a row, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    buffer: Vec<u8>,
}

impl Fields {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(capacity),
        }
    }

    /// What has been written so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Fields that were written elsewhere.
    pub(crate) fn append(&mut self, fields: &Fields) {
        self.buffer.extend_from_slice(&fields.buffer);
    }

    pub(crate) fn null(&mut self) {
        self.buffer.extend_from_slice(&NULL.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.buffer.extend_from_slice(value);
    }

    /// A record is bounded far below two gigabytes.
    fn length(&mut self, length: usize) {
        self.buffer
            .extend_from_slice(&(length as i32).to_be_bytes());
    }

    pub(crate) fn optional_bytes(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn optional_text(&mut self, value: Option<&str>) {
        self.optional_bytes(value.map(str::as_bytes));
    }

    /// A text that is put together in its place.
    pub(crate) fn text_by(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer.len();
        self.length(0);
        write(&mut self.buffer);
        let start = before + size_of::<i32>();
        let length = (self.buffer.len() - start) as i32;
        self.buffer[before..start].copy_from_slice(&length.to_be_bytes());
    }

    /// JSON text for a `jsonb` column.
    pub(crate) fn jsonb(&mut self, value: &str) {
        self.length(value.len() + 1);
        self.buffer.push(JSONB_VERSION);
        self.buffer.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn optional_jsonb(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.jsonb(value),
            None => self.null(),
        }
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn optional_uuid(&mut self, value: Option<Uuid>) {
        self.optional_bytes(value.as_ref().map(|value| value.as_bytes().as_slice()));
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    pub(crate) fn integer(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn optional_integer(&mut self, value: Option<i32>) {
        match value {
            Some(value) => self.integer(value),
            None => self.null(),
        }
    }

    pub(crate) fn optional_bigint(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.bytes(&value.to_be_bytes()),
            None => self.null(),
        }
    }

    pub(crate) fn timestamp(&mut self, value: Timestamp) {
        let micros = (value.as_millis() - POSTGRES_EPOCH_MILLIS) * 1_000;
        self.bytes(&micros.to_be_bytes());
    }

    pub(crate) fn optional_timestamp(&mut self, value: Option<Timestamp>) {
        match value {
            Some(value) => self.timestamp(value),
            None => self.null(),
        }
    }

    pub(crate) fn optional_decimal(&mut self, value: Option<Decimal>) {
        match value {
            Some(value) => self.numeric(value.mantissa(), value.scale()),
            None => self.null(),
        }
    }

    pub(crate) fn optional_usd(&mut self, value: Option<Usd>) {
        match value {
            Some(value) => self.usd(value),
            None => self.null(),
        }
    }

    /// An array of one dimension; `put` writes an element as a field of its type.
    pub(crate) fn array<T>(
        &mut self,
        of: &Type,
        elements: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        const DIMENSIONS: i32 = 1;
        const MAY_HOLD_NULL: i32 = 1;
        const FIRST_SUBSCRIPT: i32 = 1;
        let before = self.buffer.len();
        self.length(0);
        let start = self.buffer.len();
        for word in [
            DIMENSIONS.to_be_bytes(),
            MAY_HOLD_NULL.to_be_bytes(),
            of.oid().to_be_bytes(),
            (elements.len() as i32).to_be_bytes(),
            FIRST_SUBSCRIPT.to_be_bytes(),
        ] {
            self.buffer.extend_from_slice(&word);
        }
        for element in elements {
            put(self, element);
        }
        let length = (self.buffer.len() - start) as i32;
        self.buffer[before..start].copy_from_slice(&length.to_be_bytes());
    }

    /// Without trailing zeros, so that the amount reads the same wherever it is printed.
    fn usd(&mut self, value: Usd) {
        let (mut mantissa, mut scale) = (value.as_pico(), Usd::SCALE);
        // A division of 128 bits costs several of 64, and nearly every amount is small.
        if let Ok(mut small) = i64::try_from(mantissa) {
            while scale > 0 && small % 10 == 0 {
                small /= 10;
                scale -= 1;
            }
            mantissa = i128::from(small);
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        self.numeric(mantissa, scale);
    }

    /// `mantissa × 10^-scale` as groups of four decimal digits.
    fn numeric(&mut self, mantissa: i128, scale: u8) {
        let magnitude = mantissa.unsigned_abs();
        let (whole, fraction) = match u64::try_from(magnitude) {
            Ok(small) => {
                let unit = 10u64.pow(u32::from(scale));
                (u128::from(small / unit), u128::from(small % unit))
            }
            Err(_) => {
                let unit = 10u128.pow(u32::from(scale));
                (magnitude / unit, magnitude % unit)
            }
        };
        let fraction_groups = u32::from(scale).div_ceil(4);
        // At most 18 digits behind the point, so that shifting by three more fits easily.
        let fraction = fraction * 10u128.pow(fraction_groups * 4 - u32::from(scale));
        let mut groups = [0u16; 20];
        let mut first = groups.len();
        first = put_groups(&mut groups, first, fraction, Some(fraction_groups));
        let behind = first;
        first = put_groups(&mut groups, first, whole, None);
        let whole_groups = (behind - first) as i16;
        let digits = &groups[first..];
        self.length(8 + 2 * digits.len());
        let sign = if mantissa < 0 { NUMERIC_NEGATIVE } else { 0 };
        for word in [
            (digits.len() as i16).to_be_bytes(),
            (whole_groups - 1).to_be_bytes(),
            sign.to_be_bytes(),
            i16::from(scale).to_be_bytes(),
        ] {
            self.buffer.extend_from_slice(&word);
        }
        for digit in digits {
            self.buffer.extend_from_slice(&digit.to_be_bytes());
        }
    }
}

/// Puts a number before `first`, in so many groups or as many as it needs; gives its first place.
fn put_groups(
    groups: &mut [u16; 20],
    mut first: usize,
    mut value: u128,
    count: Option<u32>,
) -> usize {
    let mut left = count;
    while left.map_or(value > 0, |left| left > 0) {
        first -= 1;
        match u64::try_from(value) {
            Ok(small) => {
                groups[first] = (small % 10_000) as u16;
                value = u128::from(small / 10_000);
            }
            Err(_) => {
                groups[first] = (value % 10_000) as u16;
                value /= 10_000;
            }
        }
        left = left.map(|left| left - 1);
    }
    first
}
