//! The compiled pipeline: what the hot path needs, worked out once from the definitions.
//!
//! An event's values travel in a block of [`Plan::value_words`] words: first one bit per distinct `where`
//! condition, then two words per [`Column`]. Which traits the event feeds is its [`Program`].

use std::sync::Arc;

use regex::Regex;
use rustc_hash::FxHashMap;
use tidewater_model::{
    Aggregate, EventFilter, HashKey, IdentifierSeed, Path, PipelineSpec, TraitSpec, expr::Predicate,
};

use crate::{
    ingest::compile_block_patterns,
    profile::layout::{Kind, Layout},
};

/// The most identifiers a pipeline can have: a rank is kept in one byte.
pub const MAX_IDENTIFIERS: usize = 200;

/// The most traits a pipeline can have.
pub const MAX_TRAITS: usize = 4_096;

/// The most segments a pipeline can have.
pub const MAX_SEGMENTS: usize = 16_384;

/// How many parts the identifier space has, whatever the number of workers, so that state can move between them.
pub const SHARDS: usize = 256;

/// Why a pipeline can't be compiled.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// A list is longer than the engine's records have room for.
    #[error("{count} {what}, at most {limit} are possible")]
    TooMany {
        /// `identifiers`, `traits`, `segments` or `conditions`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A `block` pattern is no regular expression.
    #[error("block pattern /{pattern}/ of {identifier}: {reason}")]
    BadPattern {
        /// The identifier.
        identifier: String,
        /// The pattern's text.
        pattern: String,
        /// What the regex parser says.
        reason: String,
    },
}

/// A pipeline's definitions in the shape the operators read them.
#[derive(Debug)]
pub struct Plan {
    spec: PipelineSpec,
    key: HashKey,
    /// Per identifier in rank order: its hash seed.
    pub(crate) seeds: Vec<IdentifierSeed>,
    /// Per identifier in rank order: its compiled `block` patterns.
    pub(crate) block_patterns: Vec<Vec<Regex>>,
    /// Values that events may carry and traits read.
    pub(crate) columns: Vec<Column>,
    /// The distinct `where` predicates; an event carries one bit for each.
    pub(crate) conditions: Vec<Predicate>,
    /// Words at the start of an event's values that hold the condition bits.
    pub(crate) condition_words: usize,
    /// Program 0 is for events whose name no trait asks for.
    pub(crate) programs: Vec<Program>,
    /// Index into `programs` by event name.
    pub(crate) program_of: FxHashMap<Box<str>, u16>,
    /// The shape of a record of state.
    pub(crate) layout: Layout,
}

/// One value that an event may carry: two words of the event's value block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Column {
    /// Where it stands in the event.
    pub(crate) path: Path,
    /// How it is encoded.
    pub(crate) kind: ColumnKind,
}

/// How a column's two words are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ColumnKind {
    /// An `i128` in units of 10^-9, [`NULL_NUMBER`] for null.
    Number,
    /// A [`Scalar128`](crate::scalar::Scalar128).
    Scalar,
}

/// The `i128` that stands for "no number": no decimal comes near it.
pub(crate) const NULL_NUMBER: i128 = i128::MIN;

/// The traits that events of one name feed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    /// One a trait.
    pub(crate) folds: Vec<Fold>,
    /// The columns whose scalars some trait keeps.
    pub(crate) kept: Vec<Kept>,
}

/// A column whose scalar is kept if one of these folds applies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// First word of the column in the event's value block.
    pub(crate) value: u16,
    folds: Vec<Fold>,
}

impl Program {
    fn new(folds: Vec<Fold>, layout: &Layout) -> Self {
        let mut kept: Vec<Kept> = Vec::new();
        for fold in &folds {
            if !matches!(layout.traits[usize::from(fold.trait_index)].kind, Kind::First | Kind::Last) {
                continue;
            }
            match kept.iter_mut().find(|kept| kept.value == fold.value) {
                Some(kept) => kept.folds.push(*fold),
                None => kept.push(Kept { value: fold.value, folds: vec![*fold] }),
            }
        }
        Self { folds, kept }
    }

    /// Calls `each` with the words of every scalar of an event that a trait keeps.
    #[inline]
    pub(crate) fn for_each_kept(&self, values: &mut [u64], mut each: impl FnMut(&mut [u64])) {
        for kept in &self.kept {
            if kept.applies(values) {
                let at = usize::from(kept.value);
                each(&mut values[at..at + 2]);
            }
        }
    }
}

impl Kept {
    #[inline]
    fn applies(&self, values: &[u64]) -> bool {
        self.folds.iter().any(|fold| fold.applies(values))
    }
}

/// How one trait takes in one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fold {
    /// Index of the trait.
    pub(crate) trait_index: u16,
    /// First word of its column in the event's value block; meaningless for traits that read no path.
    pub(crate) value: u16,
    /// Which condition bit must be set.
    pub(crate) condition: Option<u16>,
}

impl Fold {
    /// Whether an event's condition bits let the trait take it in.
    #[inline]
    pub(crate) fn applies(&self, values: &[u64]) -> bool {
        self.condition.is_none_or(|bit| values[usize::from(bit) / 64] >> (bit % 64) & 1 == 1)
    }
}

impl Plan {
    /// Works out the plan of a pipeline.
    pub fn compile(spec: PipelineSpec, key: HashKey) -> Result<Arc<Self>, PlanError> {
        limit("identifiers", spec.identifiers.len(), MAX_IDENTIFIERS)?;
        limit("traits", spec.traits.len(), MAX_TRAITS)?;
        limit("segments", spec.segments.len(), MAX_SEGMENTS)?;
        let block_patterns = compile_block_patterns(&spec)?;
        let mut conditions = Vec::new();
        let mut columns = Vec::new();
        for definition in &spec.traits {
            if let Some(condition) = &definition.condition
                && !conditions.contains(condition)
            {
                conditions.push(condition.clone());
            }
            if let Some(column) = column_of(definition)
                && !columns.contains(&column)
            {
                columns.push(column);
            }
        }
        let condition_words = conditions.len().div_ceil(64);
        let fold_of = |index: usize| {
            let definition: &TraitSpec = &spec.traits[index];
            let column = column_of(definition).and_then(|own| columns.iter().position(|c| *c == own));
            let condition = definition.condition.as_ref();
            Fold {
                trait_index: index as u16,
                value: (condition_words + 2 * column.unwrap_or(0)) as u16,
                condition: condition
                    .and_then(|own| conditions.iter().position(|c| c == own))
                    .map(|c| c as u16),
            }
        };
        let layout = Layout::new(&spec);
        let program_for = |name: Option<&str>| {
            let feeds = |definition: &TraitSpec| match &definition.events {
                EventFilter::Any => true,
                EventFilter::Named(wanted) => name == Some(wanted.as_str()),
            };
            let fed = (0..spec.traits.len()).filter(|index| feeds(&spec.traits[*index]));
            Program::new(fed.map(fold_of).collect(), &layout)
        };
        let mut programs = vec![program_for(None)];
        let mut program_of = FxHashMap::default();
        for definition in &spec.traits {
            if let EventFilter::Named(name) = &definition.events
                && !program_of.contains_key(name.as_str())
            {
                program_of.insert(name.as_str().into(), programs.len() as u16);
                programs.push(program_for(Some(name)));
            }
        }
        let seeds = spec.identifiers.iter().map(|identifier| key.seed(&identifier.name)).collect();
        Ok(Arc::new(Self {
            spec,
            key,
            seeds,
            block_patterns,
            columns,
            conditions,
            condition_words,
            programs,
            program_of,
            layout,
        }))
    }

    /// The definitions this plan was made from.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// The deployment's key.
    pub fn key(&self) -> HashKey {
        self.key
    }

    /// Words in the value block of one event.
    pub(crate) fn value_words(&self) -> usize {
        self.condition_words + 2 * self.columns.len()
    }

    /// Whether a trait keeps the scalar in a column of an event's values.
    pub(crate) fn keeps(&self, program: u16, column: u16, values: &[u64]) -> bool {
        let kept = &self.programs[usize::from(program)].kept;
        kept.iter().any(|kept| kept.value == column && kept.applies(values))
    }

    /// Hashes a normalized value of the identifier with this rank.
    pub fn hash(&self, identifier: usize, value: &str) -> u128 {
        self.seeds[identifier].hash(value.as_bytes())
    }
}

/// The worker, of `workers`, that an identifier's hash belongs to.
#[inline]
pub fn worker_of(hash: u128, workers: usize) -> usize {
    (hash >> 120) as usize % SHARDS % workers
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), PlanError> {
    if count > limit { Err(PlanError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn column_of(definition: &TraitSpec) -> Option<Column> {
    let kind = match definition.aggregate {
        Aggregate::First(_) | Aggregate::Last(_) => ColumnKind::Scalar,
        _ => ColumnKind::Number,
    };
    definition.aggregate.path().map(|path| Column { path: path.clone(), kind })
}
