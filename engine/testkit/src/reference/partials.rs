//! Traits: partial aggregates per identifier, moved to clusters by a join and finished there.
//!
//! What can be subtracted (counts and sums) travels in the *difference* of a record, so that no reduce is needed
//! before the join and a retraction leaves nothing behind. What can't (least, greatest, first, last) is reduced to
//! one candidate per identifier first: a merge then moves one record an identifier and trait, not its events.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use serde::{Deserialize, Serialize};
use tidewater_model::{Aggregate, Decimal, Scalar, Timestamp, Value};

use super::collection::{Cluster, Collection, Identifier, KeyedCollectionExt};

/// A count and a sum in units of 10^-9, as a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) count: i64,
    pub(super) units: i128,
}

impl IsZero for Tally {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Tally {
    fn plus_equals(&mut self, other: &Self) {
        self.count += other.count;
        self.units += other.units;
    }
}

impl Monoid for Tally {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for Tally {
    fn negate(&mut self) {
        *self = self.multiply(&-1);
    }
}

impl Multiply<isize> for Tally {
    type Output = Self;

    fn multiply(self, times: &isize) -> Self {
        Self { count: self.count * *times as i64, units: self.units * *times as i128 }
    }
}

/// One of the things of which the least, greatest, first or last is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Candidate {
    Number(Decimal),
    Time(Timestamp),
    Scalar(Timestamp, Scalar),
}

impl Candidate {
    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Number(_) => None,
            Self::Time(time) | Self::Scalar(time, _) => Some(*time),
        }
    }
}

/// What a cluster has gathered for one trait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Gathered {
    Tally(Tally),
    Best(Candidate),
}

/// A partial aggregate belongs to an identifier, then to a cluster, and to a trait.
pub(super) type Keyed<Holder> = (Holder, usize);

/// Extension trait for counts and sums.
pub(super) trait MoveTallies<'scope> {
    /// Adds up, per cluster and trait, the tallies of the cluster's members.
    fn move_tallies(
        self,
        assignments: Collection<'scope, (Identifier, Cluster)>,
    ) -> Collection<'scope, (Cluster, (usize, Gathered))>;
}

impl<'scope> MoveTallies<'scope> for Collection<'scope, Keyed<Identifier>, Tally> {
    fn move_tallies(
        self,
        assignments: Collection<'scope, (Identifier, Cluster)>,
    ) -> Collection<'scope, (Cluster, (usize, Gathered))> {
        self.join_as("MoveTallies", assignments, |_owner, part, cluster| (cluster.clone(), *part))
            .map(|key| (key, ()))
            // The sum stands in the difference; from here on it is data.
            .reduce_named("AddUpTallies", |_key, sums: &[(&(), Tally)], output: &mut Vec<(Tally, isize)>| {
                output.extend(sums.iter().map(|(_, sum)| (*sum, 1)));
            })
            .map(|((cluster, part), sum)| (cluster, (part, Gathered::Tally(sum))))
    }
}

/// Extension trait for what has a best candidate.
pub(super) trait MoveCandidates<'scope> {
    /// Keeps, per cluster and trait, the best candidate of the cluster's members. `aggregates` says, per trait, what
    /// is best.
    fn move_candidates(
        self,
        aggregates: &[Aggregate],
        assignments: Collection<'scope, (Identifier, Cluster)>,
    ) -> Collection<'scope, (Cluster, (usize, Gathered))>;
}

impl<'scope> MoveCandidates<'scope> for Collection<'scope, (Keyed<Identifier>, Candidate)> {
    fn move_candidates(
        self,
        aggregates: &[Aggregate],
        assignments: Collection<'scope, (Identifier, Cluster)>,
    ) -> Collection<'scope, (Cluster, (usize, Gathered))> {
        let partials = self.keep_best("BestOfIdentifier", aggregates);
        partials
            .map(|((owner, part), best)| (owner, (part, best)))
            .join_as("MoveCandidates", assignments, |_owner, (part, best), cluster| {
                ((cluster.clone(), *part), best.clone())
            })
            .keep_best("BestOfCluster", aggregates)
            .map(|((cluster, part), best)| (cluster, (part, Gathered::Best(best))))
    }
}

trait KeepBest<'scope> {
    fn keep_best(
        self,
        name: &str,
        aggregates: &[Aggregate],
    ) -> Collection<'scope, (Keyed<Identifier>, Candidate)>;
}

impl<'scope> KeepBest<'scope> for Collection<'scope, (Keyed<Identifier>, Candidate)> {
    fn keep_best(
        self,
        name: &str,
        aggregates: &[Aggregate],
    ) -> Collection<'scope, (Keyed<Identifier>, Candidate)> {
        let aggregates = aggregates.to_vec();
        self.reduce_named(name, move |(_, part), input: &[(&Candidate, isize)], output| {
            output.extend(best(&aggregates[*part], input).map(|best| (best.clone(), 1)));
        })
    }
}

/// The best of candidates in ascending order.
fn best<'a>(aggregate: &Aggregate, candidates: &[(&'a Candidate, isize)]) -> Option<&'a Candidate> {
    let first = candidates.first().map(|(candidate, _)| *candidate);
    match aggregate {
        Aggregate::Max(_) | Aggregate::Last(_) | Aggregate::LastTime => {
            candidates.last().map(|(candidate, _)| *candidate)
        }
        // Of the scalars at the earliest time the greatest.
        Aggregate::First(_) => {
            let earliest = first.and_then(Candidate::time);
            let at_once = candidates.iter().take_while(|(candidate, _)| candidate.time() == earliest);
            at_once.last().map(|(candidate, _)| *candidate)
        }
        Aggregate::Min(_)
        | Aggregate::FirstTime
        | Aggregate::Count
        | Aggregate::Sum(_)
        | Aggregate::Avg(_) => first,
    }
}

/// The value of a trait of which `gathered` was gathered.
pub(super) fn value(aggregate: &Aggregate, gathered: Option<&Gathered>) -> Value {
    let tally = match gathered {
        Some(Gathered::Best(Candidate::Number(number))) => return Value::Number(*number),
        Some(Gathered::Best(Candidate::Time(time))) => return Value::Time(*time),
        Some(Gathered::Best(Candidate::Scalar(_, scalar))) => return scalar.clone().into(),
        Some(Gathered::Tally(tally)) => *tally,
        None => Tally::default(),
    };
    match aggregate {
        Aggregate::Count => Value::Number(Decimal::from_int(tally.count)),
        Aggregate::Sum(_) => Value::Number(Decimal(tally.units)),
        Aggregate::Avg(_) => {
            Decimal::div_int(tally.units, tally.count as u64).map_or(Value::Null, Value::Number)
        }
        _ => Value::Null,
    }
}
