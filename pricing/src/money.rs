//! Exact decimals: quantities, rates and money. There is no float anywhere near them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::Digits;

mod charge;

pub use charge::{ChargeError, charge};

/// An exact decimal `mantissa × 10^-scale`, at most 36 significant digits and 18 of them behind the
/// point. Always in lowest form (no trailing zeros behind the point), so that equal values are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: Wide,
    scale: Scale,
}

/// An `i128` that asks for no more alignment than a word: a charge holds ten of them, and is a third
/// smaller so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Wide {
    high: i64,
    low: u64,
}

impl Wide {
    const fn of(value: i128) -> Self {
        Self {
            high: (value >> 64) as i64,
            low: value as u64,
        }
    }

    const fn get(self) -> i128 {
        (self.high as i128) << 64 | self.low as i128
    }

    /// Where it fits one.
    fn word(self) -> Option<i64> {
        let word = self.low as i64;
        (self.high == word >> 63).then_some(word)
    }
}

/// Digits behind the point. Its own type, because the values that no scale has make room for an
/// absent decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Scale {
    #[default]
    Of0,
    Of1,
    Of2,
    Of3,
    Of4,
    Of5,
    Of6,
    Of7,
    Of8,
    Of9,
    Of10,
    Of11,
    Of12,
    Of13,
    Of14,
    Of15,
    Of16,
    Of17,
    Of18,
}

impl Scale {
    const ALL: [Self; SCALE_MAX as usize + 1] = [
        Self::Of0,
        Self::Of1,
        Self::Of2,
        Self::Of3,
        Self::Of4,
        Self::Of5,
        Self::Of6,
        Self::Of7,
        Self::Of8,
        Self::Of9,
        Self::Of10,
        Self::Of11,
        Self::Of12,
        Self::Of13,
        Self::Of14,
        Self::Of15,
        Self::Of16,
        Self::Of17,
        Self::Of18,
    ];

    fn of(digits: u8) -> Option<Self> {
        Self::ALL.get(usize::from(digits)).copied()
    }
}

const _: () = assert!(
    size_of::<Option<Decimal>>() == 24,
    "an absent decimal takes no room"
);

/// The text is no plain or exponent decimal, or does not fit the bounds of [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDecimal;

impl fmt::Display for InvalidDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a decimal of at most 36 digits, 18 of them behind the point")
    }
}

impl std::error::Error for InvalidDecimal {}

/// Digits a [`Decimal`] keeps in all, and behind the point.
pub const DIGITS_MAX: u32 = 36;
/// Digits a [`Decimal`] keeps behind the point.
pub const SCALE_MAX: u8 = 18;
/// How many units of each scale up to [`SCALE_MAX`] make one: ten to its power.
pub const UNITS: [u64; SCALE_MAX as usize + 1] = {
    let mut units = [1; SCALE_MAX as usize + 1];
    let mut scale = 1;
    while scale < units.len() {
        units[scale] = units[scale - 1] * 10;
        scale += 1;
    }
    units
};

/// The first magnitude with too many digits.
const MANTISSA_END: u128 = 10u128.pow(DIGITS_MAX);

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self {
        mantissa: Wide::of(0),
        scale: Scale::Of0,
    };

    /// `mantissa × 10^-scale`, reduced; an error outside the bounds.
    pub fn new(mantissa: i128, scale: u8) -> Result<Self, InvalidDecimal> {
        let (mantissa, scale) = reduced(mantissa, scale);
        let scale = Scale::of(scale).ok_or(InvalidDecimal)?;
        if mantissa.unsigned_abs() >= MANTISSA_END {
            return Err(InvalidDecimal);
        }
        Ok(Self {
            mantissa: Wide::of(mantissa),
            scale,
        })
    }

    /// The digits without the point.
    #[must_use]
    pub fn mantissa(self) -> i128 {
        self.mantissa.get()
    }

    /// How many of the digits stand behind the point.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale as u8
    }

    /// Below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.mantissa.high < 0
    }

    /// Exactly zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.mantissa == Wide::of(0)
    }

    /// The exact sum; `None` outside the bounds.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.scale == other.scale {
            let mantissa = self.mantissa().checked_add(other.mantissa())?;
            return Self::new(mantissa, self.scale()).ok();
        }
        let scale = self.scale().max(other.scale());
        let left = self.at_scale(scale)?;
        let right = other.at_scale(scale)?;
        Self::new(left.checked_add(right)?, scale).ok()
    }

    /// The exact difference; `None` outside the bounds.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self {
            mantissa: Wide::of(-other.mantissa()),
            scale: other.scale,
        })
    }

    /// The exact product; `None` outside the bounds.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let mantissa = match (self.mantissa.word(), other.mantissa.word()) {
            // Of two words the product fits, and needs no looking after.
            (Some(left), Some(right)) => i128::from(left) * i128::from(right),
            _ => self.mantissa().checked_mul(other.mantissa())?,
        };
        Self::new(mantissa, self.scale() + other.scale()).ok()
    }

    /// The exact sum of any number; `None` outside the bounds.
    #[must_use]
    pub fn checked_sum(values: impl IntoIterator<Item = Self>) -> Option<Self> {
        values.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// The mantissa of the same value with more digits behind the point.
    fn at_scale(self, scale: u8) -> Option<i128> {
        let shift = scale.checked_sub(self.scale())?;
        self.mantissa().checked_mul(10i128.pow(u32::from(shift)))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// By value. Whole parts first, because bringing both to one scale could overflow.
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.mantissa.cmp(&other.mantissa);
        }
        let parts = |value: &Self| {
            let unit = 10i128.pow(u32::from(value.scale()));
            let fill = 10i128.pow(u32::from(SCALE_MAX - value.scale()));
            (value.mantissa() / unit, value.mantissa() % unit * fill)
        };
        parts(self).cmp(&parts(other))
    }
}

/// The same value without zeros at the end of its fraction. A division of 128 bits costs several of
/// 64, and this runs for every charge.
fn reduced(mut mantissa: i128, mut scale: u8) -> (i128, u8) {
    while scale > 0 {
        match i64::try_from(mantissa) {
            Ok(mut small) => {
                while scale > 0 && small % 10 == 0 {
                    small /= 10;
                    scale -= 1;
                }
                return (i128::from(small), scale);
            }
            Err(_) if mantissa % 10 == 0 => {
                mantissa /= 10;
                scale -= 1;
            }
            Err(_) => break,
        }
    }
    (mantissa, scale)
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Self {
        Self {
            mantissa: Wide::of(i128::from(value)),
            scale: Scale::Of0,
        }
    }
}

impl Decimal {
    pub(crate) fn digits(self) -> Digits {
        Digits::of(self.mantissa(), self.scale())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    /// Reads `12`, `-0.50`, `1e-7`, as JSON writes numbers.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => {
                (digits, exponent.parse::<i32>().map_err(|_| InvalidDecimal)?)
            }
            None => (text, 0),
        };
        let (is_negative, digits) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) {
            return Err(InvalidDecimal);
        }
        // Zeros behind the point carry nothing; without this `1.000…0` of a generous printer fails.
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(InvalidDecimal);
            }
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(byte - b'0')))
                .ok_or(InvalidDecimal)?;
        }
        if mantissa == 0 {
            return Ok(Self::ZERO);
        }
        let scale =
            i64::try_from(fraction.len()).map_err(|_| InvalidDecimal)? - i64::from(exponent);
        if let Ok(zeros) = u32::try_from(-scale) {
            let power = 10i128.checked_pow(zeros).ok_or(InvalidDecimal)?;
            mantissa = mantissa.checked_mul(power).ok_or(InvalidDecimal)?;
        }
        let scale = scale.max(0);
        let scale = u8::try_from(scale).map_err(|_| InvalidDecimal)?;
        Self::new(if is_negative { -mantissa } else { mantissa }, scale)
    }
}

/// An amount of US dollars in whole units of 1e-12 USD, as the ledger keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(Wide);

impl Usd {
    /// Digits behind the point that an amount keeps.
    pub const SCALE: u8 = 12;
    /// Nothing owed.
    pub const ZERO: Self = Self(Wide::of(0));

    /// From units of 1e-12 USD.
    #[must_use]
    pub fn from_pico(pico: i128) -> Self {
        Self(Wide::of(pico))
    }

    /// In units of 1e-12 USD.
    #[must_use]
    pub fn as_pico(self) -> i128 {
        self.0.get()
    }

    /// The sum; `None` past 1.7e26 USD.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = self.as_pico().checked_add(other.as_pico());
        sum.map(Self::from_pico)
    }

    /// The sum of any number of amounts; `None` past 1.7e26 USD.
    #[must_use]
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl Usd {
    pub(crate) fn digits(self) -> Digits {
        let (mantissa, scale) = reduced(self.as_pico(), Self::SCALE);
        Digits::of(mantissa, scale)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl FromStr for Usd {
    type Err = InvalidDecimal;

    /// Reads a decimal of at most twelve digits behind the point; more is an error, never a rounding.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let decimal: Decimal = text.parse()?;
        let shift = Self::SCALE
            .checked_sub(decimal.scale())
            .ok_or(InvalidDecimal)?;
        decimal
            .mantissa()
            .checked_mul(10i128.pow(u32::from(shift)))
            .map(Self::from_pico)
            .ok_or(InvalidDecimal)
    }
}

macro_rules! as_decimal_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.digits().as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_decimal_text!(Decimal);
as_decimal_text!(Usd);

#[cfg(test)]
mod tests;
