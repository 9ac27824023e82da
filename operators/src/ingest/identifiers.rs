//! Which values of an event are identifiers: found by path, normalized, not blocked, not too long, each once.

use std::collections::HashSet;

use regex::Regex;
use rustc_hash::FxHashSet;
use tidewater_model::{
    BlockRule, IdentifierSeed, IdentifierSpec, Normalize, Path, PipelineSpec,
    identifier::MAX_IDENTIFIER_BYTES,
};

use super::{
    IdentifierRow,
    json::{Field, Fields, Node, PathTree, elements, unescape},
    normalize::{is_blocked_by_default, normalize},
};
use crate::plan::{Plan, PlanError};

/// From how many values of one key on a set is asked whether a value is there already.
pub(super) const MANY_VALUES: usize = 32;

/// How one identifier's values are found and made usable.
#[derive(Clone, Debug)]
struct Rules {
    normalize: Normalize,
    /// Blocked values, besides those that are always blocked.
    blocked: FxHashSet<Box<[u8]>>,
    blocked_patterns: Vec<Regex>,
    seed: IdentifierSeed,
}

/// The identifiers of a pipeline, in rank order.
#[derive(Clone, Debug)]
pub(super) struct Identifiers {
    rules: Vec<Rules>,
    /// In rank order.
    sources: Vec<Source>,
}

/// Where values of one identifier stand.
#[derive(Clone, Copy, Debug)]
struct Source {
    node: Node,
    rank: u8,
}

/// Where an event's identifiers go: behind those of other events.
#[derive(Debug)]
pub(super) struct IdentifierSpace<'a> {
    pub(super) rows: &'a mut Vec<IdentifierRow>,
    /// The event's first row.
    pub(super) first_row: usize,
    pub(super) text: &'a mut Vec<u8>,
    /// Where the event's share of `text` starts; texts are counted from there.
    pub(super) base: usize,
    /// Values longer than an identifier can be are counted here.
    pub(super) oversized: u32,
}

impl Identifiers {
    /// Compiles the rules of a plan; adds the paths they need to `tree`.
    pub(super) fn new(plan: &Plan, tree: &mut PathTree) -> Self {
        let compile = |(rank, spec): (usize, &IdentifierSpec)| Rules {
            normalize: spec.normalize,
            blocked: spec
                .block
                .iter()
                .filter_map(|rule| match rule {
                    BlockRule::Exact(value) => Some(value.as_bytes().into()),
                    BlockRule::Pattern(_) => None,
                })
                .collect(),
            blocked_patterns: plan.block_patterns[rank].clone(),
            seed: plan.seeds[rank],
        };
        let specs = &plan.spec().identifiers;
        let sources =
            specs.iter().zip(0u8..).flat_map(|(spec, rank)| spec.from.iter().map(move |path| (path, rank)));
        Self {
            sources: sources.map(|(path, rank)| Source { node: tree.want(path), rank }).collect(),
            rules: specs.iter().enumerate().map(compile).collect(),
        }
    }

    /// Adds the identifiers of an event in rank order, but for the owner, which comes first. Whether there are any.
    #[inline(always)]
    pub(super) fn find(&self, fields: Fields<'_>, space: &mut IdentifierSpace<'_>) -> bool {
        #[cfg(feature = "planted-bugs")]
        let mut starts = Vec::new();
        for source in &self.sources {
            let field = fields.get(source.node);
            if field == Field::Null {
                continue;
            }
            let rules = &self.rules[usize::from(source.rank)];
            if let Field::Array(array) = field {
                rules.add_each(source.rank, array, space);
            } else if let Some(row) = rules.read(source.rank, field, space) {
                let is_known = space.rows[space.first_row..].iter().any(|other| other.hash == row.hash);
                space.add_unless(is_known, row);
            }
            #[cfg(feature = "planted-bugs")]
            starts.resize(space.rows.len() - space.first_row, fields.start(source.node));
        }
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::OwnerByArrival) {
            let owner = (0..starts.len()).min_by_key(|row| starts[*row]).unwrap_or(0);
            space.rows[space.first_row..].rotate_left(owner);
            return !starts.is_empty();
        }
        space.put_owner_first()
    }

    /// The identifier of this rank that a scalar stands for, if it is usable; its text is at the end of the buffer.
    pub(super) fn read(
        &self,
        rank: usize,
        scalar: Field<'_>,
        space: &mut IdentifierSpace<'_>,
    ) -> Option<IdentifierRow> {
        self.rules[rank].read(rank as u8, scalar, space)
    }
}

impl IdentifierSpace<'_> {
    /// The event's rows.
    pub(super) fn own_rows(&mut self) -> &mut [IdentifierRow] {
        &mut self.rows[self.first_row..]
    }

    #[inline(always)]
    fn add_unless(&mut self, is_known: bool, row: IdentifierRow) {
        if is_known {
            self.text.truncate(self.base + row.text as usize);
        } else {
            self.rows.push(row);
        }
    }

    /// Puts the row that owns the event first: of the highest rank, the smallest value. Whether there is one.
    #[inline(always)]
    fn put_owner_first(&mut self) -> bool {
        let rows = &mut self.rows[self.first_row..];
        let text = &self.text[self.base..];
        let text_of = |row: &IdentifierRow| &text[row.text as usize..][..usize::from(row.len)];
        let Some(first) = rows.first() else { return false };
        let equals = rows.iter().take_while(|row| row.rank == first.rank).count();
        for at in 1..equals {
            if text_of(&rows[at]) < text_of(&rows[0]) {
                rows.swap(0, at);
            }
        }
        true
    }
}

impl Rules {
    /// Adds every scalar of an array that is usable.
    #[cold]
    fn add_each(&self, rank: u8, array: &[u8], space: &mut IdentifierSpace<'_>) {
        let mut known = HashSet::new();
        for element in elements(array) {
            let Some(row) = self.read(rank, element, space) else { continue };
            let before = &space.rows[space.first_row..];
            let is_known = if before.len() < MANY_VALUES {
                before.iter().any(|other| other.hash == row.hash)
            } else {
                if known.is_empty() {
                    known.extend(before.iter().map(|other| other.hash));
                }
                !known.insert(row.hash)
            };
            space.add_unless(is_known, row);
        }
    }

    #[inline(always)]
    fn read(&self, rank: u8, scalar: Field<'_>, space: &mut IdentifierSpace<'_>) -> Option<IdentifierRow> {
        let start = space.text.len();
        match scalar {
            Field::Text(raw) | Field::Number(raw) => space.text.extend_from_slice(raw),
            Field::Escaped(raw) => unescape(raw, space.text),
            Field::Bool(value) => space.text.extend_from_slice(if value { b"true" } else { b"false" }),
            Field::Null | Field::Array(_) | Field::Object => return None,
        }
        let normalized = self.normalize == Normalize::None || normalize(self.normalize, space.text, start);
        let value = &space.text[start..];
        let usable = normalized && !is_blocked_by_default(value) && !self.blocks(value);
        if !usable || value.len() > MAX_IDENTIFIER_BYTES {
            space.oversized += u32::from(usable);
            space.text.truncate(start);
            return None;
        }
        let (text, len) = ((start - space.base) as u32, value.len() as u16);
        Some(IdentifierRow { hash: self.seed.hash(value), text, len, rank })
    }

    #[inline]
    fn blocks(&self, value: &[u8]) -> bool {
        (!self.blocked.is_empty() && self.blocked.contains(value))
            || (!self.blocked_patterns.is_empty() && self.matches_a_pattern(value))
    }

    #[cold]
    fn matches_a_pattern(&self, value: &[u8]) -> bool {
        let value = str::from_utf8(value).unwrap_or_default();
        self.blocked_patterns.iter().any(|pattern| pattern.is_match(value))
    }
}

impl Plan {
    /// The hash of a value of the identifier with this rank as an event would bring it, before normalizing; `None`
    /// if it can't be one.
    pub fn hash_as_received(&self, identifier: usize, value: &str) -> Option<u128> {
        let how = self.spec().identifiers[identifier].normalize;
        let mut text = value.as_bytes().to_vec();
        let usable = how == Normalize::None || normalize(how, &mut text, 0);
        usable.then(|| self.seeds[identifier].hash(&text))
    }
}

/// The rank of the first identifier that the event's own key `key` feeds.
pub(super) fn first_fed_by(spec: &PipelineSpec, key: &str) -> Option<usize> {
    let is_key = |path: &Path| matches!(path.steps(), [only] if only == key);
    spec.identifiers.iter().position(|identifier| identifier.from.iter().any(is_key))
}

/// Compiles every identifier's block patterns, in rank order.
///
/// # Errors
/// [`PlanError::BadPattern`] for the first that is no regular expression.
pub(crate) fn compile_block_patterns(spec: &PipelineSpec) -> Result<Vec<Vec<Regex>>, PlanError> {
    let compile = |identifier: &IdentifierSpec, pattern: &str| {
        Regex::new(pattern).map_err(|error| PlanError::BadPattern {
            identifier: identifier.name.clone(),
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        })
    };
    let patterns_of = |identifier: &IdentifierSpec| {
        let patterns = identifier.block.iter().filter_map(|rule| match rule {
            BlockRule::Exact(_) => None,
            BlockRule::Pattern(pattern) => Some(compile(identifier, pattern)),
        });
        patterns.collect()
    };
    spec.identifiers.iter().map(patterns_of).collect()
}
