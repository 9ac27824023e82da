//! What brings a sink from the memberships of an earlier pipeline to those of the present one: one batch.
//!
//! A sink that follows the deltas of one pipeline must not be handed those of another as if nothing had happened. At
//! one epoch it gets the difference, and from there on the deltas of the new pipeline.

use std::{collections::BTreeMap, sync::Arc};

use tidewater_model::{
    Change, DeltaBatch, DeltaBatchBuilder, ProfileId,
    delta::{DeltaNames, MAX_LISTED_VALUES},
};

/// What people read as the reason of a correcting delta.
const REASON: &str = "pipeline changed";

/// Memberships at the end of one epoch, with the identifiers of the members, by names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Segment and profile.
    pub(crate) members: BTreeMap<(String, ProfileId), ()>,
    /// Identifiers of the members as (name, value), sorted by rank and value.
    pub(crate) identifiers: BTreeMap<ProfileId, Vec<(String, String)>>,
}

/// The difference between two views, to be delivered with the deltas of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Correction {
    /// The epoch it is delivered with; the deltas of earlier ones are not.
    at: u64,
    /// The present names and behind them those that only the earlier pipeline had.
    names: Arc<DeltaNames>,
    rows: BTreeMap<(u32, ProfileId), Row>,
}

#[derive(Clone, Debug)]
struct Row {
    change: Change,
    reason: String,
    identifiers: Vec<(usize, String)>,
    more: Vec<(usize, u32)>,
}

impl Correction {
    /// From what a sink has, `before`, to `after`, the view at the end of the epoch before `at`.
    pub(crate) fn new(at: u64, names: &DeltaNames, before: &View, after: &View) -> Self {
        let (mut segments, mut known) = (names.segments().to_vec(), names.identifiers().to_vec());
        let mut rows = BTreeMap::new();
        let gone = before.members.keys().filter(|member| !after.members.contains_key(member));
        let new = after.members.keys().filter(|member| !before.members.contains_key(member));
        let all = gone.map(|m| (m, Change::Exited, before)).chain(new.map(|m| (m, Change::Entered, after)));
        for ((segment, profile), change, view) in all {
            let segment = index_of(&mut segments, segment) as u32;
            let mut identifiers: Vec<(usize, String)> = Vec::new();
            let mut more: Vec<(usize, u32)> = Vec::new();
            for (name, value) in view.identifiers.get(profile).into_iter().flatten() {
                let index = index_of(&mut known, name);
                if identifiers.iter().filter(|(own, _)| *own == index).count() < MAX_LISTED_VALUES {
                    identifiers.push((index, value.clone()));
                } else {
                    match more.iter_mut().find(|(own, _)| *own == index) {
                        Some((_, count)) => *count += 1,
                        None => more.push((index, 1)),
                    }
                }
            }
            rows.insert((segment, *profile), Row { change, reason: REASON.to_owned(), identifiers, more });
        }
        Self { at, names: Arc::new(DeltaNames::new(segments, known)), rows }
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The correction and the epoch's own deltas, net: who enters by one and exits by the other does not change.
    pub(crate) fn with(mut self, batch: &DeltaBatch) -> DeltaBatch {
        for delta in batch.iter() {
            let key = (delta.segment_index() as u32, delta.profile());
            if self.rows.remove(&key).is_none() {
                self.rows.insert(
                    key,
                    Row {
                        change: delta.change(),
                        reason: delta.reason().to_owned(),
                        identifiers: delta.identifiers().map(|(at, value)| (at, value.to_owned())).collect(),
                        more: delta.more().collect(),
                    },
                );
            }
        }
        let mut builder = DeltaBatchBuilder::new(batch.epoch(), batch.now(), self.names);
        for ((segment, profile), row) in self.rows {
            builder.delta(segment as usize, profile, row.change);
            builder.reason(&row.reason);
            row.identifiers.iter().for_each(|(at, value)| builder.identifier(*at, value));
            row.more.iter().for_each(|(at, count)| builder.more(*at, *count));
        }
        builder.finish()
    }
}

/// The index of a name, which is added if it is not there.
fn index_of(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tidewater_model::Timestamp;

    use super::*;

    fn view(members: &[(&str, u128)]) -> View {
        View {
            members: members.iter().map(|(name, id)| (((*name).to_owned(), ProfileId(*id)), ())).collect(),
            identifiers: members
                .iter()
                .map(|(_, id)| (ProfileId(*id), vec![("user_id".to_owned(), format!("u{id}"))]))
                .collect(),
        }
    }

    #[test]
    fn it_is_the_net_difference_by_names() {
        let names =
            DeltaNames::new(vec!["kept".into(), "new".into()], vec!["email".into(), "user_id".into()]);
        let before = view(&[("kept", 1), ("kept", 2), ("removed", 1), ("kept", 5)]);
        let after = view(&[("kept", 1), ("kept", 3), ("new", 1), ("kept", 4)]);
        let correction = Correction::new(9, &names, &before, &after);
        // In the same epoch 4 exits again, 5 enters again, and 6 enters.
        let mut own = DeltaBatchBuilder::new(9, Timestamp(77), Arc::new(names));
        own.delta(0, ProfileId(4), Change::Exited);
        own.delta(0, ProfileId(5), Change::Entered);
        own.delta(0, ProfileId(6), Change::Entered);
        own.reason("orders 0 -> 1");
        let merged = correction.with(&own.finish());
        let told: Vec<_> = merged
            .iter()
            .map(|delta| (delta.segment(), delta.profile().0, delta.change().name(), delta.reason()))
            .collect();
        assert_eq!(
            told,
            [
                ("kept", 2, "exited", REASON),
                ("kept", 3, "entered", REASON),
                ("kept", 6, "entered", "orders 0 -> 1"),
                ("new", 1, "entered", REASON),
                ("removed", 1, "exited", REASON),
            ]
        );
        assert_eq!((merged.epoch(), merged.now()), (9, Timestamp(77)));
        assert_eq!(merged.get(0).identifiers().collect::<Vec<_>>(), [(1, "u2")]);
    }
}
