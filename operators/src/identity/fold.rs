//! Stage 1: every event is folded into its owner's node and the cluster's values; new links set out.

use std::sync::Arc;

use crate::{
    identity::{
        links::LinkList,
        messages::{LookKind, Outbox},
        state::{Pending, State},
    },
    ingest::{EventBatch, EventRow, IdentifierRow},
    plan::{ColumnKind, Plan},
    profile::{
        aggregate,
        record::{ALIASED, CLUSTER, FRESH, GONE, Header, HeaderMut, OWNS},
        window,
    },
    store::Panes,
};

/// How far ahead of use an index slot, a record and its panes are asked for. Far enough to hide a cache
/// miss of about 100 ns behind the work on the events between.
const AHEAD_INDEX: usize = 16;
const AHEAD_RECORD: usize = 8;
const AHEAD_PANES: usize = 4;

/// Which traits take an event in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of them: its time has come.
    Whole,
    /// All but windowed ones: it is dated in the future.
    Unwindowed,
    /// Windowed ones only: the future has come.
    Windowed,
}

impl State {
    /// Folds an epoch's events.
    pub(crate) fn fold_events(&mut self, batch: &EventBatch, out: &mut Outbox) {
        let plan = Arc::clone(&self.plan);
        let value_words = plan.value_words();
        let has_scalars = plan.columns.iter().any(|column| column.kind == ColumnKind::Scalar);
        let mut scratch = vec![0; value_words];
        let mut nodes = [u32::MAX; AHEAD_INDEX];
        for ahead in 0..batch.events.len() + AHEAD_INDEX {
            self.look_ahead(batch, ahead, &mut nodes);
            let Some(number) = ahead.checked_sub(AHEAD_INDEX) else { continue };
            let event = &batch.events[number];
            let values = &batch.values[number * value_words..][..value_words];
            let values = if has_scalars {
                scratch.copy_from_slice(values);
                let program = &plan.programs[usize::from(event.program)];
                program.for_each_kept(&mut scratch, |words| self.trait_texts.take_in(words, &batch.text));
                &scratch
            } else {
                values
            };
            let node = self.fold_event(&plan, event, values, batch, nodes[number % AHEAD_INDEX], out);
            if event.identifier_count > 1 {
                self.assert_links(node, event, batch, out);
            }
        }
    }

    /// Asks for the memory that events a little further on will need.
    #[inline]
    fn look_ahead(&self, batch: &EventBatch, ahead: usize, nodes: &mut [u32; AHEAD_INDEX]) {
        let owner = |number: usize| batch.identifiers[batch.events[number].identifiers as usize].hash;
        if ahead < batch.events.len() {
            self.index.prefetch(owner(ahead));
        }
        if let Some(number) = ahead.checked_sub(AHEAD_RECORD)
            && number < batch.events.len()
        {
            let node = self.index.guess(owner(number));
            nodes[number % AHEAD_INDEX] = node.unwrap_or(u32::MAX);
            if let Some(node) = node {
                self.slab.prefetch(node);
            }
        }
        if let Some(number) = ahead.checked_sub(AHEAD_RECORD + AHEAD_PANES)
            && number < batch.events.len()
            && nodes[number % AHEAD_INDEX] != u32::MAX
        {
            let record = self.slab.get(nodes[number % AHEAD_INDEX]);
            let label = record.label();
            if label.record != nodes[number % AHEAD_INDEX] && self.is_local(label) {
                self.slab.prefetch(label.record);
            }
            self.prefetch_panes(record);
        }
    }

    /// Asks for both ends of a record's panes.
    #[inline]
    pub(crate) fn prefetch_panes(&self, record: &[u64]) {
        for place in &self.plan.layout.traits {
            if let Some(window) = &place.window {
                let panes = Panes::from_words(&record[usize::from(window.panes)..]);
                self.panes.prefetch(panes, place.kind.words() + 1);
            }
        }
    }

    /// Folds one event into its owner's node and cluster; returns the node. `guess` is where it probably is.
    fn fold_event(
        &mut self,
        plan: &Arc<Plan>,
        event: &EventRow,
        values: &[u64],
        batch: &EventBatch,
        guess: u32,
        out: &mut Outbox,
    ) -> u32 {
        let owner = &batch.identifiers[event.identifiers as usize];
        let known = guess != u32::MAX && {
            let record = self.slab.get(guess);
            record.hash() == owner.hash && !record.has(CLUSTER | GONE)
        };
        let node = if known { guess } else { self.mention(owner, batch.text_of(owner), event.place, out) };
        if event.place < self.slab.get(node).first_mention().place {
            self.lower_first(node, event.place, out);
        }
        if self.slab.get(node).has(ALIASED) {
            self.changes(node);
            self.alias.mention_ordinary(owner.hash, event.place);
        }
        let part = if event.time > self.now { Part::Unwindowed } else { Part::Whole };
        #[cfg(feature = "planted-bugs")]
        let part = match crate::planted::active(crate::planted::Bug::FutureEventCountedAtOnce) {
            true => Part::Whole,
            false => part,
        };
        if part == Part::Unwindowed {
            self.wait_for(plan, node, event, values);
        }
        #[cfg(feature = "planted-bugs")]
        if let [_, .., other] = batch.identifiers_of(event)
            && crate::planted::active(crate::planted::Bug::OwnerCountsForOther)
            && crate::worker_of(other.hash, self.workers) == self.worker
        {
            let other = self.mention(other, batch.text_of(other), event.place, out);
            self.fold(plan, other, event.program, (event.time, values), part, out);
            return node;
        }
        self.fold(plan, node, event.program, (event.time, values), part, out);
        node
    }

    /// Keeps the windowed contributions of an event dated in the future until its time has come.
    #[cold]
    fn wait_for(&mut self, plan: &Plan, node: u32, event: &EventRow, values: &[u64]) {
        let folds = &plan.programs[usize::from(event.program)].folds;
        if folds.iter().any(|fold| plan.layout.traits[usize::from(fold.trait_index)].window.is_some()) {
            let waiting = Pending { node, program: event.program, values: values.into() };
            self.pending.entry(event.time).or_default().push(waiting);
        }
    }

    /// Folds the windowed contributions whose time has come; call it when `now` has moved, before the events.
    pub(crate) fn fold_pending(&mut self, out: &mut Outbox) {
        let plan = Arc::clone(&self.plan);
        while let Some(entry) = self.pending.first_entry()
            && *entry.key() <= self.now
        {
            let (time, waiting) = entry.remove_entry();
            for mut waiting in waiting {
                self.refresh_waiting(&mut waiting);
                let Pending { node, program, values } = waiting;
                self.fold(&plan, node, program, (time, &values), Part::Windowed, out);
            }
        }
    }

    fn fold(
        &mut self,
        plan: &Arc<Plan>,
        node: u32,
        program: u16,
        (time, values): (i64, &[u64]),
        part: Part,
        out: &mut Outbox,
    ) {
        self.changes(node);
        let label = self.slab.get(node).label();
        let local = self.is_local(label);
        if local && label.record == node {
            self.touch(node);
        }
        self.fold_into(plan, node, program, (time, values), part);
        if !local {
            let fold = self.remote_fold(label, program, (time, values), part == Part::Windowed);
            out.folds.push(fold);
        } else if label.record != node {
            self.fold_into_cluster(plan, label.record, program, (time, values), part);
        }
    }

    /// Folds an event into a cluster whose home is here, unless it is about to be put together anew.
    pub(crate) fn fold_into_cluster(
        &mut self,
        plan: &Arc<Plan>,
        cluster: u32,
        program: u16,
        event: (i64, &[u64]),
        part: Part,
    ) {
        if self.slab.get(cluster).has(FRESH | GONE) {
            return;
        }
        self.touch(cluster);
        self.fold_into(plan, cluster, program, event, part);
    }

    fn fold_into(
        &mut self,
        plan: &Arc<Plan>,
        record: u32,
        program: u16,
        (time, values): (i64, &[u64]),
        part: Part,
    ) {
        let layout = &plan.layout;
        let words = self.slab.get_mut(record);
        words.set(OWNS);
        for fold in &plan.programs[usize::from(program)].folds {
            if !fold.applies(values) {
                continue;
            }
            let place = &layout.traits[usize::from(fold.trait_index)];
            let value = values.get(usize::from(fold.value)..).unwrap_or_default();
            match &place.window {
                None if part != Part::Windowed => {
                    let own = layout.values + usize::from(place.word);
                    let own = &mut words[own..own + place.kind.words()];
                    aggregate::take_in(place.kind, own, time, value, &self.trait_texts);
                }
                Some(window) if part != Part::Unwindowed => {
                    let stores = (&mut self.panes, &self.trait_texts);
                    window::take_in((place, window), words, layout.values, (time, value), self.now, stores);
                }
                None | Some(_) => {}
            }
        }
    }

    /// Takes in the links of an event, from its owner to each of its other identifiers.
    fn assert_links(&mut self, node: u32, event: &EventRow, batch: &EventBatch, out: &mut Outbox) {
        for other in &batch.identifiers_of(event)[1..] {
            let owner = self.slab.get(node).hash();
            if self.is_cut(owner, other.hash) {
                self.send_look(node, other, batch.text_of(other), event.place, LookKind::Mention, out);
            } else if self.links_of(node).assert(other.hash, event.time)
                || self.alias.must_hear(owner, other.hash)
            {
                self.send_look(node, other, batch.text_of(other), event.place, LookKind::Link, out);
            }
        }
    }

    /// The link list of a node, which gets one if it has none.
    pub(crate) fn links_of(&mut self, node: u32) -> &mut LinkList {
        let record = self.slab.get_mut(node);
        if record.low(3) == 0 {
            record.set_low(3, self.links.len() as u32);
            self.links.push(LinkList::default());
        }
        &mut self.links[self.slab.get(node).low(3) as usize]
    }

    /// Whether the link between two identifiers was taken back.
    pub(crate) fn is_cut(&self, a: u128, b: u128) -> bool {
        !self.cut.is_empty() && self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Tells the other identifier's worker of a link, directly when that is this one.
    pub(crate) fn send_look(
        &mut self,
        node: u32,
        other: &IdentifierRow,
        text: &[u8],
        place: u64,
        kind: LookKind,
        out: &mut Outbox,
    ) {
        let owner = self.slab.get(node).label();
        if crate::worker_of(other.hash, self.workers) == self.worker {
            self.answer(other, text, place, owner, kind, out);
        } else {
            let (hash, rank, text) = (other.hash, other.rank, text.to_vec());
            out.looks.push(crate::identity::messages::Look { hash, rank, text, place, owner, kind });
        }
    }
}
