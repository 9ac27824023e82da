//! What the outside world knows: what it has sent, what it was answered, what was delivered to it. It outlives every crash,
//! and takes note of whatever should not be.

use std::collections::{BTreeMap, BTreeSet};

use tidewater::{Accepted, DeltaBatch, Timestamp};
use tidewater_connector_api::json::write_delta;

use tidewater_testkit::random::Random;

/// The world outside of the engine.
pub(super) struct World {
    pub(super) random: Random,
    /// What should not be; the first ones are kept.
    pub(super) wrong: Vec<String>,
    /// The faults are over: destinations take what they are given.
    pub(super) is_healed: bool,
    pub(super) clients: Clients,
    /// Of the tape: events that were answered.
    pub(super) taped: BTreeMap<usize, u64>,
    /// Everything that was ever delivered, by epoch; every destination must be told the same.
    epochs: BTreeMap<u64, (Timestamp, Vec<String>)>,
    pub(super) destinations: BTreeMap<&'static str, Destination>,
}

/// Events that clients send, and send again until they are answered.
pub(super) struct Clients {
    /// All of them, each with a message id of its own; those that can't be used too.
    pub(super) events: Vec<String>,
    /// How many of them have been sent at least once.
    pub(super) sent: usize,
    /// Those that were answered: with the epoch that holds them, if it was the first answer.
    pub(super) answered: BTreeMap<usize, Option<u64>>,
    /// Those that were answered as refused.
    pub(super) refused: BTreeSet<usize>,
}

/// Where deltas go.
#[derive(Default)]
pub(super) struct Destination {
    /// Of one that is cut back: what is written, in order.
    pub(super) lines: Vec<(u64, String)>,
    /// Of one that remembers ids: epoch and number of what it has applied.
    pub(super) applied: BTreeMap<(u64, usize), String>,
    /// So many of the next deliveries are refused.
    pub(super) refuses: u32,
    pub(super) counts: DeliveryCounts,
}

/// What became of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryCounts {
    /// Applied and said so.
    pub(crate) applied: u64,
    /// Applied, in whole or in part, and not said so.
    pub(crate) timed_out: u64,
    /// Turned away.
    pub(crate) refused: u64,
    /// Never answered.
    pub(crate) hung: u64,
    /// Deltas that came again.
    pub(crate) again: u64,
}

impl std::ops::AddAssign for DeliveryCounts {
    fn add_assign(&mut self, other: Self) {
        self.applied += other.applied;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
        self.hung += other.hung;
        self.again += other.again;
    }
}

impl World {
    pub(super) fn new(events: Vec<String>, seed: u64) -> Self {
        let clients = Clients { events, sent: 0, answered: BTreeMap::new(), refused: BTreeSet::new() };
        Self {
            random: Random::new(seed ^ 0x0037),
            wrong: Vec::new(),
            is_healed: false,
            clients,
            taped: BTreeMap::new(),
            epochs: BTreeMap::new(),
            destinations: BTreeMap::new(),
        }
    }

    pub(super) fn wrong(&mut self, what: String) {
        if self.wrong.len() < 10 {
            self.wrong.push(what);
        }
    }

    /// A client was answered.
    pub(super) fn answered(&mut self, event: usize, accepted: Accepted) {
        let is_usable = is_usable(&self.clients.events[event]);
        match accepted {
            Accepted { events: 1, epoch, .. } if is_usable => {
                let before = self.clients.answered.insert(event, Some(epoch));
                if let Some(Some(before)) = before.filter(|before| *before != Some(epoch)) {
                    self.wrong(format!("event {event} was accepted in epoch {before} and again in {epoch}"));
                }
            }
            Accepted { duplicates: 1, .. } if is_usable => {
                self.clients.answered.entry(event).or_insert(None);
            }
            Accepted { quarantined: 1, .. } if !is_usable => _ = self.clients.refused.insert(event),
            _ => self.wrong(format!("event {event} was answered with {accepted:?}")),
        }
    }

    /// The deltas of an epoch as they are delivered, and whether all who were told of it were told the same.
    pub(super) fn told(&mut self, batch: &DeltaBatch) -> Vec<String> {
        let lines = lines(batch);
        let (epoch, now) = (batch.epoch(), batch.now());
        let later = self.epochs.range(epoch + 1..).next().map(|(_, (now, _))| *now);
        let earlier = self.epochs.range(..epoch).next_back().map(|(_, (now, _))| *now);
        if earlier.is_some_and(|earlier| earlier > now) || later.is_some_and(|later| later < now) {
            self.wrong(format!("`now` goes back at epoch {epoch}"));
        }
        match self.epochs.get(&epoch) {
            Some(known) if *known != (now, lines.clone()) => {
                self.wrong(format!("epoch {epoch} was delivered with different deltas"));
            }
            Some(_) => {}
            None => _ = self.epochs.insert(epoch, (now, lines.clone())),
        }
        lines
    }

    /// The last epoch that anyone was told of.
    pub(super) fn last_told(&self) -> u64 {
        self.epochs.keys().next_back().copied().unwrap_or(0)
    }

    /// Epochs that someone was told of, with their deltas.
    pub(super) fn told_epochs(&self) -> impl Iterator<Item = (u64, &[String])> {
        self.epochs.iter().map(|(epoch, (_, lines))| (*epoch, lines.as_slice()))
    }

    /// Whether clients have an answer to everything.
    pub(super) fn is_answered(&self) -> bool {
        self.clients.answered.len() + self.clients.refused.len() == self.clients.events.len()
    }
}

/// Whether the engine can use an event.
pub(super) fn is_usable(event: &str) -> bool {
    event.contains("userId") || event.contains("anonymousId")
}

/// Deltas as a file sink writes them.
pub(super) fn lines(batch: &DeltaBatch) -> Vec<String> {
    let line = |delta: tidewater::Delta<'_>| {
        let mut line = Vec::new();
        write_delta(&mut line, batch.epoch(), batch.now(), &delta);
        String::from_utf8_lossy(&line).into_owned()
    };
    batch.iter().map(line).collect()
}
