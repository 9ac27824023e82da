//! Values and conditions of an event.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidewater_model::{
    Decimal, Millis, Value,
    expr::{Arithmetic, Comparison, Predicate, Term},
};

use super::*;

fn number(text: &str) -> Unpacked {
    Unpacked::Number(Decimal::parse(text.as_bytes()).unwrap())
}

fn reading() -> PipelineSpec {
    let traits = vec![
        feature("revenue", Aggregate::Sum(path("properties.revenue")), named("Order"), None),
        feature("plan", Aggregate::Last(path("traits.plan")), EventFilter::Any, None),
        feature("big", Aggregate::Count, named("Order"), Some("properties.revenue >= 100")),
    ];
    PipelineSpec { traits, ..spec() }
}

#[test]
fn numbers_are_read_exactly_and_junk_is_counted() {
    let mut run = Run::new(reading(), 1);
    let mut read = |value: &str| {
        let event =
            format!(r#"{{"type":"track","event":"Order","userId":"u","properties":{{"revenue":{value}}}}}"#);
        let before = run.decoder.stats().unreadable_numbers;
        let value = run.push(&event).unwrap().values[0];
        (value, run.decoder.stats().unreadable_numbers - before)
    };
    for text in ["0.1", "12", "-3.5e2", "1e-9", "1000000000000000000", "0.1234567895"] {
        assert_eq!(read(text), (number(text), 0));
        assert_eq!(read(&format!("\"{text}\"")), (number(text), 0));
    }
    assert_eq!(read(r#""1\u0032""#), (number("12"), 0));
    assert_eq!(read("null"), (Unpacked::Null, 0));
    for junk in ["1000000000000000001", "1e400", "\"\"", "\" 1\"", "\"1,5\"", "\"abc\"", "true", "[1]", "{}"]
    {
        assert_eq!(read(junk), (Unpacked::Null, 1), "{junk}");
    }
}

#[test]
fn scalars_keep_their_type() {
    let mut run = Run::new(reading(), 1);
    let mut read = |value: &str| {
        let event =
            run.push(&format!(r#"{{"type":"identify","userId":"u","traits":{{"plan":{value}}}}}"#)).unwrap();
        (event.values[1], event.strings[1].clone(), run.decoder.stats().unreadable_numbers)
    };
    assert_eq!(read("true"), (Unpacked::Bool(true), None, 0));
    assert_eq!(read("false"), (Unpacked::Bool(false), None, 0));
    assert_eq!(read("-1.5"), (number("-1.5"), None, 0));
    assert_eq!(read("\"12\"").1.as_deref(), Some("12"));
    assert_eq!(read("\"\"").1.as_deref(), Some(""));
    assert_eq!(read(r#""\ud83d\ude00 \u00e9\n""#).1.as_deref(), Some("\u{1f600} \u{e9}\n"));
    assert_eq!(read("null"), (Unpacked::Null, None, 0));
    assert_eq!(read("[1]"), (Unpacked::Null, None, 0));
    assert_eq!(read("{\"a\":1}"), (Unpacked::Null, None, 0));
    assert_eq!(read("1e30"), (Unpacked::Null, None, 1));
}

#[test]
fn only_what_the_program_reads_is_read() {
    let mut run = Run::new(reading(), 1);
    let event = r#"{"type":"track","event":"Other","userId":"u","properties":{"revenue":"junk"},"traits":{"plan":"a"}}"#;
    let event = run.push(event).unwrap();
    assert_eq!((event.values[0], event.strings[1].as_deref()), (Unpacked::Null, Some("a")));
    assert_eq!((run.decoder.stats().unreadable_numbers, event.conditions), (0, vec![false]));
}

/// What a `where` sees at a path.
fn field(event: &Json, path: &Path) -> Value {
    let value =
        path.steps().iter().fold(event, |at, step| if at.is_object() { &at[step] } else { &Json::Null });
    match value {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            Decimal::parse(number.to_string().as_bytes()).map_or(Value::Null, Value::Number)
        }
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    }
}

fn value_of(term: &Term, event: &Json) -> Value {
    match term {
        Term::Literal(value) => value.clone(),
        Term::Field(path) => field(event, path),
        Term::Arithmetic(operator, left, right) => {
            operator.apply(&number_of(left, event), &number_of(right, event))
        }
        Term::Trait(_) | Term::Now => Value::Null,
    }
}

/// Where a number is asked for.
fn number_of(term: &Term, event: &Json) -> Value {
    match (term, value_of(term, event)) {
        (Term::Field(_), Value::String(text)) => {
            Decimal::parse(text.as_bytes()).map_or(Value::String(text), Value::Number)
        }
        (_, value) => value,
    }
}

fn holds(predicate: &Predicate, event: &Json) -> bool {
    match predicate {
        Predicate::And(all) => all.iter().all(|one| holds(one, event)),
        Predicate::Or(any) => any.iter().any(|one| holds(one, event)),
        Predicate::Not(inner) => !holds(inner, event),
        Predicate::Compare(comparison, left, right) => {
            let (mut a, mut b) = (value_of(left, event), value_of(right, event));
            if matches!(b, Value::Number(_)) {
                a = number_of(left, event);
            } else if matches!(a, Value::Number(_)) {
                b = number_of(right, event);
            }
            a.compare(&b).is_some_and(|order| comparison.holds(order))
        }
        Predicate::HasValue(term) => value_of(term, event) != Value::Null,
        Predicate::HasIdentifier(_) | Predicate::IdentifierIs(..) | Predicate::InSegment(_) => false,
    }
}

fn literal() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3..4i64).prop_map(|n| Value::Number(Decimal::from_int(n))),
        1 => Just(Value::Number(Decimal::parse(b"0.5").unwrap())),
        3 => "[ab\u{e9}]{0,2}".prop_map(|text| Value::String(text.into())),
        2 => any::<bool>().prop_map(Value::Bool),
        1 => (-2..3i64).prop_map(|n| Value::Span(Millis(n * 1_000))),
        1 => Just(Value::Time(WALL)),
        1 => Just(Value::Null),
    ]
}

fn term() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "p.a", "p.q.b", "p"]).prop_map(|text| Term::Field(path(text))),
        2 => literal().prop_map(Term::Literal),
        1 => Just(Term::Now),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let operator = prop::sample::select(vec![
            Arithmetic::Add,
            Arithmetic::Subtract,
            Arithmetic::Multiply,
            Arithmetic::Divide,
        ]);
        (operator, inner.clone(), inner).prop_map(|(op, a, b)| Term::Arithmetic(op, a.into(), b.into()))
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let leaf = prop_oneof![
        6 => (comparison, term(), term()).prop_map(|(op, a, b)| Predicate::Compare(op, a, b)),
        2 => term().prop_map(Predicate::HasValue),
        1 => Just(Predicate::HasIdentifier(0)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::Or),
            inner.prop_map(|inner| Predicate::Not(inner.into())),
        ]
    })
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => (-3..4i64).prop_map(Json::from),
        1 => Just(json!(0.5)),
        1 => Just(json!(2e18)),
        3 => "[ab\u{e9}]{0,2}".prop_map(Json::from),
        1 => (-3..4i64).prop_map(|n| Json::from(n.to_string())),
        2 => any::<bool>().prop_map(Json::from),
        1 => prop::sample::select(vec![json!(null), json!([1]), json!({"a": 1})]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn conditions_hold_when_the_predicate_does(
        predicates in prop::collection::vec(predicate(), 1..4),
        a in scalar(), b in scalar(), pa in scalar(), pqb in scalar(), escape in any::<bool>(),
    ) {
        let traits = predicates.iter().enumerate().map(|(index, predicate)| TraitSpec {
            condition: Some(predicate.clone()),
            ..feature(&format!("t{index}"), Aggregate::Count, EventFilter::Any, None)
        });
        let mut run = Run::new(PipelineSpec { traits: traits.collect(), ..spec() }, 1);
        let event = json!({"type": "track", "userId": "u", "a": a, "b": b, "p": {"a": pa, "q": {"b": pqb}}});
        let text = event.to_string();
        let text = if escape { text.replace('\u{e9}', "\\u00e9") } else { text };
        let found = run.push(&text).unwrap().conditions;
        for (predicate, found) in run.plan.conditions.iter().zip(found) {
            prop_assert_eq!(found, holds(predicate, &event), "{:?} of {}", predicate, text);
        }
    }
}

#[test]
fn more_than_64_conditions_have_bits() {
    let traits = (0..130).map(|limit| {
        let condition = format!("properties.revenue > {limit}");
        feature(
            &format!("t{limit}"),
            Aggregate::Sum(path("properties.revenue")),
            named("Order"),
            Some(&condition),
        )
    });
    let mut run = Run::new(PipelineSpec { traits: traits.collect(), ..spec() }, 1);
    let event =
        run.push(r#"{"type":"track","event":"Order","userId":"u","properties":{"revenue":99.5}}"#).unwrap();
    assert_eq!(event.values, [number("99.5")]);
    assert!(event.conditions.iter().enumerate().all(|(limit, holds)| *holds == (limit < 100)));
}
