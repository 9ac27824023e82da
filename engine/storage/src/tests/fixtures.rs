//! One state directory of every format version ever released, opened from then on.

use std::path::Path;

use super::*;
use crate::{Ack, Appended, Filter, NewRecord, QuarantineOptions, Record};

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v{version}"))
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
    drop((log, quarantine, acks, state));
    std::fs::remove_file(path.join("lock")).unwrap();
    std::fs::remove_dir(path.join("outbox")).unwrap();
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
    assert!(state.open_outbox("updates", Default::default()).unwrap().is_empty());
}

#[test]
fn this_release_still_writes_version_1_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    write_sample(directory.path());
    // Set this variable to see what a new version's fixture would be.
    if let Some(target) = std::env::var_os("TIDEWATER_WRITE_FIXTURE") {
        copy(directory.path(), Path::new(&target));
    }
    for name in ["meta", "quarantine/records", "acks/updates", "log/00000000000000000001.log"] {
        let written = std::fs::read(directory.path().join(name)).unwrap();
        assert_eq!(written, std::fs::read(fixture(1).join(name)).unwrap(), "{name}");
    }
}
