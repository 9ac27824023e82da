//! What arithmetic gives, for every pair of types; whatever is not listed is null.

use crate::{
    decimal::{self, Decimal},
    expr::{Arithmetic, lexer::MAX_SPAN_MS},
    time::{Millis, Timestamp},
    value::Value,
};

/// See [`Arithmetic`]. Numbers stay within 10^18, spans within 2^53 ms, times within the years 0 to 9999.
pub(super) fn apply(operator: Arithmetic, left: &Value, right: &Value) -> Value {
    use Arithmetic::{Add, Divide, Multiply, Subtract};
    use Value::{Number, Span, Time};

    let result = match (operator, left, right) {
        (Add, Number(a), Number(b)) => a.checked_add(*b).map(Number),
        (Add, Time(time), Span(span)) | (Add, Span(span), Time(time)) => {
            self::time(time.0.checked_add(span.0))
        }
        (Add, Span(a), Span(b)) => span(a.0.checked_add(b.0)),
        (Subtract, Number(a), Number(b)) => a.checked_sub(*b).map(Number),
        (Subtract, Time(a), Time(b)) => span(a.0.checked_sub(b.0)),
        (Subtract, Time(time), Span(span)) => self::time(time.0.checked_sub(span.0)),
        (Subtract, Span(a), Span(b)) => span(a.0.checked_sub(b.0)),
        (Multiply, Number(a), Number(b)) => a.checked_mul(*b).map(Number),
        (Multiply, Span(a), Number(b)) | (Multiply, Number(b), Span(a)) => {
            // A product that overflows is far beyond the longest span.
            span(ratio(i128::from(a.0).checked_mul(b.0), Decimal::ONE.0))
        }
        (Divide, Number(a), Number(b)) => a.checked_div(*b).map(Number),
        (Divide, Span(a), Number(b)) => span(ratio(i128::from(a.0).checked_mul(Decimal::ONE.0), b.0)),
        (Divide, Span(a), Span(b)) => {
            Decimal(i128::from(a.0)).checked_div(Decimal(i128::from(b.0))).map(Number)
        }
        _ => None,
    };
    result.unwrap_or(Value::Null)
}

fn span(ms: Option<i64>) -> Option<Value> {
    ms.filter(|ms| ms.unsigned_abs() <= MAX_SPAN_MS as u64).map(|ms| Value::Span(Millis(ms)))
}

fn time(ms: Option<i64>) -> Option<Value> {
    ms.map(Timestamp).filter(|time| (Timestamp::MIN..=Timestamp::MAX).contains(time)).map(Value::Time)
}

/// Whole milliseconds, half to even.
fn ratio(dividend: Option<i128>, divisor: i128) -> Option<i64> {
    i64::try_from(decimal::div_half_even(dividend?, divisor)?).ok()
}
