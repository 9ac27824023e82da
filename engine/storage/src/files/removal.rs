//! A large file is given back to the disk a little at a time, so that nobody's fsync waits for the whole of it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// So much is given back at once. Where a file system tells the disk at once which blocks are free (`discard`), the disk does
/// nothing else meanwhile: 70 to 140 ms were measured for a log file of 256 MiB, about 3 for this.
const STEP_BYTES: u64 = 8 << 20;

/// Files up to this size are removed at once: the disk is busy with one for about 10 ms. Those of an outbox are among them, which
/// are removed while others wait for a lock.
const LARGE_BYTES: u64 = 32 << 20;

/// Between two steps the disk is left to others for so long: about as long as a step takes. So a gigabyte is gone within a
/// second or two.
const REST: Duration = Duration::from_millis(5);

/// Keeps the contents of a file that is opened to be read until it is closed, also when it is removed meanwhile. One that is
/// being removed is not there.
pub(super) fn hold(file: &File) -> io::Result<()> {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::NotFound.into()),
        // Where files can't be locked, [`remove`] does not get hold of them either.
        Ok(()) | Err(TryLockError::Error(_)) if is_nameless(file) => Err(io::ErrorKind::NotFound.into()),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    let unread = File::options().write(true).open(path).ok().filter(|file| file.try_lock().is_ok());
    fs::remove_file(path)?;
    // Under another name, in a copy, it goes on.
    if let Some(file) = unread.filter(is_nameless)
        && file.metadata()?.len() > LARGE_BYTES
        // Or the name might come back after a power cut and lead to half of the file.
        && sync_directory_of(path).is_ok()
    {
        // The name is gone, and with the handle goes the rest.
        let _ = shrink(&file);
    }
    Ok(())
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
    File::open(directory)?.sync_all()
}

fn shrink(file: &File) -> io::Result<()> {
    let mut len = file.metadata()?.len();
    while len > STEP_BYTES {
        len -= STEP_BYTES;
        file.set_len(len)?;
        thread::sleep(REST);
    }
    Ok(())
}

/// Whether no name leads to the file any more, as far as that can be told.
fn is_nameless(file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::files::{DiskFiles, Files, Mode, read_full};

    const LEN: u64 = LARGE_BYTES + STEP_BYTES + 5;

    fn file(directory: &tempfile::TempDir) -> std::path::PathBuf {
        let path = directory.path().join("file");
        File::create(&path).unwrap().set_len(LEN).unwrap();
        path
    }

    #[test]
    fn whoever_reads_a_file_or_has_it_under_another_name_keeps_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        let mut reader = DiskFiles.open(&path, Mode::Read).unwrap();
        DiskFiles.remove(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(reader.len().unwrap(), LEN);
        assert_eq!(read_full(&mut *reader, &mut [1; 9], LEN - 9).unwrap(), 9);

        let (path, copy) = (file(&directory), directory.path().join("copy"));
        DiskFiles.link(&path, &copy).unwrap();
        DiskFiles.remove(&path).unwrap();
        assert_eq!(fs::metadata(copy).unwrap().len(), LEN);
    }

    #[test]
    fn nobody_begins_to_read_a_file_that_is_being_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        let not_found = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::NotFound;
        let opened = File::open(&path).unwrap();
        let removing = File::options().write(true).open(&path).unwrap();
        removing.try_lock().unwrap();
        assert!(not_found(hold(&opened)));
        fs::remove_file(&path).unwrap();
        shrink(&removing).unwrap();
        assert_eq!(removing.metadata().unwrap().len(), 5);
        drop(removing);
        assert!(not_found(hold(&opened)));
        assert!(not_found(DiskFiles.remove(&path)));
    }
}
