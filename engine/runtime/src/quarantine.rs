//! Refused events: on disk with a state directory, else the last ones in memory.

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_connector_api::{Accepted, RawEvents};
use tidewater_storage::{NewRecord, NewState, QuarantineOptions, StateDir, StateReader, StorageError};
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    error::Error,
    logger::refused::Removal,
    sequencer::{intake::Intake, message::Message},
};

pub use tidewater_storage::{Filter as QuarantineFilter, Record as QuarantinedEvent};

/// Redriven events are handed in so many at a time.
const REDRIVE_EVENTS: usize = 1_000;

/// Of large ones fewer: no more once they have so many bytes. Besides one largest event this is all that a redrive holds in
/// memory, and a small part of an epoch.
const REDRIVE_BYTES: usize = 4 << 20;

/// Dropped events are taken out so many at a time, of which only the numbers are held in memory: some megabytes.
const DROP_EVENTS: usize = 100_000;

/// The last refused events of an engine without a state directory.
#[derive(Debug)]
pub(crate) struct Ring {
    limit: usize,
    events: Mutex<(VecDeque<QuarantinedEvent>, u64)>,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, events: Mutex::default() }
    }

    pub(crate) fn add(&self, record: &NewRecord<'_>) {
        let mut guard = self.lock();
        let (events, last_id) = &mut *guard;
        *last_id += 1;
        if self.limit == 0 {
            return;
        }
        if events.len() == self.limit {
            events.pop_front();
        }
        events.push_back(QuarantinedEvent {
            id: *last_id,
            reason: record.reason.to_owned(),
            source: record.source.to_owned(),
            received_at: record.received_at,
            bytes: record.bytes.to_vec(),
            original_len: record.original_len,
        });
    }

    /// The first event behind this number, no later than `last`, that `filter` lets through.
    fn next(&self, after: u64, last: u64, filter: &QuarantineFilter) -> Option<QuarantinedEvent> {
        let wanted = |event: &&QuarantinedEvent| match filter {
            QuarantineFilter::All => true,
            QuarantineFilter::Ids(ids) => ids.contains(&event.id),
            QuarantineFilter::Reason(reason) => event.reason == *reason,
        };
        let guard = self.lock();
        let (events, _) = &*guard;
        let start = events.partition_point(|event| event.id <= after);
        events.range(start..).take_while(|event| event.id <= last).find(wanted).cloned()
    }

    fn remove(&self, ids: &BTreeSet<u64>) -> u64 {
        let mut guard = self.lock();
        let before = guard.0.len();
        guard.0.retain(|event| !ids.contains(&event.id));
        (before - guard.0.len()) as u64
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<QuarantinedEvent>, u64)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a ring one event at a time, as of the moment it was made.
struct RingReader {
    ring: Arc<Ring>,
    filter: QuarantineFilter,
    after: u64,
    last: u64,
}

impl Iterator for RingReader {
    type Item = Result<QuarantinedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = self.ring.next(self.after, self.last, &self.filter)?;
        self.after = event.id;
        Some(Ok(event))
    }
}

/// The quarantine of a running engine; see [`Engine::quarantine`].
pub struct QuarantineView {
    place: Place,
    /// Held while events are fed again or dropped: two at a time would feed, and refuse, the same ones twice.
    redriving: tokio::sync::Mutex<()>,
}

/// Where refused events are.
pub(crate) enum Place {
    Memory(Arc<Ring>),
    Disk { reader: StateReader, intake: Arc<Intake> },
}

/// Refused events, one after the other.
pub type QuarantinedEvents = Box<dyn Iterator<Item = Result<QuarantinedEvent, Error>> + Send>;

impl QuarantineView {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, redriving: tokio::sync::Mutex::new(()) }
    }

    /// The refused events that `filter` lets through and that are there by now, oldest first. Reads files: not for a thread
    /// that must not block. Without a state directory only the last ones are kept.
    ///
    /// # Errors
    /// [`Error::Storage`] if the files can't be read.
    pub fn read(&self, filter: QuarantineFilter) -> Result<QuarantinedEvents, Error> {
        match &self.place {
            Place::Memory(ring) => {
                let last = ring.lock().1;
                Ok(Box::new(RingReader { ring: Arc::clone(ring), filter, after: 0, last }))
            }
            Place::Disk { reader, .. } => {
                Ok(Box::new(reader.quarantine(filter)?.map(|record| record.map_err(Error::from))))
            }
        }
    }

    /// Takes events out of quarantine, durably; how many.
    async fn remove(&self, removal: Removal) -> Result<u64, Error> {
        match &self.place {
            Place::Memory(ring) => Ok(ring.remove(&removal.ids)),
            Place::Disk { intake, .. } => {
                let (sender, receiver) = oneshot::channel();
                if !intake.post(Message::Remove(removal, sender)) {
                    return Err(Error::Closed);
                }
                receiver.await.map_err(|_| Error::Closed)?
            }
        }
    }
}

impl std::fmt::Debug for QuarantineView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.place {
            Place::Memory(_) => "QuarantineView(memory)",
            Place::Disk { .. } => "QuarantineView(disk)",
        })
    }
}

/// What became of redriven events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// Accepted this time.
    pub accepted: u64,
    /// Duplicates of accepted ones, and so done with.
    pub duplicates: u64,
    /// Refused again; they are in quarantine under new numbers.
    pub quarantined: u64,
    /// Left in quarantine because only their beginning was kept.
    pub incomplete: u64,
}

/// Refused events that are read together.
#[derive(Default)]
struct Part {
    batch: RawEvents,
    removal: Removal,
    incomplete: u64,
}

impl Part {
    /// Those that are fed next.
    fn to_feed(events: &mut QuarantinedEvents) -> Result<Self, Error> {
        let mut part = Self::default();
        while part.removal.ids.len() < REDRIVE_EVENTS && part.batch.bytes() < REDRIVE_BYTES {
            let Some(event) = events.next().transpose()? else { break };
            if event.is_whole() {
                part.batch.push(&event.bytes);
                part.removal.add(&event);
            } else {
                part.incomplete += 1;
            }
        }
        Ok(part)
    }

    /// Those that are dropped next.
    fn to_drop(events: &mut QuarantinedEvents) -> Result<Self, Error> {
        let mut part = Self::default();
        while part.removal.ids.len() < DROP_EVENTS {
            let Some(event) = events.next().transpose()? else { break };
            part.removal.add(&event);
        }
        Ok(part)
    }
}

impl Removal {
    fn add(&mut self, event: &QuarantinedEvent) {
        self.ids.insert(event.id);
        self.bytes += event.size();
    }

    /// Nothing, but that nothing more follows.
    fn end() -> Self {
        Self { is_last: true, ..Self::default() }
    }
}

/// Does something with refused events where that holds up no task.
async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let reading = crate::threads::blocking(work);
    reading.await.map_err(|_| Error::failed("reading the quarantine panicked"))?
}

impl Engine {
    /// Feeds refused events again, and takes those that could be fed out of quarantine once they are durable. One that is
    /// refused again stays, under a new number, also in a quarantine that is full.
    ///
    /// It feeds those that are there by now. A crash on the way feeds some twice, which deduplication undoes for all that
    /// carry a messageId or a time. One call waits for another.
    ///
    /// # Errors
    /// [`Error::Storage`] if the quarantine can't be read or written; [`Error::Closed`] and [`Error::Failed`] once
    /// the engine has ended.
    pub async fn redrive(&self, filter: QuarantineFilter) -> Result<Redriven, Error> {
        let _only_one = self.quarantine().redriving.lock().await;
        let mut done = Redriven::default();
        let mut events = self.refused(filter).await?;
        loop {
            let part;
            (events, part) = reading(move || {
                let part = Part::to_feed(&mut events)?;
                Ok((events, part))
            })
            .await?;
            done.incomplete += part.incomplete;
            if part.removal.ids.is_empty() {
                break;
            }
            let Accepted { events, duplicates, quarantined, .. } =
                self.submit_again(part.batch).await?.await?;
            done.accepted += events;
            done.duplicates += duplicates;
            done.quarantined += quarantined;
            self.quarantine().remove(part.removal).await?;
        }
        self.quarantine().remove(Removal::end()).await?;
        Ok(done)
    }

    /// Drops refused events for good, those that are there by now; how many. It makes room in a quarantine that is full.
    /// One call waits for another, and for one of [`redrive`](Self::redrive).
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    pub async fn drop_quarantined(&self, filter: QuarantineFilter) -> Result<u64, Error> {
        let _only_one = self.quarantine().redriving.lock().await;
        let mut dropped = 0;
        let mut events = self.refused(filter).await?;
        loop {
            let part;
            (events, part) = reading(move || {
                let part = Part::to_drop(&mut events)?;
                Ok((events, part))
            })
            .await?;
            if part.removal.ids.is_empty() {
                break;
            }
            dropped += self.quarantine().remove(part.removal).await?;
        }
        self.quarantine().remove(Removal::end()).await?;
        Ok(dropped)
    }

    /// The refused events that there are by now.
    async fn refused(&self, filter: QuarantineFilter) -> Result<QuarantinedEvents, Error> {
        let engine = self.clone();
        reading(move || engine.quarantine().read(filter)).await
    }
}

/// Drops refused events of a state directory for good, on which no engine runs; of a running engine it is
/// [`Engine::drop_quarantined`]. How many they were. Blocks on the disk.
///
/// # Errors
/// [`Error::Storage`] if they can't be read or written, or an engine runs on the directory.
pub fn drop_for_good(path: impl AsRef<Path>, filter: &QuarantineFilter) -> Result<u64, Error> {
    // Without a lock first: a directory that is none must not be made.
    let meta = StateReader::open(&path)?.meta().clone();
    let new = NewState { key: meta.key, deployment: meta.deployment, definitions: meta.definitions };
    let state = StateDir::open(&path, &new)?;
    let (mut quarantine, cut) = state.open_quarantine(QuarantineOptions::default())?;
    crate::opening::report("quarantine", cut);
    let dropped = quarantine.mark_redriven(filter)?;
    match quarantine.compact() {
        // They are out of it all the same; the next start gives their room back.
        Ok(()) | Err(StorageError::NoSpace { .. }) => Ok(dropped),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
