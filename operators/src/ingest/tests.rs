//! The decoder against obvious readings of the contract, on events as serde_json reads them.
#![allow(clippy::unwrap_used)]

mod aliases;
mod dedupe;
mod events;
mod hostile;
mod identifiers;
mod messages;
#[cfg(feature = "planted-bugs")]
mod planted;
mod times;
mod values;

use std::{collections::BTreeSet, sync::Arc};

use tidewater_model::{
    Aggregate, BlockRule, EventFilter, HashKey, IdentifierSpec, Normalize, Path, PipelineSpec, RejectReason,
    Timestamp, TraitSpec, expr::parse_condition,
};

use super::*;
use crate::{
    plan::{ColumnKind, NULL_NUMBER, Plan, worker_of},
    scalar::{Scalar128, Unpacked},
};

/// The time that acceptance and the wall clock show in tests: 2023-11-14.
const WALL: Timestamp = Timestamp(1_700_000_000_000);

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn identifier(name: &str, from: &[&str], normalize: Normalize, block: &[BlockRule]) -> IdentifierSpec {
    let from = from.iter().map(|text| path(text)).collect();
    IdentifierSpec { name: name.to_owned(), from, normalize, block: block.to_vec() }
}

fn named(name: &str) -> EventFilter {
    EventFilter::Named(name.to_owned())
}

fn feature(name: &str, aggregate: Aggregate, events: EventFilter, condition: Option<&str>) -> TraitSpec {
    let condition = condition.map(|text| parse_condition(text).unwrap());
    TraitSpec { name: name.to_owned(), aggregate, events, condition, window: None }
}

/// `user_id`, `email` and `anonymous_id`, as in the contract.
fn spec() -> PipelineSpec {
    PipelineSpec {
        identifiers: vec![
            identifier("user_id", &["userId", "properties.uid"], Normalize::None, &[]),
            identifier("email", &["traits.email", "context.traits.email"], Normalize::Email, &[]),
            identifier("anonymous_id", &["anonymousId"], Normalize::None, &[]),
        ],
        ..PipelineSpec::default()
    }
}

/// An identifier: rank and value.
type Id = (u8, String);

/// One decoded event, readable.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    time: i64,
    place: u64,
    program: u16,
    owner: Id,
    others: BTreeSet<Id>,
    values: Vec<Unpacked>,
    strings: Vec<Option<String>>,
    conditions: Vec<bool>,
}

/// What becomes of an alias link: owner, other, time, place.
type AliasLink = (u128, Id, i64, u64, AliasLinkKind);

/// A decoder with its batches.
struct Run {
    plan: Arc<Plan>,
    decoder: Decoder,
    batches: Vec<EventBatch>,
    place: u64,
}

impl Run {
    fn new(spec: PipelineSpec, workers: usize) -> Self {
        let plan = Plan::compile(spec, HashKey::FIXED).unwrap();
        let decoder = Decoder::new(Arc::clone(&plan), workers);
        Self { plan, decoder, batches: vec![EventBatch::default(); workers], place: 0 }
    }

    fn scan(&mut self, event: &[u8]) -> Result<Scanned, RejectReason> {
        self.decoder.scan(PaddedEvent::copied(event, &mut Vec::new()), WALL, WALL)
    }

    /// Decodes one event and reads it back from its batch.
    fn push(&mut self, event: &str) -> Result<Event, RejectReason> {
        let scanned = self.scan(event.as_bytes())?;
        let time = scanned.time;
        let decoded = self.decoder.append(scanned, self.place, &mut self.batches);
        self.place += 1;
        assert_eq!(decoded.time, time);
        let batch = &self.batches[decoded.worker];
        let event = self.event(batch, batch.len() - 1);
        let owner = self.plan.hash(usize::from(event.owner.0), &event.owner.1);
        assert_eq!(decoded.worker, worker_of(owner, self.batches.len()));
        Ok(event)
    }

    fn event(&self, batch: &EventBatch, index: usize) -> Event {
        let row = batch.events[index];
        let ids: Vec<Id> = batch.identifiers_of(&row).iter().map(|id| self.id(batch, id)).collect();
        let others: BTreeSet<Id> = ids[1..].iter().cloned().collect();
        assert_eq!(others.len() + 1, ids.len(), "each identifier once: {ids:?}");
        let words = self.plan.value_words();
        let values = &batch.values[index * words..][..words];
        let mut event = Event {
            time: row.time,
            place: row.place,
            program: row.program,
            owner: ids[0].clone(),
            others,
            values: Vec::new(),
            strings: Vec::new(),
            conditions: Vec::new(),
        };
        event.conditions =
            (0..self.plan.conditions.len()).map(|bit| values[bit / 64] >> (bit % 64) & 1 == 1).collect();
        for (column, pair) in self.plan.columns.iter().zip(values[self.plan.condition_words..].chunks(2)) {
            let scalar = Scalar128::from_words(pair[0], pair[1]);
            let value = match column.kind {
                ColumnKind::Scalar => scalar.unpack(),
                ColumnKind::Number if scalar.0 as i128 == NULL_NUMBER => Unpacked::Null,
                ColumnKind::Number => Unpacked::Number(tidewater_model::Decimal(scalar.0 as i128)),
            };
            event.strings.push(match value {
                Unpacked::String { start, len } => {
                    let text = &batch.text[start as usize..][..len as usize];
                    Some(String::from_utf8(text.to_vec()).unwrap())
                }
                _ => None,
            });
            event.values.push(value);
        }
        event
    }

    fn id(&self, batch: &EventBatch, row: &IdentifierRow) -> Id {
        let text = String::from_utf8(batch.text_of(row).to_vec()).unwrap();
        assert_eq!(self.plan.hash(usize::from(row.rank), &text), row.hash);
        (row.rank, text)
    }

    /// Every alias link so far, in the batches of the workers that own their owners.
    fn alias_links(&self) -> Vec<AliasLink> {
        let mut links = Vec::new();
        for (worker, batch) in self.batches.iter().enumerate() {
            for link in &batch.alias_links {
                assert_eq!(worker_of(link.owner, self.batches.len()), worker);
                let other = self.id(batch, &link.other);
                links.push((link.owner, other, link.time, link.place, link.kind));
            }
        }
        links
    }
}
