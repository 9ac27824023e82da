//! Every file is a header and a row of checksummed frames; a frame is whole or it is not there.
//!
//! ```text
//! header   magic 8 | version u32 | crc32c of these 12 | salt u64 | base u64 | reserved u32 = 0 | crc32c of bytes 16..36
//! frame    marker u32 | payload length u32 | synced u64 | crc32c u32 | payload
//! ```
//!
//! Numbers are little-endian. The first 16 bytes have the same meaning in every version, for ever.
//!
//! *Salt*: marker and checksum of a frame depend on a number drawn from the deployment's secret, so that bytes
//! inside an event, or left over from another file, cannot pass for a frame.
//!
//! *Synced*: how much of the file was durable when the frame was written. A crash may keep a later write and
//! lose an earlier one. If a frame cannot be read and a later one can, this number tells a loss nobody was promised
//! anything about (a torn tail, which is cut) from damage to bytes that were durable (an error).

mod reader;
mod recovery;
mod writer;

use std::path::Path;

use tidewater_model::HashKey;

use crate::error::StorageError;
use crate::files::{Blob, read_full};

pub(crate) use reader::{Frame, FrameReader, Step, Tail};
pub use recovery::Recovered;
pub(crate) use recovery::{End, find_end};
pub(crate) use writer::{FrameWriter, SYNC_BYTES, create_file, replace_file, write_temporary};

/// The largest payload of a frame in bytes, and so of one epoch: 256 MiB. Readers hold one payload at a time.
pub const MAX_PAYLOAD: usize = 1 << 28;

/// The newest format version this release reads, and the one it writes.
pub(crate) const VERSION: u32 = 1;

pub(crate) const FILE_HEADER_LEN: u64 = 40;
pub(crate) const FRAME_HEADER_LEN: usize = 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Meta,
    Log,
    Quarantine,
    Ack,
    Outbox,
    Manifest,
    State,
    Sealed,
    DeadLetters,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Meta => b"TWmeta\r\n",
            Self::Log => b"TWelog\r\n",
            Self::Quarantine => b"TWquar\r\n",
            Self::Ack => b"TWacks\r\n",
            Self::Outbox => b"TWobox\r\n",
            Self::Manifest => b"TWmani\r\n",
            Self::State => b"TWstat\r\n",
            Self::Sealed => b"TWseal\r\n",
            Self::DeadLetters => b"TWdead\r\n",
        }
    }
}

/// The first bytes of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: Kind,
    pub(crate) salt: u64,
    /// Log, sealed: the file's first epoch. Manifest, state: its epoch. Quarantine, dead letters: the lowest id not given out
    /// before. Outbox: its number. Else 0.
    pub(crate) base: u64,
}

impl FileHeader {
    /// The header of a new file of this deployment.
    pub(crate) fn new(kind: Kind, key: HashKey, base: u64) -> Self {
        Self { kind, salt: mix(key.0 ^ mix(base ^ (kind as u64) << 56)), base }
    }

    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_LEN as usize] {
        let mut bytes = [0; FILE_HEADER_LEN as usize];
        bytes[..8].copy_from_slice(self.kind.magic());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the header. Files get their name only after it is durable, so anything wrong is damage.
    pub(crate) fn read(kind: Kind, blob: &mut dyn Blob, path: &Path) -> Result<Self, StorageError> {
        let mut bytes = [0; FILE_HEADER_LEN as usize];
        let count = read_full(blob, &mut bytes, 0).map_err(|error| StorageError::io("read", path, error))?;
        let damaged = |offset, detail: &str| Err(StorageError::damaged(path, offset, detail));
        if count < 16 {
            return damaged(count as u64, "the file ends inside its header");
        }
        if bytes[..8] != kind.magic()[..] {
            return damaged(0, "this is no file of this kind");
        }
        if crc32c::crc32c(&bytes[..12]) != le_u32(&bytes[12..16]) {
            return damaged(0, "the header's checksum is wrong");
        }
        let version = le_u32(&bytes[8..12]);
        if version > VERSION {
            let file = path.to_owned();
            return Err(StorageError::Newer { file, version, supported: VERSION });
        }
        if version == 0 {
            return damaged(8, "there is no format version 0");
        }
        if count < bytes.len() {
            return damaged(count as u64, "the file ends inside its header");
        }
        if crc32c::crc32c(&bytes[16..36]) != le_u32(&bytes[36..40]) {
            return damaged(16, "the header's checksum is wrong");
        }
        Ok(Self { kind, salt: le_u64(&bytes[16..24]), base: le_u64(&bytes[24..32]) })
    }

    /// What every frame of the file starts with. Its lowest byte is never one of UTF-8's first 128.
    fn marker(&self) -> u32 {
        (self.salt as u32) ^ (self.salt >> 32) as u32 | 0x80
    }

    /// The checksum of a frame of this file, over all that follows the marker.
    fn crc(&self, synced: u64, payload: &[&[u8]]) -> u32 {
        let len: usize = payload.iter().map(|piece| piece.len()).sum();
        let mut front = [0; 20];
        front[..8].copy_from_slice(&self.salt.to_le_bytes());
        front[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        front[12..20].copy_from_slice(&synced.to_le_bytes());
        let crc = crc32c::crc32c(&front);
        payload.iter().fold(crc, |crc, piece| crc32c::crc32c_append(crc, piece))
    }

    fn encode_frame(&self, synced: u64, payload: &[&[u8]]) -> [u8; FRAME_HEADER_LEN] {
        let len: usize = payload.iter().map(|piece| piece.len()).sum();
        let mut bytes = [0; FRAME_HEADER_LEN];
        bytes[..4].copy_from_slice(&self.marker().to_le_bytes());
        bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&synced.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.crc(synced, payload).to_le_bytes());
        bytes
    }
}

/// splitmix64's output function: every bit of the result depends on every bit of `value`.
fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

pub(crate) fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

pub(crate) fn le_u64(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
