#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    decimal::Decimal,
    time::{Millis, Timestamp},
};

mod arithmetic;
mod errors;
mod round_trip;

/// A small pipeline's names.
struct Shop {
    identifiers: Vec<String>,
    traits: Vec<String>,
    segments: Vec<String>,
}

const TIME_TRAITS: [bool; 7] = [false, false, false, true, true, false, false];

impl Shop {
    fn new() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            identifiers: owned(&["user_id", "email", "phone number"]),
            traits: owned(&["orders", "revenue", "plan", "last_seen", "first_seen", "now", "views 7d"]),
            segments: owned(&["loyal", "big_spender", "in"]),
        }
    }

    fn names(&self) -> Names<'_> {
        Names {
            identifiers: &self.identifiers,
            traits: &self.traits,
            time_traits: &TIME_TRAITS,
            segments: &self.segments,
        }
    }
}

fn segment(text: &str) -> Predicate {
    parse_segment(text, &Shop::new().names()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn condition(text: &str) -> Predicate {
    parse_condition(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// The canonical text, which shows by its parentheses how a text was read.
fn canonical(text: &str) -> String {
    let shop = Shop::new();
    let names = shop.names();
    let predicate = segment(text);
    let written = predicate.display(&names).to_string();
    assert_eq!(segment(&written), predicate, "{written}");
    written
}

fn number(text: &str) -> Term {
    Term::Literal(Value::Number(Decimal::parse(text.as_bytes()).unwrap()))
}

fn span(text: &str) -> Term {
    Term::Literal(Value::Span(Millis::parse(text).unwrap()))
}

fn time(text: &str) -> Term {
    Term::Literal(Value::Time(Timestamp::parse(text.as_bytes()).unwrap()))
}

fn string(text: &str) -> Term {
    Term::Literal(Value::String(text.into()))
}

fn arithmetic_term(operator: Arithmetic, left: Term, right: Term) -> Term {
    Term::Arithmetic(operator, left.into(), right.into())
}

fn field(path: &str) -> Term {
    Term::Field(Path::parse(path).unwrap())
}

#[test]
fn the_segments_of_the_contract() {
    use Comparison::{Equal, Greater, GreaterOrEqual};

    let orders_from = |count| Predicate::Compare(GreaterOrEqual, Term::Trait(0), number(count));
    assert_eq!(segment("orders >= 3"), orders_from("3"));
    assert_eq!(
        segment("has(email) and orders == 0"),
        Predicate::And(vec![
            Predicate::HasIdentifier(1),
            Predicate::Compare(Equal, Term::Trait(0), number("0"))
        ])
    );
    let age = arithmetic_term(Arithmetic::Subtract, Term::Now, Term::Trait(3));
    assert_eq!(
        segment("orders >= 1 and now - last_seen > 30d"),
        Predicate::And(vec![orders_from("1"), Predicate::Compare(Greater, age, span("30d"))])
    );
    assert_eq!(
        segment("in_segment(loyal) and in_segment(big_spender)"),
        Predicate::And(vec![Predicate::InSegment(0), Predicate::InSegment(1)])
    );
    assert_eq!(
        condition("properties.revenue >= 100"),
        Predicate::Compare(GreaterOrEqual, field("properties.revenue"), number("100"))
    );
}

#[test]
fn operators_bind_from_or_to_minus() {
    for (text, grouped) in [
        ("has(plan) or has(email) and has(orders)", "has(plan) or has(email) and has(orders)"),
        ("(has(plan) or has(email)) and has(orders)", "(has(plan) or has(email)) and has(orders)"),
        ("has(plan) or (has(email) and has(orders))", "has(plan) or has(email) and has(orders)"),
        ("not has(plan) and has(email)", "not has(plan) and has(email)"),
        ("not (has(plan) and has(email))", "not (has(plan) and has(email))"),
        ("not orders == 1 or has(plan)", "not (orders == 1) or has(plan)"),
        ("not not has(plan)", "not not has(plan)"),
        ("orders + 1 * 2 == 3", "orders + 1 * 2 == 3"),
        ("(orders + 1) * 2 == 3", "(orders + 1) * 2 == 3"),
        ("orders - 1 - 2 == 3", "orders - 1 - 2 == 3"),
        ("orders - (1 - 2) == 3", "orders - (1 - 2) == 3"),
        ("orders / 2 * 3 == 3", "orders / 2 * 3 == 3"),
        ("orders / (2 * 3) == 3", "orders / (2 * 3) == 3"),
        ("orders * 2 + revenue / 3 > -orders", "orders * 2 + revenue / 3 > -1 * orders"),
        ("orders - -5 > - 2 * 3", "orders - -5 > -2 * 3"),
        ("-(orders + 1) > --1", "-1 * (orders + 1) > 1"),
        ("now-last_seen>30d", "now - last_seen > 30d"),
        ("((((orders)))) > ((1))", "orders > 1"),
        ("true and not false", "true and not false"),
        ("  orders\n\t>= 1 ", "orders >= 1"),
        ("'a\\'b' == plan", "\"a'b\" == plan"),
    ] {
        assert_eq!(canonical(text), grouped, "{text}");
    }
}

#[test]
fn parentheses_keep_nested_lists_apart() {
    let [a, b, c] =
        [Predicate::HasIdentifier(0), Predicate::HasIdentifier(1), Predicate::HasValue(Term::Trait(2))];
    let flat = Predicate::And(vec![a.clone(), b.clone(), c.clone()]);
    let nested = Predicate::And(vec![Predicate::And(vec![a, b]), c]);
    assert_eq!(segment("has(user_id) and has(email) and has(plan)"), flat);
    assert_eq!(segment("(has(user_id) and has(email)) and has(plan)"), nested);
    assert_eq!(
        canonical("(has(user_id) and has(email)) and has(plan)"),
        "(has(user_id) and has(email)) and has(plan)"
    );
}

#[test]
fn literals() {
    let literal = |text: &str| match condition(&format!("x == {text}")) {
        Predicate::Compare(_, _, Term::Literal(value)) => value,
        other => panic!("{other:?}"),
    };
    let text = |text: &str| Value::String(text.into());
    assert_eq!(literal("12.5"), Value::Number(Decimal(12_500_000_000)));
    assert_eq!(literal("-1.5e3"), Value::Number(Decimal::from_int(-1_500)));
    assert_eq!(literal("1E2"), Value::Number(Decimal::from_int(100)));
    assert_eq!(literal("true"), Value::Bool(true));
    assert_eq!(literal("false"), Value::Bool(false));
    assert_eq!(literal("\"it's\""), text("it's"));
    assert_eq!(literal("'say \"hi\"'"), text("say \"hi\""));
    assert_eq!(literal(r#""\"\\\n\r\t\'\`\u{e9}\u{1F600}""#), text("\"\\\n\r\t'`é😀"));
    assert_eq!(literal("\"\""), text(""));
    assert_eq!(literal("'two\nlines'"), text("two\nlines"));
    // Nothing else in a condition is a time, so a time's text stays a string.
    assert_eq!(literal("\"2026-01-01T00:00:00Z\""), text("2026-01-01T00:00:00Z"));
}

#[test]
fn strings_next_to_a_time_are_times() {
    let new_year = "\"2026-01-01T00:00:00Z\"";
    let literal = time("2026-01-01T00:00:00Z");
    let compare = |comparison, left, right| Predicate::Compare(comparison, left, right);
    assert_eq!(
        segment(&format!("last_seen >= {new_year}")),
        compare(Comparison::GreaterOrEqual, Term::Trait(3), literal.clone())
    );
    assert_eq!(segment(&format!("{new_year} < now")), compare(Comparison::Less, literal.clone(), Term::Now));
    assert_eq!(
        segment("last_seen + 7d < '2026-01-01 02:00:00.000+02:00'"),
        compare(
            Comparison::Less,
            arithmetic_term(Arithmetic::Add, Term::Trait(3), span("7d")),
            literal.clone()
        )
    );
    let age = arithmetic_term(Arithmetic::Subtract, Term::Now, literal.clone());
    assert_eq!(segment(&format!("now - {new_year} > 1h")), compare(Comparison::Greater, age, span("1h")));
    // Only a time can stand left of a duration.
    let end = arithmetic_term(Arithmetic::Add, literal.clone(), span("1h"));
    assert_eq!(segment(&format!("{new_year} + 1h > now")), compare(Comparison::Greater, end, Term::Now));
    // A trait that may hold a string is compared as one.
    assert_eq!(
        segment(&format!("plan == {new_year}")),
        compare(Comparison::Equal, Term::Trait(2), string("2026-01-01T00:00:00Z"))
    );
    assert_eq!(
        canonical(&format!("{new_year} + (now - last_seen) > '2026-01-01T00:00:00+01:00'")),
        "\"2026-01-01T00:00:00.000Z\" + (now - last_seen) > \"2025-12-31T23:00:00.000Z\""
    );
}

#[test]
fn identifiers_are_compared_as_text() {
    let is = |index, text: &str| Predicate::IdentifierIs(index, text.to_owned());
    assert_eq!(segment("email == 'a@b.example'"), is(1, "a@b.example"));
    assert_eq!(segment("'a@b.example' == email"), is(1, "a@b.example"));
    assert_eq!(segment("user_id == 42"), is(0, "42"));
    assert_eq!(segment("user_id == 4.20"), is(0, "4.20"));
    assert_eq!(segment("-7 == user_id"), is(0, "-7"));
    assert_eq!(segment("not email == 'x'"), Predicate::Not(is(1, "x").into()));
    assert_eq!(segment("`phone number` == '+4930'"), is(2, "+4930"));
}

#[test]
fn backticks_make_names_of_anything() {
    assert_eq!(segment("has(`views 7d`)"), Predicate::HasValue(Term::Trait(6)));
    // The trait called `now`, not the clock.
    assert_eq!(segment("has(`now`)"), Predicate::HasValue(Term::Trait(5)));
    assert_eq!(canonical("`now` + `views 7d` > `orders`"), "`now` + `views 7d` > orders");
    assert_eq!(segment("in_segment(in)"), Predicate::InSegment(2));
    assert_eq!(condition("has(`properties.Order ID`)"), Predicate::HasValue(field("properties.Order ID")));
}

#[test]
fn conditions_name_paths() {
    assert_eq!(condition("has(email)"), Predicate::HasValue(field("email")));
    let path = "context.device.$id_2.0";
    assert_eq!(condition(&format!("has({path})")), Predicate::HasValue(field(path)));
    assert_eq!(
        condition("properties.größe * 2 != 1 or not (a.b == c.d)").display(&Names::default()).to_string(),
        "properties.größe * 2 != 1 or not (a.b == c.d)",
    );
}

#[test]
fn values_are_written_as_people_read_them() {
    for (value, text) in [
        (Value::Null, "null"),
        (Value::Bool(true), "true"),
        (Value::Number(Decimal(-500_000_000)), "-0.5"),
        (Value::String("a \"b\"\n\u{1}".into()), r#""a \"b\"\n\u{1}""#),
        (Value::Time(Timestamp(0)), "1970-01-01T00:00:00.000Z"),
        (Value::Span(Millis(2_592_000_000)), "30d"),
    ] {
        assert_eq!(value.to_string(), text);
    }
}
