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
