//! Decimals in whole numbers, apart from the arithmetic that prices calls: what is checked with these was
//! computed with others.

/// Units of 1e-12 USD in one USD.
const PICO: i128 = 1_000_000_000_000;

/// `digits × 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exact {
    digits: i128,
    scale: u32,
}

impl Exact {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| format!("{text} is no decimal"))?;
        let scale = u32::try_from(fraction.len()).map_err(|error| error.to_string())?;
        Ok(Self { digits, scale })
    }

    pub(super) fn times(self, other: Self) -> Result<Self, String> {
        let digits = self
            .digits
            .checked_mul(other.digits)
            .ok_or("too many digits")?;
        Ok(Self {
            digits,
            scale: self.scale + other.scale,
        })
    }

    /// Divided by `per`, in units of 1e-12, rounded half to even.
    pub(super) fn pico_per(self, per: Self) -> Result<i128, String> {
        let overflow = || "too many digits".to_owned();
        let up = 10i128
            .checked_pow(per.scale)
            .and_then(|power| power.checked_mul(PICO));
        let over = up
            .and_then(|up| self.digits.checked_mul(up))
            .ok_or_else(overflow)?;
        let under = 10i128
            .checked_pow(self.scale)
            .and_then(|power| power.checked_mul(per.digits))
            .ok_or_else(overflow)?;
        let (quotient, rest) = (over / under, over % under);
        let is_up = match (rest * 2).cmp(&under) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => quotient % 2 == 1,
            std::cmp::Ordering::Less => false,
        };
        Ok(quotient + i128::from(is_up))
    }
}

/// As Postgres prints it after `trim_scale`.
pub(super) fn text(pico: i128) -> String {
    let sign = if pico < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:012}", pico.abs() / PICO, pico.abs() % PICO);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The inverse of [`text`].
pub(super) fn pico(text: &str) -> Result<i128, String> {
    let one = Exact {
        digits: 1,
        scale: 0,
    };
    Exact::parse(text)?.pico_per(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_to_even() {
        let per = Exact {
            digits: 2,
            scale: 0,
        };
        for (digits, expected) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
            let half = Exact { digits, scale: 12 };
            assert_eq!(half.pico_per(per), Ok(expected));
        }
    }

    #[test]
    fn amounts_print_and_parse_back() {
        for amount in ["0", "0.000000000001", "12.5", "3.000000000007"] {
            assert_eq!(pico(amount).map(text), Ok(amount.to_owned()));
        }
    }
}
