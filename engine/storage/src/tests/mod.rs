//! What must hold on a good disk, a failing one and a damaged one.
#![allow(clippy::unwrap_used)]

mod acks;
mod checkpoint;
mod copy;
mod damage;
mod dead_letters;
mod fixtures;
mod log;
mod outbox;
mod quarantine;
mod sealed;
mod simulation;
mod state;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use tidewater_model::{HashKey, Timestamp};

use crate::sim::SimFiles;
use crate::{
    EpochEntry, EpochHeader, EventBytes, LogArchive, LogOptions, LogReader, LogWriter, NewState, StateDir,
    StateReader, StorageError,
};

const DIR: &str = "state";

fn new_state() -> NewState {
    NewState { key: HashKey(0x0123_4567_89ab_cdef), deployment: 42, definitions: b"defs".to_vec() }
}

fn state(files: &SimFiles) -> StateDir {
    StateDir::open_with(Arc::new(files.clone()), DIR, &new_state()).unwrap()
}

fn reader(files: &SimFiles) -> StateReader {
    StateReader::open_with(Arc::new(files.clone()), DIR).unwrap()
}

fn log_path(base: u64) -> PathBuf {
    PathBuf::from(format!("{DIR}/log/{base:020}.log"))
}

/// An entry whose content is a function of its epoch, so that any mix-up shows.
fn entry(epoch: u64, first_place: u64, event_lengths: &[usize]) -> EpochEntry {
    let mut events = EventBytes::new();
    for (index, &len) in event_lengths.iter().enumerate() {
        let byte = |at: usize| (epoch as usize * 31 + index * 7 + at) as u8;
        events.push(&(0..len).map(byte).collect::<Vec<u8>>());
    }
    let positions = (0..epoch % 3).map(|n| (format!("source{n}"), vec![n as u8; epoch as usize % 9]));
    let header = EpochHeader {
        epoch,
        now: Timestamp(1_700_000_000_000 + epoch as i64),
        accepted_at: Timestamp(-(epoch as i64)),
        first_place,
        positions: positions.collect(),
    };
    EpochEntry { header, events }
}

/// The entries 1 to `count`, of a few small events each.
fn entries(count: u64) -> Vec<EpochEntry> {
    let mut place = 0;
    let mut all = Vec::new();
    for epoch in 1..=count {
        let lengths: Vec<usize> = (0..epoch % 4).map(|n| (epoch * 5 + n * 3) as usize % 23).collect();
        all.push(entry(epoch, place, &lengths));
        place += lengths.len() as u64;
    }
    all
}

/// Writes the entries, each one durable before the next; returns where each one ends in its file.
fn write_synced(files: &SimFiles, entries: &[EpochEntry], file_bytes: u64) -> Vec<usize> {
    let (mut log, cut) = state(files).open_log(LogOptions { file_bytes }).unwrap();
    assert_eq!(cut, None);
    let mut ends = Vec::new();
    for entry in entries {
        log.append(entry).unwrap();
        log.sync().unwrap();
        ends.push(log.file().1 as usize);
    }
    ends
}

fn open_log(files: &SimFiles) -> Result<LogWriter, StorageError> {
    Ok(state(files).open_log(LogOptions::default())?.0)
}

/// Every entry a reader gets, and how it ended.
fn read_all(reader: Result<LogReader, StorageError>) -> (Vec<EpochEntry>, Result<(), StorageError>) {
    let mut read = Vec::new();
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (read, Err(error)),
    };
    for entry in reader {
        match entry {
            Ok(entry) => read.push(entry),
            Err(error) => return (read, Err(error)),
        }
    }
    (read, Ok(()))
}

fn read_log(files: &SimFiles) -> (Vec<EpochEntry>, Result<(), StorageError>) {
    read_all(reader(files).log(1))
}

fn sealed_path(base: u64) -> PathBuf {
    PathBuf::from(format!("{DIR}/log/{base:020}.sealed"))
}

/// Seals all files that are full.
fn seal_all(archive: &LogArchive) -> Result<(), StorageError> {
    for base in archive.unsealed()? {
        archive.seal(base, &mut || true)?;
    }
    Ok(())
}
