//! Panes of windowed traits: per record and trait a run of (rounded event time, aggregate), sorted by time.
//!
//! Runs live in one pool of words, in blocks whose sizes are powers of two; blocks that runs have outgrown are
//! used again. A record keeps only two words per run, a [`Panes`].

use crate::intrinsics::prefetch;

/// Words a chunk of the pool holds; a larger block is a chunk of its own.
const CHUNK_WORDS: usize = 1 << 16;
/// Blocks of fewer words are not made.
const SMALLEST: u32 = 2;

/// Where a record's panes of one trait are: the two words kept in the record.
///
/// Word 0: chunk (24 bits), start in the chunk (24 bits, counted in words) and size class + 1 (16 bits; 0 = no
/// block). Word 1: number of panes (32 bits) and index of the first one (32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panes {
    block: u64,
    run: u64,
}

impl Panes {
    pub(crate) fn from_words(words: &[u64]) -> Self {
        Self { block: words[0], run: words[1] }
    }

    pub(crate) fn store(self, words: &mut [u64]) {
        words[0] = self.block;
        words[1] = self.run;
    }

    /// How many panes there are.
    pub(crate) fn len(self) -> usize {
        (self.run >> 32) as usize
    }

    fn first(self) -> usize {
        self.run as u32 as usize
    }

    fn set_run(&mut self, first: usize, len: usize) {
        self.run = (len as u64) << 32 | first as u64;
    }

    fn class(self) -> Option<u32> {
        ((self.block & 0xffff) as u32).checked_sub(1)
    }
}

/// The memory of all panes of one worker.
#[derive(Debug)]
pub(crate) struct PanePool {
    chunks: Vec<Box<[u64]>>,
    /// Words used of the last chunk of the usual size.
    used: usize,
    open: usize,
    free: Vec<Vec<u64>>,
}

impl PanePool {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), used: CHUNK_WORDS, open: 0, free: vec![Vec::new(); 40] }
    }

    /// The panes as words, `width` a pane: its time, then its aggregate.
    pub(crate) fn get(&self, panes: Panes, width: usize) -> &[u64] {
        if panes.len() == 0 {
            return &[];
        }
        let start = (panes.block >> 16 & 0xff_ffff) as usize + panes.first() * width;
        &self.chunks[(panes.block >> 40) as usize][start..start + panes.len() * width]
    }

    /// The panes, to be changed; their times must stay as they are.
    pub(crate) fn get_mut(&mut self, panes: Panes, width: usize) -> &mut [u64] {
        if panes.len() == 0 {
            return &mut [];
        }
        let start = (panes.block >> 16 & 0xff_ffff) as usize + panes.first() * width;
        &mut self.chunks[(panes.block >> 40) as usize][start..start + panes.len() * width]
    }

    /// Asks the processor for the oldest pane, which trimming looks at, and the newest, where most events belong.
    #[inline]
    pub(crate) fn prefetch(&self, panes: Panes, width: usize) {
        let run = self.get(panes, width);
        if let Some(oldest) = run.first() {
            prefetch(oldest);
            prefetch(&run[run.len() - width]);
        }
    }

    /// The aggregate of the pane at `time`, which is made if it is not there; `true` if it was made (its words
    /// are then undefined).
    pub(crate) fn at(&mut self, panes: &mut Panes, width: usize, time: i64) -> (&mut [u64], bool) {
        let run = self.get(*panes, width);
        let mut place = panes.len();
        while place > 0 && run[(place - 1) * width] as i64 >= time {
            // Events mostly come in order, so the search starts at the newest pane; a late one halves its way.
            if panes.len() - place >= 8 {
                place = partition(&run[..place * width], width, time);
                break;
            }
            place -= 1;
        }
        let found = place < panes.len() && run[place * width] as i64 == time;
        if !found {
            self.open_gap(panes, width, place);
        }
        let pane = &mut self.get_mut(*panes, width)[place * width..][..width];
        pane[0] = time as u64;
        (&mut pane[1..], !found)
    }

    /// Drops the first `count` panes.
    pub(crate) fn drop_first(&mut self, panes: &mut Panes, width: usize, count: usize) {
        let left = panes.len() - count;
        if left == 0 {
            return self.release(panes);
        }
        panes.set_run(panes.first() + count, left);
        // Else every run would in time have a block for the most that it has ever held. What is left fits twice into the
        // smaller block, so that it does not grow back at once.
        if panes.class().is_some_and(|class| class > SMALLEST && left * width <= 1 << (class - 2)) {
            self.move_to(panes, width, 2 * left * width);
        }
    }

    /// Gives the block back and leaves no panes.
    pub(crate) fn release(&mut self, panes: &mut Panes) {
        if let Some(class) = panes.class() {
            self.free[class as usize].push(panes.block);
        }
        *panes = Panes { block: 0, run: 0 };
    }

    /// Makes room for one pane at `place`, moving whichever side needs fewer words.
    fn open_gap(&mut self, panes: &mut Panes, width: usize, place: usize) {
        let len = panes.len();
        let capacity = panes.class().map_or(0, |class| (1usize << class) / width);
        let at_front = place < len / 2;
        let has_room = if at_front { panes.first() > 0 } else { panes.first() + len < capacity };
        if !has_room {
            // A window that moves on leaves its room at the front. Moving all of a run for every pane would be
            // quadratic, so it is moved only where that lasts for a while.
            let is_worth_moving = capacity - len > len / 32;
            if !is_worth_moving {
                self.grow(panes, width);
            }
            if is_worth_moving || at_front {
                self.center(panes, width, at_front);
            }
        }
        let first = panes.first();
        if at_front {
            panes.set_run(first - 1, len + 1);
            let run = self.get_mut(*panes, width);
            run.copy_within(width..(place + 1) * width, 0);
        } else {
            panes.set_run(first, len + 1);
            let run = self.get_mut(*panes, width);
            run.copy_within(place * width..len * width, (place + 1) * width);
        }
    }

    /// Moves a run to the middle of its block; the odd place goes to the front or to the end.
    fn center(&mut self, panes: &mut Panes, width: usize, odd_at_front: bool) {
        let (len, first) = (panes.len(), panes.first());
        let room = panes.class().map_or(0, |class| (1usize << class) / width) - len;
        let middle = if odd_at_front { room.div_ceil(2) } else { room / 2 };
        let lower = first.min(middle);
        panes.set_run(lower, len + first.max(middle) - lower);
        let words = self.get_mut(*panes, width);
        words.copy_within((first - lower) * width..(first - lower + len) * width, (middle - lower) * width);
        panes.set_run(middle, len);
    }

    fn grow(&mut self, panes: &mut Panes, width: usize) {
        let words = (panes.len() + 1) * width;
        // Twice what is there: a run that grows pane by pane is moved a logarithmic number of times.
        let wanted = if panes.len() == 0 { words } else { (2 * panes.len()).max(2) * width };
        self.move_to(panes, width, wanted);
    }

    /// Moves a run into a block of so many words.
    fn move_to(&mut self, panes: &mut Panes, width: usize, words: usize) {
        let class = words.next_power_of_two().trailing_zeros().max(SMALLEST);
        let block = self.allocate(class);
        let old = self.get(*panes, width).to_vec();
        let len = panes.len();
        self.release(panes);
        panes.block = block;
        panes.set_run(0, len);
        self.get_mut(*panes, width).copy_from_slice(&old);
    }

    fn allocate(&mut self, class: u32) -> u64 {
        if let Some(block) = self.free[class as usize].pop() {
            return block;
        }
        let words = 1usize << class;
        let (chunk, start) = if words > CHUNK_WORDS {
            self.chunks.push(vec![0; words].into_boxed_slice());
            (self.chunks.len() - 1, 0)
        } else {
            if self.used + words > CHUNK_WORDS {
                self.chunks.push(vec![0; CHUNK_WORDS].into_boxed_slice());
                (self.open, self.used) = (self.chunks.len() - 1, 0);
            }
            self.used += words;
            (self.open, self.used - words)
        };
        (chunk as u64) << 40 | (start as u64) << 16 | u64::from(class + 1)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let words: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        let free: usize = self.free.iter().map(Vec::capacity).sum();
        (words + free) as u64 * 8
    }
}

/// How many panes of `run` are before `time`.
fn partition(run: &[u64], width: usize, time: i64) -> usize {
    let (mut low, mut high) = (0, run.len() / width);
    while low < high {
        let middle = (low + high) / 2;
        if (run[middle * width] as i64) < time { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_sorted_maps(
            width in 2usize..5,
            steps in prop::collection::vec((0usize..3, -50i64..50, 0usize..4), 0..400),
        ) {
            let mut pool = PanePool::new();
            let mut runs = [Panes { block: 0, run: 0 }; 3];
            let mut models: [BTreeMap<i64, u64>; 3] = Default::default();
            for (number, time, drop) in steps {
                let (run, model) = (&mut runs[number], &mut models[number]);
                let (words, made) = pool.at(run, width, time);
                prop_assert_eq!(made, !model.contains_key(&time));
                if made {
                    words.fill(0);
                }
                words[width - 2] += 1;
                *model.entry(time).or_default() += 1;
                if drop == 0 && model.len() > 3 {
                    pool.drop_first(run, width, 2);
                    model.pop_first();
                    model.pop_first();
                }
                for (run, model) in runs.iter().zip(&models) {
                    let found: Vec<(i64, u64)> = pool
                        .get(*run, width)
                        .chunks_exact(width)
                        .map(|pane| (pane[0] as i64, pane[width - 1]))
                        .collect();
                    prop_assert_eq!(found, model.iter().map(|(t, n)| (*t, *n)).collect::<Vec<_>>());
                }
            }
        }
    }

    /// Runs that take turns in being long need the memory of one, not of all.
    #[test]
    fn a_run_that_was_long_gives_its_block_back() {
        let (mut pool, mut bytes) = (PanePool::new(), Vec::new());
        let mut runs = [Panes { block: 0, run: 0 }; 200];
        for run in &mut runs {
            (0..4_000).for_each(|time| _ = pool.at(run, 2, time));
            for _ in 0..3_998 {
                pool.drop_first(run, 2, 1);
            }
            assert_eq!(
                pool.get(*run, 2).chunks_exact(2).map(|pane| pane[0]).collect::<Vec<_>>(),
                [3_998, 3_999]
            );
            bytes.push(pool.bytes());
        }
        assert!(bytes[199] < bytes[0] + 64 * 1_024, "{} bytes, {} with the first", bytes[199], bytes[0]);
    }

    #[test]
    fn a_run_may_move_on_and_grow_at_either_end() {
        let (mut pool, mut run) = (PanePool::new(), Panes { block: 0, run: 0 });
        let mut model = BTreeMap::new();
        // Up through a window of 300, then down, then at both ends in turn.
        let times =
            (0..2_000).chain((-2_000..0).rev()).chain((2_000..3_000).flat_map(|time| [time, -1 - time]));
        for (step, time) in times.enumerate() {
            let (words, made) = pool.at(&mut run, 2, time);
            assert!(made);
            words[0] = step as u64;
            model.insert(time, step as u64);
            if step < 2_000 && model.len() > 300 {
                pool.drop_first(&mut run, 2, 1);
                model.pop_first();
            }
            if step % 97 == 0 || step > 5_990 {
                let panes = pool.get(run, 2).chunks_exact(2);
                assert!(panes.map(|pane| (pane[0] as i64, pane[1])).eq(model.clone()), "after step {step}");
            }
        }
    }
}
