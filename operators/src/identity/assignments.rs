//! Sorts assignments for the arrangement that keeps them.
//!
//! All of an epoch's come at once, so they are sorted where they stand. Differential's own batcher sorts pages of 170 and
//! merges them two by two: after a start, when every identifier has one, that is fourteen copies of each.

use differential_dataflow::{
    batcher::{Batcher, Extract},
    consolidation::consolidate_updates,
    trace::{Builder as _, implementations::ValBuilder},
};
use timely::progress::{Antichain, frontier::AntichainRef};

use crate::graph::{AssignmentUpdate, Time};

type Builder = ValBuilder<u128, u128, Time, isize>;

/// The assignments that are not in a batch yet.
#[derive(Debug)]
pub(crate) struct AssignmentBatcher {
    updates: Vec<AssignmentUpdate>,
    /// The least time of those that do not cancel out.
    frontier: Antichain<Time>,
}

impl AssignmentBatcher {
    pub(crate) fn new() -> Self {
        Self { updates: Vec::new(), frontier: Antichain::new() }
    }
}

impl Batcher<Vec<AssignmentUpdate>> for AssignmentBatcher {
    fn insert(&mut self, updates: &mut Vec<AssignmentUpdate>) {
        match self.updates.is_empty() {
            true => std::mem::swap(&mut self.updates, updates),
            false => self.updates.append(updates),
        }
    }
}

impl Extract for AssignmentBatcher {
    type Time = Time;
    type Output = <Builder as differential_dataflow::trace::Builder>::Output;

    fn extract<'a>(
        &'a mut self,
        upper: AntichainRef<'_, Time>,
    ) -> (Option<Self::Output>, AntichainRef<'a, Time>) {
        // There are none as long as the epochs are fed one by one.
        let mut later: Vec<_> = self.updates.extract_if(.., |(_, time, _)| upper.less_equal(time)).collect();
        consolidate_updates(&mut later);
        self.frontier = later.iter().map(|(_, time, _)| *time).collect();
        let mut ready = std::mem::replace(&mut self.updates, later);
        consolidate_updates(&mut ready);
        // Nearly all have the time and the difference of the one before, which takes no room of its own.
        let mut builder = Builder::with_capacity(ready.len(), ready.len(), 0);
        builder.push(&mut ready);
        (builder.done(), self.frontier.borrow())
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::{Cursor, Navigable, implementations::ValBatcher};
    use proptest::prelude::*;

    use super::*;

    type Batch = <AssignmentBatcher as Extract>::Output;

    fn extract(
        batcher: &mut impl Extract<Time = Time, Output = Batch>,
        upper: Time,
    ) -> (Vec<AssignmentUpdate>, Vec<Time>) {
        let upper = Antichain::from_elem(upper);
        let (batch, frontier) = batcher.extract(upper.borrow());
        let mut updates = Vec::new();
        if let Some(batch) = batch {
            let mut cursor = batch.cursor();
            while let Some(identifier) = cursor.get_key(&batch).copied() {
                while let Some(profile) = cursor.get_val(&batch).copied() {
                    let update = |time: &Time, diff: &isize| ((identifier, profile), *time, *diff);
                    cursor.map_times(&batch, |time, diff| updates.push(update(time, diff)));
                    cursor.step_val(&batch);
                }
                cursor.step_key(&batch);
            }
        }
        (updates, frontier.to_vec())
    }

    proptest! {
        /// Batches and frontiers are those of differential's own batcher, with updates that cancel out and many times, too.
        #[test]
        fn does_what_differentials_own_does(
            rounds in prop::collection::vec(
                (prop::collection::vec((0..9_u128, 0..3_u128, 0..4_u64, any::<bool>()), 0..40), 0..3_u64),
                1..8,
            ),
        ) {
            let (mut own, mut theirs) = (AssignmentBatcher::new(), ValBatcher::new(None, 0));
            let mut now = 0;
            for (page, step) in rounds {
                let update = |(identifier, profile, ahead, is_there)| {
                    ((identifier, profile), now + ahead, if is_there { 1 } else { -1 })
                };
                let updates: Vec<AssignmentUpdate> = page.into_iter().map(update).collect();
                own.insert(&mut updates.clone());
                theirs.insert(&mut updates.clone());
                now += step;
                prop_assert_eq!(extract(&mut own, now), extract(&mut theirs, now));
            }
        }
    }
}
