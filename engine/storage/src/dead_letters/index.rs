//! Which letters a file has, without their contents: each with its size and what is known of it.

use std::collections::BTreeMap;

use tidewater_model::Timestamp;

use super::entry::{Entry, encode};
use crate::frame::FRAME_HEADER_LEN;

/// The letters of a file, without their contents.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) next_id: u64,
    /// With the bytes of each in the file.
    pub(super) live: BTreeMap<u64, u64>,
    pub(super) notes: BTreeMap<u64, Note>,
    /// Bytes of these letters and notes in a file that has nothing else.
    pub(super) needed: u64,
}

impl Index {
    /// Adds an entry that takes so many bytes.
    pub(super) fn add(&mut self, entry: Entry, bytes: u64) {
        match entry {
            Entry::Letter { id, .. } => {
                self.next_id = self.next_id.max(id.saturating_add(1));
                self.needed += bytes;
                self.live.insert(id, bytes);
            }
            Entry::Marked(ids) => ids.iter().for_each(|id| self.note(*id, |note| note.is_marked = true)),
            Entry::Failed { id, reason, attempts, at } => self.note(id, |note| {
                note.is_marked = false;
                note.failed = Some((reason, attempts, at));
            }),
            Entry::Superseded(ids, epoch) => {
                ids.iter().for_each(|id| self.note(*id, |note| note.superseded_by = Some(epoch)));
            }
            Entry::Restored(ids) => {
                ids.iter().for_each(|id| self.note(*id, |note| note.superseded_by = None))
            }
            Entry::Gone(ids) => {
                for id in ids {
                    if let Some(bytes) = self.live.remove(&id) {
                        self.needed -= bytes + self.notes.remove(&id).map_or(0, |note| note.bytes(id));
                    }
                }
            }
        }
    }

    fn note(&mut self, id: u64, change: impl FnOnce(&mut Note)) {
        if self.live.contains_key(&id) {
            let note = self.notes.entry(id).or_default();
            self.needed -= note.bytes(id);
            change(note);
            self.needed += note.bytes(id);
        }
    }
}

/// What is known of a letter besides what it was stored with.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    pub(super) is_marked: bool,
    pub(super) superseded_by: Option<u64>,
    pub(super) failed: Option<(String, u32, Timestamp)>,
}

impl Note {
    pub(super) fn entries(&self, id: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        if let Some((reason, attempts, at)) = self.failed.clone() {
            entries.push(Entry::Failed { id, reason, attempts, at });
        }
        // A failure takes the mark off, so the mark comes behind it.
        entries.extend(self.is_marked.then(|| Entry::Marked(vec![id])));
        entries.extend(self.superseded_by.map(|epoch| Entry::Superseded(vec![id], epoch)));
        entries
    }

    /// Bytes of these entries in a file. What can't be encoded is not written either.
    fn bytes(&self, id: u64) -> u64 {
        let size = |entry: &Entry| encode(entry).map_or(0, |bytes| FRAME_HEADER_LEN + bytes.len());
        self.entries(id).iter().map(size).sum::<usize>() as u64
    }
}
