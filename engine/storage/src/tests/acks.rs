//! The last whole acknowledgement counts; a torn one falls back to the one before.

use super::*;
use crate::sim::{Fault, Operation};
use crate::{Ack, AckFile};

fn open(files: &SimFiles) -> AckFile {
    state(files).open_acks("Ads / EU").unwrap().0
}

fn path(files: &SimFiles) -> PathBuf {
    files.paths().into_iter().find(|path| path.starts_with("state/acks")).unwrap()
}

fn ack(epoch: u64) -> Ack {
    Ack { epoch, position: vec![epoch as u8; epoch as usize % 50] }
}

#[test]
fn the_last_acknowledgement_is_found_again_through_many_rewrites() {
    let directory = tempfile::tempdir().unwrap();
    let mut largest = 0;
    for round in 0..4 {
        let state = StateDir::open(directory.path(), &new_state()).unwrap();
        let (mut acks, cut) = state.open_acks("Ads / EU").unwrap();
        assert_eq!(cut, None);
        assert_eq!(acks.last(), (round > 0).then(|| ack(round * 900)).as_ref());
        for epoch in round * 900 + 1..=round * 900 + 900 {
            acks.record(epoch, &[epoch as u8; 64][..epoch as usize % 50]).unwrap();
        }
        let file = std::fs::read_dir(directory.path().join("acks")).unwrap().next().unwrap().unwrap();
        largest = largest.max(file.metadata().unwrap().len());
    }
    assert!((20_000..70_000).contains(&largest), "{largest}");
    let reader = StateReader::open(directory.path()).unwrap();
    assert_eq!(reader.sinks().unwrap(), ["Ads / EU"]);
    assert_eq!(reader.ack("Ads / EU").unwrap(), Some(ack(3600)));
}

#[test]
fn epochs_do_not_go_back() {
    let files = SimFiles::new();
    let mut acks = open(&files);
    acks.record(5, b"five").unwrap();
    acks.record(5, b"five again").unwrap();
    assert!(matches!(acks.record(4, b""), Err(StorageError::Refused { .. })));
    assert_eq!(acks.last().unwrap().position, b"five again");
}

#[test]
fn a_record_torn_or_flipped_anywhere_falls_back_to_the_one_before() {
    // Once right behind a rewrite, so that both records come from it, and once without.
    for count in [3, 2500] {
        let files = SimFiles::new();
        let mut acks = open(&files);
        let mut previous_len = 0;
        let mut epoch = 0;
        loop {
            epoch += 1;
            acks.record(epoch, &ack(epoch).position).unwrap();
            let len = files.contents(&path(&files)).unwrap().len();
            let rewritten = len < previous_len;
            if count == epoch || count > 3 && rewritten {
                break;
            }
            previous_len = len;
        }
        drop(acks);
        let whole = files.contents(&path(&files)).unwrap();
        let last_start = whole.len() - 20 - ack(epoch).position.len() - encoded_len(epoch);
        for at in last_start..whole.len() {
            for flip in [false, true] {
                let damaged = files.fork();
                let mut bytes = whole.clone();
                if flip {
                    bytes[at] ^= 0x10
                } else {
                    bytes.truncate(at)
                }
                damaged.set_contents(&path(&files), &bytes);
                let expected = Some(ack(epoch - 1));
                assert_eq!(reader(&damaged).ack("Ads / EU").unwrap(), expected, "{at} {flip}");
                let mut acks = open(&damaged);
                assert_eq!(acks.last(), expected.as_ref());
                acks.record(epoch + 7, b"on").unwrap();
                drop(acks);
                damaged.crash(1);
                assert_eq!(open(&damaged).last(), Some(&Ack { epoch: epoch + 7, position: b"on".to_vec() }));
            }
        }
    }
}

fn encoded_len(epoch: u64) -> usize {
    if epoch < 251 { 1 } else { 3 }
}

#[test]
fn damage_before_the_last_record_costs_nothing() {
    let files = SimFiles::new();
    let mut acks = open(&files);
    for epoch in 1..=9 {
        acks.record(epoch, &ack(epoch).position).unwrap();
    }
    drop(acks);
    let mut bytes = files.contents(&path(&files)).unwrap();
    bytes[70] ^= 1;
    files.set_contents(&path(&files), &bytes);
    let (acks, cut) = state(&files).open_acks("Ads / EU").unwrap();
    assert!(cut.is_some());
    assert_eq!(acks.last(), Some(&ack(9)));
}

#[test]
fn failures_keep_the_last_or_the_new_record() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        for start in [3, 2000] {
            for nth in 0..3 {
                let files = SimFiles::new();
                let mut acks = open(&files);
                for epoch in 1..=start {
                    acks.record(epoch, &ack(epoch).position).unwrap();
                }
                files.fail(operation, nth, Fault::Error(std::io::ErrorKind::Other));
                let mut recorded = start;
                let mut tried = start;
                while tried < start + 6000 {
                    tried += 1;
                    if acks.record(tried, &ack(tried).position).is_err() {
                        break;
                    }
                    recorded = tried;
                }
                assert!(recorded < tried, "the fault was met");
                assert_eq!(acks.last().unwrap().epoch, recorded);
                drop(acks);
                files.clear_faults();
                files.crash(nth);
                let last = open(&files).last().unwrap().epoch;
                assert!(last == recorded || last == tried, "{last} {recorded} {tried}");
            }
        }
    }
}
