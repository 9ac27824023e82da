//! One epoch as it stands in the log: a small bincode header, then the events' bytes untouched.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidewater_model::Timestamp;

use crate::codec;

/// All of an epoch but its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochHeader {
    /// The epoch's number; the log holds every number from its first on.
    pub epoch: u64,
    /// The engine's time at the end of the epoch.
    pub now: Timestamp,
    /// The wall clock at which the epoch's events were accepted: the time of those that carry none.
    pub accepted_at: Timestamp,
    /// The place in the log of the epoch's first event (of an epoch without events: of the next event).
    pub first_place: u64,
    /// Where each source resumes once this epoch is durable: name and opaque position, only of sources that moved.
    pub positions: Vec<(String, Vec<u8>)>,
}

/// An epoch as read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochEntry {
    /// Number, times, places.
    pub header: EpochHeader,
    /// The events, in the order of their places.
    pub events: EventBytes,
}

/// Events in one buffer, with at least [`PADDING`](Self::PADDING) zero bytes behind the last one.
///
/// A scanner may so read past the end of any event without a check.
#[derive(Clone)]
pub struct EventBytes {
    /// `start` bytes of something else, the events, the padding.
    buffer: Vec<u8>,
    start: usize,
    /// Where each event ends, counted from `start`.
    ends: Vec<usize>,
}

impl EventBytes {
    /// How many zero bytes can be read behind the last event.
    pub const PADDING: usize = 64;

    /// No events.
    pub fn new() -> Self {
        Self { buffer: vec![0; Self::PADDING], start: 0, ends: Vec::new() }
    }

    /// Adds a copy of an event.
    pub fn push(&mut self, event: &[u8]) {
        self.buffer.truncate(self.buffer.len() - Self::PADDING);
        self.buffer.extend_from_slice(event);
        self.ends.push(self.buffer.len() - self.start);
        self.buffer.resize(self.buffer.len() + Self::PADDING, 0);
    }

    /// Forgets the events and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.resize(Self::PADDING, 0);
        self.start = 0;
        self.ends.clear();
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All events' bytes, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.buffer.len() - Self::PADDING]
    }

    /// Where each event ends in [`bytes`](Self::bytes).
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// The event at `index`, or `None` past the last.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (rest, len) = self.padded(index)?;
        Some(&rest[..len])
    }

    /// From the start of the event at `index` to the end of the buffer, and the event's length: behind the event
    /// at least [`PADDING`](Self::PADDING) more bytes can be read.
    pub fn padded(&self, index: usize) -> Option<(&[u8], usize)> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some((&self.buffer[self.start + start..], end - start))
    }

    /// The events in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        let bytes = self.bytes();
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let event = &bytes[start..end];
            start = end;
            event
        })
    }

    /// Gives the buffer away to read the next entry into; no events are left.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        let buffer = std::mem::take(&mut self.buffer);
        self.clear();
        buffer
    }
}

impl Default for EventBytes {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for EventBytes {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.bytes() == other.bytes()
    }
}

impl Eq for EventBytes {}

impl fmt::Debug for EventBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventBytes({} events, {} bytes)", self.len(), self.bytes().len())
    }
}

/// Appends the encoding of all but the events' bytes to `out`.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    header: &EpochHeader,
    lengths: &[u32],
) -> Result<(), bincode::Error> {
    codec::encode_into(out, &(header, lengths))
}

/// Decodes a payload followed by [`EventBytes::PADDING`] zero bytes. On failure says what is wrong with it.
pub(crate) fn decode(payload: Vec<u8>) -> Result<EpochEntry, &'static str> {
    let Some(len) = payload.len().checked_sub(EventBytes::PADDING) else {
        return Err("an entry is too short");
    };
    let (header, start, ends) = split(&payload[..len])?;
    Ok(EpochEntry { header, events: EventBytes { buffer: payload, start, ends } })
}

/// The header of a payload without padding, and how many events it has.
pub(crate) fn decode_head(payload: &[u8]) -> Result<(EpochHeader, u64), &'static str> {
    let (header, _, ends) = split(payload)?;
    Ok((header, ends.len() as u64))
}

/// Header, where the events begin, and where each one ends, counted from there.
fn split(payload: &[u8]) -> Result<(EpochHeader, usize, Vec<usize>), &'static str> {
    let decoded = codec::decode_prefix::<(EpochHeader, Vec<u32>)>(payload);
    let Ok(((header, lengths), start)) = decoded else {
        return Err("an entry cannot be decoded");
    };
    let mut ends = Vec::with_capacity(lengths.len());
    let mut total: usize = 0;
    for length in lengths {
        total = total.saturating_add(length as usize);
        ends.push(total);
    }
    if start.saturating_add(total) != payload.len() {
        return Err("the lengths of an entry's events do not add up");
    }
    Ok((header, start, ends))
}
