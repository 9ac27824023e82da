//! Which nodes are to be written, and which have changed since they last were.

/// Two sets of record numbers.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Somebody takes snapshots of this state.
    is_on: bool,
    changed: Bits,
    /// To be written for the snapshot that is being taken, unless it is a cluster's record.
    pending: Bits,
    /// Words of `pending` before this one are empty.
    from: usize,
    is_writing: bool,
}

#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, record: u32) {
        let word = record as usize / 64;
        if word >= self.0.len() {
            // A quarter more at a time: it is an eighth of a byte a record.
            self.0.resize(word + 1 + word / 4, 0);
        }
        self.0[word] |= 1 << (record % 64);
    }

    fn take(&mut self, record: u32) -> bool {
        let Some(word) = self.0.get_mut(record as usize / 64) else { return false };
        let bit = 1 << (record % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }
}

impl Marks {
    /// Takes notes from now on.
    pub(crate) fn turn_on(&mut self) {
        self.is_on = true;
    }

    /// Notes that a node changes; true if it must be written as it is, now.
    #[inline]
    pub(crate) fn change(&mut self, node: u32) -> bool {
        if !self.is_on {
            return false;
        }
        self.changed.set(node);
        self.take_pending(node)
    }

    /// True if a node must be written before what only looks like a change: it forgets what time has made useless.
    #[inline]
    pub(crate) fn take_pending(&mut self, node: u32) -> bool {
        self.is_writing && self.pending.take(node)
    }

    /// Leaves a node to be written in its turn, for a planted bug.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn put_back(&mut self, node: u32) {
        self.pending.set(node);
        self.from = 0;
    }

    /// Notes a new node: not there when the snapshot that is being taken was begun.
    pub(crate) fn create(&mut self, node: u32) {
        if self.is_on {
            self.changed.set(node);
            self.take_pending(node);
        }
    }

    /// Begins a snapshot of what has changed, or of all `records`.
    pub(crate) fn begin(&mut self, all: bool, records: u32) {
        self.pending = std::mem::take(&mut self.changed);
        if all {
            self.pending.0 = vec![u64::MAX; (records as usize).div_ceil(64)];
            if let (Some(last), rest @ 1..) = (self.pending.0.last_mut(), records % 64) {
                *last = (1 << rest) - 1;
            }
        }
        (self.from, self.is_writing) = (0, true);
    }

    /// The next record to be written; `None` when all are, which ends the snapshot.
    pub(crate) fn next(&mut self) -> Option<u32> {
        while let Some(word) = self.pending.0.get_mut(self.from) {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                return Some(self.from as u32 * 64 + bit);
            }
            self.from += 1;
        }
        self.pending = Bits::default();
        self.is_writing = false;
        None
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        (self.changed.0.capacity() + self.pending.0.capacity()) as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(marks: &mut Marks) -> Vec<u32> {
        std::iter::from_fn(|| marks.next()).collect()
    }

    #[test]
    fn each_node_is_written_once_as_it_was() {
        let mut marks = Marks { is_on: true, ..Marks::default() };
        [0, 63, 64, 200].into_iter().for_each(|node| marks.create(node));
        marks.begin(false, 201);
        assert!(marks.change(64), "not written yet, so as it is now");
        assert!(!marks.change(64), "written");
        assert!(!marks.change(3), "unchanged at the snapshot's epoch");
        marks.create(300);
        assert_eq!(rest(&mut marks), [0, 63, 200]);
        marks.begin(false, 301);
        assert_eq!(rest(&mut marks), [3, 64, 300], "what changed meanwhile is in the next one");
        marks.begin(true, 130);
        assert_eq!(rest(&mut marks), (0..130).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_that_is_used_again_for_a_new_node_is_not_in_a_snapshot_begun_before() {
        let mut marks = Marks { is_on: true, ..Marks::default() };
        marks.begin(true, 3);
        marks.create(1);
        assert_eq!(rest(&mut marks), [0, 2]);
    }

    #[test]
    fn without_snapshots_nothing_is_noted() {
        let mut marks = Marks::default();
        marks.create(1_000_000);
        assert!(!marks.change(5));
        assert_eq!(marks.bytes(), 0);
    }
}
