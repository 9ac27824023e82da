//! From an identifier's hash to the number of its record.
//!
//! Open addressing in 256 parts that grow on their own, so that no single step moves more than 1/256 of the
//! entries. An entry is eight bytes, a tag and a record number; the full 128 bits stand in the record, where the
//! caller compares them. An entry's slot follows from its tag, so that a part that grows looks at no record.

use crate::{intrinsics::prefetch, plan::SHARDS};

const EMPTY: u64 = u64::MAX;

/// Hash to record number.
#[derive(Debug, Default)]
pub(crate) struct Index {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    entries: Vec<u64>,
    used: usize,
}

impl Part {
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }
}

fn part_of(hash: u128) -> usize {
    (hash >> 120) as usize
}

fn tag_of(hash: u128) -> u64 {
    hash as u64 & 0xffff_ffff_0000_0000
}

/// Where the search for an entry, or for a tag, begins.
fn slot_of(entry: u64) -> usize {
    (entry >> 32) as usize
}

impl Index {
    /// An empty index.
    pub(crate) fn new() -> Self {
        Self { parts: (0..SHARDS).map(|_| Part { entries: vec![EMPTY; 8], used: 0 }).collect() }
    }

    /// Asks the processor for the slot of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u128) {
        let part = &self.parts[part_of(hash)];
        prefetch(&part.entries[slot_of(tag_of(hash)) & part.mask()]);
    }

    /// The record for which `is_it` says yes, among those whose tag is the hash's.
    #[inline]
    pub(crate) fn find(&self, hash: u128, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (part, tag) = (&self.parts[part_of(hash)], tag_of(hash));
        let mut slot = slot_of(tag) & part.mask();
        loop {
            let entry = part.entries[slot];
            if entry == EMPTY {
                return None;
            }
            if entry & 0xffff_ffff_0000_0000 == tag && is_it(entry as u32) {
                return Some(entry as u32);
            }
            slot = (slot + 1) & part.mask();
        }
    }

    /// The first record with the hash's tag, unchecked: good enough to prefetch it.
    #[inline]
    pub(crate) fn guess(&self, hash: u128) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds an entry that is not there yet.
    pub(crate) fn insert(&mut self, hash: u128, record: u32) {
        let number = part_of(hash);
        let part = &mut self.parts[number];
        // Parts fill up to between 5/8 and 7/8, each to a bound of its own, so that they do not all grow at once.
        let bound = part.entries.len() * (20 + number % 8) / 32;
        if part.used >= bound {
            let mut grown = vec![EMPTY; part.entries.len() * 2];
            for entry in part.entries.iter().filter(|entry| **entry != EMPTY) {
                place(&mut grown, *entry);
            }
            part.entries = grown;
        }
        place(&mut part.entries, tag_of(hash) | u64::from(record));
        part.used += 1;
    }

    /// Gives whole parts back until that is so many bytes, or nothing is left; returns how many. Nothing may be looked for or
    /// added any more.
    pub(crate) fn shed(&mut self, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes
            && let Some(part) = self.parts.pop()
        {
            freed += part.entries.capacity() as u64 * 8;
        }
        freed
    }

    /// Takes the parts of another one, only to be shed.
    pub(crate) fn take_parts(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }

    /// Whether [`shed`](Self::shed) has not taken all of it.
    pub(crate) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.entries.capacity() as u64 * 8).sum()
    }
}

fn place(entries: &mut [u64], entry: u64) {
    let mask = entries.len() - 1;
    let mut slot = slot_of(entry) & mask;
    while entries[slot] != EMPTY {
        slot = (slot + 1) & mask;
    }
    entries[slot] = entry;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_also_when_slots_and_tags_collide() {
        let mut index = Index::new();
        // Few distinct tags, many of which begin in one slot: chains and equal tags are common.
        let hashes: Vec<u128> = (0..5_000u128)
            .map(|i| (i % 3) << 120 | i << 64 | (i % 7) << 60 | (i % 11) << 32 | (i % 13))
            .collect();
        for (record, hash) in hashes.iter().enumerate() {
            assert_eq!(index.find(*hash, |r| hashes[r as usize] == *hash), None);
            index.insert(*hash, record as u32);
        }
        for (record, hash) in hashes.iter().enumerate() {
            assert_eq!(index.find(*hash, |r| hashes[r as usize] == *hash), Some(record as u32));
        }
        assert_eq!(index.find(1 << 100, |r| hashes[r as usize] == 1 << 100), None);
    }
}
