//! The table of types, and the bounds of each result.

use super::*;

fn apply(left: &str, operator: Arithmetic, right: &str) -> String {
    operator.apply(&value(left), &value(right)).to_string()
}

/// `null`, `true`, a number, a duration, a time after `@`, or a string after `'`.
fn value(text: &str) -> Value {
    if let Some(time) = text.strip_prefix('@') {
        return Value::Time(Timestamp::parse(time.as_bytes()).unwrap());
    }
    if let Some(text) = text.strip_prefix('\'') {
        return Value::String(text.into());
    }
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        _ => {
            let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
            match Millis::parse(size) {
                Some(span) => Value::Span(Millis(sign * span.0)),
                None => Value::Number(Decimal::parse(text.as_bytes()).unwrap()),
            }
        }
    }
}

#[test]
fn every_listed_pair_has_a_result() {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    let new_year = "@2026-01-01T00:00:00Z";
    for (left, operator, right, result) in [
        ("1.5", Add, "2", "3.5"),
        ("1.5", Subtract, "2", "-0.5"),
        ("1.5", Multiply, "2", "3"),
        ("1", Divide, "3", "0.333333333"),
        ("1h", Add, "30m", "90m"),
        ("30m", Subtract, "1h", "-30m"),
        (new_year, Add, "1d", "2026-01-02T00:00:00.000Z"),
        ("1d", Add, new_year, "2026-01-02T00:00:00.000Z"),
        (new_year, Subtract, "1d", "2025-12-31T00:00:00.000Z"),
        (new_year, Subtract, "@2025-12-31T00:00:00Z", "1d"),
        ("1h", Multiply, "1.5", "90m"),
        ("1.5", Multiply, "1h", "90m"),
        ("1h", Divide, "4", "15m"),
        ("1h", Divide, "1d", "0.041666667"),
        ("-1h", Divide, "30m", "-2"),
        // Half to even, to a millisecond.
        ("1ms", Multiply, "0.5", "0s"),
        ("3ms", Multiply, "0.5", "2ms"),
        ("-3ms", Divide, "2", "-2ms"),
        ("5ms", Divide, "2", "2ms"),
        ("1ms", Divide, "3", "0s"),
    ] {
        assert_eq!(apply(left, operator, right), result, "{left} {operator} {right}");
    }
}

#[test]
fn whatever_is_not_listed_is_null() {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    let values = ["null", "true", "2", "'2", "@2026-01-01T00:00:00Z", "1h"];
    let listed = |left: &str, operator: Arithmetic, right: &str| match (left, right) {
        ("2", "2") => true,
        ("1h", "1h") => operator != Multiply,
        ("1h", "2") => matches!(operator, Multiply | Divide),
        ("2", "1h") => operator == Multiply,
        ("1h", right) => operator == Add && right.starts_with('@'),
        (left, "1h") => left.starts_with('@') && matches!(operator, Add | Subtract),
        (left, right) => left.starts_with('@') && right.starts_with('@') && operator == Subtract,
    };
    for operator in [Add, Subtract, Multiply, Divide] {
        for left in values {
            for right in values {
                let is_null = apply(left, operator, right) == "null";
                assert_eq!(is_null, !listed(left, operator, right), "{left} {operator} {right}");
                let types = types::Types::arithmetic(operator, static_type(left), static_type(right));
                assert!(types.is_empty() || !is_null || left == "null" || right == "null");
                assert_eq!(types.is_empty(), is_null, "{left} {operator} {right}");
            }
        }
    }
}

/// The set that the type of a value is; none of null.
fn static_type(text: &str) -> types::Types {
    match value(text) {
        // Nothing computes with booleans either, so that null can be written as one.
        Value::Null | Value::Bool(_) => types::Types::BOOL,
        Value::Number(_) => types::Types::NUMBER,
        Value::String(_) => types::Types::STRING,
        Value::Time(_) => types::Types::TIME,
        Value::Span(_) => types::Types::SPAN,
    }
}

#[test]
fn out_of_range_is_null() {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    for (left, operator, right) in [
        ("1e18", Add, "0.000000001"),
        ("-1e18", Subtract, "1"),
        ("1e18", Multiply, "1.1"),
        ("1e18", Divide, "0.1"),
        ("1", Divide, "0"),
        ("1h", Divide, "0"),
        ("1h", Divide, "0s"),
        ("9007199254740992ms", Add, "1ms"),
        ("-9007199254740992ms", Subtract, "1ms"),
        ("9007199254740992ms", Multiply, "1.1"),
        ("9007199254740992ms", Multiply, "1e18"),
        ("1ms", Divide, "0.000000000"),
        ("9007199254740992ms", Divide, "0.000000001"),
        ("@9999-12-31T23:59:59.999Z", Add, "1ms"),
        ("@0000-01-01T00:00:00Z", Subtract, "1ms"),
        ("@2026-01-01T00:00:00Z", Add, "9007199254740992ms"),
    ] {
        assert_eq!(apply(left, operator, right), "null", "{left} {operator} {right}");
    }
    assert_eq!(apply("9007199254740991ms", Add, "1ms"), "9007199254740992ms");
    assert_eq!(apply("@9999-12-31T23:59:59.998Z", Add, "1ms"), "9999-12-31T23:59:59.999Z");
    let (longest, least) = (Value::Span(Millis(i64::MAX)), Value::Span(Millis(i64::MIN)));
    for operator in [Add, Subtract, Multiply, Divide] {
        for other in [&longest, &least, &Value::Time(Timestamp(i64::MIN)), &Value::Number(Decimal(i128::MIN))]
        {
            // Values that no expression makes don't panic either.
            operator.apply(&longest, other);
            operator.apply(other, &least);
        }
    }
}
