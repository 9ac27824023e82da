//! Why a membership changed, in words for people.

use std::fmt::Write;

use rustc_hash::FxHashMap;
use tidewater_model::{PipelineSpec, Value};

use crate::{
    profile::{layout::Layout, value},
    segment::{
        Subject,
        compile::Evaluator,
        tree::{Tables, Test, Tree},
    },
};

/// How many changes a reason names.
const MAX_CHANGES: usize = 3;

/// How many characters of a string a reason shows.
const MAX_CHARACTERS: usize = 40;

/// What happened to a profile between two decisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    /// The value words at the decision before; `None` if there was none.
    pub(crate) old: Option<&'a [u64]>,
    /// The value words now.
    pub(crate) new: &'a [u64],
    /// Whether the profile may have other identifier values than at the decision before.
    pub(crate) identifiers_changed: bool,
    /// Whether the profile was looked at only because time has passed.
    pub(crate) by_time: bool,
}

/// What each segment reads, itself or through the segments it refers to.
#[derive(Debug)]
pub(super) struct Readings {
    /// Per segment, in the order of the predicates: its list.
    list_of: Vec<u32>,
    /// The different lists. A thousand segments mostly read the same few traits.
    lists: Vec<Vec<Reading>>,
    trait_names: Vec<String>,
    identifier_names: Vec<String>,
    /// Per identifier: the value word that counts its values.
    counters: Vec<Option<u16>>,
}

/// Something that a segment reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reading {
    Trait(u16),
    Identifier(u16),
    /// Which of an identifier's values a profile has, which no counter shows.
    Values(u16),
}

impl Readings {
    pub(super) fn new(
        spec: &PipelineSpec,
        trees: &[Tree],
        tables: &Tables,
        layout: &Layout,
        order: &[u32],
    ) -> Self {
        let mut of_segment: Vec<Vec<Reading>> = vec![Vec::new(); trees.len()];
        for segment in order {
            let mut own = Vec::new();
            let mut add = |reading| {
                if !own.contains(&reading) {
                    own.push(reading);
                }
            };
            trees[*segment as usize].tests(&mut |test, _| match test {
                Test::InSegment(other) => of_segment[other as usize].iter().copied().for_each(&mut add),
                Test::Identifier(index) => {
                    let (identifier, _) = tables.identifiers[index as usize];
                    add(Reading::Values(identifier as u16));
                }
                Test::Narrow { word, .. } if tables.traits_of(test).next().is_none() => {
                    let counts = |counter: &Option<u16>| *counter == Some(word);
                    let identifier = layout.identifier_counters.iter().position(counts);
                    identifier.into_iter().for_each(|index| add(Reading::Identifier(index as u16)));
                }
                _ => tables.traits_of(test).for_each(|index| add(Reading::Trait(index as u16))),
            });
            of_segment[*segment as usize] = own;
        }
        let mut lists: Vec<Vec<Reading>> = Vec::new();
        let mut known: FxHashMap<Vec<Reading>, u32> = FxHashMap::default();
        let mut list = |own: Vec<Reading>| {
            *known.entry(own).or_insert_with_key(|own| {
                lists.push(own.clone());
                lists.len() as u32 - 1
            })
        };
        Self {
            list_of: of_segment.into_iter().map(&mut list).collect(),
            lists,
            trait_names: spec.traits.iter().map(|definition| definition.name.clone()).collect(),
            identifier_names: spec.identifiers.iter().map(|identifier| identifier.name.clone()).collect(),
            counters: layout.identifier_counters.clone(),
        }
    }
}

impl Evaluator {
    /// A number that segments share whose changes, of one profile in one epoch, have the same reason; less than
    /// [`reasons`](Self::reasons).
    pub(crate) fn reasons_alike(&self, segment: usize) -> usize {
        self.readings.list_of[segment] as usize
    }

    /// How many different reasons one profile's changes in one epoch can have.
    pub(crate) fn reasons(&self) -> usize {
        self.readings.lists.len()
    }

    /// Appends why the answer of `segment` changed, such as `orders 2 -> 3, email added` or `now (time)`.
    pub(crate) fn reason(&self, segment: usize, cause: &Cause<'_>, subject: &impl Subject, out: &mut String) {
        let old = cause.old.unwrap_or(&self.empty);
        let mut named = 0;
        for reading in &self.readings.lists[self.reasons_alike(segment)] {
            let before = out.len();
            if named > 0 {
                out.push_str(", ");
            }
            let start = out.len();
            if named < MAX_CHANGES {
                self.describe(*reading, old, cause, subject, out);
            } else if self.has_changed(*reading, old, cause) {
                out.push('…');
            }
            if out.len() == start {
                out.truncate(before);
                continue;
            }
            named += 1;
            if named > MAX_CHANGES {
                break;
            }
        }
        if named == 0 {
            out.push_str(if cause.old.is_none() && !cause.by_time { "new profile" } else { "now" });
        }
        if cause.by_time {
            out.push_str(" (time)");
        }
    }

    fn has_changed(&self, reading: Reading, old: &[u64], cause: &Cause<'_>) -> bool {
        let words = match reading {
            Reading::Values(_) => return cause.identifiers_changed,
            Reading::Identifier(index) => match self.readings.counters[usize::from(index)] {
                Some(word) => usize::from(word)..usize::from(word) + 1,
                None => return false,
            },
            Reading::Trait(index) => {
                let place = &self.tables.traits[usize::from(index)];
                usize::from(place.word)..usize::from(place.word) + place.kind.words()
            }
        };
        old[words.clone()] != cause.new[words]
    }

    /// Appends what changed, if anything did.
    fn describe(
        &self,
        reading: Reading,
        old: &[u64],
        cause: &Cause<'_>,
        subject: &impl Subject,
        out: &mut String,
    ) {
        if !self.has_changed(reading, old, cause) {
            return;
        }
        match reading {
            Reading::Values(index) => {
                out.push_str(&self.readings.identifier_names[usize::from(index)]);
                out.push_str(" changed");
            }
            Reading::Identifier(index) => {
                let counter = self.readings.counters[usize::from(index)].map_or(0, usize::from);
                out.push_str(&self.readings.identifier_names[usize::from(index)]);
                out.push_str(if cause.new[counter] > old[counter] { " added" } else { " removed" });
            }
            Reading::Trait(index) => {
                let place = &self.tables.traits[usize::from(index)];
                let [old, new] = [old, cause.new]
                    .map(|words| value::read(place, words, |start, len| subject.text(start, len)));
                // The time of a `first` or the parts of a mean may change under the same value.
                if old != new {
                    out.push_str(&self.readings.trait_names[usize::from(index)]);
                    out.push(' ');
                    write_short(&old, out);
                    out.push_str(" -> ");
                    write_short(&new, out);
                }
            }
        }
    }
}

/// Writes a value, a long string cut.
fn write_short(value: &Value, out: &mut String) {
    let cut = match value {
        Value::String(text) => text.char_indices().nth(MAX_CHARACTERS).map(|(end, _)| {
            let mut short = text[..end].to_owned();
            short.push('…');
            Value::String(short.into())
        }),
        _ => None,
    };
    // Writing to a string does not fail.
    let _ = write!(out, "{}", cut.as_ref().unwrap_or(value));
}
