//! The hot operators a second time, as anyone would write them with differential dataflow: what the native ones are
//! compared with.
//!
//! ```text
//! events ─ decode ─┬─ links ──────── settle aliases ─ without unlinked ─ resolve clusters ─┐ assignments
//!                  ├─ mentions ───── first place of each identifier ──────────── join ─────┤
//!                  └─ contributions ─ windows (explicit updates) ─ partials ──── join ─────┴─ assemble ─ segments
//! ```
//!
//! One worker, one time per epoch, everything consolidated before it is looked at. It shares no code with the
//! operators, nor with the batch oracle but for its types.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use differential_dataflow::input::{Input, InputSession};
use tidewater_model::{HashKey, PipelineSpec, Profile, ProfileId, Timestamp};
use tidewater_oracle::{Event, Outcome};
use timely::{WorkerConfig, communication::Allocator, dataflow::ProbeHandle, worker::Worker};

mod clusters;
mod collection;
mod decode;
mod json;
mod links;
mod partials;
mod predicate;
mod profiles;
#[cfg(test)]
mod tests;
mod windows;

use self::{
    clusters::ResolveClusters,
    collection::{Collection, CollectionExt, Identifier, KeyedCollectionExt, Time},
    decode::{Contribution, Decoded, Decoder},
    links::{Alias, Link, SettleAliases, WithoutUnlinked},
    partials::{Candidate, Keyed, MoveCandidates, MoveTallies, Tally},
    profiles::{AnswerSegments, AssembleClusters, Assembled, Piece},
    windows::{Fact, Schedule},
};
use crate::generate::Unlink;

/// The reference dataflow of one pipeline, on the calling thread.
pub struct Reference {
    spec: PipelineSpec,
    decoder: Decoder,
    worker: Worker,
    inputs: Inputs,
    probe: ProbeHandle<Time>,
    schedule: Schedule,
    epoch: Time,
    now: Option<Timestamp>,
    clusters: Contents<Assembled>,
    memberships: Contents<(usize, ProfileId)>,
}

/// A collection's records, as of the last epoch.
type Contents<D> = Rc<RefCell<BTreeMap<D, isize>>>;

struct Inputs {
    /// The identifiers that events mention, with the event's place.
    mentions: InputSession<Time, (Identifier, u64), isize>,
    /// Every identifier as often as events carry it.
    carried: InputSession<Time, Identifier, isize>,
    /// The owners of events.
    owners: InputSession<Time, Identifier, isize>,
    links: InputSession<Time, Link, isize>,
    /// Aliases by the user id that their `previousId` can be.
    aliases: InputSession<Time, (Identifier, Alias), isize>,
    unlinked: InputSession<Time, Link, isize>,
    tallies: InputSession<Time, Keyed<Identifier>, Tally>,
    candidates: InputSession<Time, (Keyed<Identifier>, Candidate), isize>,
    now: InputSession<Time, Timestamp, isize>,
}

impl Reference {
    /// An empty dataflow for `spec`.
    pub fn new(spec: &PipelineSpec, key: HashKey) -> Self {
        let allocator = Allocator::Thread(timely::communication::allocator::Thread::default());
        let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
        let probe = ProbeHandle::new();
        let (clusters, memberships) = (Contents::default(), Contents::default());
        let inputs = build(&mut worker, spec, key, &probe, (&clusters, &memberships));
        Self {
            spec: spec.clone(),
            decoder: Decoder::new(spec),
            worker,
            inputs,
            probe,
            schedule: Schedule::default(),
            epoch: 0,
            now: None,
            clusters,
            memberships,
        }
    }

    /// Computes one epoch: accepted events in any order, links taken back for good, and its `now`.
    pub fn epoch(&mut self, events: &[Event<'_>], unlinks: &[Unlink], now: Timestamp) {
        for event in events {
            if let Some(decoded) = self.decoder.decode(event) {
                self.feed(event.place, decoded);
            }
        }
        for (a, b) in unlinks {
            let identifier =
                |(rank, value): &(usize, String)| Identifier { rank: *rank, value: value.clone() };
            self.inputs.unlinked.insert((identifier(a), identifier(b)));
        }
        for (fact, diff) in self.schedule.due(now) {
            self.inputs.contribute(fact, diff);
        }
        if let Some(before) = self.now.replace(now) {
            self.inputs.now.remove(before);
        }
        self.inputs.now.insert(now);
        self.epoch += 1;
        self.inputs.advance_to(self.epoch);
        while self.probe.less_than(&self.epoch) {
            self.worker.step();
        }
    }

    fn feed(&mut self, place: u64, decoded: Decoded) {
        let Decoded { time, owner, carries, previous, contributions } = decoded;
        let inputs = &mut self.inputs;
        for reading in previous {
            let alias = |carries_itself| Alias {
                place,
                owner: owner.clone(),
                anonymous: reading.anonymous.clone(),
                carries_itself,
            };
            match (&reading.user, &reading.anonymous) {
                (Some(user), _) => inputs.aliases.insert((user.clone(), alias(carries.contains(user)))),
                (None, Some(anonymous)) => {
                    inputs.mentions.insert((anonymous.clone(), place));
                    inputs.links.insert((owner.clone(), anonymous.clone()));
                }
                (None, None) => {}
            }
        }
        for (part, contribution) in contributions {
            let fact = Fact { owner: owner.clone(), part, contribution };
            match self.spec.traits[part].window {
                Some(window) => self.schedule.add(fact, time, window),
                None => inputs.contribute(fact, 1),
            }
        }
        inputs.mentions.insert((owner.clone(), place));
        inputs.owners.insert(owner.clone());
        for identifier in carries {
            inputs.mentions.insert((identifier.clone(), place));
            inputs.carried.insert(identifier.clone());
            inputs.links.insert((owner.clone(), identifier));
        }
    }

    /// Everything as of the last epoch, in the order of the oracle's outcome.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for (cluster, count) in self.clusters.borrow().iter() {
            assert_eq!(*count, 1, "a cluster that is there {count} times");
            let id = ProfileId(cluster.id);
            let members = cluster.members.iter().map(|member| (member.rank, member.value.clone(), id));
            outcome.identities.extend(members);
            if cluster.owns {
                outcome.profiles.push(Profile {
                    id,
                    identifiers: cluster.identifiers(&self.spec),
                    traits: cluster.traits(&self.spec),
                    segments: Vec::new(),
                });
            }
        }
        outcome.profiles.sort_by_key(|profile| profile.id);
        outcome.identities.sort();
        for ((segment, profile), count) in self.memberships.borrow().iter() {
            assert_eq!(*count, 1, "a membership that is there {count} times");
            outcome.memberships.push((*segment, *profile));
            if let Ok(at) = outcome.profiles.binary_search_by_key(profile, |profile| profile.id) {
                outcome.profiles[at].segments.push(*segment);
            }
        }
        let name = |segment: usize| self.spec.segments[segment].name.as_bytes();
        outcome.memberships.sort_by(|(a, p), (b, q)| (name(*a), p).cmp(&(name(*b), q)));
        outcome
    }
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("epoch", &self.epoch).field("now", &self.now).finish()
    }
}

impl Inputs {
    fn contribute(&mut self, fact: Fact, diff: isize) {
        let key = (fact.owner, fact.part);
        match fact.contribution {
            Contribution::Tally(Tally { count, units }) => {
                let tally = Tally { count: count * diff as i64, units: units * diff as i128 };
                self.tallies.update(key, tally);
            }
            Contribution::Candidate(candidate) => self.candidates.update((key, candidate), diff),
        }
    }

    /// Ends the epoch on every input. Without the flush nothing would leave the sessions' buffers.
    fn advance_to(&mut self, epoch: Time) {
        macro_rules! advance {
            ($($input:ident),*) => { $(self.$input.advance_to(epoch); self.$input.flush();)* };
        }
        advance!(mentions, carried, owners, links, aliases, unlinked, tallies, candidates, now);
    }
}

/// Reads like the picture at the top of the module.
fn build(
    worker: &mut Worker,
    spec: &PipelineSpec,
    key: HashKey,
    probe: &ProbeHandle<Time>,
    (clusters, memberships): (&Contents<Assembled>, &Contents<(usize, ProfileId)>),
) -> Inputs {
    worker.dataflow_named::<Time, _, _>("Reference", |scope| {
        let (mentions_input, mentions) = scope.new_collection();
        let (carried_input, carried) = scope.new_collection();
        let (owners_input, owners) = scope.new_collection();
        let (links_input, links) = scope.new_collection();
        let (aliases_input, aliases) = scope.new_collection();
        let (unlinked_input, unlinked) = scope.new_collection();
        let (tallies_input, tallies) = scope.new_collection();
        let (candidates_input, candidates) = scope.new_collection();
        let (now_input, now) = scope.new_collection();

        let aliased = aliases.settle_aliases(carried);
        let by_alias = aliased.clone().map(|((_, meant), place)| (meant, place));
        let known = mentions
            .concat(by_alias)
            .reduce_named("FirstPlaces", |_identifier, places: &[(&u64, isize)], output| {
                output.push((*places[0].0, 1isize))
            });
        let assignments = links
            .concat(aliased.map(|(link, _)| link))
            .without_unlinked(unlinked)
            .resolve_clusters(known.clone().map(|(identifier, _)| identifier));

        let aggregates: Vec<_> = spec.traits.iter().map(|part| part.aggregate.clone()).collect();
        let gathered = tallies
            .move_tallies(assignments.clone())
            .concat(candidates.move_candidates(&aggregates, assignments.clone()));
        let members = known.join_as("Members", assignments.clone(), |identifier, place, cluster| {
            (cluster.clone(), Piece::Member(identifier.clone(), *place))
        });
        let owning = owners
            .map(|owner| (owner, ()))
            .join_as("Owning", assignments, |_, (), cluster| (cluster.clone(), Piece::Owns));
        let assembled = members
            .concat(gathered.map(|(cluster, (part, found))| (cluster, Piece::Gathered(part, found))))
            .concat(owning)
            .assemble_clusters(spec, key);
        let answers = assembled.clone().answer_segments(spec, now);

        keep(assembled, "Clusters", clusters, probe);
        keep(answers, "Memberships", memberships, probe);
        Inputs {
            mentions: mentions_input,
            carried: carried_input,
            owners: owners_input,
            links: links_input,
            aliases: aliases_input,
            unlinked: unlinked_input,
            tallies: tallies_input,
            candidates: candidates_input,
            now: now_input,
        }
    })
}

/// Keeps a collection's contents where they can be read between epochs.
fn keep<'scope, D>(
    collection: Collection<'scope, D>,
    name: &str,
    contents: &Contents<D>,
    probe: &ProbeHandle<Time>,
) where
    D: differential_dataflow::ExchangeData + std::hash::Hash,
{
    let contents = Rc::clone(contents);
    collection
        .consolidate_as(name)
        .inspect(move |(record, _epoch, diff)| {
            let mut contents = contents.borrow_mut();
            let count = contents.entry(record.clone()).or_insert(0);
            *count += diff;
            if *count == 0 {
                contents.remove(record);
            }
        })
        .probe_with(probe);
}
