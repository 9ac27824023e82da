//! The shape of a record of state: which words hold which trait.
//!
//! A record is an array of words: header, one membership bit a segment, the current values of all traits, one
//! counter per identifier that `has()` asks for, and two words per windowed trait that point to its panes. A node
//! (one identifier) and a cluster (two or more) have the same shape, so folding a node into its cluster is a loop
//! over words.

use tidewater_model::{
    Aggregate, PipelineSpec,
    expr::{Predicate, Term},
};

/// Words before the membership bits.
pub(crate) const HEADER_WORDS: usize = 7;

/// The word offsets of a pipeline's records.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// First word of the membership bits.
    pub(crate) segments: usize,
    /// Words of membership bits.
    pub(crate) segment_words: usize,
    /// First word of the values.
    pub(crate) values: usize,
    /// Words of values: trait values, then identifier counters.
    pub(crate) value_words: usize,
    /// Words of a whole record.
    pub(crate) stride: usize,
    /// Per trait.
    pub(crate) traits: Vec<TraitLayout>,
    /// Per identifier: the word, counted from `values`, of its counter, if some segment asks `has()` for it.
    pub(crate) identifier_counters: Vec<Option<u16>>,
    /// Those of `traits` that keep a scalar, which may be a string.
    pub(crate) scalars: Vec<TraitLayout>,
}

/// Where a trait lives in a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TraitLayout {
    /// How its words are read.
    pub(crate) kind: Kind,
    /// First word, counted from the record's values.
    pub(crate) word: u16,
    /// Its window, if it has one.
    pub(crate) window: Option<WindowLayout>,
}

/// A windowed trait's further words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WindowLayout {
    /// First of the two words that point to its panes, counted from the start of the record.
    pub(crate) panes: u16,
    /// Length in milliseconds.
    pub(crate) length: i64,
    /// What times are rounded up to, in milliseconds.
    pub(crate) resolution: i64,
}

/// What an aggregate keeps, and in how many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One word: how many.
    Count,
    /// Two words: an i128.
    Sum,
    /// Two words: an i128, `i128::MAX` for nothing.
    Min,
    /// Two words: an i128, `i128::MIN` for nothing.
    Max,
    /// Three words: an i128 and how many.
    Avg,
    /// Three words: a `Scalar128` (null for nothing) and its time.
    First,
    /// Three words: a `Scalar128` (null for nothing) and its time.
    Last,
    /// One word: an i64, `i64::MAX` for nothing.
    FirstTime,
    /// One word: an i64, `i64::MIN` for nothing.
    LastTime,
}

impl Kind {
    /// How many words it takes.
    pub(crate) const fn words(self) -> usize {
        match self {
            Self::Count | Self::FirstTime | Self::LastTime => 1,
            Self::Sum | Self::Min | Self::Max => 2,
            Self::Avg | Self::First | Self::Last => 3,
        }
    }

    fn of(aggregate: &Aggregate) -> Self {
        match aggregate {
            Aggregate::Count => Self::Count,
            Aggregate::Sum(_) => Self::Sum,
            Aggregate::Min(_) => Self::Min,
            Aggregate::Max(_) => Self::Max,
            Aggregate::Avg(_) => Self::Avg,
            Aggregate::First(_) => Self::First,
            Aggregate::Last(_) => Self::Last,
            Aggregate::FirstTime => Self::FirstTime,
            Aggregate::LastTime => Self::LastTime,
        }
    }

    /// Whether a trait's words say "nothing yet".
    pub(crate) fn is_clear(self, words: &[u64]) -> bool {
        let mut clear = [0; 3];
        let clear = &mut clear[..words.len()];
        self.clear(clear);
        words == clear
    }

    /// Writes "nothing yet" into a trait's words.
    pub(crate) fn clear(self, words: &mut [u64]) {
        words.fill(0);
        match self {
            Self::Min => words.copy_from_slice(&[u64::MAX, i64::MAX as u64]),
            Self::Max => words.copy_from_slice(&[0, i64::MIN as u64]),
            Self::FirstTime => words[0] = i64::MAX as u64,
            Self::LastTime => words[0] = i64::MIN as u64,
            Self::Count | Self::Sum | Self::Avg | Self::First | Self::Last => {}
        }
    }
}

impl Layout {
    /// Lays out the records of a pipeline.
    pub(crate) fn new(spec: &PipelineSpec) -> Self {
        let segment_words = spec.segments.len().div_ceil(64);
        let values = HEADER_WORDS + segment_words;
        let mut value_words = 0;
        let mut traits: Vec<TraitLayout> = Vec::new();
        for definition in &spec.traits {
            let kind = Kind::of(&definition.aggregate);
            traits.push(TraitLayout { kind, word: value_words as u16, window: None });
            value_words += kind.words();
        }
        let mut identifier_counters = vec![None; spec.identifiers.len()];
        for segment in &spec.segments {
            asked_for(&segment.predicate, &mut |identifier| {
                identifier_counters[identifier].get_or_insert_with(|| {
                    value_words += 1;
                    (value_words - 1) as u16
                });
            });
        }
        let mut stride = values + value_words;
        for (place, definition) in traits.iter_mut().zip(&spec.traits) {
            if let Some(window) = definition.window {
                let (length, resolution) = (window.length.0, window.resolution.0);
                place.window = Some(WindowLayout { panes: stride as u16, length, resolution });
                stride += 2;
            }
        }
        let keeps_scalar = |place: &&TraitLayout| matches!(place.kind, Kind::First | Kind::Last);
        let scalars = traits.iter().filter(keeps_scalar).copied().collect();
        Self {
            segments: HEADER_WORDS,
            segment_words,
            values,
            value_words,
            stride,
            traits,
            identifier_counters,
            scalars,
        }
    }

    /// Writes "nothing yet" into the words of a record from its values on.
    pub(crate) fn clear(&self, values: &mut [u64]) {
        values.fill(0);
        for place in &self.traits {
            let first = usize::from(place.word);
            place.kind.clear(&mut values[first..first + place.kind.words()]);
        }
    }
}

/// Calls `found` with every identifier that `predicate` asks `has()` for.
fn asked_for(predicate: &Predicate, found: &mut impl FnMut(usize)) {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().for_each(|part| asked_for(part, found)),
        Predicate::Not(part) => asked_for(part, found),
        Predicate::HasIdentifier(identifier) => found(*identifier),
        Predicate::Compare(_, _, _)
        | Predicate::HasValue(Term::Trait(_) | Term::Literal(_) | Term::Field(_) | Term::Now)
        | Predicate::HasValue(Term::Arithmetic(..))
        | Predicate::IdentifierIs(..)
        | Predicate::InSegment(_) => {}
    }
}
