//! Refused events: on disk with a state directory, else the last ones in memory.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_connector_api::{Accepted, RawEvents};
use tidewater_storage::{NewRecord, StateReader};
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    error::Error,
    sequencer::{intake::Intake, message::Message},
};

pub use tidewater_storage::{Filter as QuarantineFilter, Record as QuarantinedEvent};

/// Redriven events are handed in so many at a time.
const REDRIVE_EVENTS: usize = 1_000;

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

    fn matching(&self, filter: &QuarantineFilter) -> Vec<QuarantinedEvent> {
        let wanted = |event: &&QuarantinedEvent| match filter {
            QuarantineFilter::All => true,
            QuarantineFilter::Ids(ids) => ids.contains(&event.id),
            QuarantineFilter::Reason(reason) => event.reason == *reason,
        };
        self.lock().0.iter().filter(wanted).cloned().collect()
    }

    fn remove(&self, ids: &BTreeSet<u64>) {
        self.lock().0.retain(|event| !ids.contains(&event.id));
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<QuarantinedEvent>, u64)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The quarantine of a running engine; see [`Engine::quarantine`].
pub struct QuarantineView {
    place: Place,
    /// Held while events are fed again: two at a time would feed, and refuse, the same ones twice.
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

    /// The refused events that `filter` lets through, oldest first. Reads files: not for a thread that must not
    /// block. Without a state directory only the last ones are kept.
    ///
    /// # Errors
    /// [`Error::Storage`] if the files can't be read.
    pub fn read(&self, filter: QuarantineFilter) -> Result<QuarantinedEvents, Error> {
        match &self.place {
            Place::Memory(ring) => Ok(Box::new(ring.matching(&filter).into_iter().map(Ok))),
            Place::Disk { reader, .. } => {
                Ok(Box::new(reader.quarantine(filter)?.map(|record| record.map_err(Error::from))))
            }
        }
    }

    /// Takes events out of quarantine, durably.
    async fn remove(&self, ids: BTreeSet<u64>) -> Result<(), Error> {
        match &self.place {
            Place::Memory(ring) => ring.remove(&ids),
            Place::Disk { intake, .. } => {
                let (sender, receiver) = oneshot::channel();
                if !intake.post(Message::Redriven(ids, sender)) {
                    return Err(Error::Closed);
                }
                receiver.await.map_err(|_| Error::Closed)??;
            }
        }
        Ok(())
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

impl Engine {
    /// Feeds refused events again, and takes those that could be fed out of quarantine once they are durable.
    ///
    /// A crash on the way feeds some twice, which deduplication undoes for all that carry a messageId or a time. One call waits
    /// for another.
    ///
    /// # Errors
    /// [`Error::Storage`] if the quarantine can't be read or written; [`Error::Closed`] and [`Error::Failed`] once
    /// the engine has ended.
    pub async fn redrive(&self, filter: QuarantineFilter) -> Result<Redriven, Error> {
        let _only_one = self.quarantine().redriving.lock().await;
        let mut done = Redriven::default();
        // As of now: what is refused again on the way is not fed once more.
        let engine = self.clone();
        let reading = crate::threads::blocking(move || {
            Ok::<Vec<_>, Error>(engine.quarantine().read(filter)?.collect())
        });
        let events = reading.await.map_err(|_| Error::failed("reading the quarantine panicked"))??;
        let mut events = events.into_iter();
        loop {
            let (mut batch, mut ids) = (RawEvents::new(), BTreeSet::new());
            for event in events.by_ref() {
                let event = event?;
                if event.is_whole() {
                    batch.push(&event.bytes);
                    ids.insert(event.id);
                } else {
                    done.incomplete += 1;
                }
                if ids.len() == REDRIVE_EVENTS {
                    break;
                }
            }
            if ids.is_empty() {
                return Ok(done);
            }
            let Accepted { events, duplicates, quarantined, .. } = self.ingest_batch(batch).await?;
            done.accepted += events;
            done.duplicates += duplicates;
            done.quarantined += quarantined;
            self.quarantine().remove(ids).await?;
        }
    }
}
