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

fn new(record: &Record) -> NewRecord<'_> {
    NewRecord {
        reason: &record.reason,
        source: &record.source,
        received_at: record.received_at,
        bytes: &record.bytes,
        original_len: record.original_len,
    }
}

fn append(quarantine: &mut Quarantine, record: &Record) -> Result<Appended, StorageError> {
    quarantine.append(&new(record))
}

/// Fills all the room there is with events of 80 bytes; how many there are in all.
fn fill_up(quarantine: &mut Quarantine) -> u64 {
    while append(quarantine, &record("bad_json", &[7; 80])).unwrap() != Appended::Full {}
    quarantine.sync().unwrap();
    quarantine.len()
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
                4 => quarantine.end_marks().unwrap(),
                // As a redrive of which everything is refused again.
                5 => {
                    let mut ids = BTreeSet::new();
                    let mut bytes = 0;
                    for mut again in read(&quarantine, Filter::All).into_iter().take(number % 4) {
                        if !again.is_whole() {
                            continue;
                        }
                        let Appended::Stored(id) = quarantine.append_again(&new(&again)).unwrap() else {
                            return Err(TestCaseError::fail("no room for what comes again"));
                        };
                        prop_assert!(id > highest, "an id was given twice");
                        highest = id;
                        ids.insert(again.id);
                        bytes += again.size();
                        model.remove(&again.id);
                        again.id = id;
                        model.insert(id, again);
                    }
                    prop_assert_eq!(quarantine.mark_read(&ids, bytes).unwrap(), ids.len() as u64);
                }
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
            // An eighth that is not worth a copy, three events again, and the marks of some steps.
            let most = max_bytes + max_bytes / 8 + 2_000;
            prop_assert!(quarantine.bytes() <= most, "{} of {max_bytes}", quarantine.bytes());
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
fn a_full_quarantine_is_not_copied_for_every_event_that_finds_no_room() {
    let files = SimFiles::new();
    let mut quarantine = open(&files, QuarantineOptions { max_bytes: 20_000, record_bytes: 100 });
    let all = fill_up(&mut quarantine);
    assert!(quarantine.is_full() && all > 100);
    let event = record("bad_json", &[7; 80]);
    let renames = || files.count(Operation::Rename);
    let before = renames();
    for id in 1..=5 {
        assert_eq!(quarantine.mark_read(&BTreeSet::from([id]), 110).unwrap(), 1);
        assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full);
    }
    assert_eq!((renames(), quarantine.is_full()), (before, true), "not worth a copy");
    // Whoever has dropped them wants their room.
    quarantine.end_marks().unwrap();
    assert_eq!((renames(), quarantine.is_full()), (before + 1, false));
    assert!(matches!(append(&mut quarantine, &event).unwrap(), Appended::Stored(_)));
    // An eighth of it is worth a copy, once.
    assert_eq!(fill_up(&mut quarantine), all);
    assert_eq!(quarantine.mark_read(&(6..50).collect(), 44 * 110).unwrap(), 44);
    assert_eq!((fill_up(&mut quarantine), renames()), (all, before + 2));
    quarantine.end_marks().unwrap();
    assert_eq!(renames(), before + 2, "nothing was redriven since");
    // What was dropped while there was room counts as room when there is none.
    quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([50]))).unwrap();
    assert!(matches!(append(&mut quarantine, &event).unwrap(), Appended::Stored(_)));
    assert_eq!(renames(), before + 3);
}

#[test]
fn what_comes_again_takes_the_room_it_had() {
    let files = SimFiles::new();
    let mut quarantine = open(&files, QuarantineOptions { max_bytes: 20_000, record_bytes: 100 });
    let all = fill_up(&mut quarantine);
    let (mut largest, before) = (0, files.count(Operation::Rename));
    let mut rest: Vec<Record> = read(&quarantine, Filter::All);
    while !rest.is_empty() {
        let part: Vec<Record> = rest.drain(..rest.len().min(10)).collect();
        for record in &part {
            assert!(matches!(quarantine.append_again(&new(record)).unwrap(), Appended::Stored(_)));
        }
        let ids = part.iter().map(|record| record.id).collect();
        let bytes = part.iter().map(Record::size).sum();
        assert_eq!(quarantine.mark_read(&ids, bytes).unwrap(), part.len() as u64);
        assert_eq!(quarantine.mark_read(&ids, bytes).unwrap(), 0, "once");
        largest = largest.max(quarantine.bytes());
    }
    assert_eq!(quarantine.len(), all);
    assert_eq!(read(&quarantine, Filter::All).len() as u64, all);
    assert!(largest < 20_000 + 20_000 / 8 + 20 * 160, "{largest}");
    assert!(files.count(Operation::Rename) - before <= 10, "one copy for an eighth of it");
}

#[test]
fn reading_is_as_of_its_beginning_however_the_file_changes() {
    let files = SimFiles::new();
    let mut quarantine = open(&files, QuarantineOptions::default());
    let records = fill(&mut quarantine, 9);
    let mut readers =
        [quarantine.read(Filter::All).unwrap(), reader(&files).quarantine(Filter::All).unwrap()];
    for reader in &mut readers {
        assert_eq!(reader.next().unwrap().unwrap(), records[0]);
    }
    fill(&mut quarantine, 5);
    for reader in &mut readers {
        assert_eq!(reader.next().unwrap().unwrap(), records[1]);
    }
    quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([1, 2, 3]))).unwrap();
    quarantine.compact().unwrap();
    fill(&mut quarantine, 5);
    for reader in readers {
        let rest: Vec<Record> = reader.map(Result::unwrap).collect();
        assert_eq!(rest, records[2..]);
    }
}

#[test]
fn a_disk_too_full_for_a_copy_keeps_nobody_waiting() {
    let files = SimFiles::new();
    let mut quarantine = open(&files, QuarantineOptions { max_bytes: 4_000, record_bytes: 100 });
    fill_up(&mut quarantine);
    quarantine.mark_redriven(&Filter::Ids((1..=20).collect())).unwrap();
    let event = record("bad_json", &[7; 80]);
    files.set_capacity(Some(200));
    assert!(matches!(quarantine.end_marks(), Err(StorageError::NoSpace { .. })));
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full);
    // It was tried; until more is redriven it is not tried for each event.
    let opened = files.count(Operation::Open);
    (0..5).for_each(|_| assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full));
    assert_eq!(files.count(Operation::Open), opened);
    files.set_capacity(None);
    quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([21]))).unwrap();
    files.set_capacity(Some(200));
    let opened = files.count(Operation::Open);
    assert_eq!(append(&mut quarantine, &event).unwrap(), Appended::Full);
    assert!(files.count(Operation::Open) > opened);
    files.set_capacity(None);
    quarantine.end_marks().unwrap();
    assert!(matches!(append(&mut quarantine, &event).unwrap(), Appended::Stored(_)));
}

#[test]
fn an_event_of_many_mebibytes_is_kept_whole() {
    let files = SimFiles::new();
    let options = QuarantineOptions { record_bytes: 16 << 20, ..QuarantineOptions::default() };
    let mut quarantine = open(&files, options);
    let mut large = record("future_time", &vec![b'x'; 16 << 20]);
    for id in 1..=2 {
        large.id = id;
        assert_eq!(append(&mut quarantine, &large).unwrap(), Appended::Stored(id));
        assert!(read(&quarantine, Filter::Ids(BTreeSet::from([id]))) == [large.clone()] && large.is_whole());
    }
    quarantine.mark_redriven(&Filter::Ids(BTreeSet::from([1]))).unwrap();
    quarantine.sync().unwrap();
    drop(quarantine);
    assert!(read(&open(&files, options), Filter::All) == [large]);
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
