//! Following files: what is appended is read, and renames, rotations and truncations are noticed.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tidewater_connector_api::ReadError;

use super::{
    Reader, Stop,
    open_file::{OpenFile, failed, file_len, open, resume},
};
use crate::file::{
    discover::discover,
    input::inode,
    lines::{Lines, Step},
    position::{Active, name_of},
    recognize::recognize,
};

/// How long a follower that has read everything waits before it looks again.
const POLL: Duration = Duration::from_millis(50);
/// How often it looks for new files, also while others keep it busy: one may be rotated away before it was seen.
const SCAN: Duration = Duration::from_secs(1);
/// How long a file that was renamed or removed stays open behind its last line: its writer may not have noticed yet.
const AFTER_ROTATION: Duration = Duration::from_secs(5);

/// What following one file came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Read,
    Waits,
    Done,
}

impl Reader {
    pub(super) fn follow(&mut self) -> Result<(), Stop> {
        let mut files = self.open_followed()?;
        let mut scanned = Instant::now();
        loop {
            let mut idle = true;
            let mut place = 0;
            while place < files.len() {
                match self.follow_one(&mut files[place])? {
                    Followed::Read => idle = false,
                    Followed::Waits => {}
                    Followed::Done => {
                        files.remove(place);
                        continue;
                    }
                }
                place += 1;
            }
            let done = self.done_bytes + files.iter().map(|file| file.input.done()).sum::<u64>();
            self.flush(done)?;
            if idle {
                if self.sender.is_closed() {
                    return Err(Stop::Closed);
                }
                thread::sleep(POLL);
            }
            if scanned.elapsed() >= SCAN {
                self.scan(&mut files)?;
                scanned = Instant::now();
            }
        }
    }

    /// Reads one followed file until there is a full batch or nothing more for now.
    fn follow_one(&mut self, file: &mut OpenFile) -> Result<Followed, Stop> {
        let mut read = Followed::Waits;
        loop {
            match self.step(file)? {
                Step::More => read = Followed::Read,
                Step::Full => {
                    self.flush_with(file)?;
                    return Ok(Followed::Read);
                }
                Step::End => break,
            }
        }
        self.position.update(&file.name, file.inode, file.mark());
        if file.input.is_compressed() {
            self.finish(file)?;
            return Ok(Followed::Done);
        }
        if read == Followed::Waits && file_len(&file.input) < file.input.done() {
            // Truncated: what is written from now on starts at the beginning. A line cut off by that is lost to
            // everyone.
            file.input.restart().map_err(|error| failed(file, &error))?;
            file.lines = Lines::new(0);
            return Ok(Followed::Read);
        }
        match &mut file.rotated {
            Some(since) if read == Followed::Read => *since = Instant::now(),
            Some(since) if since.elapsed() >= AFTER_ROTATION => {
                file.lines.finish(&mut self.batch, &self.limits);
                self.position.forget(&file.name, file.inode);
                self.done_bytes += file.input.done();
                return Ok(Followed::Done);
            }
            _ => {}
        }
        Ok(read)
    }

    /// Opens what an earlier run was following, under its name or under the one that a rotation gave it, then
    /// everything else that matches.
    fn open_followed(&mut self) -> Result<Vec<OpenFile>, Stop> {
        let mut files = Vec::new();
        for known in std::mem::take(&mut self.position.active) {
            if let Some(file) = find_followed(&known)? {
                self.position.update(&file.name, file.inode, known.mark);
                files.push(file);
            }
        }
        self.scan(&mut files)?;
        Ok(files)
    }

    /// Opens new files, follows renames, and notes which files don't match any more.
    fn scan(&mut self, files: &mut Vec<OpenFile>) -> Result<(), Stop> {
        let paths = discover(&self.config.path, true)?;
        let mut present = Vec::new();
        let mut others = Vec::new();
        for path in &paths {
            let name = name_of(path);
            // It may be gone since it was listed.
            let Ok(metadata) = fs::metadata(path) else { continue };
            let inode = inode(&metadata, &name);
            present.push(inode);
            if let Some(file) = files.iter_mut().find(|file| file.inode == inode) {
                if file.name != name {
                    self.position.forget(&file.name, inode);
                    file.name = name;
                    self.position.update(&file.name, inode, file.mark());
                }
                continue;
            }
            // An empty file does not tell yet whether it is compressed.
            let packed = name.ends_with(".gz") || name.ends_with(".zst");
            let is_none_yet = metadata.is_dir() || (packed && metadata.len() == 0);
            if !is_none_yet {
                others.push((path.as_path(), name));
            }
        }
        self.open_new(&others, files)?;
        for file in files.iter_mut() {
            file.rotated = match file.rotated {
                _ if present.contains(&file.inode) => None,
                known => known.or_else(|| Some(Instant::now())),
            };
        }
        Ok(())
    }

    /// Opens those of the files that were not read to their end before.
    fn open_new(&mut self, found: &[(&Path, String)], files: &mut Vec<OpenFile>) -> Result<(), Stop> {
        let found: Vec<(&Path, &str)> = found.iter().map(|(path, name)| (*path, name.as_str())).collect();
        let unchanged = recognize(&mut self.position, &found);
        for ((path, name), _) in found.into_iter().zip(unchanged).filter(|(_, unchanged)| unchanged.is_none())
        {
            match self.open_known(path, name) {
                Ok(Some(file)) => files.push(file),
                Ok(None) => {}
                Err(_) if !path.exists() => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }
}

/// Finds a file that an earlier run followed. `None`: it is gone with whatever was not read of it, or it was
/// truncated and is found as a new one.
fn find_followed(known: &Active) -> Result<Option<OpenFile>, ReadError> {
    let path = Path::new(&known.name);
    let try_path = |path: &Path| -> Result<Option<OpenFile>, ReadError> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
        let name = name_of(path);
        let same_file = inode(&metadata, &name) == known.inode || path == Path::new(&known.name);
        if !same_file || !metadata.is_file() {
            return Ok(None);
        }
        let mut file = open(path, &name)?;
        if !known.mark.fits(file.input.head()) {
            return Ok(None);
        }
        match resume(&mut file, known.mark) {
            Ok(()) => Ok(Some(file)),
            Err(ReadError::BadPosition { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    if let Some(file) = try_path(path)? {
        return Ok(Some(file));
    }
    // A rotation renames a file within its directory, as a rule out of reach of the pattern.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(directory) else { return Ok(None) };
    for entry in entries.flatten() {
        if let Some(mut file) = try_path(&entry.path())? {
            file.rotated = Some(Instant::now());
            return Ok(Some(file));
        }
    }
    Ok(None)
}
