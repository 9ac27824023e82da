//! An event that wide loads may read past.

/// One event's bytes, followed by at least [`PADDING`](Self::PADDING) readable bytes of any content.
#[derive(Clone, Copy)]
pub struct PaddedEvent<'a> {
    /// Exactly the event and its padding.
    padded: &'a [u8],
    len: usize,
}

impl<'a> PaddedEvent<'a> {
    /// How many bytes must be readable behind an event.
    pub const PADDING: usize = 64;

    /// The event in the first `len` bytes of `buffer`; `None` if fewer than [`PADDING`](Self::PADDING) bytes follow it.
    #[inline]
    pub fn new(buffer: &'a [u8], len: usize) -> Option<Self> {
        let padded = buffer.get(..len.checked_add(Self::PADDING)?)?;
        Some(Self { padded, len })
    }

    /// An event that has nothing behind it, copied into `scratch`, whose former content is lost.
    pub fn copied(event: &[u8], scratch: &'a mut Vec<u8>) -> Self {
        scratch.clear();
        scratch.reserve(event.len() + Self::PADDING);
        scratch.extend_from_slice(event);
        scratch.extend_from_slice(&[0; Self::PADDING]);
        Self { padded: scratch, len: event.len() }
    }

    /// The event itself.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        &self.padded[..self.len]
    }

    /// The event with its padding, and its length without.
    #[inline]
    pub(crate) fn parts(&self) -> (&'a [u8], usize) {
        (self.padded, self.len)
    }
}

impl std::fmt::Debug for PaddedEvent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PaddedEvent({:?})", String::from_utf8_lossy(self.bytes()))
    }
}
