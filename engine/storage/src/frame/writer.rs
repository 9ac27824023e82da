//! Appends frames; after a failed write or fsync it never writes again.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use crate::error::{StorageError, is_no_space};
use crate::files::{Blob, Files, Mode, temporary, write_full};
use crate::frame::{FILE_HEADER_LEN, FileHeader, FrameReader, MAX_PAYLOAD};

/// So much of a large file is written before it is synced. The log's fsync waits until what was synced before it is written, so
/// this is short: 10 ms on a disk that takes 100 MB/s. Not shorter, since a disk may take some milliseconds for any fsync.
pub(crate) const SYNC_BYTES: u64 = 1 << 20;

/// The writing end of one file.
pub(crate) struct FrameWriter {
    blob: Box<dyn Blob>,
    path: PathBuf,
    header: FileHeader,
    len: u64,
    synced: u64,
    /// The file has no name yet and gets it only once all of it is durable.
    nameless: bool,
    poisoned: Option<String>,
}

impl FrameWriter {
    /// Writes on in a file just made by [`create_file`], of which `len` bytes are written and durable.
    pub(crate) fn new(blob: Box<dyn Blob>, path: &Path, header: FileHeader, len: u64) -> Self {
        Self { blob, path: path.to_owned(), header, len, synced: len, nameless: false, poisoned: None }
    }

    /// Opens a file to write on behind its valid frames, which end at `end`; what follows is cut off.
    ///
    /// `synced` is the number that the last valid frame carries. What stands behind it may be in the memory of the
    /// operating system only, and if the last process died of a failed fsync the system may believe it
    /// written. So these bytes are written once more: after the fsync here, what was read is what is on the disk.
    pub(crate) fn resume(
        mut blob: Box<dyn Blob>,
        path: &Path,
        header: FileHeader,
        synced: u64,
        end: u64,
    ) -> Result<Self, StorageError> {
        let io = |action, error| StorageError::io(action, path, error);
        #[cfg(feature = "planted-bugs")]
        {
            use crate::planted::{Bug, active};
            if active(Bug::TornTailTrusted) || active(Bug::UnsyncedTailTrusted) {
                let end = if active(Bug::UnsyncedTailTrusted) {
                    blob.set_len(end).map_err(|error| io("cut", error))?;
                    end
                } else {
                    blob.len().map_err(|error| io("read", error))?
                };
                blob.sync().map_err(|error| io("sync", error))?;
                return Ok(Self::new(blob, path, header, end));
            }
        }
        // Also where the length is right: the process that cut it may have died of the fsync that followed.
        blob.set_len(end).map_err(|error| io("cut", error))?;
        let mut chunk = vec![0; 1 << 20];
        let mut offset = synced.clamp(FILE_HEADER_LEN, end);
        while offset < end {
            let want = chunk.len().min((end - offset) as usize);
            let count = crate::files::read_full(&mut *blob, &mut chunk[..want], offset)
                .map_err(|error| io("read", error))?;
            if count < want {
                return Err(StorageError::damaged(path, end, "the file shrank while it was read"));
            }
            write_full(&mut *blob, &mut [IoSlice::new(&chunk[..want])], offset)
                .map_err(|error| io("write", error))?;
            offset += want as u64;
        }
        blob.sync().map_err(|error| io("sync", error))?;
        Ok(Self::new(blob, path, header, end))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// The file's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many of its bytes are durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// Fails if an earlier write or fsync failed.
    pub(crate) fn usable(&self) -> Result<(), StorageError> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => Err(StorageError::Poisoned { file: self.path.clone(), reason: reason.clone() }),
        }
    }

    /// Ends all writing for good.
    pub(crate) fn poison(&mut self, reason: impl std::fmt::Display) -> StorageError {
        let reason = self.poisoned.get_or_insert_with(|| reason.to_string()).clone();
        StorageError::Poisoned { file: self.path.clone(), reason }
    }

    /// Writes one frame, whose payload is `head` and `body`, with one call to the system; returns its length in bytes.
    ///
    /// On a full disk the file is cut back to where it was and the call may be repeated.
    pub(crate) fn append(&mut self, head: &[u8], body: &[u8]) -> Result<u64, StorageError> {
        self.usable()?;
        let payload_len = head.len() + body.len();
        if payload_len > MAX_PAYLOAD {
            return Err(StorageError::refused(format!(
                "{payload_len} bytes are more than one entry may hold ({MAX_PAYLOAD})"
            )));
        }
        let synced = if self.nameless { self.len } else { self.synced };
        let frame = self.header.encode_frame(synced, &[head, body]);
        let mut pieces = [IoSlice::new(&frame), IoSlice::new(head), IoSlice::new(body)];
        if let Err(error) = write_full(&mut *self.blob, &mut pieces, self.len) {
            if is_no_space(&error) && self.blob.set_len(self.len).is_ok() {
                return Err(StorageError::NoSpace { path: self.path.clone() });
            }
            return Err(self.poison(format_args!("a write failed: {error}")));
        }
        let written = (frame.len() + payload_len) as u64;
        self.len += written;
        Ok(written)
    }

    /// As [`append`](Self::append), for a file that becomes large while others are synced beside it: nobody has to wait for
    /// more of it than a little.
    pub(crate) fn append_beside(&mut self, head: &[u8], body: &[u8]) -> Result<(), StorageError> {
        self.append(head, body)?;
        if self.len - self.synced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.usable()?;
        if self.synced == self.len {
            return Ok(());
        }
        // After a failed fsync the system may drop what it could not write and report the next one as fine.
        let result = self.blob.sync();
        #[cfg(feature = "planted-bugs")]
        let result = result.or_else(|error| {
            let is_ignored = crate::planted::active(crate::planted::Bug::SyncErrorIgnored);
            if is_ignored { Ok(()) } else { Err(error) }
        });
        if let Err(error) = result {
            return Err(self.poison(format_args!("an fsync failed: {error}")));
        }
        self.synced = self.len;
        Ok(())
    }

    /// Opens a second handle to read the file's frames.
    pub(crate) fn reader(&self, files: &dyn Files) -> Result<FrameReader, StorageError> {
        FrameReader::open(files, &self.path, self.header.kind)
    }
}

/// Makes a file that holds only its header. It has its name only once that is durable.
pub(crate) fn create_file(
    files: &dyn Files,
    path: &Path,
    header: FileHeader,
) -> Result<FrameWriter, StorageError> {
    replace_file(files, path, header, |_| Ok(()))
}

/// Makes a file, or replaces one whole: readers and crashes see all of the old one or all of the new one.
///
/// `fill` appends the frames. If it or the system fails before the new file has its name, nothing has changed.
pub(crate) fn replace_file(
    files: &dyn Files,
    path: &Path,
    header: FileHeader,
    fill: impl FnOnce(&mut FrameWriter) -> Result<(), StorageError>,
) -> Result<FrameWriter, StorageError> {
    let temporary = temporary(path);
    let mut writer = write_temporary(files, &temporary, header, fill)?;
    files.rename(&temporary, path).map_err(|error| {
        let _ = files.remove(&temporary);
        StorageError::io("rename", &temporary, error)
    })?;
    writer.path = path.to_owned();
    let directory = path.parent().unwrap_or(Path::new(""));
    if let Err(error) = files.sync_dir(directory) {
        // Whether the new name survives a crash is unknown, so nothing may be promised on it.
        return Err(writer.poison(format_args!("an fsync of its directory failed: {error}")));
    }
    Ok(writer)
}

/// Makes a file, all of it durable, that is not to keep this name. If anything fails it is removed.
pub(crate) fn write_temporary(
    files: &dyn Files,
    temporary: &Path,
    header: FileHeader,
    fill: impl FnOnce(&mut FrameWriter) -> Result<(), StorageError>,
) -> Result<FrameWriter, StorageError> {
    (|| {
        let mut blob = files
            .open(temporary, Mode::Create)
            .map_err(|error| StorageError::io("create", temporary, error))?;
        write_full(&mut *blob, &mut [IoSlice::new(&header.encode())], 0)
            .map_err(|error| StorageError::io("write", temporary, error))?;
        let mut writer = FrameWriter::new(blob, temporary, header, FILE_HEADER_LEN);
        writer.nameless = true;
        fill(&mut writer)?;
        writer.nameless = false;
        writer.synced = writer.len;
        #[cfg(feature = "planted-bugs")]
        let is_planted = crate::planted::active(crate::planted::Bug::ManifestBeforeData)
            && header.kind == crate::frame::Kind::State;
        #[cfg(not(feature = "planted-bugs"))]
        let is_planted = false;
        if !is_planted {
            writer.blob.sync().map_err(|error| StorageError::io("sync", temporary, error))?;
        }
        Ok(writer)
    })()
    // The leftover is never read, and the next attempt or the next opening clears it.
    .inspect_err(|_: &StorageError| _ = files.remove(temporary))
}
