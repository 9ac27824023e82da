//! How far a sink has come: the last acknowledgement that is whole is the one that counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::HashKey;

use crate::codec;
use crate::error::StorageError;
use crate::files::{Files, Mode, encode_name};
use crate::frame::{
    FILE_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, Recovered, Step, create_file, replace_file,
};
use crate::state::Claim;

/// A file larger than this many bytes is begun anew with the last records.
const REWRITE_BYTES: u64 = 64 << 10;

/// One acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Every delta up to and including this epoch has been delivered.
    pub epoch: u64,
    /// What the sink wants to be told when it is opened again.
    pub position: Vec<u8>,
}

/// The acknowledgements of one sink.
pub struct AckFile {
    files: Arc<dyn Files>,
    frames: FrameWriter,
    last: Option<Ack>,
    head: Vec<u8>,
    _claim: Claim,
}

impl AckFile {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        path: PathBuf,
        key: HashKey,
        claim: Claim,
    ) -> Result<(Self, Option<Recovered>), StorageError> {
        let (directory, name) = split(&path);
        let names = files.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
        let (frames, last, recovered) = if names.contains(&name) {
            Self::resume(&*files, &path)?
        } else {
            (create_file(&*files, &path, FileHeader::new(Kind::Ack, key, 0))?, None, None)
        };
        Ok((Self { files, frames, last, head: Vec::new(), _claim: claim }, recovered))
    }

    fn resume(
        files: &dyn Files,
        path: &Path,
    ) -> Result<(FrameWriter, Option<Ack>, Option<Recovered>), StorageError> {
        let contents = Contents::read(FrameReader::open(files, path, Kind::Ack)?)?;
        let Contents { header, previous, last, synced, end, recovered } = contents;
        let frames = if recovered.is_none() {
            let blob =
                files.open(path, Mode::Write).map_err(|error| StorageError::io("open", path, error))?;
            FrameWriter::resume(blob, path, header, synced, end)?
        } else {
            rewrite(files, path, header, previous.iter().chain(&last))?
        };
        Ok((frames, last, recovered))
    }

    /// The last acknowledgement.
    pub fn last(&self) -> Option<&Ack> {
        self.last.as_ref()
    }

    /// Records durably that `epoch` and all before it have been delivered.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: nothing has changed, the call may be repeated. [`StorageError::Poisoned`]: after a
    /// restart either this or the last acknowledgement stands. [`StorageError::Refused`] if `epoch` goes back.
    pub fn record(&mut self, epoch: u64, position: &[u8]) -> Result<(), StorageError> {
        self.frames.usable()?;
        if let Some(last) = self.last.as_ref().filter(|last| last.epoch > epoch) {
            return Err(StorageError::refused(format!(
                "epoch {epoch} cannot be acknowledged after epoch {}",
                last.epoch
            )));
        }
        let ack = Ack { epoch, position: position.to_vec() };
        if self.frames.len() > REWRITE_BYTES {
            let (path, header) = (self.frames.path().to_owned(), *self.frames.header());
            // The last record stays in front of the new one, to fall back to.
            match rewrite(&*self.files, &path, header, self.last.iter().chain([&ack])) {
                Ok(frames) => self.frames = frames,
                Err(error @ StorageError::Poisoned { .. }) => return Err(self.frames.poison(error)),
                Err(error) => return Err(error),
            }
        } else {
            append(&mut self.frames, &mut self.head, &ack)?;
            self.frames.sync()?;
        }
        self.last = Some(ack);
        Ok(())
    }
}

/// What `sink` last acknowledged, without changing its file.
pub(crate) fn read_last(
    files: &dyn Files,
    directory: &Path,
    sink: &str,
) -> Result<Option<Ack>, StorageError> {
    let name = encode_name(sink);
    let names = files.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
    if !names.contains(&name) {
        return Ok(None);
    }
    Ok(Contents::read(FrameReader::open(files, &directory.join(name), Kind::Ack)?)?.last)
}

/// The valid records of a file. Each one replaces those before it, so damage costs only what it hits.
struct Contents {
    header: FileHeader,
    previous: Option<Ack>,
    last: Option<Ack>,
    synced: u64,
    end: u64,
    recovered: Option<Recovered>,
}

impl Contents {
    fn read(mut reader: FrameReader) -> Result<Self, StorageError> {
        let mut contents = Self {
            header: *reader.header(),
            previous: None,
            last: None,
            synced: FILE_HEADER_LEN,
            end: FILE_HEADER_LEN,
            recovered: None,
        };
        let mut payload = Vec::new();
        loop {
            match reader.next(&mut payload, 0)? {
                Step::End => return Ok(contents),
                Step::Frame(frame) => {
                    let (epoch, used) = codec::decode_prefix::<u64>(&payload)
                        .map_err(|_| reader.damaged("a record cannot be decoded"))?;
                    contents.previous =
                        contents.last.replace(Ack { epoch, position: payload.split_off(used) });
                    (contents.synced, contents.end) = (frame.synced, frame.end);
                }
                Step::Bad(detail) => {
                    let start = reader.offset();
                    reader.skip_to_next()?;
                    let recovered = contents.recovered.get_or_insert(Recovered {
                        file: reader.path().to_owned(),
                        offset: start,
                        cut_bytes: 0,
                        detail: detail.to_owned(),
                    });
                    recovered.cut_bytes += reader.offset() - start;
                }
            }
        }
    }
}

fn rewrite<'a>(
    files: &dyn Files,
    path: &Path,
    header: FileHeader,
    acks: impl Iterator<Item = &'a Ack>,
) -> Result<FrameWriter, StorageError> {
    let mut head = Vec::new();
    replace_file(files, path, header, |writer| {
        for ack in acks {
            append(writer, &mut head, ack)?;
        }
        Ok(())
    })
}

fn append(writer: &mut FrameWriter, head: &mut Vec<u8>, ack: &Ack) -> Result<(), StorageError> {
    head.clear();
    codec::encode_into(head, &ack.epoch).map_err(|error| StorageError::refused(error.to_string()))?;
    writer.append(head, &ack.position).map(|_| ())
}

fn split(path: &Path) -> (&Path, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (path.parent().unwrap_or(Path::new("")), name)
}
