//! Where sealed log files are kept: whole objects with names, never changed once they are there.
//!
//! [`DirectoryStore`] is the `log` directory of the state itself; with the feature `object-store` also a bucket can be one.

mod directory;
#[cfg(feature = "object-store")]
mod object;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Blob, Files};

pub use directory::DirectoryStore;
#[cfg(feature = "object-store")]
pub use object::ObjectStore;

/// Whole objects by name. All calls block.
pub trait Store: Debug + Send + Sync {
    /// The path or address that messages call an object by.
    fn path_of(&self, name: &str) -> PathBuf;

    /// Puts the finished and synced file `from` under a name, replacing what has it. Atomic: readers and crashes see all of
    /// it or none. When this returns it is durable, and `from` is gone or of no use.
    ///
    /// # Errors
    /// Whether it is there now is unknown; it may be put again.
    fn put(&self, name: &str, files: &dyn Files, from: &Path) -> io::Result<()>;

    /// All of an object.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn get(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Fills `buffer` from `offset`; fewer bytes than asked for, or 0 at the end.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    fn get_range(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of an object in bytes.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn len(&self, name: &str) -> io::Result<u64>;

    /// The names of all objects, in no order; also of things that are not ours.
    ///
    /// # Errors
    /// If it can't be asked.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes an object. Fine if there is none.
    ///
    /// # Errors
    /// It may be there or not.
    fn delete(&self, name: &str) -> io::Result<()>;
}

/// Opens an object to be read in pieces.
pub(crate) fn open(store: &Arc<dyn Store>, name: &str) -> io::Result<Box<dyn Blob>> {
    let len = store.len(name)?;
    let (ahead, ahead_offset) = (Vec::new(), 0);
    Ok(Box::new(StoredBlob { store: Arc::clone(store), name: name.to_owned(), len, ahead, ahead_offset }))
}

/// So much is asked for at once: a request takes as long as this much needs on a fast line.
const AHEAD_BYTES: usize = 4 << 20;

/// An object as a file to read.
struct StoredBlob {
    store: Arc<dyn Store>,
    name: String,
    len: u64,
    /// What has been read and where it stands.
    ahead: Vec<u8>,
    ahead_offset: u64,
}

impl Blob for StoredBlob {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.len || buffer.is_empty() {
            return Ok(0);
        }
        let end = self.ahead_offset + self.ahead.len() as u64;
        if offset < self.ahead_offset || offset >= end {
            self.ahead.resize(AHEAD_BYTES.min((self.len - offset) as usize), 0);
            let count = self.store.get_range(&self.name, &mut self.ahead, offset);
            self.ahead.truncate(*count.as_ref().unwrap_or(&0));
            self.ahead_offset = offset;
            count?;
        }
        let rest = &self.ahead[(offset - self.ahead_offset) as usize..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, _: &[io::IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len(&mut self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn set_len(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
