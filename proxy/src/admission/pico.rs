//! Amounts of limits as whole numbers of 1e-12, whatever is counted: sums and comparisons of them are
//! one instruction, and nothing is rounded away.

use farebox_pricing::money::{Decimal, Usd};

/// One of what is counted.
pub(crate) const ONE: i128 = 1_000_000_000_000;
const SCALE: u8 = Usd::SCALE;

/// In units of 1e-12, rounded up; past all bounds it is more than any limit.
pub(crate) fn of(quantity: Decimal) -> i128 {
    let scale = quantity.scale();
    if scale <= SCALE {
        let shift = 10i128.pow(u32::from(SCALE - scale));
        return quantity
            .mantissa()
            .checked_mul(shift)
            .unwrap_or(i128::MAX / 4);
    }
    let shift = 10i128.pow(u32::from(scale - SCALE));
    let mantissa = quantity.mantissa();
    mantissa.div_euclid(shift) + i128::from(mantissa.rem_euclid(shift) > 0)
}

/// Of a count.
pub(crate) fn of_count(count: u64) -> i128 {
    i128::from(count) * ONE
}

/// As a decimal; what is past all bounds is the largest.
pub(crate) fn decimal(pico: i128) -> Decimal {
    Decimal::new(pico, SCALE).unwrap_or_else(|_| Decimal::from(u64::MAX))
}

/// The text of a decimal, without an exponent.
pub(crate) fn text(pico: i128) -> String {
    decimal(pico).to_string()
}
