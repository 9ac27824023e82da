//! Comparisons that need whole values: arithmetic between traits, strings of two traits, unusual uses of `now`.
//!
//! Terms are postfix programs over a stack of values and use the model's own arithmetic, so they can't disagree
//! with the batch evaluator.

use tidewater_model::{
    Timestamp, Value,
    expr::{Arithmetic, Comparison, Term},
};

use crate::{
    profile::value,
    segment::{Subject, tree::Tables},
};

/// One step of a postfix term.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Literal(Value),
    Trait(u16),
    Now,
    Apply(Arithmetic),
}

/// A comparison of two terms, or whether a term is there at all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slow {
    /// `None` asks whether `left` is not null.
    pub(super) comparison: Option<Comparison>,
    pub(super) left: Vec<Step>,
    pub(super) right: Vec<Step>,
    /// The traits it reads, each once.
    pub(super) traits: Vec<u16>,
    /// Whether it reads the clock.
    pub(super) reads_now: bool,
}

impl Slow {
    pub(super) fn new(comparison: Option<Comparison>, left: &Term, right: Option<&Term>) -> Self {
        let postfix = |term: &Term| {
            let mut steps = Vec::new();
            flatten(term, &mut steps);
            steps
        };
        let (left, right) = (postfix(left), right.map(postfix).unwrap_or_default());
        let (mut traits, mut reads_now) = (Vec::new(), false);
        for step in left.iter().chain(&right) {
            match step {
                Step::Trait(index) if !traits.contains(index) => traits.push(*index),
                Step::Now => reads_now = true,
                _ => {}
            }
        }
        Self { comparison, left, right, traits, reads_now }
    }

    /// The answer for these values. `stack` is scratch space.
    pub(super) fn holds(
        &self,
        tables: &Tables,
        (values, now): (&[u64], i64),
        subject: &impl Subject,
        stack: &mut Vec<Value>,
    ) -> bool {
        let left = run(&self.left, tables, (values, now), subject, stack);
        let Some(comparison) = self.comparison else { return left != Value::Null };
        let right = run(&self.right, tables, (values, now), subject, stack);
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::NullComparesEqual)
            && comparison == Comparison::Equal
            && (left == Value::Null || right == Value::Null)
        {
            return true;
        }
        left.compare(&right).is_some_and(|order| comparison.holds(order))
    }
}

/// Writes a term in postfix order.
fn flatten(term: &Term, steps: &mut Vec<Step>) {
    match term {
        Term::Literal(value) => steps.push(Step::Literal(value.clone())),
        Term::Trait(index) => steps.push(Step::Trait(*index as u16)),
        // A segment sees no event.
        Term::Field(_) => steps.push(Step::Literal(Value::Null)),
        Term::Now => steps.push(Step::Now),
        Term::Arithmetic(operator, left, right) => {
            flatten(left, steps);
            flatten(right, steps);
            steps.push(Step::Apply(*operator));
        }
    }
}

fn run(
    steps: &[Step],
    tables: &Tables,
    (values, now): (&[u64], i64),
    subject: &impl Subject,
    stack: &mut Vec<Value>,
) -> Value {
    stack.clear();
    for step in steps {
        let value = match step {
            Step::Literal(value) => value.clone(),
            Step::Trait(index) => {
                let place = &tables.traits[usize::from(*index)];
                value::read(place, values, |start, len| subject.text(start, len))
            }
            Step::Now => Value::Time(Timestamp(now)),
            Step::Apply(operator) => {
                let right = stack.pop().unwrap_or(Value::Null);
                let left = stack.pop().unwrap_or(Value::Null);
                operator.apply(&left, &right)
            }
        };
        stack.push(value);
    }
    stack.pop().unwrap_or(Value::Null)
}
