//! Which letters there are of whom, so that what is newer supersedes what is older.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tidewater_model::{DeltaBatch, ProfileId};
use tidewater_storage::StorageError;

use super::{
    Added, Refusal,
    place::{Place, closed},
};

/// The letters there are.
pub(super) struct Inside {
    pub(super) place: Place,
    /// By profile: what is to be superseded by what comes.
    pub(super) by_profile: HashMap<ProfileId, Vec<Key>>,
    /// With the epoch that is to be acknowledged before.
    pub(super) marked: BTreeMap<u64, u64>,
    pub(super) superseded: BTreeSet<u64>,
    /// They are to be tried once more when the epochs that they are of are acknowledged.
    pub(super) doubtful: BTreeSet<u64>,
    /// They are of epochs that are not acknowledged yet, and were refused in this life.
    pub(super) refused: BTreeSet<u64>,
}

/// Of which delta a letter is.
pub(super) struct Key {
    id: u64,
    epoch: u64,
    segment: String,
    /// It is not to be tried again before this epoch is acknowledged.
    due: u64,
}

impl Inside {
    pub(super) fn add(&mut self, refusals: &[Refusal]) -> Result<Added, StorageError> {
        for (place, refusal) in refusals.iter().enumerate() {
            if let Some(id) = self.held(&refusal.delta) {
                // The process died before it was acknowledged.
                self.refused.insert(id);
                if refusal.is_doubtful {
                    self.doubtful.insert(id);
                }
                continue;
            }
            self.supersede(&refusal.delta)?;
            let Some(id) = self.place.append(refusal)? else {
                self.place.sync()?;
                return Ok(Added::Full(place));
            };
            self.note(id, &refusal.delta, None);
            self.refused.insert(id);
            if refusal.is_doubtful {
                self.doubtful.insert(id);
            }
            if let Place::Memory(ring) = &mut self.place {
                let gone = std::mem::take(&mut ring.gone);
                self.forget(&gone);
            }
        }
        self.place.sync()?;
        Ok(Added::All)
    }

    /// Notes a letter, and when it is due: not before what an earlier life has superseded it by is there or will never be.
    pub(super) fn note(&mut self, id: u64, delta: &DeltaBatch, superseded_by: Option<u64>) -> u64 {
        let epoch = delta.epoch();
        let due = superseded_by.map_or(epoch, |by| by.max(epoch));
        for row in delta.iter() {
            let key = Key { id, epoch, segment: row.segment().to_owned(), due };
            self.by_profile.entry(row.profile()).or_default().push(key);
        }
        due
    }

    /// The letters of the same profiles and segments as these deltas.
    fn same<'a>(&'a self, deltas: &'a DeltaBatch) -> impl Iterator<Item = &'a Key> {
        deltas.iter().flat_map(|delta| {
            let known = self.by_profile.get(&delta.profile()).into_iter().flatten();
            known.filter(move |key| key.segment == delta.segment())
        })
    }

    fn held(&self, delta: &DeltaBatch) -> Option<u64> {
        self.same(delta).find(|key| key.epoch == delta.epoch()).map(|key| key.id)
    }

    /// What is older than these deltas is superseded.
    pub(super) fn supersede(&mut self, deltas: &DeltaBatch) -> Result<(), StorageError> {
        let older = self.same(deltas).filter(|key| key.epoch < deltas.epoch());
        self.set_superseded(older.map(|key| key.id).collect(), deltas.epoch())
    }

    /// The destination has these epochs, but for what was refused: older letters are superseded, and those of an earlier life
    /// that it takes now.
    pub(super) fn taken(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<(), StorageError> {
        for batch in batches {
            let epoch = batch.epoch();
            let is_over =
                |key: &&Key| key.epoch < epoch || key.epoch == epoch && !self.refused.contains(&key.id);
            let ids = self.same(batch).filter(is_over).map(|key| key.id).collect();
            self.set_superseded(ids, epoch)?;
        }
        self.refused.clear();
        Ok(())
    }

    /// Between these epochs nothing comes any more: what is delivered at the second one makes up for them. So their letters are
    /// superseded by that, and what they were to supersede is not.
    pub(super) fn corrected(&mut self, has: u64, at: u64) -> Result<(), StorageError> {
        let is_left_out = |epoch: u64| has < epoch && epoch < at;
        let keys = || self.by_profile.values().flatten();
        let never = keys().filter(|key| is_left_out(key.epoch)).map(|key| key.id).collect();
        let again = keys().filter(|key| !is_left_out(key.epoch) && is_left_out(key.due));
        let again: BTreeMap<u64, u64> = again.map(|key| (key.id, key.epoch)).collect();
        self.set_superseded(never, at)?;
        if again.is_empty() {
            return Ok(());
        }
        match &mut self.place {
            Place::Disk(letters) => letters.restore(&again.keys().copied().collect())?,
            // It knows of no earlier life.
            Place::Memory(_) => {}
            Place::Closed(_) => return Err(closed()),
        }
        for key in self.by_profile.values_mut().flatten() {
            if again.contains_key(&key.id) {
                key.due = key.epoch;
            }
        }
        for (id, epoch) in again {
            self.marked.entry(id).and_modify(|due| *due = epoch);
        }
        Ok(())
    }

    fn set_superseded(&mut self, ids: BTreeSet<u64>, epoch: u64) -> Result<(), StorageError> {
        if ids.is_empty() {
            return Ok(());
        }
        match &mut self.place {
            Place::Disk(letters) => letters.superseded(&ids, epoch)?,
            Place::Memory(ring) => ring.change(&ids, |letter| letter.superseded_by = Some(epoch)),
            Place::Closed(_) => return Err(closed()),
        }
        self.drop_keys(&ids);
        self.superseded.extend(ids);
        Ok(())
    }

    /// Which epoch is to be acknowledged before each of these is tried again; 0 for those that are only to be dropped.
    pub(super) fn due(&self, ids: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
        let mut due: BTreeMap<u64, u64> = ids.iter().map(|id| (*id, 0)).collect();
        for key in self.by_profile.values().flatten() {
            due.entry(key.id).and_modify(|due| *due = key.due);
        }
        due
    }

    fn drop_keys(&mut self, ids: &BTreeSet<u64>) {
        self.by_profile.retain(|_, keys| {
            keys.retain(|key| !ids.contains(&key.id));
            !keys.is_empty()
        });
    }

    pub(super) fn forget(&mut self, ids: &BTreeSet<u64>) {
        if ids.is_empty() {
            return;
        }
        self.drop_keys(ids);
        self.marked.retain(|id, _| !ids.contains(id));
        self.superseded.retain(|id| !ids.contains(id));
        self.doubtful.retain(|id| !ids.contains(id));
        self.refused.retain(|id| !ids.contains(id));
    }

    /// Those of these numbers that there are, or all there are.
    pub(super) fn ids(&self, wanted: Option<&BTreeSet<u64>>) -> BTreeSet<u64> {
        let all = self.by_profile.values().flatten().map(|key| key.id).chain(self.superseded.iter().copied());
        all.filter(|id| wanted.is_none_or(|wanted| wanted.contains(id))).collect()
    }
}
