//! A charge: quantity × dollars × factors ÷ units, exact until its one rounding.
//!
//! Charges for tokens fit 64 bits and nearly all others 128; what does not is computed again in 512, and what does not
//! fit those is an error, never a wrapped or saturated amount.

use std::fmt;

use bnum::types::U512;

use super::{Decimal, Usd};

/// Why a charge has no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeError {
    /// A price for no units, or for fewer than none.
    PerNotPositive,
    /// The amount, or a step on the way to it, is beyond what an amount can be.
    TooLarge,
}

impl fmt::Display for ChargeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerNotPositive => "a price is for a positive number of units",
            Self::TooLarge => "the amount is too large",
        })
    }
}

impl std::error::Error for ChargeError {}

/// `quantity × usd × factors ÷ per`, computed exactly and rounded once, half to even, at twelve
/// decimals.
pub fn charge(
    quantity: Decimal,
    usd: Decimal,
    factors: &[Decimal],
    per: Decimal,
) -> Result<Usd, ChargeError> {
    if per.is_zero() || per.is_negative() {
        return Err(ChargeError::PerNotPositive);
    }
    if let Some(pico) = in_64_bits(quantity, usd, factors, per) {
        return Ok(Usd::from_pico(i128::from(pico)));
    }
    let terms = || [quantity, usd].into_iter().chain(factors.iter().copied());
    let mut is_negative = false;
    // The amount is the mantissas' product ÷ per in units of 1e-12 USD, times a power of ten; all
    // powers of ten are gathered first, so that they cancel before they cost digits.
    let mut behind_point = 0;
    let mut product = Some(1u128);
    for term in terms() {
        if term.is_zero() {
            return Ok(Usd::ZERO);
        }
        is_negative ^= term.is_negative();
        behind_point += usize::from(term.scale());
        product = product.and_then(|product| product.checked_mul(magnitude(term)));
    }
    let before_point = usize::from(Usd::SCALE) + usize::from(per.scale());
    let mut per = magnitude(per);
    // Prices are for a million, a thousand, one: then nothing is left to divide by.
    if let Some(exponent) = u64::try_from(per).ok().and_then(exponent_of_units) {
        behind_point += exponent;
        per = 1;
    }
    let (up, down) = (
        before_point.saturating_sub(behind_point),
        behind_point.saturating_sub(before_point),
    );
    let magnitude = match in_128_bits(product, up, per, down) {
        Some(magnitude) => magnitude,
        None => in_512_bits(terms().map(magnitude), up, per, down).ok_or(ChargeError::TooLarge)?,
    };
    let pico = i128::try_from(magnitude).map_err(|_| ChargeError::TooLarge)?;
    Ok(Usd::from_pico(if is_negative { -pico } else { pico }))
}

fn magnitude(term: Decimal) -> u128 {
    term.mantissa().unsigned_abs()
}

/// Which power of ten the units of a price are, up to a billion.
const fn exponent_of_units(per: u64) -> Option<usize> {
    Some(match per {
        1 => 0,
        10 => 1,
        100 => 2,
        1_000 => 3,
        10_000 => 4,
        100_000 => 5,
        1_000_000 => 6,
        10_000_000 => 7,
        100_000_000 => 8,
        1_000_000_000 => 9,
        _ => return None,
    })
}

/// All that fit 128 bits.
const POWERS_OF_TEN: [u128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// What nearly every charge for tokens is: positive, small, for a power of ten of units, and exact.
fn in_64_bits(quantity: Decimal, usd: Decimal, factors: &[Decimal], per: Decimal) -> Option<u64> {
    let digits = |term: Decimal| u64::try_from(term.mantissa()).ok();
    let exponent = exponent_of_units(digits(per)?)?;
    let mut product = digits(quantity)?.checked_mul(digits(usd)?)?;
    let mut behind_point = usize::from(quantity.scale()) + usize::from(usd.scale()) + exponent;
    for factor in factors {
        product = product.checked_mul(digits(*factor)?)?;
        behind_point += usize::from(factor.scale());
    }
    let before_point = usize::from(Usd::SCALE) + usize::from(per.scale());
    let up = *POWERS_OF_TEN.get(before_point.checked_sub(behind_point)?)?;
    product.checked_mul(u64::try_from(up).ok()?)
}

fn in_128_bits(product: Option<u128>, up: usize, per: u128, down: usize) -> Option<u128> {
    let power = |exponent: usize| POWERS_OF_TEN.get(exponent).copied();
    let numerator = product?.checked_mul(power(up)?)?;
    let denominator = per.checked_mul(power(down)?)?;
    if denominator == 1 {
        return Some(numerator);
    }
    let quotient = numerator / denominator;
    // Less than the divisor, so neither step can overflow.
    let rest = numerator - quotient * denominator;
    // `rest` against the other half avoids doubling, which could overflow.
    let is_up = match rest.cmp(&(denominator - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    quotient.checked_add(u128::from(is_up))
}

fn in_512_bits(
    mantissas: impl Iterator<Item = u128>,
    up: usize,
    per: u128,
    down: usize,
) -> Option<u128> {
    let ten = U512::from(10u8);
    let power = |exponent: usize| ten.checked_pow(u32::try_from(exponent).ok()?);
    let mut numerator = power(up)?;
    for mantissa in mantissas {
        numerator = numerator.checked_mul(U512::from(mantissa))?;
    }
    let denominator = U512::from(per).checked_mul(power(down)?)?;
    let quotient = numerator.checked_div(denominator)?;
    let rest = numerator.checked_rem(denominator)?;
    let quotient = u128::try_from(quotient).ok()?;
    let is_up = match rest.cmp(&denominator.checked_sub(rest)?) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    quotient.checked_add(u128::from(is_up))
}
