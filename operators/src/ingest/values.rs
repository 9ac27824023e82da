//! The values that an event's traits read, in the words of its value block.

use tidewater_model::Decimal;

use super::{
    conditions::Condition,
    json::{Field, Fields, Node, PathTree, unescape},
};
use crate::{
    plan::{ColumnKind, NULL_NUMBER, Plan},
    scalar::{Scalar128, Unpacked},
};

/// Fills value blocks.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// A value block with nothing in it.
    empty: Vec<u64>,
    /// Per program of the plan.
    programs: Vec<Reads>,
    conditions: Vec<Condition>,
    /// A string without its escapes.
    scratch: Vec<u8>,
}

/// What the traits of one program read.
#[derive(Clone, Debug, Default)]
struct Reads {
    columns: Vec<Read>,
    /// Indices into the plan's conditions.
    conditions: Vec<u16>,
}

/// One column of the value block.
#[derive(Clone, Copy, Debug)]
struct Read {
    node: Node,
    kind: ColumnKind,
    /// First of its two words.
    word: u16,
}

/// Where a value block goes.
#[derive(Debug)]
pub(super) struct ValueSpace<'a> {
    pub(super) words: &'a mut Vec<u64>,
    pub(super) text: &'a mut Vec<u8>,
    /// Where the event's share of `text` starts; strings are counted from there.
    pub(super) base: usize,
    /// Words of this block at which a string stands are added here.
    pub(super) strings: &'a mut Vec<u16>,
    /// Numbers that were expected and can't be read are counted here.
    pub(super) unreadable: u32,
}

impl Values {
    /// Compiles what the plan's programs read; adds the paths they need to `tree`.
    pub(super) fn new(plan: &Plan, tree: &mut PathTree) -> Self {
        let null = |kind| match kind {
            ColumnKind::Number => words_of(NULL_NUMBER as u128),
            ColumnKind::Scalar => Scalar128::NULL.words(),
        };
        let mut empty = vec![0; plan.condition_words];
        empty.extend(plan.columns.iter().flat_map(|column| null(column.kind)));
        let conditions = plan.conditions.iter().map(|condition| Condition::new(condition, tree)).collect();
        let reads: Vec<Read> = plan
            .columns
            .iter()
            .zip((plan.condition_words..).step_by(2))
            .map(|(column, word)| Read {
                node: tree.want(&column.path),
                kind: column.kind,
                word: word as u16,
            })
            .collect();
        let programs = plan.programs.iter().map(|program| {
            // Traits that read no path carry a word as well, which then means nothing.
            let has_path = |index: u16| plan.spec().traits[usize::from(index)].aggregate.path().is_some();
            let used = |read: &&Read| {
                program.folds.iter().any(|fold| fold.value == read.word && has_path(fold.trait_index))
            };
            let mut conditions: Vec<u16> = program.folds.iter().filter_map(|fold| fold.condition).collect();
            conditions.sort_unstable();
            conditions.dedup();
            Reads { columns: reads.iter().filter(used).copied().collect(), conditions }
        });
        let programs = programs.collect();
        Self { empty, programs, conditions, scratch: Vec::new() }
    }

    /// Words of a value block.
    #[inline]
    pub(super) fn words(&self) -> usize {
        self.empty.len()
    }

    /// Appends the value block of an event that feeds `program`.
    #[inline]
    pub(super) fn read(&mut self, program: u16, fields: Fields<'_>, space: &mut ValueSpace<'_>) {
        let block = space.words.len();
        space.words.extend_from_slice(&self.empty);
        let reads = &self.programs[usize::from(program)];
        for condition in &reads.conditions {
            let index = usize::from(*condition);
            if self.conditions[index].holds(fields, &mut self.scratch) {
                space.words[block + index / 64] |= 1 << (index % 64);
            }
        }
        for read in &reads.columns {
            let words = match (fields.get(read.node), read.kind) {
                (Field::Null, _) => continue,
                (field, ColumnKind::Number) => match number_of(field, &mut self.scratch) {
                    Some(number) => words_of(number.0 as u128),
                    None => {
                        space.unreadable += 1;
                        continue;
                    }
                },
                (field, ColumnKind::Scalar) => scalar_words(field, read.word, space),
            };
            let at = block + usize::from(read.word);
            space.words[at..at + 2].copy_from_slice(&words);
        }
    }
}

fn words_of(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}

/// A number, or a string that is one.
fn number_of(field: Field<'_>, scratch: &mut Vec<u8>) -> Option<Decimal> {
    match field {
        Field::Number(text) | Field::Text(text) => parse_number(text),
        Field::Escaped(raw) => {
            scratch.clear();
            unescape(raw, scratch);
            parse_number(scratch)
        }
        Field::Null | Field::Bool(_) | Field::Array(_) | Field::Object => None,
    }
}

/// A number as JSON writes it, if it is in range.
#[inline]
pub(super) fn parse_number(text: &[u8]) -> Option<Decimal> {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::active(crate::planted::Bug::NumberAsFloat) {
        let number: f64 = str::from_utf8(text).ok()?.parse().ok()?;
        return (number.abs() <= 1e18).then_some(Decimal((number * 1e9) as i128));
    }
    Decimal::parse(text)
}

fn scalar_words(field: Field<'_>, word: u16, space: &mut ValueSpace<'_>) -> [u64; 2] {
    let start = space.text.len();
    let scalar = match field {
        Field::Bool(false) => Scalar128::FALSE,
        Field::Bool(true) => Scalar128::TRUE,
        Field::Number(text) => match parse_number(text) {
            Some(number) => Scalar128::number(number),
            None => {
                space.unreadable += 1;
                Scalar128::NULL
            }
        },
        Field::Text(_) | Field::Escaped(_) => {
            match field {
                Field::Escaped(raw) => unescape(raw, space.text),
                Field::Text(raw) => space.text.extend_from_slice(raw),
                _ => {}
            }
            space.strings.push(word);
            Scalar128::string((start - space.base) as u64, (space.text.len() - start) as u32)
        }
        Field::Null | Field::Array(_) | Field::Object => Scalar128::NULL,
    };
    scalar.words()
}

/// Moves the string at `word` of a value block by `distance` bytes of the text buffer it is counted in.
pub(super) fn move_string(block: &mut [u64], word: u16, distance: u64) {
    let at = usize::from(word);
    if let Unpacked::String { start, len } = Scalar128::from_words(block[at], block[at + 1]).unpack() {
        block[at..at + 2].copy_from_slice(&Scalar128::string(start + distance, len).words());
    }
}
