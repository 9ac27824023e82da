//! The texts of identifiers, each standing once, looked up only for output. Those of traits are in `trait_texts`.

use std::sync::{Arc, PoisonError, RwLock};

/// Bytes a page of texts holds, as a power of two: more than the longest text, which is never on two of them.
const PAGE_BITS: u32 = 18;
const PAGE: usize = 1 << PAGE_BITS;

/// The texts of all identifiers of a process: append-only, one part a worker, readable by every worker. A part is pages, so
/// that growing copies nothing.
#[derive(Debug, Default)]
pub struct Texts {
    parts: Vec<RwLock<Vec<String>>>,
}

/// Where an identifier's text stands: 8 bits worker, 40 bits place, 16 bits length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct TextRef(pub(crate) u64);

impl Texts {
    /// Texts for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { parts: (0..workers).map(|_| RwLock::default()).collect() })
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
