//! The header of a record: what a node (one identifier) and a cluster (two or more) keep besides values.
//!
//! | word | node | cluster |
//! |---|---|---|
//! | 0, 1 | its hash | the hash of its first identifier, which is the published id |
//! | 2 | label (low), next local member (high) | first local member (low), size (high) |
//! | 3 | number of its link list (low), touched slot (high) | number of its remote members (low), touched slot (high) |
//! | 4 | its text | the text of its first identifier |
//! | 5 | place in the log (40 bits), rank, worker of the label, flags (8 bits each) | the same of its first identifier |
//! | 6 | when its timer is due | the same |
//!
//! The label of an identifier that is alone in its cluster is itself: it is its own profile record, and only
//! identifiers that were linked ever need a cluster record.

use std::cmp::Ordering;

use crate::store::TextRef;

/// The record is a cluster.
pub(crate) const CLUSTER: u64 = 1;
/// It, or one of its members, owns an event: the cluster is a profile.
pub(crate) const OWNS: u64 = 1 << 1;
/// It is in this epoch's list of records to evaluate.
pub(crate) const TOUCHED: u64 = 1 << 2;
/// A cluster whose values are put together from its members at the end of this epoch.
pub(crate) const FRESH: u64 = 1 << 3;
/// A cluster that was dissolved in this epoch, or a node that no accepted event mentions any more.
pub(crate) const GONE: u64 = 1 << 4;
/// A node whose assignment has left the engine.
pub(crate) const ASSIGNED: u64 = 1 << 5;
/// Its membership bits were decided on its values once.
pub(crate) const EVALUATED: u64 = 1 << 6;
/// A node that an alias event mentions: its first mention is kept aside.
pub(crate) const ALIASED: u64 = 1 << 7;

/// A cluster whose memberships and assignments are published anew in this epoch (the bit means [`ALIASED`] on a
/// node).
pub(crate) const REPUBLISHED: u64 = 1 << 7;

/// No record.
pub(crate) const NONE: u32 = u32::MAX;

const PLACE_SHIFT: u32 = 24;

/// The cluster handle that an identifier's node carries: the worker at which the cluster has its home and its
/// record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Label {
    pub(crate) worker: u8,
    pub(crate) record: u32,
}

/// What decides which identifier of a cluster came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct First {
    pub(crate) place: u64,
    pub(crate) rank: u8,
    pub(crate) hash: u128,
    pub(crate) text: TextRef,
}

impl First {
    /// By place in the log, then rank, then value.
    pub(crate) fn compare(&self, other: &Self, texts: &crate::store::Texts) -> Ordering {
        (self.place, self.rank).cmp(&(other.place, other.rank)).then_with(|| {
            if self.hash == other.hash {
                return Ordering::Equal;
            }
            let [a, b] = [self.text, other.text].map(|text| texts.read(text, str::to_owned));
            a.as_bytes().cmp(b.as_bytes())
        })
    }
}

/// Reads and writes header words.
pub(crate) trait Header {
    fn words(&self) -> &[u64];

    fn hash(&self) -> u128 {
        u128::from(self.words()[1]) << 64 | u128::from(self.words()[0])
    }

    fn low(&self, word: usize) -> u32 {
        self.words()[word] as u32
    }

    fn high(&self, word: usize) -> u32 {
        (self.words()[word] >> 32) as u32
    }

    fn has(&self, flag: u64) -> bool {
        self.words()[5] & flag != 0
    }

    fn label(&self) -> Label {
        Label { worker: (self.words()[5] >> 8) as u8, record: self.low(2) }
    }

    fn rank(&self) -> u8 {
        (self.words()[5] >> 16) as u8
    }

    fn text(&self) -> TextRef {
        TextRef(self.words()[4])
    }

    fn first_mention(&self) -> First {
        First {
            place: self.words()[5] >> PLACE_SHIFT,
            rank: self.rank(),
            hash: self.hash(),
            text: self.text(),
        }
    }

    fn due(&self) -> i64 {
        self.words()[6] as i64
    }
}

impl Header for [u64] {
    fn words(&self) -> &[u64] {
        self
    }
}

/// Changes header words.
pub(crate) trait HeaderMut: Header {
    fn words_mut(&mut self) -> &mut [u64];

    fn set_low(&mut self, word: usize, value: u32) {
        let words = self.words_mut();
        words[word] = words[word] & !0xffff_ffff | u64::from(value);
    }

    fn set_high(&mut self, word: usize, value: u32) {
        let words = self.words_mut();
        words[word] = words[word] & 0xffff_ffff | u64::from(value) << 32;
    }

    fn set(&mut self, flags: u64) {
        self.words_mut()[5] |= flags;
    }

    fn unset(&mut self, flags: u64) {
        self.words_mut()[5] &= !flags;
    }

    fn set_label(&mut self, label: Label) {
        self.set_low(2, label.record);
        let word = &mut self.words_mut()[5];
        *word = *word & !0xff00 | u64::from(label.worker) << 8;
    }

    fn set_first(&mut self, first: &First) {
        let words = self.words_mut();
        words[0] = first.hash as u64;
        words[1] = (first.hash >> 64) as u64;
        words[4] = first.text.0;
        words[5] = words[5] & 0xffff | first.place << PLACE_SHIFT | u64::from(first.rank) << 16;
    }

    fn set_due(&mut self, due: i64) {
        self.words_mut()[6] = due as u64;
    }
}

impl HeaderMut for [u64] {
    fn words_mut(&mut self) -> &mut [u64] {
        self
    }
}

/// No timer.
pub(crate) const NEVER: i64 = i64::MAX;
