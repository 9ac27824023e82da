//! Marks events as redriven, and gives back their space.

use std::collections::BTreeSet;

use super::record::{Entry, decode, encode};
use super::{Filter, Quarantine};
use crate::error::StorageError;
use crate::frame::{FileHeader, replace_file};

/// How many ids one entry marks as redriven at most, far below the limit on an entry.
const IDS_PER_ENTRY: usize = 1 << 20;

impl Quarantine {
    /// Marks the events that `filter` lets through as redriven (or dropped), durably; returns how many they are. Reads all
    /// of the file.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: none or some are marked, the call may be repeated. [`StorageError::Poisoned`],
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn mark_redriven(&mut self, filter: &Filter) -> Result<u64, StorageError> {
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for record in self.read(filter.clone())? {
            let record = record?;
            bytes += record.size();
            ids.push(record.id);
        }
        self.mark(&ids, bytes)
    }

    /// Marks events that the caller has read here, without looking for them again: their ids, and their
    /// [sizes](super::Record::size) in all. Returns how many were not marked before. Behind the last part call
    /// [`end_marks`](Self::end_marks).
    ///
    /// # Errors
    ///
    /// As [`mark_redriven`](Self::mark_redriven).
    pub fn mark_read(&mut self, ids: &BTreeSet<u64>, bytes: u64) -> Result<u64, StorageError> {
        let is_new = |id: &u64| *id < self.next_id && !self.redriven.contains(id);
        let ids: Vec<u64> = ids.iter().copied().filter(is_new).collect();
        self.marking = true;
        self.mark(&ids, bytes)
    }

    fn mark(&mut self, ids: &[u64], bytes: u64) -> Result<u64, StorageError> {
        for chunk in ids.chunks(IDS_PER_ENTRY) {
            encode(&mut self.head, &Entry::Redriven(chunk.to_vec()))?;
            self.redriven_bytes += self.frames.append(&self.head, &[])?;
            self.live = self.live.saturating_sub(chunk.len() as u64);
            self.redriven.extend(chunk);
        }
        if !ids.is_empty() {
            self.redriven_bytes += bytes;
        }
        self.frames.sync()?;
        Ok(ids.len() as u64)
    }

    /// Nothing more of what was read will be marked: its space is given back now if an event has found none, else as soon
    /// as one would find none.
    ///
    /// # Errors
    ///
    /// As [`compact`](Self::compact).
    pub fn end_marks(&mut self) -> Result<(), StorageError> {
        self.marking = false;
        if self.full { self.compact() } else { Ok(()) }
    }

    /// Gives back the space of redriven events, by a copy of the rest; done by itself on opening and before the quarantine
    /// is full.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], [`StorageError::Io`], [`StorageError::Damaged`]: nothing has changed.
    /// [`StorageError::Poisoned`].
    pub fn compact(&mut self) -> Result<(), StorageError> {
        self.frames.usable()?;
        if self.redriven.is_empty() {
            return Ok(());
        }
        let path = self.frames.path().to_owned();
        let header = FileHeader { base: self.next_id, ..*self.frames.header() };
        let mut source = self.frames.reader(&*self.files)?;
        let redriven = &self.redriven;
        let replaced = replace_file(&*self.files, &path, header, |writer| {
            let mut payload = Vec::new();
            while source.next_live(&mut payload, 0)?.is_some() {
                match decode(&source, &payload)? {
                    (Entry::Rejected { id, .. }, _) if !redriven.contains(&id) => {
                        writer.append(&payload, &[])?;
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        match replaced {
            Ok(frames) => self.frames = frames,
            Err(error @ StorageError::Poisoned { .. }) => return Err(self.frames.poison(error)),
            Err(error) => return Err(error),
        }
        self.redriven.clear();
        (self.redriven_bytes, self.full) = (0, false);
        Ok(())
    }
}
