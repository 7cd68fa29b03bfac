//! Decimal digits, two at a time: a record holds some fifty numbers.

/// The digits of each number below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        // Both digits of a number below a hundred fit a byte.
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The digits of a number below a hundred; of a larger one its last two.
#[inline(always)]
pub(crate) const fn pair(number: u64) -> [u8; 2] {
    // The remainder of a hundred is a place in the table.
    PAIRS[(number % 100) as usize]
}

/// Fills decimal digits from the right; where they begin. What does not fit is left out on the left.
#[inline]
pub(crate) fn digits_of(mut number: u64, digits: &mut [u8]) -> usize {
    let mut at = digits.len();
    while number >= 10
        && let Some(before) = at.checked_sub(2)
    {
        digits[before..at].copy_from_slice(&pair(number));
        number /= 100;
        at = before;
        if number == 0 {
            return at;
        }
    }
    if let Some(before) = at.checked_sub(1) {
        // The remainder of ten fits a digit.
        digits[before] = b'0' + (number % 10) as u8;
        at = before;
    }
    at
}

/// The digits of an exact decimal, printed without a formatter.
pub(crate) struct Digits {
    text: [u8; Self::LEN],
    start: usize,
}

impl Digits {
    /// Sign, point, a leading zero and the digits of the largest magnitude there is.
    const LEN: usize = 48;

    /// Of `mantissa × 10^-scale`.
    pub(crate) fn of(mantissa: i128, scale: u8) -> Self {
        let mut text = [b'0'; Self::LEN];
        let magnitude = mantissa.unsigned_abs();
        let mut start = match u64::try_from(magnitude) {
            Ok(small) => digits_of(small, &mut text),
            Err(_) => wide_digits_of(magnitude, &mut text),
        };
        let scale = usize::from(scale);
        if scale > 0 {
            // At least one digit before the point; what is not written yet is zeros.
            start = start.min(Self::LEN - scale - 1);
            text.copy_within(start..Self::LEN - scale, start - 1);
            text[Self::LEN - scale - 1] = b'.';
            start -= 1;
        }
        if mantissa < 0 {
            start -= 1;
            text[start] = b'-';
        }
        Self { text, start }
    }

    /// The text.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("digits and signs are ASCII")
    }
}

#[cold]
fn wide_digits_of(mut magnitude: u128, digits: &mut [u8]) -> usize {
    let mut at = digits.len();
    while magnitude > 0 && at > 0 {
        at -= 1;
        // The remainder of ten fits a digit.
        digits[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_numbers_around_each_length() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        for number in powers.flat_map(|power| [power - 1, power, power + 1]) {
            let mut digits = [0; 20];
            let start = digits_of(number, &mut digits);
            assert_eq!(digits[start..], *number.to_string().as_bytes());
        }
        let mut digits = [0; 20];
        let start = digits_of(u64::MAX, &mut digits);
        assert_eq!(digits[start..], *u64::MAX.to_string().as_bytes());
    }

    #[test]
    fn prints_decimals_with_a_digit_before_the_point() {
        for (mantissa, scale, text) in [
            (0, 0, "0"),
            (7, 0, "7"),
            (-7, 1, "-0.7"),
            (7, 18, "0.000000000000000007"),
            (-123, 2, "-1.23"),
            (1, 3, "0.001"),
            (12_345_678_901_234_567_890, 18, "12.345678901234567890"),
            (i128::MIN, 18, "-170141183460469231731.687303715884105728"),
        ] {
            assert_eq!(Digits::of(mantissa, scale).as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn any_number_is_printed_as_the_formatter_prints_it(number: u64, wide: i128) {
            let mut digits = [0; 20];
            let start = digits_of(number, &mut digits);
            let (printed, wide_printed) = (number.to_string(), wide.to_string());
            prop_assert_eq!(&digits[start..], printed.as_bytes());
            let digits = Digits::of(wide, 0);
            prop_assert_eq!(digits.as_str(), wide_printed);
        }
    }
}
