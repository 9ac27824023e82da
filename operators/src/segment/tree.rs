//! A predicate taken apart into yes/no tests joined by "all" and "any"; `not` has moved into the tests.
//!
//! Since only tests are negated, a segment can only gain from a plain test that turns true and only lose from a
//! negated one: the index leans on that to leave alone what an event can't change.

use rustc_hash::FxHashMap;
use tidewater_model::expr::Comparison;

use crate::{
    profile::layout::{Kind, Layout, TraitLayout},
    segment::term::Slow,
};

/// One yes/no question about a profile that is answered without looking at any other question.
///
/// Every comparison of a number, a time or a non-string scalar comes down to one or two "at least" tests on raw
/// words; "nothing there" is the end of the number line that the layout gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Test {
    /// One word, as an i64, is at least this.
    Narrow { word: u16, at_least: i64 },
    /// Two words, as an i128, are at least the constant with this index.
    Wide { word: u16, at_least: u32 },
    /// The mean in three words is at least the constant with this index; nothing is the least of all.
    Mean { word: u16, at_least: u32 },
    /// The time in one word is at least this many milliseconds ago. Says nothing where no time is.
    Age { word: u16, at_least: i64 },
    /// `now` is at least this.
    Now { at_least: i64 },
    /// The string in a scalar's two words compares so with a text. Says nothing where no string is.
    Text { word: u16, text: u32 },
    /// The profile has the identifier value with this index.
    Identifier(u32),
    /// The profile is in the segment.
    InSegment(u32),
    /// The slow comparison with this index answers yes.
    Slow(u32),
}

/// Tests joined by "all" and "any".
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Constant(bool),
    Test { test: Test, negated: bool },
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

impl Tree {
    pub(super) fn test(test: Test) -> Self {
        Self::Test { test, negated: false }
    }

    /// The other answer.
    pub(super) fn negate(self) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(Self::negate).collect();
        match self {
            Self::Constant(answer) => Self::Constant(!answer),
            Self::Test { test, negated } => Self::Test { test, negated: !negated },
            Self::All(parts) => Self::Any(each(parts)),
            Self::Any(parts) => Self::All(each(parts)),
        }
    }

    /// Yes if all are.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Constant(true) => {}
                Self::Constant(false) => return part,
                Self::All(inner) => kept.extend(inner),
                _ => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::Constant(true),
            1 => kept.swap_remove(0),
            _ => Self::All(kept),
        }
    }

    /// Yes if one is.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::all(parts.into_iter().map(Self::negate)).negate()
    }

    /// Calls `found` with every test and whether it is negated.
    pub(super) fn tests(&self, found: &mut impl FnMut(Test, bool)) {
        match self {
            Self::Constant(_) => {}
            Self::Test { test, negated } => found(*test, *negated),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.tests(found)),
        }
    }

    /// Puts what doesn't depend on time before what does, and cheap before dear. An answer that is settled by the
    /// first is then settled without looking at the second, which needs no timer.
    pub(super) fn sort(&mut self, tables: &Tables) {
        if let Self::All(parts) | Self::Any(parts) = self {
            parts.iter_mut().for_each(|part| part.sort(tables));
            parts.sort_by_cached_key(|part| {
                let mut greatest = (0, 0);
                part.tests(&mut |test, _| greatest = greatest.max(tables.rank(test)));
                greatest
            });
        }
    }
}

/// What the indices in tests stand for.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Constants of wide tests.
    pub(super) wide: Vec<i128>,
    /// Texts that strings are compared with.
    pub(super) texts: Vec<(Comparison, Box<[u8]>)>,
    /// Identifier values: rank and keyed hash.
    pub(super) identifiers: Vec<(usize, u128)>,
    /// Comparisons that take whole values.
    pub(super) slow: Vec<Slow>,
    /// Per trait.
    pub(super) traits: Vec<TraitLayout>,
    /// Per value word: the trait that it belongs to; counters of identifiers belong to none.
    trait_of_word: Vec<Option<u16>>,
    wide_known: FxHashMap<i128, u32>,
}

impl Tables {
    pub(super) fn new(layout: &Layout) -> Self {
        let mut trait_of_word = vec![None; layout.value_words];
        for (index, place) in layout.traits.iter().enumerate() {
            let word = usize::from(place.word);
            trait_of_word[word..word + place.kind.words()].fill(Some(index as u16));
        }
        Self { traits: layout.traits.clone(), trait_of_word, ..Self::default() }
    }

    /// The index of a wide constant.
    pub(super) fn wide(&mut self, constant: i128) -> u32 {
        *self.wide_known.entry(constant).or_insert_with(|| {
            self.wide.push(constant);
            self.wide.len() as u32 - 1
        })
    }

    /// The traits that a test reads.
    pub(super) fn traits_of(&self, test: Test) -> impl Iterator<Item = usize> {
        let (word, slow) = match test {
            Test::Narrow { word, .. }
            | Test::Wide { word, .. }
            | Test::Mean { word, .. }
            | Test::Age { word, .. }
            | Test::Text { word, .. } => (self.trait_of_word[usize::from(word)], None),
            Test::Slow(index) => (None, self.slow.get(index as usize)),
            Test::Now { .. } | Test::Identifier(_) | Test::InSegment(_) => (None, None),
        };
        let slow = slow.map_or(&[][..], |slow| &slow.traits);
        word.into_iter().chain(slow.iter().copied()).map(usize::from)
    }

    /// Whether the clock alone, without any value, can change the answer.
    pub(super) fn reads_now(&self, test: Test) -> bool {
        match test {
            Test::Age { .. } | Test::Now { .. } => true,
            Test::Slow(index) => self.slow[index as usize].reads_now,
            _ => false,
        }
    }

    /// Whether a windowed count is compared with a constant: the case that has a timer of its own kind.
    pub(super) fn is_windowed_count(&self, test: Test) -> bool {
        let Test::Narrow { word, .. } = test else { return false };
        let owner = self.trait_of_word[usize::from(word)].map(|index| self.traits[usize::from(index)]);
        owner.is_some_and(|place| place.window.is_some() && place.kind == Kind::Count)
    }

    /// How late in a program a test should stand: how it depends on time, then what it costs.
    fn rank(&self, test: Test) -> (u8, u8) {
        let windowed = self.traits_of(test).any(|index| self.traits[index].window.is_some());
        let time = if self.reads_now(test) { 2 } else { u8::from(windowed) };
        let cost = match test {
            Test::Narrow { .. } | Test::Age { .. } | Test::Now { .. } | Test::InSegment(_) => 0,
            Test::Wide { .. } => 1,
            Test::Mean { .. } => 2,
            Test::Text { .. } => 3,
            Test::Identifier(_) => 4,
            Test::Slow(_) => 5,
        };
        (time, cost)
    }
}
