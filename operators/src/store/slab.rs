//! Records of one length, found by number: memory comes in chunks, so growing never moves a record.

use crate::intrinsics::prefetch;

/// Records a chunk holds, as a power of two.
const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;

/// An array of records of `stride` words each.
#[derive(Debug)]
pub(crate) struct Slab {
    chunks: Vec<Box<[u64]>>,
    stride: usize,
    len: u32,
    free: Vec<u32>,
}

impl Slab {
    /// An empty slab of records of `stride` words.
    pub(crate) fn new(stride: usize) -> Self {
        Self { chunks: Vec::new(), stride, len: 0, free: Vec::new() }
    }

    /// A record of zeroes.
    pub(crate) fn allocate(&mut self) -> u32 {
        if let Some(record) = self.free.pop() {
            self.get_mut(record).fill(0);
            return record;
        }
        let record = self.len;
        if record as usize >> CHUNK_BITS == self.chunks.len() {
            self.chunks.push(vec![0; self.stride << CHUNK_BITS].into_boxed_slice());
        }
        self.len += 1;
        record
    }

    /// Gives a record back; its number may be handed out again at once.
    pub(crate) fn release(&mut self, record: u32) {
        self.free.push(record);
    }

    #[inline]
    pub(crate) fn get(&self, record: u32) -> &[u64] {
        let start = (record as usize & (CHUNK - 1)) * self.stride;
        &self.chunks[record as usize >> CHUNK_BITS][start..start + self.stride]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, record: u32) -> &mut [u64] {
        let start = (record as usize & (CHUNK - 1)) * self.stride;
        &mut self.chunks[record as usize >> CHUNK_BITS][start..start + self.stride]
    }

    /// Two records at once: one to read, another one to change.
    pub(crate) fn pair(&mut self, read: u32, change: u32) -> (&[u64], &mut [u64]) {
        assert_ne!(read, change, "a record is not folded into itself");
        let (stride, place) = (self.stride, |record: u32| (record as usize & (CHUNK - 1)) * self.stride);
        let (from, to) = (place(read), place(change));
        let (a, b) = (read as usize >> CHUNK_BITS, change as usize >> CHUNK_BITS);
        if a == b {
            let (low, high) = self.chunks[a].split_at_mut(from.max(to));
            let (low, high) = (&mut low[from.min(to)..][..stride], &mut high[..stride]);
            if from < to { (low, high) } else { (high, low) }
        } else {
            let (low, high) = self.chunks.split_at_mut(a.max(b));
            let (low, high) = (&mut low[a.min(b)], &mut high[0]);
            let (source, target) = if a < b { (low, high) } else { (high, low) };
            (&source[from..from + stride], &mut target[to..to + stride])
        }
    }

    /// Asks the processor for a record that is needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, record: u32) {
        let words = self.get(record);
        for line in words.chunks(8) {
            prefetch(&line[0]);
        }
    }

    /// The numbers that were given back.
    pub(crate) fn released(&self) -> std::collections::HashSet<u32> {
        self.free.iter().copied().collect()
    }

    /// All numbers ever handed out, given back or not.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.len
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        (self.chunks.len() * (self.stride << CHUNK_BITS) * 8 + self.free.capacity() * 4) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_in_the_asked_order() {
        let mut slab = Slab::new(3);
        let records: Vec<u32> = (0..CHUNK + 2).map(|_| slab.allocate()).collect();
        for record in &records {
            slab.get_mut(*record).fill(u64::from(*record));
        }
        let far = CHUNK as u32;
        for (read, change) in [(1, 2), (2, 1), (3, far), (far, 3), (far, far + 1)] {
            let (from, to) = slab.pair(read, change);
            assert_eq!((from[0], to[0]), (u64::from(read), u64::from(change)));
        }
    }

    #[test]
    fn released_records_come_back_as_zeroes() {
        let mut slab = Slab::new(2);
        let record = slab.allocate();
        slab.get_mut(record).fill(7);
        slab.release(record);
        assert_eq!(slab.released().len(), 1);
        assert_eq!(slab.allocate(), record);
        assert_eq!(slab.get(record), [0, 0]);
    }
}
