//! File source: NDJSON files in order, resumed at the exact line.
//!
//! Files are read in blocks on a thread of their own, so that slow disks and decompression never hold up the tasks of
//! others. Positions: per file its name, inode, fingerprints and the offset in the decompressed content.

use std::{pin::pin, thread};

use tidewater_connector_api::{RawEvents, ReadError, SendError, Source, SourceCapabilities, SourceContext};
use tokio::sync::mpsc;

use super::{
    FileSourceConfig,
    discover::STDIN,
    lines::BatchLimits,
    position::FilePosition,
    reader::{Message, Reader},
};
use crate::LARGEST_EVENT;

/// A batch is sent with this many events, or bytes, whichever comes first: one epoch's worth.
const BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: usize = 1 << 20;
/// Batches read ahead while the engine is busy.
const BATCHES_AHEAD: usize = 2;

/// Reads NDJSON files. Plain or compressed (gzip, zstd, told by their first bytes), one after the other in the order of
/// their names, or followed.
///
/// - A file that was read to its end is not read again, unless it was appended to; then only what is new. A compressed one
///   is read from its start to find where to resume.
/// - Nor is it read again under another name, as after a rotation, once its old name is gone or another file's. It is known by
///   its length and its first and last bytes; one of less than 256 bytes also by its inode. Compressed since, it is another file.
/// - Of files with equal contents all are read, as long as all are there.
/// - A followed file may be appended to, truncated, renamed or replaced; a compressed one is read once, to its end,
///   so it should come into place complete.
/// - A last line without newline counts, but under `follow` waits for its end.
#[derive(Clone, Debug)]
pub struct FileSource {
    config: FileSourceConfig,
    batch_events: usize,
}

impl FileSource {
    /// Makes a source; nothing is opened before it runs.
    pub fn new(config: FileSourceConfig) -> Self {
        Self { config, batch_events: BATCH_EVENTS }
    }

    /// Sends batches of at most this many events, at least 1; 10,000 by default.
    pub fn with_batch_events(mut self, events: usize) -> Self {
        self.batch_events = events.max(1);
        self
    }

    fn start(
        &self,
        context: &SourceContext,
        position: FilePosition,
    ) -> Result<mpsc::Receiver<Message>, ReadError> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let reader = Reader {
            config: self.config.clone(),
            limits: BatchLimits {
                max_events: self.batch_events,
                max_bytes: BATCH_BYTES,
                max_event_bytes: self.config.max_event_bytes,
                kept_bytes: LARGEST_EVENT,
            },
            context: context.clone(),
            sender,
            position,
            batch: RawEvents::new(),
            has_finished: false,
            done_bytes: 0,
            total_bytes: None,
        };
        // A thread of its own, not of a pool: a read of standard input can't be interrupted, and a pool would wait
        // for it at exit.
        thread::Builder::new()
            .name(format!("source {}", context.name()))
            .spawn(move || reader.run())
            .map_err(|error| ReadError::failed(format!("cannot start a thread: {error}")))?;
        Ok(receiver)
    }
}

impl Source for FileSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            finite: !self.config.follow,
            replayable: !self.config.path.iter().any(|path| path == STDIN),
        }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let position = context.resume_from().map_or(Ok(FilePosition::default()), FilePosition::decode)?;
        let mut messages = self.start(&context, position)?;
        let mut closing = pin!(context.closing());
        loop {
            let message = tokio::select! {
                biased;
                () = &mut closing => return Ok(()),
                message = messages.recv() => message,
            };
            let Some(Message::Batch { events, position, done_bytes, total_bytes }) = message else {
                let ended = ReadError::failed("the reading thread ended without a word");
                return if let Some(Message::End(result)) = message { result } else { Err(ended) };
            };
            let sent = tokio::select! {
                biased;
                sent = context.send(events, position) => sent,
                () = &mut closing => return Ok(()),
            };
            match sent {
                // The engine logs the position with the events; a file needs no answer.
                Ok(receipt) => drop(receipt),
                Err(SendError::Closed) => return Ok(()),
                Err(error) => return Err(ReadError::failed(error.to_string())),
            }
            context.progress(done_bytes, total_bytes);
        }
    }
}
