//! The reading thread: opens files, cuts them into batches, and knows at each batch where reading would resume.
//!
//! Invariant: a position sent with a batch covers exactly the events sent up to and with that batch.

mod follow;
mod open_file;

use std::{fs, path::Path};

use tidewater_connector_api::{Position, RawEvents, ReadError, SourceContext};
use tokio::sync::mpsc;

use self::open_file::{OpenFile, failed, file_len, open, resume};
use super::{
    FileSourceConfig,
    discover::{STDIN, discover},
    input::inode,
    lines::{BatchLimits, Step},
    position::{Active, FilePosition, name_of},
    recognize::{recognize, rename_active},
};

/// What can be done about a file that an earlier run had begun and that is not there as it was.
const WAYS_OUT: &str = "put it back, or give the source another name, which reads everything from the start";

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
            let reason =
                format!("{} was read up to byte {} and is gone; {WAYS_OUT}", gone.name, gone.mark.offset);
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
                    "{name} was read up to byte {} and is another file now: its first bytes have changed; {WAYS_OUT}",
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
