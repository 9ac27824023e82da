//! What alias events mention, kept aside because an alias can give its mention up again.
//!
//! `previousId` stands for an anonymous id until some event shows that it is a user id. Then the anonymous
//! identifier was never mentioned by that alias: its first mention, and whether it exists at all, must be as if
//! the alias had named the user id from the start.

use rustc_hash::FxHashMap;

use super::places::Places;
use crate::snapshot::{
    Damaged,
    bytes::{Input, put},
};

/// What is written of mentions, and what of those of which the first place is settled. Older releases ask no more than
/// whether there are any.
const MENTIONED: u8 = 1;
const SETTLED: u8 = 2;

/// Alias mentions of one worker's identifiers. They grow with what is linked, not with how often.
#[derive(Debug, Default)]
pub(crate) struct AliasMentions {
    /// Per owner and other identifier.
    links: FxHashMap<u128, FxHashMap<u128, AliasLink>>,
    /// Per identifier that an alias mentions.
    mentions: FxHashMap<u128, Mentions>,
}

/// What is known of a link that an alias asserts.
#[derive(Debug, Default)]
struct AliasLink {
    /// Of the aliases that assert it. Once one of them is settled the others make no difference, so it stands for all.
    places: Places,
    /// Whether the first of them is known to be settled. That is not stored: it shows again with the next one.
    settled: bool,
    /// Whether another event asserts it.
    ordinary: bool,
}

/// What is known of an identifier that an alias mentions.
#[derive(Debug, Default)]
struct Mentions {
    /// Of the aliases that can give it up again.
    places: Places,
    /// The first of those that can't.
    settled: Option<u64>,
    /// The first mention by something that is no alias.
    ordinary: Option<u64>,
}

impl AliasMentions {
    /// An alias event at `place` asserts a link from its owner, for good if it is `settled`; `known` says that other events
    /// assert it already. True if the other identifier must hear of it.
    pub(crate) fn assert(
        &mut self,
        (owner, other): (u128, u128),
        (place, settled): (u64, bool),
        known: bool,
    ) -> bool {
        let links = self.links.entry(owner).or_default();
        let link = links.entry(other).or_insert(AliasLink { ordinary: known, ..AliasLink::default() });
        if link.settled && link.places.first().is_some_and(|first| first < place || settled && first == place)
        {
            return false;
        }
        if settled {
            // Of the same event another value may give up what it says; then this one is still to stand.
            link.places.keep_only(place);
            link.settled = true;
        }
        link.places.insert(place);
        true
    }

    /// Another event asserts a known link. True if the other identifier must hear of it, because all it heard of
    /// this owner so far was an alias.
    pub(crate) fn must_hear(&mut self, owner: u128, other: u128) -> bool {
        if self.links.is_empty() {
            return false;
        }
        let link = self.links.get_mut(&owner).and_then(|links| links.get_mut(&other));
        link.is_some_and(|link| !std::mem::replace(&mut link.ordinary, true))
    }

    /// An alias event gives a link up; true if nothing else asserts it.
    pub(crate) fn give_up(&mut self, owner: u128, other: u128, place: u64) -> bool {
        let Some(links) = self.links.get_mut(&owner) else { return false };
        let Some(link) = links.get_mut(&other) else { return false };
        link.places.remove(place);
        if !link.places.is_empty() {
            return false;
        }
        let ordinary = link.ordinary;
        links.remove(&other);
        if links.is_empty() {
            self.links.remove(&owner);
        }
        !ordinary
    }

    /// An alias event at `place` mentions an identifier, for good if it is `settled`, which otherwise was first mentioned at
    /// `ordinary`.
    pub(crate) fn mention(&mut self, identifier: u128, (place, settled): (u64, bool), ordinary: Option<u64>) {
        let mentions =
            self.mentions.entry(identifier).or_insert(Mentions { ordinary, ..Mentions::default() });
        match settled {
            true => mentions.settled = Some(mentions.settled.map_or(place, |first| first.min(place))),
            false => mentions.places.insert(place),
        }
    }

    /// Another event mentions an identifier that an alias mentions too.
    pub(crate) fn mention_ordinary(&mut self, identifier: u128, place: u64) {
        if let Some(mentions) = self.mentions.get_mut(&identifier) {
            mentions.ordinary = Some(mentions.ordinary.map_or(place, |first| first.min(place)));
        }
    }

    /// An alias event gives up its mention.
    pub(crate) fn forget(&mut self, identifier: u128, place: u64) {
        if let Some(mentions) = self.mentions.get_mut(&identifier) {
            mentions.places.remove(place);
        }
    }

    /// The first place at which an identifier with alias mentions is mentioned, if it is mentioned at all.
    pub(crate) fn first(&self, identifier: u128) -> Option<u64> {
        let mentions = self.mentions.get(&identifier)?;
        [mentions.places.first(), mentions.settled, mentions.ordinary].into_iter().flatten().min()
    }

    /// Whether an event other than an alias mentions an identifier that an alias mentions.
    pub(crate) fn is_carried(&self, identifier: u128) -> bool {
        self.mentions.get(&identifier).is_some_and(|mentions| mentions.ordinary.is_some())
    }

    /// Whether an alias has ever mentioned an identifier: its first place is then known here.
    pub(crate) fn is_mentioned(&self, identifier: u128) -> bool {
        self.mentions.contains_key(&identifier)
    }

    /// Whether a link that `owner` has is asserted by anything.
    pub(crate) fn is_asserted(&self, owner: u128, other: u128) -> bool {
        let link = self.links.get(&owner).and_then(|links| links.get(&other));
        link.is_none_or(|link| link.ordinary || !link.places.is_empty())
    }

    /// Takes one assertion and mention by an alias at `place` back, and nothing else that follows.
    pub(crate) fn take_back(&mut self, owner: u128, other: u128, place: u64) {
        if let Some(link) = self.links.get_mut(&owner).and_then(|links| links.get_mut(&other)) {
            link.places.remove(place);
        }
        if let Some(mentions) = self.mentions.get_mut(&other) {
            mentions.places.remove(place);
        }
    }

    /// Appends what is known of one identifier, as an owner and as one that is mentioned, for a snapshot.
    pub(crate) fn write(&self, identifier: u128, out: &mut Vec<u8>) {
        let links = self.links.get(&identifier);
        put(out, links.map_or(0, FxHashMap::len) as u64);
        for (other, AliasLink { places, ordinary, .. }) in links.into_iter().flatten() {
            out.extend_from_slice(&other.to_le_bytes());
            out.push(u8::from(*ordinary));
            write_places(|| places.iter(), out);
        }
        match self.mentions.get(&identifier) {
            None => out.push(0),
            Some(Mentions { places, settled, ordinary }) => {
                out.push(if settled.is_some() { SETTLED } else { MENTIONED });
                write_places(|| settled.iter().copied().chain(places.iter()), out);
                // A place is a number in the log, far below the greatest there is.
                put(out, ordinary.map_or(0, |place| place + 1));
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(&mut self, identifier: u128, input: &mut Input<'_>) -> Result<(), Damaged> {
        for _ in 0..input.number::<u64>()? {
            let (other, ordinary) = (input.hash()?, input.byte()? != 0);
            let mut link = AliasLink { ordinary, ..AliasLink::default() };
            for _ in 0..input.number::<u64>()? {
                link.places.insert(input.number()?);
            }
            self.links.entry(identifier).or_default().insert(other, link);
        }
        let kind = input.byte()?;
        if kind != 0 {
            let mut mentions = Mentions::default();
            for number in 0..input.number::<u64>()? {
                match number == 0 && kind == SETTLED {
                    true => mentions.settled = Some(input.number()?),
                    false => mentions.places.insert(input.number()?),
                }
            }
            mentions.ordinary = input.number::<u64>()?.checked_sub(1);
            self.mentions.insert(identifier, mentions);
        }
        Ok(())
    }
}

fn write_places<I: Iterator<Item = u64>>(places: impl Fn() -> I, out: &mut Vec<u8>) {
    put(out, places().count() as u64);
    places().for_each(|place| put(out, place));
}

#[cfg(test)]
mod tests;
