//! One worker's membership changes of one epoch, before they are netted against the other workers'.

use crate::identity::messages::Member;

/// One worker's share of an epoch's membership changes; [`merge`](crate::activation::merge) makes the batch that
/// leaves the engine.
#[derive(Debug, Default)]
pub struct Changes {
    pub(crate) rows: Vec<ChangeRow>,
    pub(crate) details: Vec<Detail>,
    /// Profiles that were published anew, with a detail that holds their identifiers.
    pub(crate) alive: Vec<(u128, u32)>,
    pub(crate) members: Vec<Member>,
    pub(crate) text: String,
}

/// A membership that began or ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeRow {
    pub(crate) profile: u128,
    pub(crate) segment: u32,
    pub(crate) entered: bool,
    /// What belongs to it, by place in `details`.
    pub(crate) detail: u32,
}

/// Identifiers and reason of one or more changes of one profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detail {
    /// Part of `text`: where it begins, and its length.
    pub(crate) reason: (u64, u32),
    /// Part of `members`.
    pub(crate) members: (u32, u32),
    pub(crate) cause: Cause,
}

/// Why memberships changed, as far as it is not in a reason's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Traits, identifiers or time; the text says which.
    Values,
    /// The profile was merged into the one with this id.
    Merged(u128),
    /// Links of its cluster went away.
    Solved,
    /// The profile was split from the one with this id.
    Split(u128),
}

/// Room that is made for changes before there are any, at most.
const ROOM: usize = 1 << 16;

impl Changes {
    /// None, with room for as many as those of the epoch before: most epochs are like it.
    pub(crate) fn with_room_of(before: &Self) -> Self {
        Self { rows: Vec::with_capacity(before.rows.len().min(ROOM)), ..Self::default() }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All memberships in `bits` end.
    pub(crate) fn leave(&mut self, profile: u128, bits: &[u64], members: &[Member], cause: Cause) {
        let detail = self.detail(members.iter().copied(), cause);
        for segment in set_bits(bits) {
            self.rows.push(ChangeRow { profile, segment, entered: false, detail });
        }
    }

    /// Adds a detail with an empty reason, to which [`reason`](Self::reason) appends.
    pub(crate) fn detail(&mut self, members: impl Iterator<Item = Member>, cause: Cause) -> u32 {
        let start = self.members.len() as u32;
        self.members.extend(members);
        let reason = (self.text.len() as u64, 0);
        self.details.push(Detail { reason, members: (start, self.members.len() as u32), cause });
        self.details.len() as u32 - 1
    }

    /// A detail with the members of another one and a reason of its own.
    pub(crate) fn detail_like(&mut self, detail: u32, write: impl FnOnce(&mut String)) -> u32 {
        let start = self.text.len();
        write(&mut self.text);
        let reason = (start as u64, (self.text.len() - start) as u32);
        let like = self.details[detail as usize];
        self.details.push(Detail { reason, ..like });
        self.details.len() as u32 - 1
    }
}

/// The places of the bits that are set.
pub(crate) fn set_bits(bits: &[u64]) -> impl Iterator<Item = u32> {
    bits.iter().zip(0..).flat_map(|(bits, word)| bits_of(*bits).map(move |place| word * 64 + place))
}

/// The places of the bits that are set in one word.
pub(crate) fn bits_of(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros();
        (bits != 0).then(|| {
            bits &= bits - 1;
            place
        })
    })
}
