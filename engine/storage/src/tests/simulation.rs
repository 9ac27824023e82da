//! Random runs on a disk that fails, fills up and loses power: what was durable stays, and nothing else appears.

use proptest::prelude::*;

use super::*;
use crate::sim::{Fault, Operation};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Sync,
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
    ];
    let fault = prop_oneof![
        Just(Fault::Error(std::io::ErrorKind::Other)),
        Just(Fault::Error(std::io::ErrorKind::StorageFull)),
        (1usize..60).prop_map(Fault::Short),
    ];
    prop_oneof![
        10 => prop::collection::vec(0usize..40, 0..4).prop_map(Step::Append),
        5 => Just(Step::Sync),
        2 => (operation, 0u64..4, fault).prop_map(|(operation, nth, fault)| Step::Fail(operation, nth, fault)),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// Opens until it succeeds: a planned fault may hit the opening itself.
fn open(files: &SimFiles, file_bytes: u64) -> LogWriter {
    for _ in 0..40 {
        let state = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state());
        match state.and_then(|state| state.open_log(LogOptions { file_bytes })) {
            Ok((log, _)) => return log,
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
        let mut log = open(&files, file_bytes);
        // What the log may hold, and how much of that it must.
        let mut appended: Vec<EpochEntry> = Vec::new();
        let mut durable = 0;
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
                Step::Fail(operation, nth, fault) => files.fail(operation, nth, fault),
                Step::Kill | Step::Crash(_) => {
                    drop(log);
                    if let Step::Crash(seed) = step { files.crash(seed) } else { files.kill() }
                    log = open(&files, file_bytes);
                    let (read, end) = read_log(&files.fork());
                    end.unwrap();
                    prop_assert!(read.len() >= durable, "{} of {durable}", read.len());
                    prop_assert!(read.len() <= appended.len());
                    prop_assert_eq!(&read[..], &appended[..read.len()]);
                    prop_assert_eq!(log.next_epoch(), read.len() as u64 + 1);
                    // From now on the engine counts all of it as having happened.
                    durable = read.len();
                    appended = read;
                }
            }
        }
    }
}
