//! Messages accepted not long ago, so that one sent twice counts once.
//!
//! A message is remembered for at least the window, a moment at its end included, and forgotten before one and a
//! half windows have passed. Time comes in halves of a window. An entry keeps which half it was accepted in, modulo
//! four: the current half and the two before count, and what the one before these left behind is swept out bit by
//! bit while messages come in. The memory stays what the busiest window needed.
//!
//! An entry is 16 bytes: 94 bits of the id, 2 of the time and 32 of the content. With a billion messages remembered
//! the chance that any two of them share 94 bits is below 10^-10; that a conflict passes for a duplicate, both of which
//! keep the event out of the log, has a chance of 2^-32 per conflict.

use tidewater_model::{Dedup as Remember, Timestamp};

use super::{message::MessageKey, table::Table};

/// The bits of an entry that are the id's.
const ID: u128 = !0x3_ffff_ffff;
/// The least of them that is not 0.
const LEAST_ID: u128 = 1 << 34;
/// Where the two bits of its time are.
const HALF_SHIFT: u32 = 32;

/// Nothing is left to be swept.
const ALL: usize = usize::MAX;

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
    /// Which half of a window it is, counted from 1970.
    current: i64,
    /// When it ends, in milliseconds since 1970.
    ends: i64,
    table: Table,
    /// Segments of the table from this one on may hold entries that no longer count; [`ALL`] if none may.
    swept: usize,
}

impl Dedup {
    /// Remembers nothing yet.
    pub fn new(remember: Remember) -> Self {
        let half = half_of(remember);
        let ends = if half.is_some() { i64::MIN } else { i64::MAX };
        Self { half, current: i64::MIN, ends, table: Table::new(ID), swept: ALL }
    }

    /// Decides about a message at `now` on the engine's clock, and remembers it if it is new. Duplicates do not
    /// extend how long the first is remembered. A `now` that goes back counts as the latest seen.
    #[inline]
    pub fn check(&mut self, now: Timestamp, key: MessageKey) -> Verdict {
        self.advance(now);
        let entry = self.entry(key);
        let current = self.current;
        let Some(seen) = self.table.find_or_insert(entry) else { return Verdict::New };
        if !is_fresh(*seen, current) {
            *seen = entry;
            return Verdict::New;
        }
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::DuplicateCounted) {
            return Verdict::New;
        }
        if *seen as u32 == entry as u32 { Verdict::Duplicate } else { Verdict::Conflict }
    }

    /// Remembers a message that [`check`](Self::check) just called new as of a later moment: under `clock: event` it is
    /// the event's own time that moves the clock, and the window begins when it has.
    #[inline]
    pub fn renew(&mut self, now: Timestamp, key: MessageKey) {
        if now.0 < self.ends {
            return;
        }
        self.begin(now);
        let entry = self.entry(key);
        if let Some(seen) = self.table.find_or_insert(entry) {
            *seen = entry;
        }
    }

    /// Remembers a message that was accepted at `now`, when the log is replayed. It was new then: should an earlier one
    /// with this id still count here, as may be if `now` is no more than the end of the epoch, or if the window was shorter,
    /// then this one takes its place.
    pub fn restore(&mut self, now: Timestamp, key: MessageKey) {
        self.advance(now);
        let entry = self.entry(key);
        if let Some(seen) = self.table.find_or_insert(entry) {
            *seen = entry;
        }
    }

    /// What is to be stored of a message that was just accepted: the half of a window in which it was, and its entry.
    #[inline]
    pub fn stored(&self, key: MessageKey) -> (i64, u128) {
        (self.current, self.entry(key))
    }

    /// Which half of a window it is, for a snapshot.
    pub fn current_half(&self) -> i64 {
        self.current
    }

    /// Goes on from a snapshot taken in this half of a window; nothing may have been remembered yet.
    pub fn resume(&mut self, current: i64) {
        let Some(half) = self.half else { return };
        self.current = current;
        self.ends = (current.saturating_add(1)).saturating_mul(half);
    }

    /// Remembers a stored message, unless it is too old or known already: the newest snapshot is read first. Of one that
    /// a replay found accepted twice a snapshot has both, and the later counts.
    pub fn read(&mut self, half: i64, entry: u128) {
        let current = self.current;
        if half >= self.oldest_half()
            && entry & ID != 0
            && let Some(seen) = self.table.find_or_insert(entry)
            && age(entry, current) < age(*seen, current)
        {
            *seen = entry;
        }
    }

    /// The oldest half of a window whose messages are still remembered.
    pub fn oldest_half(&self) -> i64 {
        if self.half.is_some() { self.current.saturating_sub(2) } else { i64::MIN }
    }

    /// Asks the processor for the place that [`check`](Self::check) will look at; worth it some events ahead.
    #[inline]
    pub fn prefetch(&self, key: MessageKey) {
        self.table.prefetch(self.entry(key));
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// The entry of a message accepted now. Its id is never 0, which would be the same as a free place.
    #[inline(always)]
    fn entry(&self, key: MessageKey) -> u128 {
        let half = (self.current as u128 & 3) << HALF_SHIFT;
        (key.id & ID).max(LEAST_ID) | half | u128::from(key.content as u32)
    }

    /// Time has come to `now`.
    #[inline(always)]
    fn advance(&mut self, now: Timestamp) {
        if now.0 >= self.ends {
            self.begin(now);
        }
        if self.swept != ALL {
            self.sweep_one();
        }
    }

    /// Another half of a window has begun.
    #[cold]
    fn begin(&mut self, now: Timestamp) {
        let Some(half) = self.half else { return };
        // Two bits tell four halves apart, so what the last sweep has left must go before a fifth can begin.
        while self.swept != ALL {
            self.sweep_one();
        }
        let before = std::mem::replace(&mut self.current, now.0.div_euclid(half));
        self.ends = (self.current.saturating_add(1)).saturating_mul(half);
        match self.current.saturating_sub(before) {
            1 => self.swept = 0,
            // What is left of two halves or more would be mistaken for fresh.
            _ => self.forget_before(before),
        }
    }

    #[cold]
    fn sweep_one(&mut self) {
        let current = self.current;
        self.table.retain(self.swept, |entry| is_fresh(entry, current));
        self.swept += 1;
        // Segments that were split off meanwhile stand at the end, so none is left out.
        if self.swept >= self.table.segments() {
            self.swept = ALL;
        }
    }

    /// Drops at once what is no longer fresh after a jump from the half `before`.
    fn forget_before(&mut self, before: i64) {
        let jump = self.current.saturating_sub(before);
        if jump > 2 {
            self.table = Table::new(ID);
        }
        for segment in 0..self.table.segments() {
            self.table.retain(segment, |entry| age(entry, before).saturating_add(jump) <= 2);
        }
    }
}

/// Half a window in milliseconds; `None` for one that never ends.
fn half_of(remember: Remember) -> Option<i64> {
    match remember {
        Remember::For(window) => Some((window.0 / 2 + window.0 % 2).max(1)),
        Remember::Forever => None,
    }
}

/// Takes what a window remembers over into one of another length.
///
/// Of a message only the half of the old window is known in which it was accepted. It counts as accepted when that ended, or
/// now if it has not: so it is remembered for at least the new window, and by half of the old one longer than usual.
#[derive(Clone, Copy, Debug)]
pub struct Refile {
    old: Option<i64>,
    /// The oldest half of the old window that still counts.
    oldest: i64,
    new: Option<i64>,
    now: i64,
    /// Which half of the new window it is.
    current: i64,
}

impl Refile {
    /// From a window that is in this half of it at `now`.
    pub fn new((old, half): (Remember, i64), new: Remember, now: Timestamp) -> Self {
        let (old, new) = (half_of(old), half_of(new));
        let oldest = if old.is_some() { half.saturating_sub(2) } else { i64::MIN };
        let current = new.map_or(i64::MIN, |new| now.0.div_euclid(new));
        Self { old, oldest, new, now: now.0, current }
    }

    /// Which half of the new window it is.
    pub fn current_half(&self) -> i64 {
        self.current
    }

    /// The half of the new window in which messages of this half of the old one stand; `None` if they don't count any more.
    pub fn half(&self, half: i64) -> Option<i64> {
        if half < self.oldest {
            return None;
        }
        let Some(new) = self.new else { return Some(i64::MIN) };
        let ended = self.old.map(|old| half.saturating_add(1).saturating_mul(old).saturating_sub(1));
        let refiled = ended.map_or(self.now, |ended| ended.min(self.now)).div_euclid(new);
        (refiled >= self.current.saturating_sub(2)).then_some(refiled)
    }

    /// The entry of a message that now stands in this half of the new window.
    pub fn entry(half: i64, entry: u128) -> u128 {
        entry & !(3 << HALF_SHIFT) | (half as u128 & 3) << HALF_SHIFT
    }
}

/// How many halves before `current` an entry was accepted.
#[inline(always)]
fn age(entry: u128, current: i64) -> i64 {
    current.wrapping_sub((entry >> HALF_SHIFT) as i64) & 3
}

#[inline(always)]
fn is_fresh(entry: u128, current: i64) -> bool {
    age(entry, current) <= 2
}
