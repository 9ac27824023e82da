//! A set of 128-bit entries that grows in small steps.
//!
//! Open addressing in 256 parts that grow on their own, by half, at bounds that differ from part to part: no single
//! insertion moves more than 1/256 of the entries, and on average two thirds of the memory hold one.

use crate::{intrinsics::prefetch, plan::SHARDS};

/// No entry is 0.
const EMPTY: u128 = 0;

/// The set. What makes two entries the same is up to the caller, as a mask; it must cover the top 72 bits, which say
/// where an entry stands, and these should be a hash.
#[derive(Clone, Debug)]
pub(super) struct Table {
    parts: Vec<Part>,
    len: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    entries: Vec<u128>,
    used: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { parts: vec![Part::default(); SHARDS], len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks the processor for the place of an entry.
    #[inline]
    pub(super) fn prefetch(&self, entry: u128) {
        let part = &self.parts[part_of(entry)];
        if let Some(place) = part.entries.get(part.place_of(entry)) {
            prefetch(place);
        }
    }

    /// The entry that is the same as this one under `mask`.
    #[inline]
    pub(super) fn find(&self, entry: u128, mask: u128) -> Option<u128> {
        self.parts[part_of(entry)].find(entry, mask)
    }

    /// Adds an entry, not 0, unless one is there that is the same under `mask`: then that one.
    #[inline]
    pub(super) fn find_or_insert(&mut self, entry: u128, mask: u128) -> Option<u128> {
        let number = part_of(entry);
        let part = &mut self.parts[number];
        let found = part.find(entry, mask);
        if found.is_none() {
            part.insert(entry, number);
            self.len += 1;
        }
        found
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        parts_bytes(&self.parts)
    }

    /// Its parts, to be freed one by one: to give back all at once takes milliseconds.
    pub(super) fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}

/// Bytes of memory of some parts.
pub(super) fn parts_bytes(parts: &[Part]) -> u64 {
    parts.iter().map(|part| (part.entries.capacity() * size_of::<u128>()) as u64).sum()
}

impl Part {
    /// Where the search for an entry begins. Grows with the entry, so that growing moves entries front to back.
    #[inline(always)]
    fn place_of(&self, entry: u128) -> usize {
        let hash = (entry >> 56) as u64;
        ((u128::from(hash) * self.entries.len() as u128) >> 64) as usize
    }

    #[inline(always)]
    fn find(&self, entry: u128, mask: u128) -> Option<u128> {
        let (wrapped, first) = self.entries.split_at_checked(self.place_of(entry))?;
        // Every part has free places, so the search ends before it has come around.
        for other in first.iter().chain(wrapped) {
            if *other == EMPTY {
                return None;
            }
            if (*other ^ entry) & mask == 0 {
                return Some(*other);
            }
        }
        None
    }

    #[inline]
    fn insert(&mut self, entry: u128, number: usize) {
        // Bounds differ, else all parts would grow at about the same time.
        if self.used >= self.entries.len() * (24 + number % 4) / 32 {
            self.grow();
        }
        self.place(entry);
        self.used += 1;
    }

    fn place(&mut self, entry: u128) {
        let start = self.place_of(entry);
        let (wrapped, first) = self.entries.split_at_mut(start);
        if let Some(free) = first.iter_mut().chain(wrapped).find(|place| **place == EMPTY) {
            *free = entry;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.entries.len() + self.entries.len() / 2).max(8);
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; len]);
        for entry in old {
            if entry != EMPTY {
                self.place(entry);
            }
        }
    }
}

fn part_of(entry: u128) -> usize {
    (entry >> 120) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set(entries in proptest::collection::vec((0..3u128, 0..200u128), 0..600)) {
            // Few parts and close places: long runs that wrap around the end.
            let entries = entries.iter().map(|(part, low)| part << 120 | (0xff_ffff - low) << 96 | 1);
            let mut table = Table::new();
            let mut reference = HashSet::new();
            for entry in entries {
                prop_assert_eq!(table.find(entry, u128::MAX).is_some(), reference.contains(&entry));
                prop_assert_eq!(table.find_or_insert(entry, u128::MAX).is_none(), reference.insert(entry));
                table.prefetch(entry);
            }
            prop_assert_eq!(table.len, reference.len());
        }
    }

    #[test]
    fn wastes_little() {
        let mut table = Table::new();
        for number in 1..=100_000u128 {
            table.find_or_insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), u128::MAX);
        }
        assert!(table.bytes() < 100_000 * 28, "{} bytes", table.bytes());
        assert_eq!(table.bytes(), parts_bytes(&table.into_parts()));
    }
}
