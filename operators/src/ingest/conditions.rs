//! `where` conditions, compiled to the places where the scanner leaves an event's values.

use std::{borrow::Cow, cmp::Ordering};

use tidewater_model::{
    Decimal, Value,
    expr::{Arithmetic, Comparison, Predicate, Term},
};

use super::{
    json::{Field, Fields, Node, PathTree, unescape},
    values::parse_number,
};

/// A condition on an event's own fields; `Predicate` with paths resolved. A comparison with null or across types is
/// no, but a field's string that is a JSON number is one where it meets a number.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The same answer for every event.
    Always(bool),
    /// Yes if all are.
    And(Box<[Condition]>),
    /// Yes if one is.
    Or(Box<[Condition]>),
    /// The other answer.
    Not(Box<Condition>),
    /// A field against a literal that a field can be equal to: by far the most common question.
    Field(Node, Comparison, Literal),
    /// The field is not null.
    Has(Node),
    /// Any two terms.
    Compare(Comparison, Operand, Operand),
    /// The term is not null.
    HasValue(Operand),
}

/// A literal of a type that fields have.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Bool(bool),
    Number(Decimal),
    Text(Box<[u8]>),
}

/// A term with its paths resolved.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Value(Value),
    Field(Node),
    Arithmetic(Arithmetic, Box<Operand>, Box<Operand>),
}

/// A field's value without a copy of its text.
#[derive(Clone, Debug, PartialEq)]
enum FieldValue<'a> {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(Cow<'a, [u8]>),
}

impl Condition {
    /// Compiles a predicate; adds the paths it needs to `tree`. What has no meaning in a condition, such as traits
    /// and `now`, is null, or no.
    pub(super) fn new(predicate: &Predicate, tree: &mut PathTree) -> Self {
        let mut each = |all: &[Predicate]| all.iter().map(|one| Self::new(one, tree)).collect();
        match predicate {
            Predicate::And(all) => Self::And(each(all)),
            Predicate::Or(any) => Self::Or(each(any)),
            Predicate::Not(inner) => Self::Not(Box::new(Self::new(inner, tree))),
            Predicate::Compare(comparison, left, right) => Self::compare(*comparison, left, right, tree),
            Predicate::HasValue(term) => match Operand::new(term, tree) {
                Operand::Field(node) => Self::Has(node),
                Operand::Value(value) => Self::Always(value != Value::Null),
                arithmetic => Self::HasValue(arithmetic),
            },
            Predicate::HasIdentifier(_) | Predicate::IdentifierIs(..) | Predicate::InSegment(_) => {
                Self::Always(false)
            }
        }
    }

    fn compare(comparison: Comparison, left: &Term, right: &Term, tree: &mut PathTree) -> Self {
        match (Operand::new(left, tree), Operand::new(right, tree)) {
            (Operand::Field(node), Operand::Value(value)) => Self::field(node, comparison, value),
            (Operand::Value(value), Operand::Field(node)) => Self::field(node, mirrored(comparison), value),
            (left, right) => Self::Compare(comparison, left, right),
        }
    }

    fn field(node: Node, comparison: Comparison, value: Value) -> Self {
        let literal = match value {
            Value::Bool(value) => Literal::Bool(value),
            Value::Number(value) => Literal::Number(value),
            Value::String(text) => Literal::Text(text.as_bytes().into()),
            // No field has one of these types.
            Value::Null | Value::Time(_) | Value::Span(_) => return Self::Always(false),
        };
        Self::Field(node, comparison, literal)
    }

    /// The answer for an event. `scratch` is used for strings with escapes.
    pub(super) fn holds(&self, fields: Fields<'_>, scratch: &mut Vec<u8>) -> bool {
        match self {
            Self::Always(answer) => *answer,
            Self::And(all) => all.iter().all(|one| one.holds(fields, scratch)),
            Self::Or(any) => any.iter().any(|one| one.holds(fields, scratch)),
            Self::Not(inner) => !inner.holds(fields, scratch),
            Self::Field(node, comparison, literal) => {
                order(fields.get(*node), literal, scratch).is_some_and(|order| comparison.holds(order))
            }
            Self::Has(node) => FieldValue::new(fields.get(*node)) != FieldValue::Null,
            Self::Compare(comparison, left, right) => {
                let (a, b) = (left.value(fields), right.value(fields));
                let order = match (&a, &b) {
                    (Value::Number(_), Value::String(_)) => a.compare(&right.number(fields)),
                    (Value::String(_), Value::Number(_)) => left.number(fields).compare(&b),
                    _ => a.compare(&b),
                };
                order.is_some_and(|order| comparison.holds(order))
            }
            Self::HasValue(operand) => operand.value(fields) != Value::Null,
        }
    }
}

impl Operand {
    fn new(term: &Term, tree: &mut PathTree) -> Self {
        match term {
            Term::Literal(value) => Self::Value(value.clone()),
            Term::Field(path) => Self::Field(tree.want(path)),
            Term::Trait(_) | Term::Now => Self::Value(Value::Null),
            Term::Arithmetic(operator, left, right) => {
                Self::Arithmetic(*operator, Box::new(Self::new(left, tree)), Box::new(Self::new(right, tree)))
            }
        }
    }

    fn value(&self, fields: Fields<'_>) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Field(node) => FieldValue::new(fields.get(*node)).into(),
            Self::Arithmetic(operator, left, right) => {
                operator.apply(&left.number(fields), &right.number(fields))
            }
        }
    }

    /// The value where a number is asked for.
    fn number(&self, fields: Fields<'_>) -> Value {
        match (self, self.value(fields)) {
            (Self::Field(_), Value::String(text)) => {
                parse_number(text.as_bytes()).map_or(Value::String(text), Value::Number)
            }
            (_, value) => value,
        }
    }
}

impl<'a> FieldValue<'a> {
    fn new(field: Field<'a>) -> Self {
        match field {
            Field::Null | Field::Array(_) | Field::Object => Self::Null,
            Field::Bool(value) => Self::Bool(value),
            Field::Number(text) => parse_number(text).map_or(Self::Null, Self::Number),
            Field::Text(text) => Self::Text(Cow::Borrowed(text)),
            Field::Escaped(raw) => {
                let mut text = Vec::new();
                unescape(raw, &mut text);
                Self::Text(Cow::Owned(text))
            }
        }
    }
}

impl From<FieldValue<'_>> for Value {
    fn from(value: FieldValue<'_>) -> Self {
        match value {
            FieldValue::Null => Self::Null,
            FieldValue::Bool(value) => Self::Bool(value),
            FieldValue::Number(value) => Self::Number(value),
            FieldValue::Text(text) => Self::String(String::from_utf8_lossy(&text).into()),
        }
    }
}

/// How a field compares with a literal; `None` across types.
#[inline]
fn order(field: Field<'_>, literal: &Literal, scratch: &mut Vec<u8>) -> Option<Ordering> {
    match (field, literal) {
        (Field::Number(text), Literal::Number(literal)) => Some(parse_number(text)?.cmp(literal)),
        (Field::Text(text), Literal::Text(literal)) => Some(text.cmp(literal)),
        (Field::Text(text), Literal::Number(literal)) => Some(parse_number(text)?.cmp(literal)),
        (Field::Bool(value), Literal::Bool(literal)) => Some(value.cmp(literal)),
        (Field::Escaped(raw), Literal::Number(literal)) => {
            scratch.clear();
            unescape(raw, scratch);
            Some(parse_number(scratch)?.cmp(literal))
        }
        (Field::Escaped(raw), Literal::Text(literal)) => {
            scratch.clear();
            unescape(raw, scratch);
            Some(scratch.as_slice().cmp(literal))
        }
        _ => None,
    }
}

/// The comparison with its sides exchanged.
fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        Comparison::Equal | Comparison::NotEqual => comparison,
    }
}
