//! Dead letters from outside: what a sink's destination would not take, to be looked at, tried again or dropped.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tidewater_model::{Delta, DeltaBatch, Timestamp};
use tidewater_storage::{DeadLetterOptions, DeadLetters, NewState, StateDir, StateReader, StoredDeadLetter};

use crate::{
    delivery::{
        SinkHandle,
        letters::{Letters, delta_of},
    },
    engine::Engine,
    error::Error,
};

/// A delta that a sink's destination would not take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The sink.
    pub sink: String,
    /// Its number, which no other of this sink ever gets.
    pub id: u64,
    /// `refused`, or `given_up` after it had gone on failing for days.
    pub cause: String,
    /// What the destination said last.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: Timestamp,
    /// When it last failed.
    pub last_failed_at: Timestamp,
    /// The epoch of a newer delta of the same segment and profile. Such a letter is dropped instead of delivered.
    pub superseded_by: Option<u64>,
    /// It is to be delivered again: by the engine that runs, else by the next one.
    pub is_marked: bool,
    batch: Arc<DeltaBatch>,
}

impl DeadLetter {
    /// The delta, and with it its epoch and its place there: delivered again, a webhook sends it under the same id.
    pub fn batch(&self) -> &Arc<DeltaBatch> {
        &self.batch
    }

    /// The delta.
    pub fn delta(&self) -> Option<Delta<'_>> {
        self.batch.iter().next()
    }

    fn read(sink: &str, letter: StoredDeadLetter) -> Result<Self, Error> {
        let unreadable = || Error::failed(format!("dead letter {} of `{sink}` can't be read", letter.id));
        let batch = delta_of(&letter).map(Arc::new).ok_or_else(unreadable)?;
        let StoredDeadLetter {
            id,
            cause,
            reason,
            attempts,
            first_failed_at,
            last_failed_at,
            superseded_by,
            is_marked,
            ..
        } = letter;
        let sink = sink.to_owned();
        Ok(Self {
            sink,
            id,
            cause,
            reason,
            attempts,
            first_failed_at,
            last_failed_at,
            superseded_by,
            is_marked,
            batch,
        })
    }
}

/// Which dead letters of a sink are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterFilter {
    /// Every one.
    All,
    /// Those with these numbers.
    Ids(BTreeSet<u64>),
}

impl DeadLetterFilter {
    fn ids(&self) -> Option<&BTreeSet<u64>> {
        match self {
            Self::All => None,
            Self::Ids(ids) => Some(ids),
        }
    }
}

impl Engine {
    /// The dead letters of a sink, oldest first. Without a state directory only the last ones are kept.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is no such sink; [`Error::Storage`] if they can't be read.
    pub async fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>, Error> {
        let letters = self.on_letters(sink, |letters| Ok(letters.read(None)?)).await?;
        letters.into_iter().map(|letter| DeadLetter::read(sink, letter)).collect()
    }

    /// Has dead letters delivered again, before whatever else waits for the sink; how many. Those that something newer has
    /// superseded are dropped then, and said to be. One that is refused again stays.
    ///
    /// A crash on the way may deliver one twice, also to a sink that is otherwise exactly once.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    pub async fn retry_dead_letters(&self, sink: &str, filter: DeadLetterFilter) -> Result<u64, Error> {
        let marked = self.on_letters(sink, move |letters| Ok(letters.mark(filter.ids())?)).await?;
        self.sink_handle(sink)?.nudge();
        Ok(marked)
    }

    /// Drops dead letters for good; how many.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    pub async fn drop_dead_letters(&self, sink: &str, filter: DeadLetterFilter) -> Result<u64, Error> {
        self.on_letters(sink, move |letters| Ok(letters.remove(filter.ids())?)).await
    }

    fn sink_handle(&self, sink: &str) -> Result<&Arc<SinkHandle>, Error> {
        let sinks = &self.shared.sinks;
        let found = sinks.iter().find(|handle| handle.name() == sink);
        found.ok_or_else(|| Error::unknown("sink", sink, sinks.iter().map(|handle| handle.name())))
    }

    async fn on_letters<T: Send + 'static>(
        &self,
        sink: &str,
        work: impl FnOnce(&Letters) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let letters = Arc::clone(self.sink_handle(sink)?.letters());
        let working = crate::threads::blocking(move || work(&letters));
        working.await.map_err(|_| Error::failed("reading dead letters panicked"))?
    }
}

/// The dead letters of a sink in a state directory, also while an engine runs on it. Blocks on the disk.
///
/// # Errors
/// [`Error::Unknown`] if no sink of this name was ever opened; [`Error::Storage`] if they can't be read.
pub fn read(path: impl AsRef<Path>, sink: &str) -> Result<Vec<DeadLetter>, Error> {
    let reader = StateReader::open(path)?;
    check_sink(&reader, sink)?;
    reader.dead_letters(sink)?.map(|letter| DeadLetter::read(sink, letter?)).collect()
}

/// Marks dead letters of a sink: the next engine that runs on the state directory delivers them first. How many they are.
/// Blocks on the disk.
///
/// # Errors
/// As [`read`]; [`Error::Storage`] also if an engine runs on the directory.
pub fn retry(path: impl AsRef<Path>, sink: &str, filter: &DeadLetterFilter) -> Result<u64, Error> {
    let letters = Letters::on_disk(open(path.as_ref(), sink)?, u64::MAX)?;
    Ok(letters.mark(filter.ids())?)
}

/// Drops dead letters of a sink for good. How many they were. Blocks on the disk.
///
/// # Errors
/// As [`retry`].
pub fn drop_for_good(path: impl AsRef<Path>, sink: &str, filter: &DeadLetterFilter) -> Result<u64, Error> {
    let letters = Letters::on_disk(open(path.as_ref(), sink)?, u64::MAX)?;
    Ok(letters.remove(filter.ids())?)
}

fn open(path: &Path, sink: &str) -> Result<DeadLetters, Error> {
    // Without a lock first: a directory that is none must not be made.
    let reader = StateReader::open(path)?;
    check_sink(&reader, sink)?;
    let meta = reader.meta();
    let new = NewState { key: meta.key, deployment: meta.deployment, definitions: meta.definitions.clone() };
    let state = StateDir::open(path, &new)?;
    // What is there already has no bound.
    let (letters, cut) = state.open_dead_letters(sink, DeadLetterOptions { max_bytes: u64::MAX })?;
    crate::opening::report("dead letters", cut);
    Ok(letters)
}

fn check_sink(reader: &StateReader, sink: &str) -> Result<(), Error> {
    let sinks = reader.sinks()?;
    match sinks.iter().any(|known| known == sink) {
        true => Ok(()),
        false => Err(Error::unknown("sink", sink, sinks.iter().map(String::as_str))),
    }
}
