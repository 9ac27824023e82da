//! When the end of a window can change an answer.
//!
//! Only windows are watched here; the clock itself is watched while programs run (`evaluate`).

use std::collections::BTreeMap;

use crate::segment::{
    Subject,
    compile::Evaluator,
    evaluate::Pass,
    tree::{Tables, Test, Tree},
};

/// After so many segments that a window's end can't change at the moment, the next one is taken to be one that it
/// can: a wake-up for nothing is cheaper than looking further.
const PATIENCE: usize = 16;

/// A windowed trait and who hangs on it.
#[derive(Debug)]
pub(super) struct WindowTimer {
    trait_index: usize,
    /// First of its value words.
    word: usize,
    /// Thresholds of a count, ascending, with the segments that have each.
    thresholds: Vec<(i64, Vec<u32>)>,
    /// Segments that read the trait in any other way.
    others: Vec<u32>,
}

/// Collects the windowed traits that segments read.
pub(super) struct WindowTimers<'a> {
    tables: &'a Tables,
    by_trait: BTreeMap<usize, WindowTimer>,
}

impl<'a> WindowTimers<'a> {
    pub(super) fn new(trees: &[Tree], tables: &'a Tables) -> Self {
        let mut timers = Self { tables, by_trait: BTreeMap::new() };
        for (segment, tree) in trees.iter().enumerate() {
            tree.tests(&mut |test, _| timers.add(segment as u32, test));
        }
        timers
    }

    fn add(&mut self, segment: u32, test: Test) {
        for trait_index in self.tables.traits_of(test) {
            let place = &self.tables.traits[trait_index];
            if place.window.is_none() {
                continue;
            }
            let timer = self.by_trait.entry(trait_index).or_insert_with(|| WindowTimer {
                trait_index,
                word: usize::from(place.word),
                thresholds: Vec::new(),
                others: Vec::new(),
            });
            let segments = match test {
                Test::Narrow { at_least, .. } if self.tables.is_windowed_count(test) => {
                    let known = timer.thresholds.binary_search_by_key(&at_least, |(threshold, _)| *threshold);
                    let at = known.unwrap_or_else(|at| {
                        timer.thresholds.insert(at, (at_least, Vec::new()));
                        at
                    });
                    &mut timer.thresholds[at].1
                }
                _ => &mut timer.others,
            };
            if segments.last() != Some(&segment) {
                segments.push(segment);
            }
        }
    }

    pub(super) fn finish(self) -> Vec<WindowTimer> {
        self.by_trait.into_values().collect()
    }
}

impl Evaluator {
    /// Lowers the pass's timer to the next end of a window that an answer hangs on. `bits` are the new answers.
    pub(super) fn watch_windows<S: Subject>(&self, pass: &mut Pass<'_, S>, bits: &[u64]) {
        for window in &self.windows {
            let ends = match self.threshold_at_stake(window, pass, bits) {
                Some(threshold) => pass.subject.falls_below(window.trait_index, threshold as u64),
                None => None,
            };
            pass.timer = pass.timer.min(ends.unwrap_or(i64::MAX));
            if !window.others.is_empty() && self.is_at_stake(window, pass, bits) {
                let ends = pass.subject.next_expiry(window.trait_index);
                pass.timer = pass.timer.min(ends.unwrap_or(i64::MAX));
            }
        }
    }

    /// The greatest threshold that a windowed count is at or above and that an answer hangs on. Without events a count
    /// only falls, and below this threshold is where the first answer changes, whatever the comparison.
    fn threshold_at_stake<S: Subject>(
        &self,
        window: &WindowTimer,
        pass: &mut Pass<'_, S>,
        bits: &[u64],
    ) -> Option<i64> {
        let count = pass.values[window.word] as i64;
        let reached = window.thresholds.partition_point(|(threshold, _)| *threshold <= count);
        let mut patience = PATIENCE;
        for (threshold, segments) in window.thresholds[..reached].iter().rev() {
            let wanted = |test| matches!(test, Test::Narrow { word, at_least } if usize::from(word) == window.word && at_least == *threshold);
            for segment in segments {
                if patience == 0 || pass.visits(self.entries[*segment as usize], bits, wanted) {
                    return Some(*threshold);
                }
                patience -= 1;
            }
        }
        None
    }

    /// Whether an answer hangs on the trait in another way than by a threshold of its count.
    fn is_at_stake<S: Subject>(&self, window: &WindowTimer, pass: &mut Pass<'_, S>, bits: &[u64]) -> bool {
        let tables = pass.tables;
        let wanted = |test| {
            !tables.is_windowed_count(test) && tables.traits_of(test).any(|index| index == window.trait_index)
        };
        let looked_at = window.others.iter().take(PATIENCE);
        window.others.len() > PATIENCE
            || looked_at.copied().any(|segment| pass.visits(self.entries[segment as usize], bits, wanted))
    }
}
