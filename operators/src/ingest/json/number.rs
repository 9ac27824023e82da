//! JSON numbers: the grammar, and a whole number's value, eight digits at a time.

use super::{BadJson, bytes::Bytes};

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Checks the number at `at`, `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`; returns the place behind it,
/// which lies behind the event's end if the digits there run on.
#[inline(always)]
pub(super) fn skip_number(bytes: &Bytes<'_>, at: usize) -> Result<usize, BadJson> {
    let mut at = at + usize::from(bytes.byte(at) == b'-');
    let whole = count_digits(bytes, at);
    if whole == 0 || (whole > 1 && bytes.byte(at) == b'0') {
        return Err(BadJson);
    }
    at += whole;
    if bytes.byte(at) == b'.' {
        let fraction = count_digits(bytes, at + 1);
        if fraction == 0 {
            return Err(BadJson);
        }
        at += 1 + fraction;
    }
    if bytes.byte(at) | 0x20 == b'e' { skip_exponent(bytes, at + 1) } else { Ok(at) }
}

#[cold]
fn skip_exponent(bytes: &Bytes<'_>, mut at: usize) -> Result<usize, BadJson> {
    at += usize::from(matches!(bytes.byte(at), b'+' | b'-'));
    let digits = count_digits(bytes, at);
    if digits == 0 { Err(BadJson) } else { Ok(at + digits) }
}

/// How many digits stand at `at`.
#[inline(always)]
fn count_digits(bytes: &Bytes<'_>, at: usize) -> usize {
    let mut count = 0;
    loop {
        let digits = leading_digits(bytes.word(at + count));
        count += digits;
        if digits < 8 {
            return count;
        }
    }
}

/// How many of eight bytes, from the lowest on, are digits before the first that is none.
#[inline(always)]
fn leading_digits(word: u64) -> usize {
    let values = word ^ ZEROS;
    // Adding 0x76 sets the top bit of every byte above 9; the mask keeps one byte's sum out of the next.
    let above_nine = ((values & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | values;
    ((above_nine & 0x8080_8080_8080_8080).trailing_zeros() / 8) as usize
}

/// The value of 1 to 16 digits; `None` for anything else.
#[inline]
pub(crate) fn short_whole(text: &[u8]) -> Option<i64> {
    let value = match text.len() {
        len @ 1..=7 => {
            let mut padded = [b'0'; 8];
            padded[8 - len..].copy_from_slice(text);
            eight_digits(u64::from_le_bytes(padded))?
        }
        len @ 8..=16 => {
            let high = eight_digits(u64::from_le_bytes(*text.first_chunk()?))?;
            let low = u64::from_le_bytes(*text.last_chunk()?);
            // The halves overlap by the digits that the second must not count again: they become zeros.
            let overlap = 8 * (16 - len) as u32;
            let counted = u64::MAX.checked_shl(overlap).unwrap_or(0);
            high * POWERS[len - 8] + eight_digits(low & counted | ZEROS & !counted)?
        }
        _ => return None,
    };
    Some(value as i64)
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The value of eight digits, the first in the lowest byte, by adding up neighbors: digits, pairs, fours.
#[inline(always)]
fn eight_digits(text: u64) -> Option<u64> {
    if leading_digits(text) < 8 {
        return None;
    }
    let digits = text ^ ZEROS;
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::ingest::PaddedEvent;

    fn accepts(text: &str) -> bool {
        let mut scratch = Vec::new();
        let bytes = Bytes::new(PaddedEvent::copied(text.as_bytes(), &mut scratch));
        skip_number(&bytes, 0).is_ok_and(|end| end == text.len())
    }

    proptest! {
        #[test]
        fn reads_short_whole_numbers(text in "[0-9]{1,18}|[0-9]{0,8}[ -~][0-9]{0,8}") {
            let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            let expected = text.parse::<i64>().ok().filter(|_| digits);
            prop_assert_eq!(short_whole(text.as_bytes()), expected);
        }

        #[test]
        fn follows_the_grammar(text in "-?(0|[1-9][0-9]{0,20}|0[0-9])?(\\.[0-9]{0,12})?([eE][+-]?[0-9]{0,3})?x?") {
            let grammar = regex::Regex::new(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$").unwrap();
            prop_assert_eq!(accepts(&text), grammar.is_match(&text), "{}", text);
        }

        #[test]
        fn counts_digits(word in any::<[u8; 8]>(), digits in 0..9usize) {
            let mut word = word;
            word[..digits].fill(b'7');
            let expected = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(leading_digits(u64::from_le_bytes(word)), expected);
        }
    }
}
