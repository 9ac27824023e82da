//! The last letters of an engine without a state directory, in memory.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_storage::{NewDeadLetter, StoredDeadLetter};

/// At most so many bytes of letters; the oldest make room.
#[derive(Default)]
pub(super) struct Ring {
    pub(super) letters: BTreeMap<u64, StoredDeadLetter>,
    pub(super) next_id: u64,
    pub(super) bytes: usize,
    pub(super) limit: usize,
    /// Those that had to make room, since it was last looked.
    pub(super) gone: BTreeSet<u64>,
    pub(super) dropped: u64,
}

impl Ring {
    pub(super) fn add(&mut self, letter: &NewDeadLetter<'_>) -> u64 {
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

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(gone) = self.letters.remove(&id) {
            self.bytes -= size(&gone);
        }
    }

    pub(super) fn change(&mut self, ids: &BTreeSet<u64>, change: impl Fn(&mut StoredDeadLetter)) {
        for id in ids {
            self.letters.get_mut(id).into_iter().for_each(&change);
        }
        // Reasons have other lengths now.
        self.bytes = self.letters.values().map(size).sum();
    }
}

fn size(letter: &StoredDeadLetter) -> usize {
    size_of::<StoredDeadLetter>() + letter.reason.len() + letter.context.len() + letter.bytes.len()
}
