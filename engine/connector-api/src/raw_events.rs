//! Raw events in one buffer: an event costs a copy of its bytes and 16 bytes of index, never an allocation.
//!
//! Invariant: while there is an event, at least [`EVENT_PADDING`] zero bytes stand behind the last one, so that the
//! decoder may read in blocks past the end of any event.

use std::ops::Range;

/// Zero bytes that stand behind the last event.
pub const EVENT_PADDING: usize = 64;

/// Events as received, each the bytes of one JSON object; nothing here looks inside.
///
/// Made to be filled, sent, [cleared](Self::clear) and filled again.
#[derive(Clone, Default)]
pub struct RawEvents {
    /// The events and what stood between them, then the padding (none while nothing was ever pushed).
    buffer: Vec<u8>,
    spans: Vec<Span>,
    /// The few that are larger than allowed, ascending by index.
    oversized: Vec<Oversized>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy)]
struct Oversized {
    index: usize,
    total_len: u64,
}

/// When [`RawEvents::push_lines_limited`] stops, and what it cuts short.
#[derive(Clone, Copy, Debug)]
pub struct LineLimits {
    /// Stops once the batch holds this many events.
    pub max_events: usize,
    /// A longer line becomes an oversized event.
    pub max_event_bytes: usize,
    /// Of an oversized event of at most so many bytes all are kept, of a larger one the first `max_event_bytes`.
    pub kept_bytes: usize,
}

impl LineLimits {
    /// No limits.
    pub const NONE: Self =
        Self { max_events: usize::MAX, max_event_bytes: usize::MAX, kept_bytes: usize::MAX };
}

impl RawEvents {
    /// An empty batch; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `bytes` of events.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes + EVENT_PADDING), ..Self::default() }
    }

    /// Adds one event.
    pub fn push(&mut self, event: &[u8]) {
        self.push_parts(&[event]);
    }

    /// Adds one event that lies in several parts, as after splicing keys into it.
    pub fn push_parts(&mut self, parts: &[&[u8]]) {
        let start = self.unpad();
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        let end = self.buffer.len();
        self.spans.push(Span { start, end });
        self.bytes += end - start;
        self.pad();
    }

    /// Adds an event that is larger than allowed: its first bytes and its whole length. The engine puts it in
    /// quarantine as `too_large` with what was kept.
    pub fn push_oversized(&mut self, prefix: &[u8], total_len: u64) {
        self.oversized.push(Oversized { index: self.spans.len(), total_len });
        self.push(prefix);
    }

    /// Adds every line of `block` (a last one without newline too), skipping blank ones and dropping `\r` at the
    /// end.
    pub fn push_lines(&mut self, block: &[u8]) {
        self.push_lines_limited(block, LineLimits::NONE);
    }

    /// Like [`push_lines`](Self::push_lines), but stops when the batch is full. Returns how many bytes of `block` are
    /// done with; less than its length only when the batch is full.
    pub fn push_lines_limited(&mut self, block: &[u8], limits: LineLimits) -> usize {
        // The block is copied in one piece, newlines included, which is cheaper than line by line.
        let base = self.unpad();
        let mut done = 0;
        while done < block.len() && self.spans.len() < limits.max_events {
            let rest = &block[done..];
            let (line, consumed) = match memchr::memchr(b'\n', rest) {
                Some(newline) => (&rest[..newline], newline + 1),
                None => (rest, rest.len()),
            };
            self.index_line(base + done, line, limits);
            done += consumed;
        }
        self.buffer.extend_from_slice(&block[..done]);
        self.pad();
        done
    }

    fn index_line(&mut self, start: usize, line: &[u8], limits: LineLimits) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Nearly every line starts with its brace; only the others are looked through for being blank.
        if line.first().is_none_or(|byte| byte.is_ascii_whitespace() && line.trim_ascii().is_empty()) {
            return;
        }
        let mut kept = line.len();
        if kept > limits.max_event_bytes {
            self.oversized.push(Oversized { index: self.spans.len(), total_len: kept as u64 });
            if kept > limits.kept_bytes {
                kept = limits.max_event_bytes;
            }
        }
        self.spans.push(Span { start, end: start + kept });
        self.bytes += kept;
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many bytes the events have in all (of oversized ones: what was kept).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes of memory the batch holds.
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.oversized.capacity() * size_of::<Oversized>()
    }

    /// How many of them are filled: so much the batch needs.
    pub fn used_bytes(&self) -> usize {
        self.buffer.len()
            + self.spans.len() * size_of::<Span>()
            + self.oversized.len() * size_of::<Oversized>()
    }

    /// The event at `index`, which must be less than [`len`](Self::len).
    pub fn get(&self, index: usize) -> &[u8] {
        &self.buffer[self.range(index)]
    }

    /// The events in order, oversized ones too.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.spans.iter().map(|span| &self.buffer[span.start..span.end])
    }

    /// The buffer from the start of an event on, and the event's length: [`EVENT_PADDING`] bytes or more follow it.
    pub fn padded(&self, index: usize) -> (&[u8], usize) {
        let Range { start, end } = self.range(index);
        (&self.buffer[start..], end - start)
    }

    /// Whether the event at `index` is an oversized one; then how long it was as a whole.
    pub fn oversized(&self, index: usize) -> Option<u64> {
        // Nearly always empty, and then this is one comparison.
        if self.oversized.is_empty() {
            return None;
        }
        let place = self.oversized.binary_search_by_key(&index, |large| large.index).ok()?;
        Some(self.oversized[place].total_len)
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.spans.clear();
        self.oversized.clear();
        self.bytes = 0;
    }

    /// Moves all events of `other` behind these and leaves it empty, with its memory.
    pub fn append(&mut self, other: &mut Self) {
        let base = self.unpad();
        self.buffer.extend_from_slice(&other.buffer[..other.payload_len()]);
        self.pad();
        let shift = self.spans.len();
        self.oversized
            .extend(other.oversized.iter().map(|large| Oversized { index: large.index + shift, ..*large }));
        self.spans
            .extend(other.spans.iter().map(|span| Span { start: span.start + base, end: span.end + base }));
        self.bytes += other.bytes;
        other.clear();
    }

    fn range(&self, index: usize) -> Range<usize> {
        let span = self.spans[index];
        span.start..span.end
    }

    fn payload_len(&self) -> usize {
        self.buffer.len().saturating_sub(EVENT_PADDING)
    }

    /// Takes the padding away and returns where the next event starts.
    fn unpad(&mut self) -> usize {
        let end = self.payload_len();
        self.buffer.truncate(end);
        end
    }

    fn pad(&mut self) {
        self.buffer.extend_from_slice(&[0; EVENT_PADDING]);
    }
}

impl std::fmt::Debug for RawEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Events are customers' data: they have no place in a debug print.
        f.debug_struct("RawEvents").field("len", &self.len()).field("bytes", &self.bytes).finish()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for RawEvents {
    fn from_iter<I: IntoIterator<Item = T>>(events: I) -> Self {
        let mut batch = Self::new();
        for event in events {
            batch.push(event.as_ref());
        }
        batch
    }
}

#[cfg(test)]
mod tests;
