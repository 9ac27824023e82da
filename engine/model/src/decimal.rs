//! Exact decimals with 9 fractional digits: no operation ever goes through floating point.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number in units of 10^-9. Values read from events and results of arithmetic are at most 10^18 in size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decimal(pub i128);

const UNITS_PER_ONE: i128 = 1_000_000_000;
const MAX_UNITS: u128 = 1_000_000_000_000_000_000_000_000_000;
const POWERS_OF_TEN: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

impl Decimal {
    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
    pub const ONE: Self = Self(UNITS_PER_ONE);
    /// 10^18, the largest value; the smallest is its negative.
    pub const MAX: Self = Self(MAX_UNITS as i128);

    /// The whole number `value`. Not held against [`MAX`](Self::MAX), which counts never reach.
    pub const fn from_int(value: i64) -> Self {
        Self(value as i128 * UNITS_PER_ONE)
    }

    /// Reads a number exactly as JSON writes it, such as `12`, `-0.50` or `1.5e3`, rounding half to even at the
    /// ninth fractional digit. `None` if it is anything else (also with white space around it) or larger than
    /// [`MAX`](Self::MAX) in size.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let magnitude = match parse_short(digits) {
            Some(units) => units,
            None => parse_any(digits)? as i128,
        };
        Some(Self(if negative { -magnitude } else { magnitude }))
    }

    /// The sum; `None` if it is larger than [`MAX`](Self::MAX) in size.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::in_range(self.0.checked_add(other.0)?)
    }

    /// The difference; `None` if it is larger than [`MAX`](Self::MAX) in size.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Self::in_range(self.0.checked_sub(other.0)?)
    }

    /// The product, rounded half to even to 9 fractional digits; `None` if it is larger than [`MAX`](Self::MAX) in
    /// size.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        // A product of units that overflows 1.7 * 10^38 is far beyond the largest result, 10^27 * 10^9.
        Self::in_range(div_half_even(self.0.checked_mul(other.0)?, UNITS_PER_ONE)?)
    }

    /// The quotient, rounded half to even to 9 fractional digits; `None` when dividing by zero or if it is larger
    /// than [`MAX`](Self::MAX) in size.
    pub fn checked_div(self, other: Self) -> Option<Self> {
        match self.0.checked_mul(UNITS_PER_ONE) {
            Some(scaled) => Self::in_range(div_half_even(scaled, other.0)?),
            None => self.div_long(other),
        }
    }

    /// The mean of `count` values whose units add up to `sum`, rounded half to even to 9 fractional digits. `None`
    /// when `count` is 0 or the mean is larger than [`MAX`](Self::MAX) in size, which no mean of readable values is.
    pub fn div_int(sum: i128, count: u64) -> Option<Self> {
        Self::in_range(div_half_even(sum, i128::from(count))?)
    }

    fn in_range(units: i128) -> Option<Self> {
        (units.unsigned_abs() <= MAX_UNITS).then_some(Self(units))
    }

    /// Division digit by digit, for sums so large that they can't be multiplied by 10^9 first.
    fn div_long(self, other: Self) -> Option<Self> {
        let divisor = other.0.unsigned_abs();
        if divisor == 0 {
            return None;
        }
        let mut quotient = self.0.unsigned_abs() / divisor;
        let mut rest = self.0.unsigned_abs() % divisor;
        for _ in 0..9 {
            // rest * 10 = ((rest * 2) * 2 + rest) * 2, each step reduced below the divisor, so that nothing
            // overflows: both are at most 2^127.
            let (two, carry_two) = add_modulo(rest, rest, divisor);
            let (four, carry_four) = add_modulo(two, two, divisor);
            let (five, carry_five) = add_modulo(four, rest, divisor);
            let (ten, carry_ten) = add_modulo(five, five, divisor);
            let digit = ((carry_two * 2 + carry_four) + carry_five) * 2 + carry_ten;
            quotient = quotient.checked_mul(10)?.checked_add(digit)?;
            rest = ten;
        }
        let units = i128::try_from(round_half_even(quotient, rest, divisor)).ok()?;
        Self::in_range(if (self.0 < 0) != (other.0 < 0) { -units } else { units })
    }
}

/// `(a + b) mod modulus` and how often the modulus went into it (0 or 1), for a and b below a modulus of at most
/// 2^127.
fn add_modulo(a: u128, b: u128, modulus: u128) -> (u128, u128) {
    let sum = a + b;
    if sum >= modulus { (sum - modulus, 1) } else { (sum, 0) }
}

/// Rounds a quotient with this rest.
fn round_half_even(quotient: u128, rest: u128, divisor: u128) -> u128 {
    // Compares 2 * rest with the divisor without overflow.
    let other_half = divisor - rest;
    let up = rest > other_half || (rest == other_half && quotient % 2 == 1);
    quotient + u128::from(up)
}

/// The quotient rounded half to even; `None` when dividing by zero or out of range.
pub(crate) fn div_half_even(dividend: i128, divisor: i128) -> Option<i128> {
    if divisor == 0 {
        return None;
    }
    let (size, by) = (dividend.unsigned_abs(), divisor.unsigned_abs());
    let quotient = i128::try_from(round_half_even(size / by, size % by, by)).ok()?;
    Some(if (dividend < 0) != (divisor < 0) { -quotient } else { quotient })
}

/// The hot path: at most 18 digits, at most 9 of them fractional, no exponent. `None` leaves it to [`parse_any`].
fn parse_short(digits: &[u8]) -> Option<i128> {
    if digits.len() > 19 {
        return None;
    }
    let mut value = 0u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let whole = point.unwrap_or(digits.len());
    let fractional = digits.len() - whole - usize::from(point.is_some());
    let leading_zero = whole > 1 && digits[0] == b'0';
    let digit_count = whole + fractional;
    if whole == 0
        || leading_zero
        || fractional > 9
        || digit_count > 18
        || (point.is_some() && fractional == 0)
    {
        return None;
    }
    Some(i128::from(value) * i128::from(POWERS_OF_TEN[9 - fractional]))
}

/// Any JSON number without its sign, in units.
fn parse_any(text: &[u8]) -> Option<u128> {
    let digits_from = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits_from(0);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return None;
    }
    let mut at = whole;
    let mut fraction: &[u8] = &[];
    if text.get(at) == Some(&b'.') {
        let count = digits_from(at + 1);
        if count == 0 {
            return None;
        }
        fraction = &text[at + 1..at + 1 + count];
        at += 1 + count;
    }
    let mut exponent = 0;
    if let Some(b'e' | b'E') = text.get(at) {
        exponent = parse_exponent(&text[at + 1..])?;
        at = text.len();
    }
    if at != text.len() {
        return None;
    }
    scale(&text[..whole], fraction, exponent)
}

/// Reads the exponent, to the end of the text. Exponents that no text is long enough to make up for are cut to
/// +-10^17, so that whatever is added to them fits.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut exponent = 0i64;
    for byte in digits {
        exponent = (exponent * 10 + i64::from(byte - b'0')).min(100_000_000_000_000_000);
    }
    Some(if negative { -exponent } else { exponent })
}

/// `whole.fraction * 10^exponent` in units, rounded half to even; `None` beyond the largest value.
fn scale(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<u128> {
    let total = whole.len() + fraction.len();
    let digit = |at: usize| {
        let byte = if at < whole.len() { whole[at] } else { fraction[at - whole.len()] };
        u128::from(byte - b'0')
    };
    let Some(first) = (0..total).find(|at| digit(*at) != 0) else { return Some(0) };
    // How many digits, from the first that counts on, stand before the point once the number is in units.
    let kept = whole.len() as i64 - first as i64 + exponent + 9;
    if kept > 28 {
        return None;
    }
    if kept < 0 {
        return Some(0);
    }
    let end = first + kept as usize;
    let units = (first..end).fold(0, |units, at| units * 10 + if at < total { digit(at) } else { 0 });
    let (next, after) = match end < total {
        true => (digit(end), (end + 1..total).any(|at| digit(at) != 0)),
        false => (0, false),
    };
    let up = next > 5 || (next == 5 && (after || units % 2 == 1));
    let exact = next == 0 && !after;
    // A number just above the largest value is too large even if rounding would bring it back.
    let too_large = units > MAX_UNITS || (units == MAX_UNITS && !exact);
    (!too_large).then(|| units + u128::from(up))
}

/// Writes it without exponent or trailing zeros: `-0.5`, `12`, `0`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let (whole, mut rest) = (size / UNITS_PER_ONE as u128, (size % UNITS_PER_ONE as u128) as u32);
        if rest == 0 {
            return f.pad_integral(self.0 >= 0, "", &whole.to_string());
        }
        let mut places = 9;
        while rest.is_multiple_of(10) {
            rest /= 10;
            places -= 1;
        }
        f.pad_integral(self.0 >= 0, "", &format!("{whole}.{rest:0places$}"))
    }
}

#[cfg(test)]
mod tests;
