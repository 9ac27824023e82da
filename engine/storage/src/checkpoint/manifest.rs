//! The manifest: what a checkpoint is made of, and where everything else goes on from it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidewater_model::{HashKey, Timestamp};

use crate::codec;
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FileHeader, FrameReader, Kind, replace_file};

/// What stands behind the manifest of a base.
const BASE: u8 = 1;

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The epoch whose end it holds.
    pub epoch: u64,
    /// The engine's clock at that epoch.
    pub now: Timestamp,
    /// The greatest time of an accepted event.
    pub latest: Timestamp,
    /// Which half of the dedup window it was.
    pub dedup_half: i64,
    /// The place of the next event in the log.
    pub next_place: u64,
    /// Where each source resumes: name and opaque position.
    pub positions: Vec<(String, Vec<u8>)>,
    /// The definitions it was computed with, in the runtime's own encoding.
    pub definitions: Vec<u8>,
    /// The sinks that had every delta up to this epoch, also those that had none to take for a while.
    pub delivered: Vec<String>,
    /// The state files, newest first; the last one holds all state, each other one what has changed since the next.
    pub files: Vec<StateFile>,
    /// It is kept because the log does not reach back beyond it. Stands behind the rest, in those that are.
    #[serde(skip)]
    pub is_base: bool,
}

/// A state file of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The epoch it was written for.
    pub epoch: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Manifest {
    pub(super) fn write(&self, files: &dyn Files, path: &Path, key: HashKey) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, self).map_err(|error| StorageError::refused(error.to_string()))?;
        if self.is_base {
            bytes.push(BASE);
        }
        let header = FileHeader::new(Kind::Manifest, key, self.epoch);
        replace_file(files, path, header, |writer| writer.append(&bytes, &[]).map(|_| ()))?;
        Ok(())
    }

    pub(super) fn read(files: &dyn Files, path: &Path, epoch: u64) -> Result<Self, StorageError> {
        let mut reader = FrameReader::open(files, path, Kind::Manifest)?;
        let payload = reader.only()?;
        let (mut manifest, used) = codec::decode_prefix::<Self>(&payload)
            .map_err(|_| reader.damaged("its contents cannot be decoded"))?;
        manifest.is_base = payload[used..] == [BASE];
        let is_whole = manifest.is_base || used == payload.len();
        let is_chain = manifest.files.first().is_some_and(|file| file.epoch == epoch)
            && manifest.files.is_sorted_by(|a, b| a.epoch > b.epoch);
        if !is_whole || manifest.epoch != epoch || reader.header().base != epoch || !is_chain {
            return Err(reader.damaged("its contents are not those of a checkpoint of this epoch"));
        }
        Ok(manifest)
    }
}
