//! Batches of memberships against a plain recompute, and their cursor against differential's; with rows that cancel out and
//! many times, too.

use std::collections::BTreeMap;

use differential_dataflow::{
    batcher::{Batcher, Extract},
    trace::{
        Cursor, Navigable,
        implementations::{
            ValBatcher,
            spine_fueled::{Merger, SpineBatch},
        },
    },
};
use proptest::prelude::*;
use timely::progress::Antichain;

use super::{MembershipBatcher, MembershipRow, batch::MembershipBatch, merger::MembershipMerger};
use crate::graph::Time;

type Update = ((u32, u128), Time, isize);

/// Segment, profile, and its updates, as a cursor shows them.
type Seen = (Option<u32>, Option<u128>, Vec<(Time, isize)>);

#[derive(Clone, Copy, Debug)]
enum Step {
    Key,
    Value,
    SeekKey(u32),
    SeekValue(u128),
    RewindKeys,
    RewindValues,
}

fn profile() -> impl Strategy<Value = u128> {
    prop_oneof![0..9_u128, (0..9_u128).prop_map(|low| low << 90 | 7)]
}

/// Updates by 1 or -1 of so many segments and times.
fn updates(segments: u32, times: Time) -> impl Strategy<Value = Vec<Update>> {
    let diff = prop_oneof![Just(1), Just(-1)];
    prop::collection::vec(((0..segments, profile()), 0..times, diff), 0..60)
}

fn rows(updates: &[Update]) -> Vec<MembershipRow> {
    updates
        .iter()
        .map(|((segment, profile), time, diff)| MembershipRow::new(*segment, *profile, *time, *diff > 0))
        .collect()
}

fn batch(updates: &[Update]) -> Option<MembershipBatch> {
    let mut batcher = MembershipBatcher::new();
    batcher.insert(&mut rows(updates));
    batcher.extract(Antichain::new().borrow()).0
}

/// What is left of the updates when those that are the same are added up.
fn net(updates: impl IntoIterator<Item = Update>) -> Vec<Update> {
    let mut sums = BTreeMap::new();
    for (row, time, diff) in updates {
        *sums.entry((row, time)).or_default() += diff;
    }
    sums.into_iter().filter(|(_, sum)| *sum != 0).map(|((row, time), sum)| (row, time, sum)).collect()
}

/// All that a batch's cursor finds.
fn contents(batch: Option<&MembershipBatch>) -> Vec<Update> {
    let mut found = Vec::new();
    let Some(batch) = batch else { return found };
    let mut cursor = batch.cursor();
    while let Some(segment) = cursor.get_key(batch).copied() {
        while let Some(profile) = cursor.get_val(batch).copied() {
            cursor.map_times(batch, |time, diff| found.push(((segment, profile), *time, *diff)));
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
    assert_eq!(batch.len(), found.len());
    found
}

/// What a cursor shows after each of the steps.
fn walk<B: Navigable>(batch: &B, steps: &[Step]) -> Vec<Seen>
where
    B::Cursor: for<'a> Cursor<Key<'a> = &'a u32, Val<'a> = &'a u128, TimeGat<'a> = &'a Time, DiffGat<'a> = &'a isize>,
{
    let mut cursor = batch.cursor();
    let mut seen = Vec::new();
    for step in steps {
        match *step {
            Step::Key => cursor.step_key(batch),
            Step::SeekKey(segment) => cursor.seek_key(batch, &segment),
            Step::RewindKeys => cursor.rewind_keys(batch),
            // Of no key there is no value to ask for.
            _ if !cursor.key_valid(batch) => {}
            Step::Value => cursor.step_val(batch),
            Step::SeekValue(profile) => cursor.seek_val(batch, &profile),
            Step::RewindValues => cursor.rewind_vals(batch),
        }
        let profile = cursor.get_key(batch).and_then(|_| cursor.get_val(batch)).copied();
        let mut found = Vec::new();
        if profile.is_some() {
            cursor.map_times(batch, |time, diff| found.push((*time, *diff)));
        }
        seen.push((cursor.get_key(batch).copied(), profile, found));
    }
    seen
}

proptest! {
    #[test]
    fn a_batch_holds_what_is_ready(
        rounds in (1..40_u32).prop_flat_map(|segments| {
            prop::collection::vec((prop::collection::vec(updates(segments, 4), 0..4), 0..3_u64), 1..8)
        }),
    ) {
        let (mut batcher, mut waiting, mut now) = (MembershipBatcher::new(), Vec::new(), 0);
        for (containers, step) in rounds {
            for mut updates in containers {
                updates.iter_mut().for_each(|update| update.1 += now);
                batcher.insert(&mut rows(&updates));
                waiting.extend(updates);
            }
            now += step;
            let ready = net(waiting.extract_if(.., |update| update.1 < now));
            waiting = net(waiting);
            let upper = Antichain::from_elem(now);
            let (batch, frontier) = batcher.extract(upper.borrow());
            prop_assert_eq!(contents(batch.as_ref()), ready);
            prop_assert_eq!(frontier.first().copied(), waiting.iter().map(|update| update.1).min());
        }
    }

    #[test]
    fn a_merge_adds_up_whatever_the_fuel(
        first in updates(8, 4),
        second in (0..12_u32).prop_flat_map(|segments| updates(segments + 1, 6)),
        since in prop::option::of(0..6_u64),
        fuel in 1..40_isize,
    ) {
        let since: Antichain<Time> = since.into_iter().collect();
        if let (Some(a), Some(b)) = (batch(&first), batch(&second)) {
            let mut merger = MembershipMerger::new(&a, &b, since.borrow());
            let mut left = 0;
            while left <= 0 {
                left = fuel;
                merger.work(&a, &b, &mut left);
            }
            let least = since.first().copied().unwrap_or_default();
            let all = first.into_iter().chain(second);
            let expected = net(all.map(|(row, time, diff)| (row, time.max(least), diff)));
            prop_assert_eq!(contents(merger.done().as_ref()), expected);
        }
    }

    #[test]
    fn a_cursor_goes_where_differentials_goes(
        updates in (1..9_u32).prop_flat_map(|segments| updates(segments, 3)),
        steps in prop::collection::vec(
            prop_oneof![
                1 => Just(Step::Key),
                3 => Just(Step::Value),
                2 => (0..9_u32).prop_map(Step::SeekKey),
                3 => profile().prop_map(Step::SeekValue),
                1 => Just(Step::RewindKeys),
                1 => Just(Step::RewindValues),
            ],
            0..40,
        ),
    ) {
        let mut theirs = ValBatcher::new(None, 0);
        theirs.insert(&mut updates.clone());
        let theirs = theirs.extract(Antichain::new().borrow()).0;
        let own = batch(&updates);
        prop_assert_eq!(own.is_some(), theirs.is_some());
        if let (Some(own), Some(theirs)) = (own, theirs) {
            prop_assert_eq!(walk(&own, &steps), walk(&theirs, &steps));
        }
    }
}
