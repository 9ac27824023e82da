//! File sink: every delta once, whatever crashes, because the file is cut back to what was acknowledged.
//!
//! The position is the length of the file, 8 bytes little endian. Everything behind the acknowledged length was
//! written by a delivery that never counted: it is cut off before the next one is written.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink, SinkCapabilities, json};
use tidewater_model::DeltaBatch;
use tokio::task::spawn_blocking;

use super::{FileSinkConfig, input::inode};

/// How often opening tries to lock the file, 10 ms apart: a delivery given up in this process may hold it a little
/// longer, another process for good.
const LOCK_TRIES: u32 = 300;

/// So many bytes are written at once: few enough that they are still in the processor's cache when they are copied.
const WRITE_BYTES: usize = 256 << 10;

/// Appends one JSON object a delta to a file; exactly once.
///
/// The file is locked against a second engine. It starts behind what is in the file when the engine first opens it.
#[derive(Debug)]
pub struct FileSink {
    path: Arc<str>,
    /// Locked while a delivery writes, also by one that nobody waits for any more.
    file: Arc<Mutex<Option<Output>>>,
    /// The length that the engine knows of.
    committed: u64,
}

#[derive(Debug)]
struct Output {
    file: File,
    inode: u64,
    /// Kept for its memory.
    lines: Vec<u8>,
}

impl FileSink {
    /// Makes a sink; nothing is opened before the engine opens it.
    pub fn new(config: FileSinkConfig) -> Self {
        Self { path: config.path.into(), file: Arc::default(), committed: 0 }
    }

    async fn on_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&str, &mut Option<Output>) -> Result<T, DeliveryError> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let (path, file) = (Arc::clone(&self.path), Arc::clone(&self.file));
        let done = spawn_blocking(move || {
            // A delivery that panicked left bytes behind the committed length at worst, and those are cut off.
            work(&path, &mut file.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await
            .unwrap_or_else(|error| Err(DeliveryError::maybe_applied(format!("writing panicked: {error}"))))
    }
}

impl Sink for FileSink {
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { exactly_once: true }
    }

    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        let position = acknowledged.map(|acknowledged| length_of(&acknowledged.position)).transpose()?;
        self.committed = self
            .on_file(move |path, output| {
                // The handle of an earlier attempt holds the lock that this one is about to take.
                *output = None;
                let mut opened = open(path)?;
                let length = match position {
                    Some(length) => cut_back(path, &opened.file, length).map(|()| length),
                    None => end_of(path, &mut opened.file),
                }?;
                // Not before: a refused file must not stay locked, or the one that is put in its place finds no way in.
                *output = Some(opened);
                Ok(length)
            })
            .await?;
        Ok(position_of(self.committed))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let (batches, committed) = (batches.to_vec(), self.committed);
        self.committed = self
            .on_file(move |path, output| {
                let Some(output) = output else {
                    return Err(DeliveryError::refused(format!("{path} was never opened")));
                };
                append(path, output, &batches, committed)
            })
            .await?;
        Ok(position_of(self.committed))
    }
}

fn open(path: &str) -> Result<Output, DeliveryError> {
    if let Some(directory) = Path::new(path).parent() {
        std::fs::create_dir_all(directory).map_err(|error| failed(path, "make the directory of", &error))?;
    }
    let new = !Path::new(path).exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed(path, "open", &error))?;
    let metadata = file.metadata().map_err(|error| failed(path, "look at", &error))?;
    if !metadata.is_file() {
        return Err(DeliveryError::refused(format!(
            "{path} is no regular file and can't be cut back; for a pipe or a terminal use `type: stdout`"
        )));
    }
    lock(path, &file)?;
    if new {
        // Or a crash could take the file away with everything that was acknowledged.
        sync_directory(path).map_err(|error| failed(path, "make", &error))?;
    }
    Ok(Output { inode: inode(&metadata, path), file, lines: Vec::new() })
}

fn lock(path: &str, file: &File) -> Result<(), DeliveryError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            // A file system without locks is no reason not to write.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed(path, "lock", &error)),
        }
    }
    Err(DeliveryError::not_applied(format!("{path} is locked by another process")))
}

/// Cuts off what was never acknowledged.
fn cut_back(path: &str, file: &File, length: u64) -> Result<(), DeliveryError> {
    let actual = file.metadata().map_err(|error| failed(path, "look at", &error))?.len();
    if actual < length {
        return Err(DeliveryError::refused(format!(
            "{path} has {actual} bytes, but {length} were acknowledged: it was replaced or truncated"
        )));
    }
    if actual > length {
        file.set_len(length).map_err(|error| failed(path, "truncate", &error))?;
        file.sync_data().map_err(|error| failed(path, "sync", &error))?;
    }
    Ok(())
}

/// Where a sink starts that was never opened: behind what others wrote, on a line of its own.
fn end_of(path: &str, file: &mut File) -> Result<u64, DeliveryError> {
    let end = (|| {
        let mut end = file.seek(SeekFrom::End(0))?;
        if end > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                file.sync_data()?;
                end += 1;
            }
        }
        Ok(end)
    })();
    end.map_err(|error: io::Error| failed(path, "look at", &error))
}

fn append(
    path: &str,
    output: &mut Output,
    batches: &[Arc<DeltaBatch>],
    committed: u64,
) -> Result<u64, DeliveryError> {
    if batches.iter().all(|batch| batch.is_empty()) {
        return Ok(committed);
    }
    // Lines written to a file that was moved away would be acknowledged and be nowhere.
    let there = std::fs::metadata(path).is_ok_and(|metadata| inode(&metadata, path) == output.inode);
    if !there {
        return Err(DeliveryError::refused(format!("{path} was moved or removed while it was written")));
    }
    cut_back(path, &output.file, committed)?;
    // Whatever was written of it lies behind the committed length, so nothing of it counts.
    write_lines(output, batches, committed).map_err(|error| failed(path, "write", &error))
}

/// Writes from `committed` on; returns the length then.
fn write_lines(output: &mut Output, batches: &[Arc<DeltaBatch>], committed: u64) -> io::Result<u64> {
    let Output { file, lines, .. } = output;
    let mut end = file.seek(SeekFrom::Start(committed))?;
    lines.clear();
    for batch in batches {
        let mut writer = json::DeltaWriter::of_batch(batch);
        for delta in batch.iter() {
            writer.write(lines, &delta);
            lines.push(b'\n');
            if lines.len() >= WRITE_BYTES {
                file.write_all(lines)?;
                end += lines.len() as u64;
                lines.clear();
            }
        }
    }
    file.write_all(lines)?;
    file.sync_data()?;
    Ok(end + lines.len() as u64)
}

fn length_of(position: &Position) -> Result<u64, DeliveryError> {
    let bytes = position.as_bytes().try_into();
    bytes.map(u64::from_le_bytes).map_err(|_| {
        DeliveryError::refused("the recorded position was not written by a file sink, or by a later version")
    })
}

fn position_of(length: u64) -> Position {
    Position(length.to_le_bytes().to_vec())
}

fn failed(path: &str, what: &str, error: &io::Error) -> DeliveryError {
    let reason = format!("cannot {what} {path}: {error}");
    match error.kind() {
        // Nobody gets better by waiting.
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::InvalidInput => DeliveryError::refused(reason),
        _ => DeliveryError::not_applied(reason),
    }
}

/// Makes the directory's entry for the file durable.
fn sync_directory(path: &str) -> io::Result<()> {
    let directory = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(directory.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}
