//! Which checkpoint a start begins with, and which ones are kept.

use std::collections::{BTreeSet, HashMap};

use tidewater_storage::Manifest;

use crate::{
    error::Error,
    pipeline::{Definitions, diff},
};

/// Definitions as a manifest holds them.
pub(crate) fn encode(definitions: &Definitions) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(definitions).map_err(|error| Error::config(error.to_string()))
}

/// Whether state computed with the definitions of a manifest is state of these: nothing that affects results differs,
/// what is stored by place stands in the same order, and messages are remembered by halves of the same dedup window.
pub(crate) fn fits(manifest: &Manifest, definitions: &Definitions) -> bool {
    let Ok(stored) = serde_json::from_slice::<Definitions>(&manifest.definitions) else { return false };
    let names = |definitions: &Definitions| -> Vec<String> {
        let traits = definitions.traits.iter().map(|entry| entry.name.clone());
        traits.chain(definitions.segments.iter().map(|entry| entry.name.clone())).collect()
    };
    let unchanged = diff(&stored, definitions).iter().all(|change| !change.affects_results);
    unchanged && names(&stored) == names(definitions) && stored.dedup == definitions.dedup
}

/// Whether every sink, given with the epoch up to which it has acknowledged all or finds it in its outbox, has all deltas up
/// to the checkpoint's epoch.
pub(crate) fn is_delivered(manifest: &Manifest, acknowledged: &HashMap<String, Option<u64>>) -> bool {
    #[cfg(feature = "planted-bugs")]
    if tidewater_operators::planted::active(tidewater_operators::planted::Bug::CheckpointAheadOfSink) {
        return true;
    }
    acknowledged.iter().all(|(sink, epoch)| {
        // One that is known to have nothing gets everything from the beginning.
        epoch.is_some_and(|epoch| epoch >= manifest.epoch || manifest.delivered.contains(sink))
    })
}

/// Adds a checkpoint to those there are, newest first. One that is made in a replay may be older than some.
pub(crate) fn add(all: &mut Vec<Manifest>, made: Manifest) {
    let place = all.partition_point(|other| other.epoch > made.epoch);
    all.insert(place, made);
}

/// The checkpoints to keep, of all there are, newest first: two, should one be damaged; the newest one that a restart
/// could use although a sink lags; the last one of the chain before, since a damaged file spoils its whole chain; the
/// one made last, of this epoch, which the next one builds on: in a replay it is not the newest; and those that are pinned by
/// their epochs.
pub(crate) fn to_keep(
    all: &[Manifest],
    made: u64,
    acknowledged: &HashMap<String, Option<u64>>,
    pinned: &BTreeSet<u64>,
) -> Vec<Manifest> {
    let base = |manifest: &Manifest| manifest.files.last().map(|file| file.epoch);
    let newest_base = all.first().and_then(base);
    let usable = all.iter().position(|manifest| is_delivered(manifest, acknowledged));
    let other_chain = all.iter().position(|manifest| base(manifest) != newest_base);
    let kept = |place: &usize| {
        let epoch = all[*place].epoch;
        let is_of_use = *place < 2 || Some(*place) == usable || Some(*place) == other_chain;
        is_of_use || epoch == made || pinned.contains(&epoch)
    };
    (0..all.len()).filter(kept).map(|place| all[place].clone()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tidewater_model::Timestamp;
    use tidewater_storage::StateFile;

    use super::*;

    /// A checkpoint whose chain is these epochs, newest first.
    fn manifest(chain: &[u64], delivered: &[&str]) -> Manifest {
        Manifest {
            epoch: chain[0],
            now: Timestamp(0),
            latest: Timestamp(0),
            dedup_half: 0,
            next_place: 0,
            positions: Vec::new(),
            definitions: Vec::new(),
            delivered: delivered.iter().map(|name| (*name).to_owned()).collect(),
            files: chain.iter().map(|epoch| StateFile { epoch: *epoch, bytes: 1 }).collect(),
            is_base: false,
        }
    }

    fn kept(all: &[Manifest], acknowledged: Option<u64>) -> Vec<u64> {
        let sinks = HashMap::from([("ads".to_owned(), acknowledged)]);
        to_keep(all, all.first().map_or(0, |newest| newest.epoch), &sinks, &BTreeSet::new())
            .iter()
            .map(|manifest| manifest.epoch)
            .collect()
    }

    #[test]
    fn two_are_kept_one_that_is_delivered_and_one_of_the_chain_before() {
        let chain = |epochs: &[u64]| manifest(epochs, &[]);
        let all = [chain(&[60, 50]), chain(&[50]), chain(&[40, 20]), chain(&[30, 20]), chain(&[20])];
        assert_eq!(kept(&all, Some(60)), [60, 50, 40]);
        assert_eq!(kept(&all, Some(35)), [60, 50, 40, 30]);
        assert_eq!(kept(&all, Some(7)), [60, 50, 40], "none is of use: all of the log is");
        assert_eq!(kept(&all, None), [60, 50, 40]);
        assert_eq!(kept(&all[1..], Some(50)), [50, 40]);
        assert_eq!(kept(&[], Some(1)), [0; 0]);
    }

    #[test]
    fn one_made_in_a_replay_takes_its_place_among_the_others() {
        let mut all = vec![manifest(&[60, 50], &[]), manifest(&[50], &[]), manifest(&[20], &[])];
        add(&mut all, manifest(&[40, 20], &[]));
        assert_eq!(kept(&all, Some(45)), [60, 50, 40]);
        assert_eq!(kept(&all, Some(20)), [60, 50, 40, 20]);
        // What the next one builds on stays, whatever it is of use for.
        add(&mut all, manifest(&[30, 20], &[]));
        let down = HashMap::from([("ads".to_owned(), Some(0))]);
        let kept: Vec<u64> =
            to_keep(&all, 30, &down, &BTreeSet::new()).iter().map(|manifest| manifest.epoch).collect();
        assert_eq!(kept, [60, 50, 40, 30]);
    }

    #[test]
    fn a_sink_that_had_nothing_to_take_has_everything() {
        let acknowledged = HashMap::from([("ads".to_owned(), Some(3)), ("crm".to_owned(), Some(70))]);
        assert!(is_delivered(&manifest(&[60], &["ads"]), &acknowledged));
        assert!(!is_delivered(&manifest(&[60], &["crm"]), &acknowledged));
        let new = HashMap::from([("ads".to_owned(), None)]);
        assert!(!is_delivered(&manifest(&[60], &["ads"]), &new), "a new sink gets everything");
        assert!(is_delivered(&manifest(&[60], &[]), &HashMap::new()));
    }
}
