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

/// Texts may also go without others that come: the last one of a window, or of a trait that has a short one now. So a collection
/// is worth it, too, once profiles were evaluated so many times for each record and pane that it will look at.
const EVALUATIONS: u64 = 4;

/// So many values are looked at in one step: less than a millisecond.
const STEP: usize = 2_048;

/// And one more for so many bytes of texts that came with the epoch, or for more bytes if the walk is over soon enough even so: a
/// collection ends before more has come meanwhile than was let come before it.
const BYTES_A_VALUE: u64 = 32;

/// To move so many bytes of text takes about as long as to look at a value.
const MOVED_BYTES: u64 = 64;

/// Bytes of a pane that has a text.
const PANE_BYTES: u64 = 32;

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
    /// A value is looked at for so many bytes of texts that come.
    bytes_a_value: u64,
}

impl State {
    /// Begins a collection if it is worth it, and goes on with the one under way. Call it between epochs.
    pub(crate) fn collect_after_epoch(&mut self) {
        if self.walk.is_none() && self.is_worth_collecting() {
            self.begin_walk();
        }
        self.collect();
    }

    /// Begins a collection even if it is not worth it by itself, but not again and again while nothing happens.
    pub(crate) fn begin_collecting(&mut self) {
        let texts = &self.trait_texts;
        let has_changed = texts.fresh() > 0 || self.evaluated > 0;
        if self.walk.is_none() && has_changed && texts.fresh() + texts.moved() > self.collecting.floor {
            self.begin_walk();
        }
    }

    fn begin_walk(&mut self) {
        let moving = (self.trait_texts.fresh() + self.trait_texts.moved()) / MOVED_BYTES;
        let values = self.places() * (1 + self.plan.layout.scalars.len() as u64) + moving;
        let bytes_a_value = (self.allowance() / values.max(1)).max(BYTES_A_VALUE);
        self.trait_texts.begin();
        self.evaluated = 0;
        let end = self.slab.numbers().end;
        self.walk = Some(Walk { record: 0, end, time: i64::MIN, skip: 0, fresh: 0, bytes_a_value });
    }

    /// Whether a collection is under way.
    pub(crate) fn is_collecting(&self) -> bool {
        self.walk.is_some() || self.trait_texts.has_more_to_shed()
    }

    fn is_worth_collecting(&self) -> bool {
        let (fresh, moved) = (self.trait_texts.fresh(), self.trait_texts.moved());
        match self.collecting {
            Collecting { is_constant: true, .. } => fresh + moved > 0,
            Collecting { floor, .. } if fresh + moved <= floor => false,
            _ => fresh > self.allowance() || self.evaluated > EVALUATIONS * self.places(),
        }
    }

    /// So many bytes of texts may come before they are worth a collection. What is live is counted low: what came during the
    /// last one is not in it.
    fn allowance(&self) -> u64 {
        let state = self.slab.bytes() + self.panes.bytes();
        self.collecting.floor.saturating_add(self.trait_texts.moved() / 2 + state / STATE_SHARE)
    }

    /// About how many records and panes there are to walk over.
    fn places(&self) -> u64 {
        let has_panes = self.plan.layout.scalars.iter().any(|place| place.window.is_some());
        let panes = if has_panes { self.panes.bytes() / PANE_BYTES } else { 0 };
        u64::from(self.slab.numbers().end) + panes
    }

    /// One step of the collection under way; false if there is none. Call it between epochs.
    pub(crate) fn collect(&mut self) -> bool {
        let has_walked = self.walk.is_some();
        if let Some(walk) = self.walk.take() {
            self.walk = self.walk_on(walk);
            if self.walk.is_none() {
                #[cfg(test)]
                self.assert_none_is_left();
                self.trait_texts.end();
            }
        }
        self.trait_texts.shed() || has_walked
    }

    fn walk_on(&mut self, mut walk: Walk) -> Option<Walk> {
        let all = walk.end as usize * (1 + self.plan.layout.scalars.len());
        let step = if self.collecting.is_constant { 1 + all / 3 } else { STEP };
        let came = self.trait_texts.fresh().saturating_sub(walk.fresh);
        let mut left = step + (came / walk.bytes_a_value) as usize;
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
                left = left.saturating_sub(refresh_waiting(&plan, waiting, &mut self.trait_texts));
            }
        }
        None
    }

    /// Refreshes all that a record holds; returns how many values that were looked at, or what took as long.
    pub(crate) fn refresh_record(&mut self, record: u32) -> usize {
        let moved_before = self.trait_texts.moved();
        let words = self.slab.get_mut(record);
        refresh_totals(&self.plan, words, &mut self.trait_texts);
        let mut values = 1 + self.plan.layout.scalars.len();
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
            values += panes.len();
        }
        values + ((self.trait_texts.moved() - moved_before) / MOVED_BYTES) as usize
    }

    /// Refreshes an event whose time has come.
    pub(crate) fn refresh_waiting(&mut self, waiting: &mut Pending) {
        if self.walk.is_some() {
            _ = refresh_waiting(&self.plan, waiting, &mut self.trait_texts);
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

/// Refreshes the values of an event that waits; returns how many were looked at.
fn refresh_waiting(plan: &Plan, waiting: &mut Pending, texts: &mut TraitTexts) -> usize {
    let mut values = 1;
    plan.programs[usize::from(waiting.program)].for_each_kept(&mut waiting.values, |words| {
        values += 1;
        texts.refresh(words);
    });
    values
}

#[cfg(test)]
impl State {
    /// Whoever forgets one of those who hold texts finds out here.
    fn assert_none_is_left(&mut self) {
        let plan = Arc::clone(&self.plan);
        let Self { slab, panes, trait_texts, pending, .. } = self;
        for record in slab.numbers() {
            let words = slab.get(record);
            for place in &plan.layout.scalars {
                assert!(!trait_texts.is_old(&words[plan.layout.values + usize::from(place.word)..]));
                if let Some(window) = &place.window {
                    let width = place.kind.words() + 1;
                    let run = panes.get(Panes::from_words(&words[usize::from(window.panes)..]), width);
                    assert!(run.chunks_exact(width).all(|pane| !trait_texts.is_old(&pane[1..])));
                }
            }
        }
        for waiting in pending.values_mut().flatten() {
            let values = &mut waiting.values;
            plan.programs[usize::from(waiting.program)]
                .for_each_kept(values, |words| assert!(!trait_texts.is_old(words)));
        }
    }
}
