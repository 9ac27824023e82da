//! The whole contract in one function: clusters, traits and memberships of a list of accepted events.

use tidewater_model::{
    HashKey, PipelineSpec, Profile, ProfileId, RejectReason, Timestamp,
    base::{BaseFacts, BaseIdentifier},
};

use crate::{
    event::ReadEvent,
    identifier::IdentifierRules,
    identity::{Cluster, Identities, Unlinked},
    json::Object,
    segments::{ProfileScope, in_dependency_order},
    traits::Tally,
};

/// One accepted event of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place in the log; no two events share one.
    pub place: u64,
    /// The wall clock when it was accepted: its time, if it has none of its own.
    pub accepted_at: Timestamp,
    /// As received.
    pub bytes: &'a [u8],
}

/// What the contract says about a list of events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sorted by id.
    pub profiles: Vec<Profile>,
    /// Every identifier of every cluster, also of those that are no profiles: index of the identifier, value, id of
    /// the cluster. Sorted by identifier and value.
    pub identities: Vec<(usize, String, ProfileId)>,
    /// Index of the segment and profile, sorted by the segment's name and the profile's id.
    pub memberships: Vec<(usize, ProfileId)>,
    /// Places of events that can't be used, and why; the accepted events of a sound log have none.
    pub unusable: Vec<(u64, RejectReason)>,
}

/// Evaluates `spec` over `events` as of `now`. The order of the slice changes nothing; places do.
///
/// Events are not held against the wall clock, `min_time` or for duplicates: that was decided when they were accepted.
pub fn evaluate(spec: &PipelineSpec, key: HashKey, events: &[Event<'_>], now: Timestamp) -> Outcome {
    evaluate_with(spec, key, events, now, &Unlinked::default())
}

/// Like [`evaluate`], as if the links in `unlinked` had never been asserted.
pub fn evaluate_with(
    spec: &PipelineSpec,
    key: HashKey,
    events: &[Event<'_>],
    now: Timestamp,
    unlinked: &Unlinked,
) -> Outcome {
    evaluate_from(spec, key, &BaseFacts::default(), events, now, unlinked)
}

/// Like [`evaluate_with`], of all events that `base` is what is left of, and then `events`.
pub fn evaluate_from(
    spec: &PipelineSpec,
    key: HashKey,
    base: &BaseFacts,
    events: &[Event<'_>],
    now: Timestamp,
    unlinked: &Unlinked,
) -> Outcome {
    let rules = IdentifierRules::new(&spec.identifiers);
    let mut outcome = Outcome::default();

    // First who is who. Events are read again for their traits: that is cheaper than keeping them.
    let mut identities = Identities::new(spec);
    let base_nodes = identities.add_base(base);
    let mut owned = Vec::with_capacity(events.len());
    for event in events {
        let read = Object::parse(event.bytes)
            .ok_or(RejectReason::BadJson)
            .and_then(|object| ReadEvent::of_log(&rules, &object, event.accepted_at));
        match read {
            Ok(read) => {
                let time = read.time;
                owned.push(Owned { event, time, owner: identities.add(event.place, read) });
            }
            Err(reason) => outcome.unusable.push((event.place, reason)),
        }
    }
    outcome.unusable.sort_unstable();
    let unlinked = unlinked.and(base);
    let (clusters, cluster_of) = identities.clusters(spec, key, &unlinked);

    // Then what each did.
    let mut events_of: Vec<Vec<Owned<'_>>> = Vec::new();
    events_of.resize_with(clusters.len(), Vec::new);
    for event in owned {
        events_of[cluster_of[event.owner]].push(event);
    }
    let mut base_of: Vec<Vec<&BaseIdentifier>> = Vec::new();
    base_of.resize_with(clusters.len(), Vec::new);
    for (fact, node) in base.identifiers.iter().zip(base_nodes) {
        if let Some(node) = node.filter(|_| fact.owns) {
            base_of[cluster_of[node]].push(fact);
        }
    }
    let order = in_dependency_order(&spec.segments);
    for ((cluster, events), base) in clusters.into_iter().zip(events_of).zip(base_of) {
        let id = cluster.profile;
        for (identifier, value) in &cluster.members {
            outcome.identities.push((*identifier, value.clone(), id));
        }
        // A cluster that owns no event is no profile.
        if !events.is_empty() || !base.is_empty() {
            outcome.profiles.push(profile(spec, cluster, (&base, &events), now, &order));
        }
    }

    outcome.profiles.sort_by_key(|profile| profile.id);
    outcome.identities.sort();
    for profile in &outcome.profiles {
        outcome.memberships.extend(profile.segments.iter().map(|segment| (*segment, profile.id)));
    }
    outcome.memberships.sort_by(|(a, p), (b, q)| {
        let name = |segment: &usize| spec.segments[*segment].name.as_bytes();
        (name(a), p).cmp(&(name(b), q))
    });
    outcome
}

/// An event that counts for the cluster of the node `owner`.
struct Owned<'a> {
    event: &'a Event<'a>,
    time: Timestamp,
    owner: usize,
}

fn profile(
    spec: &PipelineSpec,
    cluster: Cluster,
    (base, events): (&[&BaseIdentifier], &[Owned<'_>]),
    now: Timestamp,
    order: &[usize],
) -> Profile {
    let mut tallies: Vec<Tally<'_>> = spec.traits.iter().map(Tally::new).collect();
    for fact in base {
        fact.totals.iter().for_each(|(index, partial)| tallies[*index].add_partial(partial));
        for (index, up, partial) in &fact.panes {
            tallies[*index].add_pane(*up, partial, now);
        }
        for (index, time, partial) in &fact.waiting {
            tallies[*index].add_waiting(*time, partial, now);
        }
    }
    for event in events {
        if let Some(object) = Object::parse(event.event.bytes) {
            tallies.iter_mut().for_each(|tally| tally.add(&object, event.time, now));
        }
    }
    let traits: Vec<_> = tallies.iter().map(Tally::value).collect();
    let mut identifiers = vec![Vec::new(); spec.identifiers.len()];
    for (identifier, value) in cluster.members {
        identifiers[identifier].push(value);
    }
    let segments = ProfileScope::new(&traits, &identifiers, now).segments(&spec.segments, order);
    Profile { id: cluster.profile, identifiers, traits, segments }
}
