//! The dead letters of one sink: on disk with a state directory, else the last ones in memory.
//!
//! A letter holds one delta. When a newer delta of the same segment and profile reaches the destination, or becomes a letter
//! itself, the older one is superseded: delivered now, it would undo what is newer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_model::{DeltaBatch, ProfileId, Timestamp};
use tidewater_storage::{Appended, DeadLetters, NewDeadLetter, StorageError, StoredDeadLetter};

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
}

/// The dead letters of one sink.
pub(crate) struct Letters {
    inside: Mutex<Inside>,
    /// As of the last change, so that whoever looks does not wait for the disk.
    counts: Mutex<LetterCounts>,
}

struct Inside {
    place: Place,
    /// By profile: what is to be superseded by what comes.
    by_profile: HashMap<ProfileId, Vec<Key>>,
    marked: BTreeSet<u64>,
    superseded: BTreeSet<u64>,
}

struct Key {
    id: u64,
    epoch: u64,
    segment: String,
}

enum Place {
    Disk(Box<DeadLetters>),
    Memory(Ring),
    /// The engine has ended, with so many.
    Closed(LetterCounts),
}

/// The last letters of an engine without a state directory.
#[derive(Default)]
struct Ring {
    letters: BTreeMap<u64, StoredDeadLetter>,
    next_id: u64,
    bytes: usize,
    limit: usize,
    /// Those that had to make room, since it was last looked.
    gone: BTreeSet<u64>,
    dropped: u64,
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
        let (by_profile, marked, superseded) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        let counts = Mutex::new(place.counts());
        Self { inside: Mutex::new(Inside { place, by_profile, marked, superseded }), counts }
    }

    /// Those that are on disk.
    pub(crate) fn on_disk(letters: DeadLetters) -> Result<Self, StorageError> {
        let all = letters.read(None)?;
        let on_disk = Self::new(Place::Disk(Box::new(letters)));
        let mut inside = on_disk.lock();
        for letter in all {
            let letter = letter?;
            if letter.is_marked {
                inside.marked.insert(letter.id);
            }
            match (letter.superseded_by, delta_of(&letter)) {
                (None, Some(delta)) => inside.note(letter.id, &delta),
                _ => _ = inside.superseded.insert(letter.id),
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

    /// Takes note, durably, of what the destination has got: older letters of the same are superseded.
    pub(crate) fn supersede(&self, batches: &[Arc<DeltaBatch>]) -> Result<(), StorageError> {
        self.lock().supersede(batches.iter().map(|batch| &**batch))
    }

    pub(crate) fn has_marked(&self) -> bool {
        !self.lock().marked.is_empty()
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
        inside.marked.extend(&ids);
        self.changed(&inside);
        Ok(ids.len() as u64)
    }

    /// The first letters that are to be delivered again, at most so many.
    pub(crate) fn marked(&self, most: usize) -> Result<Vec<StoredDeadLetter>, StorageError> {
        let ids = self.lock().marked.iter().copied().take(most).collect();
        self.read(Some(ids))
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

impl Inside {
    fn add(&mut self, refusals: &[Refusal]) -> Result<Added, StorageError> {
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
            if let Place::Memory(ring) = &mut self.place {
                let gone = std::mem::take(&mut ring.gone);
                self.forget(&gone);
            }
        }
        self.place.sync()?;
        Ok(Added::All)
    }

    fn note(&mut self, id: u64, delta: &DeltaBatch) {
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

    fn supersede<'a>(&mut self, batches: impl Iterator<Item = &'a DeltaBatch>) -> Result<(), StorageError> {
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

    fn forget(&mut self, ids: &BTreeSet<u64>) {
        if ids.is_empty() {
            return;
        }
        self.drop_keys(ids);
        self.marked.retain(|id| !ids.contains(id));
        self.superseded.retain(|id| !ids.contains(id));
    }

    /// Those of these numbers that there are, or all there are.
    fn ids(&self, wanted: Option<&BTreeSet<u64>>) -> BTreeSet<u64> {
        let all = self.by_profile.values().flatten().map(|key| key.id).chain(self.superseded.iter().copied());
        all.filter(|id| wanted.is_none_or(|wanted| wanted.contains(id))).collect()
    }
}

impl Place {
    fn counts(&self) -> LetterCounts {
        match self {
            Self::Disk(letters) => {
                LetterCounts { letters: letters.len(), bytes: letters.bytes(), dropped: 0 }
            }
            Self::Memory(ring) => LetterCounts {
                letters: ring.letters.len() as u64,
                bytes: ring.bytes as u64,
                dropped: ring.dropped,
            },
            Self::Closed(counts) => *counts,
        }
    }

    /// The letter's number; `None` if there is no room.
    fn append(&mut self, refusal: &Refusal) -> Result<Option<u64>, StorageError> {
        let mut bytes = Vec::new();
        codec::encode(&refusal.delta, &mut bytes);
        let context = codec::encode_names(refusal.delta.names());
        let letter = NewDeadLetter {
            epoch: refusal.delta.epoch(),
            cause: refusal.cause,
            reason: &refusal.reason,
            attempts: refusal.attempts,
            first_failed_at: refusal.first_failed_at,
            last_failed_at: refusal.last_failed_at,
            context: &context,
            bytes: &bytes,
        };
        match self {
            Self::Disk(letters) => match letters.append(&letter)? {
                Appended::Stored(id) => Ok(Some(id)),
                Appended::Full => Ok(None),
            },
            Self::Memory(ring) => Ok(Some(ring.add(&letter))),
            Self::Closed(_) => Err(closed()),
        }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Disk(letters) => letters.sync(),
            Self::Memory(_) => Ok(()),
            Self::Closed(_) => Err(closed()),
        }
    }
}

impl Ring {
    fn add(&mut self, letter: &NewDeadLetter<'_>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let stored = StoredDeadLetter {
            id,
            epoch: letter.epoch,
            cause: letter.cause.to_owned(),
            reason: letter.reason.to_owned(),
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            superseded_by: None,
            is_marked: false,
            context: letter.context.to_vec(),
            bytes: letter.bytes.to_vec(),
        };
        self.bytes += size(&stored);
        self.letters.insert(id, stored);
        while self.bytes > self.limit
            && self.letters.len() > 1
            && let Some(oldest) = self.letters.keys().next().copied()
        {
            tracing::warn!(
                id = oldest,
                "the oldest dead letter is dropped: without a state directory few are kept"
            );
            self.remove(oldest);
            self.gone.insert(oldest);
            self.dropped += 1;
        }
        id
    }

    fn remove(&mut self, id: u64) {
        if let Some(gone) = self.letters.remove(&id) {
            self.bytes -= size(&gone);
        }
    }

    fn change(&mut self, ids: &BTreeSet<u64>, change: impl Fn(&mut StoredDeadLetter)) {
        for id in ids {
            self.letters.get_mut(id).into_iter().for_each(&change);
        }
        // Reasons have other lengths now.
        self.bytes = self.letters.values().map(size).sum();
    }
}

fn closed() -> StorageError {
    StorageError::Refused { detail: "the engine has ended, and its dead letters are closed".to_owned() }
}

fn size(letter: &StoredDeadLetter) -> usize {
    size_of::<StoredDeadLetter>() + letter.reason.len() + letter.context.len() + letter.bytes.len()
}

/// The delta that a letter holds.
pub(crate) fn delta_of(letter: &StoredDeadLetter) -> Option<DeltaBatch> {
    let names = Arc::new(codec::decode_names(&letter.context)?);
    codec::decode(&letter.bytes, &names)
}

#[cfg(test)]
mod tests;
