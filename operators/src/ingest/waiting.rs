//! Aliases that wait for an event which carries their `previousId` as a user id: each once, however often it is sent.

use rustc_hash::FxHashMap;

use super::alias::{AliasEvent, Named};
use crate::snapshot::{
    Damaged,
    bytes::{Input, put, put_i64},
};

/// A list longer than this gets an index, so that an alias costs no more however many there are of one `previousId`.
const INDEXED_FROM: usize = 16;

/// An alias for which no event carries its `previousId` as a user id yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenAlias {
    /// The first event that asserts it, but with the least of their times.
    pub(super) event: AliasEvent,
    /// The greatest of their times.
    pub(super) last: i64,
    pub(super) as_user: Named,
    /// What it is linked to meanwhile.
    pub(super) as_anonymous: Option<Named>,
}

/// What tells an alias from others of the same `previousId`: the hashes of its owner and of the anonymous id.
type Key = (u128, Option<u128>);

/// The aliases of one `previousId` that wait, in the order of their first events.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    aliases: Vec<OpenAlias>,
    index: Option<Box<FxHashMap<Key, u32>>>,
}

impl Waiting {
    /// The one that asserts the same, if there is one.
    pub(super) fn find(&mut self, owner: u128, anonymous: Option<&Named>) -> Option<&mut OpenAlias> {
        let key = (owner, anonymous.map(|named| named.hash));
        let place = match &self.index {
            Some(index) => index.get(&key).map(|place| *place as usize),
            None => self.aliases.iter().position(|alias| alias.key() == key),
        };
        self.aliases.get_mut(place?)
    }

    /// Adds one that is not there.
    pub(super) fn push(&mut self, alias: OpenAlias) {
        if let Some(index) = &mut self.index {
            index.insert(alias.key(), self.aliases.len() as u32);
        }
        // Most are alone: a capacity of four would waste three.
        if self.aliases.is_empty() {
            self.aliases.reserve_exact(1);
        }
        self.aliases.push(alias);
        self.index_if_long();
    }

    fn index_if_long(&mut self) {
        if self.index.is_none() && self.aliases.len() > INDEXED_FROM {
            // Backwards, since the first one stands for all that older releases have written of one alias.
            let aliases = self.aliases.iter().enumerate().rev();
            self.index = Some(Box::new(aliases.map(|(place, alias)| (alias.key(), place as u32)).collect()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.aliases.is_empty()
    }

    /// Bytes of memory, apart from its own.
    pub(super) fn bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.capacity() * (size_of::<(Key, u32)>() + 1));
        self.aliases.capacity() * size_of::<OpenAlias>() + index
    }

    /// How often [`write`](Self::write) writes one.
    pub(super) fn written(&self) -> usize {
        self.aliases.iter().map(|alias| 1 + usize::from(alias.last != alias.event.time)).sum()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.aliases.iter().for_each(|alias| alias.write(out));
    }
}

impl From<Vec<OpenAlias>> for Waiting {
    fn from(aliases: Vec<OpenAlias>) -> Self {
        let mut waiting = Self { aliases, index: None };
        waiting.index_if_long();
        waiting
    }
}

impl IntoIterator for Waiting {
    type Item = OpenAlias;
    type IntoIter = std::vec::IntoIter<OpenAlias>;

    fn into_iter(self) -> Self::IntoIter {
        self.aliases.into_iter()
    }
}

/// What one of the pieces that are written of the aliases says of each `previousId`, by its hash.
pub(crate) fn open_aliases(piece: &[u8]) -> Result<Vec<(u128, Vec<OpenAlias>)>, Damaged> {
    let mut input = Input(piece);
    let mut all = Vec::new();
    while !input.is_empty() {
        let (hash, count) = (input.hash()?, input.number::<u64>()?);
        let mut aliases: Vec<OpenAlias> = Vec::new();
        for _ in 0..count {
            let alias = OpenAlias::read(&mut input)?;
            match aliases.last_mut() {
                Some(before) if before.key() == alias.key() && before.event.place == alias.event.place => {
                    before.again(alias.event.time);
                }
                _ => aliases.push(alias),
            }
        }
        all.push((hash, aliases));
    }
    Ok(all)
}

impl OpenAlias {
    fn key(&self) -> Key {
        (self.event.owner, self.as_anonymous.as_ref().map(|named| named.hash))
    }

    /// Another event at `time` asserts it; true if that is before or after all others.
    pub(super) fn again(&mut self, time: i64) -> bool {
        let before = (self.event.time, self.last);
        self.event.time = before.0.min(time);
        self.last = before.1.max(time);
        before != (self.event.time, self.last)
    }

    /// The hash of its owner, and its place in the log.
    pub(crate) fn event(&self) -> (u128, u64) {
        (self.event.owner, self.event.place)
    }

    pub(crate) fn as_user(&self) -> &Named {
        &self.as_user
    }

    pub(crate) fn as_anonymous(&self) -> Option<&Named> {
        self.as_anonymous.as_ref()
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let (owner, time, place) = (input.hash()?, input.time()?, input.number()?);
        let as_user = Named::restore(input)?;
        let as_anonymous = if input.byte()? == 0 { None } else { Some(Named::restore(input)?) };
        Ok(Self { event: AliasEvent { owner, time, place }, last: time, as_user, as_anonymous })
    }

    /// Once a time: the format has one with each, and older releases take no harm from an alias that stands twice.
    fn write(&self, out: &mut Vec<u8>) {
        self.write_at(self.event.time, out);
        if self.last != self.event.time {
            self.write_at(self.last, out);
        }
    }

    fn write_at(&self, time: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.event.owner.to_le_bytes());
        put_i64(out, time);
        put(out, self.event.place);
        self.as_user.write(out);
        out.push(u8::from(self.as_anonymous.is_some()));
        self.as_anonymous.iter().for_each(|anonymous| anonymous.write(out));
    }
}
