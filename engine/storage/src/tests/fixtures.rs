//! One state directory of every format version ever released, opened from then on.

use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::{
    Ack, Appended, DeadLetterOptions, Filter, Manifest, NewBatch, NewDeadLetter, NewRecord, OutboxOptions,
    Pushed, QuarantineOptions, Record, Span, StateFile, StoredDeadLetter,
};

/// A test runs in its package, wherever it was built: checkouts may share a cache.
fn fixture(version: u32) -> PathBuf {
    format!("fixtures/v{version}").into()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn check(reader: &StateReader) {
    assert_eq!(reader.meta().key, new_state().key);
    assert_eq!(reader.meta().deployment, 42);
    assert_eq!(reader.meta().definitions, b"defs");
    let (read, end) = read_all(reader.log(1));
    end.unwrap();
    assert_eq!(read, entries(12));
    let records: Vec<Record> = reader.quarantine(Filter::All).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(
        (records[1].id, records[1].reason.as_str(), &records[1].bytes[..]),
        (3, "no_time", &b"{\"n\":3}"[..])
    );
    assert_eq!((records[1].source.as_str(), records[1].received_at), ("web", Timestamp(1003)));
    assert!(records[1].is_whole());
    let ack = Ack { epoch: 11, position: b"offset 11".to_vec() };
    assert_eq!(reader.ack("updates").unwrap(), Some(ack));
    let manifests: Vec<Manifest> = reader.checkpoints().unwrap().into_iter().map(Result::unwrap).collect();
    let files: Vec<StateFile> = manifests[0].files.clone();
    assert_eq!(manifests, [manifest(9, files.clone()), manifest(6, files[1..].to_vec())]);
    for file in files {
        let (mut read, mut reader) = (Vec::new(), reader.state_file(&file).unwrap());
        while let Some(piece) = reader.read().unwrap() {
            read.push(piece);
        }
        assert_eq!(read, pieces(file.epoch));
    }
    let found: Vec<_> = reader.dead_letters("ads").unwrap().map(Result::unwrap).collect();
    let reason = |reason: &str| reason.to_owned();
    let letters = [
        StoredDeadLetter { is_marked: true, ..letter(1) },
        StoredDeadLetter {
            superseded_by: Some(8),
            reason: reason("again"),
            attempts: 4,
            last_failed_at: Timestamp(9),
            ..letter(2)
        },
        letter(3),
        letter(5),
    ];
    assert_eq!(found, letters);
}

/// Of these epochs, the first one in one piece.
const WAITING: [(u64, &[u8]); 2] = [(10, b"deltas"), (11, b"deltas in several pieces")];

fn letter(epoch: u64) -> StoredDeadLetter {
    StoredDeadLetter {
        id: epoch,
        epoch,
        cause: "refused".to_owned(),
        reason: "422".to_owned(),
        attempts: 3,
        first_failed_at: Timestamp(5),
        last_failed_at: Timestamp(6),
        superseded_by: None,
        is_marked: false,
        context: b"names".to_vec(),
        bytes: vec![epoch as u8; 4],
    }
}

/// What is left to be delivered to a sink, and what it would not take.
fn write_deliveries(state: &StateDir) {
    let options = OutboxOptions { piece_bytes: 8, ..OutboxOptions::default() };
    let (mut outbox, _) = state.open_outbox("ads", options, 9).unwrap();
    for (epoch, bytes) in WAITING {
        let batch = NewBatch { after: epoch - 1, epoch, context: b"names", bytes };
        assert_eq!(outbox.push(batch, false).unwrap(), Pushed::Queued);
    }
    outbox.quiet(11, 12).unwrap();
    let synced = outbox.unsynced().sync().unwrap();
    outbox.synced(synced);
    let options = DeadLetterOptions { max_bytes: 1 << 20 };
    let (mut letters, _) = state.open_dead_letters("ads", options).unwrap();
    for epoch in 1..=5 {
        let letter = letter(epoch);
        let new = NewDeadLetter {
            epoch,
            cause: "refused",
            reason: &letter.reason,
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            context: &letter.context,
            bytes: &letter.bytes,
        };
        assert_eq!(letters.append(&new).unwrap(), Appended::Stored(epoch));
    }
    letters.sync().unwrap();
    letters.mark(&BTreeSet::from([1, 2])).unwrap();
    letters.failed(2, "again", 4, Timestamp(9)).unwrap();
    letters.superseded(&BTreeSet::from([2, 3]), 8).unwrap();
    letters.restore(&BTreeSet::from([3])).unwrap();
    letters.remove(&BTreeSet::from([4])).unwrap();
}

/// The pieces of a checkpoint's state file: one that is empty, one that can't be compressed, one that can.
fn pieces(epoch: u64) -> Vec<(u8, Vec<u8>)> {
    vec![
        (2, Vec::new()),
        (1, b"piece of ".iter().copied().chain([epoch as u8]).collect()),
        (127, vec![7; 500]),
    ]
}

fn manifest(epoch: u64, files: Vec<StateFile>) -> Manifest {
    Manifest {
        epoch,
        now: Timestamp(1_700_000_000_000),
        latest: Timestamp(-5),
        dedup_half: -3,
        next_place: 300,
        positions: vec![("web".to_owned(), vec![1, 2]), ("files".to_owned(), Vec::new())],
        definitions: b"defs".to_vec(),
        delivered: vec!["updates".to_owned()],
        files,
        is_base: false,
    }
}

/// Writes the directory that `fixtures/v1` is a copy of. To add a version: write it to a new place under a new number.
fn write_sample(path: &Path) {
    let state = StateDir::open(path, &new_state()).unwrap();
    let (mut log, _) = state.open_log(LogOptions { file_bytes: 250 }).unwrap();
    for entry in entries(12) {
        log.append(&entry).unwrap();
        log.sync().unwrap();
    }
    let (mut quarantine, _) = state.open_quarantine(QuarantineOptions::default()).unwrap();
    for n in 1..=3 {
        let bytes = format!("{{\"n\":{n}}}");
        let new = NewRecord {
            reason: if n == 1 { "bad_time" } else { "no_time" },
            source: "web",
            received_at: Timestamp(1000 + n),
            bytes: bytes.as_bytes(),
            original_len: bytes.len() as u64,
        };
        assert_eq!(quarantine.append(&new).unwrap(), Appended::Stored(n as u64));
    }
    quarantine.mark_redriven(&Filter::Reason("bad_time".to_owned())).unwrap();
    let (mut acks, _) = state.open_acks("updates").unwrap();
    acks.record(10, b"offset 10").unwrap();
    acks.record(11, b"offset 11").unwrap();
    let checkpoints = state.open_checkpoints().unwrap();
    let mut files = Vec::new();
    for epoch in [6, 9] {
        let append = |writer: &mut crate::StateFileWriter<'_>| {
            pieces(epoch).iter().try_for_each(|(kind, piece)| writer.append(*kind, piece))
        };
        files.insert(0, checkpoints.write_state(epoch, append).unwrap());
        checkpoints.commit(&manifest(epoch, files.clone())).unwrap();
    }
    write_deliveries(&state);
    drop((log, quarantine, acks, checkpoints, state));
    std::fs::remove_file(path.join("lock")).unwrap();
}

#[test]
fn every_released_version_opens() {
    let directory = tempfile::tempdir().unwrap();
    let version = 1;
    check(&StateReader::open(fixture(version)).unwrap());
    copy(&fixture(version), directory.path());
    let state = StateDir::open(directory.path(), &new_state()).unwrap();
    let (mut log, cut) = state.open_log(LogOptions::default()).unwrap();
    assert_eq!((cut, log.next_epoch()), (None, 13));
    log.append(&entries(13)[12]).unwrap();
    log.sync().unwrap();
    assert_eq!(read_all(state.reader().log(1)).0, entries(13));
    assert_eq!(state.open_quarantine(QuarantineOptions::default()).unwrap().0.len(), 2);
    assert_eq!(state.open_acks("updates").unwrap().0.last().unwrap().epoch, 11);
    assert!(state.open_outbox("updates", Default::default(), 11).unwrap().0.is_empty());
    let (mut outbox, cut) = state.open_outbox("ads", Default::default(), 9).unwrap();
    assert_eq!((cut, outbox.span()), (None, Span { after: 9, through: 12 }));
    for (epoch, bytes) in WAITING {
        let batch = outbox.pop(epoch - 1).unwrap().unwrap();
        assert_eq!((batch.epoch, &batch.context[..], &batch.bytes[..]), (epoch, &b"names"[..], bytes));
    }
    let options = DeadLetterOptions { max_bytes: 1 << 20 };
    assert_eq!(state.open_dead_letters("ads", options).unwrap().0.len(), 4);
}

#[test]
fn this_release_still_writes_version_1_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    write_sample(directory.path());
    // State files are left out: another version of zstd may make something else of them, and of their lengths.
    let names = [
        "meta",
        "quarantine/records",
        "acks/updates",
        "log/00000000000000000001.log",
        "outbox/ads/00000000000000000000",
        "dead_letters/ads",
    ];
    for name in names {
        let written = std::fs::read(directory.path().join(name)).unwrap();
        assert_eq!(written, std::fs::read(fixture(1).join(name)).unwrap(), "{name}");
    }
    // Set this variable to see what a new version's fixture would be.
    if let Some(target) = std::env::var_os("TIDEWATER_WRITE_FIXTURE") {
        copy(directory.path(), Path::new(&target));
        copy(&sealed(directory.path()), &Path::new(&target).join("log-sealed"));
    }
}

/// Seals the log of a directory; returns where the files are.
fn sealed(path: &Path) -> PathBuf {
    let archive = StateDir::open(path, &new_state()).unwrap().open_log_archive().unwrap();
    seal_all(&archive).unwrap();
    path.join("log")
}

/// Bytes of sealed files depend on the release of zstd, what they hold does not.
#[test]
fn sealed_files_of_version_1_are_read_and_still_written_so() {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(1), directory.path());
    let old = directory.path().join("log-sealed");
    let mut count = 0;
    for entry in std::fs::read_dir(&old).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(base) = name.strip_suffix(".sealed") else { continue };
        std::fs::remove_file(directory.path().join(format!("log/{base}.log"))).unwrap();
        std::fs::rename(old.join(&name), directory.path().join("log").join(&name)).unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
    check(&StateReader::open(directory.path()).unwrap());
    let written = tempfile::tempdir().unwrap();
    write_sample(written.path());
    let infos = |path: &Path| {
        let archive = StateDir::open(path, &new_state()).unwrap().open_log_archive().unwrap();
        let sealed = archive.sealed().unwrap().0;
        sealed.iter().map(|file| (file.first_epoch, file.next_epoch, file.raw_bytes)).collect::<Vec<_>>()
    };
    sealed(written.path());
    assert_eq!(infos(written.path()), infos(directory.path()));
}
