//! Gives back the texts that no trait has any more, in small steps between epochs.
//!
//! Places of texts are held by records, by their panes and by events that wait for their time; within an epoch by old values,
//! too. Everything else (messages, stored nodes, reasons, queries) has texts and no places. A collection fixes a cut, walks
//! those holders and refreshes what lies before it. Meanwhile nothing from before the cut gets to where the walk has been:
//!
//! - events and what other workers send are interned as they come, behind the cut;
//! - an event that has waited is refreshed before it is folded, a node before its values are added to a cluster;
//! - a window's total is put together from panes of the same record.
//!
//! The cut moves between epochs, and a value is refreshed before an epoch looks at how it was and how it is: so equal strings
//! have equal words within an epoch, which is how it is seen that a trait has not changed.

use std::{ops::Bound, sync::Arc};

use crate::{
    identity::{State, state::Pending},
    plan::Plan,
    store::{Panes, TraitTexts},
};

/// So many bytes of texts come before a collection is thought of: small states never bother.
const FLOOR: u64 = 4 << 20;

/// And as many more as an eighth of records and panes have: a walk over them is then a small part of the work that brought the
/// texts.
const STATE_SHARE: u64 = 8;

/// So many records, panes and waiting events are looked at in one step: less than a millisecond.
const STEP: usize = 2_048;

/// And one more for so many bytes of texts that came with the epoch, so that a collection ends before what comes meanwhile is
/// more than records and panes themselves.
const BYTES_A_UNIT: u64 = 32;

/// When collections are begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collecting {
    /// Of no fewer bytes that came.
    pub(crate) floor: u64,
    /// As soon as the one before has ended, in steps of a third of the records: so tests see one at every moment.
    pub(crate) is_constant: bool,
}

impl Default for Collecting {
    fn default() -> Self {
        Self { floor: FLOOR, is_constant: cfg!(any(test, feature = "planted-bugs")) }
    }
}

/// How far a walk has come.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The next record, and the end of those that were there when it began: later ones have nothing from before.
    record: u32,
    end: u32,
    /// The next waiting event: its time, and how many of that time come before it.
    time: i64,
    skip: usize,
    /// Bytes of texts that had come when the last step was made.
    fresh: u64,
}

impl State {
    /// Begins a collection if it is worth it, and goes on with the one under way. Call it between epochs.
    pub(crate) fn collect_after_epoch(&mut self) {
        if self.walk.is_none() && self.is_worth_collecting() {
            self.trait_texts.begin();
            let end = self.slab.numbers().end;
            self.walk = Some(Walk { record: 0, end, time: i64::MIN, skip: 0, fresh: 0 });
        }
        self.collect();
    }

    /// Whether a collection is under way.
    pub(crate) fn is_collecting(&self) -> bool {
        self.walk.is_some() || self.trait_texts.has_more_to_shed()
    }

    fn is_worth_collecting(&self) -> bool {
        let (fresh, moved) = (self.trait_texts.fresh(), self.trait_texts.moved());
        if self.collecting.is_constant {
            return fresh + moved > 0;
        }
        let floor = self.collecting.floor;
        // What is live is counted low: what came during the last collection is not in it.
        fresh > floor && fresh > floor + moved / 2 + (self.slab.bytes() + self.panes.bytes()) / STATE_SHARE
    }

    /// One step of the collection under way; false if there is none. Call it between epochs.
    pub(crate) fn collect(&mut self) -> bool {
        let has_walked = self.walk.is_some();
        if let Some(walk) = self.walk.take() {
            self.walk = self.walk_on(walk);
            if self.walk.is_none() {
                self.trait_texts.end();
            }
        }
        self.trait_texts.shed() || has_walked
    }

    fn walk_on(&mut self, mut walk: Walk) -> Option<Walk> {
        let step = if self.collecting.is_constant { 1 + walk.end as usize / 3 } else { STEP };
        let mut left = step + ((self.trait_texts.fresh() - walk.fresh) / BYTES_A_UNIT) as usize;
        walk.fresh = self.trait_texts.fresh();
        while walk.record < walk.end {
            if left == 0 {
                return Some(walk);
            }
            left = left.saturating_sub(self.refresh_record(walk.record));
            walk.record += 1;
        }
        let plan = Arc::clone(&self.plan);
        for (time, waiting) in self.pending.range_mut((Bound::Included(walk.time), Bound::Unbounded)) {
            // Those of one time only ever grow in number, or go all at once.
            let skip = if *time == walk.time { walk.skip } else { 0 };
            for (place, waiting) in waiting.iter_mut().enumerate().skip(skip) {
                if left == 0 {
                    (walk.time, walk.skip) = (*time, place);
                    return Some(walk);
                }
                left -= 1;
                refresh_waiting(&plan, waiting, &mut self.trait_texts);
            }
        }
        None
    }

    /// Refreshes all that a record holds; returns how many values were looked at.
    pub(crate) fn refresh_record(&mut self, record: u32) -> usize {
        let words = self.slab.get_mut(record);
        refresh_totals(&self.plan, words, &mut self.trait_texts);
        let mut units = 1;
        for place in &self.plan.layout.scalars {
            let Some(window) = &place.window else { continue };
            #[cfg(feature = "planted-bugs")]
            if crate::planted::active(crate::planted::Bug::TextLeftBehind) {
                continue;
            }
            let panes = Panes::from_words(&words[usize::from(window.panes)..]);
            let run = self.panes.get_mut(panes, place.kind.words() + 1);
            run.chunks_exact_mut(place.kind.words() + 1)
                .for_each(|pane| self.trait_texts.refresh(&mut pane[1..]));
            units += panes.len();
        }
        units
    }

    /// Refreshes an event whose time has come.
    pub(crate) fn refresh_waiting(&mut self, waiting: &mut Pending) {
        if self.walk.is_some() {
            refresh_waiting(&self.plan, waiting, &mut self.trait_texts);
        }
    }
}

/// Refreshes the values of a record, its panes apart.
#[inline(never)]
pub(crate) fn refresh_totals(plan: &Plan, record: &mut [u64], texts: &mut TraitTexts) {
    for place in &plan.layout.scalars {
        texts.refresh(&mut record[plan.layout.values + usize::from(place.word)..]);
    }
}

fn refresh_waiting(plan: &Plan, waiting: &mut Pending, texts: &mut TraitTexts) {
    plan.programs[usize::from(waiting.program)]
        .for_each_kept(&mut waiting.values, |words| texts.refresh(words));
}
