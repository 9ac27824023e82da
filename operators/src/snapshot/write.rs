//! Writes nodes as they were at the end of the snapshot's epoch.

use super::bytes::{put, put_bytes, put_i64, put_i128};
use crate::{
    identity::{State, links::Link, state::Pending},
    plan::ColumnKind,
    profile::{
        aggregate::number,
        layout::{Kind, TraitLayout},
        record::{ALIASED, CLUSTER, GONE, Header, OWNS},
    },
    scalar::{Scalar128, Unpacked},
    store::{Panes, TraitTexts},
};

/// Flags of a stored node: those of its record that do not follow from anything else.
pub(super) const KEPT_FLAGS: u64 = OWNS | GONE | ALIASED;

/// Flag of a stored node alone: an accepted event carries the identifier, aliases apart. No node is a cluster, so the bit
/// is free.
pub(super) const CARRIED: u64 = CLUSTER;

/// A piece of the rest is of about this size.
const REST_BYTES: usize = 1 << 20;

/// How an entry of the rest begins.
pub(super) mod rest {
    pub(in crate::snapshot) const CUT: u8 = 0;
    pub(in crate::snapshot) const PENDING: u8 = 1;
}

/// So many records are looked at in one go, at most.
const MOST_VISITED: usize = 10_000;

/// How a stored scalar begins.
pub(super) mod scalar {
    pub(in crate::snapshot) const NULL: u8 = 0;
    pub(in crate::snapshot) const FALSE: u8 = 1;
    pub(in crate::snapshot) const TRUE: u8 = 2;
    pub(in crate::snapshot) const NUMBER: u8 = 3;
    pub(in crate::snapshot) const STRING: u8 = 4;
}

impl State {
    /// Notes that a node is about to change what is stored of it.
    #[inline]
    pub(crate) fn changes(&mut self, node: u32) {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::SnapshotMissesChanges) {
            return;
        }
        if self.marks.change(node) {
            self.save(node);
        }
    }

    /// Notes that a node, or a cluster, is about to forget what time has made useless since the snapshot's epoch.
    #[inline]
    pub(crate) fn forgets(&mut self, node: u32) {
        if self.marks.take_pending(node) {
            self.save(node);
        }
    }

    #[cold]
    fn save(&mut self, node: u32) {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::SnapshotTooNew) {
            self.marks.put_back(node);
            return;
        }
        if self.slab.get(node).has(CLUSTER) {
            return;
        }
        let mut out = std::mem::take(&mut self.saved);
        self.write_node(node, &mut out);
        self.saved = out;
    }

    /// Begins a snapshot of the epoch just computed, of all nodes or of those that changed since the last one was
    /// begun; returns what is not stored with a node.
    pub(crate) fn begin_snapshot(&mut self, all: bool) -> Vec<Vec<u8>> {
        self.saved.clear();
        self.marks.begin(all, self.slab.numbers().end);
        self.write_rest()
    }

    /// Appends nodes of the snapshot to `out` until it has at least `bytes` bytes; true when all have been written.
    pub(crate) fn write_snapshot(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        out.append(&mut self.saved);
        // Clusters are passed over, which takes time too.
        for _ in 0..MOST_VISITED {
            if out.len() >= bytes {
                break;
            }
            let Some(record) = self.marks.next() else { return true };
            if !self.slab.get(record).has(CLUSTER) {
                self.write_node(record, out);
            }
        }
        false
    }

    fn write_node(&self, node: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_fields(node, out);
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn write_fields(&self, node: u32, out: &mut Vec<u8>) {
        let record = self.slab.get(node);
        out.extend_from_slice(&record.hash().to_le_bytes());
        out.push(record.rank());
        let is_carried =
            if record.has(ALIASED) { self.alias.is_carried(record.hash()) } else { !record.has(GONE) };
        let carried = if is_carried { CARRIED } else { 0 };
        out.push((record.words()[5] & KEPT_FLAGS | carried) as u8);
        put(out, record.first_mention().place);
        self.texts.read(record.text(), |text| put_bytes(out, text.as_bytes()));
        self.write_traits(record, out);
        let links = &self.links[record.low(3) as usize];
        put(out, links.iter().count() as u64);
        for Link { other, first, last } in links.iter() {
            out.extend_from_slice(&other.to_le_bytes());
            put_i64(out, *first);
            put(out, last.abs_diff(*first));
        }
        self.alias.write(record.hash(), out);
    }

    /// One bit a trait that is not as in a new record, then those traits.
    fn write_traits(&self, record: &[u64], out: &mut Vec<u8>) {
        let layout = &self.plan.layout;
        let bits = out.len();
        out.resize(bits + layout.traits.len().div_ceil(8), 0);
        for (index, place) in layout.traits.iter().enumerate() {
            if let Some(window) = &place.window {
                let panes = Panes::from_words(&record[usize::from(window.panes)..]);
                if panes.len() == 0 {
                    continue;
                }
                put(out, panes.len() as u64);
                let mut before = 0;
                for pane in self.panes.get(panes, place.kind.words() + 1).chunks_exact(place.kind.words() + 1)
                {
                    let time = pane[0] as i64;
                    put_i64(out, time.wrapping_sub(before));
                    before = time;
                    write_words(place.kind, &pane[1..], &self.trait_texts, out);
                }
            } else {
                let words = words_of(place, layout.values, record);
                if place.kind.is_clear(words) {
                    continue;
                }
                write_words(place.kind, words, &self.trait_texts, out);
            }
            out[bits + index / 8] |= 1 << (index % 8);
        }
    }

    /// Links taken back, and what waits for its time, in pieces.
    fn write_rest(&self) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut end = |piece: &mut Vec<u8>, least: usize| {
            if piece.len() > least {
                pieces.push(std::mem::take(piece));
            }
        };
        for (a, b) in &self.cut {
            piece.push(rest::CUT);
            piece.extend_from_slice(&a.to_le_bytes());
            piece.extend_from_slice(&b.to_le_bytes());
            end(&mut piece, REST_BYTES);
        }
        for (time, waiting) in &self.pending {
            #[cfg(feature = "planted-bugs")]
            if crate::planted::active(crate::planted::Bug::FutureNotRestored) {
                break;
            }
            for Pending { node, program, values } in waiting {
                piece.push(rest::PENDING);
                piece.extend_from_slice(&self.slab.get(*node).hash().to_le_bytes());
                put_i64(&mut piece, *time);
                put(&mut piece, u64::from(*program));
                self.write_values(*program, values, &mut piece);
                end(&mut piece, REST_BYTES);
            }
        }
        end(&mut piece, 0);
        pieces
    }

    /// An event's values: the condition bits as they are, then the columns.
    fn write_values(&self, program: u16, values: &[u64], out: &mut Vec<u8>) {
        let plan = &self.plan;
        values[..plan.condition_words].iter().for_each(|word| put(out, *word));
        for (index, column) in plan.columns.iter().enumerate() {
            let at = plan.condition_words + 2 * index;
            match column.kind {
                ColumnKind::Number => put_i128(out, number(&values[at..])),
                // Only what a trait will keep has its text here; of the rest nothing is read again.
                ColumnKind::Scalar if plan.keeps(program, at as u16, values) => {
                    let scalar = Scalar128::from_words(values[at], values[at + 1]);
                    write_scalar(scalar, &self.trait_texts, out);
                }
                ColumnKind::Scalar => out.push(scalar::NULL),
            }
        }
    }
}

fn words_of<'a>(place: &TraitLayout, values: usize, record: &'a [u64]) -> &'a [u64] {
    let first = values + usize::from(place.word);
    &record[first..first + place.kind.words()]
}

fn write_words(kind: Kind, words: &[u64], texts: &TraitTexts, out: &mut Vec<u8>) {
    match kind {
        Kind::Count => put(out, words[0]),
        Kind::Sum | Kind::Min | Kind::Max => put_i128(out, number(words)),
        Kind::Avg => {
            put_i128(out, number(words));
            put(out, words[2]);
        }
        Kind::First | Kind::Last => {
            write_scalar(Scalar128::from_words(words[0], words[1]), texts, out);
            put_i64(out, words[2] as i64);
        }
        Kind::FirstTime | Kind::LastTime => put_i64(out, words[0] as i64),
    }
}

fn write_scalar(value: Scalar128, texts: &TraitTexts, out: &mut Vec<u8>) {
    match value.unpack() {
        Unpacked::Null => out.push(scalar::NULL),
        Unpacked::Bool(false) => out.push(scalar::FALSE),
        Unpacked::Bool(true) => out.push(scalar::TRUE),
        Unpacked::Number(number) => {
            out.push(scalar::NUMBER);
            put_i128(out, number.0);
        }
        Unpacked::String { start, len } => {
            out.push(scalar::STRING);
            put_bytes(out, texts.get(start, len));
        }
    }
}
