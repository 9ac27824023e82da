//! Keeps one profile's membership bits equal to its segments' answers, at the cost of what changed.

use tidewater_model::{Timestamp, Value, expr::Comparison};

use crate::{
    profile::value,
    segment::{
        Subject,
        compile::{Evaluator, NO, Node, YES},
        lines,
        tree::{Tables, Test},
    },
};

/// What a profile is evaluated on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation<'a> {
    /// The value words that the membership bits were decided on; `None` decides all of them anew.
    pub(crate) old: Option<&'a [u64]>,
    /// The value words now, windows trimmed to `now`.
    pub(crate) new: &'a [u64],
    /// Whether the profile may have other identifier values than at `old`.
    pub(crate) identifiers_changed: bool,
    /// The engine's clock, milliseconds since 1970; never less than at `old`.
    pub(crate) now: i64,
}

/// Memory that evaluations share; holds nothing between them.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// One bit a place: segments to be evaluated.
    dirty: Vec<u64>,
    stack: Vec<Value>,
}

impl Evaluator {
    /// Brings `bits` (segment i = bit i % 64 of word i / 64), the answers on the old values, up to date with the new
    /// ones and with `now`.
    ///
    /// Returns the first instant after `now` at which time alone may change an answer, `None` if it never does. It is
    /// never late; where it is early, the evaluation then changes nothing and returns a later one.
    pub(crate) fn evaluate(
        &self,
        call: &Evaluation<'_>,
        subject: &impl Subject,
        bits: &mut [u64],
        scratch: &mut Scratch,
    ) -> Option<i64> {
        let dirty = &mut scratch.dirty;
        if dirty.len() != self.place_words {
            dirty.clear();
            dirty.resize(self.place_words, 0);
        }
        for (word, mask) in &self.clocked {
            dirty[*word as usize] |= mask;
        }
        let old = call.old.unwrap_or_else(|| {
            bits.copy_from_slice(&self.empty_bits);
            &self.empty
        });
        self.lines.mark(old, call.new, bits, dirty);
        if call.identifiers_changed || call.old.is_none() {
            self.lines.mark_identifiers(dirty);
        }

        let mut pass = self.pass((call.new, call.now), subject, &mut scratch.stack);
        self.evaluate_flat(&mut pass, bits, dirty);
        if !self.nested.is_empty() {
            self.evaluate_nested(&mut pass, bits, dirty);
        }
        self.watch_windows(&mut pass, bits);
        let timer = pass.timer;
        #[cfg(feature = "planted-bugs")]
        let timer =
            timer.saturating_add(i64::from(crate::planted::active(crate::planted::Bug::WindowEdgeOffByOne)));
        // A subject that answers with the past would make a timer that is due again at once, for ever.
        (timer <= Timestamp::MAX.0).then(|| timer.max(call.now.saturating_add(1)))
    }

    /// Segments without `in_segment`, 64 at a time.
    fn evaluate_flat<S: Subject>(&self, pass: &mut Pass<'_, S>, bits: &mut [u64], dirty: &mut [u64]) {
        for word in 0..self.flat_words {
            let mut left = std::mem::take(&mut dirty[word]);
            let mut flipped = 0;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let answer = pass.holds(self.entries[word * 64 + bit as usize], bits);
                flipped |= (u64::from(answer) << bit) ^ (bits[word] & 1 << bit);
            }
            if flipped == 0 {
                continue;
            }
            bits[word] ^= flipped;
            let mut referred = flipped & self.referred[word];
            while referred != 0 {
                self.mark_referrers(word * 64 + referred.trailing_zeros() as usize, dirty);
                referred &= referred - 1;
            }
        }
    }

    /// Segments with `in_segment`, each after the ones it refers to: a flip marks only places behind its own.
    fn evaluate_nested<S: Subject>(&self, pass: &mut Pass<'_, S>, bits: &mut [u64], dirty: &mut [u64]) {
        for word in self.flat_words..self.place_words {
            while dirty[word] != 0 {
                let bit = dirty[word].trailing_zeros();
                dirty[word] &= dirty[word] - 1;
                let segment = self.nested[(word - self.flat_words) * 64 + bit as usize] as usize;
                let answer = pass.holds(self.entries[segment], bits);
                if answer != is_set(bits, segment) {
                    bits[segment / 64] ^= 1 << (segment % 64);
                    self.mark_referrers(segment, dirty);
                }
            }
        }
    }

    fn mark_referrers(&self, segment: usize, dirty: &mut [u64]) {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::NestedSegmentStale) {
            return;
        }
        let (from, to) = self.referrers_of[segment];
        for place in &self.referrers[from as usize..to as usize] {
            dirty[*place as usize / 64] |= 1 << (place % 64);
        }
    }

    /// Starts answering questions about one profile.
    #[inline]
    pub(super) fn pass<'a, S: Subject>(
        &'a self,
        (values, now): (&'a [u64], i64),
        subject: &'a S,
        stack: &'a mut Vec<Value>,
    ) -> Pass<'a, S> {
        Pass { nodes: &self.nodes, tables: &self.tables, values, now, subject, stack, timer: i64::MAX }
    }
}

/// Whether a profile with these membership bits is in the segment.
#[inline]
fn is_set(bits: &[u64], segment: usize) -> bool {
    bits[segment / 64] >> (segment % 64) & 1 != 0
}

/// One profile at one instant.
pub(super) struct Pass<'a, S> {
    nodes: &'a [Node],
    pub(super) tables: &'a Tables,
    pub(super) values: &'a [u64],
    pub(super) now: i64,
    pub(super) subject: &'a S,
    pub(super) stack: &'a mut Vec<Value>,
    /// The first instant so far at which the clock changes an answer that an outcome hung on.
    pub(super) timer: i64,
}

impl<S: Subject> Pass<'_, S> {
    /// Runs a program. Where a question about the clock decided the outcome, remembers when its answer changes.
    #[inline]
    pub(super) fn holds(&mut self, entry: u32, bits: &[u64]) -> bool {
        let mut at = entry;
        while at < NO {
            let node = self.nodes[at as usize];
            let answer = self.answer(node.test, bits);
            at = if answer { node.yes } else { node.no };
        }
        at == YES
    }

    /// Whether a program that starts at `entry` comes past a test that `wanted` picks: while it does not, the test's
    /// answer changes nothing. Remembers no timers.
    pub(super) fn visits(&mut self, entry: u32, bits: &[u64], wanted: impl Fn(Test) -> bool) -> bool {
        let timer = self.timer;
        let mut at = entry;
        let mut found = false;
        while at < NO && !found {
            let node = self.nodes[at as usize];
            found = wanted(node.test);
            at = if !found && self.answer(node.test, bits) { node.yes } else { node.no };
        }
        self.timer = timer;
        found
    }

    #[inline]
    fn answer(&mut self, test: Test, bits: &[u64]) -> bool {
        match test {
            Test::Narrow { word, at_least } => self.values[usize::from(word)] as i64 >= at_least,
            Test::Wide { word, at_least } => {
                value::wide(self.values, usize::from(word)) >= self.tables.wide[at_least as usize]
            }
            Test::Mean { word, at_least } => {
                lines::mean(self.values, usize::from(word)) >= self.tables.wide[at_least as usize]
            }
            Test::InSegment(segment) => is_set(bits, segment as usize),
            Test::Age { word, at_least } => {
                let time = self.values[usize::from(word)] as i64;
                self.clock(time.saturating_add(at_least))
            }
            Test::Now { at_least } => self.clock(at_least),
            Test::Text { word, text } => self.compare_text(usize::from(word), text),
            Test::Identifier(index) => {
                let (identifier, hash) = self.tables.identifiers[index as usize];
                self.subject.has_value(identifier, hash)
            }
            Test::Slow(index) => self.compare_slowly(index),
        }
    }

    /// Whether an instant has come.
    fn clock(&mut self, instant: i64) -> bool {
        if self.now >= instant {
            return true;
        }
        self.timer = self.timer.min(instant);
        false
    }

    fn compare_text(&self, word: usize, text: u32) -> bool {
        let (comparison, wanted) = &self.tables.texts[text as usize];
        let scalar = value::wide(self.values, word);
        if (scalar >> 120) < 4 {
            return false;
        }
        let (start, len) = ((scalar >> 32) as u64, scalar as u32);
        // Most comparisons of strings are for equality, and most of those are settled by the length.
        match comparison {
            Comparison::Equal if len as usize != wanted.len() => false,
            Comparison::NotEqual if len as usize != wanted.len() => true,
            _ => comparison.holds(self.subject.text(start, len).cmp(wanted)),
        }
    }

    #[inline(never)]
    fn compare_slowly(&mut self, index: u32) -> bool {
        let slow = &self.tables.slow[index as usize];
        let answer = slow.holds(self.tables, (self.values, self.now), self.subject, self.stack);
        if slow.reads_now {
            self.timer =
                self.timer.min(slow.changes_after(self.tables, (self.values, self.now), self.subject));
        }
        answer
    }
}

/// A profile without identifiers and strings.
pub(super) struct NobodyKnown;

impl Subject for NobodyKnown {
    fn has_value(&self, _: usize, _: u128) -> bool {
        false
    }

    fn text(&self, _: u64, _: u32) -> &[u8] {
        &[]
    }

    fn next_expiry(&self, _: usize) -> Option<i64> {
        None
    }

    fn falls_below(&self, _: usize, _: u64) -> Option<i64> {
        None
    }
}
