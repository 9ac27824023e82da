//! Torn tails are cut to the valid prefix, damage is an error: at every byte, and never a panic or a wrong entry.

use proptest::prelude::*;

use super::*;

const ONE_FILE: u64 = 1 << 20;

/// Opening and reading must give the first `expected` entries, and the log must then go on as if nothing had been there.
fn check_prefix(files: &SimFiles, all: &[EpochEntry], expected: usize, context: &str) {
    let (read, end) = read_log(files);
    end.unwrap();
    assert_eq!(read[..], all[..expected], "read only, {context}");
    let mut log = open_log(files).unwrap();
    assert_eq!(log.next_epoch(), expected as u64 + 1, "{context}");
    for entry in &all[expected..] {
        log.append(entry).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    files.crash(0);
    assert_eq!(read_log(files).0[..], *all, "after going on, {context}");
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let all = entries(9);
    let files = SimFiles::new();
    let ends = write_synced(&files, &all, ONE_FILE);
    let whole = files.contents(&log_path(1)).unwrap();
    for len in ends[6]..ends[8] {
        let expected = ends.iter().filter(|&&end| end <= len).count();
        let torn = len - ends[expected - 1];
        let cut = files.fork();
        cut.set_contents(&log_path(1), &whole[..len]);
        let (log, recovered) = state(&cut).open_log(LogOptions::default()).unwrap();
        assert_eq!(recovered.as_ref().map_or(0, |cut| cut.cut_bytes), torn as u64);
        assert!(recovered.is_none_or(|cut| cut.offset == ends[expected - 1] as u64));
        drop(log);
        // The same with the rest of the file full of zeros or of garbage, as file systems may leave it.
        for filler in [None, Some(0), Some(0xa7)] {
            let mut bytes = whole[..len].to_vec();
            bytes.extend(std::iter::repeat_n(filler.unwrap_or(0), if filler.is_some() { 50 } else { 0 }));
            cut.set_contents(&log_path(1), &bytes);
            // The filler may happen to be what was cut off.
            let is_whole = |&&end: &&usize| bytes.len() >= end && bytes[..end] == whole[..end];
            let expected = ends.iter().filter(is_whole).count();
            check_prefix(&cut, &all, expected, &format!("cut to {len} bytes, then {filler:?}"));
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_entries_is_an_error_or_cut() {
    let all = entries(9);
    let files = SimFiles::new();
    let ends = write_synced(&files, &all, ONE_FILE);
    let whole = files.contents(&log_path(1)).unwrap();
    for at in ends[6]..ends[8] {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let flipped = files.fork();
            flipped.set_contents(&log_path(1), &bytes);
            if at >= ends[7] {
                check_prefix(&flipped, &all, 8, &format!("bit {bit} of byte {at} flipped"));
                continue;
            }
            // The last entry says that the one before it was durable.
            let (read, end) = read_log(&flipped);
            assert_eq!(read[..], all[..7]);
            let Err(StorageError::Damaged { file, offset, .. }) = end else { panic!("{end:?}") };
            assert_eq!((file, offset), (log_path(1), ends[6] as u64));
            assert!(matches!(open_log(&flipped), Err(StorageError::Damaged { .. })));
            assert_eq!(flipped.contents(&log_path(1)).unwrap(), bytes, "nothing was changed");
        }
    }
}

/// What looks like a torn end is damage if somebody knows of an epoch behind it: nothing is cut off.
#[test]
fn a_log_that_ends_before_what_somebody_knows_of_is_an_error() {
    let all = entries(9);
    let files = SimFiles::new();
    let ends = write_synced(&files, &all, ONE_FILE);
    let whole = files.contents(&log_path(1)).unwrap();
    let acknowledged = files.fork();
    state(&acknowledged).open_acks("a sink").unwrap().0.record(9, b"").unwrap();
    state(&acknowledged).open_acks("another").unwrap().0.record(4, b"").unwrap();
    let checkpointed = files.fork();
    let checkpoints = state(&checkpointed).open_checkpoints().unwrap();
    super::checkpoint::make(&checkpoints, 9, &[]).unwrap();
    drop(checkpoints);
    for (known, says) in [
        (acknowledged, "sink `a sink` has acknowledged epoch 9"),
        (checkpointed, "a checkpoint is of epoch 9"),
    ] {
        assert_eq!(open_log(&known.fork()).unwrap().next_epoch(), 10, "nothing is wrong yet");
        let mut flipped = whole.clone();
        flipped[ends[7] + 30] ^= 1;
        for bytes in [&flipped[..], &whole[..ends[8] - 1], &whole[..ends[7]]] {
            known.set_contents(&log_path(1), bytes);
            let Err(error) = open_log(&known) else { panic!("opened, though {says}") };
            let text = error.to_string();
            assert!(
                matches!(error, StorageError::Damaged { offset, .. } if offset == ends[7] as u64),
                "{text}"
            );
            assert!(text.contains("the log ends with epoch 8") && text.contains(says), "{text}");
            assert_eq!(known.contents(&log_path(1)).unwrap(), bytes, "nothing was changed");
        }
    }
}

#[test]
fn writes_that_reached_the_disk_out_of_order_are_a_torn_tail() {
    let all = entries(12);
    let files = SimFiles::new();
    let ends = write_synced(&files, &all[..6], ONE_FILE);
    // Six more epochs of which nothing was promised: one fsync would have covered them all.
    let mut log = open_log(&files).unwrap();
    let mut unsynced_ends = Vec::new();
    for entry in &all[6..] {
        log.append(entry).unwrap();
        unsynced_ends.push(log.file().1 as usize);
    }
    drop(log);
    let whole = files.contents(&log_path(1)).unwrap();
    for lost in 0..5 {
        let start = if lost == 0 { ends[5] } else { unsynced_ends[lost - 1] };
        let mut bytes = whole.clone();
        bytes[start..unsynced_ends[lost]].fill(0);
        let crashed = files.fork();
        crashed.set_contents(&log_path(1), &bytes);
        check_prefix(&crashed, &all, 6 + lost, &format!("unsynced entry {lost} lost"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_anywhere_is_an_error_or_the_valid_prefix(
        file in 0usize..100,
        at in 0usize..100_000,
        mask in 1u8..=255,
        truncate in prop::bool::weighted(0.2),
    ) {
        let all = entries(40);
        let files = SimFiles::new();
        write_synced(&files, &all, 300);
        let logs: Vec<_> = files.paths().into_iter().filter(|path| path.starts_with("state/log")).collect();
        prop_assert!(logs.len() > 3);
        let path = &logs[file % logs.len()];
        let mut bytes = files.contents(path).unwrap();
        let at = at % bytes.len();
        if truncate { bytes.truncate(at) } else { bytes[at] ^= mask }
        files.set_contents(path, &bytes);
        let (read, end) = read_log(&files);
        prop_assert_eq!(&read[..], &all[..read.len()]);
        let is_last = path == logs.last().unwrap();
        if !is_last {
            let is_damaged = matches!(end, Err(StorageError::Damaged { .. }));
            prop_assert!(is_damaged, "{:?}", end);
        }
        match open_log(&files) {
            Ok(log) => {
                let (after, end) = read_log(&files);
                prop_assert_eq!(&after[..], &all[..after.len()]);
                prop_assert!(!is_last || log.next_epoch() == after.len() as u64 + 1 && end.is_ok());
            }
            Err(error) => prop_assert!(is_last && matches!(error, StorageError::Damaged { .. }), "{error}"),
        }
    }

    #[test]
    fn garbage_in_place_of_any_file_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        keep in 0usize..60,
        which in 0usize..6,
    ) {
        let files = SimFiles::new();
        write_synced(&files, &entries(5), 300);
        let paths = files.paths();
        let path = &paths[which % paths.len()];
        let mut bytes = files.contents(path).unwrap();
        bytes.truncate(keep);
        bytes.extend(garbage);
        files.set_contents(path, &bytes);
        if let Ok(reader) = StateReader::open_with(Arc::new(files.clone()), DIR) {
            let (read, _) = read_all(reader.log(1));
            prop_assert_eq!(&read[..], &entries(5)[..read.len()]);
        }
        if let Ok(state) = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state()) {
            let _ = state.open_log(LogOptions::default()).map(|_| ());
        }
    }
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let all = entries(40);
    let files = SimFiles::new();
    write_synced(&files, &all, 300);
    let logs: Vec<_> = files.paths().into_iter().filter(|path| path.starts_with("state/log")).collect();
    for (index, path) in logs.iter().enumerate().take(logs.len() - 1) {
        let without = files.fork();
        crate::Files::remove(&without, path).unwrap();
        let (read, end) = read_log(&without);
        assert_eq!(read[..], all[..read.len()]);
        let Err(StorageError::Damaged { file, .. }) = end else { panic!("{end:?}") };
        assert_eq!(file, if index == 0 { path.clone() } else { logs[index - 1].clone() });
        assert!(index > 0 || matches!(open_log(&without), Err(StorageError::Damaged { .. })));
    }
    let without = files.fork();
    logs.iter().for_each(|path| crate::Files::remove(&without, path).unwrap());
    assert!(matches!(open_log(&without), Err(StorageError::Damaged { .. })));
    assert!(matches!(read_log(&without).1, Err(StorageError::Damaged { .. })));
}

#[test]
fn a_file_in_the_place_of_another_is_an_error() {
    let files = SimFiles::new();
    write_synced(&files, &entries(40), 300);
    let logs: Vec<_> = files.paths().into_iter().filter(|path| path.starts_with("state/log")).collect();
    files.set_contents(&logs[1], &files.contents(&logs[2]).unwrap());
    assert!(matches!(read_log(&files).1, Err(StorageError::Damaged { offset: 24, .. })));
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    for name in ["meta", "log/00000000000000000001.log"] {
        let files = SimFiles::new();
        write_synced(&files, &entries(2), ONE_FILE);
        let path = PathBuf::from(DIR).join(name);
        let mut bytes = files.contents(&path).unwrap();
        bytes[8..12].copy_from_slice(&7u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        // All that follows may mean something else by then.
        bytes[16..].fill(0x55);
        files.set_contents(&path, &bytes);
        let opened = StateDir::open_with(Arc::new(files.clone()), DIR, &new_state())
            .and_then(|state| state.open_log(LogOptions::default()).map(|_| ()));
        let Err(StorageError::Newer { version: 7, supported: 1, .. }) = opened else { panic!("{opened:?}") };
        assert_eq!(files.contents(&path).unwrap(), bytes);
    }
}

#[test]
fn bytes_of_an_event_that_look_like_an_entry_do_not_pass_for_one() {
    // An entry of another deployment, stored inside an event, then a torn tail: nothing valid follows.
    let other = SimFiles::new();
    let state =
        StateDir::open_with(Arc::new(other.clone()), DIR, &NewState { key: HashKey(99), ..new_state() })
            .unwrap();
    let (mut log, _) = state.open_log(LogOptions::default()).unwrap();
    for entry in entries(5) {
        log.append(&entry).unwrap();
        log.sync().unwrap();
    }
    let foreign = other.contents(&log_path(1)).unwrap();

    let files = SimFiles::new();
    let mut log = open_log(&files).unwrap();
    log.append(&entry(1, 0, &[4])).unwrap();
    log.sync().unwrap();
    let start = log.file().1 as usize;
    log.append_events(&entry(2, 1, &[]).header, [&foreign[..]]).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut bytes = files.contents(&log_path(1)).unwrap();
    bytes[start] ^= 1;
    files.set_contents(&log_path(1), &bytes);
    check_prefix(&files, &[entry(1, 0, &[4])], 1, "foreign entry inside an event");
}
