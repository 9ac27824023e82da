//! Turns the names of an expression into indices, and finds what can't mean anything.

use crate::{
    decimal::Decimal,
    expr::{
        Arithmetic, Comparison, ParseError, ParseErrorKind, Predicate, Term,
        display::written,
        lexer::Span,
        names::{Meaning, Names},
        parser::parse,
        tree::{Expr, Name, Node},
        types::Types,
    },
    suggest::nearest,
    time::{Millis, TimeError, Timestamp},
    value::Value,
};

/// Reads a segment's predicate, such as `orders >= 1 and now - last_seen > 30d`.
///
/// A name that is no plain word can stand in backticks: `` `views 7d` > 3 ``. `true` alone is a predicate, too.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn parse_segment(text: &str, names: &Names<'_>) -> Result<Predicate, Vec<ParseError>> {
    resolve(text, Some(names))
}

/// Reads the condition of a trait's `where`, such as `properties.revenue >= 100`: names are paths into the event,
/// and there is no `now`.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn parse_condition(text: &str) -> Result<Predicate, Vec<ParseError>> {
    resolve(text, None)
}

fn resolve(text: &str, names: Option<&Names<'_>>) -> Result<Predicate, Vec<ParseError>> {
    let (tree, errors) = parse(text);
    let mut resolver = Resolver { text, names, errors };
    let predicate = tree.and_then(|tree| resolver.predicate(&tree));
    let mut errors = resolver.errors;
    errors.sort_by_key(|error| (error.start, error.end));
    errors.dedup_by_key(|error| (error.start, error.end));
    match predicate {
        Some(predicate) if errors.is_empty() => Ok(predicate),
        _ => Err(errors),
    }
}

pub(super) struct Resolver<'a> {
    pub(super) text: &'a str,
    /// None: names are paths into the event.
    pub(super) names: Option<&'a Names<'a>>,
    errors: Vec<ParseError>,
}

/// A resolved term and what is known of its type.
struct Typed {
    term: Term,
    types: Types,
}

const IDENTIFIER_RULE: &str = "an identifier may stand only in `has()` and on one side of `==` with a string";

/// A part of which an error was reported is `None`; the rest of the expression is still looked at.
impl Resolver<'_> {
    fn predicate(&mut self, expr: &Expr) -> Option<Predicate> {
        match &expr.node {
            Node::And(all) => self.all(all).map(Predicate::And),
            Node::Or(all) => self.all(all).map(Predicate::Or),
            Node::Not(inner) => self.predicate(inner).map(|inner| Predicate::Not(inner.into())),
            Node::Bool(true) => Some(Predicate::And(Vec::new())),
            Node::Bool(false) => Some(Predicate::Or(Vec::new())),
            Node::Compare(comparison, left, right) => self.compare(expr, *comparison, left, right),
            Node::Has(name) => self.has(expr, name),
            Node::InSegment(name) => self.in_segment(name),
            Node::Name(name) => self.name_alone(name),
            Node::Broken(names) => {
                for name in names {
                    self.check(name);
                }
                None
            }
            Node::Arithmetic(..)
            | Node::Negate(_)
            | Node::Number { .. }
            | Node::Duration(_)
            | Node::Text(_) => {
                self.term(expr)?;
                let message =
                    format!("`{}` is a value, not a predicate: write a comparison", self.source(expr));
                self.misuse(expr.span, message)
            }
        }
    }

    fn all(&mut self, all: &[Expr]) -> Option<Vec<Predicate>> {
        let resolved: Vec<_> = all.iter().map(|expr| self.predicate(expr)).collect();
        resolved.into_iter().collect()
    }

    fn compare(
        &mut self,
        whole: &Expr,
        operator: Comparison,
        left: &Expr,
        right: &Expr,
    ) -> Option<Predicate> {
        match (self.identifier(left), self.identifier(right)) {
            (Some(index), None) => return self.identifier_is(whole, index, operator, left, right),
            (None, Some(index)) => return self.identifier_is(whole, index, operator, right, left),
            (Some(_), Some(_)) => return self.misuse(whole.span, IDENTIFIER_RULE),
            (None, None) => {}
        }
        let (left_typed, right_typed) = (self.term(left), self.term(right));
        let (mut left_typed, mut right_typed) = (left_typed?, right_typed?);
        if right_typed.types == Types::TIME {
            self.settle_time(left, &mut left_typed)?;
        } else if left_typed.types == Types::TIME {
            self.settle_time(right, &mut right_typed)?;
        }
        if !left_typed.types.overlap(right_typed.types) {
            let (a, b) = (self.source(left), self.source(right));
            let message =
                format!("never true: `{a}` is {} and `{b}` is {}", left_typed.types, right_typed.types);
            let suggestion = epoch_hint(&left_typed, right)
                .map(|time| format!("{a} {operator} {time}"))
                .or_else(|| Some(format!("{} {operator} {b}", epoch_hint(&right_typed, left)?)));
            return self.error(ParseErrorKind::Misuse, whole.span, message, suggestion);
        }
        Some(Predicate::Compare(operator, left_typed.term, right_typed.term))
    }

    /// The index of the identifier that `expr` names, if it does.
    fn identifier(&self, expr: &Expr) -> Option<usize> {
        let Node::Name(name) = &expr.node else { return None };
        match self.meaning(name)? {
            Meaning::Identifier(index) => Some(index),
            _ => None,
        }
    }

    fn identifier_is(
        &mut self,
        whole: &Expr,
        index: usize,
        operator: Comparison,
        name: &Expr,
        value: &Expr,
    ) -> Option<Predicate> {
        let text = match &value.node {
            Node::Text(text) => text.clone(),
            Node::Number { text, .. } => text.clone(),
            Node::Negate(inner) => match &inner.node {
                Node::Number { text, .. } => format!("-{text}"),
                _ => return self.misuse(whole.span, IDENTIFIER_RULE),
            },
            _ => {
                // For the mistakes in it.
                self.term(value)?;
                return self.misuse(whole.span, IDENTIFIER_RULE);
            }
        };
        match operator {
            Comparison::Equal => Some(Predicate::IdentifierIs(index, text)),
            Comparison::NotEqual => {
                let instead = format!("not {} == {}", self.source(name), self.source(value));
                self.error(ParseErrorKind::Misuse, whole.span, IDENTIFIER_RULE, Some(instead))
            }
            _ => self.misuse(whole.span, IDENTIFIER_RULE),
        }
    }

    fn has(&mut self, whole: &Expr, name: &Name) -> Option<Predicate> {
        match self.known(name, false)? {
            Meaning::Identifier(index) => Some(Predicate::HasIdentifier(index)),
            Meaning::Trait(index) => Some(Predicate::HasValue(Term::Trait(index))),
            Meaning::Field(path) => Some(Predicate::HasValue(Term::Field(path))),
            Meaning::Now => self.misuse(name.span, "`now` always has a value"),
            Meaning::Segment => self.not_a_value(name, whole.span),
        }
    }

    fn in_segment(&mut self, name: &Name) -> Option<Predicate> {
        let Some(names) = self.names else {
            return self
                .misuse(name.span, "`in_segment` can't be used in `where`, which sees one event only");
        };
        if let Some(index) = names.segments.iter().position(|segment| *segment == name.text) {
            return Some(Predicate::InSegment(index));
        }
        let suggestion = nearest(&name.text, names.segments.iter().map(String::as_str)).map(written);
        match self.meaning(name) {
            Some(Meaning::Trait(_)) => self.error(
                ParseErrorKind::Misuse,
                name.span,
                format!("`{}` is a trait, no segment", name.text),
                suggestion,
            ),
            Some(Meaning::Identifier(_)) => {
                let message = format!("`{}` is an identifier, no segment", name.text);
                self.error(ParseErrorKind::Misuse, name.span, message, suggestion)
            }
            _ => {
                let message = format!("no segment is named `{}`", name.text);
                self.error(ParseErrorKind::UnknownName, name.span, message, suggestion)
            }
        }
    }

    /// A name where a predicate is expected: says how to make one of it.
    fn name_alone(&mut self, name: &Name) -> Option<Predicate> {
        let source = &self.text[name.span.0..name.span.1];
        let names = self.names;
        let is_time = |index: usize| names.is_some_and(|names| names.is_time(index));
        let hint = match self.known(name, true)? {
            Meaning::Segment => return self.not_a_value(name, name.span),
            Meaning::Identifier(_) => format!("write `has({source})` or `{source} == \"…\"`"),
            Meaning::Trait(index) if is_time(index) => {
                format!("write a comparison such as `now - {source} < 30d` or `has({source})`")
            }
            Meaning::Trait(_) => format!("write a comparison such as `{source} > 0` or `has({source})`"),
            Meaning::Field(_) => format!("write a comparison such as `{source} == true` or `has({source})`"),
            Meaning::Now => "write a comparison such as `now > \"2026-01-01T00:00:00Z\"`".to_owned(),
        };
        self.misuse(name.span, format!("`{source}` is not a predicate: {hint}"))
    }

    fn term(&mut self, expr: &Expr) -> Option<Typed> {
        let literal = |value: Value, types: Types| Some(Typed { term: Term::Literal(value), types });
        match &expr.node {
            Node::Bool(value) => literal(Value::Bool(*value), Types::BOOL),
            Node::Number { value, .. } => literal(Value::Number(*value), Types::NUMBER),
            Node::Duration(value) => literal(Value::Span(*value), Types::SPAN),
            Node::Text(text) => literal(Value::String(text.as_str().into()), Types::STRING),
            Node::Name(name) => self.name_term(name),
            Node::Negate(inner) => self.negate(expr, inner),
            Node::Arithmetic(operator, left, right) => self.arithmetic(expr, *operator, left, right),
            Node::Broken(_) => {
                self.predicate(expr);
                None
            }
            Node::Or(_)
            | Node::And(_)
            | Node::Not(_)
            | Node::Compare(..)
            | Node::Has(_)
            | Node::InSegment(_) => {
                self.predicate(expr)?;
                let message = format!("`{}` is a predicate, where a value is expected", self.source(expr));
                self.misuse(expr.span, message)
            }
        }
    }

    fn name_term(&mut self, name: &Name) -> Option<Typed> {
        match self.known(name, true)? {
            Meaning::Now => Some(Typed { term: Term::Now, types: Types::TIME }),
            Meaning::Trait(index) => {
                let is_time = self.names.is_some_and(|names| names.is_time(index));
                let types = if is_time { Types::TIME } else { Types::SCALAR };
                Some(Typed { term: Term::Trait(index), types })
            }
            Meaning::Field(path) => Some(Typed { term: Term::Field(path), types: Types::SCALAR }),
            Meaning::Identifier(_) => self.misuse(name.span, IDENTIFIER_RULE),
            Meaning::Segment => self.not_a_value(name, name.span),
        }
    }

    /// A negative literal, or the term times -1, which numbers and durations know.
    fn negate(&mut self, whole: &Expr, inner: &Expr) -> Option<Typed> {
        let inner_typed = self.term(inner)?;
        let minus_one = Term::Literal(Value::Number(Decimal(-Decimal::ONE.0)));
        let term = match inner_typed.term {
            Term::Literal(Value::Number(number)) => Term::Literal(Value::Number(Decimal(-number.0))),
            Term::Literal(Value::Span(span)) => Term::Literal(Value::Span(Millis(-span.0))),
            other => Term::Arithmetic(Arithmetic::Multiply, minus_one.into(), other.into()),
        };
        let types = Types::arithmetic(Arithmetic::Multiply, Types::NUMBER, inner_typed.types);
        if types.is_empty() {
            let message = format!("always null: `{}` is {}", self.source(inner), inner_typed.types);
            return self.misuse(whole.span, message);
        }
        Some(Typed { term, types })
    }

    fn arithmetic(&mut self, whole: &Expr, operator: Arithmetic, left: &Expr, right: &Expr) -> Option<Typed> {
        let (left_typed, right_typed) = (self.term(left), self.term(right));
        let (mut left_typed, mut right_typed) = (left_typed?, right_typed?);
        let is_sum = operator == Arithmetic::Add;
        if is_sum || operator == Arithmetic::Subtract {
            // Only a time can stand left of a duration in a sum or difference, or right of it in a sum.
            if right_typed.types == Types::TIME || right_typed.types == Types::SPAN {
                self.settle_time(left, &mut left_typed)?;
            } else if left_typed.types == Types::TIME || (is_sum && left_typed.types == Types::SPAN) {
                self.settle_time(right, &mut right_typed)?;
            }
        }
        let types = Types::arithmetic(operator, left_typed.types, right_typed.types);
        if types.is_empty() {
            let (a, b) = (self.source(left), self.source(right));
            let message =
                format!("always null: `{a}` is {} and `{b}` is {}", left_typed.types, right_typed.types);
            return self.misuse(whole.span, message);
        }
        Some(Typed {
            term: Term::Arithmetic(operator, left_typed.term.into(), right_typed.term.into()),
            types,
        })
    }

    /// Reads a string literal as a time; anything else stays what it is.
    fn settle_time(&mut self, expr: &Expr, typed: &mut Typed) -> Option<()> {
        let Term::Literal(Value::String(text)) = &typed.term else { return Some(()) };
        let problem = match Timestamp::parse(text.as_bytes()) {
            Ok(time) if (Timestamp::MIN..=Timestamp::MAX).contains(&time) => {
                *typed = Typed { term: Term::Literal(Value::Time(time)), types: Types::TIME };
                return Some(());
            }
            Ok(_) => TimeError::OutOfRange,
            Err(problem) => problem,
        };
        let suggestion = ["Z", "T00:00:00Z", ":00Z"]
            .map(|end| format!("{text}{end}"))
            .into_iter()
            .find(|fixed| Timestamp::parse(fixed.as_bytes()).is_ok())
            .map(|fixed| format!("\"{fixed}\""));
        let message = format!("a time is expected here: {problem}");
        self.error(ParseErrorKind::Misuse, expr.span, message, suggestion)
    }

    /// Reports a segment that stands where a trait or identifier could, or in `has()`.
    fn not_a_value<T>(&mut self, name: &Name, span: Span) -> Option<T> {
        let source = &self.text[name.span.0..name.span.1];
        let message = format!("`{}` is a segment", name.text);
        self.error(ParseErrorKind::Misuse, span, message, Some(format!("in_segment({source})")))
    }

    fn source(&self, expr: &Expr) -> &str {
        &self.text[expr.span.0..expr.span.1]
    }

    pub(super) fn misuse<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.error(ParseErrorKind::Misuse, span, message, None)
    }

    /// Reports an error; always `None`, the result of whatever has one.
    pub(super) fn error<T>(
        &mut self,
        kind: ParseErrorKind,
        span: Span,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> Option<T> {
        let mut error = ParseError::new(kind, self.text, span, message);
        error.suggestion = suggestion;
        self.errors.push(error);
        None
    }
}

/// What to write instead of epoch milliseconds next to a time.
fn epoch_hint(other: &Typed, literal: &Expr) -> Option<String> {
    let Node::Number { text, .. } = &literal.node else { return None };
    let time = Timestamp(text.parse().ok()?);
    let plausible = other.types == Types::TIME && time.0 >= 100_000_000_000 && time <= Timestamp::MAX;
    plausible.then(|| format!("\"{time}\""))
}
