//! What alias events mention, kept aside because an alias can give its mention up again.
//!
//! `previousId` stands for an anonymous id until some event shows that it is a user id. Then the anonymous
//! identifier was never mentioned by that alias: its first mention, and whether it exists at all, must be as if
//! the alias had named the user id from the start.

use rustc_hash::FxHashMap;

use crate::snapshot::{
    Damaged,
    bytes::{Input, put},
};

/// Alias mentions of one worker's identifiers.
#[derive(Debug, Default)]
pub(crate) struct AliasMentions {
    /// Per owner and other identifier: the places of the alias events that assert the link, and whether another event
    /// does.
    links: FxHashMap<u128, FxHashMap<u128, AliasLink>>,
    /// Per identifier that an alias mentions.
    mentions: FxHashMap<u128, Mentions>,
}

#[derive(Debug, Default)]
struct AliasLink {
    places: Vec<u64>,
    ordinary: bool,
}

#[derive(Debug, Default)]
struct Mentions {
    places: Vec<u64>,
    /// The first mention by something that is no alias.
    ordinary: Option<u64>,
}

impl AliasMentions {
    /// An alias event at `place` asserts a link; `known` says that other events assert it already.
    pub(crate) fn assert(&mut self, owner: u128, other: u128, place: u64, known: bool) {
        let links = self.links.entry(owner).or_default();
        let link = links.entry(other).or_insert(AliasLink { places: Vec::new(), ordinary: known });
        link.places.push(place);
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
        remove_one(&mut link.places, place);
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

    /// An alias event at `place` mentions an identifier, which otherwise was first mentioned at `ordinary`.
    pub(crate) fn mention(&mut self, identifier: u128, place: u64, ordinary: Option<u64>) {
        let mentions = self.mentions.entry(identifier).or_insert(Mentions { places: Vec::new(), ordinary });
        mentions.places.push(place);
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
            remove_one(&mut mentions.places, place);
        }
    }

    /// The first place at which an identifier with alias mentions is mentioned, if it is mentioned at all.
    pub(crate) fn first(&self, identifier: u128) -> Option<u64> {
        let mentions = self.mentions.get(&identifier)?;
        mentions.places.iter().copied().chain(mentions.ordinary).min()
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
            remove_one(&mut link.places, place);
        }
        if let Some(mentions) = self.mentions.get_mut(&other) {
            remove_one(&mut mentions.places, place);
        }
    }

    /// Appends what is known of one identifier, as an owner and as one that is mentioned, for a snapshot.
    pub(crate) fn write(&self, identifier: u128, out: &mut Vec<u8>) {
        let links = self.links.get(&identifier);
        put(out, links.map_or(0, FxHashMap::len) as u64);
        for (other, AliasLink { places, ordinary }) in links.into_iter().flatten() {
            out.extend_from_slice(&other.to_le_bytes());
            out.push(u8::from(*ordinary));
            write_places(places, out);
        }
        match self.mentions.get(&identifier) {
            None => out.push(0),
            Some(Mentions { places, ordinary }) => {
                out.push(1);
                write_places(places, out);
                // A place is a number in the log, far below the greatest there is.
                put(out, ordinary.map_or(0, |place| place + 1));
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(&mut self, identifier: u128, input: &mut Input<'_>) -> Result<(), Damaged> {
        for _ in 0..input.number::<u64>()? {
            let (other, ordinary) = (input.hash()?, input.byte()? != 0);
            let link = AliasLink { places: read_places(input)?, ordinary };
            self.links.entry(identifier).or_default().insert(other, link);
        }
        if input.byte()? != 0 {
            let places = read_places(input)?;
            let ordinary = input.number::<u64>()?.checked_sub(1);
            self.mentions.insert(identifier, Mentions { places, ordinary });
        }
        Ok(())
    }
}

/// One event may stand twice, by two values of its `previousId` that come to the same.
fn remove_one(places: &mut Vec<u64>, place: u64) {
    if let Some(at) = places.iter().position(|own| *own == place) {
        places.swap_remove(at);
    }
}

fn write_places(places: &[u64], out: &mut Vec<u8>) {
    put(out, places.len() as u64);
    places.iter().for_each(|place| put(out, *place));
}

fn read_places(input: &mut Input<'_>) -> Result<Vec<u64>, Damaged> {
    (0..input.number::<u64>()?).map(|_| input.number()).collect()
}
