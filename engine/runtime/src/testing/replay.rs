//! What follows from a log, computed from its first entry on, whatever checkpoints there are.

use std::{path::Path, sync::Arc};

use tidewater_model::{DeltaBatch, Timestamp};
use tidewater_operators::{Plan, ingest::PaddedEvent};
use tidewater_storage::{EpochEntry, Files, StateReader};

use crate::{error::Error, lockstep::Lockstep, offline::pipeline_of, rebuild::Stored};

/// A log and what follows from it.
#[derive(Debug)]
pub struct Replayed {
    /// In order.
    pub epochs: Vec<ReplayedEpoch>,
}

/// An epoch of a log.
#[derive(Debug)]
pub struct ReplayedEpoch {
    /// Its number.
    pub epoch: u64,
    /// The place of its first event.
    pub first_place: u64,
    /// The time of events without one.
    pub accepted_at: Timestamp,
    /// Its events, as they were received.
    pub events: Vec<Vec<u8>>,
    /// What it changed.
    pub deltas: DeltaBatch,
}

/// Reads the log of a state directory and computes its deltas, on one worker and without checkpoints.
///
/// # Errors
/// [`Error::Storage`] if it can't be read or is damaged, [`Error::Config`] if its definitions can't be run.
pub fn replay(files: Arc<dyn Files>, path: &Path) -> Result<Replayed, Error> {
    let reader = StateReader::open_with(files, path)?;
    let pipeline = pipeline_of(&Stored::decode(&reader.meta().definitions)?)?;
    let plan = Plan::compile(pipeline.spec().clone(), reader.meta().key)?;
    let mut lockstep = Lockstep::new(plan, 1)?;
    let mut log = reader.log(reader.meta().log_starts)?;
    let (mut entry, mut epochs) = (EpochEntry::default(), Vec::new());
    while log.read(&mut entry)? {
        let events = (0..entry.events.len()).filter_map(|index| {
            let (buffer, len) = entry.events.padded(index)?;
            PaddedEvent::new(buffer, len)
        });
        let inputs = lockstep.assembler.replay(&entry.header, events);
        let deltas = lockstep.compute(inputs)?;
        let bytes = |index| entry.events.padded(index).map(|(buffer, len)| buffer[..len].to_vec());
        epochs.push(ReplayedEpoch {
            epoch: entry.header.epoch,
            first_place: entry.header.first_place,
            accepted_at: entry.header.accepted_at,
            events: (0..entry.events.len()).filter_map(bytes).collect(),
            deltas,
        });
    }
    Ok(Replayed { epochs })
}
