#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use proptest::prelude::*;
use tidewater_model::{HashKey, ProfileId};
use tidewater_storage::{Files, NewState, StateDir, StateFile, sim::SimFiles};

use super::*;
use crate::checkpoint::pieces::note_message;

fn state(files: &SimFiles) -> StateDir {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let new = NewState { key: HashKey(5), deployment: 1, definitions: Vec::new() };
    StateDir::open_with(files, "state", &new).unwrap()
}

fn manifest(files: Vec<StateFile>) -> Manifest {
    Manifest {
        epoch: files[0].epoch,
        now: Timestamp(0),
        latest: Timestamp(0),
        dedup_half: 0,
        next_place: 0,
        positions: Vec::new(),
        definitions: Vec::new(),
        delivered: Vec::new(),
        files,
        is_base: false,
    }
}

fn change((segment, profile, since): (u32, u8, Option<i16>)) -> (Member, Option<Timestamp>) {
    ((segment, ProfileId(u128::from(profile) << 64)), since.map(|since| Timestamp(since.into())))
}

fn messages(of: &[(i64, u8)]) -> Messages {
    let mut messages = Messages::new();
    of.iter()
        .for_each(|(half, message)| note_message(&mut messages, (*half, u128::from(*message) << 64 | 1)));
    messages
}

/// Writes the state file of an epoch as a checkpoint does that holds what has changed.
fn write_changes(store: &Checkpoints, epoch: u64, members: &MemberChanges, messages: &Messages) -> StateFile {
    store
        .write_state(epoch, |writer| {
            writer.append(kind::NODES, &[1; 500])?;
            writer.append(kind::REST, &[])?;
            write_messages(messages, |piece| writer.append(kind::MESSAGES, piece))?;
            let changes: BTreeMap<_, _> = members.iter().copied().collect();
            write_members(changes.into_iter(), |piece| writer.append(kind::MEMBERS, piece))
        })
        .unwrap()
}

type Read = (Vec<(Member, Option<Timestamp>)>, BTreeSet<(i64, u128)>);

/// Writes everything on top of these files, and reads it.
fn whole(store: &Checkpoints, before: &[StateFile], since: &Since<'_>) -> Result<Read, Failure> {
    let before = manifest(before.to_vec());
    let mut failure = None;
    let written = store.write_state(before.epoch + 1, |writer| {
        write((store, &before), since, writer, || Ok(())).map_err(|error| {
            failure = Some(error);
            StorageError::Refused { detail: String::new() }
        })
    });
    let Ok(file) = written else { return Err(failure.unwrap()) };
    let (mut members, mut messages, mut reader) = (Vec::new(), BTreeSet::new(), store.read(&file)?);
    while let Some((kind, piece)) = reader.read()? {
        if kind == kind::MEMBERS {
            members.extend(read_members(&piece).unwrap());
        } else {
            let (half, entries) = read_messages(&piece).unwrap();
            messages.extend(entries.map(|entry| (half, entry)));
        }
    }
    Ok((members, messages))
}

fn changes() -> impl Strategy<Value = Vec<(u32, u8, Option<i16>)>> {
    prop::collection::vec((0u32..3, 0u8..20, prop::option::of(any::<i16>())), 0..40)
}

proptest! {
    #[test]
    fn of_each_member_the_newest_change_is_left_and_of_messages_those_of_use(
        files in prop::collection::vec((changes(), prop::collection::vec((0i64..6, any::<u8>()), 0..20)), 1..6),
        (since, sent) in (changes(), prop::collection::vec((0i64..6, any::<u8>()), 0..20)),
        oldest_half in 0i64..6,
    ) {
        let disk = SimFiles::new();
        let store = state(&disk).open_checkpoints().unwrap();
        let (mut expected, mut of_use, mut written) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let note = |sent: &Messages, of_use: &mut BTreeSet<(i64, u128)>| {
            let all = sent.iter().flat_map(|(half, entries)| entries.iter().map(|entry| (*half, *entry)));
            of_use.extend(all.filter(|(half, _)| *half >= oldest_half));
        };
        for ((changed, sent), epoch) in files.iter().zip(1..) {
            let (changed, sent): (MemberChanges, _) = (changed.iter().copied().map(change).collect(), messages(sent));
            written.insert(0, write_changes(&store, epoch, &changed, &sent));
            expected.extend(changed);
            note(&sent, &mut of_use);
        }
        let members: MemberChanges = since.into_iter().map(change).collect();
        expected.extend(members.iter().copied());
        let mut sent = messages(&sent);
        sent.retain(|(half, _)| *half >= oldest_half);
        note(&sent, &mut of_use);
        let since = Since { messages: &sent, members: &members, oldest_half };
        let found = whole(&store, &written, &since).unwrap();
        let expected: Vec<_> = expected.into_iter().filter(|(_, since)| since.is_some()).collect();
        prop_assert_eq!(found, (expected, of_use));
    }
}

#[test]
fn damage_to_nodes_does_no_harm_and_other_damage_is_that_of_the_checkpoint_before() {
    let disk = SimFiles::new();
    let store = state(&disk).open_checkpoints().unwrap();
    let members: MemberChanges = (0..9).map(|n| change((0, n, Some(n.into())))).collect();
    let sent = messages(&[(3, 7), (4, 8)]);
    let file = write_changes(&store, 5, &members, &sent);
    let since = Since { messages: &Messages::new(), members: &MemberChanges::new(), oldest_half: 0 };
    let expected = whole(&store, &[file], &since).unwrap();
    assert_eq!((expected.0.len(), expected.1.len()), (9, 2));
    let path = PathBuf::from(format!("state/checkpoints/{:020}.state", 5));
    let contents = disk.contents(&path).unwrap();
    let (mut harmless, mut harmful) = (0, 0);
    for at in 40..contents.len() {
        let mut flipped = contents.clone();
        flipped[at] ^= 1;
        disk.set_contents(&path, &flipped);
        match whole(&store, &[file], &since) {
            Ok(found) => {
                assert_eq!(found, expected);
                harmless += 1;
            }
            Err(Failure::Before(StorageError::Damaged { .. })) => harmful += 1,
            Err(error) => panic!("byte {at}: {error:?}"),
        }
    }
    assert!(harmless > 25 && harmful > 100, "{harmless} {harmful}");
    disk.set_contents(&path, &contents[..contents.len() - 1]);
    assert!(matches!(whole(&store, &[file], &since), Err(Failure::Before(_))));
    Files::remove(&disk, &path).unwrap();
    assert!(matches!(whole(&store, &[file], &since), Err(Failure::Before(_))));
}

#[test]
fn members_out_of_order_are_not_taken() {
    let disk = SimFiles::new();
    let store = state(&disk).open_checkpoints().unwrap();
    let members = [change((0, 2, Some(1))), change((0, 1, Some(1)))];
    let file = store.write_state(5, |writer| {
        write_members(members.into_iter(), |piece| writer.append(kind::MEMBERS, piece))
    });
    let since = Since { messages: &Messages::new(), members: &MemberChanges::new(), oldest_half: 0 };
    assert!(matches!(whole(&store, &[file.unwrap()], &since), Err(Failure::Before(_))));
}
