//! Appends epochs in order and makes them durable; one file at a time, rolled by size.

use std::path::Path;

use tidewater_model::HashKey;

use crate::error::StorageError;
use crate::files::Mode;
use crate::frame::{FileHeader, FrameWriter, Kind, MAX_PAYLOAD, Recovered, create_file};
use crate::log::entry::{self, EpochEntry, EpochHeader};
use crate::log::place::{LogFile, LogPlace};
use crate::log::recovery::{Witness, find_end, wrong_epoch};
use crate::state::Claim;

/// How the log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A file of at least this many bytes is full and a new one begun.
    pub file_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { file_bytes: 256 << 20 }
    }
}

/// The writing end of the log; there is one at a time.
///
/// After [`StorageError::Poisoned`] every later call fails the same way. [`StorageError::NoSpace`] from an append
/// leaves the log as it was, and the same epoch may be appended again.
pub struct LogWriter {
    place: LogPlace,
    key: HashKey,
    options: LogOptions,
    frames: FrameWriter,
    next_epoch: u64,
    next_place: Option<u64>,
    durable_epoch: u64,
    head: Vec<u8>,
    body: Vec<u8>,
    lengths: Vec<u32>,
    _claim: Claim,
}

impl LogWriter {
    pub(crate) fn open(
        place: LogPlace,
        key: HashKey,
        log_starts: u64,
        options: LogOptions,
        witness: Option<&Witness>,
        claim: Claim,
    ) -> Result<(Self, Option<Recovered>), StorageError> {
        let all = place.settle(log_starts)?;
        let is_whole = all.keys().next() == Some(&log_starts);
        let Some((&last, forms)) = all.last_key_value().filter(|_| is_whole) else {
            return Err(first_is_missing(&place, log_starts));
        };
        let path = place.plain_path(last);
        if !forms.is_plain {
            // Only files with a later one behind them are sealed.
            return Err(StorageError::damaged(&path, 0, "the last file of the log is missing"));
        }
        let reader = place.open_plain(last)?;
        let header = *reader.header();
        let end = find_end(reader)?;
        if let Some(witness) = witness.filter(|witness| witness.epoch >= end.next_epoch) {
            return Err(witness.contradicts(&path, &end));
        }
        let blob =
            place.files().open(&path, Mode::Write).map_err(|error| StorageError::io("open", &path, error))?;
        let frames = FrameWriter::resume(blob, &path, header, end.synced, end.offset)?;
        let next_place = match (end.next_place, all.keys().rev().nth(1)) {
            // The last file has no entry yet: the places go on from the file before.
            (None, Some(&before)) => next_place_of(&place, before, last)?,
            (next_place, _) => next_place,
        };
        let writer = Self {
            place,
            key,
            options,
            frames,
            next_epoch: end.next_epoch,
            next_place,
            durable_epoch: end.next_epoch.saturating_sub(1),
            head: Vec::new(),
            body: Vec::new(),
            lengths: Vec::new(),
            _claim: claim,
        };
        Ok((writer, end.cut))
    }

    /// The number the next epoch must have.
    pub fn next_epoch(&self) -> u64 {
        self.next_epoch
    }

    /// The place of the next event: one more than the last event's, 0 in an empty log.
    pub fn next_place(&self) -> u64 {
        self.next_place.unwrap_or(0)
    }

    /// The last epoch that is durable; one less than the log's first if there is none.
    pub fn durable_epoch(&self) -> u64 {
        self.durable_epoch
    }

    /// The path of the file now written to, and its length in bytes.
    pub fn file(&self) -> (&Path, u64) {
        (self.frames.path(), self.frames.len())
    }

    /// The path of the file now written to, and how many bytes of it are durable.
    pub(crate) fn durable_file(&self) -> (&Path, u64) {
        (self.frames.path(), self.frames.synced())
    }

    /// The first epoch of the file now written to.
    pub fn file_starts(&self) -> u64 {
        self.frames.header().base
    }

    /// Appends an epoch; returns how many bytes the log has grown. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if the epoch or its first place is out of order, or the entry larger than
    /// [`MAX_PAYLOAD`](crate::MAX_PAYLOAD); [`StorageError::NoSpace`] and [`StorageError::Poisoned`] as said above.
    pub fn append(&mut self, entry: &EpochEntry) -> Result<u64, StorageError> {
        if entry.events.bytes().len() > MAX_PAYLOAD {
            return Err(too_large(entry.header.epoch));
        }
        let mut start = 0;
        self.lengths.clear();
        self.lengths.extend(entry.events.ends().iter().map(|&end| {
            let len = (end - start) as u32;
            start = end;
            len
        }));
        self.write(&entry.header, Some(entry.events.bytes()))
    }

    /// Appends an epoch whose events lie anywhere: they are copied once, and nothing is allocated for them.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_events<'a>(
        &mut self,
        header: &EpochHeader,
        events: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, StorageError> {
        self.body.clear();
        self.lengths.clear();
        for event in events {
            if self.body.len() + event.len() > MAX_PAYLOAD {
                return Err(too_large(header.epoch));
            }
            self.body.extend_from_slice(event);
            self.lengths.push(event.len() as u32);
        }
        self.write(header, None)
    }

    /// Makes every appended epoch durable.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`]: acknowledge nothing of what was appended since the last success.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.frames.sync()?;
        self.durable_epoch = self.next_epoch - 1;
        Ok(())
    }

    /// Writes the entry of `header`, `self.lengths` and `events` (`None`: those in `self.body`).
    fn write(&mut self, header: &EpochHeader, events: Option<&[u8]>) -> Result<u64, StorageError> {
        self.frames.usable()?;
        if header.epoch != self.next_epoch {
            return Err(StorageError::refused(format!(
                "epoch {} comes next in the log, not {}",
                self.next_epoch, header.epoch
            )));
        }
        if self.next_place.is_some_and(|place| place != header.first_place) {
            return Err(StorageError::refused(format!(
                "place {} comes next in the log, not {}",
                self.next_place(),
                header.first_place
            )));
        }
        self.head.clear();
        entry::encode_head(&mut self.head, header, &self.lengths).map_err(|_| too_large(header.epoch))?;
        if self.frames.len() >= self.options.file_bytes && header.epoch > self.frames.header().base {
            self.roll()?;
        }
        let written = self.frames.append(&self.head, events.unwrap_or(&self.body))?;
        self.next_epoch += 1;
        self.next_place = Some(header.first_place + self.lengths.len() as u64);
        Ok(written)
    }

    /// Begins the next file.
    fn roll(&mut self) -> Result<(), StorageError> {
        // The next file's existence says that this one is durable to its end.
        self.sync()?;
        let path = self.place.plain_path(self.next_epoch);
        let header = FileHeader::new(Kind::Log, self.key, self.next_epoch);
        match create_file(self.place.files(), &path, header) {
            Ok(frames) => self.frames = frames,
            Err(StorageError::NoSpace { path }) => return Err(StorageError::NoSpace { path }),
            Err(error) => return Err(self.frames.poison(error)),
        }
        Ok(())
    }
}

/// The place behind the last event of the full file that begins with `base`, and ends before epoch `next`.
fn next_place_of(place: &LogPlace, base: u64, next: u64) -> Result<Option<u64>, StorageError> {
    let plain = match place.open(base)? {
        LogFile::Plain(plain) => plain,
        LogFile::Sealed(sealed) => {
            let index = sealed.index();
            return match index.next_epoch == next {
                true => Ok(Some(index.next_place)),
                false => Err(StorageError::damaged(sealed.path(), 0, wrong_epoch(index.next_epoch, next))),
            };
        }
    };
    let path = place.plain_path(base);
    let end = find_end(plain)?;
    if let Some(cut) = end.cut {
        return Err(StorageError::damaged(&path, cut.offset, cut.detail));
    }
    if end.next_epoch != next {
        return Err(StorageError::damaged(&path, end.offset, wrong_epoch(end.next_epoch, next)));
    }
    Ok(end.next_place)
}

pub(super) fn first_is_missing(place: &LogPlace, log_starts: u64) -> StorageError {
    StorageError::damaged(&place.plain_path(log_starts), 0, "the first file of the log is missing")
}

fn too_large(epoch: u64) -> StorageError {
    StorageError::refused(format!(
        "epoch {epoch} is larger than one entry may be ({MAX_PAYLOAD} bytes): seal epochs earlier"
    ))
}
