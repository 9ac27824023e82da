//! The dead letters of one sink: on disk with a state directory, else the last ones in memory.
//!
//! A letter holds one delta. When a newer delta of the same segment and profile reaches the destination, or becomes a letter
//! itself, the older one is superseded: delivered now, it would undo what is newer. So is one whose epoch is delivered once more
//! after a crash, if it is taken then; until that epoch is acknowledged the letter is not due. What supersedes is noted before it
//! is sent, since the answer may be lost; it counts once its epoch is acknowledged, since a changed pipeline may leave it out.

mod inside;
mod place;
mod ring;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_model::{DeltaBatch, Timestamp};
use tidewater_storage::{DeadLetters, StorageError, StoredDeadLetter};

use self::{
    inside::Inside,
    place::{Place, closed},
    ring::Ring,
};
use super::codec;

/// A delta that was not taken, on its way to the letters.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// One delta.
    pub(crate) delta: DeltaBatch,
    pub(crate) cause: &'static str,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: Timestamp,
    pub(crate) last_failed_at: Timestamp,
    /// Nothing had been taken yet, so it may have been the destination's fault.
    pub(crate) is_doubtful: bool,
}

/// The dead letters of one sink.
pub(crate) struct Letters {
    inside: Mutex<Inside>,
    /// As of the last change, so that whoever looks does not wait for the disk.
    counts: Mutex<LetterCounts>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LetterCounts {
    pub(crate) letters: u64,
    pub(crate) bytes: u64,
    /// Of those without a state directory: how many had to make room.
    pub(crate) dropped: u64,
}

/// What became of refusals.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// They are letters, durably.
    All,
    /// So many of them are; there is no room for more.
    Full(usize),
}

impl Letters {
    /// Those of an engine without a state directory, at most so many bytes.
    pub(crate) fn in_memory(limit: usize) -> Self {
        Self::new(Place::Memory(Ring { next_id: 1, limit, ..Ring::default() }))
    }

    fn new(place: Place) -> Self {
        let counts = Mutex::new(place.counts());
        let inside = Inside {
            place,
            by_profile: HashMap::new(),
            marked: BTreeMap::new(),
            superseded: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        Self { inside: Mutex::new(inside), counts }
    }

    /// Those that are on disk, of a sink that has acknowledged so much.
    pub(crate) fn on_disk(letters: DeadLetters, acknowledged: u64) -> Result<Self, StorageError> {
        let all = letters.read(None)?;
        let on_disk = Self::new(Place::Disk(Box::new(letters)));
        let mut inside = on_disk.lock();
        for letter in all {
            let letter = letter?;
            let by = letter.superseded_by;
            let due = match delta_of(&letter).filter(|_| by.is_none_or(|by| by > acknowledged)) {
                Some(delta) => inside.note(letter.id, &delta, by),
                None => {
                    inside.superseded.insert(letter.id);
                    0
                }
            };
            if letter.is_marked {
                inside.marked.insert(letter.id, due);
            }
        }
        drop(inside);
        Ok(on_disk)
    }

    /// Makes letters of refusals, durably.
    pub(crate) fn add(&self, refusals: &[Refusal]) -> Result<Added, StorageError> {
        let mut inside = self.lock();
        let added = inside.add(refusals);
        self.changed(&inside);
        added
    }

    /// Whether nothing is to be superseded.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().by_profile.is_empty()
    }

    /// Takes note, durably, that these epochs are delivered next: older letters of the same are superseded.
    pub(crate) fn supersede(&self, batches: &[Arc<DeltaBatch>]) -> Result<(), StorageError> {
        let mut inside = self.lock();
        batches.iter().try_for_each(|batch| inside.supersede(batch))
    }

    /// Takes note, durably, that no epoch between these comes any more: what is delivered at the second one makes up for them.
    /// Of no effect if it is said again.
    pub(crate) fn corrected(&self, has: u64, at: u64) -> Result<(), StorageError> {
        self.lock().corrected(has, at)
    }

    /// Takes note, durably, that the destination has got these epochs, but for what was refused since the last ones: older
    /// letters of the same are superseded, and those of these epochs, which an earlier life has left.
    pub(crate) fn taken(&self, batches: &[Arc<DeltaBatch>]) -> Result<(), StorageError> {
        self.lock().taken(batches)
    }

    /// Takes note, durably, that the destination has got a letter's delta: older letters of the same are superseded, and the
    /// letter is gone.
    pub(crate) fn delivered(&self, id: u64, delta: &DeltaBatch) -> Result<(), StorageError> {
        self.lock().supersede(delta)?;
        self.remove(Some(&BTreeSet::from([id]))).map(|_| ())
    }

    /// Whether there is one to be delivered again, of the epochs up to this one: later ones are delivered once more themselves.
    pub(crate) fn is_due(&self, delivered: u64) -> bool {
        self.lock().marked.values().any(|due| *due <= delivered)
    }

    /// Marks letters: they are to be delivered again. How many they are.
    pub(crate) fn mark(&self, ids: Option<&BTreeSet<u64>>) -> Result<u64, StorageError> {
        let mut inside = self.lock();
        let ids = inside.ids(ids);
        match &mut inside.place {
            _ if ids.is_empty() => {}
            Place::Disk(letters) => letters.mark(&ids)?,
            Place::Memory(ring) => ring.change(&ids, |letter| letter.is_marked = true),
            Place::Closed(_) => return Err(closed()),
        }
        let due = inside.due(&ids);
        inside.marked.extend(due);
        self.changed(&inside);
        Ok(ids.len() as u64)
    }

    /// Marks the doubtful letters.
    pub(crate) fn mark_doubtful(&self) -> Result<u64, StorageError> {
        let ids = self.lock().doubtful.clone();
        let marked = self.mark(Some(&ids))?;
        self.lock().doubtful.clear();
        Ok(marked)
    }

    /// The first letters that are to be delivered again of the epochs up to this one, at most so many.
    pub(crate) fn due(&self, delivered: u64, most: usize) -> Result<Vec<StoredDeadLetter>, StorageError> {
        let (ids, superseded) = {
            let inside = self.lock();
            let due = inside.marked.iter().filter(|(_, due)| **due <= delivered);
            let ids: BTreeSet<u64> = due.map(|(id, _)| *id).take(most).collect();
            let superseded: BTreeSet<u64> = ids.intersection(&inside.superseded).copied().collect();
            (ids, superseded)
        };
        let mut letters = self.read(Some(ids))?;
        // What was to supersede it has not come.
        let is_live = |letter: &&mut StoredDeadLetter| !superseded.contains(&letter.id);
        letters.iter_mut().filter(is_live).for_each(|letter| letter.superseded_by = None);
        Ok(letters)
    }

    /// The letters of these numbers, or all.
    pub(crate) fn read(&self, ids: Option<BTreeSet<u64>>) -> Result<Vec<StoredDeadLetter>, StorageError> {
        let reader = match &self.lock().place {
            Place::Disk(letters) => letters.read(ids)?,
            Place::Memory(ring) => {
                let is_wanted = |id: &u64| ids.as_ref().is_none_or(|ids| ids.contains(id));
                let wanted = ring.letters.values().filter(|letter| is_wanted(&letter.id));
                return Ok(wanted.cloned().collect());
            }
            Place::Closed(_) => return Err(closed()),
        };
        reader.collect()
    }

    /// Takes letters out, durably. How many they were.
    pub(crate) fn remove(&self, ids: Option<&BTreeSet<u64>>) -> Result<u64, StorageError> {
        let mut inside = self.lock();
        let ids = inside.ids(ids);
        match &mut inside.place {
            _ if ids.is_empty() => {}
            Place::Disk(letters) => letters.remove(&ids)?,
            Place::Memory(ring) => ids.iter().for_each(|id| ring.remove(*id)),
            Place::Closed(_) => return Err(closed()),
        }
        inside.forget(&ids);
        self.changed(&inside);
        Ok(ids.len() as u64)
    }

    /// A letter that was delivered again has been refused again.
    pub(crate) fn failed(
        &self,
        id: u64,
        reason: &str,
        attempts: u32,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        let mut inside = self.lock();
        match &mut inside.place {
            Place::Disk(letters) => letters.failed(id, reason, attempts, at)?,
            Place::Memory(ring) => ring.change(&BTreeSet::from([id]), |letter| {
                (letter.is_marked, letter.reason) = (false, reason.to_owned());
                (letter.attempts, letter.last_failed_at) = (attempts, at);
            }),
            Place::Closed(_) => return Err(closed()),
        }
        inside.marked.remove(&id);
        self.changed(&inside);
        Ok(())
    }

    pub(crate) fn counts(&self) -> LetterCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, inside: &Inside) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = inside.place.counts();
    }

    /// Closes the file, if there is one.
    pub(crate) fn release(&self) {
        let mut inside = self.lock();
        if let Place::Disk(_) = &inside.place {
            inside.place = Place::Closed(inside.place.counts());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The delta that a letter holds.
pub(crate) fn delta_of(letter: &StoredDeadLetter) -> Option<DeltaBatch> {
    let names = Arc::new(codec::decode_names(&letter.context)?);
    codec::decode(&letter.bytes, &names)
}

#[cfg(test)]
mod tests;
