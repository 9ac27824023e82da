//! Stored state of one pipeline as that of another one with the same identifiers: what both compute keeps its bytes.
//!
//! A node has the partial aggregates of its own events, trait by trait, so traits can be put together from two places:
//! those that both pipelines have from the state there is, the others from state that was computed for them alone.

use rustc_hash::FxHashMap;
use tidewater_model::TraitSpec;

use super::{
    Damaged,
    bytes::Input,
    read::{Front, nodes, skip_scalar, skip_values},
    write::rest,
};
use crate::{
    plan::Plan,
    profile::layout::{Kind, TraitLayout},
};

/// How the stored state of one pipeline becomes that of another one.
#[derive(Debug)]
pub struct Conversion {
    old: Vec<TraitLayout>,
    new: Vec<TraitLayout>,
    /// Of each new trait, which of the old ones computes the same.
    from: Vec<Option<usize>>,
}

/// What was computed for the traits that are new, by the hash of the identifier.
#[derive(Debug, Default)]
pub struct Filled(FxHashMap<u128, Box<[u8]>>);

impl Conversion {
    /// From the state of `old` to that of `new`; `None` if they find other identifiers in events, or another time.
    pub fn between(old: &Plan, new: &Plan) -> Option<Self> {
        let (before, after) = (old.spec(), new.spec());
        if before.identifiers != after.identifiers || before.clock != after.clock {
            return None;
        }
        let same = |a: &TraitSpec, b: &TraitSpec| {
            (&a.aggregate, &a.events, &a.condition, &a.window)
                == (&b.aggregate, &b.events, &b.condition, &b.window)
        };
        // By what is computed, not by name: a trait that has another name now is the same one.
        let from = after.traits.iter().map(|own| before.traits.iter().position(|other| same(own, other)));
        Some(Self { from: from.collect(), old: old.layout.traits.clone(), new: new.layout.traits.clone() })
    }

    /// Whether the old pipeline computes every trait of the new one.
    pub fn is_complete(&self) -> bool {
        self.from.iter().all(Option::is_some)
    }

    /// Whether events that wait for their time can be read as they are: the new pipeline takes the same from them.
    pub fn keeps_events(&self) -> bool {
        self.old.len() == self.new.len() && self.from.iter().enumerate().all(|(at, from)| *from == Some(at))
    }

    /// Which of the new traits have no state yet.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        self.from.iter().enumerate().filter(|(_, from)| from.is_none()).map(|(index, _)| index)
    }

    /// How many events of such a piece of the old state wait for a trait that both pipelines compute.
    ///
    /// # Errors
    /// [`Damaged`] if it is no piece of events that wait.
    pub fn kept_events(&self, old: &Plan, waiting: &[u8]) -> Result<usize, Damaged> {
        count_events(old, waiting, |index| self.from.contains(&Some(index)))
    }

    /// The same of a piece of state of the new pipeline.
    ///
    /// # Errors
    /// As [`kept_events`](Self::kept_events).
    pub fn filled_events(&self, new: &Plan, waiting: &[u8]) -> Result<usize, Damaged> {
        count_events(new, waiting, |index| self.from[index].is_some())
    }

    /// Takes what a chunk of nodes, of state of the new pipeline, has of the traits that are new.
    ///
    /// # Errors
    /// [`Damaged`] if the chunk is none.
    pub fn fill(&self, chunk: &[u8], filled: &mut Filled) -> Result<(), Damaged> {
        for node in nodes(chunk) {
            let mut input = node?;
            let hash = Front::read(&mut input)?.hash;
            let stored = traits(&self.new, &mut input)?;
            let mut bytes = Vec::new();
            let own = |index: usize| stored[index].filter(|_| self.from[index].is_none());
            put_traits(&mut bytes, self.new.len(), own);
            if (0..self.new.len()).any(|index| own(index).is_some()) {
                filled.0.insert(hash, bytes.into());
            }
        }
        Ok(())
    }

    /// A chunk of nodes of the old pipeline as one of the new.
    ///
    /// # Errors
    /// [`Damaged`] if the chunk is none.
    pub fn nodes(&self, chunk: &[u8], filled: &Filled) -> Result<Vec<u8>, Damaged> {
        let mut out = Vec::with_capacity(chunk.len());
        for node in nodes(chunk) {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            self.node(node?, filled, &mut out)?;
            let len = u32::try_from(out.len() - start - 4).map_err(|_| Damaged)?;
            out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        }
        Ok(out)
    }

    fn node(&self, mut input: Input<'_>, filled: &Filled, out: &mut Vec<u8>) -> Result<(), Damaged> {
        let whole = input.0;
        let hash = Front::read(&mut input)?.hash;
        out.extend_from_slice(&whole[..whole.len() - input.0.len()]);
        let old = traits(&self.old, &mut input)?;
        let new = match filled.0.get(&hash) {
            Some(bytes) => traits(&self.new, &mut Input(bytes))?,
            None => vec![None; self.new.len()],
        };
        put_traits(out, self.new.len(), |index| match self.from[index] {
            Some(from) => old[from],
            None => new[index],
        });
        out.extend_from_slice(input.0);
        Ok(())
    }
}

/// The bytes of each trait that a node has.
fn traits<'a>(layout: &[TraitLayout], input: &mut Input<'a>) -> Result<Vec<Option<&'a [u8]>>, Damaged> {
    let bits = input.take(layout.len().div_ceil(8))?;
    let mut found = vec![None; layout.len()];
    for (index, place) in
        layout.iter().enumerate().filter(|(index, _)| bits[index / 8] >> (index % 8) & 1 == 1)
    {
        let before = input.0;
        if place.window.is_some() {
            for _ in 0..input.number::<u64>()? {
                input.time()?;
                skip_words(place.kind, input)?;
            }
        } else {
            skip_words(place.kind, input)?;
        }
        found[index] = Some(&before[..before.len() - input.0.len()]);
    }
    Ok(found)
}

/// One bit a trait that is there, then those.
fn put_traits<'a>(out: &mut Vec<u8>, count: usize, stored: impl Fn(usize) -> Option<&'a [u8]>) {
    let bits = out.len();
    out.resize(bits + count.div_ceil(8), 0);
    for index in 0..count {
        if let Some(bytes) = stored(index) {
            out[bits + index / 8] |= 1 << (index % 8);
            out.extend_from_slice(bytes);
        }
    }
}

fn skip_words(kind: Kind, input: &mut Input<'_>) -> Result<(), Damaged> {
    match kind {
        Kind::Count | Kind::Sum | Kind::Min | Kind::Max | Kind::FirstTime | Kind::LastTime => {
            input.unsigned()?;
        }
        Kind::Avg => {
            input.unsigned()?;
            input.unsigned()?;
        }
        Kind::First | Kind::Last => {
            skip_scalar(input)?;
            input.unsigned()?;
        }
    }
    Ok(())
}

/// What a piece of the rest has, of state of this pipeline: links that were taken back, and events that wait for their
/// time. Each is a piece again, empty if there is nothing.
///
/// # Errors
/// [`Damaged`] if it is no such piece.
pub fn split_rest(plan: &Plan, piece: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Damaged> {
    let (mut links, mut waiting) = (Vec::new(), Vec::new());
    let mut input = Input(piece);
    while !input.is_empty() {
        let before = input.0;
        let out = match input.byte()? {
            rest::CUT => {
                input.take(32)?;
                &mut links
            }
            rest::PENDING => {
                _ = skip_event(plan, &mut input)?;
                &mut waiting
            }
            _ => return Err(Damaged),
        };
        out.extend_from_slice(&before[..before.len() - input.0.len()]);
    }
    Ok((links, waiting))
}

/// How many events of a piece wait for one of these traits. Whether an event waits follows from its name, so each of the
/// traits has the same ones in every pipeline that computes it.
fn count_events(plan: &Plan, waiting: &[u8], is_one: impl Fn(usize) -> bool) -> Result<usize, Damaged> {
    let is_windowed = |index: usize| plan.layout.traits[index].window.is_some();
    let mut count = 0;
    let mut input = Input(waiting);
    while !input.is_empty() {
        if input.byte()? != rest::PENDING {
            return Err(Damaged);
        }
        let program = plan.programs.get(skip_event(plan, &mut input)?).ok_or(Damaged)?;
        let mut fed = program.folds.iter().map(|fold| usize::from(fold.trait_index));
        count += usize::from(fed.any(|index| is_windowed(index) && is_one(index)));
    }
    Ok(count)
}

/// The program of the event that is passed over.
fn skip_event(plan: &Plan, input: &mut Input<'_>) -> Result<usize, Damaged> {
    input.hash()?;
    input.time()?;
    let program = input.number()?;
    skip_values(plan, input)?;
    Ok(program)
}
