//! Puts a worker's state together again: nodes first, then what waits, then one epoch that has links and no events.

use std::sync::Arc;

use tidewater_model::Decimal;

use super::{
    bytes::Input,
    write::{CARRIED, KEPT_FLAGS, rest, scalar},
};
use crate::{
    identity::{State, links::LinkList, state::Pending},
    plan::{ColumnKind, Plan},
    profile::{
        aggregate::set_number,
        layout::{Kind, TraitLayout, WindowLayout},
        record::{First, GONE, HeaderMut},
        window,
    },
    scalar::Scalar128,
    store::TraitTexts,
};

/// The longest text of an identifier in bytes, as the contract has it.
const MAX_TEXT: usize = 512;

/// How far ahead of use an index slot is asked for.
const AHEAD: usize = 16;

/// Stored state that can't be read: not what this version writes for this pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored state can't be read")]
pub struct Damaged;

/// What a stored node begins with.
pub(super) struct Front<'a> {
    pub(super) hash: u128,
    pub(super) rank: u8,
    pub(super) flags: u64,
    pub(super) place: u64,
    pub(super) text: &'a [u8],
}

impl<'a> Front<'a> {
    pub(super) fn read(input: &mut Input<'a>) -> Result<Self, Damaged> {
        let front = Self {
            hash: input.hash()?,
            rank: input.byte()?,
            flags: u64::from(input.byte()?),
            place: input.number()?,
            text: input.bytes()?,
        };
        let usable = front.flags & !(KEPT_FLAGS | CARRIED) == 0
            && front.place < 1 << 40
            && front.text.len() <= MAX_TEXT;
        if usable { Ok(front) } else { Err(Damaged) }
    }
}

/// The nodes of a chunk, one after the other.
pub(super) fn nodes(chunk: &[u8]) -> impl Iterator<Item = Result<Input<'_>, Damaged>> {
    let mut rest = Input(chunk);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let node = rest.take(4).and_then(|len| {
            let len = len.try_into().map(u32::from_le_bytes).map_err(|_| Damaged)?;
            rest.take(len as usize)
        });
        if node.is_err() {
            rest = Input(&[]);
        }
        Some(node.map(Input))
    })
}

/// Calls `found` with the hash of every identifier of this rank in a chunk of nodes that an accepted event carries,
/// aliases apart.
pub(crate) fn carried(chunk: &[u8], rank: usize, mut found: impl FnMut(u128)) -> Result<(), Damaged> {
    for node in nodes(chunk) {
        let front = Front::read(&mut node?)?;
        if usize::from(front.rank) == rank && front.flags & CARRIED != 0 {
            found(front.hash);
        }
    }
    Ok(())
}

impl State {
    /// Reads those nodes of a chunk that belong to this worker and are not known yet: the newest snapshot is read
    /// first, and `now` is that of its epoch.
    pub(crate) fn read_nodes(&mut self, now: i64, chunk: &[u8]) -> Result<(), Damaged> {
        self.now = now;
        let plan = Arc::clone(&self.plan);
        let mut ahead = nodes(chunk).skip(AHEAD);
        for node in nodes(chunk) {
            if let Some(Ok(mut ahead)) = ahead.next() {
                self.index.prefetch(ahead.hash()?);
            }
            let mut input = node?;
            let front = Front::read(&mut input)?;
            let is_here = crate::worker_of(front.hash, self.workers) == self.worker;
            if is_here && self.node(front.hash).is_none() {
                self.read_node(&plan, &front, &mut input)?;
                if !input.is_empty() {
                    return Err(Damaged);
                }
            }
        }
        Ok(())
    }

    fn read_node(&mut self, plan: &Plan, front: &Front<'_>, input: &mut Input<'_>) -> Result<(), Damaged> {
        let Front { hash, rank, flags, place, text } = *front;
        if usize::from(rank) >= plan.spec().identifiers.len() {
            return Err(Damaged);
        }
        let text = self.texts.append(self.worker, text);
        let node = self.add_node(&First { place, rank, hash, text });
        self.slab.get_mut(node).set(flags & KEPT_FLAGS);
        self.read_traits(plan, node, input)?;
        let mut links = LinkList::default();
        for _ in 0..input.number::<u64>()? {
            let (other, first) = (input.hash()?, input.time()?);
            let last = first.checked_add_unsigned(input.number()?).ok_or(Damaged)?;
            links.assert(other, first);
            links.assert(other, last);
        }
        if links.iter().next().is_some() {
            *self.links_of(node) = links;
        }
        self.alias.read(hash, input)?;
        if flags & GONE == 0 {
            self.counts.identifiers += 1;
            self.epoch.created.push(node);
        }
        Ok(())
    }

    fn read_traits(&mut self, plan: &Plan, node: u32, input: &mut Input<'_>) -> Result<(), Damaged> {
        let layout = &plan.layout;
        let bits = input.take(layout.traits.len().div_ceil(8))?;
        let mut words = Vec::new();
        for (index, place) in layout.traits.iter().enumerate() {
            if bits[index / 8] >> (index % 8) & 1 == 0 {
                continue;
            }
            words.clear();
            if let Some(window) = &place.window {
                self.read_panes(place, input, &mut words)?;
                self.add_panes((place, window), layout.values, node, &words);
            } else {
                read_words(place.kind, input, &mut self.trait_texts, &mut words)?;
                let first = layout.values + usize::from(place.word);
                self.slab.get_mut(node)[first..first + words.len()].copy_from_slice(&words);
            }
        }
        Ok(())
    }

    fn read_panes(
        &mut self,
        place: &TraitLayout,
        input: &mut Input<'_>,
        words: &mut Vec<u64>,
    ) -> Result<(), Damaged> {
        let mut time = 0i64;
        for _ in 0..input.number::<u64>()? {
            time = time.wrapping_add(input.time()?);
            words.push(time as u64);
            read_words(place.kind, input, &mut self.trait_texts, words)?;
        }
        Ok(())
    }

    fn add_panes(
        &mut self,
        windowed: (&TraitLayout, &WindowLayout),
        values: usize,
        node: u32,
        panes: &[u64],
    ) {
        let stores = (&mut self.panes, &self.trait_texts);
        window::combine(windowed, self.slab.get_mut(node), values, panes, self.now, stores);
    }

    /// Reads a piece of what is not stored with a node, after all nodes.
    pub(crate) fn read_rest(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let plan = Arc::clone(&self.plan);
        let mut input = Input(piece);
        while !input.is_empty() {
            match input.byte()? {
                rest::CUT => _ = self.cut.insert((input.hash()?, input.hash()?)),
                rest::PENDING => self.read_pending(&plan, &mut input)?,
                _ => return Err(Damaged),
            }
        }
        Ok(())
    }

    fn read_pending(&mut self, plan: &Plan, input: &mut Input<'_>) -> Result<(), Damaged> {
        let (hash, time, program) = (input.hash()?, input.time()?, input.number::<u16>()?);
        if usize::from(program) >= plan.programs.len() {
            return Err(Damaged);
        }
        // All workers read this piece; the texts of what is another one's would stay here.
        if crate::worker_of(hash, self.workers) != self.worker {
            return skip_values(plan, input);
        }
        let values = read_values(plan, input, &mut self.trait_texts)?;
        let node = self.node(hash).ok_or(Damaged)?;
        self.pending.entry(time).or_default().push(Pending { node, program, values });
        Ok(())
    }
}

/// An event's values, as they are written for one that waits.
pub(super) fn read_values(
    plan: &Plan,
    input: &mut Input<'_>,
    texts: &mut TraitTexts,
) -> Result<Box<[u64]>, Damaged> {
    let mut values = Vec::with_capacity(plan.value_words());
    for _ in 0..plan.condition_words {
        values.push(input.number()?);
    }
    for column in &plan.columns {
        match column.kind {
            ColumnKind::Number => push_number(input.signed()?, &mut values),
            ColumnKind::Scalar => read_scalar(input, texts, &mut values)?,
        }
    }
    Ok(values.into())
}

/// Passes over an event's values.
pub(super) fn skip_values(plan: &Plan, input: &mut Input<'_>) -> Result<(), Damaged> {
    for _ in 0..plan.condition_words {
        input.unsigned()?;
    }
    for column in &plan.columns {
        match column.kind {
            ColumnKind::Number => _ = input.unsigned()?,
            ColumnKind::Scalar => skip_scalar(input)?,
        }
    }
    Ok(())
}

pub(super) fn skip_scalar(input: &mut Input<'_>) -> Result<(), Damaged> {
    match input.byte()? {
        scalar::NULL | scalar::FALSE | scalar::TRUE => {}
        scalar::NUMBER => _ = input.unsigned()?,
        scalar::STRING => _ = input.bytes()?,
        _ => return Err(Damaged),
    }
    Ok(())
}

pub(super) fn read_words(
    kind: Kind,
    input: &mut Input<'_>,
    texts: &mut TraitTexts,
    words: &mut Vec<u64>,
) -> Result<(), Damaged> {
    match kind {
        Kind::Count => words.push(input.number()?),
        Kind::Sum | Kind::Min | Kind::Max => push_number(input.signed()?, words),
        Kind::Avg => {
            push_number(input.signed()?, words);
            words.push(input.number()?);
        }
        Kind::First | Kind::Last => {
            read_scalar(input, texts, words)?;
            words.push(input.time()? as u64);
        }
        Kind::FirstTime | Kind::LastTime => words.push(input.time()? as u64),
    }
    Ok(())
}

fn push_number(number: i128, words: &mut Vec<u64>) {
    let at = words.len();
    words.extend_from_slice(&[0; 2]);
    set_number(&mut words[at..], number);
}

fn read_scalar(input: &mut Input<'_>, texts: &mut TraitTexts, words: &mut Vec<u64>) -> Result<(), Damaged> {
    let scalar = match input.byte()? {
        scalar::NULL => Scalar128::NULL,
        scalar::FALSE => Scalar128::FALSE,
        scalar::TRUE => Scalar128::TRUE,
        scalar::NUMBER => {
            let number = input.signed()?;
            // Larger ones are not made: a decimal is at most 10^27 units in size.
            if number.unsigned_abs() > 10u128.pow(27) {
                return Err(Damaged);
            }
            Scalar128::number(Decimal(number))
        }
        scalar::STRING => {
            let text = input.bytes()?;
            let len = u32::try_from(text.len()).map_err(|_| Damaged)?;
            Scalar128::string(texts.intern(text), len)
        }
        _ => return Err(Damaged),
    };
    words.extend_from_slice(&scalar.words());
    Ok(())
}
