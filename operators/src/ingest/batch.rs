//! Decoded events of one epoch and one worker, in columns: what the decoder writes and the identity operator reads.

/// Decoded events for one worker. All texts lie in one buffer; clearing keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    pub(crate) events: Vec<EventRow>,
    pub(crate) identifiers: Vec<IdentifierRow>,
    /// `Plan::value_words()` words an event.
    pub(crate) values: Vec<u64>,
    /// Links that `alias` events assert or give up, in log order; applied after the events.
    pub(crate) alias_links: Vec<AliasLinkRow>,
    pub(crate) text: Vec<u8>,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventRow {
    /// Event time, milliseconds since 1970.
    pub(crate) time: i64,
    /// Place in the log.
    pub(crate) place: u64,
    /// First of its rows in `identifiers`: the owner.
    pub(crate) identifiers: u32,
    /// How many rows, the owner included; each identifier once.
    pub(crate) identifier_count: u16,
    /// Index of its program in the plan.
    pub(crate) program: u16,
}

/// One identifier of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentifierRow {
    /// The keyed hash.
    pub(crate) hash: u128,
    /// Where its normalized text starts in `text`.
    pub(crate) text: u32,
    /// Length of the text in bytes, at most 512.
    pub(crate) len: u16,
    /// Index of the identifier in the pipeline.
    pub(crate) rank: u8,
}

/// What becomes of the link of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AliasLinkKind {
    /// It is asserted, until some event shows that `previousId` is a user id.
    Open,
    /// It is asserted for good.
    Settled,
    /// One that was asserted by the event at this place is asserted again, at another time.
    Again,
    /// One that was open is given up: `previousId` has turned out to be a user id.
    GivenUp,
}

/// A link that an alias event asserts or gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliasLinkRow {
    /// The alias event's owner (`userId`); its node exists, since the alias event was an event of its own.
    pub(crate) owner: u128,
    /// What `previousId` stands for.
    pub(crate) other: IdentifierRow,
    /// The alias event's time.
    pub(crate) time: i64,
    /// The alias event's place in the log.
    pub(crate) place: u64,
    pub(crate) kind: AliasLinkKind,
}

impl EventBatch {
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.alias_links.is_empty()
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.identifiers.clear();
        self.values.clear();
        self.alias_links.clear();
        self.text.clear();
    }

    /// The identifiers of an event, the owner first.
    pub(crate) fn identifiers_of(&self, event: &EventRow) -> &[IdentifierRow] {
        &self.identifiers[event.identifiers as usize..][..usize::from(event.identifier_count)]
    }

    /// The text of an identifier.
    pub(crate) fn text_of(&self, identifier: &IdentifierRow) -> &[u8] {
        &self.text[identifier.text as usize..][..usize::from(identifier.len)]
    }
}
