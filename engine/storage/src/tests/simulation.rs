//! Random runs on a disk that fails, fills up and loses power: what was durable stays, and nothing else appears.

use proptest::prelude::*;

use super::*;
use crate::sim::{Fault, Operation};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Sync,
    /// Seals the oldest file that is full.
    Seal,
    /// Retires so many sealed files.
    Retire(usize),
    Fail(Operation, u64, Fault),
    Kill,
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::SyncDir),
        Just(Operation::Rename),
        Just(Operation::Open),
        Just(Operation::SetLen),
        Just(Operation::Read),
    ];
    let fault = prop_oneof![
        Just(Fault::Error(std::io::ErrorKind::Other)),
        Just(Fault::Error(std::io::ErrorKind::StorageFull)),
        (1usize..60).prop_map(Fault::Short),
    ];
    prop_oneof![
        10 => prop::collection::vec(0usize..40, 0..4).prop_map(Step::Append),
        5 => Just(Step::Sync),
        3 => Just(Step::Seal),
        1 => (1usize..4).prop_map(Step::Retire),
        2 => (operation, 0u64..4, fault).prop_map(|(operation, nth, fault)| Step::Fail(operation, nth, fault)),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// Opens until it succeeds: a planned fault may hit the opening itself.
fn open(files: &SimFiles, file_bytes: u64) -> (LogWriter, LogArchive) {
    for _ in 0..40 {
        let state = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state());
        let opened = state
            .and_then(|state| Ok((state.open_log(LogOptions { file_bytes })?.0, state.open_log_archive()?)));
        match opened {
            Ok(opened) => return opened,
            Err(StorageError::Damaged { file, offset, detail }) => {
                panic!("{} {offset} {detail}", file.display())
            }
            Err(_) => {}
        }
    }
    panic!("the faults are used up, but it does not open");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_was_durable_stays(steps in prop::collection::vec(step(), 1..80), file_bytes in 60u64..600) {
        let files = SimFiles::new();
        let (mut log, mut archive) = open(&files, file_bytes);
        // What the log may hold, how much of that it must, and where it may begin.
        let mut appended: Vec<EpochEntry> = Vec::new();
        let mut durable = 0;
        let (mut starts, mut may_start) = (1, 1);
        for step in steps.into_iter().chain([Step::Crash(5), Step::Crash(6)]) {
            match step {
                Step::Append(lengths) => {
                    let entry = entry(log.next_epoch(), log.next_place(), &lengths);
                    match log.append(&entry) {
                        Ok(_) => appended.push(entry),
                        Err(StorageError::NoSpace { .. } | StorageError::Poisoned { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Sync => {
                    if log.sync().is_ok() {
                        durable = appended.len();
                    }
                    prop_assert!(log.durable_epoch() as usize <= appended.len());
                }
                Step::Seal => {
                    let sealed = archive
                        .unsealed()
                        .and_then(|all| all.first().map(|base| archive.seal(*base, &mut || true)).transpose());
                    let is_damaged = matches!(sealed, Err(StorageError::Damaged { .. }));
                    prop_assert!(!is_damaged, "{:?}", sealed);
                }
                Step::Retire(count) => {
                    let retired = archive.sealed().and_then(|(all, _)| {
                        let end = all.get(count - 1).map(|file| file.next_epoch);
                        may_start = end.unwrap_or(may_start).max(may_start);
                        end.map(|end| archive.retire(end).map(|_| end)).transpose()
                    });
                    match retired {
                        // An earlier attempt to retire more may have failed.
                        Ok(Some(end)) => starts = end,
                        Ok(None) | Err(StorageError::Io { .. } | StorageError::NoSpace { .. }) => {}
                        Err(StorageError::Poisoned { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Fail(operation, nth, fault) => files.fail(operation, nth, fault),
                Step::Kill | Step::Crash(_) => {
                    drop((log, archive));
                    if let Step::Crash(seed) = step { files.crash(seed) } else { files.kill() }
                    (log, archive) = open(&files, file_bytes);
                    let copy = files.fork();
                    let begins = reader(&copy).log_starts().unwrap();
                    prop_assert!(starts <= begins && begins <= may_start, "{starts} {begins} {may_start}");
                    (starts, may_start) = (begins, begins);
                    let (read, end) = read_all(reader(&copy).log(begins));
                    end.unwrap();
                    let length = read.len() + begins as usize - 1;
                    prop_assert!(length >= durable, "{} of {durable}", length);
                    prop_assert!(length <= appended.len());
                    prop_assert_eq!(&read[..], &appended[begins as usize - 1..length]);
                    prop_assert_eq!(log.next_epoch(), length as u64 + 1);
                    // From now on the engine counts all of it as having happened.
                    durable = length;
                    appended.truncate(length);
                }
            }
        }
    }
}
