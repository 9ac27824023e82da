#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A whole number as decimal digits, least significant first, without leading zeros: slow, and obvious.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digits(Vec<u8>);

impl Digits {
    fn new(text: &str) -> Self {
        Self(text.bytes().rev().map(|byte| byte - b'0').collect()).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn add(&self, other: &Self) -> Self {
        let (mut sum, mut carry) = (Vec::new(), 0);
        for at in 0..self.0.len().max(other.0.len()) + 1 {
            let digit = carry + self.0.get(at).unwrap_or(&0) + other.0.get(at).unwrap_or(&0);
            sum.push(digit % 10);
            carry = digit / 10;
        }
        Self(sum).trimmed()
    }

    /// Takes off something that is not larger.
    fn subtract(&self, other: &Self) -> Self {
        let (mut rest, mut borrow) = (Vec::new(), 0i8);
        for at in 0..self.0.len() {
            let digit = self.0[at] as i8 - borrow - *other.0.get(at).unwrap_or(&0) as i8;
            borrow = i8::from(digit < 0);
            rest.push((digit + 10 * borrow) as u8);
        }
        Self(rest).trimmed()
    }

    fn times_ten_to(&self, places: usize) -> Self {
        let mut digits = vec![0; places];
        digits.extend(&self.0);
        Self(digits).trimmed()
    }

    fn multiply(&self, other: &Self) -> Self {
        let mut product = Self(Vec::new());
        for (place, digit) in other.0.iter().enumerate() {
            for _ in 0..*digit {
                product = product.add(&self.times_ten_to(place));
            }
        }
        product
    }

    fn is_below(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        (a.len(), a.iter().rev().collect::<Vec<_>>()) < (b.len(), b.iter().rev().collect::<Vec<_>>())
    }

    fn divide_half_even(&self, divisor: &Self) -> Self {
        let (mut quotient, mut rest) = (Vec::new(), Self(Vec::new()));
        for digit in self.0.iter().rev() {
            rest = rest.times_ten_to(1).add(&Self(vec![*digit]).trimmed());
            let mut times = 0;
            while !rest.is_below(divisor) {
                rest = rest.subtract(divisor);
                times += 1;
            }
            quotient.insert(0, times);
        }
        let twice = rest.add(&rest);
        let odd = quotient.first().is_some_and(|digit| digit % 2 == 1);
        let quotient = Self(quotient).trimmed();
        let up = divisor.is_below(&twice) || (twice == *divisor && odd);
        if up { quotient.add(&Self(vec![1])) } else { quotient }
    }

    /// As a decimal's units; `None` beyond 10^18.
    fn units(&self, negative: bool) -> Option<Decimal> {
        let max = Self::new("1").times_ten_to(27);
        if max.is_below(self) {
            return None;
        }
        let units = self.0.iter().rev().fold(0, |units, digit| units * 10 + i128::from(*digit));
        Some(Decimal(if negative { -units } else { units }))
    }
}

fn digits(number: i128) -> Digits {
    Digits::new(&number.unsigned_abs().to_string())
}

fn parse(text: &str) -> Option<Decimal> {
    Decimal::parse(text.as_bytes())
}

fn decimal(text: &str) -> Decimal {
    parse(text).unwrap()
}

#[test]
fn numbers_are_read_exactly() {
    for (text, units) in [
        ("0", 0),
        ("-0", 0),
        ("-0.0e5", 0),
        ("12", 12_000_000_000),
        ("-0.50", -500_000_000),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("1.5e3", 1_500_000_000_000),
        ("1.5E+3", 1_500_000_000_000),
        ("15e-1", 1_500_000_000),
        ("1e-9", 1),
        ("1e18", Decimal::MAX.0),
        ("1000000000000000000", Decimal::MAX.0),
        ("-1000000000000000000.0000", -Decimal::MAX.0),
        ("0.00001e23", Decimal::MAX.0),
        ("999999999999999999.999999999", Decimal::MAX.0 - 1),
        ("1000000000000000000000000000e-27", 1_000_000_000),
        ("0e999999999999999999999999999", 0),
        ("123456789012345678", 123_456_789_012_345_678_000_000_000),
        ("1234567890123456.789", 1_234_567_890_123_456_789_000_000),
    ] {
        assert_eq!(parse(text), Some(Decimal(units)), "{text}");
    }
}

#[test]
fn the_tenth_digit_rounds_half_to_even() {
    for (text, units) in [
        ("0.0000000005", 0),
        ("0.00000000050000000000000000000000001", 1),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000249999999999", 2),
        ("0.0000000026", 3),
        ("-0.0000000015", -2),
        ("-0.0000000005", 0),
        ("5e-10", 0),
        ("51e-11", 1),
        ("1e-10", 0),
        ("9.9999999995", 10_000_000_000),
        ("9e-400", 0),
        ("1e-99999999999999999999999", 0),
    ] {
        assert_eq!(parse(text), Some(Decimal(units)), "{text}");
    }
    // A zero that comes of rounding has no sign either.
    assert_eq!(parse("-1e-400").unwrap().to_string(), "0");
}

#[test]
fn too_large_and_malformed_numbers_are_none() {
    for text in [
        "1000000000000000000.000000001",
        "1000000000000000000.0000000001",
        "-1000000000000000001",
        "1e19",
        "1e400",
        "1e99999999999999999999999999999999",
        "9999999999999999999",
        "100000000000000000000000000000000000000000000",
        "",
        "-",
        "+1",
        "--1",
        ".5",
        "5.",
        "1.e5",
        "01",
        "-01",
        "00",
        "00.5",
        "1e",
        "1e+",
        "1e1.5",
        "1.2.3",
        "1 ",
        " 1",
        "1_000",
        "0x10",
        "1e5e5",
        "NaN",
        "Infinity",
        "null",
        "١",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(Decimal::parse(b"1\xff"), None);
}

#[test]
fn long_texts_are_read_in_their_own_length() {
    let zeros = "0".repeat(100_000);
    assert_eq!(parse(&format!("0.{zeros}1e100001")), Some(Decimal::ONE));
    assert_eq!(parse(&format!("1{zeros}e-100000")), Some(Decimal::ONE));
    assert_eq!(parse(&format!("0.{zeros}1")), Some(Decimal::ZERO));
    assert_eq!(parse(&format!("0.0000000005{zeros}1")), Some(Decimal(1)));
    assert_eq!(parse(&format!("1e{zeros}2")), Some(Decimal::from_int(100)));
}

#[test]
fn they_are_written_plainly() {
    for text in ["0", "12", "-0.5", "0.000000001", "-1000000000000000000", "10.01", "123456789.987654321"] {
        assert_eq!(decimal(text).to_string(), text);
    }
    assert_eq!(Decimal(i128::MIN).to_string(), "-170141183460469231731687303715.884105728");
    assert_eq!(format!("{:>6}|{:06}", decimal("-0.5"), decimal("1.5")), "  -0.5|0001.5");
}

#[test]
fn arithmetic_ends_at_the_largest_value() {
    let (max, one, tiny) = (Decimal::MAX, Decimal::ONE, Decimal(1));
    assert_eq!(max.checked_add(tiny), None);
    assert_eq!(max.checked_sub(tiny), Some(Decimal(max.0 - 1)));
    assert_eq!(Decimal(-max.0).checked_sub(tiny), None);
    assert_eq!(Decimal(i128::MAX).checked_add(tiny), None);
    assert_eq!(max.checked_mul(one), Some(max));
    assert_eq!(max.checked_mul(decimal("1.000000001")), None);
    assert_eq!(max.checked_mul(max), None);
    assert_eq!(Decimal(i128::MIN).checked_mul(Decimal(i128::MIN)), None);
    assert_eq!(max.checked_div(decimal("0.5")), None);
    assert_eq!(max.checked_div(max), Some(one));
    assert_eq!(one.checked_div(Decimal::ZERO), None);
    assert_eq!(Decimal(i128::MIN).checked_div(Decimal::ZERO), None);
    assert_eq!(Decimal(i128::MIN).checked_div(Decimal(i128::MIN)), Some(one));
    assert_eq!(Decimal(i128::MIN).checked_div(Decimal(-1)), None);
    assert_eq!(Decimal::div_int(max.0 * 1_000, 1_000), Some(max));
    assert_eq!(Decimal::div_int(i128::MIN, 1), None);
    assert_eq!(Decimal::div_int(5, 0), None);
}

#[test]
fn quotients_round_half_to_even() {
    let div = |a: &str, b: &str| decimal(a).checked_div(decimal(b)).unwrap().to_string();
    assert_eq!(div("1", "3"), "0.333333333");
    assert_eq!(div("2", "3"), "0.666666667");
    assert_eq!(div("-2", "3"), "-0.666666667");
    assert_eq!(div("0.000000001", "2"), "0");
    assert_eq!(div("0.000000003", "2"), "0.000000002");
    assert_eq!(div("0.000000005", "-2"), "-0.000000002");
    assert_eq!(Decimal::div_int(5, 2), Some(Decimal(2)));
    assert_eq!(Decimal::div_int(7, 2), Some(Decimal(4)));
    assert_eq!(Decimal::div_int(-7, 2), Some(Decimal(-4)));
    assert_eq!(Decimal::div_int(-8, 3), Some(Decimal(-3)));
}

/// Units of every size up to the largest value, small and round ones included.
fn units() -> impl Strategy<Value = i128> {
    let max = Decimal::MAX.0;
    prop_oneof![
        -max..=max,
        -1_000_000_000_000i128..1_000_000_000_000,
        -100i128..100,
        (-1_000_000i128..1_000_000).prop_map(|whole| whole * 500_000_000),
        prop_oneof![Just(max), Just(-max), Just(max - 1)],
    ]
}

/// The value of a JSON number's parts by string surgery.
fn reference(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Option<Decimal> {
    let number = Digits::new(&format!("{whole}{fraction}"));
    let places = exponent - fraction.len() as i32 + 9;
    if places >= 0 {
        return number.times_ten_to(places as usize).units(negative);
    }
    let divisor = Digits::new("1").times_ten_to(-places as usize);
    // Too large before it is rounded is too large.
    if Digits::new("1").times_ten_to((27 - places) as usize).is_below(&number) {
        return None;
    }
    number.divide_half_even(&divisor).units(negative)
}

proptest! {
    #[test]
    fn reading_agrees_with_string_surgery(
        negative: bool,
        whole in "0|[1-9][0-9]{0,20}",
        fraction in "|[0-9]{1,14}|[0-9]{8}50*[01]?",
        exponent in proptest::option::of(-30i32..30),
    ) {
        let sign = if negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        let power = exponent.map(|exponent| format!("e{exponent}")).unwrap_or_default();
        let text = format!("{sign}{whole}{point}{fraction}{power}");
        prop_assert_eq!(parse(&text), reference(negative, &whole, &fraction, exponent.unwrap_or(0)), "{}", text);
    }

    #[test]
    fn written_numbers_read_back(units in units()) {
        prop_assert_eq!(parse(&Decimal(units).to_string()), Some(Decimal(units)));
    }

    #[test]
    fn products_agree_with_long_multiplication(a in units(), b in units()) {
        let expected = digits(a)
            .multiply(&digits(b))
            .divide_half_even(&Digits::new("1").times_ten_to(9))
            .units((a < 0) != (b < 0));
        prop_assert_eq!(Decimal(a).checked_mul(Decimal(b)), expected);
    }

    #[test]
    fn quotients_agree_with_long_division(a in units(), b in units()) {
        let expected = (b != 0)
            .then(|| digits(a).times_ten_to(9).divide_half_even(&digits(b)).units((a < 0) != (b < 0)))
            .flatten();
        prop_assert_eq!(Decimal(a).checked_div(Decimal(b)), expected);
    }

    #[test]
    fn quotients_of_any_128_bits_agree_with_long_division(a: i128, b: i128, shift in 0u32..127) {
        let b = b >> shift;
        let expected = (b != 0)
            .then(|| digits(a).times_ten_to(9).divide_half_even(&digits(b)).units((a < 0) != (b < 0)))
            .flatten();
        prop_assert_eq!(Decimal(a).checked_div(Decimal(b)), expected);
    }

    #[test]
    fn means_agree_with_long_division(sum: i128, count in 1u64.., shift in 0u32..120) {
        let sum = sum >> shift;
        let expected = digits(sum).divide_half_even(&digits(i128::from(count))).units(sum < 0);
        prop_assert_eq!(Decimal::div_int(sum, count), expected);
    }

    #[test]
    fn sums_are_exact(a in units(), b in units()) {
        let in_range = |units: i128| (units.abs() <= Decimal::MAX.0).then_some(Decimal(units));
        prop_assert_eq!(Decimal(a).checked_add(Decimal(b)), in_range(a + b));
        prop_assert_eq!(Decimal(a).checked_sub(Decimal(b)), in_range(a - b));
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.eE]{0,40}") {
        let _ = parse(&text);
    }
}
