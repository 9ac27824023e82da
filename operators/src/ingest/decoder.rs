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

use std::{ops::Range, sync::Arc};

use tidewater_model::{EventKind, RejectReason, Timestamp};

use super::{
    EventBatch, EventRow, IdentifierRow, PaddedEvent,
    alias::{AliasEvent, Aliases, Claim},
    identifiers::{Found, Identifiers, TextSpace},
    json::{Field, Fields, NameTable, Node, PathTree, Scanner, unescape},
    message::{MessageKey, Messages},
    times::Times,
    values::{ValueSpace, Values, move_string},
};
use crate::plan::{Plan, worker_of};

/// The longest event that can be scanned, whatever limit a source sets.
const MAX_EVENT_BYTES: usize = 1 << 30;

/// Decodes events for one pipeline.
#[derive(Clone, Debug)]
pub struct Decoder {
    workers: usize,
    scanner: Scanner,
    kind: Node,
    names: EventNames,
    identifiers: Identifiers,
    times: Times,
    messages: Messages,
    values: Values,
    aliases: Aliases,
    found: Found,
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

#[derive(Clone, Debug)]
struct StagedEvent {
    time: Timestamp,
    program: u16,
    rows: Range<usize>,
    values: Range<usize>,
    /// Texts and strings are counted from the start of this.
    text: Range<usize>,
    strings: Range<usize>,
    claims: Range<usize>,
    stats: DecodeStats,
}

impl Decoder {
    /// A decoder for a plan that spreads events over this many workers.
    pub fn new(plan: Arc<Plan>, workers: usize) -> Self {
        let mut tree = PathTree::default();
        let spec = plan.spec();
        let messages = Messages::new(plan.key(), &mut tree);
        let kind = tree.want_key("type");
        let names = EventNames::new(&plan, &mut tree);
        let times = Times::new(spec, &mut tree);
        let identifiers = Identifiers::new(&plan, &mut tree);
        let values = Values::new(&plan, &mut tree);
        let aliases = Aliases::new(spec, &mut tree);
        Self {
            workers: workers.max(1),
            scanner: Scanner::new(tree),
            kind,
            names,
            identifiers,
            times,
            messages,
            values,
            aliases,
            found: Found::default(),
            staged: Staged::default(),
            stats: DecodeStats::default(),
            #[cfg(feature = "planted-bugs")]
            newest: Timestamp::MIN,
        }
    }

    /// Reads an event, which then waits to be appended or discarded. `accepted_at` is its time if it has none of its
    /// own; it may not lie more than `max_future` after `wall`. Replay passes [`Timestamp::MAX`] as `wall`, since what
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
        let text = self.staged.text.len();
        let scanned = self.scan_to_stage(event, accepted_at, wall);
        if scanned.is_err() {
            self.staged.text.truncate(text);
        }
        scanned
    }

    fn scan_to_stage(
        &mut self,
        event: PaddedEvent<'_>,
        accepted_at: Timestamp,
        wall: Timestamp,
    ) -> Result<Scanned, RejectReason> {
        if event.bytes().len() > MAX_EVENT_BYTES {
            return Err(RejectReason::TooLarge);
        }
        self.scanner.scan(event).map_err(|_| RejectReason::BadJson)?;
        let fields = self.scanner.fields(event);
        let kind = kind_of(fields.get(self.kind)).ok_or(RejectReason::BadType)?;

        let staged = &mut self.staged;
        let found = &mut self.found;
        let base = staged.text.len();
        self.identifiers.find(fields, &mut TextSpace { text: &mut staged.text, base }, found);
        let owner = match kind {
            EventKind::Alias => self.aliases.pick_owner(&self.identifiers, fields, found),
            _ => (!found.rows.is_empty()).then_some(()),
        };
        if owner.is_none() {
            // Such an event is never appended, which is when the others are counted.
            self.stats.oversized_identifiers += found.oversized;
            return Err(RejectReason::NoIdentifier);
        }
        if found.rows.len() > usize::from(u16::MAX) {
            return Err(RejectReason::TooLarge);
        }
        let time = self.times.read(fields, accepted_at, wall)?;

        let mut stats = DecodeStats { unreadable_numbers: 0, oversized_identifiers: found.oversized };
        let program = self.names.program(kind, fields);
        let (rows, values) = (staged.rows.len(), staged.values.len());
        let (strings, claims) = (staged.strings.len(), staged.claims.len());
        staged.rows.extend_from_slice(&found.rows);
        self.aliases.prefetch(&found.rows);
        if kind == EventKind::Alias {
            self.aliases.claim(&self.identifiers, fields, &mut staged.claims);
        }
        let mut space = ValueSpace {
            words: &mut staged.values,
            text: &mut staged.text,
            base,
            strings: &mut staged.strings,
            unreadable: &mut stats.unreadable_numbers,
        };
        self.values.read(program, fields, &mut space);
        let message = self.messages.read(fields, self.scanner.members(), time.is_own);
        staged.events.push(StagedEvent {
            time: time.time,
            program,
            rows: rows..staged.rows.len(),
            values: values..staged.values.len(),
            text: base..staged.text.len(),
            strings: strings..staged.strings.len(),
            claims: claims..staged.claims.len(),
            stats,
        });
        staged.waiting += 1;
        Ok(Scanned { message, time: time.time, index: staged.events.len() - 1 })
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
        let event = &staged.events[scanned.index];
        staged.waiting -= 1;
        self.stats.unreadable_numbers += event.stats.unreadable_numbers;
        self.stats.oversized_identifiers += event.stats.oversized_identifiers;
        let rows = &staged.rows[event.rows.clone()];
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
        batch.text.extend_from_slice(&staged.text[event.text.clone()]);
        let identifiers = batch.identifiers.len() as u32;
        let moved = rows.iter().map(|row| IdentifierRow { text: text as u32 + row.text, ..*row });
        batch.identifiers.extend(moved);
        let values = batch.values.len();
        batch.values.extend_from_slice(&staged.values[event.values.clone()]);
        for word in &staged.strings[event.strings.clone()] {
            move_string(&mut batch.values[values..], *word, text as u64);
        }
        batch.events.push(EventRow {
            time: time.0,
            place,
            identifiers,
            identifier_count: rows.len() as u16,
            program: event.program,
        });
        let alias = AliasEvent { owner, time: time.0, place };
        self.aliases.accept(rows, &staged.claims[event.claims.clone()], alias, batches);
        Decoded { worker, time }
    }

    /// Drops a scanned event.
    pub fn discard(&mut self, scanned: Scanned) {
        debug_assert!(scanned.index < self.staged.events.len(), "the event was scanned by another decoder");
        self.staged.waiting -= 1;
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
    fn clear(&mut self) {
        self.events.clear();
        self.rows.clear();
        self.values.clear();
        self.text.clear();
        self.strings.clear();
        self.claims.clear();
    }
}

/// What `type` says.
#[inline]
fn kind_of(field: Field<'_>) -> Option<EventKind> {
    match field {
        Field::Text(name) => kind_named(name),
        Field::Escaped(raw) => {
            let mut name = Vec::new();
            unescape(raw, &mut name);
            kind_named(&name)
        }
        _ => None,
    }
}

#[inline]
fn kind_named(name: &[u8]) -> Option<EventKind> {
    Some(match name {
        b"track" => EventKind::Track,
        b"page" => EventKind::Page,
        b"identify" => EventKind::Identify,
        b"screen" => EventKind::Screen,
        b"group" => EventKind::Group,
        b"alias" => EventKind::Alias,
        _ => return None,
    })
}

/// Which program an event feeds.
#[derive(Clone, Debug)]
struct EventNames {
    event: Node,
    programs: NameTable,
    /// Programs of page and screen events without a name.
    page: u16,
    screen: u16,
}

/// The program of events whose name no trait asks for.
const UNNAMED: u16 = 0;

impl EventNames {
    fn new(plan: &Plan, tree: &mut PathTree) -> Self {
        let mut programs = NameTable::default();
        for (name, program) in &plan.program_of {
            programs.insert(name.as_bytes(), u32::from(*program));
        }
        let of_default = |kind: EventKind| {
            let name = kind.default_event_name();
            name.and_then(|name| plan.program_of.get(name).copied()).unwrap_or(UNNAMED)
        };
        let (page, screen) = (of_default(EventKind::Page), of_default(EventKind::Screen));
        Self { event: tree.want_key("event"), programs, page, screen }
    }

    #[inline]
    fn program(&self, kind: EventKind, fields: Fields<'_>) -> u16 {
        if !kind.is_named() {
            return UNNAMED;
        }
        match fields.get(self.event) {
            Field::Text(_) => {
                fields.find_name(self.event, &self.programs).map_or(UNNAMED, |found| found as u16)
            }
            Field::Escaped(raw) => {
                let mut name = Vec::new();
                unescape(raw, &mut name);
                let len = name.len();
                name.extend_from_slice(&[0; PaddedEvent::PADDING]);
                self.programs.get(&name, 0, len).map_or(UNNAMED, |found| found as u16)
            }
            _ => match kind {
                EventKind::Page => self.page,
                EventKind::Screen => self.screen,
                _ => UNNAMED,
            },
        }
    }
}
