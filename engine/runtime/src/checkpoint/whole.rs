//! A checkpoint of everything: what the engine does not have in memory, messages and since when who is a member, is taken from
//! the files of the checkpoint before, a piece at a time.
//!
//! Of those files nothing else is needed, so damage to their nodes does no harm here.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, btree_map},
};

use tidewater_model::Timestamp;
use tidewater_operators::snapshot::Damaged;
use tidewater_storage::{Checkpoints, Manifest, StateFileReader, StateFileWriter, StorageError};

use super::pieces::{
    MEMBER_BYTES, Member, MemberChanges, Messages, kind, read_members, read_messages, write_members,
    write_messages,
};

/// What is known of messages and members since the checkpoint before.
pub(super) struct Since<'a> {
    pub(super) messages: &'a Messages,
    pub(super) members: &'a MemberChanges,
    /// Messages of earlier halves of the dedup window are forgotten.
    pub(super) oldest_half: i64,
}

/// Why it could not be written.
#[derive(Debug)]
pub(super) enum Failure {
    /// The checkpoint before can't be read.
    Before(StorageError),
    Writing(StorageError),
}

impl Failure {
    /// Whether it will be the same every time.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Before(StorageError::Io { source, .. }) => source.kind() == std::io::ErrorKind::NotFound,
            Self::Before(_) => true,
            Self::Writing(_) => false,
        }
    }

    pub(super) fn into_error(self) -> StorageError {
        let (Self::Before(error) | Self::Writing(error)) = self;
        error
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Writing(error)
    }
}

/// Writes messages and members of the checkpoint `before` and since then.
pub(super) fn write(
    (store, before): (&Checkpoints, &Manifest),
    since: &Since<'_>,
    writer: &mut StateFileWriter<'_>,
    mut go_on: impl FnMut() -> Result<(), StorageError>,
) -> Result<(), Failure> {
    write_messages(since.messages, |piece| writer.append(kind::MESSAGES, piece))?;
    // Of several changes of one member the last one counts.
    let newest: BTreeMap<Member, Option<Timestamp>> = since.members.iter().copied().collect();
    let mut members = Newest::new(newest.into_iter());
    for file in &before.files {
        let mut reader = store.read(file).map_err(Failure::Before)?;
        // Messages stand in front of members.
        let first = loop {
            go_on()?;
            match reader.find(&[kind::MESSAGES, kind::MEMBERS]).map_err(Failure::Before)? {
                Some((kind::MESSAGES, piece)) => {
                    let (half, _) = read_messages(&piece).map_err(unreadable)?;
                    if half >= since.oldest_half {
                        writer.append(kind::MESSAGES, &piece)?;
                    }
                }
                Some((_, piece)) => break piece,
                None => break Vec::new(),
            }
        };
        members.add(Stored { reader, piece: first, at: 0 })?;
    }
    let mut failed = None;
    let merged = std::iter::from_fn(|| {
        let next = go_on().map_err(Failure::from).and_then(|()| members.next());
        next.unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    });
    // Who has exited is of no more use.
    let merged = merged.filter(|(_, since)| since.is_some());
    write_members(merged, |piece| writer.append(kind::MEMBERS, piece))?;
    failed.map_or(Ok(()), Err)
}

/// The changes in one file, which stand in the order of members.
struct Stored {
    reader: StateFileReader,
    piece: Vec<u8>,
    at: usize,
}

impl Stored {
    fn next(&mut self) -> Result<Option<(Member, Option<Timestamp>)>, Failure> {
        while self.at >= self.piece.len() {
            match self.reader.find(&[kind::MESSAGES, kind::MEMBERS]).map_err(Failure::Before)? {
                Some((kind::MEMBERS, piece)) => (self.piece, self.at) = (piece, 0),
                Some(_) => return Err(unreadable(Damaged)),
                None => return Ok(None),
            }
        }
        let end = self.piece.len().min(self.at + MEMBER_BYTES);
        let change = read_members(&self.piece[self.at..end]).map_err(unreadable)?.next();
        self.at = end;
        Ok(change)
    }
}

/// Merges changes that were made one after the other: of each member the newest one, in the order of members.
struct Newest {
    since: btree_map::IntoIter<Member, Option<Timestamp>>,
    /// Newest first.
    stored: Vec<Stored>,
    /// The next change of each, by member and age: 0 are those since.
    next: BinaryHeap<Reverse<(Member, usize, Option<Timestamp>)>>,
    last: Option<Member>,
}

impl Newest {
    fn new(since: btree_map::IntoIter<Member, Option<Timestamp>>) -> Self {
        let mut newest = Self { since, stored: Vec::new(), next: BinaryHeap::new(), last: None };
        newest.next.extend(newest.since.next().map(|(member, since)| Reverse((member, 0, since))));
        newest
    }

    /// Adds changes that are older than those there are.
    fn add(&mut self, mut stored: Stored) -> Result<(), Failure> {
        let first = stored.next()?;
        self.stored.push(stored);
        let age = self.stored.len();
        self.next.extend(first.map(|(member, since)| Reverse((member, age, since))));
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Member, Option<Timestamp>)>, Failure> {
        while let Some(Reverse((member, age, since))) = self.next.pop() {
            let following = match age.checked_sub(1) {
                None => self.since.next(),
                Some(stored) => self.stored[stored].next()?,
            };
            if let Some((following, since)) = following {
                if following <= member {
                    return Err(unreadable(Damaged));
                }
                self.next.push(Reverse((following, age, since)));
            }
            if self.last.replace(member) != Some(member) {
                return Ok(Some((member, since)));
            }
        }
        Ok(None)
    }
}

fn unreadable(error: Damaged) -> Failure {
    Failure::Before(StorageError::Refused { detail: error.to_string() })
}

#[cfg(test)]
mod tests;
