//! The file system behind a small interface: every byte that must survive goes through it, so tests can make each call fail.

mod removal;

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, TryLockError};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, to read only.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new or emptied file, to read and write.
    Create,
}

/// The answer to a request for an exclusive lock.
pub enum Locking {
    /// Held until the value is dropped.
    Held(Box<dyn Any + Send + Sync>),
    /// Another process holds it.
    Busy {
        /// The number of that process, where it can be told.
        holder: Option<u32>,
    },
}

/// A tree of files and directories.
///
/// Names made by [`open`](Files::open) with [`Mode::Create`], [`create_dir`](Files::create_dir), [`link`](Files::link),
/// [`rename`](Files::rename) and [`remove`](Files::remove) survive a crash only after [`sync_dir`](Files::sync_dir) of the
/// directory they are in.
pub trait Files: Debug + Send + Sync {
    /// Creates a directory and those above it. Fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order; names that are not UTF-8 are not ours and are left out.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn Blob>>;
    /// Gives a file a second name, in a directory of the same file system. An error where that can't be.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; whoever has it open to read, or under another name, keeps it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// Tries to take the exclusive lock that the file at `path` stands for; never waits.
    fn lock(&self, path: &Path) -> io::Result<Locking>;
}

/// One open file.
pub trait Blob: Send {
    /// Reads at `offset`; fewer bytes than asked for, or 0 at the end, as [`Read::read`].
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the pieces one after the other at `offset`; may write fewer bytes, as [`Write::write_vectored`].
    fn write_at(&mut self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// The length in bytes.
    fn len(&mut self) -> io::Result<u64>;
    /// Whether it holds no byte.
    fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) to `len` bytes.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable. After an error nothing is known about what was written since the last success.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn Blob>> {
        let mut options = File::options();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::Write => _ = options.write(true),
            Mode::Create => _ = options.write(true).create(true).truncate(true),
        }
        let file = options.open(path)?;
        if mode == Mode::Read {
            removal::hold(&file)?;
        }
        Ok(Box::new(DiskBlob(file)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        removal::remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        // Only Unix lets a directory be opened and synced; elsewhere names are journaled by the system itself.
        if cfg!(unix) {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The number is a help for people; the lock itself does not depend on it.
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Ok(Locking::Busy { holder });
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Nor does it need room on the disk.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Locking::Held(Box::new(file)))
    }
}

struct DiskBlob(File);

impl Blob for DiskBlob {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.read(buffer)
    }

    fn write_at(&mut self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.write_vectored(pieces)
    }

    fn len(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Reads until `buffer` is full or the file ends; returns how many bytes were read.
pub(crate) fn read_full(blob: &mut dyn Blob, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match blob.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all pieces at `offset`, going on after short writes.
pub(crate) fn write_full(
    blob: &mut dyn Blob,
    mut pieces: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    // Drops empty pieces in front: a vectored write of nothing reports 0 as if the disk took nothing.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match blob.write_at(pieces, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut pieces, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where a file is written before it gets its name: a name that ends so is never read, and removed on opening.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// A file name for any text, also where upper and lower case are the same: `a-z 0-9 _ -` stay, the rest is `%XX`.
pub(crate) fn encode_name(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

/// The text that [`encode_name`] made `file_name` of, or `None` if it made no such name.
pub(crate) fn decode_name(file_name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = file_name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode_name(&name) == file_name).then_some(name)
}
