//! Every value that segments look at is a line of numbers with thresholds on it; a value that moves along its line
//! marks the segments whose thresholds it crosses, and no others.
//!
//! Marks are masks over the *places* of segments. The place of a segment without `in_segment` is its index, so that
//! its membership bit stands at the same place as its mark; segments with `in_segment` have places behind all of
//! those, in an order in which each comes after the ones it refers to.

use std::collections::BTreeMap;

use crate::{
    profile::{layout::Kind, value},
    segment::tree::{Tables, Test},
};

/// A stretch of a list.
pub(super) type Stretch = (u32, u32);

/// 64 places, and those among them that care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Index of the word of places.
    pub(super) word: u32,
    /// Segments that can only gain when the value rises across the threshold.
    pub(super) with: u64,
    /// Segments that can only lose when it does.
    pub(super) against: u64,
}

/// One value with its thresholds.
#[derive(Debug)]
pub(super) struct Line<N> {
    /// First of its value words.
    pub(super) word: usize,
    /// Ascending. A threshold is crossed between the number below it and itself.
    pub(super) thresholds: Box<[N]>,
    /// Per threshold: its marks.
    pub(super) marks: Box<[Stretch]>,
    /// Marks for whatever the change.
    pub(super) any_change: Stretch,
}

/// All lines of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Values of one word.
    pub(super) narrow: Vec<Line<i64>>,
    /// Values of two words.
    pub(super) wide: Vec<Line<i128>>,
    /// Means, of three words.
    pub(super) mean: Vec<Line<i128>>,
    marks: Vec<Mark>,
    /// How many words of places have membership bits at the same place.
    aligned_words: usize,
    /// Marks for when the profile's identifiers change.
    any_identifier: Stretch,
}

impl Lines {
    /// Marks every segment that the step from `old` to `new` values can have changed. `bits` are the answers before.
    #[inline]
    pub(super) fn mark(&self, old: &[u64], new: &[u64], bits: &[u64], dirty: &mut [u64]) {
        for line in &self.narrow {
            let (old, new) = (old[line.word] as i64, new[line.word] as i64);
            if old != new {
                self.cross(line, old, new, bits, dirty);
            }
        }
        for line in &self.wide {
            let (old, new) = (value::wide(old, line.word), value::wide(new, line.word));
            if old != new {
                self.cross(line, old, new, bits, dirty);
            }
        }
        for line in &self.mean {
            let words = line.word..line.word + 3;
            if old[words.clone()] != new[words] {
                self.cross(line, mean(old, line.word), mean(new, line.word), bits, dirty);
            }
        }
    }

    /// Marks the segments that ask for identifier values.
    pub(super) fn mark_identifiers(&self, dirty: &mut [u64]) {
        self.apply(self.any_identifier, |mark| dirty[mark.word as usize] |= mark.with);
    }

    fn cross<N: Copy + Ord>(&self, line: &Line<N>, old: N, new: N, bits: &[u64], dirty: &mut [u64]) {
        let (low, high, rises) = if old < new { (old, new, true) } else { (new, old, false) };
        let first = line.thresholds.partition_point(|threshold| *threshold <= low);
        for (threshold, marks) in line.thresholds[first..].iter().zip(&line.marks[first..]) {
            if *threshold > high {
                break;
            }
            #[cfg(feature = "planted-bugs")]
            if rises && *threshold == high && crate::planted::active(crate::planted::Bug::ThresholdSkipped) {
                continue;
            }
            self.apply(*marks, |mark| {
                let word = mark.word as usize;
                let (gains, loses) =
                    if rises { (mark.with, mark.against) } else { (mark.against, mark.with) };
                let able = if word < self.aligned_words {
                    // A member has nothing to gain, any other profile nothing to lose.
                    gains & !bits[word] | loses & bits[word]
                } else {
                    gains | loses
                };
                dirty[word] |= able;
            });
        }
        self.apply(line.any_change, |mark| dirty[mark.word as usize] |= mark.with);
    }

    #[inline]
    fn apply(&self, (from, to): Stretch, mut each: impl FnMut(&Mark)) {
        self.marks[from as usize..to as usize].iter().for_each(&mut each);
    }
}

/// A mean on its line; nothing is below every number.
#[inline]
pub(super) fn mean(words: &[u64], at: usize) -> i128 {
    value::mean(words, at).map_or(i128::MIN, |mean| mean.0)
}

/// Per word of places: who gains and who loses.
type Marks = BTreeMap<u32, (u64, u64)>;

#[derive(Default)]
struct Draft {
    thresholds: BTreeMap<i128, Marks>,
    any_change: Marks,
}

/// Collects lines.
#[derive(Default)]
pub(super) struct LinesBuilder {
    /// By first word.
    drafts: BTreeMap<u16, Draft>,
    any_identifier: Marks,
}

impl LinesBuilder {
    /// Adds what the segment at `place` wants to know for a test that stands in it, negated or not.
    pub(super) fn add(&mut self, tables: &Tables, place: u32, test: Test, negated: bool) {
        let (word, bit) = (place / 64, 1 << (place % 64));
        let put = |marks: &mut Marks, with: bool, against: bool| {
            let mark = marks.entry(word).or_default();
            mark.0 |= if with { bit } else { 0 };
            mark.1 |= if against { bit } else { 0 };
        };
        let threshold = match test {
            Test::Narrow { word, at_least } => Some((word, i128::from(at_least))),
            Test::Wide { word, at_least } | Test::Mean { word, at_least } => {
                Some((word, tables.wide[at_least as usize]))
            }
            Test::Age { .. }
            | Test::Now { .. }
            | Test::Text { .. }
            | Test::Identifier(_)
            | Test::InSegment(_)
            | Test::Slow(_) => None,
        };
        if let Some((line, at)) = threshold {
            let marks = self.drafts.entry(line).or_default().thresholds.entry(at).or_default();
            put(marks, !negated, negated);
        } else if let Test::Identifier(_) = test {
            put(&mut self.any_identifier, true, true);
        } else {
            for index in tables.traits_of(test) {
                put(&mut self.drafts.entry(tables.traits[index].word).or_default().any_change, true, true);
            }
        }
    }

    /// The lines. `aligned_words` words of places have membership bits at the same place.
    pub(super) fn finish(self, tables: &Tables, aligned_words: usize) -> Lines {
        let mut lines = Lines { aligned_words, ..Lines::default() };
        lines.any_identifier = lines.store(self.any_identifier);
        for (word, draft) in self.drafts {
            let owner = tables.traits.iter().find(|place| place.word == word);
            let any_change = lines.store(draft.any_change);
            let marks = draft.thresholds.values().cloned().map(|marks| lines.store(marks)).collect();
            let word = usize::from(word);
            let wide = || draft.thresholds.keys().copied().collect();
            match owner.map(|place| place.kind) {
                // Without an owner it is the counter of an identifier.
                None | Some(Kind::Count | Kind::FirstTime | Kind::LastTime) => {
                    let thresholds = draft.thresholds.keys().map(|at| *at as i64).collect();
                    lines.narrow.push(Line { word, thresholds, marks, any_change });
                }
                Some(Kind::Avg) => lines.mean.push(Line { word, thresholds: wide(), marks, any_change }),
                Some(Kind::Sum | Kind::Min | Kind::Max | Kind::First | Kind::Last) => {
                    lines.wide.push(Line { word, thresholds: wide(), marks, any_change });
                }
            }
        }
        lines
    }
}

impl Lines {
    fn store(&mut self, marks: Marks) -> Stretch {
        let from = self.marks.len() as u32;
        self.marks.extend(marks.into_iter().map(|(word, (with, against))| Mark { word, with, against }));
        (from, self.marks.len() as u32)
    }
}
