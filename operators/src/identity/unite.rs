//! Stage 3: when all merges of an epoch are known, every worker joins the same clusters in the same way.
//!
//! The merges are sorted and run through one small union-find, so the outcome depends neither on arrival nor on
//! the worker. The larger cluster survives (the smaller side is relabelled, else a cluster that grows one by one
//! would be quadratic); of equal ones the one whose first identifier came first, so that ids rarely change.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    activation::Cause,
    identity::{
        messages::{Merge, Outbox, Side},
        state::{Join, State},
    },
    profile::record::{ASSIGNED, EVALUATED, FRESH, First, GONE, Header, HeaderMut, Label, NONE, REPUBLISHED},
    store::Panes,
};

/// Clusters that become one.
#[derive(Debug)]
struct Group {
    survivor: Side,
    dissolved: Vec<Side>,
    /// The first identifier of all of them.
    first: First,
}

impl State {
    /// Applies an epoch's merges, from all workers. Returns the clusters to be solved again.
    pub(crate) fn unite(&mut self, mut merges: Vec<Merge>, out: &mut Outbox) -> Vec<Label> {
        if merges.is_empty() {
            return Vec::new();
        }
        merges.sort_unstable_by_key(sort_key);
        let groups = self.group(&merges);
        let mut moved: FxHashMap<Label, Label> = FxHashMap::default();
        for group in &groups {
            moved.extend(group.dissolved.iter().map(|side| (side.label, group.survivor.label)));
        }
        let mut dirty: Vec<Label> = Vec::new();
        for merge in &merges {
            if let Merge::Dirty(label) = merge {
                let label = self.home_label(*label);
                dirty.push(moved.get(&label).copied().unwrap_or(label));
                self.leave_if_home(label, Cause::Solved);
            }
        }
        dirty.sort_unstable();
        dirty.dedup();
        for label in &dirty {
            self.leave_if_home(*label, Cause::Solved);
        }
        for group in &groups {
            let solved_again = dirty.binary_search(&group.survivor.label).is_ok();
            self.join(group, solved_again, out);
        }
        dirty
    }

    /// A dirty label whose home is here may be a node that became a cluster in this epoch. Nodes elsewhere only
    /// ever carry labels of clusters.
    fn home_label(&self, label: Label) -> Label {
        if self.is_local(label) { Label { record: self.resolve(label.record), ..label } } else { label }
    }

    fn group(&self, merges: &[Merge]) -> Vec<Group> {
        let mut earlier: FxHashMap<Label, First> = FxHashMap::default();
        for merge in merges {
            // They come sorted, so the earliest stays.
            if let Merge::Earlier(label, first) = merge {
                earlier.entry(*label).or_insert(*first);
            }
        }
        let mut sides: Vec<Side> = Vec::new();
        let mut number: FxHashMap<Label, usize> = FxHashMap::default();
        let mut parent: Vec<usize> = Vec::new();
        for merge in merges {
            let Merge::Join(a, b) = merge else { continue };
            let [a, b] = [a, b].map(|side| {
                *number.entry(side.label).or_insert_with(|| {
                    let first = earlier.get(&side.label).filter(|first| first.place < side.first.place);
                    sides.push(Side { first: first.copied().unwrap_or(side.first), ..*side });
                    parent.push(parent.len());
                    parent.len() - 1
                })
            });
            let (a, b) = (find(&mut parent, a), find(&mut parent, b));
            parent[a.max(b)] = a.min(b);
        }
        let mut group_of: FxHashMap<usize, usize> = FxHashMap::default();
        let mut groups: Vec<Group> = Vec::new();
        for (place, side) in sides.iter().enumerate() {
            let root = find(&mut parent, place);
            let Some(group) = group_of.get(&root).map(|group| &mut groups[*group]) else {
                group_of.insert(root, groups.len());
                groups.push(Group { survivor: *side, dissolved: Vec::new(), first: side.first });
                continue;
            };
            let earlier = side.first.compare(&group.survivor.first, &self.texts).is_lt();
            let wins = (side.size, earlier) > (group.survivor.size, false);
            #[cfg(feature = "planted-bugs")]
            if crate::planted::active(crate::planted::Bug::UnionInArrivalOrder) {
                group.dissolved.push(*side);
                continue;
            }
            if side.first.compare(&group.first, &self.texts).is_lt() {
                group.first = side.first;
            }
            let loser = if wins { std::mem::replace(&mut group.survivor, *side) } else { *side };
            group.dissolved.push(loser);
        }
        groups
    }

    /// Joins a group. One that is `solved_again` has its members' values added after that.
    fn join(&mut self, group: &Group, solved_again: bool, out: &mut Outbox) {
        let survivor = group.survivor.label;
        #[cfg(feature = "planted-bugs")]
        let is_silent = crate::planted::active(crate::planted::Bug::IdChangeNotPublished);
        #[cfg(not(feature = "planted-bugs"))]
        let is_silent = false;
        if group.first.hash != group.survivor.first.hash && !is_silent {
            self.leave_if_home(survivor, Cause::Merged(group.first.hash));
        }
        for side in &group.dissolved {
            if self.is_local(side.label) && !self.slab.get(side.label.record).has(GONE) {
                self.leave(side.label.record, Cause::Merged(group.first.hash));
                self.slab.get_mut(side.label.record).set(GONE);
                self.epoch.dissolved.push(side.label.record);
            }
            #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut))]
            let mut members = self.local_members(side.label);
            #[cfg(feature = "planted-bugs")]
            if crate::planted::active(crate::planted::Bug::MemberNotRelabelled) {
                members.pop();
            }
            for node in members {
                if solved_again {
                    self.attach(node, survivor);
                } else {
                    self.move_member(node, survivor, out);
                }
            }
            self.remote_heads.remove(&side.label);
        }
        if self.is_local(survivor) {
            let size: u32 = group.survivor.size + group.dissolved.iter().map(|side| side.size).sum::<u32>();
            self.touch(survivor.record);
            let record = self.slab.get_mut(survivor.record);
            record.set_high(2, size);
            record.set_first(&group.first);
            self.counts.merges += group.dissolved.len() as u64;
        }
    }

    /// Puts a local node under another label and has its values added there.
    pub(crate) fn move_member(&mut self, node: u32, label: Label, out: &mut Outbox) {
        self.attach(node, label);
        if self.is_local(label) {
            self.epoch.joins.push(Join { node, cluster: label.record, founder: false });
        } else {
            let join = self.remote_join(node, label);
            out.joins.push(join);
        }
    }

    fn leave_if_home(&mut self, label: Label, cause: Cause) {
        if self.is_local(label) && !self.slab.get(label.record).has(GONE) {
            self.leave(label.record, cause);
        }
    }

    /// Takes back everything that was published of a cluster: its memberships and its members' assignments, with
    /// the members it had at the end of the epoch before.
    pub(crate) fn leave(&mut self, record: u32, cause: Cause) {
        let words = self.slab.get(record);
        if words.has(REPUBLISHED) {
            return;
        }
        let profile = words.hash();
        let published = !words.has(FRESH) || words.has(ASSIGNED);
        let members = if published { self.members(record) } else { Vec::new() };
        for member in &members {
            self.assign(member.hash, profile, -1);
        }
        let layout = &self.plan.layout;
        let bits = &self.slab.get(record)[layout.segments..layout.values];
        if bits.iter().any(|word| *word != 0) {
            self.epoch.changes.leave(profile, bits, &members, cause);
            for (count, segment) in self.counts.members.iter_mut().zip(0..) {
                *count -= bits[segment / 64] >> (segment % 64) & 1;
            }
            let bits = layout.segments..layout.values;
            self.slab.get_mut(record)[bits].fill(0);
        }
        self.slab.get_mut(record).set(REPUBLISHED);
        self.epoch.republished.push(record);
    }

    /// Forgets the members of a cluster whose home is here.
    pub(crate) fn clear_members(&mut self, record: u32) {
        let words = self.slab.get_mut(record);
        words.set_low(2, NONE);
        words.set_high(2, 0);
        let list = words.low(3) as usize;
        self.remote_members[list].clear();
    }

    /// Gives the records of dissolved clusters back, at the end of the epoch.
    pub(crate) fn release_dissolved(&mut self) {
        let mut seen = FxHashSet::default();
        for record in std::mem::take(&mut self.epoch.dissolved) {
            if !seen.insert(record) {
                continue;
            }
            self.clear_values(record);
            self.counts.profiles -= u64::from(self.slab.get(record).has(EVALUATED));
            let list = self.slab.get(record).low(3) as usize;
            if list != 0 {
                self.remote_members[list] = Vec::new();
            }
            self.slab.release(record);
        }
    }

    /// Empties the values of a record and gives its panes back.
    pub(crate) fn clear_values(&mut self, record: u32) {
        let layout = &self.plan.layout;
        let words = self.slab.get_mut(record);
        for window in layout.traits.iter().filter_map(|place| place.window.as_ref()) {
            let handle = &mut words[usize::from(window.panes)..];
            let mut panes = Panes::from_words(handle);
            self.panes.release(&mut panes);
            panes.store(handle);
        }
        layout.clear(&mut words[layout.values..]);
    }
}

fn find(parent: &mut [usize], mut of: usize) -> usize {
    while parent[of] != of {
        parent[of] = parent[parent[of]];
        of = parent[of];
    }
    of
}

/// Any total order does, as long as every worker sorts alike.
fn sort_key(merge: &Merge) -> (Label, Label, u64, u64) {
    match merge {
        Merge::Join(a, b) => (a.label.min(b.label), a.label.max(b.label), a.first.place, b.first.place),
        Merge::Dirty(label) => (*label, *label, 0, 0),
        Merge::Earlier(label, first) => (*label, *label, first.place, 0),
    }
}
