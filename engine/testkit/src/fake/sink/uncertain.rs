//! Applies, or not, and answers, or not: every combination, in shares that are told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::{Change, DeltaBatch, ProfileId};

use crate::random::Random;

/// What stands at a destination that knows deltas by their names, and what was wrong on the way there.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Who is a member of which segment.
    pub members: std::collections::BTreeSet<(usize, ProfileId)>,
    /// Deltas that arrived, also those that came again.
    pub arrived: u64,
    /// Those that came again, under the name they had before.
    pub repeated: u64,
    /// Attempts by what became of them: fine, applied without an answer, not applied, applied in part.
    pub outcomes: [u64; 4],
    /// Breaches of the contract: one name for two deltas, a delta under two names, or one that is overtaken by an older one.
    pub wrong: Vec<String>,
    /// By epoch and place: what came under that name.
    names: HashMap<(u64, usize), (usize, ProfileId, Change)>,
    /// By segment and profile: the last name.
    last: HashMap<(usize, ProfileId), (u64, usize)>,
}

impl Applied {
    fn apply(&mut self, batch: &DeltaBatch, count: usize) {
        for (place, delta) in batch.iter().enumerate().take(count) {
            let name = (batch.epoch(), batch.offset() + place);
            let (key, change) = ((delta.segment_index(), delta.profile()), delta.change());
            self.arrived += 1;
            match self.names.insert(name, (key.0, key.1, change)) {
                Some(before) if before != (key.0, key.1, change) => {
                    self.wrong.push(format!("{name:?} was {before:?} and is {key:?} {change:?}"));
                }
                // A receiver that remembers names does nothing.
                Some(_) => self.repeated += 1,
                None => {
                    let last = self.last.insert(key, name).unwrap_or_default();
                    let changed = match change {
                        Change::Entered => self.members.insert(key),
                        Change::Exited => self.members.remove(&key),
                    };
                    if last > name || !changed {
                        self.wrong
                            .push(format!("{name:?} of {key:?} came behind {last:?}, or changed nothing"));
                    }
                }
            }
        }
    }
}

/// Shares of outcomes, of 100 attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Applied, and no answer.
    pub silent: u64,
    /// Not applied: it asks to be left alone for a moment, as with 429.
    pub busy: u64,
    /// Some is applied, then it breaks down, as with 5xx.
    pub partly: u64,
    /// So many attempts in a row have the same outcome.
    pub burst: u64,
}

/// A sink with these outcomes, drawn from a seed.
#[derive(Debug)]
pub struct UncertainSink {
    applied: Arc<Mutex<Applied>>,
    shares: Shares,
    random: Random,
    outcome: (usize, u64),
    max_batches: usize,
}

impl UncertainSink {
    /// A sink that applies to `applied`.
    pub fn new(applied: &Arc<Mutex<Applied>>, shares: Shares, seed: u64, max_batches: usize) -> Self {
        let random = Random::new(seed);
        Self { applied: Arc::clone(applied), shares, random, outcome: (0, 0), max_batches }
    }

    fn outcome(&mut self) -> usize {
        if self.outcome.1 == 0 {
            let Shares { silent, busy, partly, burst } = self.shares;
            let drawn = self.random.below(100);
            let outcome = [silent, silent + busy, silent + busy + partly].iter().position(|end| drawn < *end);
            self.outcome = (outcome.map_or(0, |place| place + 1), burst.max(1));
        }
        self.outcome.1 -= 1;
        self.outcome.0
    }
}

impl Sink for UncertainSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(acknowledged.map_or(Position::default(), |acknowledged| acknowledged.position.clone()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let outcome = self.outcome();
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.outcomes[outcome] += 1;
        let all: usize = batches.iter().map(|batch| batch.len()).sum();
        let mut left = match outcome {
            0 | 1 => all,
            2 => 0,
            _ => all / 2,
        };
        for batch in batches {
            applied.apply(batch, left);
            left = left.saturating_sub(batch.len());
        }
        match outcome {
            0 => Ok(Position(batches.last().map_or(0, |batch| batch.epoch()).to_le_bytes().to_vec())),
            1 => Err(DeliveryError::maybe_applied("no answer in time")),
            2 => Err(DeliveryError::NotApplied {
                reason: "429 Too Many Requests".to_owned(),
                retry_after: Some(Duration::from_millis(1)),
            }),
            _ => Err(DeliveryError::maybe_applied("503 Service Unavailable")),
        }
    }

    fn max_batches(&self) -> usize {
        self.max_batches
    }
}
