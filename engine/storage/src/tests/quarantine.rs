//! Refused events stay until they are redriven, in the space they are given.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sim::{Fault, Operation};
use crate::{Appended, Filter, NewRecord, Quarantine, QuarantineOptions, Record};

const REASONS: [&str; 3] = ["bad_json", "no_identifier", "too_large"];

fn open(files: &SimFiles, options: QuarantineOptions) -> Quarantine {
    state(files).open_quarantine(options).unwrap().0
}

fn path() -> PathBuf {
    PathBuf::from("state/quarantine/records")
}

fn record(reason: &str, bytes: &[u8]) -> Record {
    let (source, received_at) = ("web".to_owned(), Timestamp(bytes.len() as i64));
    let original_len = bytes.len() as u64;
    Record { id: 0, reason: reason.to_owned(), source, received_at, bytes: bytes.to_vec(), original_len }
}

fn append(quarantine: &mut Quarantine, record: &Record) -> Result<Appended, StorageError> {
    quarantine.append(&NewRecord {
        reason: &record.reason,
        source: &record.source,
        received_at: record.received_at,
        bytes: &record.bytes,
        original_len: record.original_len,
    })
}

fn fill(quarantine: &mut Quarantine, count: u64) -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..count {
        let mut record = record(REASONS[n as usize % 3], &vec![n as u8; n as usize % 40]);
        let Appended::Stored(id) = append(quarantine, &record).unwrap() else { panic!("full") };
        record.id = id;
        records.push(record);
    }
    quarantine.sync().unwrap();
    records
}

fn read(quarantine: &Quarantine, filter: Filter) -> Vec<Record> {
    quarantine.read(filter).unwrap().map(Result::unwrap).collect()
}

fn read_only(files: &SimFiles) -> Result<Vec<Record>, StorageError> {
    reader(files).quarantine(Filter::All)?.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_holds_what_was_put_in_and_not_redriven(
        steps in prop::collection::vec((0u8..10, 0usize..60), 1..120),
        max_bytes in 500u64..5000,
    ) {
        let files = SimFiles::new();
        let options = QuarantineOptions { max_bytes, record_bytes: 30 };
        let mut quarantine = open(&files, options);
        let mut model: BTreeMap<u64, Record> = BTreeMap::new();
        let mut highest = 0;
        for (index, (step, number)) in steps.into_iter().enumerate() {
            match step {
                0 => {
                    quarantine.sync().unwrap();
                    drop(quarantine);
                    files.crash(index as u64);
                    quarantine = open(&files, options);
                }
                1 => {
                    let reason = REASONS[number % 3];
                    let marked = quarantine.mark_redriven(&Filter::Reason(reason.to_owned())).unwrap();
                    let before = model.len();
                    model.retain(|_, record| record.reason != reason);
                    prop_assert_eq!(marked as usize, before - model.len());
                }
                2 => {
                    let ids: BTreeSet<u64> = (0..number as u64).map(|n| n * 3).collect();
                    quarantine.mark_redriven(&Filter::Ids(ids.clone())).unwrap();
                    model.retain(|id, _| !ids.contains(id));
                }
                3 => quarantine.compact().unwrap(),
                _ => {
                    let mut record = record(REASONS[number % 3], &vec![index as u8; number]);
                    if let Appended::Stored(id) = append(&mut quarantine, &record).unwrap() {
                        prop_assert!(id > highest, "an id was given twice");
                        highest = id;
                        record.id = id;
                        record.bytes.truncate(30);
                        prop_assert_eq!(record.is_whole(), number <= 30);
                        model.insert(id, record);
                    }
                }
            }
            let expected: Vec<Record> = model.values().cloned().collect();
            prop_assert_eq!(quarantine.len(), expected.len() as u64);
            prop_assert_eq!(&read(&quarantine, Filter::All), &expected);
            prop_assert_eq!(&read_only(&files).unwrap(), &expected);
            let some = read(&quarantine, Filter::Reason("bad_json".to_owned()));
            prop_assert!(some.iter().all(|record| record.reason == "bad_json"));
        }
    }
}

#[test]
fn it_says_when_it_is_full_and_takes_more_once_events_are_redriven() {
    let files = SimFiles::new();
    let mut quarantine = open(&files, QuarantineOptions { max_bytes: 1000, record_bytes: 100 });
    let mut stored = 0;
    let event = record("bad_json", &[7; 80]);
    while append(&mut quarantine, &event).unwrap() != Appended::Full {
        stored += 1;
    }
    assert!((5..12).contains(&stored), "{stored}");
    assert!(quarantine.bytes() <= 1000);
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full);
    assert_eq!(quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([2, 3]))).unwrap(), 2);
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Stored(stored + 1));
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Stored(stored + 2));
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full);
    assert_eq!(quarantine.len(), stored);
}

#[test]
fn a_torn_tail_is_cut_and_damage_before_it_is_an_error() {
    // Once as written one by one, once as a compacted file that was durable as a whole.
    for compacted in [false, true] {
        let files = SimFiles::new();
        let mut quarantine = open(&files, QuarantineOptions::default());
        let mut ends = vec![quarantine.bytes() as usize];
        let mut records = Vec::new();
        for _ in 0..9 {
            records.extend(fill(&mut quarantine, 3));
            ends.push(quarantine.bytes() as usize);
        }
        if compacted {
            quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([1]))).unwrap();
            quarantine.compact().unwrap();
            records.remove(0);
        }
        drop(quarantine);
        let whole = files.contents(&path()).unwrap();
        for at in 40..whole.len() {
            let damaged = files.fork();
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            damaged.set_contents(&path(), &bytes);
            let opened = state(&damaged).open_quarantine(QuarantineOptions::default());
            let near_the_end = at >= whole.len() - 120;
            match opened {
                Ok((quarantine, cut)) => {
                    assert!(near_the_end && cut.is_some(), "{at}");
                    let read = read(&quarantine, Filter::All);
                    assert_eq!(read[..], records[..read.len()]);
                    assert!(read.len() + 4 > records.len());
                }
                Err(error) => assert!(matches!(error, StorageError::Damaged { .. }), "{error}"),
            }
            let torn = files.fork();
            torn.set_contents(&path(), &whole[..at]);
            let before = read_only(&torn).unwrap();
            let quarantine = open(&torn, QuarantineOptions::default());
            let read = read(&quarantine, Filter::All);
            assert_eq!((&read[..], &before[..]), (&records[..read.len()], &records[..read.len()]));
        }
    }
}

#[test]
fn failures_lose_nothing_that_was_synced() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        for nth in 0..4 {
            for kind in [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull] {
                let files = SimFiles::new();
                let mut quarantine = open(&files, QuarantineOptions::default());
                let records = fill(&mut quarantine, 9);
                files.fail(operation, nth, Fault::Error(kind));
                let ids = Filter::Ids(BTreeSet::from([1, 2, 3]));
                let marked = quarantine.mark_redriven(&ids).is_ok();
                let compacted = quarantine.compact().is_ok();
                let appended =
                    append(&mut quarantine, &record("bad_json", b"x")).is_ok() && quarantine.sync().is_ok();
                drop(quarantine);
                files.clear_faults();
                files.crash(nth);
                let read = read(&open(&files, QuarantineOptions::default()), Filter::All);
                let context = format!("{operation:?} {nth} {kind:?} {marked} {compacted} {appended}");
                assert_eq!(read.iter().filter(|record| record.id > 3).take(6).count(), 6, "{context}");
                assert!(!marked || read[0].id == 4, "{context}");
                assert!(marked || read[0] == records[0] || read[0].id == 4, "{context}");
                assert!(!appended || read.last().unwrap().bytes == b"x", "{context}");
            }
        }
    }
}
