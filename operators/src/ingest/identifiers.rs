//! Which values of an event are identifiers: found by path, normalized, not blocked, not too long, each once.

use std::collections::HashSet;

use regex::Regex;
use rustc_hash::FxHashSet;
use tidewater_model::{
    BlockRule, IdentifierSeed, IdentifierSpec, Normalize, Path, PipelineSpec,
    identifier::{DEFAULT_BLOCKED, MAX_IDENTIFIER_BYTES},
};

use super::{
    IdentifierRow,
    json::{Field, Fields, Node, PathTree, elements, unescape},
};
use crate::plan::{Plan, PlanError};

/// From how many values of one identifier on a set is asked whether a value is there already.
const MANY_VALUES: usize = 32;

/// How one identifier's values are found and made usable.
#[derive(Clone, Debug)]
struct Rules {
    sources: Vec<Node>,
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
}

/// The identifiers found in one event, in rank order; the owner first.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Texts are counted from the start of the event's share of the text buffer.
    pub(super) rows: Vec<IdentifierRow>,
    /// Values longer than an identifier can be.
    pub(super) oversized: u64,
    /// Per row: where it stands in the event.
    #[cfg(feature = "planted-bugs")]
    pub(super) starts: Vec<u32>,
}

/// Where the texts of an event's identifiers go: behind `base` in a buffer shared with other events.
#[derive(Debug)]
pub(super) struct TextSpace<'a> {
    pub(super) text: &'a mut Vec<u8>,
    pub(super) base: usize,
}

impl Identifiers {
    /// Compiles the rules of a plan; adds the paths they need to `tree`.
    pub(super) fn new(plan: &Plan, tree: &mut PathTree) -> Self {
        let compile = |(rank, spec): (usize, &IdentifierSpec)| Rules {
            sources: spec.from.iter().map(|path| tree.want(path)).collect(),
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
        Self { rules: plan.spec().identifiers.iter().enumerate().map(compile).collect() }
    }

    /// Finds the identifiers of an event.
    #[inline]
    pub(super) fn find(&self, fields: Fields<'_>, space: &mut TextSpace<'_>, found: &mut Found) {
        found.rows.clear();
        found.oversized = 0;
        #[cfg(feature = "planted-bugs")]
        found.starts.clear();
        for (rank, rules) in self.rules.iter().enumerate() {
            let first = found.rows.len();
            for source in &rules.sources {
                let field = fields.get(*source);
                if field == Field::Null {
                    continue;
                }
                match field {
                    Field::Array(array) => self.add_each(rank, array, first, space, found),
                    scalar => {
                        if let Some(row) = self.read(rank, scalar, space, &mut found.oversized) {
                            let before = &found.rows[first..];
                            found.add_unless(row, before.iter().any(|other| other.hash == row.hash), space);
                        }
                    }
                }
                #[cfg(feature = "planted-bugs")]
                found.starts.resize(found.rows.len(), fields.start(*source));
            }
        }
        if !found.rows.is_empty() {
            let owner = found.owner(space);
            found.rows.swap(0, owner);
        }
    }

    /// Adds every scalar of an array that is usable.
    #[cold]
    fn add_each(
        &self,
        rank: usize,
        array: &[u8],
        first: usize,
        space: &mut TextSpace<'_>,
        found: &mut Found,
    ) {
        // Values come from outside, so the set's hashes must not be predictable, though these are keyed already.
        let mut known: HashSet<u128> = HashSet::new();
        for element in elements(array) {
            let Some(row) = self.read(rank, element, space, &mut found.oversized) else { continue };
            let values = &found.rows[first..];
            let is_known = if values.len() < MANY_VALUES {
                values.iter().any(|other| other.hash == row.hash)
            } else {
                if known.is_empty() {
                    known.extend(values.iter().map(|other| other.hash));
                }
                !known.insert(row.hash)
            };
            found.add_unless(row, is_known, space);
        }
    }

    /// The identifier of this rank that a scalar stands for, if it is usable; its text is at the end of the buffer.
    #[inline]
    pub(super) fn read(
        &self,
        rank: usize,
        scalar: Field<'_>,
        space: &mut TextSpace<'_>,
        oversized: &mut u64,
    ) -> Option<IdentifierRow> {
        let rules = &self.rules[rank];
        let start = space.text.len();
        match scalar {
            Field::Text(raw) | Field::Number(raw) => space.text.extend_from_slice(raw),
            Field::Escaped(raw) => unescape(raw, space.text),
            Field::Bool(value) => space.text.extend_from_slice(if value { b"true" } else { b"false" }),
            Field::Null | Field::Array(_) | Field::Object => return None,
        }
        let normalized = rules.normalize == Normalize::None || normalize(rules.normalize, space.text, start);
        let value = &space.text[start..];
        let usable = normalized && !is_blocked_by_default(value) && !rules.blocks(value);
        let too_long = value.len() > MAX_IDENTIFIER_BYTES;
        if !usable || too_long {
            *oversized += u64::from(usable);
            space.text.truncate(start);
            return None;
        }
        let (text, len) = ((start - space.base) as u32, value.len() as u16);
        Some(IdentifierRow { hash: rules.seed.hash(value), text, len, rank: rank as u8 })
    }
}

impl Found {
    fn add_unless(&mut self, row: IdentifierRow, is_known: bool, space: &mut TextSpace<'_>) {
        if is_known {
            space.text.truncate(space.base + row.text as usize);
        } else {
            self.rows.push(row);
        }
    }

    /// The row that owns the event: of the highest rank, the smallest value. There is at least one row.
    fn owner(&self, space: &TextSpace<'_>) -> usize {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::OwnerByArrival) {
            return (0..self.rows.len()).min_by_key(|row| self.starts[*row]).unwrap_or(0);
        }
        let rank = self.rows[0].rank;
        let mut owner = 0;
        for (at, row) in self.rows.iter().enumerate().skip(1).take_while(|(_, row)| row.rank == rank) {
            if space.of(row) < space.of(&self.rows[owner]) {
                owner = at;
            }
        }
        owner
    }
}

impl TextSpace<'_> {
    /// The text of a row.
    pub(super) fn of(&self, row: &IdentifierRow) -> &[u8] {
        &self.text[self.base + row.text as usize..][..usize::from(row.len)]
    }
}

impl Rules {
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

/// Normalizes the text from `start` on, in place; `false` if it can't be an identifier.
fn normalize(how: Normalize, text: &mut Vec<u8>, start: usize) -> bool {
    let raw = &mut text[start..];
    let simple = |byte: &u8| byte.is_ascii_graphic();
    let needs_trimming = !raw.first().is_none_or(simple) || !raw.last().is_none_or(simple);
    if needs_trimming || (how != Normalize::Trim && !raw.is_ascii()) {
        return normalize_unicode(how, text, start);
    }
    if how != Normalize::Trim {
        raw.make_ascii_lowercase();
    }
    how != Normalize::Email || is_ascii_email(raw)
}

#[cold]
fn normalize_unicode(how: Normalize, text: &mut Vec<u8>, start: usize) -> bool {
    // The scanner has checked the whole event.
    let Ok(raw) = str::from_utf8(&text[start..]) else { return false };
    let value = match how {
        Normalize::None => raw.to_owned(),
        Normalize::Trim => raw.trim().to_owned(),
        Normalize::Lowercase | Normalize::Email => raw.trim().to_lowercase(),
    };
    text.truncate(start);
    text.extend_from_slice(value.as_bytes());
    how != Normalize::Email || is_email(&value)
}

fn is_ascii_email(value: &[u8]) -> bool {
    let mut at = None;
    for (place, byte) in value.iter().enumerate() {
        if !byte.is_ascii_graphic() || (*byte == b'@' && at.replace(place).is_some()) {
            return false;
        }
    }
    at.is_some_and(|at| at > 0 && at + 1 < value.len())
}

fn is_email(value: &str) -> bool {
    let Some((name, domain)) = value.split_once('@') else { return false };
    let junk = |character: char| character.is_whitespace() || character.is_control();
    !name.is_empty() && !domain.is_empty() && !domain.contains('@') && !value.contains(junk)
}

/// Whether a value is never an identifier, compared trimmed and ignoring ASCII case.
#[inline]
fn is_blocked_by_default(value: &[u8]) -> bool {
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    if !first.is_ascii_graphic() || !last.is_ascii_graphic() {
        return is_blocked_untrimmed(value);
    }
    if matches!(first, b'0' | b'-') && value.iter().all(|byte| matches!(byte, b'0' | b'-')) {
        return true;
    }
    let ends = END_LETTERS.get(value.len()).copied().unwrap_or([0; 2]);
    // Nearly every value is told apart from all blocked ones by its length and its first and last letter.
    ends[0] & end_bit(*first) != 0 && ends[1] & end_bit(*last) != 0 && is_blocked_word(value)
}

#[cold]
fn is_blocked_untrimmed(value: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(value) else { return false };
    let trimmed = text.trim().as_bytes();
    trimmed.iter().all(|byte| matches!(byte, b'0' | b'-')) || is_blocked_word(trimmed)
}

#[cold]
fn is_blocked_word(value: &[u8]) -> bool {
    DEFAULT_BLOCKED.iter().any(|blocked| value.eq_ignore_ascii_case(blocked.as_bytes()))
}

/// Per length of a value: which letters a blocked value of that length starts with, and ends with.
static END_LETTERS: [[u32; 2]; 24] = end_letters();

/// A bit for a letter whatever its case; other characters share bits with letters.
const fn end_bit(byte: u8) -> u32 {
    1 << (byte & 0x1f)
}

const fn end_letters() -> [[u32; 2]; 24] {
    let mut letters = [[0; 2]; 24];
    let mut at = 0;
    while at < DEFAULT_BLOCKED.len() {
        let word = DEFAULT_BLOCKED[at].as_bytes();
        letters[word.len()][0] |= end_bit(word[0]);
        letters[word.len()][1] |= end_bit(word[word.len() - 1]);
        at += 1;
    }
    letters
}
