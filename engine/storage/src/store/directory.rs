//! A directory as a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use crate::files::{Files, Mode, read_full};

/// The files of one directory.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    files: Arc<dyn Files>,
    directory: PathBuf,
}

impl DirectoryStore {
    /// The files of a directory that exists.
    pub fn new(files: Arc<dyn Files>, directory: PathBuf) -> Self {
        Self { files, directory }
    }
}

impl Store for DirectoryStore {
    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn put(&self, name: &str, _: &dyn Files, from: &Path) -> io::Result<()> {
        // The file is synced, and lies in the same directory or at least on the same file system.
        self.files.rename(from, &self.path_of(name))?;
        self.files.sync_dir(&self.directory)
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut blob = self.files.open(&self.path_of(name), Mode::Read)?;
        let mut bytes = vec![0; blob.len()? as usize];
        let count = read_full(&mut *blob, &mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn get_range(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.files.open(&self.path_of(name), Mode::Read)?.read_at(buffer, offset)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.files.open(&self.path_of(name), Mode::Read)?.len()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list(&self.directory)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        match self.files.remove(&self.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
