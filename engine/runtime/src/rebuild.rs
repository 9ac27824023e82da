//! After the pipeline of a state directory was changed: what each sink must be told so that it follows the new one.
//!
//! The directory remembers every change together with the definitions before it, until no sink needs them: whatever
//! crashes on the way, the next start finds out the same again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tidewater_model::HashKey;
use tidewater_operators::{Plan, ingest::PaddedEvent};
use tidewater_storage::{EpochEntry, StateReader};

use crate::{
    delivery::correction::{Correction, View},
    error::Error,
    lockstep::Lockstep,
    pipeline::{Definitions, Pipeline},
};

/// What the state directory keeps as its definitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    /// What it is run with.
    pub(crate) definitions: Definitions,
    /// The changes that gave the same events other results, oldest first.
    pub(crate) rebuilds: Vec<Rebuild>,
}

/// A change of definitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rebuild {
    /// The first epoch that was, or will be, computed with the new ones alone.
    pub(crate) epoch: u64,
    /// The definitions before.
    pub(crate) before: Definitions,
}

impl Stored {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| Error::config(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::config(format!("the definitions in the state directory can't be read: {error}"))
        })
    }

    /// The epoch at which sinks change over to the present definitions; 0 if these were never changed.
    pub(crate) fn changeover(&self) -> u64 {
        self.rebuilds.last().map_or(0, |rebuild| rebuild.epoch)
    }

    /// The definitions that a sink which has acknowledged `epoch` follows, if they are not the present ones.
    fn followed_at(&self, epoch: u64) -> Option<&Definitions> {
        self.rebuilds.iter().find(|rebuild| rebuild.epoch > epoch).map(|rebuild| &rebuild.before)
    }

    /// The corrections of those of the sinks, each with its acknowledged epoch, that follow earlier definitions.
    pub(crate) fn corrections(
        &self,
        state: &StateReader,
        plan: &Arc<Plan>,
        sinks: impl Iterator<Item = (String, u64)>,
    ) -> Result<HashMap<String, Correction>, Error> {
        // A sink that has acknowledged nothing gets everything anew.
        let behind: Vec<(String, u64)> =
            sinks.filter(|(_, epoch)| *epoch > 0 && self.followed_at(*epoch).is_some()).collect();
        if behind.is_empty() {
            return Ok(HashMap::new());
        }
        let at = self.changeover();
        let (after, names) = view_at(state, Arc::clone(plan), at - 1)?;
        let mut corrections = HashMap::new();
        for epoch in behind.iter().map(|(_, epoch)| *epoch).collect::<BTreeSet<_>>() {
            let Some(definitions) = self.followed_at(epoch) else { continue };
            let (before, _) = view_at(state, plan_of(definitions, plan.key())?, epoch)?;
            let correction = Correction::new(at, &names, &before, &after);
            for (sink, _) in behind.iter().filter(|(_, acknowledged)| *acknowledged == epoch) {
                tracing::info!(sink, epoch, at, "correcting a sink after a change of the pipeline");
                corrections.insert(sink.clone(), correction.clone());
            }
        }
        Ok(corrections)
    }
}

fn plan_of(definitions: &Definitions, key: HashKey) -> Result<Arc<Plan>, Error> {
    let pipeline =
        Pipeline::from_definitions(definitions).map_err(|errors| Error::config(errors.to_string()))?;
    Ok(Plan::compile(pipeline.spec().clone(), key)?)
}

/// Who was a member of what at the end of an epoch.
fn view_at(
    state: &StateReader,
    plan: Arc<Plan>,
    epoch: u64,
) -> Result<(View, Arc<tidewater_model::delta::DeltaNames>), Error> {
    let mut lockstep = Lockstep::new(plan, 1)?;
    let mut log = state.log(state.meta().log_starts)?;
    let mut entry = EpochEntry::default();
    while lockstep.assembler.epoch() < epoch && log.read(&mut entry)? {
        let events = (0..entry.events.len()).filter_map(|index| {
            let (buffer, len) = entry.events.padded(index)?;
            PaddedEvent::new(buffer, len)
        });
        let inputs = lockstep.assembler.replay(&entry.header, events);
        lockstep.compute(inputs)?;
    }
    let names = Arc::clone(lockstep.names());
    let mut view = View::default();
    for member in lockstep.memberships()? {
        view.members.insert((names.segments()[member.segment].clone(), member.profile), ());
        view.identifiers.insert(member.profile, Vec::new());
    }
    for profile in lockstep.profiles()? {
        if let Some(identifiers) = view.identifiers.get_mut(&profile.id) {
            for (name, values) in names.identifiers().iter().zip(profile.identifiers) {
                identifiers.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
    }
    Ok((view, names))
}
