//! Files that were read to their end are known again, whatever their names are now.
//!
//! Invariant: what is noted of a finished file belongs to one file at most, and passes to another name only when the file
//! that had it is gone from under its own. So of two files with equal contents both are read, as long as both are there.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::{
    discover::STDIN,
    input::inode,
    position::{Active, FilePosition, Finished, HEAD_BYTES, hash, short_inode},
};

/// Looks at all files before any is read, and takes what is noted of finished ones over to their present names. Says of
/// each file its length if it was read to its end and has not grown.
///
/// All at once and beforehand: after a rotation another file stands under the old name, and once that one is finished
/// nobody would know the old one any more.
pub(super) fn recognize(position: &mut FilePosition, files: &[(&Path, &str)]) -> Vec<Option<u64>> {
    let mut unchanged = vec![None; files.len()];
    if position.finished.is_empty() {
        return unchanged;
    }
    let by_name: HashMap<u64, usize> =
        position.finished.iter().enumerate().map(|(entry, finished)| (finished.name_hash, entry)).collect();
    let own = |name: &str| by_name.get(&hash(name.as_bytes())).copied();
    let mut free = vec![true; position.finished.len()];
    let mut strangers = Vec::new();
    for (place, (path, name)) in files.iter().enumerate() {
        let own = own(name);
        let probe = match Probe::open(path, name) {
            Ok(Some(probe)) => probe,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Whoever reads it will say what is wrong with it; until then it is the file that it was.
            Ok(None) | Err(_) => {
                own.into_iter().for_each(|entry| free[entry] = false);
                continue;
            }
        };
        match own.filter(|entry| probe.is_still(&position.finished[*entry])) {
            Some(entry) => {
                free[entry] = false;
                unchanged[place] = probe.note_unchanged(&mut position.finished[entry]);
            }
            None if probe.is_active(&position.active, name) => {}
            None => strangers.push((place, probe.len)),
        }
    }
    let renamed = match free.contains(&true) {
        true => find_renamed(position, files, &strangers, &mut free),
        false => Vec::new(),
    };
    let mut stale = HashSet::new();
    for (place, len) in &strangers {
        let Some(entry) = own(files[*place].1).filter(|entry| free[*entry]) else { continue };
        // One that is shorter than what was read of it is told by whoever opens it, unless it is known to be another one.
        let is_another = renamed.iter().any(|(renamed, _)| renamed == place);
        if is_another || *len >= position.finished[entry].file_len {
            stale.insert(entry);
        }
    }
    for (place, entry) in renamed {
        position.finished[entry].name_hash = hash(files[place].1.as_bytes());
        if let Ok(Some(probe)) = Probe::open(files[place].0, files[place].1) {
            unchanged[place] = probe.note_unchanged(&mut position.finished[entry]);
        }
    }
    let mut entry = 0..;
    position.finished.retain(|_| entry.next().is_none_or(|entry| !stale.contains(&entry)));
    unchanged
}

/// Gives files that are being read the names that they have now, so that whatever stands under their old ones is not
/// taken for them.
pub(super) fn rename_active(position: &mut FilePosition, files: &[(&Path, &str)]) {
    for known in &mut position.active {
        let is_this = |(path, name): &(&Path, &str)| {
            let probe = Probe::open(path, name).ok().flatten();
            probe.is_some_and(|probe| probe.inode == known.inode && known.mark.fits(&probe.head))
        };
        let under_its_name = files.iter().find(|(_, name)| *name == known.name);
        if under_its_name.is_some_and(is_this) {
            continue;
        }
        if let Some((_, name)) = files.iter().find(|file| is_this(file)) {
            known.name = (*name).to_owned();
        }
    }
}

/// Which of the strangers is which of the finished files whose names are free: pairs of file and entry.
fn find_renamed(
    position: &FilePosition,
    files: &[(&Path, &str)],
    strangers: &[(usize, u64)],
    free: &mut [bool],
) -> Vec<(usize, usize)> {
    let mut renamed = Vec::new();
    for (place, _) in strangers {
        let (path, name) = files[*place];
        let Ok(Some(probe)) = Probe::open(path, name) else { continue };
        let finished = position.finished.iter().enumerate();
        let fitting = finished.filter(|(entry, finished)| free[*entry] && probe.was(finished));
        // Of several the longest: the others are what it once began with.
        if let Some((entry, _)) = fitting.max_by_key(|(_, finished)| finished.file_len) {
            free[entry] = false;
            renamed.push((*place, entry));
        }
    }
    renamed
}

/// As much of a file as tells whether it is one that was read.
struct Probe {
    file: File,
    len: u64,
    inode: u64,
    head: Vec<u8>,
}

impl Probe {
    /// `None`: not a regular file, from which reading would take something.
    fn open(path: &Path, name: &str) -> io::Result<Option<Self>> {
        // Before it is opened, since opening a pipe waits for its writer.
        if name == STDIN || !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        Ok(Some(Self { len: metadata.len(), inode: inode(&metadata, name), file, head }))
    }

    /// Whether it is the file that was finished under the same name, grown perhaps.
    fn is_still(&self, finished: &Finished) -> bool {
        let is_empty_still = self.len == 0 && finished.file_len == 0;
        is_empty_still || self.begins_as(finished) && (finished.tail_hash == 0 || self.goes_on_as(finished))
    }

    /// Whether it is the file that was finished under another name, grown perhaps. Reading a file again may count events
    /// twice, taking it for another one loses events: so what there is to compare must be enough.
    fn was(&self, finished: &Finished) -> bool {
        if !self.begins_as(finished) {
            return false;
        }
        let has_whole_head = finished.mark.head_len == HEAD_BYTES as u64;
        match finished.tail_hash {
            // Noted by a version that knew the beginning only, which other files may share.
            0 => has_whole_head && self.len == finished.file_len,
            // A line or two may well stand at the beginning of another file.
            _ => (has_whole_head || finished.inode == short_inode(self.inode)) && self.goes_on_as(finished),
        }
    }

    fn begins_as(&self, finished: &Finished) -> bool {
        // Every file begins as an empty one does.
        finished.mark.head_len > 0 && self.len >= finished.file_len && finished.mark.fits(&self.head)
    }

    fn goes_on_as(&self, finished: &Finished) -> bool {
        tail_hash(&self.file, finished.file_len) == finished.tail_hash
    }

    /// Whether it was begun and not finished, so that it is known anyway.
    fn is_active(&self, active: &[Active], name: &str) -> bool {
        let is_this = |known: &Active| known.inode == self.inode || known.name == name;
        active.iter().any(|known| is_this(known) && known.mark.head_len > 0 && known.mark.fits(&self.head))
    }

    /// Its length, if it is as long as when it was finished. What is noted of it gets what earlier versions left out.
    fn note_unchanged(&self, finished: &mut Finished) -> Option<u64> {
        if self.len != finished.file_len {
            return None;
        }
        finished.inode = short_inode(self.inode);
        finished.tail_hash = tail_hash(&self.file, self.len);
        Some(self.len)
    }
}

/// A hash of the last bytes before the end of what was read; 0 if there are none or they can't be read. Together with the
/// first bytes and the length it tells files apart that only begin alike, such as one export a day.
pub(super) fn tail_hash(mut file: &File, end: u64) -> u32 {
    let len = end.min(HEAD_BYTES as u64);
    let mut tail = Vec::new();
    let read = file
        .seek(SeekFrom::Start(end - len))
        .and_then(|_| file.take(len).read_to_end(&mut tail))
        .is_ok_and(|count| count as u64 == len);
    if read && !tail.is_empty() { (hash(&tail) as u32).max(1) } else { 0 }
}
