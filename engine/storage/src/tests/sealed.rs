//! Sealed files: read back from any epoch and by time, whole or an error at every byte, and retired without a gap.

use proptest::prelude::*;

use super::*;
use crate::sim::{Fault, Operation};

/// A log of some files, all but the last one sealed; returns their first epochs.
fn sealed_log(all: &[EpochEntry], file_bytes: u64) -> (SimFiles, Vec<u64>) {
    let files = SimFiles::new();
    write_synced(&files, all, file_bytes);
    let archive = state(&files).open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    seal_all(&archive).unwrap();
    (files, full)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_mix_of_plain_and_sealed_files_is_read_from_any_epoch_and_by_time(
        shapes in prop::collection::vec(prop::collection::vec(0usize..400, 0..6), 1..40),
        file_bytes in 100u64..4000,
        which in prop::collection::vec(any::<bool>(), 40),
        from in 1u64..45,
        accepted in (-45i64..5, -45i64..5),
    ) {
        let mut place = 0;
        let all: Vec<EpochEntry> = (1..).zip(&shapes).map(|(epoch, lengths)| {
            place += lengths.len() as u64;
            entry(epoch, place - lengths.len() as u64, lengths)
        }).collect();
        let files = SimFiles::new();
        write_synced(&files, &all, file_bytes);
        let archive = state(&files).open_log_archive().unwrap();
        for (base, _) in archive.unsealed().unwrap().into_iter().zip(&which).filter(|(_, is_sealed)| **is_sealed) {
            let sealed = archive.seal(base, &mut || true).unwrap().unwrap();
            prop_assert_eq!(sealed.first_epoch, base);
            prop_assert!(files.contents(&log_path(base)).is_none());
            prop_assert_eq!(files.contents(&sealed_path(base)).unwrap().len() as u64, sealed.bytes);
        }
        drop(archive);
        let (read, end) = read_all(reader(&files).log(from));
        end.unwrap();
        prop_assert_eq!(&read[..], &all[all.len().min(from as usize - 1)..]);
        let (least, most) = (Timestamp(accepted.0), Timestamp(accepted.1));
        let log = reader(&files).log(1).map(|log| log.accepted(least, most));
        let (read, end) = read_all(log);
        end.unwrap();
        let within = |entry: &&EpochEntry| least <= entry.header.accepted_at && entry.header.accepted_at <= most;
        prop_assert_eq!(read, all.iter().filter(within).cloned().collect::<Vec<_>>());
        // Opening for writing finds the same end, also where the last file has no entry yet.
        let mut log = open_log(&files).unwrap();
        prop_assert_eq!((log.next_epoch(), log.next_place()), (all.len() as u64 + 1, place));
        log.append(&entry(all.len() as u64 + 1, place, &[3])).unwrap();
    }
}

#[test]
fn many_blocks_are_found_by_epoch_and_only_those_wanted_are_read() {
    let lengths = [200_000; 3];
    let all: Vec<EpochEntry> = (1..=12).map(|epoch| entry(epoch, (epoch - 1) * 3, &lengths)).collect();
    let (files, full) = sealed_log(&all, 5 << 20);
    assert_eq!(full, [1]);
    for from in 1..=12 {
        let (read, end) = read_all(reader(&files).log(from));
        end.unwrap();
        assert!(read[..] == all[from as usize - 1..]);
    }
    let reads = |files: &SimFiles| files.count(Operation::Read);
    let before = reads(&files);
    assert!(read_log(&files).1.is_ok());
    let whole = reads(&files) - before;
    let log = reader(&files).log(1).unwrap().accepted(Timestamp(-8), Timestamp(-8));
    let before = reads(&files);
    assert!(read_all(Ok(log)).0[..] == all[7..8]);
    assert!(reads(&files) - before < whole, "blocks of other times are passed over");
}

#[test]
fn a_sealed_file_flipped_or_cut_at_any_byte_is_an_error_or_heals_from_the_plain_one() {
    let all = entries(14);
    let plain = SimFiles::new();
    write_synced(&plain, &all, 250);
    let (files, full) = sealed_log(&all, 250);
    let base = full[1];
    let path = sealed_path(base);
    let whole = files.contents(&path).unwrap();
    let damaged = |at: usize, is_cut: bool| {
        let mut bytes = whole.clone();
        if is_cut {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 1 << (at % 8)
        }
        let files = files.fork();
        files.set_contents(&path, &bytes);
        files
    };
    for (at, is_cut) in (0..whole.len()).flat_map(|at| [(at, false), (at, true)]) {
        let context = format!("byte {at} of {}, cut: {is_cut}", whole.len());
        let files = damaged(at, is_cut);
        let (read, end) = read_log(&files);
        assert!(read.len() as u64 >= base - 1 && read[..] == all[..read.len()], "{context}");
        let Err(StorageError::Damaged { file, offset, .. }) = end else { panic!("{end:?} {context}") };
        assert!(file == path && offset <= at as u64, "{} {offset} {context}", file.display());
        // The crash was between the sealed file's name and the end of the plain one.
        files.set_contents(&log_path(base), &plain.contents(&log_path(base)).unwrap());
        assert_eq!(read_log(&files).0, all, "{context}");
        drop(open_log(&files).unwrap());
        assert!(files.contents(&path).is_none(), "{context}");
        assert_eq!(read_log(&files).0, all, "{context}");
        seal_all(&state(&files).open_log_archive().unwrap()).unwrap();
        assert_eq!(files.contents(&path).unwrap(), whole, "{context}");
    }
}

#[test]
fn a_plain_file_left_beside_its_whole_sealed_one_goes_with_the_next_opening() {
    let all = entries(14);
    let plain = SimFiles::new();
    write_synced(&plain, &all, 250);
    let (files, full) = sealed_log(&all, 250);
    files.set_contents(&log_path(full[0]), &plain.contents(&log_path(full[0])).unwrap());
    assert_eq!(read_log(&files).0, all);
    drop(open_log(&files).unwrap());
    assert!(files.contents(&log_path(full[0])).is_none() && files.contents(&sealed_path(full[0])).is_some());
    assert_eq!(read_log(&files).0, all);
}

#[test]
fn a_damaged_plain_file_is_not_sealed() {
    let files = SimFiles::new();
    write_synced(&files, &entries(14), 250);
    let archive = state(&files).open_log_archive().unwrap();
    let base = archive.unsealed().unwrap()[1];
    let mut bytes = files.contents(&log_path(base)).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 4;
    files.set_contents(&log_path(base), &bytes);
    let error = archive.seal(base, &mut || true).unwrap_err();
    assert!(matches!(&error, StorageError::Damaged { file, .. } if *file == log_path(base)), "{error}");
    assert_eq!(files.contents(&log_path(base)).unwrap(), bytes);
    assert!(files.contents(&sealed_path(base)).is_none());
}

#[test]
fn sealing_that_is_told_to_stop_leaves_nothing() {
    let all: Vec<EpochEntry> = (1..=6).map(|epoch| entry(epoch, epoch - 1, &[900_000])).collect();
    let files = SimFiles::new();
    write_synced(&files, &all, 3 << 20);
    let archive = state(&files).open_log_archive().unwrap();
    let before = files.paths();
    let mut asked = 0;
    let stopped = archive
        .seal(1, &mut || {
            asked += 1;
            asked < 2
        })
        .unwrap();
    assert_eq!((stopped, asked, files.paths()), (None, 2, before));
}

#[test]
fn every_failing_call_and_crash_while_sealing_and_retiring_loses_nothing() {
    let all = entries(20);
    let operations = [
        Operation::Open,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
    ];
    let mut faults = 0;
    for (operation, nth, seed) in operations
        .iter()
        .flat_map(|operation| (0..25).flat_map(move |nth| (0..6).map(move |seed| (*operation, nth, seed))))
    {
        let files = SimFiles::new();
        write_synced(&files, &all, 250);
        let archive = state(&files).open_log_archive().unwrap();
        let full = archive.unsealed().unwrap();
        files.fail(operation, nth, Fault::Error(std::io::ErrorKind::Other));
        let done = seal_all(&archive).and_then(|()| archive.retire(full[2]));
        faults += u64::from(done.is_err());
        drop(archive);
        files.clear_faults();
        files.crash(seed);
        let begins = reader(&files).log_starts().unwrap();
        assert!(begins == full[2] || begins == 1 && done.is_err(), "{operation:?} {nth} {seed}: {begins}");
        let expected = &all[begins as usize - 1..];
        let (read, end) = read_all(reader(&files).log(begins));
        end.unwrap();
        assert_eq!(read, expected, "{operation:?} {nth} {seed}");
        // The next life finishes what was begun.
        let state = state(&files);
        let (log, _) = state.open_log(LogOptions { file_bytes: 250 }).unwrap();
        assert_eq!(log.next_epoch(), 21);
        let archive = state.open_log_archive().unwrap();
        seal_all(&archive).unwrap();
        archive.retire(full[2]).unwrap();
        let kept = |path: &PathBuf| path.extension().is_some_and(|end| end == "sealed");
        let names: Vec<PathBuf> = files.paths().into_iter().filter(kept).collect();
        assert_eq!(names, full[2..].iter().map(|base| sealed_path(*base)).collect::<Vec<_>>());
        let plain = files.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
        assert_eq!(plain.count(), 1, "the one that is written to");
        drop((log, archive, state));
        files.crash(seed + 100);
        assert_eq!(read_all(reader(&files).log(full[2])).0, all[full[2] as usize - 1..]);
    }
    assert!(faults > 200, "the faults were met: {faults}");
}

#[test]
fn only_whole_sealed_files_at_the_front_are_retired() {
    let all = entries(20);
    let files = SimFiles::new();
    write_synced(&files, &all, 250);
    let archive = state(&files).open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    for base in [full[0], full[2]] {
        archive.seal(base, &mut || true).unwrap();
    }
    let (sealed, bytes) = archive.sealed().unwrap();
    assert_eq!(sealed.iter().map(|file| file.first_epoch).collect::<Vec<_>>(), [full[0]]);
    assert_eq!((sealed[0].next_epoch, sealed[0].accepted_until), (full[1], Timestamp(-1)));
    let logs = files.paths().into_iter().filter(|path| path.starts_with("state/log"));
    assert_eq!(bytes, logs.map(|path| files.contents(&path).unwrap().len() as u64).sum::<u64>());
    let refused = |at: u64| matches!(archive.retire(at), Err(StorageError::Refused { .. }));
    assert!(refused(full[2]), "the second one is not sealed");
    assert!(refused(full[1] + 1), "no file begins there");
    archive.retire(full[1]).unwrap();
    assert!(refused(full[0]), "it does not come back");
    let end = read_all(reader(&files).log(1)).1;
    assert!(end.unwrap_err().to_string().contains(&format!("the log begins at epoch {}", full[1])));
    assert_eq!(read_all(reader(&files).log(full[1])).0, all[full[1] as usize - 1..]);
}

#[test]
fn a_reader_goes_on_while_files_are_sealed_and_retired_under_it() {
    let all = entries(30);
    let files = SimFiles::new();
    write_synced(&files, &all, 250);
    let stale = reader(&files);
    let archive = state(&files).open_log_archive().unwrap();
    let full = archive.unsealed().unwrap();
    let mut log = stale.log(1).unwrap();
    let mut read = EpochEntry::default();
    assert!(log.read(&mut read).unwrap());
    seal_all(&archive).unwrap();
    for expected in &all[1..full[3] as usize - 1] {
        assert!(log.read(&mut read).unwrap());
        assert_eq!(read, *expected);
    }
    archive.retire(full[5]).unwrap();
    let end = std::iter::repeat_with(|| log.read(&mut read)).find(|read| !matches!(read, Ok(true)));
    let error = end.unwrap().unwrap_err();
    assert!(
        matches!(&error, StorageError::Refused { detail } if detail.contains("no longer in it")),
        "{error}"
    );
    // One that was opened before the files were retired begins where the log does now.
    assert_eq!(read_all(stale.log(stale.log_starts().unwrap())).0, all[full[5] as usize - 1..]);
}

#[test]
fn an_event_that_was_taken_out_keeps_its_place() {
    let all = [entry(1, 0, &[40, 0, 30]), entry(2, 3, &[60]), entry(3, 4, &[300]), entry(4, 5, &[5])];
    let (files, _) = sealed_log(&all, 200);
    let (read, end) = read_log(&files);
    end.unwrap();
    assert_eq!(read, all);
    assert_eq!((read[0].events.len(), read[0].events.get(1)), (3, Some(&[][..])));
}
