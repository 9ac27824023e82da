//! Finds which of a fixed set of names a piece of text is, mostly by comparing two words.

use super::bytes::word;

/// Marks a free place of the table; no name is that long.
const FREE: u32 = u32::MAX;

/// A set of names, each with a number. Made once from the pipeline's definitions, then only read.
#[derive(Clone, Debug)]
pub(crate) struct NameTable {
    /// A power of two of them, at most a quarter in use.
    places: Vec<Place>,
    shift: u32,
    names: Vec<Box<[u8]>>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    first: u64,
    last: u64,
    len: u32,
    /// Index in `names`, where names longer than 16 bytes are compared to the end.
    name: u32,
    value: u32,
}

const EMPTY: Place = Place { first: 0, last: 0, len: FREE, name: 0, value: 0 };

impl Default for NameTable {
    fn default() -> Self {
        Self { places: vec![EMPTY; 8], shift: 61, names: Vec::new(), used: 0 }
    }
}

impl NameTable {
    /// Adds a name, or gives one that is there another number.
    pub(crate) fn insert(&mut self, name: &[u8], value: u32) {
        if (self.used + 1) * 4 > self.places.len() {
            let places = std::mem::take(&mut self.places);
            self.places = vec![EMPTY; places.len() * 2];
            self.shift -= 1;
            for place in places.iter().filter(|place| place.len != FREE) {
                let free = self.find_free(place.first, place.last, place.len as usize);
                self.places[free] = *place;
            }
        }
        let mut padded = name.to_vec();
        padded.resize(name.len() + 16, 0);
        if let Some(at) = self.find(&padded, 0, name.len()) {
            self.places[at].value = value;
            return;
        }
        let (first, last) = ends(&padded, 0, name.len());
        let at = self.find_free(first, last, name.len());
        self.places[at] = Place { first, last, len: name.len() as u32, name: self.names.len() as u32, value };
        self.names.push(name.into());
        self.used += 1;
    }

    /// The number of the name that stands in `len` bytes of `padded` from `start` on. At least 8 bytes must be
    /// readable behind it, else it is not found.
    #[inline(always)]
    pub(crate) fn get(&self, padded: &[u8], start: usize, len: usize) -> Option<u32> {
        self.find(padded, start, len).map(|at| self.places[at].value)
    }

    #[inline(always)]
    fn find(&self, padded: &[u8], start: usize, len: usize) -> Option<usize> {
        let (first, last) = ends(padded, start, len);
        let mask = self.places.len() - 1;
        let mut at = slot(first, last, len, self.shift);
        loop {
            let place = &self.places[at & mask];
            if place.len as usize == len && place.first == first && place.last == last {
                // The two words cover up to 16 bytes.
                if len <= 16 || padded.get(start..start + len) == Some(&*self.names[place.name as usize]) {
                    return Some(at & mask);
                }
            }
            if place.len == FREE {
                return None;
            }
            at += 1;
        }
    }

    fn find_free(&self, first: u64, last: u64, len: usize) -> usize {
        let mask = self.places.len() - 1;
        let mut at = slot(first, last, len, self.shift) & mask;
        while self.places[at].len != FREE {
            at = (at + 1) & mask;
        }
        at
    }
}

/// The first and the last eight bytes of a name; of a shorter one the name itself, twice.
#[inline(always)]
fn ends(padded: &[u8], start: usize, len: usize) -> (u64, u64) {
    let covered = len.min(8) as u32;
    // A shift by all 64 bits, for the empty name, leaves nothing.
    let mask = u64::MAX.checked_shr(64 - 8 * covered).unwrap_or(0);
    (word(padded, start) & mask, word(padded, start + len.saturating_sub(8)) & mask)
}

#[inline(always)]
fn slot(first: u64, last: u64, len: usize, shift: u32) -> usize {
    let mixed = first ^ last.rotate_left(29) ^ (len as u64) << 56;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn look_up(table: &NameTable, text: &str) -> Option<u32> {
        // What stands around the text must not matter.
        let padded = format!("x{text}yyyyyyyyyyyyyyyy");
        table.get(padded.as_bytes(), 1, text.len())
    }

    proptest! {
        #[test]
        fn finds_exactly_what_was_inserted(
            names in proptest::collection::vec("[ab]{0,3}|[a-c]{6,10}|x{14,20}[yz]x{0,9}", 0..60),
            others in proptest::collection::vec("[ab]{0,3}|[a-c]{6,10}|x{14,20}[yz]x{0,9}", 0..60),
        ) {
            let mut table = NameTable::default();
            let mut reference = HashMap::new();
            for (value, name) in names.iter().enumerate() {
                table.insert(name.as_bytes(), value as u32);
                reference.insert(name.as_str(), value as u32);
            }
            for text in names.iter().chain(&others) {
                prop_assert_eq!(look_up(&table, text), reference.get(text.as_str()).copied(), "{}", text);
            }
        }
    }

    #[test]
    fn holds_many_names() {
        let mut table = NameTable::default();
        for value in 0..5_000u32 {
            table.insert(format!("Event number {value}").as_bytes(), value);
        }
        for value in 0..5_000u32 {
            assert_eq!(look_up(&table, &format!("Event number {value}")), Some(value));
        }
        assert_eq!(look_up(&table, "Event number 5000"), None);
    }
}
