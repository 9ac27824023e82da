//! Round trips through the log, on real files and in memory, and the rules of the writer.

use proptest::prelude::*;

use super::*;
use crate::MAX_PAYLOAD;
use crate::sim::{Fault, Operation};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_appended_is_read_back(
        shapes in prop::collection::vec(prop::collection::vec(0usize..3000, 0..8), 0..20),
        file_bytes in 1u64..20_000,
        from in 1u64..25,
        by_pieces in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/state");
        let state = StateDir::open(&path, &new_state()).unwrap();
        let (mut log, _) = state.open_log(LogOptions { file_bytes }).unwrap();
        let mut place = 0;
        let mut written = Vec::new();
        for (index, lengths) in shapes.iter().enumerate() {
            let entry = entry(index as u64 + 1, place, lengths);
            place += lengths.len() as u64;
            let before = log.file().1;
            let bytes = if by_pieces {
                log.append_events(&entry.header, entry.events.iter()).unwrap()
            } else {
                log.append(&entry).unwrap()
            };
            prop_assert!(log.file().1 == before + bytes || log.file().1 == 40 + bytes);
            written.push(entry);
            if index % 3 == 0 {
                log.sync().unwrap();
                prop_assert_eq!(log.durable_epoch(), index as u64 + 1);
            }
        }
        let (read, end) = read_all(StateReader::open(&path).unwrap().log(from));
        end.unwrap();
        prop_assert_eq!(&read[..], &written[written.len().min(from as usize - 1)..]);
        drop((log, state));
        // Opening for writing finds the same end.
        let state = StateDir::open(&path, &new_state()).unwrap();
        let (log, cut) = state.open_log(LogOptions { file_bytes }).unwrap();
        prop_assert_eq!(cut, None);
        prop_assert_eq!(log.next_epoch(), written.len() as u64 + 1);
        prop_assert_eq!(log.next_place(), place);
    }
}

#[test]
fn events_can_be_read_past_their_end() {
    let files = SimFiles::new();
    write_synced(&files, &[entry(1, 0, &[5, 0, 9])], 1000);
    let (read, end) = read_log(&files);
    end.unwrap();
    let events = &read[0].events;
    assert_eq!(events.len(), 3);
    for index in 0..3 {
        let (bytes, len) = events.padded(index).unwrap();
        assert_eq!(&bytes[..len], events.get(index).unwrap());
        assert!(bytes.len() >= len + EventBytes::PADDING);
    }
    let (bytes, len) = events.padded(2).unwrap();
    assert!(bytes[len..].iter().all(|&byte| byte == 0));
    assert_eq!(events.padded(3), None);
}

#[test]
fn a_reader_follows_a_growing_log_through_its_files() {
    let files = SimFiles::new();
    let state = state(&files);
    let (mut log, _) = state.open_log(LogOptions { file_bytes: 100 }).unwrap();
    let mut reader = state.reader().log(1).unwrap();
    let mut read = EpochEntry::default();
    for entry in entries(30) {
        assert!(!reader.read(&mut read).unwrap());
        log.append(&entry).unwrap();
        assert!(reader.read(&mut read).unwrap());
        assert_eq!(read, entry);
    }
    assert!(files.paths().len() > 5, "the log has rolled");
}

#[test]
fn a_reader_stops_before_an_entry_half_written_and_goes_on_when_it_is_whole() {
    let files = SimFiles::new();
    let all = entries(4);
    let ends = write_synced(&files, &all, 1 << 20);
    let whole = files.contents(&log_path(1)).unwrap();
    for cut in ends[1]..ends[3] {
        // In place, so that the reader's handle sees it.
        let blob = |len: usize| {
            let mut blob = crate::Files::open(&files, &log_path(1), crate::files::Mode::Write).unwrap();
            blob.set_len(0).unwrap();
            blob.write_at(&[std::io::IoSlice::new(&whole[..len])], 0).unwrap();
        };
        blob(cut);
        let mut reader = reader(&files).log(1).unwrap();
        let before: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(before[..], all[..ends.iter().filter(|&&end| end <= cut).count()]);
        blob(whole.len());
        let after: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!([before, after].concat(), all);
    }
}

#[test]
fn the_writer_refuses_what_is_out_of_order_or_too_large() {
    let files = SimFiles::new();
    let mut log = open_log(&files).unwrap();
    log.append(&entry(1, 0, &[3, 4])).unwrap();
    let refused = |result: Result<u64, StorageError>| match result {
        Err(StorageError::Refused { detail }) => detail,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(log.append(&entry(3, 2, &[]))), "epoch 2 comes next in the log, not 3");
    assert_eq!(refused(log.append(&entry(1, 2, &[]))), "epoch 2 comes next in the log, not 1");
    assert_eq!(refused(log.append(&entry(2, 1, &[]))), "place 2 comes next in the log, not 1");
    let large = vec![0; MAX_PAYLOAD / 4];
    let header = entry(2, 2, &[]).header;
    let detail = refused(log.append_events(&header, [&large[..]; 4]));
    assert!(detail.contains("larger than one entry may be") || detail.contains("more than"), "{detail}");
    // None of it has left a trace.
    log.append(&entry(2, 2, &[1])).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(read_log(&files).0, [entry(1, 0, &[3, 4]), entry(2, 2, &[1])]);
}

#[test]
fn after_a_failed_write_the_writer_is_poisoned_and_a_restart_is_exact() {
    for fault in [std::io::ErrorKind::Other, std::io::ErrorKind::PermissionDenied] {
        let files = SimFiles::new();
        write_synced(&files, &entries(5), 1 << 20);
        let mut log = open_log(&files).unwrap();
        files.fail(Operation::Write, 0, Fault::Short(11));
        files.fail(Operation::Write, 1, Fault::Error(fault));
        let next = entries(6).remove(5);
        for _ in 0..3 {
            assert!(matches!(log.append(&next), Err(StorageError::Poisoned { .. })));
            assert!(matches!(log.sync(), Err(StorageError::Poisoned { .. })));
        }
        drop(log);
        let (log, cut) = state(&files).open_log(LogOptions::default()).unwrap();
        assert_eq!(cut.unwrap().cut_bytes, 11);
        assert_eq!(log.next_epoch(), 6);
        assert_eq!(read_log(&files).0, entries(5));
    }
}

#[test]
fn short_writes_are_finished() {
    let files = SimFiles::new();
    let mut log = open_log(&files).unwrap();
    for (nth, len) in [1, 19, 20, 21, 30].into_iter().enumerate() {
        files.fail(Operation::Write, nth as u64, Fault::Short(len));
    }
    for entry in entries(8) {
        log.append(&entry).unwrap();
    }
    drop(log);
    assert_eq!(read_log(&files).0, entries(8));
}

#[test]
fn after_a_failed_fsync_the_writer_is_poisoned_and_a_restart_is_exact() {
    let files = SimFiles::new();
    write_synced(&files, &entries(3), 1 << 20);
    let all = entries(6);
    let mut log = open_log(&files).unwrap();
    log.append(&all[3]).unwrap();
    files.fail(Operation::Sync, 0, Fault::Error(std::io::ErrorKind::Other));
    let error = log.sync().unwrap_err();
    assert!(error.to_string().contains("an fsync failed"), "{error}");
    assert_eq!(log.durable_epoch(), 3);
    assert!(matches!(log.append(&all[4]), Err(StorageError::Poisoned { .. })));
    // The next fsync would succeed, but it must not be trusted.
    assert!(matches!(log.sync(), Err(StorageError::Poisoned { .. })));
    drop(log);
    // The entry can still be read from memory. If the restarted process takes it for true it must be made durable.
    let log = open_log(&files).unwrap();
    let durable = log.durable_epoch();
    assert_eq!(durable, 4);
    drop(log);
    files.crash(1);
    assert_eq!(read_log(&files).0, all[..4]);
}

#[test]
fn every_failing_fsync_and_rename_while_rolling_poisons_and_loses_nothing() {
    for operation in [Operation::Sync, Operation::Rename, Operation::SyncDir, Operation::Open] {
        for seed in 0..20 {
            let files = SimFiles::new();
            let mut log = state(&files).open_log(LogOptions { file_bytes: 50 }).unwrap().0;
            let all = entries(8);
            files.fail(operation, seed % 6, Fault::Error(std::io::ErrorKind::Other));
            let mut durable = 0;
            for entry in &all {
                if log.append(entry).is_err() || log.sync().is_err() {
                    break;
                }
                durable = entry.header.epoch;
            }
            assert!(durable < 8, "the fault was met");
            assert!(matches!(log.append(&all[0]), Err(StorageError::Poisoned { .. })));
            drop(log);
            files.clear_faults();
            files.crash(seed);
            drop(open_log(&files).unwrap());
            let (read, end) = read_log(&files);
            end.unwrap();
            assert!(read.len() as u64 >= durable && read[..] == all[..read.len()]);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let all = entries(40);
    for spare in 0..160 {
        let files = SimFiles::new();
        let mut log = state(&files).open_log(LogOptions { file_bytes: 300 }).unwrap().0;
        let used: u64 = files.paths().iter().map(|path| files.contents(path).unwrap().len() as u64).sum();
        files.set_capacity(Some(used + 500 + spare));
        let mut refused = 0;
        for entry in &all {
            match log.append(entry) {
                Ok(_) => {}
                Err(StorageError::NoSpace { .. }) => {
                    refused += 1;
                    let (path, len) = log.file();
                    assert_eq!(files.contents(path).unwrap().len() as u64, len, "nothing is left behind");
                    assert_eq!(read_log(&files).0.len() as u64, entry.header.epoch - 1);
                    files.set_capacity(None);
                    log.append(entry).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
            log.sync().unwrap();
        }
        assert_eq!(refused, 1);
        drop(log);
        assert_eq!(read_log(&files).0, all);
    }
}
