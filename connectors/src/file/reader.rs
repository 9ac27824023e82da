//! The reading thread: opens files, cuts them into batches, and knows at each batch where reading would resume.
//!
//! Invariant: a position sent with a batch covers exactly the events sent up to and with that batch.

use std::{fs, path::Path, thread, time::Duration};

use tidewater_connector_api::{Position, RawEvents, ReadError, SourceContext};
use tokio::sync::mpsc;

use super::{
    FileSourceConfig,
    discover::{STDIN, discover},
    input::{Input, describe, inode},
    lines::{BatchLimits, Lines, Step},
    position::{Active, FilePosition, Mark, name_of},
    recognize::{recognize, rename_active},
};

/// How long a follower that has read everything waits before it looks again.
const POLL: Duration = Duration::from_millis(50);
/// How many such waits pass between two looks for new files.
const POLLS_PER_SCAN: u32 = 20;
/// How many such waits a file that was renamed or removed stays open: its writer may not have noticed yet.
const POLLS_AFTER_ROTATION: u32 = 100;

/// From the thread to the source's task.
pub(super) enum Message {
    Batch {
        events: RawEvents,
        position: Option<Position>,
        done_bytes: u64,
        total_bytes: Option<u64>,
    },
    /// The last one.
    End(Result<(), ReadError>),
}

/// Why reading stops before its end.
pub(super) enum Stop {
    /// Nobody listens any more.
    Closed,
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// Reads the files of one source.
pub(super) struct Reader {
    pub(super) config: FileSourceConfig,
    pub(super) limits: BatchLimits,
    pub(super) context: SourceContext,
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) position: FilePosition,
    pub(super) batch: RawEvents,
    /// A file was finished since a position was sent.
    pub(super) has_finished: bool,
    /// Bytes of the files that are finished, and of all together.
    pub(super) done_bytes: u64,
    pub(super) total_bytes: Option<u64>,
}

/// A file that is open.
struct OpenFile {
    name: String,
    inode: u64,
    input: Input,
    lines: Lines,
    /// Followed: it does not stand under its name any more, and so many polls went by without a new line.
    rotated_polls: Option<u32>,
}

impl OpenFile {
    fn mark(&self) -> Mark {
        self.input.mark(self.lines.offset())
    }
}

impl Reader {
    /// Reads until the end, a fault, or until nobody listens.
    pub(super) fn run(mut self) {
        let read = if self.config.follow { self.follow() } else { self.read_all() };
        // Whatever lies before a fault is sent before the fault is told.
        let done = self.done_bytes;
        let result = match (read, self.flush(done)) {
            (Err(Stop::Closed), _) | (_, Err(_)) => return,
            (Err(Stop::Failed(error)), _) => Err(error),
            (Ok(()), _) => Ok(()),
        };
        // The task may have gone; then nobody wants to know.
        let _ = self.sender.blocking_send(Message::End(result));
    }

    fn read_all(&mut self) -> Result<(), Stop> {
        let files = discover(&self.config.path, false)?;
        let names: Vec<String> = files.iter().map(|path| name_of(path)).collect();
        let mut inodes = Vec::new();
        let mut total = Some(0);
        for (path, name) in files.iter().zip(&names) {
            let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file());
            total = total.zip(metadata.as_ref()).map(|(total, metadata)| total + metadata.len());
            inodes.push(metadata.map(|metadata| inode(&metadata, name)));
        }
        self.total_bytes = total;
        let known = |file: &Active| names.contains(&file.name) || inodes.contains(&Some(file.inode));
        if let Some(gone) = self.position.active.iter().find(|file| !known(file)) {
            let reason = format!("{} was read up to byte {} and is gone", gone.name, gone.mark.offset);
            return Err(ReadError::BadPosition { reason }.into());
        }
        let files: Vec<(&Path, &str)> =
            files.iter().zip(&names).map(|(path, name)| (path.as_path(), name.as_str())).collect();
        rename_active(&mut self.position, &files);
        let unchanged = recognize(&mut self.position, &files);
        for ((path, name), unchanged) in files.into_iter().zip(unchanged) {
            match unchanged {
                Some(len) => self.done_bytes += len,
                None => self.read_file(path, name)?,
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, name: &str) -> Result<(), Stop> {
        let Some(mut file) = self.open_known(path, name)? else { return Ok(()) };
        loop {
            match self.step(&mut file)? {
                Step::Full => self.flush_with(&file)?,
                Step::More => {}
                Step::End => break,
            }
        }
        self.finish(&mut file)
    }

    /// Opens a file where an earlier run left it. `None`: it was read to its end.
    fn open_known(&mut self, path: &Path, name: &str) -> Result<Option<OpenFile>, Stop> {
        let mut file = open(path, name)?;
        let len = file_len(&file.input);
        if let Some(finished) = self.position.finished(name)
            && finished.mark.fits(file.input.head())
        {
            if finished.file_len == len {
                self.done_bytes += len;
                return Ok(None);
            }
            // It was appended to.
            resume(&mut file, finished.mark)?;
            self.position.reopen(name, file.inode, finished.mark);
            return Ok(Some(file));
        }
        // All that was followed is open by now: what is new under its name is another file.
        let active = if self.config.follow { &[][..] } else { &self.position.active };
        let known = active
            .iter()
            .find(|known| known.inode == file.inode && known.mark.fits(file.input.head()))
            .or_else(|| active.iter().find(|known| known.name == name))
            .cloned();
        if let Some(known) = known {
            if !known.mark.fits(file.input.head()) {
                let reason = format!(
                    "{name} was read up to byte {} and is another file now: its first bytes have changed",
                    known.mark.offset
                );
                return Err(ReadError::BadPosition { reason }.into());
            }
            resume(&mut file, known.mark)?;
            self.position.forget(&known.name, known.inode);
            self.position.update(name, file.inode, known.mark);
        }
        Ok(Some(file))
    }

    fn finish(&mut self, file: &mut OpenFile) -> Result<(), Stop> {
        file.lines.finish(&mut self.batch, &self.limits);
        self.done_bytes += file.input.done();
        if file.name != STDIN {
            let (inode, mark, end) = (file.inode, file.mark(), file.input.end());
            self.position.finish(&file.name, inode, mark, end);
            self.has_finished |= mark.offset > 0;
        }
        if self.limits.reached(&self.batch) { self.flush(self.done_bytes) } else { Ok(()) }
    }

    fn follow(&mut self) -> Result<(), Stop> {
        let mut files = self.open_followed()?;
        let mut idle_polls = 0;
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
                idle_polls += 1;
            }
            if idle_polls >= POLLS_PER_SCAN {
                idle_polls = 0;
                self.scan(&mut files)?;
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
        match &mut file.rotated_polls {
            Some(polls) if *polls >= POLLS_AFTER_ROTATION => {
                file.lines.finish(&mut self.batch, &self.limits);
                self.position.forget(&file.name, file.inode);
                self.done_bytes += file.input.done();
                return Ok(Followed::Done);
            }
            Some(polls) => *polls = if read == Followed::Read { 0 } else { *polls + 1 },
            None => {}
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
            file.rotated_polls = match file.rotated_polls {
                _ if present.contains(&file.inode) => None,
                Some(polls) => Some(polls),
                None => Some(0),
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

    fn step(&mut self, file: &mut OpenFile) -> Result<Step, Stop> {
        if self.sender.is_closed() {
            return Err(Stop::Closed);
        }
        let step = file.lines.step(&mut file.input, &mut self.batch, &self.limits);
        step.map_err(|error| {
            // The lines before the fault are in the batch, and the position has to say so.
            self.position.update(&file.name, file.inode, file.mark());
            failed(file, &error)
        })
    }

    fn flush_with(&mut self, file: &OpenFile) -> Result<(), Stop> {
        if file.name != STDIN {
            self.position.update(&file.name, file.inode, file.mark());
        }
        self.flush(self.done_bytes + file.input.done())
    }

    /// Sends what the batch holds. If it holds nothing since the end of a file came just behind a full one, the position alone: a
    /// file that is not known to be finished must not be missing at the next run.
    fn flush(&mut self, done_bytes: u64) -> Result<(), Stop> {
        let replayable = !self.config.path.iter().any(|path| path == STDIN);
        if self.batch.is_empty() && !(self.has_finished && replayable) {
            return Ok(());
        }
        self.has_finished = false;
        let events = std::mem::replace(&mut self.batch, self.context.buffer());
        let position = replayable.then(|| self.position.encode());
        let message = Message::Batch { events, position, done_bytes, total_bytes: self.total_bytes };
        self.sender.blocking_send(message).map_err(|_| Stop::Closed)
    }
}

/// What following one file came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Read,
    Waits,
    Done,
}

fn open(path: &Path, name: &str) -> Result<OpenFile, ReadError> {
    let input = Input::open(path)?;
    let metadata = input.metadata().map_err(|error| ReadError::failed(describe(name, &error)))?;
    let inode = metadata.map_or(0, |metadata| inode(&metadata, name));
    Ok(OpenFile { name: name.to_owned(), inode, input, lines: Lines::new(0), rotated_polls: None })
}

fn resume(file: &mut OpenFile, mark: Mark) -> Result<(), ReadError> {
    let found = file.input.skip_to(mark.offset).map_err(|error| failed_at(file, 0, &error))?;
    if !found {
        let reason = format!("{} was read up to byte {} and is shorter now", file.name, mark.offset);
        return Err(ReadError::BadPosition { reason });
    }
    file.lines = Lines::new(mark.offset);
    Ok(())
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
            file.rotated_polls = Some(0);
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn file_len(input: &Input) -> u64 {
    input.metadata().ok().flatten().map_or(0, |metadata| metadata.len())
}

fn failed(file: &OpenFile, error: &std::io::Error) -> Stop {
    Stop::Failed(failed_at(file, file.lines.offset(), error))
}

fn failed_at(file: &OpenFile, offset: u64, error: &std::io::Error) -> ReadError {
    ReadError::failed(format!("cannot read {} behind byte {offset}: {error}", file.name))
}
