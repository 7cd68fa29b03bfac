//! Rows in the binary form of `COPY`, put together in one buffer.
//!
//! Postgres' own documentation of the format: "Binary Format" under COPY, and `numeric_recv` for
//! decimals. Fields are written in the order of the statement's columns; the caller counts them.

use bytes::{BufMut, Bytes, BytesMut};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::time::Timestamp;
use uuid::Uuid;

/// Milliseconds between the Unix epoch and that of Postgres, 2000-01-01.
pub(crate) const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const NUMERIC_NEGATIVE: u16 = 0x4000;

/// A buffer of rows.
pub(crate) struct Rows {
    buffer: BytesMut,
    columns: i16,
}

impl Rows {
    /// For rows of so many columns.
    pub(crate) fn new(columns: i16, capacity: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(capacity);
        buffer.put_slice(SIGNATURE);
        buffer.put_i32(0);
        buffer.put_i32(0);
        Self { buffer, columns }
    }

    /// Begins a row; exactly the columns must follow.
    pub(crate) fn row(&mut self) {
        self.buffer.put_i16(self.columns);
    }

    /// The whole, with its end mark.
    pub(crate) fn finish(mut self) -> Bytes {
        self.buffer.put_i16(-1);
        self.buffer.freeze()
    }

    pub(crate) fn null(&mut self) {
        self.buffer.put_i32(-1);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        // A record is bounded far below two gigabytes.
        self.buffer.put_i32(value.len() as i32);
        self.buffer.put_slice(value);
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

    /// JSON text for a `jsonb` column.
    pub(crate) fn json(&mut self, value: &str) {
        self.buffer.put_i32(value.len() as i32 + 1);
        self.buffer.put_u8(1);
        self.buffer.put_slice(value.as_bytes());
    }

    pub(crate) fn optional_json(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.json(value),
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

    /// Without trailing zeros, so that the amount reads the same wherever it is printed.
    fn usd(&mut self, value: Usd) {
        let (mut mantissa, mut scale) = (value.as_pico(), Usd::SCALE);
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        self.numeric(mantissa, scale);
    }

    /// `mantissa × 10^-scale` as groups of four decimal digits.
    fn numeric(&mut self, mantissa: i128, scale: u8) {
        let unit = 10u128.pow(u32::from(scale));
        let (whole, fraction) = (
            mantissa.unsigned_abs() / unit,
            mantissa.unsigned_abs() % unit,
        );
        let fraction_groups = u32::from(scale).div_ceil(4);
        // At most 18 digits behind the point, so that shifting by three more fits easily.
        let mut fraction = fraction * 10u128.pow(fraction_groups * 4 - u32::from(scale));
        let mut groups = [0u16; 20];
        let mut first = groups.len();
        for _ in 0..fraction_groups {
            first -= 1;
            groups[first] = (fraction % 10_000) as u16;
            fraction /= 10_000;
        }
        let mut whole = whole;
        let mut whole_groups = 0;
        while whole > 0 {
            first -= 1;
            whole_groups += 1;
            groups[first] = (whole % 10_000) as u16;
            whole /= 10_000;
        }
        let digits = &groups[first..];
        self.buffer.put_i32(8 + 2 * digits.len() as i32);
        self.buffer.put_i16(digits.len() as i16);
        self.buffer.put_i16(whole_groups - 1);
        self.buffer
            .put_u16(if mantissa < 0 { NUMERIC_NEGATIVE } else { 0 });
        self.buffer.put_i16(i16::from(scale));
        for digit in digits {
            self.buffer.put_u16(*digit);
        }
    }
}
