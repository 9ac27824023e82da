//! The pieces of a state file that are neither nodes nor aliases: accepted messages, and since when who is a member.

use std::collections::BTreeMap;

use tidewater_model::{ProfileId, Timestamp};
use tidewater_operators::snapshot::Damaged;

/// Kinds of pieces. The numbers are part of the format.
pub(crate) mod kind {
    /// Nodes of one worker.
    pub(crate) const NODES: u8 = 1;
    /// What one worker knows besides nodes.
    pub(crate) const REST: u8 = 2;
    /// Aliases that still wait.
    pub(crate) const ALIASES: u8 = 3;
    /// Accepted messages.
    pub(crate) const MESSAGES: u8 = 4;
    /// Members and since when they are.
    pub(crate) const MEMBERS: u8 = 5;
}

/// So many entries make a piece: about a megabyte.
const ENTRIES: usize = 1 << 16;

/// Accepted messages, as the dedup window stores them, by the half of a window in which they came; in lists of at most
/// `ENTRIES`, since growing a long one copies it.
pub(crate) type Messages = Vec<(i64, Vec<u128>)>;

/// Adds a message.
#[inline]
pub(crate) fn note_message(messages: &mut Messages, (half, entry): (i64, u128)) {
    match messages.last_mut() {
        Some((last, entries)) if *last == half && entries.len() < ENTRIES => entries.push(entry),
        _ => messages.push((half, vec![entry])),
    }
}

/// Calls `piece` with messages as pieces.
pub(crate) fn write_messages<E>(
    messages: &Messages,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for (half, entries) in messages {
        let mut bytes = half.to_le_bytes().to_vec();
        entries.iter().for_each(|entry| bytes.extend_from_slice(&entry.to_le_bytes()));
        piece(&bytes)?;
    }
    Ok(())
}

/// The half of a window that a piece of messages is of, and the messages.
pub(crate) fn read_messages(piece: &[u8]) -> Result<(i64, impl Iterator<Item = u128>), Damaged> {
    let (half, entries) = piece.split_first_chunk::<8>().ok_or(Damaged)?;
    let (entries, rest) = entries.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Damaged);
    }
    Ok((i64::from_le_bytes(*half), entries.iter().map(|entry| u128::from_le_bytes(*entry))))
}

/// Segment and profile.
pub(crate) type Member = (u32, ProfileId);

/// Who entered, and when, or exited, in order.
pub(crate) type MemberChanges = Vec<(Member, Option<Timestamp>)>;

/// More changes than these are not kept: of each member only the last one is.
const MOST_CHANGES: usize = 2_000_000;

/// Adds later changes; what is kept is bounded by this limit or by how many members there are.
pub(crate) fn add_members(
    changes: &mut MemberChanges,
    later: impl IntoIterator<Item = (Member, Option<Timestamp>)>,
) {
    changes.extend(later);
    if changes.len() >= MOST_CHANGES && changes.len() == changes.capacity()
        || changes.len() > 4 * MOST_CHANGES
    {
        collapse(changes);
    }
}

/// Keeps of each member the last change.
fn collapse(changes: &mut MemberChanges) {
    let last: BTreeMap<Member, Option<Timestamp>> = changes.drain(..).collect();
    changes.extend(last);
}

/// Stands for "exited" where a time would stand. No event is that old.
const EXITED: i64 = i64::MIN;

/// Calls `piece` with changes of members as pieces.
pub(crate) fn write_members<E>(
    changes: impl Iterator<Item = (Member, Option<Timestamp>)>,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Vec::new();
    for ((segment, profile), since) in changes {
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&profile.0.to_le_bytes());
        bytes.extend_from_slice(&since.map_or(EXITED, |since| since.0).to_le_bytes());
        if bytes.len() >= ENTRIES * MEMBER_BYTES {
            piece(&bytes)?;
            bytes.clear();
        }
    }
    if bytes.is_empty() { Ok(()) } else { piece(&bytes) }
}

pub(crate) const MEMBER_BYTES: usize = 28;

/// The changes of a piece of members.
pub(crate) fn read_members(
    piece: &[u8],
) -> Result<impl Iterator<Item = (Member, Option<Timestamp>)>, Damaged> {
    let (entries, rest) = piece.as_chunks::<MEMBER_BYTES>();
    if !rest.is_empty() {
        return Err(Damaged);
    }
    Ok(entries.iter().map(|entry| {
        let number = |from: usize, len: usize| {
            entry[from..from + len].iter().rev().fold(0u128, |number, byte| number << 8 | u128::from(*byte))
        };
        let since = number(20, 8) as i64;
        let member = (number(0, 4) as u32, ProfileId(number(4, 16)));
        (member, (since != EXITED).then_some(Timestamp(since)))
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pieces_are_read_as_they_were_written() {
        let mut messages = Messages::new();
        (0..70_000u128).for_each(|entry| note_message(&mut messages, (3, entry << 64 | 1)));
        note_message(&mut messages, (-4, 5));
        let mut read = Messages::new();
        let mut pieces = 0;
        write_messages(&messages, |piece| {
            pieces += 1;
            let (half, entries) = read_messages(piece)?;
            entries.for_each(|entry| note_message(&mut read, (half, entry)));
            Ok::<(), Damaged>(())
        })
        .unwrap();
        assert_eq!((read, pieces), (messages, 3));
        assert!(read_messages(&[0; 25]).is_err() && read_messages(&[0; 7]).is_err());

        let changes: MemberChanges = (0..70_000u32)
            .map(|n| ((n % 3, ProfileId(u128::from(n) << 90)), (n % 2 == 0).then_some(Timestamp(n.into()))))
            .collect();
        let mut read = MemberChanges::new();
        write_members(changes.iter().copied(), |piece| {
            read.extend(read_members(piece)?);
            Ok::<(), Damaged>(())
        })
        .unwrap();
        assert_eq!(read, changes);
        assert!(read_members(&[0; 29]).is_err());
    }
}
