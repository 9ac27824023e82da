//! A set of 128-bit entries that grows in small steps.
//!
//! Open addressing in 256 parts that grow on their own, at bounds that differ from part to part: no single insertion
//! moves more than 1/256 of the entries, and of a large set's memory two thirds hold one on average. The places of a
//! part are filled by cache lines, so that nearly every search is settled by the one line that was prefetched.

use crate::{intrinsics::prefetch, plan::SHARDS};

/// A free place. No entry is the same as this under the mask it is looked for with.
const EMPTY: u128 = 0;

/// The set. What makes two entries the same is up to the caller, as a mask; it must cover the top 72 bits, which say
/// where an entry stands, and these should be a hash.
#[derive(Clone, Debug)]
pub(super) struct Table {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    lines: Vec<Line>,
    used: u32,
    /// How many entries it can take before it grows; always fewer than there are places.
    bound: u32,
}

/// The places in one cache line, filled from the front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u128; LINE]);

const LINE: usize = 4;

/// Up to how many lines a part doubles when it grows. Larger ones grow by half: they waste less, and move more.
const DOUBLING_LINES: usize = 1024;

impl Table {
    pub(super) fn new() -> Self {
        Self { parts: vec![Part::default(); SHARDS] }
    }

    /// Asks the processor for the place of an entry.
    #[inline]
    pub(super) fn prefetch(&self, entry: u128) {
        let part = &self.parts[part_of(entry)];
        if let Some(line) = part.lines.get(part.line_of(entry)) {
            prefetch(line);
        }
    }

    /// Whether there is an entry that is the same as this one under `mask`.
    #[inline]
    pub(super) fn contains(&self, entry: u128, mask: u128) -> bool {
        self.parts[part_of(entry)].search(entry, mask).is_ok()
    }

    /// Adds an entry unless one is there that is the same under `mask`: then returns that one. It may be
    /// changed to another that is the same under `mask`.
    #[inline]
    pub(super) fn find_or_insert(&mut self, entry: u128, mask: u128) -> Option<&mut u128> {
        let number = part_of(entry);
        self.parts[number].find_or_insert(entry, mask, number)
    }

    /// Drops the entries of one part that are not to be kept, and their memory.
    pub(super) fn retain(&mut self, number: usize, keep: impl Fn(u128) -> bool) {
        let part = &mut self.parts[number];
        let kept = part.entries().filter(|entry| keep(*entry)).count();
        if kept < part.used as usize {
            part.rebuild(kept.div_ceil(LINE) * 3 / 2, number, keep);
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| (part.lines.capacity() * size_of::<Line>()) as u64).sum()
    }
}

impl Part {
    fn entries(&self) -> impl Iterator<Item = u128> {
        self.lines.iter().flat_map(|line| line.0).filter(|entry| *entry != EMPTY)
    }

    /// Where the search for an entry begins. Grows with the entry, so that growing moves entries front to back.
    #[inline(always)]
    fn line_of(&self, entry: u128) -> usize {
        let hash = (entry >> 56) as u64;
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    /// The place of the entry that is the same as this one, or the free place where the search for it ends: line and
    /// place in it.
    #[inline(always)]
    fn search(&self, entry: u128, mask: u128) -> Result<(usize, usize), (usize, usize)> {
        let mut at = self.line_of(entry);
        // Every part with places has free ones, so the search ends before it has come around.
        while let Some(line) = self.lines.get(at) {
            for (place, other) in line.0.iter().enumerate() {
                if (other ^ entry) & mask == 0 {
                    return Ok((at, place));
                }
                if *other == EMPTY {
                    return Err((at, place));
                }
            }
            at += 1;
            if at == self.lines.len() {
                at = 0;
            }
        }
        Err((0, 0))
    }

    #[inline(always)]
    fn find_or_insert(&mut self, entry: u128, mask: u128, number: usize) -> Option<&mut u128> {
        let (mut line, mut place) = match self.search(entry, mask) {
            Ok((line, place)) => return Some(&mut self.lines[line].0[place]),
            Err(free) => free,
        };
        if self.used >= self.bound {
            let lines = self.lines.len();
            let more = if lines < DOUBLING_LINES { lines } else { lines / 2 };
            self.rebuild(lines + more, number, |_| true);
            (line, place) = self.search(entry, mask).unwrap_or_else(|free| free);
        }
        self.lines[line].0[place] = entry;
        self.used += 1;
        None
    }

    /// Moves the entries to be kept to this many new lines, which must have more places than that.
    #[cold]
    fn rebuild(&mut self, lines: usize, number: usize, keep: impl Fn(u128) -> bool) {
        let lines = vec![Line([EMPTY; LINE]); lines.max(2)];
        // Bounds differ, else all parts would grow at about the same time.
        let bound = (lines.len() * LINE * (24 + number % 4) / 32) as u32;
        let old = std::mem::replace(self, Self { lines, used: 0, bound });
        for entry in old.entries().filter(|entry| keep(*entry)) {
            if let Err((line, place)) = self.search(entry, u128::MAX) {
                self.lines[line].0[place] = entry;
                self.used += 1;
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
        fn is_a_set(entries in prop::collection::vec((0..3u128, 0..200u128, 0..50usize), 0..600)) {
            // Few parts and close places: long runs that wrap around the end.
            let mut table = Table::new();
            let mut reference = HashSet::new();
            for (part, low, sweep) in entries {
                let entry = part << 120 | (0xff_ffff - low) << 96 | 1;
                prop_assert_eq!(table.contains(entry, u128::MAX), reference.contains(&entry));
                prop_assert_eq!(table.find_or_insert(entry, u128::MAX).is_none(), reference.insert(entry));
                table.prefetch(entry);
                if sweep == 0 {
                    let keep = |entry: u128| part_of(entry) != 1 || (entry >> 96).is_multiple_of(3);
                    table.retain(1, keep);
                    reference.retain(|entry| keep(*entry));
                }
            }
        }
    }

    #[test]
    fn wastes_little_and_gives_back() {
        let mut table = Table::new();
        let count = 2_000_000;
        for number in 1..=count as u128 {
            table.find_or_insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), u128::MAX);
        }
        assert!(table.bytes() < count * 32, "{} bytes", table.bytes());
        (0..SHARDS).for_each(|part| table.retain(part, |entry| entry.is_multiple_of(8)));
        assert!(table.bytes() < count * 4, "{} bytes", table.bytes());
    }
}
