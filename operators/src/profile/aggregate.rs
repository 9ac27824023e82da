//! What a trait keeps of events: taking one in, putting two partials together, taking an expired pane out.
//!
//! Every aggregate is a commutative monoid over its words (see [`Kind`]), so the order of events and of merges
//! never shows. Count, sum and average can also take a part out again; the others are put together anew.

use std::cmp::Ordering;

use crate::{
    plan::NULL_NUMBER,
    profile::layout::Kind,
    scalar::{Scalar128, Unpacked},
    store::TraitTexts,
};

/// Reads an `i128` from two words, low first.
#[inline]
pub(crate) fn number(words: &[u64]) -> i128 {
    (u128::from(words[1]) << 64 | u128::from(words[0])) as i128
}

/// Writes an `i128` into two words, low first.
#[inline]
pub(crate) fn set_number(words: &mut [u64], number: i128) {
    words[0] = number as u64;
    words[1] = (number >> 64) as u64;
}

/// Takes one event at `time` with `value` (its column's two words) into a trait's words. Returns false when the
/// event contributes nothing.
#[inline]
pub(crate) fn take_in(kind: Kind, words: &mut [u64], time: i64, value: &[u64], texts: &TraitTexts) -> bool {
    match kind {
        Kind::Count => words[0] += 1,
        Kind::FirstTime => words[0] = (words[0] as i64).min(time) as u64,
        Kind::LastTime => words[0] = (words[0] as i64).max(time) as u64,
        Kind::First | Kind::Last => {
            if value[1] == 0 && value[0] == 0 {
                return false;
            }
            keep_scalar(kind, words, &[value[0], value[1], time as u64], texts);
        }
        Kind::Sum | Kind::Min | Kind::Max | Kind::Avg => {
            let new = number(value);
            if new == NULL_NUMBER {
                return false;
            }
            let old = number(words);
            match kind {
                Kind::Min => set_number(words, old.min(new)),
                Kind::Max => set_number(words, old.max(new)),
                _ => set_number(words, old.wrapping_add(new)),
            }
            if kind == Kind::Avg {
                words[2] += 1;
            }
        }
    }
    true
}

/// Puts another partial into a trait's words.
pub(crate) fn combine(kind: Kind, words: &mut [u64], other: &[u64], texts: &TraitTexts) {
    match kind {
        Kind::Count => words[0] += other[0],
        Kind::FirstTime => words[0] = (words[0] as i64).min(other[0] as i64) as u64,
        Kind::LastTime => words[0] = (words[0] as i64).max(other[0] as i64) as u64,
        Kind::Min => set_number(words, number(words).min(number(other))),
        Kind::Max => set_number(words, number(words).max(number(other))),
        Kind::Sum => set_number(words, number(words).wrapping_add(number(other))),
        Kind::Avg => {
            set_number(words, number(words).wrapping_add(number(other)));
            words[2] += other[2];
        }
        Kind::First | Kind::Last => {
            if other[0] != 0 || other[1] != 0 {
                keep_scalar(kind, words, other, texts);
            }
        }
    }
}

/// Takes an expired pane out of a trait's words; false if this kind can't and must be put together anew.
pub(crate) fn take_out(kind: Kind, words: &mut [u64], pane: &[u64]) -> bool {
    match kind {
        Kind::Count => words[0] -= pane[0],
        Kind::Sum => set_number(words, number(words).wrapping_sub(number(pane))),
        Kind::Avg => {
            set_number(words, number(words).wrapping_sub(number(pane)));
            words[2] -= pane[2];
        }
        Kind::Min | Kind::Max | Kind::First | Kind::Last | Kind::FirstTime | Kind::LastTime => return false,
    }
    true
}

/// Keeps the earlier (`First`) or later (`Last`) of two scalars with their times; at the same time the greater.
fn keep_scalar(kind: Kind, words: &mut [u64], other: &[u64], texts: &TraitTexts) {
    let empty = words[0] == 0 && words[1] == 0;
    let by_time = (other[2] as i64).cmp(&(words[2] as i64));
    let by_time = if kind == Kind::First { by_time.reverse() } else { by_time };
    let wins = by_time.then_with(|| {
        let [new, old] = [other, words].map(|w| Scalar128::from_words(w[0], w[1]));
        compare(new, old, texts)
    });
    #[cfg(feature = "planted-bugs")]
    let wins = match crate::planted::active(crate::planted::Bug::LastByArrival) && kind == Kind::Last {
        true => Ordering::Greater,
        false => wins,
    };
    if empty || wins == Ordering::Greater {
        words.copy_from_slice(other);
    }
}

/// false < true < numbers < strings, strings bytewise.
fn compare(a: Scalar128, b: Scalar128, texts: &TraitTexts) -> Ordering {
    match (a.unpack(), b.unpack()) {
        (Unpacked::String { start: a, len: n }, Unpacked::String { start: b, len: m }) => {
            texts.get(a, n).cmp(texts.get(b, m))
        }
        _ => a.0.cmp(&b.0),
    }
}
