//! Messages accepted not long ago, so that one sent twice counts once.
//!
//! A message is remembered for at least the window, a moment at its end included, and forgotten before one and a
//! half windows have passed. Time comes in halves of a window: each half has a table of its own, three are kept, and
//! when a fourth begins the oldest goes as a whole. So an entry needs no time of its own.
//!
//! An entry is 16 bytes: 96 bits of the id and 32 bits of the content. With a billion messages remembered the
//! chance that any two of them share 96 bits is below 10^-11; that a conflict passes for a duplicate, both of which
//! keep the event out of the log, has a chance of 2^-32 per conflict.

use tidewater_model::{Dedup as Remember, Timestamp};

use super::{
    message::MessageKey,
    table::{Part, Table, parts_bytes},
};

/// The bits of an entry that are the id's.
const ID: u128 = !0xffff_ffff;

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen within the window; it is remembered from now on.
    New,
    /// Seen before with the same content.
    Duplicate,
    /// Seen before with other content.
    Conflict,
}

/// The messages of the last window.
#[derive(Clone, Debug)]
pub struct Dedup {
    /// Half a window in milliseconds; `None` remembers forever.
    half: Option<i64>,
    /// When the half window of `generations[0]` began; half windows are counted from 1970.
    current: i64,
    /// The current half window and the two before.
    generations: [Table; 3],
    /// Parts of forgotten generations, freed one by one.
    forgotten: Vec<Part>,
}

impl Dedup {
    /// Remembers nothing yet.
    pub fn new(remember: Remember) -> Self {
        let half = match remember {
            Remember::For(window) => Some((window.0 / 2 + window.0 % 2).max(1)),
            Remember::Forever => None,
        };
        let generations = std::array::from_fn(|_| Table::new());
        Self { half, current: i64::MIN, generations, forgotten: Vec::new() }
    }

    /// Decides about a message at `now` on the engine's clock, and remembers it if it is new. Duplicates do not
    /// extend how long the first is remembered. A `now` that goes back counts as the latest seen.
    #[inline]
    pub fn check(&mut self, now: Timestamp, key: MessageKey) -> Verdict {
        self.advance(now);
        let entry = entry(key);
        let [current, older @ ..] = &mut self.generations;
        let in_older = older.iter().find_map(|table| if table.is_empty() { None } else { table.find(entry, ID) });
        let Some(seen) = in_older.or_else(|| current.find_or_insert(entry, ID)) else { return Verdict::New };
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::DuplicateCounted) {
            return Verdict::New;
        }
        if seen == entry { Verdict::Duplicate } else { Verdict::Conflict }
    }

    /// Remembers a message that was accepted at `now`, when the log is replayed.
    pub fn restore(&mut self, now: Timestamp, key: MessageKey) {
        self.check(now, key);
    }

    /// Asks the processor for the places that [`check`](Self::check) will look at; worth it some events ahead.
    #[inline]
    pub fn prefetch(&self, key: MessageKey) {
        for table in &self.generations {
            if !table.is_empty() {
                table.prefetch(entry(key));
            }
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.generations.iter().map(Table::bytes).sum::<u64>() + parts_bytes(&self.forgotten)
    }

    #[inline(always)]
    fn advance(&mut self, now: Timestamp) {
        let Some(half) = self.half else { return };
        if now.0 >= self.current.saturating_add(half) {
            self.begin(now, half);
        }
        if !self.forgotten.is_empty() {
            self.forgotten.pop();
        }
    }

    #[cold]
    fn begin(&mut self, now: Timestamp, half: i64) {
        let start = now.0.div_euclid(half).saturating_mul(half);
        let ended = start.saturating_sub(self.current) / half;
        for _ in 0..ended.min(3) {
            self.generations.rotate_right(1);
            let oldest = std::mem::replace(&mut self.generations[0], Table::new());
            if !oldest.is_empty() {
                self.forgotten.extend(oldest.into_parts());
            }
        }
        self.current = start;
    }
}

/// The entry of a message; never 0.
#[inline(always)]
fn entry(key: MessageKey) -> u128 {
    let entry = key.id & ID | u128::from(key.content as u32);
    if entry == 0 { 1 } else { entry }
}
