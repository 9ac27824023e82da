//! Reads from a buffer that goes on behind what it holds: wide loads need no care at the end, single bytes stop there.

use super::PaddedEvent;

/// An event's bytes and those behind it.
///
/// Reads do not stop at the event's end but at most 64 bytes behind it, where everything reads as 0, which is no part
/// of any JSON token. A token that runs over the end is found out when the whole object's end is compared with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    padded: &'a [u8],
    end: usize,
}

impl<'a> Bytes<'a> {
    /// The bytes of an event.
    pub(crate) fn new(event: PaddedEvent<'a>) -> Self {
        let (padded, end) = event.parts();
        Self { padded, end }
    }

    /// Where the event ends.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// The event without what is behind it.
    pub(crate) fn event(&self) -> &'a [u8] {
        &self.padded[..self.end]
    }

    /// The event and at least [`PaddedEvent::PADDING`] bytes behind it.
    pub(crate) fn padded(&self) -> &'a [u8] {
        self.padded
    }

    /// The byte at `at`.
    #[inline(always)]
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.padded.get(at).copied().unwrap_or(0)
    }

    /// The `N` bytes from `at` on; `None` only behind the end.
    #[inline(always)]
    pub(crate) fn chunk<const N: usize>(&self, at: usize) -> Option<&'a [u8; N]> {
        self.padded.get(at..)?.first_chunk()
    }

    /// The 8 bytes from `at` on, the first in the lowest bits; 0 far behind the end.
    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> u64 {
        word(self.padded, at)
    }

    /// The first byte from `at` on that is no white space.
    #[inline(always)]
    pub(crate) fn skip_space(&self, at: usize) -> usize {
        if self.byte(at) > b' ' { at } else { self.skip_more_space(at) }
    }

    #[cold]
    fn skip_more_space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        at
    }

    /// Whether nothing but white space stands from `at` up to the end.
    #[inline(always)]
    pub(crate) fn is_blank_from(&self, at: usize) -> bool {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        at == self.end || self.padded[..self.end].get(at..).is_some_and(|rest| rest.iter().all(blank))
    }
}

/// The 8 bytes of `padded` from `at` on, the first in the lowest bits; 0 if there are fewer.
#[inline(always)]
pub(crate) fn word(padded: &[u8], at: usize) -> u64 {
    match padded.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}
