//! One worker's state: nodes, clusters and their links, and the lists of what the current epoch changed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    activation::Changes,
    graph::{AssignmentUpdate, Time},
    identity::{
        alias::AliasMentions,
        links::LinkList,
        messages::{Member, Merge, Outbox},
    },
    ingest::IdentifierRow,
    plan::Plan,
    profile::record::{
        ASSIGNED, CLUSTER, EVALUATED, FRESH, First, GONE, Header, HeaderMut, Label, NEVER, NONE, OWNS,
        TOUCHED,
    },
    profile::{
        collect::{Collecting, Walk, refresh_totals},
        window,
    },
    segment::{Evaluator, Scratch},
    snapshot::Marks,
    store::{Index, PanePool, Slab, Texts, TraitTexts},
};

/// Everything one worker remembers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) plan: Arc<Plan>,
    pub(crate) evaluator: Evaluator,
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    pub(crate) now: i64,
    /// `now` of the epoch before the one under way.
    pub(crate) before: i64,

    pub(crate) slab: Slab,
    pub(crate) index: Index,
    pub(crate) panes: PanePool,
    pub(crate) texts: Arc<Texts>,
    pub(crate) trait_texts: TraitTexts,
    pub(crate) collecting: Collecting,
    /// The walk of the collection of trait texts under way.
    pub(crate) walk: Option<Walk>,
    /// How many profiles were evaluated since the last one was begun.
    pub(crate) evaluated: u64,
    /// Link lists by number; number 0 stands for "no links" and stays empty.
    pub(crate) links: Vec<LinkList>,
    /// Links that were taken back, smaller hash first: asserting them again links nothing.
    pub(crate) cut: FxHashSet<(u128, u128)>,
    pub(crate) alias: AliasMentions,
    /// First local member of clusters whose home is elsewhere.
    pub(crate) remote_heads: FxHashMap<Label, u32>,
    /// Members that live elsewhere, of clusters whose home is here, by list number; list 0 stays empty.
    pub(crate) remote_members: Vec<Vec<Member>>,
    /// Windowed contributions of events dated in the future, by the time at which they count.
    pub(crate) pending: BTreeMap<i64, Vec<Pending>>,
    pub(crate) timers: BinaryHeap<Reverse<(i64, u32)>>,

    pub(crate) epoch: EpochWork,
    pub(crate) scratch: Scratch,
    pub(crate) counts: Counts,
    /// What snapshots have to write.
    pub(crate) marks: Marks,
    /// Nodes that were written before they changed, not yet fetched.
    pub(crate) saved: Vec<u8>,
}

/// What the current epoch changed on this worker.
#[derive(Debug, Default)]
pub(crate) struct EpochWork {
    /// Records to evaluate, with where their old values stand in `old_values` ([`NONE`]: nowhere).
    pub(crate) touched: Vec<(u32, u32)>,
    pub(crate) old_values: Vec<u64>,
    /// Memory for the membership bits of the profile being evaluated.
    pub(crate) bits: Vec<u64>,
    /// Nodes that were made.
    pub(crate) created: Vec<u32>,
    /// Merges found on this worker, complete.
    pub(crate) merges: Vec<Merge>,
    /// Local nodes whose values are to be added to a cluster whose home is here.
    pub(crate) joins: Vec<Join>,
    /// Clusters that were dissolved; their records are given back when the epoch ends.
    pub(crate) dissolved: Vec<u32>,
    /// Clusters whose members' assignments and memberships are published anew, under a possibly other id.
    pub(crate) republished: Vec<u32>,
    /// Records that were solved again, with the id they were split from if their cluster fell apart.
    pub(crate) split_from: FxHashMap<u32, Option<u128>>,
    /// Details of the profile being published, by which reasons are alike ([`NONE`]: not written yet).
    pub(crate) reasons: Vec<u32>,
    /// What leaves the worker.
    pub(crate) changes: Changes,
    /// Assignments that changed.
    pub(crate) assignments: Vec<AssignmentUpdate>,
    /// Its number.
    pub(crate) time: Time,
    /// It is that of a snapshot which was just read.
    pub(crate) is_restored: bool,
    /// Then: links whose ends are not in one cluster yet, from this node to the identifier with this hash.
    pub(crate) open_links: Vec<(u32, u128)>,
}

/// A local node that is put into a cluster whose home is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) node: u32,
    pub(crate) cluster: u32,
    /// The cluster was made for this node, so its id and assignment are the node's.
    pub(crate) founder: bool,
}

/// A windowed contribution that waits for its time.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) node: u32,
    pub(crate) program: u16,
    pub(crate) values: Box<[u64]>,
}

/// Running totals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) identifiers: u64,
    pub(crate) merges: u64,
    pub(crate) profiles: u64,
    pub(crate) members: Vec<u64>,
}

impl State {
    pub(crate) fn new(plan: Arc<Plan>, texts: Arc<Texts>, worker: usize, workers: usize) -> Self {
        let layout = &plan.layout;
        let counts = Counts { members: vec![0; plan.spec().segments.len()], ..Counts::default() };
        Self {
            evaluator: Evaluator::new(plan.spec(), layout, plan.key()),
            worker,
            workers,
            now: i64::MIN,
            before: i64::MIN,
            slab: Slab::new(layout.stride),
            index: Index::new(),
            panes: PanePool::new(),
            trait_texts: TraitTexts::new(plan.key()),
            collecting: Collecting::default(),
            walk: None,
            evaluated: 0,
            texts,
            links: vec![LinkList::default()],
            cut: FxHashSet::default(),
            alias: AliasMentions::default(),
            remote_heads: FxHashMap::default(),
            remote_members: vec![Vec::new()],
            pending: BTreeMap::new(),
            timers: BinaryHeap::new(),
            epoch: EpochWork::default(),
            scratch: Scratch::default(),
            counts,
            marks: Marks::default(),
            saved: Vec::new(),
            plan,
        }
    }

    /// The node of an identifier that was met before.
    #[inline]
    pub(crate) fn node(&self, hash: u128) -> Option<u32> {
        self.index.find(hash, |record| self.slab.get(record).hash() == hash)
    }

    /// The node of an identifier, made if it is new, that an event at `place` mentions.
    pub(crate) fn mention(&mut self, row: &IdentifierRow, text: &[u8], place: u64, out: &mut Outbox) -> u32 {
        match self.node(row.hash) {
            Some(node) => {
                let record = self.slab.get(node);
                if record.has(GONE) {
                    self.revive(node, place);
                } else if place < record.first_mention().place {
                    self.lower_first(node, place, out);
                }
                node
            }
            None => self.create(row, text, place),
        }
    }

    #[cold]
    fn revive(&mut self, node: u32, place: u64) {
        self.changes(node);
        let record = self.slab.get_mut(node);
        let first = First { place, ..record.first_mention() };
        // What was said of it was taken back when it went.
        record.unset(GONE | ASSIGNED);
        record.set_first(&first);
        self.counts.identifiers += 1;
        self.epoch.created.push(node);
        self.touch(node);
    }

    /// An event with a lower place mentions a node, which happens within an epoch when a worker hears of its own
    /// events before those of others.
    #[cold]
    pub(crate) fn lower_first(&mut self, node: u32, place: u64, out: &mut Outbox) {
        self.changes(node);
        let record = self.slab.get_mut(node);
        let first = First { place, ..record.first_mention() };
        record.set_first(&first);
        let label = record.label();
        let is_alone_in =
            |cluster: &[u64]| cluster.has(CLUSTER) && cluster.has(FRESH) && cluster.low(2) == node;
        if self.is_local(label) && label.record != node && is_alone_in(self.slab.get(label.record)) {
            // Solving it again would do, too, but what is said of a change would depend on the number of workers.
            self.slab.get_mut(label.record).set_first(&first);
            self.tell(Merge::Earlier(label, first), out);
        } else {
            self.dirty(label, out);
        }
    }

    #[inline(never)]
    fn create(&mut self, row: &IdentifierRow, text: &[u8], place: u64) -> u32 {
        let text = self.texts.append(self.worker, text);
        let node = self.add_node(&First { place, rank: row.rank, hash: row.hash, text });
        self.marks.create(node);
        self.counts.identifiers += 1;
        self.epoch.created.push(node);
        self.touch(node);
        node
    }

    /// A node with nothing in it, alone.
    pub(crate) fn add_node(&mut self, first: &First) -> u32 {
        let node = self.slab.allocate();
        let plan = Arc::clone(&self.plan);
        let record = self.slab.get_mut(node);
        record.set_first(first);
        record.set_label(Label { worker: self.worker as u8, record: node });
        record.set_high(2, NONE);
        record.set_due(NEVER);
        let values = &mut record[plan.layout.values..];
        plan.layout.clear(values);
        if let Some(counter) = plan.layout.identifier_counters[usize::from(first.rank)] {
            values[usize::from(counter)] = 1;
        }
        self.index.insert(first.hash, node);
        node
    }

    /// Whether a label is a record of this worker.
    #[inline]
    pub(crate) fn is_local(&self, label: Label) -> bool {
        usize::from(label.worker) == self.worker
    }

    /// The record at home that a label stands for: a node that was put into a cluster earlier in this epoch
    /// stands for that cluster.
    pub(crate) fn resolve(&self, record: u32) -> u32 {
        let words = self.slab.get(record);
        if words.has(CLUSTER) { record } else { words.low(2) }
    }

    /// Puts a record into the epoch's list, with a copy of its values as they were.
    #[inline]
    pub(crate) fn touch(&mut self, record: u32) {
        self.forgets(record);
        let layout = &self.plan.layout;
        let words = self.slab.get_mut(record);
        if words.has(TOUCHED) {
            return;
        }
        words.set(TOUCHED);
        words.set_high(3, self.epoch.touched.len() as u32);
        let old = if words.has(EVALUATED) {
            // The old values are those at the end of the epoch before, however long nobody has looked at them: what
            // is said of a change must not depend on that.
            window::trim(layout, words, self.before, (&mut self.panes, &self.trait_texts));
            if self.walk.is_some() {
                refresh_totals(&self.plan, words, &mut self.trait_texts);
            }
            let values = &words[layout.values..layout.values + layout.value_words];
            self.epoch.old_values.extend_from_slice(values);
            (self.epoch.old_values.len() - layout.value_words) as u32
        } else {
            NONE
        };
        self.epoch.touched.push((record, old));
    }

    /// A new cluster record that stands for a lone node and will be put together at the end of the epoch.
    pub(crate) fn promote(&mut self, node: u32) -> u32 {
        // Touching the node first keeps its old values, for the reason of a change.
        self.touch(node);
        let cluster = self.slab.allocate();
        let plan = Arc::clone(&self.plan);
        let (from, to) = self.slab.pair(node, cluster);
        to.set_first(&from.first_mention());
        to.set(CLUSTER | FRESH | from.words()[5] & (OWNS | ASSIGNED | EVALUATED));
        to.set_low(2, node);
        to.set_high(2, 1);
        to.set_due(NEVER);
        let bits = plan.layout.segments..plan.layout.values;
        to[bits.clone()].copy_from_slice(&from[bits.clone()]);
        plan.layout.clear(&mut to[plan.layout.values..]);
        let slot = from.high(3);
        to.set(TOUCHED);
        to.set_high(3, self.epoch.touched.len() as u32);
        let old = self.epoch.touched[slot as usize].1;
        self.epoch.touched.push((cluster, old));
        let node_record = self.slab.get_mut(node);
        node_record[bits].fill(0);
        node_record.unset(EVALUATED);
        node_record.set_due(NEVER);
        node_record.set_label(Label { worker: self.worker as u8, record: cluster });
        node_record.set_high(2, NONE);
        self.epoch.joins.push(Join { node, cluster, founder: true });
        cluster
    }

    /// Notes that an identifier's assignment to a profile begins (1) or ends (-1).
    pub(crate) fn assign(&mut self, identifier: u128, profile: u128, diff: isize) {
        self.epoch.assignments.push(((identifier, profile), self.epoch.time, diff));
    }

    /// The local members of a cluster, wherever its home is.
    pub(crate) fn local_members(&self, label: Label) -> Vec<u32> {
        let mut next = if self.is_local(label) {
            self.slab.get(label.record).low(2)
        } else {
            self.remote_heads.get(&label).copied().unwrap_or(NONE)
        };
        let mut members = Vec::new();
        while next != NONE {
            members.push(next);
            next = self.slab.get(next).high(2);
        }
        members
    }

    /// All members of a cluster or lone node whose home is here.
    pub(crate) fn members(&self, record: u32) -> Vec<Member> {
        let words = self.slab.get(record);
        let member = |node: u32| {
            let words = self.slab.get(node);
            Member { hash: words.hash(), rank: words.rank(), text: words.text() }
        };
        if !words.has(CLUSTER) {
            return vec![member(record)];
        }
        let label = Label { worker: self.worker as u8, record };
        let mut members: Vec<Member> = self.local_members(label).into_iter().map(member).collect();
        members.extend_from_slice(&self.remote_members[words.low(3) as usize]);
        members
    }

    /// The clusters and lone nodes whose home is here.
    pub(crate) fn homes(&self) -> impl Iterator<Item = u32> {
        let worker = self.worker as u8;
        let released = self.slab.released();
        self.slab.numbers().filter(move |number| {
            let record = self.slab.get(*number);
            let lone = record.label() == Label { worker, record: *number };
            !record.has(GONE) && (record.has(CLUSTER) || lone) && !released.contains(number)
        })
    }

    /// Makes a local node a local member of a cluster; the cluster's size is not changed.
    pub(crate) fn attach(&mut self, node: u32, label: Label) {
        let head = if self.is_local(label) {
            let cluster = self.slab.get_mut(label.record);
            let head = cluster.low(2);
            cluster.set_low(2, node);
            head
        } else {
            self.remote_heads.insert(label, node).unwrap_or(NONE)
        };
        let record = self.slab.get_mut(node);
        record.set_label(label);
        record.set_high(2, head);
    }
}
