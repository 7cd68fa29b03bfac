//! How a quantity becomes a billed one: whole steps and a least amount. Nothing stays nothing.

use crate::money::Decimal;

/// What is made of a line's quantity before it is charged for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub(super) round_up_to: Option<Decimal>,
    pub(super) minimum: Option<Decimal>,
}

impl Steps {
    /// `None` where neither is said.
    pub(super) fn said(round_up_to: Option<Decimal>, minimum: Option<Decimal>) -> Option<Self> {
        let steps = Self {
            round_up_to,
            minimum,
        };
        (steps != Self::default()).then_some(steps)
    }

    /// Whole steps, and no less than the minimum; `None` beyond what a decimal can be.
    pub(crate) fn billed(self, quantity: Decimal) -> Option<Decimal> {
        if quantity.is_zero() {
            return Some(quantity);
        }
        let least = self
            .minimum
            .map_or(quantity, |minimum| minimum.max(quantity));
        match self.round_up_to {
            Some(step) => rounded_up(least, step),
            None => Some(least),
        }
    }
}

/// The smallest multiple of a step, which is above zero, that is no less than the quantity.
fn rounded_up(quantity: Decimal, step: Decimal) -> Option<Decimal> {
    let scale = quantity.scale().max(step.scale());
    let at_scale = |value: Decimal| {
        let shift = u32::from(scale - value.scale());
        value.mantissa().checked_mul(10i128.checked_pow(shift)?)
    };
    let (quantity, step) = (at_scale(quantity)?, at_scale(step)?);
    let whole = quantity.checked_div_euclid(step)?;
    let begun = i128::from(quantity.checked_rem_euclid(step)? > 0);
    let mantissa = whole.checked_add(begun)?.checked_mul(step)?;
    Decimal::new(mantissa, scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_step_is_billed_in_full_and_nothing_stays_nothing() {
        let check = |round_up_to: &str, minimum: &str, quantity: &str, expected: &str| {
            let parse = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
            let steps = Steps {
                round_up_to: parse(round_up_to),
                minimum: parse(minimum),
            };
            let billed = steps.billed(quantity.parse().unwrap()).unwrap();
            assert_eq!(billed.to_string(), expected, "{steps:?} {quantity}");
        };
        check("", "", "3.25", "3.25");
        check("1", "", "3", "3");
        check("1", "", "3.000001", "4");
        check("0.25", "", "3.26", "3.5");
        check("15", "", "15", "15");
        check("15", "", "15.5", "30");
        check("", "10", "9.999", "10");
        check("", "10", "10", "10");
        check("", "10", "10.001", "10.001");
        check("15", "20", "1", "30");
        check("15", "20", "0", "0");
    }
}
