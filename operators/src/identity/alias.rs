//! What alias events mention, kept aside because an alias can give its mention up again.
//!
//! `previousId` stands for an anonymous id until some event shows that it is a user id. Then the anonymous
//! identifier was never mentioned by that alias: its first mention, and whether it exists at all, must be as if
//! the alias had named the user id from the start.

use rustc_hash::FxHashMap;

/// Alias mentions of one worker's identifiers.
#[derive(Debug, Default)]
pub(crate) struct AliasMentions {
    /// Per link (owner, other): the places of the alias events that assert it, and whether another event does.
    links: FxHashMap<(u128, u128), AliasLink>,
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
        let link =
            self.links.entry((owner, other)).or_insert(AliasLink { places: Vec::new(), ordinary: known });
        link.places.push(place);
    }

    /// Another event asserts a known link. True if the other identifier must hear of it, because all it heard of
    /// this owner so far was an alias.
    pub(crate) fn must_hear(&mut self, owner: u128, other: u128) -> bool {
        if self.links.is_empty() {
            return false;
        }
        self.links.get_mut(&(owner, other)).is_some_and(|link| !std::mem::replace(&mut link.ordinary, true))
    }

    /// An alias event gives a link up; true if nothing else asserts it.
    pub(crate) fn give_up(&mut self, owner: u128, other: u128, place: u64) -> bool {
        let Some(link) = self.links.get_mut(&(owner, other)) else { return false };
        link.places.retain(|own| *own != place);
        if !link.places.is_empty() {
            return false;
        }
        let ordinary = link.ordinary;
        self.links.remove(&(owner, other));
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
            mentions.places.retain(|own| *own != place);
        }
    }

    /// The first place at which an identifier with alias mentions is mentioned, if it is mentioned at all.
    pub(crate) fn first(&self, identifier: u128) -> Option<u64> {
        let mentions = self.mentions.get(&identifier)?;
        mentions.places.iter().copied().chain(mentions.ordinary).min()
    }
}
