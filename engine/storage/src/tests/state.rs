//! One process at a time, and a directory that is made whole or not at all.

use super::*;
use crate::sim::{Fault, Operation};

#[test]
fn a_second_opening_is_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = StateDir::open(directory.path(), &new_state()).unwrap();
    let (log, _) = first.open_log(LogOptions::default()).unwrap();
    let Err(error) = StateDir::open(directory.path(), &new_state()) else { panic!("opened twice") };
    let StorageError::Locked { directory: named, holder } = &error else { panic!("{error}") };
    assert_eq!(named, directory.path());
    assert_eq!(*holder, Some(std::process::id()));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    // What was opened from it keeps the lock.
    drop(first);
    assert!(matches!(StateDir::open(directory.path(), &new_state()), Err(StorageError::Locked { .. })));
    // Reading needs none.
    StateReader::open(directory.path()).unwrap();
    drop(log);
    StateDir::open(directory.path(), &new_state()).unwrap();
}

#[test]
fn a_file_has_one_writer() {
    let files = SimFiles::new();
    let state = state(&files);
    let log = state.open_log(LogOptions::default()).unwrap();
    assert!(matches!(state.open_log(LogOptions::default()), Err(StorageError::Refused { .. })));
    drop(log);
    drop(state.open_log(LogOptions::default()).unwrap());
    let acks = state.open_acks("a").unwrap();
    assert!(matches!(state.open_acks("a"), Err(StorageError::Refused { .. })));
    drop((state.open_acks("b").unwrap(), acks));
}

#[test]
fn the_directory_keeps_what_it_was_made_with() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDir::open(directory.path(), &new_state()).unwrap();
    assert_eq!(state.meta().definitions, b"defs");
    state.set_definitions(b"other".to_vec()).unwrap();
    drop(state);
    let new = NewState { key: HashKey(1), deployment: 1, definitions: Vec::new() };
    let state = StateDir::open(directory.path(), &new).unwrap();
    assert_eq!(state.meta(), StateReader::open(directory.path()).unwrap().meta());
    assert_eq!((state.meta().key, state.meta().deployment), (new_state().key, 42));
    assert_eq!((state.meta().definitions.as_slice(), state.meta().log_starts), (&b"other"[..], 1));
    assert!(!format!("{:?}", state.meta()).contains("81985529216486895"), "the key is a secret");
}

#[test]
fn reading_needs_a_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("none")] {
        assert!(matches!(StateReader::open(path), Err(StorageError::NotFound { .. })));
    }
    let state = StateDir::open(directory.path(), &new_state()).unwrap();
    let reader = state.reader();
    assert_eq!(read_all(reader.log(1)).0, []);
    assert!(matches!(reader.log(0), Err(StorageError::Refused { .. })));
    assert_eq!(reader.quarantine(crate::Filter::All).unwrap().count(), 0);
    assert_eq!((reader.sinks().unwrap(), reader.ack("x").unwrap()), (Vec::new(), None));
}

#[test]
fn making_a_directory_survives_a_failure_or_crash_at_any_step() {
    let operations =
        [Operation::Open, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir];
    for operation in operations {
        for nth in 0..4 {
            for seed in 0..8 {
                let files = SimFiles::new();
                files.fail(operation, nth, Fault::Error(std::io::ErrorKind::Other));
                let opened = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state()).is_ok();
                files.clear_faults();
                files.crash(seed);
                let state = state(&files);
                assert_eq!(state.meta().definitions, b"defs");
                drop(state.open_log(LogOptions::default()).unwrap());
                assert!(opened || files.paths().len() >= 2);
            }
        }
    }
}

#[test]
fn definitions_are_replaced_whole_or_not_at_all() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        for seed in 0..20 {
            let files = SimFiles::new();
            let mut state = state(&files);
            if seed % 2 == 0 {
                files.fail(operation, 0, Fault::Error(std::io::ErrorKind::Other));
            }
            let replaced = state.set_definitions(vec![7; 5000]).is_ok();
            drop(state);
            files.clear_faults();
            files.crash(seed);
            let meta = super::state(&files).meta().clone();
            let expected: &[u8] = if meta.definitions.len() == 4 { b"defs" } else { &[7; 5000] };
            assert_eq!(meta.definitions, expected);
            assert!(!replaced || meta.definitions.len() == 5000);
        }
    }
}

#[test]
fn a_log_without_its_meta_is_not_taken_for_a_new_one() {
    let files = SimFiles::new();
    write_synced(&files, &entries(2), 1 << 20);
    crate::Files::remove(&files, &PathBuf::from(DIR).join("meta")).unwrap();
    let opened = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state()).map(|_| ());
    assert!(matches!(opened, Err(StorageError::Damaged { .. })), "{opened:?}");
}

#[test]
fn a_meta_file_flipped_or_cut_anywhere_is_an_error() {
    let files = SimFiles::new();
    drop(state(&files));
    let path = PathBuf::from(DIR).join("meta");
    let whole = files.contents(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            files.set_contents(&path, &bytes);
            let opened = StateReader::open_with(Arc::new(files.clone()), DIR);
            assert!(matches!(opened, Err(StorageError::Damaged { .. })), "byte {at} bit {bit}");
        }
        files.set_contents(&path, &whole[..at]);
        let opened = StateReader::open_with(Arc::new(files.clone()), DIR);
        assert!(matches!(opened, Err(StorageError::Damaged { .. })), "cut to {at}");
    }
}
