//! From the bytes of an event to its rows: everything the dataflow will ever know of it.
//!
//! An event is *scanned*, which decides whether it can be used, and then, unless it is a duplicate, *appended*. Between
//! the two its rows wait in the decoder, so that a caller can scan some events ahead and give the processor time to
//! fetch what the dedup window will be asked for:
//!
//! ```text
//! for each block of 16 events:
//!     scan each, and prefetch its message key
//!     for each: check the message key, then append or discard
//! ```

use std::sync::Arc;

use tidewater_model::{EventKind, RejectReason, Timestamp};

use super::{
    EventBatch, EventRow, IdentifierRow, PaddedEvent,
    alias::{AliasEvent, Aliases, Claim},
    identifiers::{IdentifierSpace, Identifiers},
    json::{PathTree, Scanner},
    kinds::Kinds,
    message::{MessageKey, Messages},
    times::Times,
    values::{ValueSpace, Values, move_string},
};
use crate::{
    plan::{Plan, worker_of},
    snapshot::Damaged,
};

/// The longest event that can be scanned, whatever limit a source sets.
const MAX_EVENT_BYTES: usize = 1 << 30;

/// Decodes events for one pipeline.
#[derive(Clone, Debug)]
pub struct Decoder {
    workers: usize,
    scanner: Scanner,
    kinds: Kinds,
    identifiers: Identifiers,
    times: Times,
    messages: Messages,
    values: Values,
    aliases: Aliases,
    staged: Staged,
    stats: DecodeStats,
    #[cfg(feature = "planted-bugs")]
    newest: Timestamp,
}

/// An event that can be used and waits in its decoder to be appended or discarded.
#[derive(Debug)]
#[must_use = "append it to the batches, or discard it"]
pub struct Scanned {
    /// What it is remembered by; `None` for an event that is always new.
    pub message: Option<MessageKey>,
    /// The event's time.
    pub time: Timestamp,
    index: usize,
}

/// An event that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The worker whose batch has it.
    pub worker: usize,
    /// The event's time.
    pub time: Timestamp,
}

/// Parts of accepted events that could not be used, since the decoder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeStats {
    /// Values at the path of a numeric trait that are no number, and numbers larger than 10^18, read as null.
    pub unreadable_numbers: u64,
    /// Identifier values longer than 512 bytes, dropped.
    pub oversized_identifiers: u64,
}

/// Scanned events in the order they were scanned.
#[derive(Clone, Debug, Default)]
struct Staged {
    events: Vec<StagedEvent>,
    /// How many of them are neither appended nor discarded.
    waiting: usize,
    rows: Vec<IdentifierRow>,
    values: Vec<u64>,
    text: Vec<u8>,
    /// Words of value blocks at which strings stand.
    strings: Vec<u16>,
    claims: Vec<Claim>,
}

/// A scanned event. What it has in the lists of [`Staged`] begins where the event before it ends.
#[derive(Clone, Copy, Debug)]
struct StagedEvent {
    time: Timestamp,
    /// Texts and strings are counted from the start of the event's share.
    text_end: usize,
    rows_end: u32,
    strings_end: u32,
    claims_end: u32,
    unreadable_numbers: u32,
    oversized_identifiers: u32,
    program: u16,
}

const NO_EVENT: StagedEvent = StagedEvent {
    time: Timestamp(0),
    text_end: 0,
    rows_end: 0,
    strings_end: 0,
    claims_end: 0,
    unreadable_numbers: 0,
    oversized_identifiers: 0,
    program: 0,
};

impl Decoder {
    /// A decoder for a plan that spreads events over this many workers.
    pub fn new(plan: Arc<Plan>, workers: usize) -> Self {
        let mut tree = PathTree::default();
        let spec = plan.spec();
        let messages = Messages::new(plan.key(), &mut tree);
        let kinds = Kinds::new(&plan, &mut tree);
        let times = Times::new(spec, &mut tree);
        let identifiers = Identifiers::new(&plan, &mut tree);
        let values = Values::new(&plan, &mut tree);
        let aliases = Aliases::new(spec, &mut tree);
        Self {
            workers: workers.max(1),
            scanner: Scanner::new(tree),
            kinds,
            identifiers,
            times,
            messages,
            values,
            aliases,
            staged: Staged::default(),
            stats: DecodeStats::default(),
            #[cfg(feature = "planted-bugs")]
            newest: Timestamp::MIN,
        }
    }

    /// Reads an event, which then waits to be appended or discarded. `accepted_at` is its time if it has none of its
    /// own; one of its own may not lie more than `max_future` after `wall`. Replay passes [`Timestamp::MAX`] as `wall`, since what
    /// stands in the log was accepted.
    ///
    /// # Errors
    /// The first that applies, in the order too large, bad JSON, type, identifiers, time.
    #[inline]
    pub fn scan(
        &mut self,
        event: PaddedEvent<'_>,
        accepted_at: Timestamp,
        wall: Timestamp,
    ) -> Result<Scanned, RejectReason> {
        if self.staged.waiting == 0 {
            self.staged.clear();
        }
        if event.bytes().len() > MAX_EVENT_BYTES {
            return Err(RejectReason::TooLarge);
        }
        let scanned = self.stage(event, accepted_at, wall);
        if scanned.is_err() {
            self.staged.drop_unfinished();
        }
        scanned
    }

    fn stage(
        &mut self,
        event: PaddedEvent<'_>,
        accepted_at: Timestamp,
        wall: Timestamp,
    ) -> Result<Scanned, RejectReason> {
        self.scanner.scan(event).map_err(|_| RejectReason::BadJson)?;
        let fields = self.scanner.fields(event);
        let kind = self.kinds.kind(fields).ok_or(RejectReason::BadType)?;

        let Staged { events, waiting, rows, values, text, strings, claims } = &mut self.staged;
        let (base, first_row) = (text.len(), rows.len());
        let mut space = IdentifierSpace { rows, first_row, text, base, oversized: 0 };
        let mut has_owner = self.identifiers.find(fields, &mut space);
        if kind == EventKind::Alias {
            has_owner = self.aliases.pick_owner(&self.identifiers, fields, space.own_rows()).is_some();
        }
        let oversized_identifiers = space.oversized;
        if !has_owner {
            // Such an event is never appended, which is when the others are counted.
            self.stats.oversized_identifiers += u64::from(oversized_identifiers);
            return Err(RejectReason::NoIdentifier);
        }
        if rows.len() - first_row > usize::from(u16::MAX) {
            return Err(RejectReason::TooLarge);
        }
        if kind == EventKind::Alias {
            self.aliases.claim(&self.identifiers, fields, claims)?;
        }
        let time = self.times.read(fields, accepted_at, wall)?;

        self.aliases.prefetch(&rows[first_row..]);
        let program = self.kinds.program(kind, fields);
        let mut space = ValueSpace { words: values, text, base, strings, unreadable: 0 };
        self.values.read(program, fields, &mut space);
        let unreadable_numbers = space.unreadable;
        let message = self.messages.read(fields, &self.scanner, time.is_own);
        let index = events.len();
        events.push(StagedEvent {
            time: time.time,
            text_end: text.len(),
            rows_end: rows.len() as u32,
            strings_end: strings.len() as u32,
            claims_end: claims.len() as u32,
            unreadable_numbers,
            oversized_identifiers,
            program,
        });
        *waiting += 1;
        Ok(Scanned { message, time: time.time, index })
    }

    /// Adds a scanned event to the batch of the worker that owns its owner, as the event at `place` in the log. Events
    /// must be appended in the order of the log: what an alias means depends on it.
    ///
    /// # Panics
    /// If there is not one batch per worker, or `scanned` comes from another decoder.
    #[inline]
    pub fn append(&mut self, scanned: Scanned, place: u64, batches: &mut [EventBatch]) -> Decoded {
        assert_eq!(batches.len(), self.workers, "there must be one batch per worker");
        let staged = &mut self.staged;
        let event = staged.events[scanned.index];
        let start = staged.end_before(scanned.index);
        staged.waiting -= 1;
        self.stats.unreadable_numbers += u64::from(event.unreadable_numbers);
        self.stats.oversized_identifiers += u64::from(event.oversized_identifiers);
        let rows = &staged.rows[start.rows_end as usize..event.rows_end as usize];
        let owner = rows[0].hash;
        let worker = worker_of(owner, self.workers);
        let time = event.time;
        #[cfg(feature = "planted-bugs")]
        {
            use crate::planted::{Bug, active};

            self.newest = self.newest.max(time);
            if active(Bug::LateEventIgnored) && self.newest.0 - time.0 > 3_600_000 {
                return Decoded { worker, time };
            }
        }

        let batch = &mut batches[worker];
        let text = batch.text.len();
        batch.text.extend_from_slice(&staged.text[start.text_end..event.text_end]);
        let identifiers = batch.identifiers.len() as u32;
        let moved = rows.iter().map(|row| IdentifierRow { text: text as u32 + row.text, ..*row });
        batch.identifiers.extend(moved);
        let values = batch.values.len();
        let words = self.values.words();
        batch.values.extend_from_slice(&staged.values[scanned.index * words..][..words]);
        for word in &staged.strings[start.strings_end as usize..event.strings_end as usize] {
            move_string(&mut batch.values[values..], *word, text as u64);
        }
        batch.events.push(EventRow {
            time: time.0,
            place,
            identifiers,
            identifier_count: rows.len() as u16,
            program: event.program,
        });
        let claims = &staged.claims[start.claims_end as usize..event.claims_end as usize];
        self.aliases.accept(rows, claims, AliasEvent { owner, time: time.0, place }, batches);
        Decoded { worker, time }
    }

    /// Drops a scanned event.
    pub fn discard(&mut self, scanned: Scanned) {
        debug_assert!(scanned.index < self.staged.events.len(), "the event was scanned by another decoder");
        self.staged.waiting -= 1;
    }

    /// Takes note of what changes between snapshots, from now on.
    pub fn note_changes(&mut self) {
        self.aliases.note_changes();
    }

    /// What it remembers of past events that does not stand with identifiers, for a snapshot of all or of what has changed
    /// since the last one, in pieces.
    pub fn write_snapshot(&mut self, all: bool) -> Vec<Vec<u8>> {
        self.aliases.write(all)
    }

    /// Reads one of the pieces that [`write_snapshot`](Self::write_snapshot) returned, those of the newest snapshot first.
    ///
    /// # Errors
    /// [`Damaged`]: the decoder is of no use any more.
    pub fn read_snapshot(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        self.aliases.read(bytes)
    }

    /// Remembers what aliases may refer to of a chunk of stored nodes.
    ///
    /// # Errors
    /// As [`read_snapshot`](Self::read_snapshot).
    pub fn read_nodes(&mut self, chunk: &[u8]) -> Result<(), Damaged> {
        let Some(rank) = self.aliases.user() else { return Ok(()) };
        crate::snapshot::carried(chunk, rank, |hash| self.aliases.carry(hash))
    }

    /// What could not be used so far.
    pub fn stats(&self) -> DecodeStats {
        self.stats
    }

    /// Bytes of memory for what is remembered of past events: the user ids that aliases may refer to.
    pub fn bytes(&self) -> u64 {
        self.aliases.bytes()
    }
}

impl Staged {
    #[inline]
    fn clear(&mut self) {
        self.events.clear();
        self.rows.clear();
        self.values.clear();
        self.text.clear();
        self.strings.clear();
        self.claims.clear();
    }

    /// Where the share of the event at `index` begins.
    #[inline(always)]
    fn end_before(&self, index: usize) -> StagedEvent {
        match index {
            0 => NO_EVENT,
            _ => self.events[index - 1],
        }
    }

    /// Drops what was added for an event that turned out to be unusable, before its values were read.
    #[cold]
    fn drop_unfinished(&mut self) {
        let end = self.end_before(self.events.len());
        self.text.truncate(end.text_end);
        self.rows.truncate(end.rows_end as usize);
        self.claims.truncate(end.claims_end as usize);
    }
}
