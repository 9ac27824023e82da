//! What of an outbox counts after a start: all that follows without a gap on what the sink has acknowledged.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;

use super::entry::{Entry, Pieces, decode};
use super::reader::PIECE_MISSING;
use super::{Kept, file_name};
use crate::error::StorageError;
use crate::files::{Files, Mode};
use crate::frame::{FILE_HEADER_LEN, FrameReader, FrameWriter, Kind, Recovered, Step};

/// What was found.
pub(super) struct Found {
    pub(super) kept: VecDeque<Kept>,
    pub(super) next_number: u64,
    pub(super) through: u64,
    /// Behind what is acknowledged.
    pub(super) batches: u64,
    pub(super) bytes: u64,
    pub(super) recovered: Option<Recovered>,
}

impl Found {
    fn new(next_number: u64, acknowledged: u64) -> Self {
        Self {
            kept: VecDeque::new(),
            next_number,
            through: acknowledged,
            batches: 0,
            bytes: 0,
            recovered: None,
        }
    }
}

/// The valid beginning of one file.
struct Scanned {
    number: u64,
    header: crate::frame::FileHeader,
    last: u64,
    synced: u64,
    end: u64,
}

/// Reads all files, cuts off what does not count, and makes durable what does.
pub(super) fn recover(files: &dyn Files, directory: &Path, acknowledged: u64) -> Result<Found, StorageError> {
    let numbers = numbers(files, directory)?;
    let mut found = Found::new(numbers.last().map_or(0, |last| last + 1), acknowledged);
    let mut durable_before = 0;
    let mut scanned = Vec::new();
    for &number in &numbers {
        if found.recovered.is_none() {
            let path = directory.join(file_name(number));
            match scan(files, &path, number, &mut found, &mut durable_before) {
                Ok(file) => scanned.push(file),
                // A file that a crash has left without a header.
                Err(StorageError::Damaged { file, offset, detail }) => {
                    found.recovered = Some(Recovered { file, offset, cut_bytes: 0, detail });
                }
                Err(error) => return Err(error),
            }
        }
        if scanned.last().is_none_or(|file| file.number != number) {
            remove(files, &directory.join(file_name(number)))?;
        }
    }
    for file in scanned {
        let path = directory.join(file_name(file.number));
        if file.last <= acknowledged {
            remove(files, &path)?;
            continue;
        }
        let is_cut = found.recovered.as_ref().is_some_and(|recovered| recovered.file == path);
        if file.number >= durable_before || is_cut {
            let blob =
                files.open(&path, Mode::Write).map_err(|error| StorageError::io("open", &path, error))?;
            FrameWriter::resume(blob, &path, file.header, file.synced, file.end)?;
        }
        found.kept.push_back(Kept { number: file.number, last: file.last });
    }
    files.sync_dir(directory).map_err(|error| StorageError::io("sync", directory, error))?;
    Ok(found)
}

/// Up to which epoch everything is there for a sink that has acknowledged this one. Changes nothing.
pub(super) fn through(files: &dyn Files, directory: &Path, acknowledged: u64) -> Result<u64, StorageError> {
    let is_gone = |error: &StorageError| matches!(error, StorageError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    let numbers = match numbers(files, directory) {
        // Nothing was ever kept for it.
        Err(error) if is_gone(&error) => return Ok(acknowledged),
        numbers => numbers?,
    };
    let (mut found, mut durable_before) = (Found::new(0, acknowledged), 0);
    for number in numbers {
        match scan(files, &directory.join(file_name(number)), number, &mut found, &mut durable_before) {
            Ok(_) if found.recovered.is_none() => {}
            // An engine that runs has removed it: the sink has acknowledged all of it.
            Err(error) if is_gone(&error) => {}
            Ok(_) | Err(StorageError::Damaged { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found.through)
}

/// Reads a file up to the first entry that does not count, which it notes as where the outbox was cut off.
fn scan(
    files: &dyn Files,
    path: &Path,
    number: u64,
    found: &mut Found,
    durable_before: &mut u64,
) -> Result<Scanned, StorageError> {
    let mut reader = FrameReader::open(files, path, Kind::Outbox)?;
    let header = *reader.header();
    let mut file = Scanned { number, header, last: 0, synced: FILE_HEADER_LEN, end: FILE_HEADER_LEN };
    let (mut payload, mut pieces) = (Vec::new(), Pieces::default());
    let detail = loop {
        let frame = match reader.next(&mut payload, 0)? {
            Step::End => return Ok(file),
            Step::Bad(detail) => break detail,
            Step::Frame(frame) => frame,
        };
        let Ok((entry, _)) = decode(&reader, &payload) else { break "an entry cannot be decoded" };
        let size = frame.end - frame.offset;
        let (entry, size) = match entry {
            Entry::Rest { after, epoch, pieces: count } => match pieces.take(count) {
                Some(pieces) => (Entry::Batch { after, epoch }, pieces.size + size),
                None => break PIECE_MISSING,
            },
            entry => (entry, size),
        };
        match entry {
            Entry::Piece { number } if !pieces.add(number, &[], size) => break PIECE_MISSING,
            Entry::Piece { .. } | Entry::Rest { .. } => {}
            Entry::Context { durable_before: before } => *durable_before = before.max(*durable_before),
            // Acknowledged, or no news.
            Entry::Batch { epoch: last, .. } | Entry::Quiet { through: last, .. }
                if last <= found.through =>
            {
                file.last = file.last.max(last);
            }
            Entry::Batch { after, .. } | Entry::Quiet { after, .. } if after > found.through => {
                break "what should stand before it is missing";
            }
            Entry::Batch { epoch, .. } => {
                (found.through, file.last) = (epoch, epoch);
                found.batches += 1;
                found.bytes += size;
            }
            Entry::Quiet { through, .. } => (found.through, file.last) = (through, through),
        }
        (file.synced, file.end) = (frame.synced, frame.end);
    };
    let cut_bytes = reader.len() - file.end;
    let (offset, detail) = (file.end, detail.to_owned());
    found.recovered = Some(Recovered { file: path.to_owned(), offset, cut_bytes, detail });
    Ok(file)
}

fn numbers(files: &dyn Files, directory: &Path) -> Result<Vec<u64>, StorageError> {
    let names = files.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
    let mut numbers: Vec<u64> =
        names.iter().filter(|name| name.len() == 20).filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn remove(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
    files.remove(path).map_err(|error| StorageError::io("remove", path, error))
}
