//! Stage 5, the end of an epoch: values of changed clusters are put together, every touched profile is evaluated
//! once, and what changed is published.

use std::{cmp::Reverse, sync::Arc};

use tidewater_model::{Profile, ProfileId};

use crate::{
    activation::{Cause, ChangeRow, Changes, bits_of},
    identity::{
        State,
        fold::Part,
        messages::{Member, RemoteFold, RemoteJoin},
    },
    plan::Plan,
    profile::{
        aggregate,
        collect::refresh_totals,
        record::{
            ASSIGNED, CLUSTER, EVALUATED, FRESH, GONE, Header, HeaderMut, NEVER, NONE, OWNS, REPUBLISHED,
            TOUCHED,
        },
        value, window,
    },
    segment::{Cause as Why, Evaluation, Scratch, Subject},
    store::Panes,
};

/// How far ahead of use a record and its panes are asked for: by the end of an epoch its first records may have left the
/// near caches again.
const AHEAD_RECORD: usize = 12;
const AHEAD_PANES: usize = 6;

impl State {
    /// Ends an epoch: everything that other workers sent for it has arrived.
    pub(crate) fn finish_epoch(&mut self, folds: Vec<RemoteFold>, joins: Vec<RemoteJoin>) {
        let plan = Arc::clone(&self.plan);
        for mut fold in folds {
            self.unpack_fold(&mut fold);
            let part = match (fold.windowed_only, fold.time > self.now) {
                (true, _) => Part::Windowed,
                (false, true) => Part::Unwindowed,
                (false, false) => Part::Whole,
            };
            let event = (fold.time, fold.values.as_slice());
            self.fold_into_cluster(&plan, fold.label.record, fold.program, event, part);
        }
        self.epoch.assignments.reserve(self.epoch.created.len());
        self.add_local_members(&plan);
        for mut join in joins {
            self.unpack_join(&mut join);
            self.add_remote_member(&plan, &join);
        }
        let by_events = self.epoch.touched.len();
        self.fire_timers();
        self.evaluate_touched(&plan, by_events);
        self.publish_assignments();
        self.release_dissolved();
        self.evaluated += self.epoch.touched.len() as u64;
        self.epoch.touched.clear();
        self.epoch.old_values.clear();
        self.epoch.split_from.clear();
    }

    fn add_local_members(&mut self, plan: &Plan) {
        let joins = std::mem::take(&mut self.epoch.joins);
        for (place, join) in joins.iter().enumerate() {
            if let Some(ahead) = joins.get(place + AHEAD_RECORD) {
                self.slab.prefetch(ahead.node);
            }
            let record = self.slab.get(join.node);
            let cluster = self.slab.get(join.cluster);
            if record.low(2) != join.cluster || !self.is_local(record.label()) || cluster.has(GONE) {
                continue;
            }
            let known = join.founder && record.has(ASSIGNED);
            if !cluster.has(REPUBLISHED) && !known {
                self.assign(record.hash(), cluster.hash(), 1);
            }
            self.touch(join.cluster);
            if self.walk.is_some() {
                self.refresh_record(join.node);
            }
            let (node, cluster) = self.slab.pair(join.node, join.cluster);
            cluster.set(node.words()[5] & OWNS);
            add_values(plan, &node[plan.layout.values..], cluster, &self.trait_texts);
            for place in &plan.layout.traits {
                let Some(own) = &place.window else { continue };
                let panes = Panes::from_words(&node[usize::from(own.panes)..]);
                let panes = self.panes.get(panes, place.kind.words() + 1).to_vec();
                let stores = (&mut self.panes, &self.trait_texts);
                window::combine((place, own), cluster, plan.layout.values, &panes, self.now, stores);
            }
            self.slab.get_mut(join.node).set(ASSIGNED);
        }
    }

    fn add_remote_member(&mut self, plan: &Plan, join: &RemoteJoin) {
        let record = join.label.record;
        let cluster = self.slab.get_mut(record);
        if cluster.has(GONE) {
            return;
        }
        if cluster.low(3) == 0 {
            cluster.set_low(3, self.remote_members.len() as u32);
            self.remote_members.push(Vec::new());
        }
        let list = cluster.low(3) as usize;
        self.remote_members[list].push(join.member);
        if !cluster.has(REPUBLISHED) {
            let id = cluster.hash();
            self.assign(join.member.hash, id, 1);
        }
        self.touch(record);
        let cluster = self.slab.get_mut(record);
        if join.owns {
            cluster.set(OWNS);
        }
        add_values(plan, &join.values, cluster, &self.trait_texts);
        let windows = plan.layout.traits.iter().filter_map(|place| place.window.as_ref().map(|w| (place, w)));
        for (windowed, panes) in windows.zip(&join.panes) {
            let stores = (&mut self.panes, &self.trait_texts);
            window::combine(windowed, cluster, plan.layout.values, panes, self.now, stores);
        }
    }

    fn fire_timers(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::ExpiryMissedOnIdle) && self.epoch.touched.is_empty() {
            return;
        }
        while let Some(Reverse((due, record))) = self.timers.peek().copied()
            && due <= self.now
        {
            self.timers.pop();
            let words = self.slab.get_mut(record);
            if words.due() == due && !words.has(GONE) {
                words.set_due(NEVER);
                self.touch(record);
            }
        }
    }

    /// When time alone next changes something on this worker.
    pub(crate) fn next_timer(&mut self) -> Option<i64> {
        while let Some(Reverse((due, record))) = self.timers.peek()
            && self.slab.get(*record).due() != *due
        {
            self.timers.pop();
        }
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let pending = self.pending.keys().next().copied();
        timer.into_iter().chain(pending).min()
    }

    fn evaluate_touched(&mut self, plan: &Plan, by_events: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for place in 0..self.epoch.touched.len() {
            if let Some((ahead, _)) = self.epoch.touched.get(place + AHEAD_RECORD) {
                self.slab.prefetch(*ahead);
            }
            if let Some((ahead, _)) = self.epoch.touched.get(place + AHEAD_PANES) {
                self.prefetch_panes(self.slab.get(*ahead));
            }
            let (record, old) = self.epoch.touched[place];
            self.evaluate(plan, (record, old), place >= by_events, &mut scratch);
        }
        self.scratch = scratch;
    }

    fn evaluate(&mut self, plan: &Plan, (record, old): (u32, u32), by_time: bool, scratch: &mut Scratch) {
        let layout = &plan.layout;
        let words = self.slab.get_mut(record);
        words.unset(TOUCHED);
        words.set_high(3, 0);
        let lone = !words.has(CLUSTER);
        if words.has(GONE) || lone && words.label() != self.own_label(record) {
            return;
        }
        self.forgets(record);
        let words = self.slab.get_mut(record);
        window::trim(layout, words, self.now, (&mut self.panes, &self.trait_texts));
        if self.walk.is_some() {
            refresh_totals(plan, words, &mut self.trait_texts);
        }
        if !words.has(OWNS) {
            self.counts.profiles -= u64::from(words.has(EVALUATED));
            words.unset(FRESH | EVALUATED);
            return;
        }
        self.counts.profiles += u64::from(!words.has(EVALUATED));
        // The bits of a profile that was published anew are gone, so they hold for no values.
        let anew = words.has(REPUBLISHED | FRESH) && !lone || !words.has(EVALUATED);
        let mut bits = std::mem::take(&mut self.epoch.bits);
        bits.clear();
        bits.extend_from_slice(&words[layout.segments..layout.values]);
        let old_values = (old != NONE).then(|| &self.epoch.old_values[old as usize..][..layout.value_words]);
        let words = self.slab.get(record);
        let subject = ProfileView { state: self, record };
        let call = Evaluation {
            old: if anew { None } else { old_values },
            new: &words[layout.values..layout.values + layout.value_words],
            identifiers_changed: !lone,
            now: self.now,
        };
        let next = self.evaluator.evaluate(&call, &subject, &mut bits, scratch);
        let mut changes = std::mem::take(&mut self.epoch.changes);
        let mut reasons = std::mem::take(&mut self.epoch.reasons);
        let republished = !lone && words.has(REPUBLISHED);
        let by_time = by_time && !republished;
        self.publish(plan, record, &bits, old_values, by_time, (&mut changes, &mut reasons));
        (self.epoch.changes, self.epoch.reasons) = (changes, reasons);
        let words = self.slab.get_mut(record);
        let before = &mut words[layout.segments..layout.values];
        for (segment, entered) in changed_bits(before, &bits) {
            let count = &mut self.counts.members[segment];
            *count = if entered { *count + 1 } else { *count - 1 };
        }
        before.copy_from_slice(&bits);
        self.epoch.bits = bits;
        words.set(EVALUATED);
        words.unset(FRESH);
        if let Some(next) = next
            && next < words.due()
        {
            words.set_due(next);
            self.timers.push(Reverse((next, record)));
        }
    }

    fn own_label(&self, record: u32) -> crate::profile::record::Label {
        crate::profile::record::Label { worker: self.worker as u8, record }
    }

    /// Says which memberships of a record began or ended.
    fn publish(
        &self,
        plan: &Plan,
        record: u32,
        bits: &[u64],
        old: Option<&[u64]>,
        by_time: bool,
        (changes, reasons): (&mut Changes, &mut Vec<u32>),
    ) {
        let layout = &plan.layout;
        let words = self.slab.get(record);
        let republished =
            words.has(CLUSTER) && words.has(REPUBLISHED) || self.epoch.split_from.contains_key(&record);
        let before = &words[layout.segments..layout.values];
        if before == bits && !republished {
            return;
        }
        let profile = words.hash();
        if self.epoch.is_restored {
            // Nobody is told of these, so they need no identifiers and no reasons.
            let row =
                |(segment, entered)| ChangeRow { profile, segment: segment as u32, entered, detail: NONE };
            changes.rows.extend(changed_bits(before, bits).map(row));
            return;
        }
        let split = self.epoch.split_from.get(&record).and_then(|from| from.map(Cause::Split));
        let like = if words.has(CLUSTER) {
            changes.detail(self.members(record).into_iter(), split.unwrap_or(Cause::Values))
        } else {
            let own = Member { hash: profile, rank: words.rank(), text: words.text() };
            changes.detail(std::iter::once(own), split.unwrap_or(Cause::Values))
        };
        if republished {
            changes.alive.push((profile, like));
        }
        let subject = ProfileView { state: self, record };
        let new = &words[layout.values..layout.values + layout.value_words];
        let cause = Why { old, new, identifiers_changed: words.has(CLUSTER), by_time };
        reasons.clear();
        reasons.resize(self.evaluator.reasons(), NONE);
        for (segment, entered) in changed_bits(before, bits) {
            let detail = &mut reasons[self.evaluator.reasons_alike(segment)];
            if *detail == NONE {
                let write = |text: &mut String| self.evaluator.reason(segment, &cause, &subject, text);
                *detail = changes.detail_like(like, write);
            }
            changes.rows.push(ChangeRow { profile, segment: segment as u32, entered, detail: *detail });
        }
    }

    /// Says where identifiers belong whose cluster is new or has another id.
    fn publish_assignments(&mut self) {
        for record in std::mem::take(&mut self.epoch.republished) {
            let words = self.slab.get_mut(record);
            words.unset(REPUBLISHED);
            if words.has(GONE) {
                continue;
            }
            let profile = words.hash();
            for member in self.members(record) {
                self.assign(member.hash, profile, 1);
            }
        }
        for node in std::mem::take(&mut self.epoch.created) {
            let words = self.slab.get(node);
            let hash = words.hash();
            if words.label() != self.own_label(node) {
                self.slab.get_mut(node).set(ASSIGNED);
            } else if !words.has(GONE) {
                self.slab.get_mut(node).set(ASSIGNED);
                self.assign(hash, hash, 1);
            }
        }
    }

    /// The profile in a record of this worker, with windows as of `now`.
    pub(crate) fn read_profile(&self, record: u32) -> Option<Profile> {
        let layout = &self.plan.layout;
        let words = self.slab.get(record);
        if !words.has(OWNS) || words.has(GONE) {
            return None;
        }
        let mut identifiers = vec![Vec::new(); self.plan.spec().identifiers.len()];
        for member in self.members(record) {
            identifiers[usize::from(member.rank)].push(self.texts.read(member.text, str::to_owned));
        }
        identifiers.iter_mut().for_each(|values| values.sort_unstable());
        let values = &words[layout.values..layout.values + layout.value_words];
        let bits = &words[layout.segments..layout.values];
        Some(Profile {
            id: ProfileId(words.hash()),
            identifiers,
            traits: layout.traits.iter().map(|place| self.read_trait(place, words, values)).collect(),
            segments: crate::activation::set_bits(bits).map(|segment| segment as usize).collect(),
        })
    }

    /// The value of a trait now: panes that ended since the record was last evaluated do not count.
    fn read_trait(
        &self,
        place: &crate::profile::layout::TraitLayout,
        record: &[u64],
        values: &[u64],
    ) -> tidewater_model::Value {
        let text = |start, len| self.trait_texts.get(start, len);
        let Some(own) = &place.window else { return value::read(place, values, text) };
        let width = place.kind.words() + 1;
        let mut live = vec![0; values.len()];
        let words = &mut live[usize::from(place.word)..][..width - 1];
        place.kind.clear(words);
        let panes = Panes::from_words(&record[usize::from(own.panes)..]);
        for pane in self.panes.get(panes, width).chunks_exact(width) {
            if (pane[0] as i64).saturating_add(own.length) > self.now {
                aggregate::combine(place.kind, words, &pane[1..], &self.trait_texts);
            }
        }
        value::read(place, &live, text)
    }
}

/// The places at which two sets of bits differ, and whether the bit is set in the new one.
fn changed_bits<'a>(old: &'a [u64], new: &'a [u64]) -> impl Iterator<Item = (usize, bool)> + use<'a> {
    old.iter().zip(new).enumerate().flat_map(|(word, (old, new))| {
        let place = move |bit: u32| (word * 64 + bit as usize, new >> bit & 1 == 1);
        bits_of(old ^ new).map(place)
    })
}

/// Adds a member's unwindowed values and identifier counters to its cluster's.
fn add_values(plan: &Plan, values: &[u64], cluster: &mut [u64], texts: &crate::store::TraitTexts) {
    let layout = &plan.layout;
    let own = &mut cluster[layout.values..layout.values + layout.value_words];
    for place in layout.traits.iter().filter(|place| place.window.is_none()) {
        let (first, words) = (usize::from(place.word), place.kind.words());
        aggregate::combine(place.kind, &mut own[first..first + words], &values[first..first + words], texts);
    }
    for counter in layout.identifier_counters.iter().flatten() {
        own[usize::from(*counter)] += values[usize::from(*counter)];
    }
}

/// What segments ask about one profile.
struct ProfileView<'a> {
    state: &'a State,
    record: u32,
}

impl Subject for ProfileView<'_> {
    fn has_value(&self, identifier: usize, hash: u128) -> bool {
        let words = self.state.slab.get(self.record);
        if !words.has(CLUSTER) {
            return words.hash() == hash && usize::from(words.rank()) == identifier;
        }
        if crate::worker_of(hash, self.state.workers) == self.state.worker {
            let node = self.state.node(hash).map(|node| self.state.slab.get(node));
            return node.is_some_and(|node| node.label() == self.state.own_label(self.record));
        }
        self.state.remote_members[words.low(3) as usize].iter().any(|member| member.hash == hash)
    }

    fn text(&self, start: u64, len: u32) -> &[u8] {
        self.state.trait_texts.get(start, len)
    }

    fn next_expiry(&self, trait_index: usize) -> Option<i64> {
        let place = &self.state.plan.layout.traits[trait_index];
        let own = place.window.as_ref()?;
        window::next_expiry(place, own, self.state.slab.get(self.record), &self.state.panes)
    }

    fn falls_below(&self, trait_index: usize, k: u64) -> Option<i64> {
        let own = self.state.plan.layout.traits[trait_index].window.as_ref()?;
        window::falls_below(own, self.state.slab.get(self.record), &self.state.panes, k)
    }
}
