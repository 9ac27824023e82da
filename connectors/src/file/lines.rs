//! Cuts a stream into lines, in blocks, holding at most one line beyond the block, of the size that is kept.
//!
//! Invariant: `offset` is the place in the stream of the first byte that no event sent so far covers; reading again
//! from there gives exactly the rest.

use std::io::{self, Read};

use tidewater_connector_api::{LineLimits, RawEvents};

/// Bytes per read.
const BLOCK_BYTES: usize = 512 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// When a batch of events is large enough to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    pub(super) max_events: usize,
    pub(super) max_bytes: usize,
    pub(super) max_event_bytes: usize,
    /// A longer line is kept whole up to so many bytes: it can be fed again under a larger limit.
    pub(super) kept_bytes: usize,
}

impl BatchLimits {
    /// Whether a batch is full.
    pub(super) fn reached(&self, batch: &RawEvents) -> bool {
        batch.len() >= self.max_events || batch.bytes() >= self.max_bytes
    }

    fn lines(&self) -> LineLimits {
        let Self { max_events, max_event_bytes, kept_bytes, .. } = *self;
        LineLimits { max_events, max_event_bytes, kept_bytes }
    }
}

/// What one step of reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The batch is full; there may be more lines.
    Full,
    /// Read on.
    More,
    /// The stream has no more bytes for now, and every complete line is in the batch.
    End,
}

/// The lines of one stream.
pub(super) struct Lines {
    block: Vec<u8>,
    /// First byte that is in no event yet.
    start: usize,
    /// Behind the last complete line.
    complete: usize,
    /// Behind the last byte read.
    end: usize,
    offset: u64,
    long: Option<LongLine>,
}

/// A line that is longer than an event may be, while its end is looked for.
#[derive(Default)]
struct LongLine {
    /// All of it, or its first bytes.
    kept: Vec<u8>,
    len: u64,
    /// There was something but white space; without, it is no event, however long.
    has_more_than_blanks: bool,
}

impl LongLine {
    fn extend(&mut self, bytes: &[u8], limits: &BatchLimits) {
        self.len += bytes.len() as u64;
        self.has_more_than_blanks |= !bytes.trim_ascii().is_empty();
        if self.len <= limits.kept_bytes as u64 {
            self.kept.extend_from_slice(bytes);
        } else {
            let room = limits.max_event_bytes.saturating_sub(self.kept.len()).min(bytes.len());
            self.kept.extend_from_slice(&bytes[..room]);
            self.kept.truncate(limits.max_event_bytes);
            self.kept.shrink_to_fit();
        }
    }

    fn hand_on(self, batch: &mut RawEvents) {
        let is_whole = self.kept.len() as u64 == self.len;
        match self.kept.strip_suffix(b"\r").filter(|_| is_whole) {
            _ if !self.has_more_than_blanks => {}
            Some(line) => batch.push_oversized(line, line.len() as u64),
            None => batch.push_oversized(&self.kept, self.len),
        }
    }
}

impl Lines {
    /// Starts at an offset of the stream.
    pub(super) fn new(offset: u64) -> Self {
        Self { block: Vec::new(), start: 0, complete: 0, end: 0, offset, long: None }
    }

    /// Where reading would resume.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads at most once and moves complete lines to `batch`, until it is full.
    pub(super) fn step(
        &mut self,
        stream: &mut impl Read,
        batch: &mut RawEvents,
        limits: &BatchLimits,
    ) -> io::Result<Step> {
        self.hand_on(batch, limits);
        if limits.reached(batch) {
            return Ok(Step::Full);
        }
        self.make_room(limits);
        let count = loop {
            match stream.read(&mut self.block[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count == 0 {
            return Ok(Step::End);
        }
        let fresh = self.end;
        self.end += count;
        if self.offset == 0 && self.start == 0 && self.block[..self.end].starts_with(BYTE_ORDER_MARK) {
            self.start = BYTE_ORDER_MARK.len();
            self.offset = BYTE_ORDER_MARK.len() as u64;
        }
        let fresh = if self.long.is_some() { self.end_long(batch, limits) } else { fresh.max(self.start) };
        self.complete = memchr::memrchr(b'\n', &self.block[fresh..self.end])
            .map_or(self.start, |newline| fresh + newline + 1);
        self.hand_on(batch, limits);
        Ok(if limits.reached(batch) { Step::Full } else { Step::More })
    }

    /// Takes what is left at the end of the stream as a line without newline.
    pub(super) fn finish(&mut self, batch: &mut RawEvents, limits: &BatchLimits) {
        if let Some(long) = self.long.take() {
            self.offset += long.len;
            long.hand_on(batch);
        }
        let rest = &self.block[self.start..self.end];
        // One event more than a full batch holds does no harm.
        batch.push_lines_limited(rest, LineLimits { max_events: usize::MAX, ..limits.lines() });
        self.offset += rest.len() as u64;
        (self.start, self.complete, self.end) = (0, 0, 0);
    }

    fn hand_on(&mut self, batch: &mut RawEvents, limits: &BatchLimits) {
        if self.start < self.complete {
            let done = batch.push_lines_limited(&self.block[self.start..self.complete], limits.lines());
            self.start += done;
            self.offset += done as u64;
        }
    }

    /// Makes room for a block behind the incomplete line, or begins to set the line aside if it is too long by now.
    fn make_room(&mut self, limits: &BatchLimits) {
        let line = &self.block[self.start..self.end];
        // One more than allowed could still be a carriage return.
        if line.len() > limits.max_event_bytes + 1 {
            let mut long = LongLine::default();
            long.extend(line, limits);
            self.long = Some(long);
            self.end = self.start;
        }
        self.block.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        (self.start, self.complete) = (0, 0);
        if self.block.len() < self.end + BLOCK_BYTES / 2 {
            self.block.resize(self.end + BLOCK_BYTES, 0);
        }
    }

    /// Looks for the end of a long line in a fresh block; returns where complete lines may begin.
    fn end_long(&mut self, batch: &mut RawEvents, limits: &BatchLimits) -> usize {
        let Some(mut long) = self.long.take() else { return 0 };
        match memchr::memchr(b'\n', &self.block[..self.end]) {
            None => {
                long.extend(&self.block[..self.end], limits);
                self.long = Some(long);
                self.end = 0;
            }
            Some(newline) => {
                long.extend(&self.block[..newline], limits);
                self.offset += long.len + 1;
                long.hand_on(batch);
                self.start = newline + 1;
            }
        }
        self.start
    }
}

#[cfg(test)]
mod tests;
