//! Clusters put together: their members, the published id, and what was gathered for each trait.

use serde::{Deserialize, Serialize};
use tidewater_model::{HashKey, PipelineSpec, ProfileId, Timestamp, Value, expr::Term};

use super::{
    collection::{Cluster, Collection, Identifier, KeyedCollectionExt},
    partials::{self, Gathered},
    predicate::{Subject, asks_for_now, holds},
};

/// A cluster with everything that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Assembled {
    /// The published id.
    pub(super) id: u128,
    /// In rank order, then by value.
    pub(super) members: Vec<Identifier>,
    /// Whether a member owns an event: only then it is a profile.
    pub(super) owns: bool,
    /// By index of the trait, ascending; nothing gathered, nothing there.
    pub(super) gathered: Vec<(usize, Gathered)>,
}

/// One piece of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Piece {
    /// A member and the first place in the log that mentions it.
    Member(Identifier, u64),
    /// A member owns an event.
    Owns,
    /// What was gathered for a trait.
    Gathered(usize, Gathered),
}

/// Extension trait for putting clusters together.
pub(super) trait AssembleClusters<'scope> {
    /// Puts together the pieces of each cluster.
    fn assemble_clusters(self, spec: &PipelineSpec, key: HashKey) -> Collection<'scope, Assembled>;
}

impl<'scope> AssembleClusters<'scope> for Collection<'scope, (Cluster, Piece)> {
    fn assemble_clusters(self, spec: &PipelineSpec, key: HashKey) -> Collection<'scope, Assembled> {
        let seeds: Vec<_> = spec.identifiers.iter().map(|spec| key.seed(&spec.name)).collect();
        self.reduce_named("AssembleClusters", move |_cluster, pieces: &[(&Piece, isize)], output| {
            let mut cluster = Assembled::default();
            let mut first: Option<(u64, &Identifier)> = None;
            for (piece, _) in pieces {
                match piece {
                    // Members come sorted, so of those first mentioned together the smallest stays.
                    Piece::Member(identifier, place) => {
                        if first.is_none_or(|(least, _)| *place < least) {
                            first = Some((*place, identifier));
                        }
                        cluster.members.push(identifier.clone());
                    }
                    Piece::Owns => cluster.owns = true,
                    Piece::Gathered(part, gathered) => cluster.gathered.push((*part, gathered.clone())),
                }
            }
            // A piece without a member could only be a mistake, which the comparison then shows.
            cluster.id = first.map_or(0, |(_, first)| seeds[first.rank].hash(first.value.as_bytes()));
            output.push((cluster, 1));
        })
        .map(|(_cluster, assembled)| assembled)
    }
}

impl Assembled {
    /// Its traits' values.
    pub(super) fn traits(&self, spec: &PipelineSpec) -> Vec<Value> {
        let gathered = |at: usize| self.gathered.iter().find(|(part, _)| *part == at).map(|(_, found)| found);
        (0..).zip(&spec.traits).map(|(at, part)| partials::value(&part.aggregate, gathered(at))).collect()
    }

    /// Its values of each identifier.
    pub(super) fn identifiers(&self, spec: &PipelineSpec) -> Vec<Vec<String>> {
        let mut values = vec![Vec::new(); spec.identifiers.len()];
        self.members.iter().for_each(|member| values[member.rank].push(member.value.clone()));
        values
    }
}

/// Extension trait for segments.
pub(super) trait AnswerSegments<'scope> {
    /// Every profile in every segment it is in. `now` holds one time.
    fn answer_segments(
        self,
        spec: &PipelineSpec,
        now: Collection<'scope, Timestamp>,
    ) -> Collection<'scope, (usize, ProfileId)>;
}

impl<'scope> AnswerSegments<'scope> for Collection<'scope, Assembled> {
    fn answer_segments(
        self,
        spec: &PipelineSpec,
        now: Collection<'scope, Timestamp>,
    ) -> Collection<'scope, (usize, ProfileId)> {
        let profiles = self.filter(|cluster| cluster.owns);
        // Only where a segment asks for `now` is every profile looked at again whenever time passes.
        let timed = if spec.segments.iter().any(|segment| asks_for_now(&segment.predicate)) {
            let now = now.map(|now| ((), now));
            profiles
                .map(|cluster| ((), cluster))
                .join_as("WithNow", now, |(), cluster, now| (cluster.clone(), *now))
        } else {
            profiles.map(|cluster| (cluster, Timestamp::default()))
        };
        let spec = spec.clone();
        timed.flat_map(move |(cluster, now)| {
            let facts = Facts { spec: &spec, traits: cluster.traits(&spec), members: &cluster.members, now };
            let answers: Vec<usize> =
                (0..spec.segments.len()).filter(|segment| facts.is_in(*segment)).collect();
            answers.into_iter().map(move |segment| (segment, ProfileId(cluster.id)))
        })
    }
}

/// What a segment's predicate sees of a profile.
struct Facts<'a> {
    spec: &'a PipelineSpec,
    traits: Vec<Value>,
    members: &'a [Identifier],
    now: Timestamp,
}

impl Subject for Facts<'_> {
    fn value(&self, term: &Term) -> Value {
        match term {
            Term::Trait(part) => self.traits[*part].clone(),
            Term::Now => Value::Time(self.now),
            _ => Value::Null,
        }
    }

    fn identifiers(&self, identifier: usize) -> Vec<&str> {
        let own = self.members.iter().filter(|member| member.rank == identifier);
        own.map(|member| member.value.as_str()).collect()
    }

    /// Segments ask for each other without a cycle, so following them ends.
    fn is_in(&self, segment: usize) -> bool {
        holds(&self.spec.segments[segment].predicate, self)
    }
}
