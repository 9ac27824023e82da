//! The texts of string traits on one worker: each stands once, and those that no value has any more can be given back.
//!
//! Texts lie in pages at places that only ever grow. To [`begin`](TraitTexts::begin) a collection is to fix a *cut*, behind
//! which all that is interned from then on will lie, and to forget what is known of the texts before it. Whoever holds places
//! then has them [`refresh`](TraitTexts::refresh)ed, a few at a time. When none before the cut is held any more
//! ([`end`](TraitTexts::end)), the pages before it go, a few at a time, too ([`shed`](TraitTexts::shed)). Who holds places, and in
//! which order they are walked, is in `profile::collect`.
//!
//! Behind the cut a text has one place, so two values that were refreshed are equal if and only if their words are.
//!
//! Places mean nothing on other workers: messages carry the texts themselves (`identity::carry`), so that workers collect
//! without asking each other.

use std::collections::VecDeque;

use tidewater_model::{HashKey, IdentifierSeed};

use super::Index;
use crate::scalar::{Scalar128, Unpacked};

/// Bytes that a page holds, as a power of two: it is what a state with a single text takes, and what is allocated at once. A
/// longer text has a page of its own, and the numbers of as many pages as it takes the room of.
const PAGE_BITS: u32 = 18;
const PAGE: usize = 1 << PAGE_BITS;

/// Bytes in front of a text for its length, so that one that begins like another is not taken for it.
const HEADER: usize = size_of::<u32>();

/// Texts begin at multiples of this: so 32 bits say where, up to 32 GiB behind the cut.
const ALIGN: usize = 8;

/// So much is given back in one step, a fraction of a millisecond's work for the allocator, and twice as much as was appended
/// since the last one: so it is gone before much else has come, however fast that comes.
const SHED_BYTES: u64 = 4 << 20;

/// The texts of string traits that one worker has.
#[derive(Debug)]
pub(crate) struct TraitTexts {
    seed: IdentifierSeed,
    pages: VecDeque<Vec<u8>>,
    /// The number of the first of `pages`.
    first: u64,
    /// The first place that is not forgotten: the start of a page.
    cut: u64,
    /// The texts behind the cut; an entry is the distance from there, in units of `ALIGN`.
    known: Index,
    /// What was known before the cut: of no use any more.
    forgotten: Index,
    /// Pages with smaller numbers have no text that is held.
    dead: u64,
    /// Bytes of all pages.
    held: u64,
    /// Bytes appended behind the cut for events, messages and stored state.
    fresh: u64,
    /// Bytes appended behind the cut because a value had stood before it.
    moved: u64,
    /// Bytes appended since memory was given back last.
    appended: u64,
    scratch: Vec<u8>,
}

impl TraitTexts {
    /// No texts. Events choose what is hashed, so the hash has a key.
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            seed: key.seed("texts of traits"),
            pages: VecDeque::new(),
            first: 0,
            cut: 0,
            known: Index::new(),
            forgotten: Index::default(),
            dead: 0,
            held: 0,
            fresh: 0,
            moved: 0,
            appended: 0,
            scratch: Vec::new(),
        }
    }

    /// The place of a text, which is appended if it is not known.
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        let hash = self.seed.hash(text);
        match self.known.find(hash, |entry| self.whole(self.place_of(entry)) == text) {
            Some(entry) => self.place_of(entry),
            None => self.append(hash, text),
        }
    }

    /// The text at a place.
    #[inline]
    pub(crate) fn get(&self, start: u64, len: u32) -> &[u8] {
        let page = &self.pages[((start >> PAGE_BITS) - self.first) as usize];
        &page[start as usize & (PAGE - 1)..][..len as usize]
    }

    /// Writes the text of a scalar, if it is a string, to the end of `texts`, and its place there into the scalar's words.
    pub(crate) fn carry(&self, words: &mut [u64], texts: &mut Vec<u8>) {
        if let Unpacked::String { start, len } = Scalar128::from_words(words[0], words[1]).unpack() {
            let carried = Scalar128::string(texts.len() as u64, len).words();
            texts.extend_from_slice(self.get(start, len));
            words[..2].copy_from_slice(&carried);
        }
    }

    /// Interns the text of a scalar, if it is a string, whose words say where it stands in `texts`.
    #[inline]
    pub(crate) fn take_in(&mut self, words: &mut [u64], texts: &[u8]) {
        if let Unpacked::String { start, len } = Scalar128::from_words(words[0], words[1]).unpack() {
            let own = self.intern(&texts[start as usize..][..len as usize]);
            words[..2].copy_from_slice(&Scalar128::string(own, len).words());
        }
    }

    /// Fixes a new cut, behind everything that is there. The collection before must have [`end`](Self::end)ed.
    pub(crate) fn begin(&mut self) {
        self.cut = self.next_page() << PAGE_BITS;
        let known = std::mem::replace(&mut self.known, Index::new());
        self.forgotten.take_parts(known);
        (self.fresh, self.moved) = (0, 0);
    }

    /// No place before the cut is held any more.
    pub(crate) fn end(&mut self) {
        self.dead = self.cut >> PAGE_BITS;
        self.scratch = Vec::new();
    }

    /// Interns the text of a scalar again, if it is a string that lies before the cut.
    #[inline]
    pub(crate) fn refresh(&mut self, words: &mut [u64]) {
        if let Unpacked::String { start, len } = Scalar128::from_words(words[0], words[1]).unpack()
            && start < self.cut
        {
            let own = self.move_up(start, len);
            words[..2].copy_from_slice(&Scalar128::string(own, len).words());
        }
    }

    /// Whether a scalar is a string before the cut.
    #[cfg(test)]
    pub(crate) fn is_old(&self, words: &[u64]) -> bool {
        let unpacked = Scalar128::from_words(words[0], words[1]).unpack();
        matches!(unpacked, Unpacked::String { start, .. } if start < self.cut)
    }

    fn move_up(&mut self, start: u64, len: u32) -> u64 {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        text.extend_from_slice(self.get(start, len));
        let before = self.fresh;
        let own = self.intern(&text);
        self.moved += self.fresh - before;
        self.fresh = before;
        self.scratch = text;
        own
    }

    /// Gives some of the memory back that is of no use any more; false if there is none.
    pub(crate) fn shed(&mut self) -> bool {
        let any = self.has_more_to_shed();
        let bytes = SHED_BYTES + 2 * std::mem::take(&mut self.appended);
        let mut freed = self.forgotten.shed(bytes);
        while freed < bytes && self.first < self.dead {
            let page = self.pages.pop_front().map_or(0, |page| page.capacity() as u64);
            (self.held, self.first) = (self.held - page, self.first + 1);
            freed += page;
        }
        any
    }

    /// Whether there is memory of no use.
    pub(crate) fn has_more_to_shed(&self) -> bool {
        self.first < self.dead || self.forgotten.has_parts()
    }

    /// Bytes of texts that came since the cut was fixed. Any of them may be needed no longer.
    pub(crate) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// Bytes of texts that were held when the cut was fixed and are from before it, as far as they were refreshed.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Takes everything that is there for needed.
    pub(crate) fn settle(&mut self) {
        self.moved += std::mem::take(&mut self.fresh);
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.held + self.known.bytes() + self.forgotten.bytes()
    }

    /// The number of the page behind the last one.
    fn next_page(&self) -> u64 {
        self.first + self.pages.len() as u64
    }

    fn place_of(&self, entry: u32) -> u64 {
        self.cut + u64::from(entry) * ALIGN as u64 + HEADER as u64
    }

    /// The text that begins at a place, to its end.
    fn whole(&self, start: u64) -> &[u8] {
        let header = self.get(start - HEADER as u64, HEADER as u32);
        let len = header.try_into().map_or(0, u32::from_le_bytes);
        self.get(start, len)
    }

    #[inline(never)]
    fn append(&mut self, hash: u128, text: &[u8]) -> u64 {
        let room = (HEADER + text.len()).next_multiple_of(ALIGN);
        // A page before the cut is full, however much room it has. One without memory only has its number for a long text's sake.
        let has_room = |page: &Vec<u8>| page.capacity() > 0 && page.len() + room <= PAGE;
        if self.next_page() <= self.cut >> PAGE_BITS || !self.pages.back().is_some_and(has_room) {
            let page = Vec::with_capacity(room.max(PAGE));
            self.held += page.capacity() as u64;
            self.pages.push_back(page);
        }
        let number = self.next_page() - 1;
        let mut start = number << PAGE_BITS;
        if let Some(page) = self.pages.back_mut() {
            start += page.len() as u64;
            page.extend_from_slice(&(text.len() as u32).to_le_bytes());
            page.extend_from_slice(text);
            page.resize(page.len().next_multiple_of(ALIGN), 0);
        }
        for _ in 1..room.div_ceil(PAGE) {
            self.pages.push_back(Vec::new());
        }
        self.fresh += room as u64;
        self.appended += room as u64;
        // Farther from the cut than an entry can say, a text is not found again: it will stand more than once.
        if let Ok(entry) = u32::try_from((start - self.cut) / ALIGN as u64)
            && entry < u32::MAX
        {
            self.known.insert(hash, entry);
        }
        start + HEADER as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &mut TraitTexts, text: &[u8]) -> [u64; 2] {
        Scalar128::string(texts.intern(text), text.len() as u32).words()
    }

    fn read<'a>(texts: &'a TraitTexts, words: &[u64; 2]) -> &'a [u8] {
        match Scalar128::from_words(words[0], words[1]).unpack() {
            Unpacked::String { start, len } => texts.get(start, len),
            _ => &[],
        }
    }

    /// Texts of every length around the size of a page, some of which begin alike.
    fn samples() -> Vec<Vec<u8>> {
        let mut samples: Vec<Vec<u8>> = (0..40).map(|len| vec![b'a'; len]).collect();
        samples.extend((0..3_000u32).map(|n| n.to_string().repeat(1 + n as usize % 60).into_bytes()));
        samples.extend((PAGE - 12..PAGE + 12).map(|len| vec![b'b'; len]));
        samples.extend([2 * PAGE - 4, 2 * PAGE, 3 * PAGE + 5].map(|len| vec![b'c'; len]));
        samples.sort_unstable();
        samples.dedup();
        samples
    }

    #[test]
    fn every_text_stands_once_and_is_read_as_it_was() {
        let (mut texts, samples) = (TraitTexts::new(HashKey::FIXED), samples());
        let places: Vec<[u64; 2]> = samples.iter().map(|text| words(&mut texts, text)).collect();
        let bytes = texts.bytes();
        for (text, place) in samples.iter().zip(&places) {
            assert_eq!(read(&texts, place), text);
            assert_eq!(words(&mut texts, text), *place);
        }
        assert_eq!(texts.bytes(), bytes);
    }

    #[test]
    fn what_is_refreshed_stays_and_the_rest_goes() {
        let (mut texts, samples) = (TraitTexts::new(HashKey::FIXED), samples());
        let places: Vec<[u64; 2]> = samples.iter().map(|text| words(&mut texts, text)).collect();
        let full = texts.bytes();
        let mut kept: Vec<(&Vec<u8>, [u64; 2])> = samples.iter().zip(places).step_by(7).collect();
        for _ in 0..3 {
            texts.begin();
            let early = words(&mut texts, kept[3].0);
            for (text, place) in &mut kept {
                texts.refresh(place);
                assert_eq!(read(&texts, place), *text);
            }
            assert_eq!(early, kept[3].1, "a text has one place behind the cut, whoever comes first");
            texts.end();
            assert!(texts.has_more_to_shed());
            while texts.shed() {}
            assert!(!texts.has_more_to_shed());
            assert!(texts.bytes() < full / 3, "{} of {full} bytes", texts.bytes());
            for (text, place) in &kept {
                assert_eq!(read(&texts, place), *text);
                assert_eq!(words(&mut texts, text), *place);
            }
        }
    }

    #[test]
    fn nothing_held_leaves_nothing() {
        let mut texts = TraitTexts::new(HashKey::FIXED);
        let empty = texts.bytes();
        samples().iter().for_each(|text| _ = texts.intern(text));
        texts.begin();
        texts.end();
        while texts.shed() {}
        assert_eq!(texts.bytes(), empty);
        assert_eq!((texts.fresh(), texts.moved()), (0, 0));
    }

    #[test]
    fn a_text_travels_by_itself() {
        let (mut here, mut there) = (TraitTexts::new(HashKey::FIXED), TraitTexts::new(HashKey::FIXED));
        words(&mut there, b"in the way");
        let (mut carried, mut message) = (words(&mut here, b"hello"), b"before".to_vec());
        here.carry(&mut carried, &mut message);
        there.take_in(&mut carried, &message);
        assert_eq!(read(&there, &carried), b"hello");
        let mut number = Scalar128::TRUE.words();
        here.carry(&mut number, &mut message);
        there.take_in(&mut number, &message);
        assert_eq!((number, message.len()), (Scalar128::TRUE.words(), 11));
    }
}
