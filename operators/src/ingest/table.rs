//! A set of 128-bit entries that grows a page at a time.
//!
//! Extendible hashing: a directory, indexed by the first bits of an entry, says in which segment of 4 KiB it stands. A
//! full segment is split in two by the next bit, and no other entry moves: the longest wait is that of one split,
//! some microseconds, or of copying the directory when it doubles, 4 bytes per 250 entries. Within a segment places
//! are filled by cache lines, so that nearly every search is settled by the one line that was prefetched.

use std::hash::{BuildHasher, RandomState};

use crate::intrinsics::prefetch;

/// A free place. No entry is the same as this under the mask it is looked for with.
const EMPTY: u128 = 0;

/// Entries in a cache line.
const LINE: usize = 4;

/// Cache lines in a segment.
const LINES: usize = 64;

/// The set. Two entries are the same if they agree in the bits of its mask.
///
/// Where an entry stands follows from these bits and from two random numbers, so that nobody can send entries that all
/// belong in one segment; it shows in nothing but the time and memory that is used.
#[derive(Clone, Debug)]
pub(super) struct Table {
    mask: u128,
    secrets: [u64; 2],
    /// By the top bits of an entry's place, as many as `64 - shift`: its segment.
    directory: Vec<u32>,
    shift: u32,
    segments: Vec<Box<Segment>>,
    /// Per segment: how many entries it takes before it is split. Apart from the segment, so that nothing but the
    /// line that an entry goes to has to be fetched.
    room: Vec<u16>,
    /// Per segment.
    shapes: Vec<Shape>,
}

/// What the places of a segment's entries share.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// How many top bits.
    depth: u32,
    /// Those bits, at the top.
    prefix: u64,
}

#[derive(Clone, Debug)]
struct Segment([Line; LINES]);

/// The places in one cache line, filled from the front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u128; LINE]);

impl Table {
    /// An empty set in which entries that agree in the bits of `mask` are the same.
    pub(super) fn new(mask: u128) -> Self {
        let random = RandomState::new();
        // A directory of two, since a shift by all 64 bits is none.
        let mut table = Self {
            mask,
            secrets: [random.hash_one(1), random.hash_one(2)],
            directory: vec![0, 1],
            shift: 63,
            segments: Vec::new(),
            room: Vec::new(),
            shapes: Vec::new(),
        };
        for prefix in [0, 1 << 63] {
            table.add_segment(Shape { depth: 1, prefix });
        }
        table
    }

    fn add_segment(&mut self, shape: Shape) -> usize {
        self.segments.push(Box::new(Segment::EMPTY));
        self.room.push(shape.bound());
        self.shapes.push(shape);
        self.segments.len() - 1
    }

    /// Asks the processor for the place of an entry.
    #[inline]
    pub(super) fn prefetch(&self, entry: u128) {
        // The directory and the segments' addresses are few enough to stay in the cache.
        let place = self.place_of(entry);
        prefetch(&self.segments[self.segment_at(place)].0[line_at(place)]);
    }

    /// Whether there is an entry that is the same as this one.
    #[inline]
    pub(super) fn contains(&self, entry: u128) -> bool {
        let place = self.place_of(entry);
        self.segments[self.segment_at(place)].search(line_at(place), entry, self.mask).is_ok()
    }

    /// Adds an entry, which must have a bit of the mask, unless one is there that is the same: then returns that one.
    /// It may be changed to another that is the same.
    #[inline]
    pub(super) fn find_or_insert(&mut self, entry: u128) -> Option<&mut u128> {
        let place = self.place_of(entry);
        let number = self.segment_at(place);
        let segment = &mut self.segments[number];
        match segment.search(line_at(place), entry, self.mask) {
            Ok((line, at)) => return Some(&mut self.segments[number].0[line].0[at]),
            Err((line, at)) => segment.0[line].0[at] = entry,
        }
        self.room[number] -= 1;
        if self.room[number] == 0 {
            self.split(number);
        }
        None
    }

    /// How many segments there are; they are numbered from 0.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Drops the entries of one segment that are not to be kept. The segment stays, to be filled again.
    pub(super) fn retain(&mut self, number: usize, keep: impl Fn(u128) -> bool) {
        if self.segments[number].entries().any(|entry| !keep(entry)) {
            let old = std::mem::replace(&mut *self.segments[number], Segment::EMPTY);
            self.room[number] = self.shapes[number].bound();
            for entry in old.entries().filter(|entry| keep(*entry)) {
                let line = line_at(self.place_of(entry));
                self.segments[number].add(line, entry);
                self.room[number] -= 1;
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        let per_segment = size_of::<Segment>() + size_of::<usize>() + size_of::<u16>() + size_of::<Shape>();
        (self.directory.capacity() * size_of::<u32>() + self.segments.len() * per_segment) as u64
    }

    /// Where an entry stands: the bits from the top say in which segment, those from the bottom in which line.
    #[inline(always)]
    fn place_of(&self, entry: u128) -> u64 {
        let bits = entry & self.mask;
        let (high, low) = ((bits >> 64) as u64 ^ self.secrets[0], bits as u64 ^ self.secrets[1]);
        let product = u128::from(high) * u128::from(low);
        (product >> 64) as u64 ^ product as u64
    }

    #[inline(always)]
    fn segment_at(&self, place: u64) -> usize {
        self.directory[(place >> self.shift) as usize] as usize
    }

    /// Splits a segment by the next bit, and again if all its entries are on one side.
    #[cold]
    fn split(&mut self, mut number: usize) {
        loop {
            let Shape { depth, prefix } = self.shapes[number];
            let lower = Shape { depth: depth + 1, prefix };
            let upper = Shape { depth: depth + 1, prefix: prefix | 1 << (63 - depth) };
            let added = self.add_segment(upper);
            let old = std::mem::replace(&mut *self.segments[number], Segment::EMPTY);
            self.shapes[number] = lower;
            self.room[number] = lower.bound();
            for entry in old.entries() {
                let place = self.place_of(entry);
                let side = if place >= upper.prefix { added } else { number };
                self.segments[side].add(line_at(place), entry);
                self.room[side] = self.room[side].saturating_sub(1);
            }
            if self.shift > 63 - depth {
                self.directory = self.directory.iter().flat_map(|number| [*number, *number]).collect();
                self.shift -= 1;
            }
            let first = (upper.prefix >> self.shift) as usize;
            let count = 1 << (63 - depth - self.shift);
            self.directory[first..first + count].fill(added as u32);
            number = match (self.room[number], self.room[added]) {
                (0, _) => number,
                (_, 0) => added,
                _ => return,
            };
        }
    }
}

impl Shape {
    /// How many entries a segment of this shape takes before it is split. It differs from segment to segment, else
    /// all would be split at about the same time, and the memory per entry would swing from one extreme to the other.
    fn bound(self) -> u16 {
        192 + 8 * (self.prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u16
    }
}

impl Segment {
    const EMPTY: Self = Self([Line([EMPTY; LINE]); LINES]);

    fn entries(&self) -> impl Iterator<Item = u128> {
        self.0.iter().flat_map(|line| line.0).filter(|entry| *entry != EMPTY)
    }

    /// The entry that is the same as this one, or the free place where the search for it ends, which begins in line
    /// `at`: line and place in it.
    #[inline(always)]
    fn search(&self, mut at: usize, entry: u128, mask: u128) -> Result<(usize, usize), (usize, usize)> {
        // A segment always has free places, so the search ends before it has come around.
        loop {
            // How full a line is can't be predicted, so all its places are looked at, without a branch for each.
            let (mut same, mut used) = (LINE, 0);
            for (place, other) in self.0[at].0.iter().enumerate() {
                same = if (other ^ entry) & mask == 0 { place } else { same };
                used += usize::from(*other != EMPTY);
            }
            if same < LINE {
                return Ok((at, same));
            }
            if used < LINE {
                return Err((at, used));
            }
            at = (at + 1) % LINES;
        }
    }

    /// Adds an entry that is not there yet, in line `at` or the next that has a free place.
    fn add(&mut self, mut at: usize, entry: u128) {
        loop {
            if let Some(free) = self.0[at].0.iter_mut().find(|place| **place == EMPTY) {
                *free = entry;
                return;
            }
            at = (at + 1) % LINES;
        }
    }
}

#[inline(always)]
fn line_at(place: u64) -> usize {
    place as usize % LINES
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Entries that differ in few bits, wherever these are.
        #[test]
        fn is_a_set(
            shift in 34..110u32,
            entries in prop::collection::vec((1..1_200u128, 0..3u128, 0..200usize), 0..1_500),
        ) {
            let mut table = Table::new(!0x3_ffff_ffff);
            let mut reference = HashMap::new();
            for (number, rest, sweep) in entries {
                let entry = number << shift | rest;
                prop_assert_eq!(table.contains(entry), reference.contains_key(&number));
                table.prefetch(entry);
                match table.find_or_insert(entry) {
                    Some(found) => {
                        prop_assert_eq!(Some(*found), reference.insert(number, entry));
                        *found = entry;
                    }
                    None => prop_assert_eq!(reference.insert(number, entry), None),
                }
                if sweep == 0 {
                    let keep = |entry: u128| (entry >> shift).is_multiple_of(3);
                    (0..table.segments()).for_each(|number| table.retain(number, keep));
                    reference.retain(|_, entry| keep(*entry));
                }
            }
            for (number, segment) in table.segments.iter().enumerate() {
                let used = table.shapes[number].bound() - table.room[number];
                prop_assert_eq!(segment.entries().count(), usize::from(used));
            }
            prop_assert_eq!(table.segments.iter().flat_map(|segment| segment.entries()).count(), reference.len());
        }
    }

    /// A split that leaves one side empty must go on, and one directory entry may be all that a segment has.
    #[test]
    fn splits_until_both_sides_have_room() {
        let mut table = Table::new(u128::MAX);
        // Without secrets an entry of one low bit stands where its high bits say.
        table.secrets = [0, 0];
        let entries: Vec<u128> = (0..400u128).map(|number| (number << 44 | 1 << 63) << 64 | 1).collect();
        for entry in &entries {
            assert!(table.find_or_insert(*entry).is_none());
        }
        assert!(entries.iter().all(|entry| table.contains(*entry)));
        assert!(table.directory.len() >= 1 << 12 && table.segments() < 24, "{} segments", table.segments());
    }

    #[test]
    fn wastes_little_at_any_size() {
        let mut table = Table::new(u128::MAX);
        for number in 1..=1_000_000u128 {
            table.find_or_insert(number);
            if number % 50_000 == 0 {
                assert!(table.bytes() < number as u64 * 40, "{} bytes for {number}", table.bytes());
            }
        }
    }

    #[test]
    fn a_segment_is_a_page_and_never_quite_full() {
        assert_eq!(size_of::<Segment>(), 4096);
        let bounds = (0..100).map(|prefix| Shape { depth: 8, prefix: prefix << 56 }.bound());
        assert!(bounds.max() < Some((LINES * LINE) as u16));
    }
}
