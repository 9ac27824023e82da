//! Which letters there are of whom, so that what is newer supersedes what is older.

use std::collections::{BTreeSet, HashMap};

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
    pub(super) marked: BTreeSet<u64>,
    pub(super) superseded: BTreeSet<u64>,
    /// They are to be tried once more when the epochs that they are of are acknowledged.
    pub(super) doubtful: BTreeSet<u64>,
}

/// Of which delta a letter is.
pub(super) struct Key {
    id: u64,
    epoch: u64,
    segment: String,
}

impl Inside {
    pub(super) fn add(&mut self, refusals: &[Refusal]) -> Result<Added, StorageError> {
        for (place, refusal) in refusals.iter().enumerate() {
            if self.holds(&refusal.delta) {
                // The process died before it was acknowledged.
                continue;
            }
            self.supersede(std::iter::once(&refusal.delta))?;
            let Some(id) = self.place.append(refusal)? else {
                self.place.sync()?;
                return Ok(Added::Full(place));
            };
            self.note(id, &refusal.delta);
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

    pub(super) fn note(&mut self, id: u64, delta: &DeltaBatch) {
        for row in delta.iter() {
            let key = Key { id, epoch: delta.epoch(), segment: row.segment().to_owned() };
            self.by_profile.entry(row.profile()).or_default().push(key);
        }
    }

    fn holds(&self, delta: &DeltaBatch) -> bool {
        delta.iter().any(|row| {
            let known = self.by_profile.get(&row.profile()).into_iter().flatten();
            known.into_iter().any(|key| key.epoch == delta.epoch() && key.segment == row.segment())
        })
    }

    pub(super) fn supersede<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a DeltaBatch>,
    ) -> Result<(), StorageError> {
        if self.by_profile.is_empty() {
            return Ok(());
        }
        for batch in batches {
            let mut ids = BTreeSet::new();
            for delta in batch.iter() {
                let known = self.by_profile.get(&delta.profile()).into_iter().flatten();
                let older = known.filter(|key| key.epoch < batch.epoch() && key.segment == delta.segment());
                ids.extend(older.map(|key| key.id));
            }
            if ids.is_empty() {
                continue;
            }
            let epoch = batch.epoch();
            match &mut self.place {
                Place::Disk(letters) => letters.superseded(&ids, epoch)?,
                Place::Memory(ring) => ring.change(&ids, |letter| letter.superseded_by = Some(epoch)),
                Place::Closed(_) => return Err(closed()),
            }
            self.drop_keys(&ids);
            self.superseded.extend(ids);
        }
        Ok(())
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
        self.marked.retain(|id| !ids.contains(id));
        self.superseded.retain(|id| !ids.contains(id));
        self.doubtful.retain(|id| !ids.contains(id));
    }

    /// Those of these numbers that there are, or all there are.
    pub(super) fn ids(&self, wanted: Option<&BTreeSet<u64>>) -> BTreeSet<u64> {
        let all = self.by_profile.values().flatten().map(|key| key.id).chain(self.superseded.iter().copied());
        all.filter(|id| wanted.is_none_or(|wanted| wanted.contains(id))).collect()
    }
}
