//! Sinks that the state directory knows and this engine was not given, which is so when `redrive` runs one: what they need to
//! go on at a later start is kept.

use std::collections::{BTreeSet, HashMap};

use tidewater_storage::{Manifest, OutboxOptions, StateDir};

use crate::{error::Error, opening::report, rebuild::Stored};

/// The sinks of a directory, for an engine that has none.
///
/// If it has some, the others were taken out of its pipeline: for these nothing is kept. Limits of the log hold all the same:
/// nobody could tell a sink that comes back from one that never does, for which the log would grow for ever.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// By name: it has everything up to this epoch, or finds it in its outbox.
    has: HashMap<String, u64>,
    /// One follows earlier definitions.
    is_any_behind: bool,
}

impl Absent {
    /// Looks what sinks have, given the checkpoints of the present definitions.
    pub(crate) fn find(
        state: &StateDir,
        given: &[String],
        stored: &Stored,
        all: &[Manifest],
    ) -> Result<Self, Error> {
        let mut absent = Self::default();
        if !given.is_empty() {
            return Ok(absent);
        }
        let reader = state.reader();
        for name in reader.sinks()? {
            // One that was never opened begins with the members.
            if reader.ack(&name)?.is_none() {
                continue;
            }
            // Opened, so that it is durable: what it says is taken out of the outbox.
            let (acks, cut) = state.open_acks(&name)?;
            report("acknowledgements", cut);
            let acknowledged = acks.last().map_or(0, |ack| ack.epoch);
            let (outbox, cut) = state.open_outbox(&name, OutboxOptions::default(), acknowledged)?;
            report("outbox", cut);
            let kept = outbox.span().through;
            // Where there was nothing for it, it has acknowledged nothing.
            let said = all.iter().filter(|manifest| manifest.delivered.contains(&name));
            let said = said.map(|manifest| manifest.epoch).max().unwrap_or(0);
            let is_behind = stored.is_behind(kept);
            absent.is_any_behind |= is_behind;
            // It gets at the changeover all that it lacks by then.
            absent.has.insert(name, if is_behind { stored.changeover() } else { kept.max(said) });
        }
        Ok(absent)
    }

    /// The epochs of those of the checkpoints, given newest first, that a start with some of these sinks would begin with: of
    /// several sinks it is that of the one which has least.
    pub(crate) fn needed(&self, all: &[Manifest]) -> BTreeSet<u64> {
        let newest = |has: &u64| all.iter().map(|manifest| manifest.epoch).find(|epoch| epoch <= has);
        self.has.values().filter_map(newest).collect()
    }

    /// Those that have everything up to this epoch.
    pub(crate) fn delivered(&self, epoch: u64) -> impl Iterator<Item = String> {
        self.has.iter().filter(move |(_, has)| **has >= epoch).map(|(name, _)| name.clone())
    }

    /// Whether one has not come to the present definitions.
    pub(crate) fn is_any_behind(&self) -> bool {
        self.is_any_behind
    }
}
