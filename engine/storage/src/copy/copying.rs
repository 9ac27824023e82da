//! A copy under way: the parts of a state directory one by one, in the order that its caller sees to.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use super::holds::Holds;
use super::{Copied, Extent, UNFINISHED, check_finished};
use crate::checkpoint;
use crate::error::StorageError;
use crate::files::{Blob, Files, Locking, Mode, read_full, write_full};
use crate::frame::SYNC_BYTES;
use crate::log::place::LogPlace;
use crate::state::{ACKS, CHECKPOINTS, DEAD_LETTERS, LOCK, LOG, OUTBOX, QUARANTINE, QUARANTINE_RECORDS};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// A file that is open, and how long it is.
type Opened = (Box<dyn Blob>, u64);

/// A copy under way.
pub(super) struct Copying<'a> {
    files: &'a dyn Files,
    from: &'a Path,
    to: &'a Path,
    pub(super) done: Copied,
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

impl<'a> Copying<'a> {
    /// Takes the directory and says that what is in it is unfinished.
    pub(super) fn begin(files: &'a dyn Files, from: &'a Path, to: &'a Path) -> Result<Self, StorageError> {
        files.create_dir(to).map_err(|error| StorageError::io("create", to, error))?;
        check_finished(files, to)?;
        let names = files.list(to).map_err(|error| StorageError::io("list", to, error))?;
        if !names.is_empty() {
            return Err(StorageError::NotEmpty { directory: to.to_owned() });
        }
        let lock = match files.lock(&to.join(LOCK)) {
            Ok(Locking::Held(lock)) => lock,
            Ok(Locking::Busy { holder }) => {
                return Err(StorageError::Locked { directory: to.to_owned(), holder });
            }
            Err(error) => return Err(StorageError::io("lock", to, error)),
        };
        let copy = Self { files, from, to, done: Copied::default(), _lock: lock };
        let marker = to.join(UNFINISHED);
        let made = files.open(&marker, Mode::Create).and_then(|mut marker| marker.sync());
        made.map_err(|error| StorageError::io("create", &marker, error))?;
        copy.sync(to)?;
        for name in [LOG, QUARANTINE, ACKS, OUTBOX, CHECKPOINTS] {
            let directory = to.join(name);
            files.create_dir(&directory).map_err(|error| StorageError::io("create", &directory, error))?;
        }
        Ok(copy)
    }

    /// Every checkpoint of which all files are there.
    pub(super) fn checkpoints(&mut self) -> Result<(), StorageError> {
        let directory = self.from.join(CHECKPOINTS);
        let mut there: BTreeSet<u64> = BTreeSet::new();
        for manifest in checkpoint::manifests(self.files, &directory)?.into_iter().flatten() {
            let mut names = Vec::new();
            let mut is_whole = true;
            for file in &manifest.files {
                if is_whole && !there.contains(&file.epoch) {
                    is_whole =
                        self.share_if_there(&checkpoint::state_path(Path::new(CHECKPOINTS), file.epoch))?;
                    names.push(file.epoch);
                }
            }
            if is_whole {
                there.extend(names);
                self.share_if_there(&checkpoint::manifest_path(Path::new(CHECKPOINTS), manifest.epoch))?;
            }
        }
        self.sync(&self.to.join(CHECKPOINTS))
    }

    /// What waits for sinks, and then what they have acknowledged: what has gone from an outbox in between an acknowledgement
    /// covers, which the other way round would be missing.
    pub(super) fn sinks(&mut self, holds: &Holds) -> Result<(), StorageError> {
        let sinks = self.names(Path::new(ACKS))?;
        for sink in &sinks {
            self.outbox(&Path::new(OUTBOX).join(sink))?;
        }
        self.sync(&self.to.join(OUTBOX))?;
        let letters = self.to.join(DEAD_LETTERS);
        self.files.create_dir(&letters).map_err(|error| StorageError::io("create", &letters, error))?;
        for sink in &sinks {
            self.ack_and_letters(sink, holds)?;
        }
        self.sync(&letters)?;
        self.sync(&self.to.join(ACKS))
    }

    /// The files of an outbox, of which the last may be being written to: it ends with its last whole record.
    fn outbox(&mut self, name: &Path) -> Result<(), StorageError> {
        let to = self.to.join(name);
        self.files.create_dir(&to).map_err(|error| StorageError::io("create", &to, error))?;
        for file in self.names(name)? {
            if let Some((mut blob, bytes)) = self.open_if_there(&name.join(&file))? {
                self.add(&mut *blob, bytes, &to.join(file))?;
            }
        }
        self.sync(&to)
    }

    /// The acknowledgement of a sink with the dead letters as they were then. Any later ones could lack a letter that was
    /// delivered since, where the destination is set back to what is acknowledged; any earlier ones lack a letter that the
    /// acknowledgement has moved past.
    fn ack_and_letters(&mut self, sink: &str, holds: &Holds) -> Result<(), StorageError> {
        let (acks, letters) = (Path::new(ACKS).join(sink), Path::new(DEAD_LETTERS).join(sink));
        // Until no letter is written for the microseconds of one round; each that is written is followed by an fsync.
        let (ack, letter) = loop {
            let replaced = holds.count_replaced();
            let mut letter = self.open_replaced(&letters)?;
            let ack = self.open_replaced(&acks)?;
            let is_as_before = match &mut letter {
                Some((blob, bytes)) => self.len(&mut **blob, &letters)? == *bytes,
                None => true,
            };
            if is_as_before && holds.count_replaced() == replaced {
                break (ack, letter);
            }
        };
        for (name, found) in [(acks, ack), (letters, letter)] {
            if let Some((mut blob, bytes)) = found {
                self.add(&mut *blob, bytes, &self.to.join(name))?;
            }
        }
        Ok(())
    }

    /// The names in a directory, which need not be there, but of what is not finished.
    fn names(&self, name: &Path) -> Result<Vec<String>, StorageError> {
        let from = self.from.join(name);
        let mut names = match self.files.list(&from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(|error| StorageError::io("list", &from, error))?,
        };
        names.retain(|name| !name.ends_with(crate::files::TEMPORARY_SUFFIX));
        Ok(names)
    }

    /// A file as long as it is now, if it is there. It can be read also after it was removed or replaced.
    fn open_if_there(&self, name: &Path) -> Result<Option<Opened>, StorageError> {
        let mut blob = match self.open(&self.from.join(name)) {
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            blob => blob?,
        };
        let bytes = self.len(&mut *blob, name)?;
        Ok(Some((blob, bytes)))
    }

    /// The same of a file that may be replaced meanwhile. Whoever just then opens the old one is told that it is not there.
    fn open_replaced(&self, name: &Path) -> Result<Option<Opened>, StorageError> {
        loop {
            let found = self.open_if_there(name)?;
            let directory = name.parent().unwrap_or(Path::new(""));
            let is_listed = |names: Vec<String>| names.iter().any(|other| name.ends_with(other));
            if found.is_some() || !is_listed(self.names(directory)?) {
                return Ok(found);
            }
        }
    }

    fn len(&self, blob: &mut dyn Blob, name: &Path) -> Result<u64, StorageError> {
        blob.len().map_err(|error| StorageError::io("read", &self.from.join(name), error))
    }

    /// The log up to the extent: files that are written to no more, and of the last one what is durable.
    pub(super) fn log(&mut self, place: &LogPlace, extent: &Extent) -> Result<(), StorageError> {
        for file in place.full_names(&extent.log_file)? {
            self.share(&Path::new(LOG).join(file))?;
        }
        let name = extent.log_file.file_name().unwrap_or_default();
        let mut blob = self.open(&extent.log_file)?;
        self.add(&mut *blob, extent.log_bytes, &self.to.join(LOG).join(name))?;
        self.sync(&self.to.join(LOG))
    }

    pub(super) fn quarantine(&mut self, mut extent: Extent) -> Result<(), StorageError> {
        let directory = self.to.join(QUARANTINE);
        self.add(&mut *extent.quarantine, extent.quarantine_bytes, &directory.join(QUARANTINE_RECORDS))?;
        self.sync(&directory)
    }

    pub(super) fn finish(self) -> Result<Copied, StorageError> {
        let marker = self.to.join(UNFINISHED);
        // All names must be durable before the one that speaks against them goes.
        self.sync(self.to)?;
        self.files.remove(&marker).map_err(|error| StorageError::io("remove", &marker, error))?;
        self.sync(self.to)?;
        self.sync(self.to.parent().unwrap_or(Path::new("")))?;
        Ok(self.done)
    }

    /// Links a file that never changes, or copies it; false if it is not there.
    fn share_if_there(&mut self, name: &Path) -> Result<bool, StorageError> {
        match self.share(name) {
            Ok(()) => Ok(true),
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Links a file that never changes, or copies it.
    fn share(&mut self, name: &Path) -> Result<(), StorageError> {
        let (from, to) = (self.from.join(name), self.to.join(name));
        let mut blob = self.open(&from)?;
        let bytes = blob.len().map_err(|error| StorageError::io("read", &from, error))?;
        // Another file system, or one without links.
        if self.files.link(&from, &to).is_err() {
            return self.add(&mut *blob, bytes, &to);
        }
        self.done.bytes += bytes;
        self.done.linked_bytes += bytes;
        Ok(())
    }

    fn add(&mut self, from: &mut dyn Blob, bytes: u64, to: &Path) -> Result<(), StorageError> {
        self.copy(from, bytes, to)?;
        self.done.bytes += bytes;
        Ok(())
    }

    /// Copies so many bytes to a new file, and makes them durable.
    fn copy(&self, from: &mut dyn Blob, bytes: u64, to: &Path) -> Result<(), StorageError> {
        let io = |action, error| StorageError::io(action, to, error);
        let mut file = self.files.open(to, Mode::Create).map_err(|error| io("create", error))?;
        let mut chunk = vec![0; CHUNK.min(bytes as usize)];
        let (mut at, mut synced) = (0, 0);
        while at < bytes {
            let want = chunk.len().min((bytes - at) as usize);
            let count = read_full(from, &mut chunk[..want], at).map_err(|error| io("copy to", error))?;
            if count < want {
                return Err(StorageError::damaged(to, at, "the file that it is a copy of is shorter"));
            }
            let mut pieces = [IoSlice::new(&chunk[..want])];
            write_full(&mut *file, &mut pieces, at).map_err(|error| io("write", error))?;
            at += want as u64;
            if at - synced >= SYNC_BYTES {
                file.sync().map_err(|error| io("sync", error))?;
                synced = at;
            }
        }
        file.sync().map_err(|error| io("sync", error))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Blob>, StorageError> {
        self.files.open(path, Mode::Read).map_err(|error| StorageError::io("open", path, error))
    }

    fn sync(&self, directory: &Path) -> Result<(), StorageError> {
        self.files.sync_dir(directory).map_err(|error| StorageError::io("sync", directory, error))
    }
}
