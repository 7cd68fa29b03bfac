use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

#[test]
fn charges_are_exact_and_rounded_once() {
    let check = |quantity: &str, price: &str, factors: &[&str], per: &str, expected: &str| {
        let factors: Vec<Decimal> = factors.iter().map(|text| decimal(text)).collect();
        let amount = charge(decimal(quantity), decimal(price), &factors, decimal(per));
        assert_eq!(amount, Ok(usd(expected)), "{quantity} × {price} ÷ {per}");
    };
    check("1000", "0.15", &[], "1000000", "0.00015");
    check("51.866626", "0.0043", &[], "60", "0.003717108197");
    check("14", "0.45", &[], "3600", "0.00175");
    check("1", "0.003", &["0.5"], "1000000", "0.0000000015");
    check("1000000", "2", &["1.6667", "1.1"], "1000000", "3.66674");
    check("0", "2", &[], "1", "0");
    check("-464", "2", &[], "1000000", "-0.000928");
    check("1", "1", &[], "0.5", "2");
    check("3", "2", &[], "0.001", "6000");
    check("3", "0.2", &["1.25"], "0.01", "75");
    check("-3", "-2", &[], "1", "6");
    check("-3", "2", &["-1", "-0.5"], "1", "-3");
    // Half to even at the twelfth decimal, on both sides of zero.
    check("1", "0.0000000000005", &[], "1", "0");
    check("1", "0.0000000000015", &[], "1", "0.000000000002");
    check("1", "0.0000000000025", &[], "1", "0.000000000002");
    check("-1", "0.0000000000015", &[], "1", "-0.000000000002");
    check("1", "0.00000000000050001", &[], "1", "0.000000000001");
    check("1", "1", &[], "3", "0.333333333333");
    check("2", "1", &[], "3", "0.666666666667");
}

#[test]
fn zeros_are_dropped_behind_the_point_and_kept_before_it() {
    let check = |mantissa: i128, scale: u8, expected: (i128, u8)| {
        let decimal = Decimal::new(mantissa, scale).unwrap();
        let parts = (decimal.mantissa(), decimal.scale());
        assert_eq!(parts, expected, "{mantissa} {scale}");
    };
    let large = 10i128.pow(20);
    check(0, 0, (0, 0));
    check(0, 18, (0, 0));
    check(100, 0, (100, 0));
    check(100, 1, (10, 0));
    check(100, 5, (1, 3));
    // Beyond 64 bits, and what becomes less than that on the way.
    check(large, 0, (large, 0));
    check(3 * large, 1, (3 * large / 10, 0));
    check(-3 * large, 2, (-3 * large / 100, 0));
    check(3 * large + 1, 2, (3 * large + 1, 2));
    check(10i128.pow(37), 2, (10i128.pow(35), 0));
    let text = |text: &str| decimal(text).to_string();
    assert_eq!(text("1000e-3"), "1");
    assert_eq!(text("-12e2"), "-1200");
    assert_eq!(text("1.2e0"), "1.2");
    assert_eq!(text("0.05"), "0.05");
    assert_eq!(text("1e35"), format!("1{}", "0".repeat(35)));
    for bad in ["1e36", "1e40", "1e99999", "1e-19", "1e-300"] {
        assert_eq!(bad.parse::<Decimal>(), Err(InvalidDecimal), "{bad}");
    }
}

#[test]
fn what_is_too_large_is_an_error() {
    assert_eq!(ChargeError::TooLarge.to_string(), "the amount is too large");
    let most = decimal("999999999999999999999999999999999999");
    let one = Decimal::from(1);
    assert_eq!(charge(most, most, &[], one), Err(ChargeError::TooLarge));
    assert_eq!(
        charge(most, most, &[most; 9], one),
        Err(ChargeError::TooLarge)
    );
    assert_eq!(charge(most, one, &[], one), Err(ChargeError::TooLarge));
    assert_eq!(
        charge(most, most, &[], most).unwrap_err(),
        ChargeError::TooLarge
    );
    // Past 128 bits on the way, but not in the end; there too a half goes to the even side.
    let past = |usd: &str| {
        let (quantity, per) = ("100000000.000000000001", "200000000000000000002");
        charge(decimal(quantity), decimal(usd), &[], decimal(per)).map(|usd| usd.to_string())
    };
    assert_eq!(past("100000000000000000001").as_deref(), Ok("50000000"));
    assert_eq!(
        past("100000000000000000003").as_deref(),
        Ok("50000000.000000000002")
    );
    assert_eq!(
        past("100000000000000000004").as_deref(),
        Ok("50000000.000000000002")
    );
    let amount = charge(
        most,
        decimal("0.000000000000000001"),
        &[],
        decimal("1000000"),
    );
    assert_eq!(amount, Ok(usd("1000000000000")));
}

#[test]
fn a_price_is_for_a_positive_number_of_units() {
    for per in ["0", "-60"] {
        let amount = charge(Decimal::from(1), Decimal::from(1), &[], decimal(per));
        assert_eq!(amount, Err(ChargeError::PerNotPositive));
    }
}

#[test]
fn ten_tenths_are_one() {
    assert_eq!(Usd::checked_sum([usd("0.1"); 10]), Some(usd("1")));
    assert_eq!(
        Decimal::checked_sum([decimal("0.1"); 10]),
        Some(Decimal::from(1))
    );
}

#[test]
fn text_is_plain_and_exact() {
    for (text, printed) in [
        ("1.50", "1.5"),
        ("1e-7", "0.0000001"),
        ("2.5E3", "2500"),
        ("-0", "0"),
        ("0.000000000000000001", "0.000000000000000001"),
    ] {
        assert_eq!(decimal(text).to_string(), printed);
    }
    for text in [
        "", "-", ".5", "5.", "1,5", "0x1", "1e", "NaN", "1e40", "1e-19", "+1", " 1",
    ] {
        assert_eq!(text.parse::<Decimal>(), Err(InvalidDecimal), "{text:?}");
    }
    assert_eq!("0.0000000000001".parse::<Usd>(), Err(InvalidDecimal));
}

#[test]
fn decimals_are_ordered_by_value() {
    let ascending = [
        "-10.1",
        "-10",
        "-0.5",
        "0",
        "0.000000000000000001",
        "0.49",
        "0.5",
        "272000",
        "272000.5",
        "999999999999999999999999999999999999",
    ];
    for pair in ascending.windows(2) {
        assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
    }
}

prop_compose! {
    fn decimals()(mantissa in -(10i128.pow(36) - 1)..10i128.pow(36), shrink in 0u32..36, scale in 0u8..=18) -> Decimal {
        Decimal::new(mantissa / 10i128.pow(shrink), scale).unwrap()
    }
}

prop_compose! {
    /// Of the sizes that rates and quantities have.
    fn usual()(mantissa in 0i128..10i128.pow(8), scale in 0u8..=9) -> Decimal {
        Decimal::new(mantissa, scale).unwrap()
    }
}

fn big(value: Decimal) -> BigInt {
    BigInt::from(value.mantissa())
}

fn big_power(scales: impl Iterator<Item = u8>) -> BigInt {
    BigInt::from(10u8).pow(scales.map(u32::from).sum())
}

/// The error is at most half a unit, and half a unit only next to an even digit.
fn assert_rounded(amount: Usd, terms: &[Decimal], per: Decimal) -> Result<(), TestCaseError> {
    // amount ÷ 10^12 = Π terms ÷ per, with all denominators multiplied out.
    let exact: BigInt = terms.iter().map(|term| big(*term)).product::<BigInt>()
        * big_power([Usd::SCALE, per.scale()].into_iter());
    let unit = big(per) * big_power(terms.iter().map(|term| term.scale()));
    let twice_error: BigInt = (BigInt::from(amount.as_pico()) * &unit - exact) * 2;
    let magnitude = BigInt::from(twice_error.magnitude().clone());
    prop_assert!(magnitude <= unit, "more than half a unit off");
    prop_assert!(magnitude < unit || amount.as_pico() % 2 == 0, "half to odd");
    Ok(())
}

proptest! {
    #[test]
    fn parse_after_print_is_identity(value in decimals(), pico in any::<i128>()) {
        prop_assert_eq!(value.to_string().parse::<Decimal>(), Ok(value));
        let amount = Usd::from_pico(pico / 1_000);
        prop_assert_eq!(amount.to_string().parse::<Usd>(), Ok(amount));
    }

    #[test]
    fn sums_do_not_depend_on_order(a in any::<i64>(), b in any::<i64>(), c in any::<i64>(), x in usual(), y in usual(), z in usual()) {
        let [a, b, c] = [a, b, c].map(|pico| Usd::from_pico(i128::from(pico)));
        let left = a.checked_add(b).unwrap().checked_add(c);
        prop_assert_eq!(left, a.checked_add(b.checked_add(c).unwrap()));
        let left = x.checked_add(y).unwrap().checked_add(z);
        prop_assert_eq!(left, x.checked_add(y.checked_add(z).unwrap()));
        prop_assert_eq!(x.checked_add(y).unwrap().checked_sub(y), Some(x));
    }

    #[test]
    fn order_is_that_of_differences(x in usual(), y in usual()) {
        let difference = x.checked_sub(y).unwrap();
        let expected = if difference.is_zero() {
            Ordering::Equal
        } else if difference.is_negative() {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        prop_assert_eq!(x.cmp(&y), expected);
    }

    #[test]
    fn usual_charges_are_rounded_right(quantity in usual(), price in usual(), factor in usual(), per in usual()) {
        prop_assume!(!per.is_zero());
        let amount = charge(quantity, price, &[factor], per).unwrap();
        assert_rounded(amount, &[quantity, price, factor], per)?;
    }

    #[test]
    fn any_charge_is_rounded_right_or_refused(quantity in decimals(), price in decimals(), factor in decimals(), per in decimals()) {
        match charge(quantity, price, &[factor], per) {
            Ok(amount) => assert_rounded(amount, &[quantity, price, factor], per)?,
            Err(ChargeError::PerNotPositive) => prop_assert!(per.is_zero() || per.is_negative()),
            Err(ChargeError::TooLarge) => {
                // Three terms always fit 512 bits: refused only when the amount has no room.
                let exact = [quantity, price, factor].iter().map(|term| big(*term)).product::<BigInt>()
                    * big_power([Usd::SCALE, per.scale()].into_iter());
                let unit = big(per) * big_power([quantity, price, factor].iter().map(|term| term.scale()));
                let pico = BigInt::from((exact / unit).magnitude().clone());
                prop_assert!(pico >= BigInt::from(i128::MAX));
            }
        }
    }
}
