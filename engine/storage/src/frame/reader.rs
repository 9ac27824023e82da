//! Reads frames one after the other, with one window and one payload in memory, and tells torn from damaged.

use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::files::{Blob, Files, Mode, read_full};
use crate::frame::{FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, Kind, MAX_PAYLOAD, le_u32, le_u64};

/// How much is read at once. Larger payloads are read straight into the caller's buffer.
const WINDOW: usize = 256 << 10;

/// Where a valid frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    /// Offset of the byte behind the frame.
    pub(crate) end: u64,
    /// How much of the file was durable when the frame was written.
    pub(crate) synced: u64,
}

/// What stands at the reader's offset.
#[derive(Debug)]
pub(crate) enum Step {
    /// A valid frame; the reader now stands behind it.
    Frame(Frame),
    /// Exactly the end of the file.
    End,
    /// No valid frame, and why; the reader has not moved.
    Bad(&'static str),
}

/// What bytes that are no valid frame mean at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing behind it shows that it was ever durable: an unfinished write.
    Torn,
    /// A later frame was written when this place was already durable.
    Damaged,
}

/// The reading end of one file.
pub(crate) struct FrameReader {
    blob: Box<dyn Blob>,
    path: PathBuf,
    header: FileHeader,
    offset: u64,
    len: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl FrameReader {
    /// Opens a file and checks its header.
    pub(crate) fn open(files: &dyn Files, path: &Path, kind: Kind) -> Result<Self, StorageError> {
        let blob = files.open(path, Mode::Read).map_err(|error| StorageError::io("open", path, error))?;
        Self::of_blob(blob, path.to_owned(), kind)
    }

    /// Checks the header of an open file, which errors will call `path`.
    pub(crate) fn of_blob(mut blob: Box<dyn Blob>, path: PathBuf, kind: Kind) -> Result<Self, StorageError> {
        let header = FileHeader::read(kind, &mut *blob, &path)?;
        let len = blob.len().map_err(|error| StorageError::io("read", &path, error))?;
        let window = Vec::new();
        Ok(Self { blob, path, header, offset: FILE_HEADER_LEN, len, window, window_offset: 0 })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Where the next frame is expected.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's length in bytes when it was last looked at.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets what was read ahead: the file may have grown.
    pub(crate) fn refresh(&mut self) -> Result<(), StorageError> {
        self.window.clear();
        self.len = self.blob.len().map_err(|error| StorageError::io("read", &self.path, error))?;
        Ok(())
    }

    /// Reads the frame at the current offset. `payload` becomes its payload followed by `padding` zero bytes.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>, padding: usize) -> Result<Step, StorageError> {
        if self.offset == self.len {
            return Ok(Step::End);
        }
        let step = self.read_frame(self.offset, payload, padding)?;
        if let Step::Frame(frame) = &step {
            self.offset = frame.end;
        }
        Ok(step)
    }

    /// The payload of a file that holds one frame and nothing else, as it was written all at once.
    pub(crate) fn only(&mut self) -> Result<Vec<u8>, StorageError> {
        let mut payload = Vec::new();
        match self.next(&mut payload, 0)? {
            Step::Frame(frame) if frame.end == self.len => Ok(payload),
            Step::Frame(_) => Err(self.damaged("more follows than should")),
            Step::End => Err(self.damaged("the file ends behind its header")),
            Step::Bad(detail) => Err(self.damaged(detail)),
        }
    }

    /// The next frame of a file that another process may be appending to; `None` at the end of what is whole.
    pub(crate) fn next_live(
        &mut self,
        payload: &mut Vec<u8>,
        padding: usize,
    ) -> Result<Option<Frame>, StorageError> {
        let tail = match self.next(payload, padding)? {
            Step::Frame(frame) => return Ok(Some(frame)),
            Step::End => Tail::Torn,
            // Looked at before the frame is read again: what a later frame proves must not be newer than that.
            Step::Bad(_) => self.classify_tail()?,
        };
        self.refresh()?;
        match (self.next(payload, padding)?, tail) {
            (Step::Frame(frame), _) => Ok(Some(frame)),
            (Step::Bad(detail), Tail::Damaged) => Err(self.damaged(detail)),
            (Step::Bad(_) | Step::End, _) => Ok(None),
        }
    }

    /// Goes to a frame that begins at `offset`.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Goes back to the first frame.
    pub(crate) fn rewind(&mut self) {
        self.offset = FILE_HEADER_LEN;
    }

    fn read_frame(
        &mut self,
        offset: u64,
        payload: &mut Vec<u8>,
        padding: usize,
    ) -> Result<Step, StorageError> {
        payload.clear();
        let mut front = [0; FRAME_HEADER_LEN];
        if self.read(&mut front, offset)? < front.len() {
            return Ok(Step::Bad("the file ends inside an entry"));
        }
        if le_u32(&front[..4]) != self.header.marker() {
            return Ok(Step::Bad("no entry starts here"));
        }
        let payload_len = le_u32(&front[4..8]) as usize;
        let start = offset + FRAME_HEADER_LEN as u64;
        // Checked before any memory is taken for it.
        if payload_len > MAX_PAYLOAD || start + payload_len as u64 > self.len {
            return Ok(Step::Bad("the file ends inside an entry"));
        }
        payload.resize(payload_len + padding, 0);
        if self.read(&mut payload[..payload_len], start)? < payload_len {
            return Ok(Step::Bad("the file ends inside an entry"));
        }
        let synced = le_u64(&front[8..16]);
        if self.header.crc(synced, &[&payload[..payload_len]]) != le_u32(&front[16..20]) {
            return Ok(Step::Bad("an entry's checksum is wrong"));
        }
        Ok(Step::Frame(Frame { offset, end: start + payload_len as u64, synced }))
    }

    /// Decides what the bytes at the current offset mean, which are no valid frame.
    ///
    /// Looks through the rest of the file; memory stays bounded.
    pub(crate) fn classify_tail(&mut self) -> Result<Tail, StorageError> {
        let bad = self.offset;
        let mut from = bad + 1;
        while let Some(frame) = self.find(from)? {
            if frame.synced > bad {
                return Ok(Tail::Damaged);
            }
            from = frame.end;
        }
        Ok(Tail::Torn)
    }

    /// The error for the bytes at the current offset.
    pub(crate) fn damaged(&self, detail: &str) -> StorageError {
        StorageError::damaged(&self.path, self.offset, detail)
    }

    /// Moves to the first valid frame behind the current offset; false if there is none.
    pub(crate) fn skip_to_next(&mut self) -> Result<bool, StorageError> {
        let found = self.find(self.offset + 1)?;
        self.offset = found.map_or(self.len, |frame| frame.offset);
        Ok(found.is_some())
    }

    /// The first valid frame at or behind `from`.
    fn find(&mut self, mut from: u64) -> Result<Option<Frame>, StorageError> {
        let marker = self.header.marker().to_le_bytes();
        let mut chunk = vec![0; WINDOW];
        let mut payload = Vec::new();
        loop {
            let count = read_full(&mut *self.blob, &mut chunk, from)
                .map_err(|error| StorageError::io("read", &self.path, error))?;
            for at in memchr::memmem::find_iter(&chunk[..count], &marker) {
                let step = self.read_frame(from + at as u64, &mut payload, 0)?;
                if let Step::Frame(frame) = step {
                    return Ok(Some(frame));
                }
            }
            if count < chunk.len() {
                return Ok(None);
            }
            // A marker may lie across two chunks.
            from += (count - (marker.len() - 1)) as u64;
        }
    }

    /// Fills `out` from `offset`, as far as the file goes.
    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let io = |error| StorageError::io("read", &self.path, error);
        let window_end = self.window_offset + self.window.len() as u64;
        let inside = offset >= self.window_offset && offset + out.len() as u64 <= window_end;
        if !inside && out.len() >= WINDOW {
            return read_full(&mut *self.blob, out, offset).map_err(io);
        }
        if !inside {
            self.window.resize(WINDOW, 0);
            let count = read_full(&mut *self.blob, &mut self.window, offset).map_err(io)?;
            self.window.truncate(count);
            self.window_offset = offset;
        }
        let start = (offset - self.window_offset) as usize;
        let available = &self.window[start.min(self.window.len())..];
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        Ok(count)
    }
}
