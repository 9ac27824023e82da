//! Checkpoints: what a manifest names is whole, whatever failed; damage is an error at every byte.

use proptest::prelude::*;

use super::*;
use crate::sim::{Fault, Operation};
use crate::{Checkpoints, Manifest, StateFile};

/// The pieces of an epoch's state file; any mix-up shows.
fn pieces(epoch: u64) -> Vec<(u8, Vec<u8>)> {
    (0..3).map(|n| (n as u8 + 1, vec![epoch as u8 ^ n as u8; 10 * (n + epoch as usize % 5)])).collect()
}

fn manifest(epoch: u64, files: Vec<StateFile>) -> Manifest {
    Manifest {
        epoch,
        now: Timestamp(epoch as i64),
        latest: Timestamp(-1),
        dedup_half: i64::MIN,
        next_place: epoch * 3,
        positions: vec![("web".to_owned(), vec![1, 2])],
        definitions: b"defs".to_vec(),
        delivered: vec!["ads".to_owned()],
        files,
        is_base: epoch % 2 == 1,
    }
}

fn write(store: &Checkpoints, epoch: u64) -> Result<StateFile, StorageError> {
    store.write_state(epoch, |writer| {
        pieces(epoch).iter().try_for_each(|(kind, piece)| writer.append(*kind, piece))
    })
}

/// Writes a checkpoint on top of those whose files are given.
pub(super) fn make(store: &Checkpoints, epoch: u64, before: &[StateFile]) -> Result<Manifest, StorageError> {
    let mut files = vec![write(store, epoch)?];
    files.extend_from_slice(before);
    let manifest = manifest(epoch, files);
    store.commit(&manifest)?;
    Ok(manifest)
}

fn read_pieces(reader: &StateReader, file: &StateFile) -> Result<Vec<(u8, Vec<u8>)>, StorageError> {
    let (mut pieces, mut reader) = (Vec::new(), reader.state_file(file)?);
    while let Some(piece) = reader.read()? {
        pieces.push(piece);
    }
    Ok(pieces)
}

/// The checkpoints that can be read, newest first; all their files must be whole.
fn whole(reader: &StateReader) -> Vec<Manifest> {
    let manifests: Vec<Manifest> = reader.checkpoints().unwrap().into_iter().map(Result::unwrap).collect();
    for file in manifests.iter().flat_map(|manifest| &manifest.files) {
        reader.state_file(file).unwrap().check().unwrap();
        assert_eq!(read_pieces(reader, file).unwrap(), pieces(file.epoch));
    }
    manifests
}

fn state_path(epoch: u64) -> PathBuf {
    PathBuf::from(format!("{DIR}/checkpoints/{epoch:020}.state"))
}

fn manifest_path(epoch: u64) -> PathBuf {
    PathBuf::from(format!("{DIR}/checkpoints/{epoch:020}.manifest"))
}

#[test]
fn what_is_not_kept_is_removed_and_nothing_else() {
    let files = SimFiles::new();
    let state = state(&files);
    let store = state.open_checkpoints().unwrap();
    assert!(whole(&reader(&files)).is_empty());
    let first = make(&store, 5, &[]).unwrap();
    let second = make(&store, 9, &first.files).unwrap();
    let third = make(&store, 12, &second.files).unwrap();
    let fourth = make(&store, 20, &[]).unwrap();
    // Written and never committed, as by a process that died in between.
    write(&store, 21).unwrap();
    assert_eq!(whole(&reader(&files)), [fourth.clone(), third.clone(), second, first]);
    store.keep(&[fourth.clone(), third.clone()]).unwrap();
    assert_eq!(whole(&reader(&files)), [fourth.clone(), third]);
    let names =
        |suffix: &str| files.paths().iter().filter(|path| path.to_string_lossy().ends_with(suffix)).count();
    assert_eq!((names(".manifest"), names(".state")), (2, 4));
    store.keep(&[fourth]).unwrap();
    assert_eq!((names(".manifest"), names(".state")), (1, 1));
    assert!(state.open_checkpoints().is_err(), "there is one writer at a time");
}

#[test]
fn a_file_that_is_not_finished_has_no_name() {
    let files = SimFiles::new();
    let state = state(&files);
    let store = state.open_checkpoints().unwrap();
    let stopped = store.write_state(5, |writer| {
        writer.append(1, b"a piece")?;
        Err(StorageError::Refused { detail: "the engine stopped".to_owned() })
    });
    assert!(stopped.is_err());
    assert!(files.paths().iter().all(|path| !path.starts_with(format!("{DIR}/checkpoints"))));
}

#[test]
fn damage_is_an_error_at_every_byte() {
    let files = SimFiles::new();
    let store = state(&files).open_checkpoints().unwrap();
    let made = make(&store, 7, &[]).unwrap();
    for path in [manifest_path(7), state_path(7)] {
        let contents = files.contents(&path).unwrap();
        let damaged = |bytes: &[u8]| {
            let fork = files.fork();
            fork.set_contents(&path, bytes);
            let reader = reader(&fork);
            let manifest = reader.checkpoints().unwrap().remove(0);
            manifest.and_then(|manifest| {
                reader.state_file(&manifest.files[0])?.check()?;
                assert_eq!(manifest, made);
                read_pieces(&reader, &manifest.files[0])
            })
        };
        assert_eq!(damaged(&contents).unwrap(), pieces(7));
        for at in 0..contents.len() {
            assert!(damaged(&contents[..at]).is_err(), "{} cut at {at}", path.display());
            for bit in 0..8 {
                let mut flipped = contents.clone();
                flipped[at] ^= 1 << bit;
                assert!(damaged(&flipped).is_err(), "{} bit {bit} of byte {at}", path.display());
            }
        }
        assert!(damaged(&[&contents[..], b"more"].concat()).is_err());
    }
}

#[test]
fn a_piece_larger_than_a_frame_may_hold_comes_back_in_one() {
    let files = SimFiles::new();
    let mut store = state(&files).open_checkpoints().unwrap();
    let pieces: Vec<(u8, Vec<u8>)> = [0usize, 1, 99, 100, 101, 200, 1_234, 0]
        .into_iter()
        .zip([1, 1, 2, 127, 0, 1, 1, 3])
        .map(|(len, kind)| (kind, (0..len).map(|at| (at * 7) as u8).collect()))
        .collect();
    let write = |store: &Checkpoints, epoch| {
        let append = |writer: &mut crate::StateFileWriter<'_>| {
            pieces.iter().try_for_each(|(kind, piece)| writer.append(*kind, piece))
        };
        store.write_state(epoch, append).unwrap()
    };
    let whole = write(&store, 1);
    store.part_bytes = 100;
    let parted = write(&store, 2);
    assert!(parted.bytes > whole.bytes);
    for file in [whole, parted] {
        assert_eq!(read_pieces(&reader(&files), &file).unwrap(), pieces);
    }
    let refused = store.write_state(3, |writer| writer.append(128, b"x"));
    assert!(matches!(refused, Err(StorageError::Refused { .. })));

    // Cut anywhere between its parts, it is damaged.
    let path = state_path(2);
    let contents = files.contents(&path).unwrap();
    for len in 40..contents.len() {
        files.set_contents(&path, &contents[..len]);
        let found = read_pieces(&reader(&files), &StateFile { epoch: 2, bytes: len as u64 });
        assert!(found.is_err() || pieces.starts_with(&found.unwrap()), "cut at {len}");
    }
}

#[test]
fn damage_is_passed_over_only_where_it_can_not_be_in_what_is_looked_for() {
    let files = SimFiles::new();
    let store = state(&files).open_checkpoints().unwrap();
    // Kinds 1 and 2 are in front, 4 and 5 are looked for.
    let pieces: Vec<(u8, Vec<u8>)> =
        [1, 2, 1, 4, 4, 5].into_iter().zip(1u8..).map(|(kind, n)| (kind, vec![n; 50])).collect();
    let mut ends = Vec::new();
    let file = store
        .write_state(7, |writer| {
            pieces.iter().try_for_each(|(kind, piece)| {
                writer.append(*kind, piece)?;
                ends.push(writer.len());
                Ok(())
            })
        })
        .unwrap();
    let contents = files.contents(&state_path(7)).unwrap();
    let found = |bytes: &[u8]| -> Result<Vec<(u8, Vec<u8>)>, StorageError> {
        files.set_contents(&state_path(7), bytes);
        let (mut found, mut reader) = (Vec::new(), reader(&files).state_file(&file)?);
        while let Some(piece) = reader.find(&[4, 5])? {
            found.push(piece);
        }
        Ok(found)
    };
    assert_eq!(found(&contents).unwrap(), pieces[3..]);
    for at in 40..contents.len() {
        let mut flipped = contents.clone();
        flipped[at] ^= 0x04;
        match found(&flipped) {
            // Behind the second piece stands one that is not looked for, so this one is of those.
            Ok(found) => assert!(found == pieces[3..] && at < ends[1] as usize, "byte {at}"),
            Err(StorageError::Damaged { .. }) => assert!(at >= ends[1] as usize, "byte {at}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Make { all: bool },
    Keep(usize),
    Fail(Operation, u64, Fault),
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::SyncDir),
        Just(Operation::Rename),
        Just(Operation::Open),
    ];
    let fault = prop_oneof![
        Just(Fault::Error(std::io::ErrorKind::Other)),
        Just(Fault::Error(std::io::ErrorKind::StorageFull)),
        (1usize..60).prop_map(Fault::Short),
    ];
    prop_oneof![
        8 => any::<bool>().prop_map(|all| Step::Make { all }),
        2 => (1usize..3).prop_map(Step::Keep),
        2 => (operation, 0u64..6, fault).prop_map(|(operation, nth, fault)| Step::Fail(operation, nth, fault)),
        2 => any::<u64>().prop_map(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_committed_stays_whole(steps in prop::collection::vec(step(), 1..40)) {
        let files = SimFiles::new();
        let mut store = state(&files).open_checkpoints().unwrap();
        // Newest first; the first is there for certain, unless its commit failed.
        let mut known: Vec<Manifest> = Vec::new();
        let mut certain = 0;
        for (step, epoch) in steps.into_iter().chain([Step::Crash(3)]).zip(1..) {
            match step {
                Step::Make { all } => {
                    let before = known.first().filter(|_| !all).map(|before| before.files.clone()).unwrap_or_default();
                    if let Ok(made) = make(&store, epoch, &before) {
                        certain = made.epoch;
                        known.insert(0, made);
                    }
                }
                Step::Keep(count) => {
                    let kept: Vec<Manifest> = known.iter().take(count).cloned().collect();
                    if !kept.is_empty() && store.keep(&kept).is_ok() {
                        known = kept;
                    }
                }
                Step::Fail(operation, nth, fault) => files.fail(operation, nth, fault),
                Step::Crash(seed) => {
                    drop(store);
                    files.clear_faults();
                    files.crash(seed);
                    store = state(&files).open_checkpoints().unwrap();
                    let found = whole(&reader(&files));
                    prop_assert!(certain == 0 || found.iter().any(|manifest| manifest.epoch == certain));
                    known = found;
                    certain = known.first().map_or(0, |newest| newest.epoch);
                }
            }
        }
    }
}
