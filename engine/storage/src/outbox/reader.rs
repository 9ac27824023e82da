//! Reading back what was put into an outbox, while it is being written to.

use std::sync::Arc;

use super::Outbox;
use super::entry::{Entry, Pieces, StoredBatch, decode};
use crate::error::StorageError;
use crate::frame::{FrameReader, Kind, Step};

/// Why a batch in pieces can't be read.
pub(super) const PIECE_MISSING: &str = "a piece of a batch is missing";

/// Where reading has come to.
pub(super) struct Reader {
    pub(super) number: u64,
    frames: FrameReader,
    context: Arc<[u8]>,
    pieces: Pieces,
}

impl Outbox {
    /// The oldest batch of an epoch behind `behind`; earlier ones are passed over.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if the disk gave back something else than was written; see [`Outbox`].
    pub fn pop(&mut self, behind: u64) -> Result<Option<StoredBatch>, StorageError> {
        let mut payload = Vec::new();
        while self.batches > 0 {
            let Some(reader) = self.reader()? else { break };
            let mut step = reader.frames.next(&mut payload, 0)?;
            if matches!(step, Step::End) {
                reader.frames.refresh()?;
                step = reader.frames.next(&mut payload, 0)?;
            }
            let frame = match step {
                Step::Frame(frame) => frame,
                Step::Bad(detail) => return Err(reader.frames.damaged(detail)),
                Step::End => {
                    let number = reader.number;
                    let missing = reader.frames.damaged("a batch that was written is missing");
                    let next = self.kept.iter().find(|kept| kept.number > number).copied();
                    self.reader = Some(self.read_from(next.ok_or(missing)?.number)?);
                    continue;
                }
            };
            match decode(&reader.frames, &payload)? {
                (Entry::Context { .. }, used) => reader.context = payload[used..].into(),
                (Entry::Piece { number }, used) => {
                    if !reader.pieces.add(number, &payload[used..], frame.end - frame.offset) {
                        return Err(reader.frames.damaged(PIECE_MISSING));
                    }
                }
                (Entry::Batch { epoch, .. }, used) if epoch > behind => {
                    let (context, bytes) = (Arc::clone(&reader.context), payload.split_off(used));
                    self.read_one(frame.end - frame.offset);
                    return Ok(Some(StoredBatch { epoch, context, bytes }));
                }
                (Entry::Rest { epoch, pieces, .. }, used) => {
                    let Some(Pieces { mut bytes, size, .. }) = reader.pieces.take(pieces) else {
                        return Err(reader.frames.damaged(PIECE_MISSING));
                    };
                    if epoch > behind {
                        let context = Arc::clone(&reader.context);
                        bytes.extend_from_slice(&payload[used..]);
                        self.read_one(size + frame.end - frame.offset);
                        return Ok(Some(StoredBatch { epoch, context, bytes }));
                    }
                }
                (Entry::Batch { .. } | Entry::Quiet { .. }, _) => {}
            }
        }
        Ok(None)
    }

    fn read_one(&mut self, size: u64) {
        self.batches -= 1;
        self.bytes = self.bytes.saturating_sub(size);
    }

    fn reader(&mut self) -> Result<Option<&mut Reader>, StorageError> {
        if self.reader.is_none() {
            let Some(oldest) = self.kept.front().copied() else { return Ok(None) };
            self.reader = Some(self.read_from(oldest.number)?);
        }
        Ok(self.reader.as_mut())
    }

    fn read_from(&self, number: u64) -> Result<Reader, StorageError> {
        let frames = FrameReader::open(&*self.files, &self.path(number), Kind::Outbox)?;
        Ok(Reader { number, frames, context: Arc::default(), pieces: Pieces::default() })
    }
}
