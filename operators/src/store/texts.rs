//! Texts, each standing once: of identifiers, looked up only for output, and of string traits.

use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

/// Bytes a page of texts holds, as a power of two: more than the longest text, which is never on two of them.
const PAGE_BITS: u32 = 18;
const PAGE: usize = 1 << PAGE_BITS;

/// The texts of all identifiers of a process: append-only, one part a worker, readable by every worker. A part is pages, so
/// that growing copies nothing.
#[derive(Debug, Default)]
pub struct Texts {
    parts: Vec<RwLock<Vec<String>>>,
    traits: RwLock<Vec<u8>>,
}

/// Where an identifier's text stands: 8 bits worker, 40 bits place, 16 bits length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct TextRef(pub(crate) u64);

impl Texts {
    /// Texts for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { parts: (0..workers).map(|_| RwLock::default()).collect(), traits: RwLock::default() })
    }

    /// Appends a text to a worker's part. Identifiers are normalized, so they are text; one that is not is kept as an
    /// empty one.
    pub(crate) fn append(&self, worker: usize, text: &[u8]) -> TextRef {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut pages = self.parts[worker].write().unwrap_or_else(PoisonError::into_inner);
        if pages.last().is_none_or(|page| PAGE - page.len() <= text.len()) {
            pages.push(String::with_capacity(PAGE));
        }
        let number = pages.len() - 1;
        let page = &mut pages[number];
        let start = (number << PAGE_BITS | page.len()) as u64;
        page.push_str(text);
        TextRef((worker as u64) << 56 | start << 16 | text.len() as u64)
    }

    /// Calls `read` with a text.
    pub(crate) fn read<R>(&self, text: TextRef, read: impl FnOnce(&str) -> R) -> R {
        let pages = self.parts[(text.0 >> 56) as usize].read().unwrap_or_else(PoisonError::into_inner);
        let start = (text.0 >> 16 & 0xff_ffff_ffff) as usize;
        let from = start & (PAGE - 1);
        read(&pages[start >> PAGE_BITS][from..from + (text.0 & 0xffff) as usize])
    }

    /// Bytes of memory of one worker's part.
    pub(crate) fn bytes(&self, worker: usize) -> u64 {
        (self.parts[worker].read().unwrap_or_else(PoisonError::into_inner).len() * PAGE) as u64
    }
}

/// A worker's view of the texts of string traits, which all workers share: every text stands once.
#[derive(Debug)]
pub(crate) struct TraitTexts {
    shared: Arc<Texts>,
    /// What this worker has met; a miss asks the shared part.
    known: FxHashMap<Box<[u8]>, u64>,
    /// A copy of the shared part as far as this worker has needed it, so that comparing takes no lock.
    copy: Vec<u8>,
}

impl TraitTexts {
    /// A view of `shared`.
    pub(crate) fn new(shared: Arc<Texts>) -> Self {
        Self { shared, known: FxHashMap::default(), copy: Vec::new() }
    }

    /// The place of a text, which is appended if this worker has not met it.
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        if let Some(start) = self.known.get(text) {
            return *start;
        }
        let start = {
            let mut shared = self.shared.traits.write().unwrap_or_else(PoisonError::into_inner);
            let start = shared.len() as u64;
            shared.extend_from_slice(text);
            start
        };
        self.known.insert(text.into(), start);
        self.catch_up();
        start
    }

    /// Makes texts that other workers appended readable here.
    pub(crate) fn catch_up(&mut self) {
        let shared = self.shared.traits.read().unwrap_or_else(PoisonError::into_inner);
        if shared.len() > self.copy.len() {
            self.copy.extend_from_slice(&shared[self.copy.len()..]);
        }
    }

    /// A text that this worker interned, or that was there at the last [`catch_up`](Self::catch_up).
    pub(crate) fn get(&self, start: u64, len: u32) -> &[u8] {
        &self.copy[start as usize..][..len as usize]
    }

    /// Bytes of memory, the shared part not counted.
    pub(crate) fn bytes(&self) -> u64 {
        let known: usize = self.known.keys().map(|text| text.len() + 40).sum();
        (known + self.copy.capacity()) as u64
    }
}
