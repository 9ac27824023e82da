//! Stored nodes as plain facts, for whoever wants to check what is computed from them without the code that does.

use std::{collections::hash_map::Entry, sync::Arc};

use rustc_hash::FxHashMap;
use tidewater_model::{
    Decimal, Scalar, Timestamp,
    base::{BaseAlias, BaseFacts, BaseIdentifier, BaseLink, Partial},
};

use super::{
    Damaged,
    bytes::Input,
    read::{Front, nodes, read_values, read_words},
    write::{CARRIED, rest},
};
use crate::{
    identity::alias::AliasMentions,
    ingest::{OpenAlias, open_aliases},
    plan::Plan,
    profile::{
        aggregate::{self, number},
        layout::Kind,
        record::{GONE, OWNS},
    },
    scalar::{Scalar128, Unpacked},
    store::TraitTexts,
};

/// Reads the pieces of a snapshot: nodes newest first, then the rest.
pub struct FactsReader {
    plan: Arc<Plan>,
    texts: TraitTexts,
    /// By hash: the place in `nodes`, or `None` if the identifier is gone.
    known: FxHashMap<u128, Option<usize>>,
    nodes: Vec<Node>,
    mentions: AliasMentions,
    /// Aliases that wait, by the hash of `previousId` as a user id.
    open: FxHashMap<u128, Vec<OpenAlias>>,
    cut: Vec<(u128, u128)>,
}

struct Node {
    hash: u128,
    place: u64,
    fact: BaseIdentifier,
    links: Vec<(u128, Timestamp, Timestamp)>,
}

impl FactsReader {
    /// Nothing read yet.
    pub fn new(plan: &Arc<Plan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            texts: TraitTexts::new(plan.key()),
            known: FxHashMap::default(),
            nodes: Vec::new(),
            mentions: AliasMentions::default(),
            open: FxHashMap::default(),
            cut: Vec::new(),
        }
    }

    /// Reads a chunk of nodes; those that are known already are older.
    ///
    /// # Errors
    /// [`Damaged`]: nothing more can be read.
    pub fn read_nodes(&mut self, chunk: &[u8]) -> Result<(), Damaged> {
        for node in nodes(chunk) {
            let mut input = node?;
            let front = Front::read(&mut input)?;
            let Entry::Vacant(entry) = self.known.entry(front.hash) else { continue };
            let is_gone = front.flags & GONE != 0;
            entry.insert((!is_gone).then_some(self.nodes.len()));
            let node = self.read_node(&front, &mut input)?;
            self.mentions.read(front.hash, &mut input)?;
            if !input.is_empty() {
                return Err(Damaged);
            }
            if !is_gone {
                self.nodes.push(node);
            }
        }
        Ok(())
    }

    fn read_node(&mut self, front: &Front<'_>, input: &mut Input<'_>) -> Result<Node, Damaged> {
        let mut fact = BaseIdentifier {
            identifier: front.rank.into(),
            value: std::str::from_utf8(front.text).map_err(|_| Damaged)?.to_owned(),
            is_carried: front.flags & CARRIED != 0,
            owns: front.flags & OWNS != 0,
            ..BaseIdentifier::default()
        };
        let plan = Arc::clone(&self.plan);
        let bits = input.take(plan.layout.traits.len().div_ceil(8))?;
        for (index, place) in plan.layout.traits.iter().enumerate() {
            if bits[index / 8] >> (index % 8) & 1 == 0 {
                continue;
            }
            if place.window.is_none() {
                let partial = self.read_partial(place.kind, input)?;
                fact.totals.extend(partial.map(|partial| (index, partial)));
                continue;
            }
            let mut time = 0i64;
            for _ in 0..input.number::<u64>()? {
                time = time.wrapping_add(input.time()?);
                let partial = self.read_partial(place.kind, input)?;
                fact.panes.extend(partial.map(|partial| (index, Timestamp(time), partial)));
            }
        }
        let mut links = Vec::new();
        for _ in 0..input.number::<u64>()? {
            let (other, first) = (input.hash()?, input.time()?);
            let last = first.checked_add_unsigned(input.number()?).ok_or(Damaged)?;
            links.push((other, Timestamp(first), Timestamp(last)));
        }
        Ok(Node { hash: front.hash, place: front.place, fact, links })
    }

    fn read_partial(&mut self, kind: Kind, input: &mut Input<'_>) -> Result<Option<Partial>, Damaged> {
        let mut words = Vec::new();
        read_words(kind, input, &mut self.texts, &mut words)?;
        partial(kind, &words, &self.texts)
    }

    /// Reads a piece of what is not stored with a node.
    ///
    /// # Errors
    /// As [`read_nodes`](Self::read_nodes).
    pub fn read_rest(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let plan = Arc::clone(&self.plan);
        let mut input = Input(piece);
        while !input.is_empty() {
            match input.byte()? {
                rest::CUT => self.cut.push((input.hash()?, input.hash()?)),
                rest::PENDING => self.read_pending(&plan, &mut input)?,
                _ => return Err(Damaged),
            }
        }
        Ok(())
    }

    fn read_pending(&mut self, plan: &Plan, input: &mut Input<'_>) -> Result<(), Damaged> {
        let (hash, time, program) = (input.hash()?, input.time()?, input.number::<u16>()?);
        let values = read_values(plan, input, &mut self.texts)?;
        let program = plan.programs.get(usize::from(program)).ok_or(Damaged)?;
        let node = self.known.get(&hash).copied().flatten().ok_or(Damaged)?;
        for fold in program.folds.iter().filter(|fold| fold.applies(&values)) {
            let index = usize::from(fold.trait_index);
            let place = &plan.layout.traits[index];
            if place.window.is_none() {
                // It has counted already.
                continue;
            }
            let mut words = [0; 3];
            let words = &mut words[..place.kind.words()];
            place.kind.clear(words);
            let value = values.get(usize::from(fold.value)..).unwrap_or_default();
            if aggregate::take_in(place.kind, words, time, value, &self.texts)
                && let Some(partial) = partial(place.kind, words, &self.texts)?
            {
                self.nodes[node].fact.waiting.push((index, Timestamp(time), partial));
            }
        }
        Ok(())
    }

    /// Reads a piece of the aliases that wait; what is known of a `previousId` already is newer.
    ///
    /// # Errors
    /// As [`read_nodes`](Self::read_nodes).
    pub fn read_aliases(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        for (hash, aliases) in open_aliases(piece)? {
            self.open.entry(hash).or_insert(aliases);
        }
        Ok(())
    }

    /// All facts.
    ///
    /// # Errors
    /// [`Damaged`] if something refers to what was not read.
    pub fn finish(mut self) -> Result<BaseFacts, Damaged> {
        let place_of = |known: &FxHashMap<u128, Option<usize>>, hash: u128| {
            known.get(&hash).copied().flatten().ok_or(Damaged)
        };
        let mut facts = BaseFacts::default();
        for alias in self.open.values().flatten() {
            let (owner, place) = alias.event();
            // What it stands for meanwhile is given up should it be a user id: so that is not a fact yet.
            if let Some(anonymous) = alias.as_anonymous() {
                self.mentions.take_back(owner, anonymous.hash, place);
            }
            facts.aliases.push(BaseAlias {
                owner: place_of(&self.known, owner)?,
                place,
                as_user: alias.as_user().identifier().ok_or(Damaged)?,
                as_anonymous: match alias.as_anonymous() {
                    Some(named) => Some(named.identifier().ok_or(Damaged)?),
                    None => None,
                },
            });
        }
        for (a, b) in &self.cut {
            if let (Ok(a), Ok(b)) = (place_of(&self.known, *a), place_of(&self.known, *b)) {
                facts.unlinked.push((a, b));
            }
        }
        for Node { hash, place, mut fact, links } in self.nodes {
            fact.first_place = match self.mentions.is_mentioned(hash) {
                true => self.mentions.first(hash),
                false => Some(place),
            };
            for (other, first, last) in links {
                if self.mentions.is_asserted(hash, other) {
                    fact.links.push(BaseLink { other: place_of(&self.known, other)?, first, last });
                }
            }
            facts.identifiers.push(fact);
        }
        Ok(facts)
    }
}

impl std::fmt::Debug for FactsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FactsReader").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

/// What a trait's words say; `None` if they say nothing.
fn partial(kind: Kind, words: &[u64], texts: &TraitTexts) -> Result<Option<Partial>, Damaged> {
    if kind.is_clear(words) {
        return Ok(None);
    }
    Ok(Some(match kind {
        Kind::Count => Partial::Count(words[0]),
        Kind::Sum => Partial::Sum(number(words)),
        Kind::Min | Kind::Max => Partial::Number(Decimal(number(words))),
        Kind::Avg => Partial::Mean { sum: number(words), count: words[2] },
        Kind::FirstTime | Kind::LastTime => Partial::Time(Timestamp(words[0] as i64)),
        Kind::First | Kind::Last => {
            let value = match Scalar128::from_words(words[0], words[1]).unpack() {
                Unpacked::Null => return Ok(None),
                Unpacked::Bool(value) => Scalar::Bool(value),
                Unpacked::Number(value) => Scalar::Number(value),
                Unpacked::String { start, len } => {
                    Scalar::String(std::str::from_utf8(texts.get(start, len)).map_err(|_| Damaged)?.into())
                }
            };
            Partial::Scalar { value, at: Timestamp(words[2] as i64) }
        }
    }))
}
