//! Trait values as people and predicates see them, read from a record's words.

use tidewater_model::{Decimal, Timestamp, Value};

use crate::{
    profile::layout::{Kind, TraitLayout},
    scalar::{Scalar128, Unpacked},
};

/// The value of a trait. `words` are a record's values; `text` looks up a string's place in the trait texts.
///
/// A windowed trait's value is what its words say: the window must have been trimmed before. A sum has no bounds:
/// beyond 10^18 it is still the exact number.
pub(crate) fn read<'a>(place: &TraitLayout, words: &[u64], text: impl Fn(u64, u32) -> &'a [u8]) -> Value {
    let at = usize::from(place.word);
    let number = |units: i128, nothing: Option<i128>| match Some(units) == nothing {
        true => Value::Null,
        false => Value::Number(Decimal(units)),
    };
    let time = |nothing: i64| match words[at] as i64 {
        ms if ms == nothing => Value::Null,
        ms => Value::Time(Timestamp(ms)),
    };
    match place.kind {
        Kind::Count => Value::Number(Decimal(i128::from(words[at]) * Decimal::ONE.0)),
        Kind::Sum => number(wide(words, at), None),
        Kind::Min => number(wide(words, at), Some(i128::MAX)),
        Kind::Max => number(wide(words, at), Some(i128::MIN)),
        Kind::Avg => mean(words, at).map_or(Value::Null, Value::Number),
        Kind::FirstTime => time(i64::MAX),
        Kind::LastTime => time(i64::MIN),
        Kind::First | Kind::Last => match Scalar128::from_words(words[at], words[at + 1]).unpack() {
            Unpacked::Null => Value::Null,
            Unpacked::Bool(value) => Value::Bool(value),
            Unpacked::Number(value) => Value::Number(value),
            Unpacked::String { start, len } => {
                Value::String(String::from_utf8_lossy(text(start, len)).into_owned().into())
            }
        },
    }
}

/// The two words from `at` on, low first, as one number.
#[inline]
pub(crate) fn wide(words: &[u64], at: usize) -> i128 {
    (u128::from(words[at + 1]) << 64 | u128::from(words[at])) as i128
}

/// The mean that the three words from `at` on hold; `None` of nothing.
#[inline]
pub(crate) fn mean(words: &[u64], at: usize) -> Option<Decimal> {
    Decimal::div_int(wide(words, at), words[at + 2])
}
