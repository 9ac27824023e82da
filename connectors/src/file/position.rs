//! Where a file source stands: which files it has finished, and how far it is in the others.
//!
//! A file is known by its name and its inode, and recognized by a fingerprint of its first bytes: an inode is used
//! again after a rotation, and a name by another file. A finished one is known by its first and last bytes and its length, so
//! that it can be found under another name.

use std::path::Path;

use tidewater_connector_api::{Position, ReadError};
use tidewater_model::HashKey;

/// How many of a file's first bytes its fingerprint covers at most.
pub(super) const HEAD_BYTES: usize = 256;

/// Version 1 knew neither inode nor last bytes of finished files.
const VERSION: u8 = 2;

/// How far a file was read, and how to recognize it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Everything before this byte of the (decompressed) content has been sent.
    pub(super) offset: u64,
    /// How many of the file's first bytes the fingerprint covers; 0: none were read yet, so any file fits.
    pub(super) head_len: u64,
    /// Their hash.
    pub(super) head_hash: u64,
}

impl Mark {
    /// Marks an offset in a file that begins with `head`.
    pub(super) fn new(offset: u64, head: &[u8]) -> Self {
        Self { offset, head_len: head.len() as u64, head_hash: hash(head) }
    }

    /// Whether a file that begins with `head` is the one marked.
    pub(super) fn fits(&self, head: &[u8]) -> bool {
        usize::try_from(self.head_len)
            .ok()
            .and_then(|len| head.get(..len))
            .is_some_and(|head| hash(head) == self.head_hash)
    }
}

/// A file that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) mark: Mark,
}

/// A file that was read to its end. Its name is kept as a hash only: every position lists all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) name_hash: u64,
    pub(super) mark: Mark,
    /// How long the file itself was then (compressed, if it is); a longer one has been appended to.
    pub(super) file_len: u64,
    /// Its last bytes then, as [`tail_hash`](super::recognize::tail_hash) gives them; 0: unknown.
    pub(super) tail_hash: u32,
    /// Its inode, as [`short_inode`] gives it; 0: unknown.
    pub(super) inode: u32,
}

/// Where a source stands in all its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FilePosition {
    pub(super) active: Vec<Active>,
    pub(super) finished: Vec<Finished>,
}

impl FilePosition {
    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(position: &Position) -> Result<Self, ReadError> {
        let mut reader = Decoder(position.as_bytes());
        let decoded = reader.position();
        match decoded {
            Some(decoded) if reader.0.is_empty() => Ok(decoded),
            _ => Err(ReadError::BadPosition {
                reason: "the recorded position was not written by a file source, or by a later version"
                    .into(),
            }),
        }
    }

    /// The position as bytes.
    pub(super) fn encode(&self) -> Position {
        let mut out = vec![VERSION];
        varint(&mut out, self.active.len() as u64);
        for file in &self.active {
            varint(&mut out, file.name.len() as u64);
            out.extend_from_slice(file.name.as_bytes());
            out.extend_from_slice(&file.inode.to_le_bytes());
            encode_mark(&mut out, &file.mark);
        }
        varint(&mut out, self.finished.len() as u64);
        for file in &self.finished {
            out.extend_from_slice(&file.name_hash.to_le_bytes());
            encode_mark(&mut out, &file.mark);
            varint(&mut out, file.file_len);
            out.extend_from_slice(&file.tail_hash.to_le_bytes());
            out.extend_from_slice(&file.inode.to_le_bytes());
        }
        Position(out)
    }

    /// Notes how far a file is.
    pub(super) fn update(&mut self, name: &str, inode: u64, mark: Mark) {
        match self.active.iter_mut().find(|file| file.inode == inode && file.name == name) {
            Some(file) => file.mark = mark,
            None => self.active.push(Active { name: name.to_owned(), inode, mark }),
        }
    }

    /// Forgets a file that is being read.
    pub(super) fn forget(&mut self, name: &str, inode: u64) {
        self.active.retain(|file| file.inode != inode || file.name != name);
    }

    /// Notes that a file was read to its end.
    pub(super) fn finish(&mut self, name: &str, inode: u64, mark: Mark, (file_len, tail_hash): (u64, u32)) {
        self.forget(name, inode);
        let name_hash = hash(name.as_bytes());
        self.finished.retain(|file| file.name_hash != name_hash);
        self.finished.push(Finished { name_hash, mark, file_len, tail_hash, inode: short_inode(inode) });
    }

    /// Notes that a finished file is read on.
    pub(super) fn reopen(&mut self, name: &str, inode: u64, mark: Mark) {
        let name_hash = hash(name.as_bytes());
        self.finished.retain(|file| file.name_hash != name_hash);
        self.update(name, inode, mark);
    }

    /// What is known of the end of the file with this name.
    pub(super) fn finished(&self, name: &str) -> Option<Finished> {
        let name_hash = hash(name.as_bytes());
        self.finished.iter().find(|file| file.name_hash == name_hash).copied()
    }
}

/// How a file is named in positions and messages.
pub(super) fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An inode in half as many bytes: with the first and last bytes of a file it is enough, and positions are to be short.
pub(super) fn short_inode(inode: u64) -> u32 {
    (inode ^ (inode >> 32)) as u32
}

/// The hash of names and fingerprints.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    // The fixed key: a position must read the same under every deployment's key.
    HashKey::FIXED.seed("file").hash(bytes) as u64
}

fn encode_mark(out: &mut Vec<u8>, mark: &Mark) {
    varint(out, mark.offset);
    varint(out, mark.head_len);
    out.extend_from_slice(&mark.head_hash.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn position(&mut self) -> Option<FilePosition> {
        let version = self.take(1)?[0];
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let mut position = FilePosition::default();
        for _ in 0..self.varint()? {
            let len = usize::try_from(self.varint()?).ok()?;
            let name = String::from_utf8(self.take(len)?.to_vec()).ok()?;
            position.active.push(Active { name, inode: self.u64()?, mark: self.mark()? });
        }
        for _ in 0..self.varint()? {
            let (name_hash, mark, file_len) = (self.u64()?, self.mark()?, self.varint()?);
            let (tail_hash, inode) = if version == 1 { (0, 0) } else { (self.u32()?, self.u32()?) };
            position.finished.push(Finished { name_hash, mark, file_len, tail_hash, inode });
        }
        Some(position)
    }

    fn mark(&mut self) -> Option<Mark> {
        Some(Mark { offset: self.varint()?, head_len: self.varint()?, head_hash: self.u64()? })
    }

    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
