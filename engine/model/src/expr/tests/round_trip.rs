//! Printing and reading are inverse on everything that can be written.

use proptest::prelude::*;

use super::*;

/// What is known of a generated term's type.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Scalar,
    Number,
    Time,
    Span,
}

fn number_literal() -> impl Strategy<Value = Term> {
    prop_oneof![
        (-Decimal::MAX.0..=Decimal::MAX.0).prop_map(Decimal),
        (-1_000i64..1_000).prop_map(Decimal::from_int),
        (-5_000_000_000i128..5_000_000_000).prop_map(Decimal),
    ]
    .prop_map(|number| Term::Literal(Value::Number(number)))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "[ -~]{0,12}",
        proptest::collection::vec(any::<char>(), 0..8).prop_map(|c| c.into_iter().collect())
    ]
}

fn string_literal() -> impl Strategy<Value = Term> {
    text().prop_map(|text| Term::Literal(Value::String(text.into())))
}

fn span_literal() -> impl Strategy<Value = Term> {
    prop_oneof![-(1i64 << 53)..=1 << 53, (-100i64..100).prop_map(|hours| hours * 3_600_000)]
        .prop_map(|ms| Term::Literal(Value::Span(Millis(ms))))
}

fn time_literal() -> impl Strategy<Value = Term> {
    (Timestamp::MIN.0..=Timestamp::MAX.0).prop_map(|ms| Term::Literal(Value::Time(Timestamp(ms))))
}

fn joined(
    operator: Arithmetic,
    left: impl Strategy<Value = Term> + 'static,
    right: impl Strategy<Value = Term> + 'static,
) -> BoxedStrategy<Term> {
    (left, right).prop_map(move |(left, right)| Term::Arithmetic(operator, left.into(), right.into())).boxed()
}

/// A term of this kind; at most `depth` operators deep.
fn term(kind: Kind, depth: u32) -> BoxedStrategy<Term> {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    let deeper = |kind| term(kind, depth - 1);
    let leaf = match kind {
        Kind::Scalar => {
            prop_oneof![(0..3usize).prop_map(Term::Trait), (5..7usize).prop_map(Term::Trait)].boxed()
        }
        Kind::Number => number_literal().boxed(),
        Kind::Time => prop_oneof![Just(Term::Now), (3..5usize).prop_map(Term::Trait)].boxed(),
        Kind::Span => span_literal().boxed(),
    };
    if depth == 0 {
        return leaf;
    }
    match kind {
        Kind::Scalar => leaf,
        Kind::Number => {
            let operator = prop_oneof![Just(Add), Just(Subtract), Just(Multiply), Just(Divide)];
            let operand = || prop_oneof![deeper(Kind::Number), term(Kind::Scalar, 0)];
            let arithmetic = (operator, operand(), operand())
                .prop_map(|(operator, left, right)| Term::Arithmetic(operator, left.into(), right.into()));
            prop_oneof![leaf, arithmetic, joined(Divide, deeper(Kind::Span), deeper(Kind::Span))].boxed()
        }
        Kind::Time => prop_oneof![
            leaf,
            joined(Add, deeper(Kind::Time), deeper(Kind::Span)),
            joined(Add, deeper(Kind::Span), deeper(Kind::Time)),
            joined(Subtract, deeper(Kind::Time), deeper(Kind::Span)),
            joined(Add, time_literal(), deeper(Kind::Span)),
            joined(Subtract, time_literal(), deeper(Kind::Span)),
            joined(Add, deeper(Kind::Span), time_literal()),
        ]
        .boxed(),
        Kind::Span => prop_oneof![
            leaf,
            joined(Subtract, deeper(Kind::Time), deeper(Kind::Time)),
            joined(Subtract, deeper(Kind::Time), time_literal()),
            joined(Subtract, time_literal(), deeper(Kind::Time)),
            joined(Add, deeper(Kind::Span), deeper(Kind::Span)),
            joined(Multiply, deeper(Kind::Span), deeper(Kind::Number)),
            joined(Multiply, deeper(Kind::Number), deeper(Kind::Span)),
            joined(Divide, deeper(Kind::Span), deeper(Kind::Number)),
        ]
        .boxed(),
    }
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};

    proptest::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

fn compared() -> impl Strategy<Value = Predicate> {
    let sides = prop_oneof![
        (term(Kind::Number, 2), term(Kind::Number, 2)),
        (term(Kind::Scalar, 0), term(Kind::Number, 2)),
        (term(Kind::Scalar, 0), string_literal().boxed()),
        (string_literal().boxed(), term(Kind::Scalar, 0)),
        (any::<bool>().prop_map(|value| Term::Literal(Value::Bool(value))).boxed(), term(Kind::Scalar, 0)),
        (term(Kind::Time, 2), term(Kind::Time, 2)),
        (term(Kind::Time, 2), time_literal().boxed()),
        (time_literal().boxed(), term(Kind::Time, 2)),
        (term(Kind::Span, 2), term(Kind::Span, 2)),
    ];
    (comparison(), sides).prop_map(|(comparison, (left, right))| Predicate::Compare(comparison, left, right))
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let leaf = prop_oneof![
        4 => compared(),
        1 => (0..3usize).prop_map(Predicate::HasIdentifier),
        1 => (0..7usize).prop_map(|index| Predicate::HasValue(Term::Trait(index))),
        1 => (0..3usize).prop_map(Predicate::InSegment),
        1 => ((0..3usize), text()).prop_map(|(index, text)| Predicate::IdentifierIs(index, text)),
        1 => prop_oneof![Just(Predicate::And(Vec::new())), Just(Predicate::Or(Vec::new()))],
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Predicate::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Predicate::Or),
            inner.prop_map(|inner| Predicate::Not(inner.into())),
        ]
    })
}

#[test]
fn fields_with_the_names_of_words_read_back() {
    for word in
        ["and", "Or", "NOT", "true", "False", "now", "null", "NULL", "has", "in_segment", "then", "within"]
    {
        for text in [format!("has(`{word}`)"), format!("`{word}` == 1"), format!("1 == `{word}` and has(a)")]
        {
            let condition = parse_condition(&text).unwrap();
            let written = condition.display(&Names::default()).to_string();
            assert_eq!(parse_condition(&written), Ok(condition), "{text} is written {written}");
        }
    }
}

proptest! {
    #[test]
    fn segments_read_back(predicate in predicate()) {
        let shop = Shop::new();
        let text = predicate.display(&shop.names()).to_string();
        prop_assert_eq!(parse_segment(&text, &shop.names()), Ok(predicate), "{}", text);
    }

    #[test]
    fn paths_read_back(steps in proptest::collection::vec(text(), 1..4)) {
        if let Some(path) = Path::parse(&steps.join(".")) {
            let predicate = Predicate::HasValue(Term::Field(path));
            let text = predicate.display(&Names::default()).to_string();
            prop_assert_eq!(parse_condition(&text), Ok(predicate), "{}", text);
        }
    }

    #[test]
    fn no_text_panics_and_every_error_has_its_place(
        text in prop_oneof!["\\PC{0,40}", "[a-z0-9 \"'`().=<>!&|+*/\\\\-]{0,60}"]
    ) {
        for errors in [parse_segment(&text, &Shop::new().names()), parse_condition(&text)].into_iter().filter_map(Result::err) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(error.start <= error.end && error.end <= text.len());
                prop_assert!(text.is_char_boundary(error.start) && text.is_char_boundary(error.end));
                prop_assert!(error.line >= 1 && error.column >= 1);
            }
        }
    }

    #[test]
    fn shuffled_words_never_panic(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "and", "or", "not", "(", ")", "has", "in_segment", "orders", "last_seen", "now", "email", "loyal", "==",
            "<", "-", "*", "3", "30d", "\"x\"", "true", "ordrs", "then", "AND", "NOT", "null", "`", "#",
        ]),
        0..16,
    )) {
        let text = words.join(" ");
        let shop = Shop::new();
        match parse_segment(&text, &shop.names()) {
            Ok(predicate) => {
                let canonical = predicate.display(&shop.names()).to_string();
                prop_assert_eq!(parse_segment(&canonical, &shop.names()), Ok(predicate));
            }
            Err(errors) => prop_assert!(!errors.is_empty(), "{}", text),
        }
    }
}
