//! An engine driven one epoch at a time on the caller's thread, each epoch timed: bytes in, deltas out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tidewater::{DeltaBatch, Pipeline, Profile, RawEvents, testing::TestEngine};

use crate::{Failure, figures::Durations};

/// What people would compare of two results: (segment's index, the smallest identifier of the member). Profile ids
/// depend on the order of arrival, these do not.
pub type Members = BTreeSet<(usize, String)>;

/// An engine and what it has put out.
pub struct Stepper {
    engine: TestEngine,
    deltas: usize,
}

impl Stepper {
    /// An engine with one worker.
    ///
    /// # Errors
    /// If the pipeline can't be run.
    pub fn new(pipeline: &Pipeline) -> Result<Self, Failure> {
        Ok(Self { engine: TestEngine::new(pipeline, 1)?, deltas: 0 })
    }

    /// Deltas so far.
    pub fn deltas(&self) -> usize {
        self.deltas
    }

    /// Feeds one epoch; how long it took from the first byte to the last delta.
    ///
    /// # Errors
    /// If an event is refused: benchmarks send none that should be.
    pub fn epoch<'a>(&mut self, events: impl IntoIterator<Item = &'a [u8]>) -> Result<Duration, Failure> {
        let started = Instant::now();
        for event in events {
            self.engine.accept(event).map_err(|reason| format!("an event was refused: {}", reason.name()))?;
        }
        let deltas = self.engine.seal()?;
        let took = started.elapsed();
        self.deltas += deltas.len();
        Ok(took)
    }

    /// Feeds a batch in epochs of `size` events.
    ///
    /// # Errors
    /// As [`epoch`](Self::epoch).
    pub fn epochs(&mut self, events: &RawEvents, size: usize) -> Result<Durations, Failure> {
        let mut durations = Durations::default();
        let events: Vec<&[u8]> = events.iter().collect();
        for chunk in events.chunks(size) {
            durations.push(self.epoch(chunk.iter().copied())?);
        }
        Ok(durations)
    }

    /// Takes a link back in an epoch of its own; how long that took, and its deltas.
    ///
    /// # Errors
    /// If there can't be such identifiers.
    pub fn unlink(&mut self, a: (&str, &str), b: (&str, &str)) -> Result<(Duration, DeltaBatch), Failure> {
        self.engine.unlink(a, b)?;
        let started = Instant::now();
        let deltas = self.engine.seal()?;
        let took = started.elapsed();
        self.deltas += deltas.len();
        Ok((took, deltas))
    }

    /// The profile that holds a value.
    ///
    /// # Errors
    /// If there is none.
    pub fn profile(&mut self, identifier: &str, value: &str) -> Result<Profile, Failure> {
        let found = self.engine.profile(identifier, value)?;
        Ok(found.ok_or_else(|| format!("nobody has {identifier} {value}"))?)
    }

    /// How many identifiers each cluster has, largest first.
    ///
    /// # Errors
    /// If the engine has failed.
    pub fn cluster_sizes(&mut self) -> Result<Vec<usize>, Failure> {
        let mut sizes = BTreeMap::new();
        for identity in self.engine.identities()? {
            *sizes.entry(identity.profile).or_insert(0) += 1;
        }
        let mut sizes: Vec<usize> = sizes.into_values().collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        Ok(sizes)
    }

    /// All members by their smallest identifier.
    ///
    /// # Errors
    /// If the engine has failed.
    pub fn members(&mut self) -> Result<Members, Failure> {
        let mut smallest = BTreeMap::new();
        // Sorted, so the first of a profile is its smallest.
        for identity in self.engine.identities()? {
            smallest
                .entry(identity.profile)
                .or_insert_with(|| format!("{}:{}", identity.identifier, identity.value));
        }
        let members = self.engine.memberships()?;
        let named = members.iter().map(|member| {
            let name = smallest.get(&member.profile).ok_or("a member without an identifier")?;
            Ok((member.segment, name.clone()))
        });
        named.collect()
    }
}
