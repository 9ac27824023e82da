//! Destinations that apply, apply and do not say so, turn away in bursts, and hang.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewater::{DeltaBatch, Sink};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position, SinkCapabilities};
use tidewater_storage::sim::SimFiles;

use super::world::{Destination, World};

/// What a destination can do about repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is cut back to what was acknowledged, as a file is.
    CutBack,
    /// It knows what it has applied, as a receiver of webhooks does that remembers ids.
    Remembers,
    /// The same, and slow: its queue goes over to the disk.
    Slow,
}

/// A sink of one life of the engine.
pub(super) struct SimSink {
    name: &'static str,
    kind: Kind,
    world: Arc<Mutex<World>>,
    /// To know when that life is over.
    files: SimFiles,
    /// Of one that is cut back: what the engine knows of.
    committed: usize,
}

/// What becomes of a delivery.
enum Fate {
    Applied,
    /// It is applied, the first so many batches of it, and then there is no answer.
    TimesOut(usize),
    TurnedAway(Option<Duration>),
    Hangs,
}

impl SimSink {
    pub(super) fn new(name: &'static str, kind: Kind, world: &Arc<Mutex<World>>, files: &SimFiles) -> Self {
        world.lock().unwrap_or_else(PoisonError::into_inner).destinations.entry(name).or_default();
        Self { name, kind, world: Arc::clone(world), files: files.clone(), committed: 0 }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this delivery takes, and what becomes of it.
    fn fate(&self, batches: usize) -> (Duration, Fate) {
        let mut world = self.world();
        let slow = if self.kind == Kind::Slow { 300 } else { 8 };
        let takes = Duration::from_millis(world.random.below(slow));
        if world.is_healed {
            return (Duration::ZERO, Fate::Applied);
        }
        let (chance, some) = (world.random.below(100), world.random.below(batches as u64 + 1) as usize);
        let World { destinations, random, .. } = &mut *world;
        let Some(destination) = destinations.get_mut(self.name) else { return (takes, Fate::Applied) };
        if destination.refuses > 0 {
            destination.refuses -= 1;
            return (takes, Fate::TurnedAway(None));
        }
        let fate = match chance {
            0..=9 => Fate::TimesOut(some),
            10..=13 => {
                destination.refuses = random.below(6) as u32;
                Fate::TurnedAway((random.below(2) == 0).then(|| Duration::from_millis(random.below(3_000))))
            }
            14 => Fate::Hangs,
            _ => Fate::Applied,
        };
        (takes, fate)
    }

    fn apply(&self, batches: &[Arc<DeltaBatch>]) -> usize {
        let (kind, committed, name) = (self.kind, self.committed, self.name);
        let mut world = self.world();
        let told: Vec<_> = batches.iter().map(|batch| (batch.epoch(), world.told(batch))).collect();
        let Some(destination) = world.destinations.get_mut(name) else { return 0 };
        match kind {
            Kind::CutBack => {
                destination.lines.truncate(committed);
                for (epoch, lines) in told {
                    destination.lines.extend(lines.into_iter().map(|line| (epoch, line)));
                }
                destination.lines.len()
            }
            Kind::Remembers | Kind::Slow => {
                let wrong: Vec<String> = told
                    .into_iter()
                    .filter_map(|(epoch, lines)| destination.remember(epoch, lines))
                    .collect();
                wrong.into_iter().for_each(|what| world.wrong(format!("{name}: {what}")));
                0
            }
        }
    }

    /// The machine that it runs on is off: nothing comes of anything.
    async fn while_on(&self) {
        if self.files.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

impl Destination {
    /// Applies what is new; what is wrong with it, if anything is.
    fn remember(&mut self, epoch: u64, lines: Vec<String>) -> Option<String> {
        let last = self.applied.keys().next_back().copied();
        for (number, line) in lines.into_iter().enumerate() {
            let id = (epoch, number);
            match self.applied.get(&id) {
                Some(known) if *known == line => self.counts.again += 1,
                Some(_) => return Some(format!("delta {number} of epoch {epoch} came with two contents")),
                None if last.is_some_and(|last| id < last) => {
                    return Some(format!("delta {number} of epoch {epoch} came behind later ones"));
                }
                None => _ = self.applied.insert(id, line),
            }
        }
        None
    }
}

impl Sink for SimSink {
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { exactly_once: self.kind == Kind::CutBack }
    }

    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.while_on().await;
        if self.kind != Kind::CutBack {
            return Ok(Position::default());
        }
        let mut world = self.world();
        let Some(destination) = world.destinations.get_mut(self.name) else {
            return Err(DeliveryError::refused("there is none"));
        };
        let length = destination.lines.len();
        let committed = match acknowledged {
            None => length,
            Some(Acknowledged { position, .. }) => {
                position.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize
            }
        };
        if committed > length {
            world.wrong(format!("{}: {committed} lines are acknowledged, of {length}", self.name));
        }
        drop(world);
        self.committed = committed;
        Ok(Position((committed as u64).to_le_bytes().to_vec()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        self.while_on().await;
        let (takes, fate) = self.fate(batches.len());
        tokio::time::sleep(takes).await;
        self.while_on().await;
        let count = |count: fn(&mut super::world::DeliveryCounts)| {
            if let Some(destination) = self.world().destinations.get_mut(self.name) {
                count(&mut destination.counts);
            }
        };
        match fate {
            Fate::Applied => {
                count(|counts| counts.applied += 1);
                self.committed = self.apply(batches);
                Ok(Position((self.committed as u64).to_le_bytes().to_vec()))
            }
            Fate::TimesOut(some) => {
                count(|counts| counts.timed_out += 1);
                self.apply(&batches[..some]);
                Err(DeliveryError::maybe_applied("no answer came"))
            }
            Fate::TurnedAway(retry_after) => {
                count(|counts| counts.refused += 1);
                Err(DeliveryError::NotApplied { reason: "not now".to_owned(), retry_after })
            }
            Fate::Hangs => {
                count(|counts| counts.hung += 1);
                std::future::pending().await
            }
        }
    }

    fn max_batches(&self) -> usize {
        if self.kind == Kind::Slow { 3 } else { 64 }
    }
}
