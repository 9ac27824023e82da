//! Alias events: `previousId` and `userId` are the same person, but what `previousId` names depends on other events.
//!
//! It is a user id if any other accepted event, before or after, carries it as one; else an anonymous id. So until
//! such an event comes the link to the anonymous id stands, and then it is given up for the link to the user id. Which
//! user ids are carried is remembered for good, in about 26 bytes each; nothing else is kept while no alias is open, and
//! of an open one nothing more however often it is sent.

use std::collections::{HashMap, HashSet};

use tidewater_model::{PipelineSpec, RejectReason};

use super::{
    AliasLinkKind, AliasLinkRow, EventBatch, IdentifierRow,
    identifiers::{IdentifierSpace, Identifiers, MANY_VALUES, first_fed_by},
    json::{Field, Fields, Node, PathTree, elements},
    table::Table,
    waiting::{OpenAlias, Waiting, open_aliases},
};
use crate::{
    plan::worker_of,
    snapshot::{
        Damaged,
        bytes::{Input, put, put_bytes},
    },
};

/// An event may have so many values of `previousId`, as many as it may have identifiers.
const MOST_CLAIMS: usize = u16::MAX as usize;

/// A piece of a snapshot is of about this size.
const PIECE_BYTES: usize = 1 << 20;

/// Resolves the alias events of a log, in its order.
#[derive(Clone, Debug)]
pub(super) struct Aliases {
    /// Rank of the first identifier fed by `userId`. Without one no alias can be used.
    user: Option<usize>,
    /// Rank of the first identifier fed by `anonymousId`.
    anonymous: Option<usize>,
    user_id: Node,
    previous_id: Node,
    /// Hashes of the user ids that accepted events carry.
    carried: Table,
    /// By the hash of `previousId` as a user id: aliases for which no event carries it yet.
    open: HashMap<u128, Waiting>,
    /// Those of which something has changed since the last snapshot, if anybody takes them.
    changed: Option<HashSet<u128>>,
}

/// What one `previousId` can stand for.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    as_user: Option<Named>,
    as_anonymous: Option<Named>,
}

/// An identifier with its text.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) hash: u128,
    rank: u8,
    text: Box<[u8]>,
}

/// The alias event that asserts a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliasEvent {
    /// Hash of its owner.
    pub(super) owner: u128,
    pub(super) time: i64,
    pub(super) place: u64,
}

impl Aliases {
    /// The rules of a pipeline; adds the paths they need to `tree`.
    pub(super) fn new(spec: &PipelineSpec, tree: &mut PathTree) -> Self {
        Self {
            user: first_fed_by(spec, "userId"),
            anonymous: first_fed_by(spec, "anonymousId"),
            user_id: tree.want_key("userId"),
            previous_id: tree.want_key("previousId"),
            carried: Table::new(u128::MAX),
            open: HashMap::new(),
            changed: None,
        }
    }

    /// Takes note of what changes between snapshots, from now on.
    pub(super) fn note_changes(&mut self) {
        self.changed = Some(HashSet::new());
    }

    fn changes(&mut self, previous: u128) {
        if let Some(changed) = &mut self.changed {
            changed.insert(previous);
        }
    }

    /// Makes `userId` the owner of an alias event; of several values the smallest. `None` if it has no usable one.
    #[cold]
    pub(super) fn pick_owner(
        &self,
        identifiers: &Identifiers,
        fields: Fields<'_>,
        rows: &mut [IdentifierRow],
    ) -> Option<()> {
        let user = self.user?;
        let named =
            scalars(fields.get(self.user_id)).filter_map(|scalar| Named::read(identifiers, user, scalar));
        let owner = named.min_by(|a, b| a.text.cmp(&b.text))?;
        // `userId` feeds this identifier, so the value is among those found.
        let at = rows.iter().position(|row| row.hash == owner.hash)?;
        rows.swap(0, at);
        Some(())
    }

    /// Adds what the `previousId` of an alias event can stand for, per value.
    ///
    /// # Errors
    /// `TooLarge` if there are more than an event may have.
    #[cold]
    pub(super) fn claim(
        &self,
        identifiers: &Identifiers,
        fields: Fields<'_>,
        claims: &mut Vec<Claim>,
    ) -> Result<(), RejectReason> {
        let first = claims.len();
        let mut known = HashSet::new();
        for scalar in scalars(fields.get(self.previous_id)) {
            let read = |rank: Option<usize>| Named::read(identifiers, rank?, scalar);
            let claim = Claim { as_user: read(self.user), as_anonymous: read(self.anonymous) };
            let before = &claims[first..];
            let is_known = if before.len() < MANY_VALUES {
                before.iter().any(|other| other.key() == claim.key())
            } else {
                if known.is_empty() {
                    known.extend(before.iter().map(Claim::key));
                }
                !known.insert(claim.key())
            };
            if is_known {
                continue;
            }
            if before.len() == MOST_CLAIMS {
                return Err(RejectReason::TooLarge);
            }
            claims.push(claim);
        }
        Ok(())
    }

    /// Asks the processor for the places of an event's user ids.
    #[inline]
    pub(super) fn prefetch(&self, rows: &[IdentifierRow]) {
        for row in rows.iter().filter(|row| Some(usize::from(row.rank)) == self.user) {
            self.carried.prefetch(row.hash);
        }
    }

    /// Takes note of an accepted event, given its identifiers and claims; adds links to the batches of the workers
    /// that own the aliases' owners.
    #[inline]
    pub(super) fn accept(
        &mut self,
        rows: &[IdentifierRow],
        claims: &[Claim],
        event: AliasEvent,
        batches: &mut [EventBatch],
    ) {
        // What the event itself carries does not count for its own claims, so they are settled first.
        let settled = match claims {
            [] => Vec::new(),
            claims => claims.iter().map(|claim| self.is_user(claim)).collect(),
        };
        let user = self.user;
        for row in rows.iter().filter(|row| Some(usize::from(row.rank)) == user) {
            if !self.open.is_empty() {
                self.settle(row.hash, batches);
            }
            self.carried.find_or_insert(row.hash.max(1));
        }
        for (claim, is_user) in claims.iter().zip(settled) {
            self.assert(claim, is_user, event, batches);
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.open.capacity() * size_of::<(u128, Waiting)>()
            + self.open.values().map(Waiting::bytes).sum::<usize>();
        let changed = self.changed.as_ref().map_or(0, |changed| changed.capacity() * size_of::<u128>());
        self.carried.bytes() + (open + changed) as u64
    }

    /// Rank of the identifier whose values are remembered once events carry them.
    pub(super) fn user(&self) -> Option<usize> {
        self.user
    }

    /// Remembers that an event carries a user id.
    pub(super) fn carry(&mut self, hash: u128) {
        self.carried.find_or_insert(hash.max(1));
    }

    /// The aliases that still wait, for a snapshot of all or of what has changed since the last one, in pieces; about 100
    /// bytes each. Of a `previousId` of which something has changed all are written, also if that is none.
    pub(super) fn write(&mut self, all: bool) -> Vec<Vec<u8>> {
        let (mut pieces, mut piece) = (Vec::new(), Vec::new());
        let mut write = |hash: u128, aliases: &Waiting| {
            piece.extend_from_slice(&hash.to_le_bytes());
            put(&mut piece, aliases.written() as u64);
            aliases.write(&mut piece);
            if piece.len() >= PIECE_BYTES {
                pieces.push(std::mem::take(&mut piece));
            }
        };
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        if all {
            // What was read of those that wait no longer is of no more use.
            self.open.retain(|_, aliases| !aliases.is_empty());
            self.open.iter().for_each(|(hash, aliases)| write(*hash, aliases));
        } else {
            let none = Waiting::default();
            changed.into_iter().for_each(|hash| write(hash, self.open.get(&hash).unwrap_or(&none)));
        }
        if !piece.is_empty() {
            pieces.push(piece);
        }
        pieces
    }

    /// Reads one of the pieces that [`write`](Self::write) made, those of the newest snapshot first: what is known of a
    /// `previousId` already stands.
    pub(super) fn read(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        for (hash, aliases) in open_aliases(piece)? {
            self.open.entry(hash).or_insert_with(|| aliases.into());
        }
        Ok(())
    }

    fn is_user(&self, claim: &Claim) -> bool {
        let candidate = claim.as_user.as_ref();
        candidate.is_some_and(|user| self.carried.contains(user.hash.max(1)))
    }

    #[cold]
    fn assert(&mut self, claim: &Claim, is_user: bool, event: AliasEvent, batches: &mut [EventBatch]) {
        let Claim { as_user, as_anonymous } = claim;
        let Some(user) = as_user else {
            // It can be nothing else, whatever comes.
            as_anonymous.iter().for_each(|named| push_link(event, named, AliasLinkKind::Settled, batches));
            return;
        };
        if is_user {
            push_link(event, user, AliasLinkKind::Settled, batches);
            return;
        }
        let waiting = self.open.entry(user.hash).or_default();
        let known = waiting.find(event.owner, as_anonymous.as_ref());
        let (event, kind) = match known.map(|known| (known.event.place, known.again(event.time))) {
            None => {
                let (as_user, as_anonymous) = (user.clone(), as_anonymous.clone());
                waiting.push(OpenAlias { event, last: event.time, as_user, as_anonymous });
                (event, AliasLinkKind::Open)
            }
            Some((place, true)) => (AliasEvent { place, ..event }, AliasLinkKind::Again),
            Some((_, false)) => return,
        };
        self.changes(user.hash);
        as_anonymous.iter().for_each(|named| push_link(event, named, kind, batches));
    }

    /// Another event carries this user id: whatever waited for that moves from the anonymous id to it.
    fn settle(&mut self, user: u128, batches: &mut [EventBatch]) {
        let Some(aliases) = self.open.remove(&user) else { return };
        self.changes(user);
        for OpenAlias { event, last, as_user, as_anonymous } in aliases {
            if let Some(anonymous) = &as_anonymous {
                push_link(event, anonymous, AliasLinkKind::GivenUp, batches);
            }
            push_link(event, &as_user, AliasLinkKind::Settled, batches);
            if last != event.time {
                push_link(AliasEvent { time: last, ..event }, &as_user, AliasLinkKind::Again, batches);
            }
        }
    }
}

impl Claim {
    /// Claims with the same key are one.
    fn key(&self) -> [Option<u128>; 2] {
        [&self.as_user, &self.as_anonymous].map(|named| named.as_ref().map(|named| named.hash))
    }
}

impl Named {
    /// Index of the identifier, and value; `None` if the value is no text.
    pub(crate) fn identifier(&self) -> Option<(usize, String)> {
        Some((self.rank.into(), str::from_utf8(&self.text).ok()?.to_owned()))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.push(self.rank);
        put_bytes(out, &self.text);
    }

    pub(super) fn restore(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Ok(Self { hash: input.hash()?, rank: input.byte()?, text: input.bytes()?.into() })
    }

    fn read(identifiers: &Identifiers, rank: usize, scalar: Field<'_>) -> Option<Self> {
        let mut text = Vec::new();
        let rows = &mut Vec::new();
        // Values too long are counted where they stand as identifiers, not here.
        let mut space = IdentifierSpace { rows, first_row: 0, text: &mut text, base: 0, oversized: 0 };
        let row = identifiers.read(rank, scalar, &mut space)?;
        Some(Self { hash: row.hash, rank: row.rank, text: text.into() })
    }
}

/// The scalar, or the elements of an array.
fn scalars(field: Field<'_>) -> impl Iterator<Item = Field<'_>> {
    let (single, array) = match field {
        Field::Array(array) => (None, Some(elements(array))),
        scalar => (Some(scalar), None),
    };
    single.into_iter().chain(array.into_iter().flatten())
}

/// A link of an alias event, asserted or given up. A `previousId` that names the owner itself links nothing.
fn push_link(event: AliasEvent, other: &Named, kind: AliasLinkKind, batches: &mut [EventBatch]) {
    if other.hash == event.owner {
        return;
    }
    let workers = batches.len();
    let batch = &mut batches[worker_of(event.owner, workers)];
    let (text, len) = (batch.text.len() as u32, other.text.len() as u16);
    batch.text.extend_from_slice(&other.text);
    let other = IdentifierRow { hash: other.hash, text, len, rank: other.rank };
    let AliasEvent { owner, time, place } = event;
    batch.alias_links.push(AliasLinkRow { owner, other, time, place, kind });
}
