//! Stage 4, only when a link went away: the cluster it was in is solved again, at its home.
//!
//! Cost follows the affected cluster and nothing else. Every member's values are added anew to the part it ends
//! in, so aggregates need no inverse.

use rustc_hash::FxHashMap;

use crate::{
    identity::{
        messages::{Outbox, Relabel, Vertex},
        state::State,
    },
    profile::record::{CLUSTER, FRESH, First, GONE, Header, HeaderMut, Label, NEVER, NONE, REPUBLISHED},
};

impl State {
    /// This worker's members of a dirty cluster, for its home. They stay without a list until they are relabelled.
    pub(crate) fn vertices(&mut self, cluster: Label) -> Vec<Vertex> {
        let members = self.local_members(cluster);
        self.remote_heads.remove(&cluster);
        let vertex = |node: u32| {
            let record = self.slab.get(node);
            let links = self.links[record.low(3) as usize].iter().map(|link| link.other).collect();
            let node = Label { worker: self.worker as u8, record: node };
            Vertex { cluster, node, first: record.first_mention(), links }
        };
        members.into_iter().map(vertex).collect()
    }

    /// Solves a cluster of this home from all its members; they are to be relabelled as the outbox says.
    pub(crate) fn solve(&mut self, cluster: u32, mut vertices: Vec<Vertex>, out: &mut Outbox) {
        vertices.sort_unstable_by_key(|vertex| vertex.first.hash);
        let from = self.slab.get(cluster).hash();
        self.epoch.joins.retain(|join| join.cluster != cluster);
        // Touching it first keeps its old values, for the reason of a change.
        self.touch(cluster);
        self.clear_members(cluster);
        self.clear_values(cluster);
        let mut parts = components(&vertices);
        // A cluster that holds together all the same was not split.
        let from = Some(from).filter(|_| parts.len() > 1);
        // The largest part keeps the record; which one it is shows nowhere outside.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        if parts.first().is_none_or(|part| part.len() < 2) {
            self.slab.get_mut(cluster).set(GONE);
            self.epoch.dissolved.push(cluster);
        }
        for (number, part) in parts.iter().enumerate() {
            let label = (part.len() > 1).then(|| {
                let first = self.first_of(part, &vertices);
                let record = if number == 0 { cluster } else { self.slab.allocate() };
                self.renew(record, part.len() as u32, &first, from);
                Label { worker: self.worker as u8, record }
            });
            let relabels = part.iter().map(|place| Relabel { node: vertices[*place].node, label, from });
            out.relabels.extend(relabels);
        }
    }

    fn first_of(&self, part: &[usize], vertices: &[Vertex]) -> First {
        let mut firsts = part.iter().map(|place| vertices[*place].first);
        let mut best = firsts.next().unwrap_or_else(|| vertices[0].first);
        for first in firsts {
            if first.compare(&best, &self.texts).is_lt() {
                best = first;
            }
        }
        best
    }

    /// Makes a record an empty cluster that is put together and published at the end of the epoch.
    fn renew(&mut self, record: u32, size: u32, first: &First, from: Option<u128>) {
        let plan = std::sync::Arc::clone(&self.plan);
        let words = self.slab.get_mut(record);
        if !words.has(CLUSTER) {
            plan.layout.clear(&mut words[plan.layout.values..]);
            words.set_due(NEVER);
        }
        // Whether it owns an event shows when its members are added.
        words.unset(crate::profile::record::OWNS);
        words.set(CLUSTER | FRESH);
        words.set_first(first);
        words.set_low(2, NONE);
        words.set_high(2, size);
        if !words.has(REPUBLISHED) {
            words.set(REPUBLISHED);
            self.epoch.republished.push(record);
        }
        self.epoch.split_from.insert(record, from);
        self.touch(record);
    }

    /// Puts a node of this worker where its cluster's home says.
    pub(crate) fn relabel(&mut self, relabel: &Relabel, out: &mut Outbox) {
        let node = relabel.node.record;
        if let Some(label) = relabel.label {
            #[cfg(feature = "planted-bugs")]
            if crate::planted::active(crate::planted::Bug::PartialDroppedOnSplit) {
                self.attach(node, label);
                return;
            }
            self.move_member(node, label, out);
            return;
        }
        let label = Label { worker: self.worker as u8, record: node };
        let record = self.slab.get_mut(node);
        record.set_label(label);
        record.set_high(2, NONE);
        self.epoch.split_from.insert(node, relabel.from);
        self.epoch.created.push(node);
        self.touch(node);
    }
}

/// The connected components of a cluster's members, as places in `vertices`.
fn components(vertices: &[Vertex]) -> Vec<Vec<usize>> {
    let place: FxHashMap<u128, usize> =
        vertices.iter().enumerate().map(|(place, vertex)| (vertex.first.hash, place)).collect();
    let mut parent: Vec<usize> = (0..vertices.len()).collect();
    for (own, vertex) in vertices.iter().enumerate() {
        // A link leads out of the cluster only while its own assertion is still on its way in this epoch.
        for other in vertex.links.iter().filter_map(|other| place.get(other)) {
            let (a, b) = (root(&mut parent, own), root(&mut parent, *other));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut part_of: FxHashMap<usize, usize> = FxHashMap::default();
    for own in 0..vertices.len() {
        let root = root(&mut parent, own);
        let part = *part_of.entry(root).or_insert_with(|| {
            parts.push(Vec::new());
            parts.len() - 1
        });
        parts[part].push(own);
    }
    parts
}

fn root(parent: &mut [usize], mut of: usize) -> usize {
    while parent[of] != of {
        parent[of] = parent[parent[of]];
        of = parent[of];
    }
    of
}
