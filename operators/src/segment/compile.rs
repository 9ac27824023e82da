//! Puts a pipeline's predicates into the form that evaluation runs.

use tidewater_model::{HashKey, PipelineSpec};

use crate::{
    profile::layout::Layout,
    segment::{
        compare::Predicates,
        evaluate::NobodyKnown,
        lines::{Lines, LinesBuilder, Stretch},
        reason::Readings,
        timers::{WindowTimer, WindowTimers},
        tree::{Tables, Test, Tree},
    },
};

/// Where a program ends with yes.
pub(super) const YES: u32 = u32::MAX;
/// Where a program ends with no.
pub(super) const NO: u32 = u32::MAX - 1;

/// One step of a branching program: a question, and where to go on either answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) test: Test,
    pub(super) yes: u32,
    pub(super) no: u32,
}

/// A pipeline's segments, compiled. Plain data: threads may share it.
#[derive(Debug)]
pub(crate) struct Evaluator {
    pub(super) nodes: Vec<Node>,
    /// Per segment: the node it starts at, [`YES`] or [`NO`].
    pub(super) entries: Vec<u32>,
    pub(super) tables: Tables,
    pub(super) lines: Lines,
    /// Words of places, of segments with and without `in_segment`.
    pub(super) place_words: usize,
    /// Words of places of segments without, which is also the words of membership bits.
    pub(super) flat_words: usize,
    /// Per place behind the flat ones: the segment there.
    pub(super) nested: Vec<u32>,
    /// Per word of flat places: segments that others refer to.
    pub(super) referred: Vec<u64>,
    /// Per segment: places of the segments that refer to it, in `referrers`.
    pub(super) referrers_of: Vec<Stretch>,
    pub(super) referrers: Vec<u32>,
    /// Segments that read the clock, as masks over places: evaluated on every call.
    pub(super) clocked: Vec<(u32, u64)>,
    pub(super) windows: Vec<WindowTimer>,
    /// Values of a profile without any event, and the answers for it: where a new profile starts from.
    pub(super) empty: Vec<u64>,
    pub(super) empty_bits: Vec<u64>,
    pub(super) readings: Readings,
}

impl Evaluator {
    /// Compiles the segments of a pipeline. `key` is the deployment's, for identifier values in predicates.
    pub(crate) fn new(spec: &PipelineSpec, layout: &Layout, key: HashKey) -> Self {
        let seeds: Vec<_> = spec.identifiers.iter().map(|identifier| key.seed(&identifier.name)).collect();
        let tables = Tables::new(layout);
        let mut predicates = Predicates { layout, seeds: &seeds, tables };
        let mut trees: Vec<Tree> =
            spec.segments.iter().map(|segment| predicates.tree(&segment.predicate)).collect();
        let tables = predicates.tables;
        let order = Order::new(&trees, layout.segment_words);
        // Before sorting: reasons name things in the order in which people wrote them.
        let readings = Readings::new(spec, &trees, &tables, layout, &order.in_order);
        trees.iter_mut().for_each(|tree| tree.sort(&tables));
        let mut nodes = Vec::new();
        let entries = trees.iter().map(|tree| emit(&mut nodes, tree, YES, NO)).collect();
        let (lines, clocked) = index(&trees, &tables, &order);
        let windows = WindowTimers::new(&trees, &tables).finish();
        let mut evaluator = Self {
            nodes,
            entries,
            lines,
            place_words: order.place_words(),
            flat_words: order.flat_words,
            nested: order.nested.clone(),
            referred: order.referred.clone(),
            referrers_of: order.referrers_of.clone(),
            referrers: order.referrers.clone(),
            clocked,
            windows,
            empty: empty_values(layout),
            empty_bits: vec![0; layout.segment_words],
            readings,
            tables,
        };
        evaluator.empty_bits = evaluator.answers_for_nobody(&order.in_order);
        evaluator
    }

    fn answers_for_nobody(&self, order: &[u32]) -> Vec<u64> {
        let mut bits = self.empty_bits.clone();
        let mut stack = Vec::new();
        for segment in order {
            // Any `now` will do: segments that read it are evaluated on every call.
            let mut pass = self.pass((&self.empty, 0), &NobodyKnown, &mut stack);
            if pass.holds(self.entries[*segment as usize], &bits) {
                bits[*segment as usize / 64] |= 1 << (segment % 64);
            }
        }
        bits
    }
}

/// Appends a tree's program and returns where it starts.
fn emit(nodes: &mut Vec<Node>, tree: &Tree, yes: u32, no: u32) -> u32 {
    match tree {
        Tree::Constant(answer) => {
            if *answer {
                yes
            } else {
                no
            }
        }
        Tree::Test { test, negated } => {
            let (yes, no) = if *negated { (no, yes) } else { (yes, no) };
            nodes.push(Node { test: *test, yes, no });
            nodes.len() as u32 - 1
        }
        Tree::All(parts) => parts.iter().rev().fold(yes, |next, part| emit(nodes, part, next, no)),
        Tree::Any(parts) => parts.iter().rev().fold(no, |next, part| emit(nodes, part, yes, next)),
    }
}

/// The lines, and the segments that read the clock. The latter are evaluated anyway and need no marks.
fn index(trees: &[Tree], tables: &Tables, order: &Order) -> (Lines, Vec<(u32, u64)>) {
    let mut clocked = vec![0u64; order.place_words()];
    let mut lines = LinesBuilder::default();
    for (tree, place) in trees.iter().zip(&order.places) {
        let mut reads_now = false;
        tree.tests(&mut |test, _| reads_now |= tables.reads_now(test));
        if reads_now {
            clocked[*place as usize / 64] |= 1 << (place % 64);
        } else {
            tree.tests(&mut |test, negated| lines.add(tables, *place, test, negated));
        }
    }
    let clocked = clocked.into_iter().enumerate().filter(|(_, mask)| *mask != 0);
    let clocked = clocked.map(|(word, mask)| (word as u32, mask)).collect();
    (lines.finish(tables, order.flat_words), clocked)
}

fn empty_values(layout: &Layout) -> Vec<u64> {
    let mut words = vec![0; layout.value_words];
    for place in &layout.traits {
        let word = usize::from(place.word);
        place.kind.clear(&mut words[word..word + place.kind.words()]);
    }
    words
}

/// In which order segments can be evaluated, and who refers to whom.
struct Order {
    flat_words: usize,
    /// Per segment.
    places: Vec<u32>,
    nested: Vec<u32>,
    referred: Vec<u64>,
    referrers_of: Vec<Stretch>,
    referrers: Vec<u32>,
    /// All segments, each after the ones it refers to.
    in_order: Vec<u32>,
}

impl Order {
    fn new(trees: &[Tree], flat_words: usize) -> Self {
        let mut references = vec![Vec::new(); trees.len()];
        let mut referring = vec![Vec::new(); trees.len()];
        for (segment, tree) in trees.iter().enumerate() {
            tree.tests(&mut |test, _| {
                if let Test::InSegment(other) = test
                    && !references[segment].contains(&other)
                {
                    references[segment].push(other);
                    referring[other as usize].push(segment as u32);
                }
            });
        }
        let in_order = topological(&references, &referring);
        let mut places: Vec<u32> = (0..trees.len() as u32).collect();
        let mut nested = Vec::new();
        for segment in &in_order {
            if !references[*segment as usize].is_empty() {
                places[*segment as usize] = (flat_words * 64 + nested.len()) as u32;
                nested.push(*segment);
            }
        }
        let mut referred = vec![0; flat_words];
        let (mut referrers_of, mut referrers) = (Vec::new(), Vec::new());
        for (segment, others) in referring.iter().enumerate() {
            let from = referrers.len() as u32;
            referrers.extend(others.iter().map(|other| places[*other as usize]));
            referrers_of.push((from, referrers.len() as u32));
            if !others.is_empty() {
                referred[segment / 64] |= 1 << (segment % 64);
            }
        }
        Self { flat_words, places, nested, referred, referrers_of, referrers, in_order }
    }

    fn place_words(&self) -> usize {
        self.flat_words + self.nested.len().div_ceil(64)
    }
}

/// Every segment after the ones it refers to. A pipeline's references form no cycle.
fn topological(references: &[Vec<u32>], referring: &[Vec<u32>]) -> Vec<u32> {
    let mut open: Vec<usize> = references.iter().map(Vec::len).collect();
    let mut order: Vec<u32> = (0..open.len() as u32).filter(|segment| open[*segment as usize] == 0).collect();
    let mut next = 0;
    while let Some(segment) = order.get(next) {
        for other in &referring[*segment as usize] {
            open[*other as usize] -= 1;
            if open[*other as usize] == 0 {
                order.push(*other);
            }
        }
        next += 1;
    }
    order
}
