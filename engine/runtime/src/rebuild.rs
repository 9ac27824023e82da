//! After the pipeline of a state directory was changed: what each sink must be told so that it follows the new one.
//!
//! The directory remembers every change together with the definitions before it: whatever crashes on the way, the next start
//! finds out the same again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tidewater_model::delta::DeltaNames;
use tidewater_storage::{Manifest, StateReader};

use crate::{
    delivery::correction::{Correction, View},
    error::Error,
    history::History,
    pipeline::Definitions,
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
    /// The first epoch of the new ones. It has no events.
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

    /// Whether a sink that has everything up to `epoch` follows earlier definitions; also if there was nothing so far. One that
    /// is new follows none.
    pub(crate) fn is_behind(&self, epoch: u64) -> bool {
        epoch < self.changeover()
    }
}

/// Up to which epoch a sink has everything, or finds it in its outbox; `None` if it is new. `last` is the log's last epoch.
pub(crate) fn follows(state: &StateReader, sink: &str, last: u64) -> Result<Option<u64>, Error> {
    let ack = state.ack(sink)?.map(|ack| ack.epoch);
    let has = state.outbox_through(sink, ack.unwrap_or(0))?;
    if ack.is_none() && has == 0 {
        return Ok(None);
    }
    // What brings a sink nothing is not acknowledged by it; but a checkpoint knows who lacked nothing.
    let knows =
        |manifest: &Manifest| manifest.epoch <= last && manifest.delivered.iter().any(|name| name == sink);
    let known = state.checkpoints()?.into_iter().flatten().find(knows);
    Ok(Some(has.max(known.map_or(0, |manifest| manifest.epoch))))
}

/// The corrections of those of the sinks, each with the epoch up to which it has everything, that follow earlier definitions.
pub(crate) fn corrections(
    history: &History<'_>,
    sinks: impl Iterator<Item = (String, u64)>,
) -> Result<HashMap<String, Correction>, Error> {
    let behind: Vec<(String, u64)> = sinks.filter(|(_, epoch)| history.stored.is_behind(*epoch)).collect();
    if behind.is_empty() {
        return Ok(HashMap::new());
    }
    let at = history.stored.changeover();
    let (after, names) = view_at(history, at)?;
    let mut corrections = HashMap::new();
    for epoch in behind.iter().map(|(_, epoch)| *epoch).collect::<BTreeSet<_>>() {
        let (before, _) = view_at(history, epoch)?;
        let correction = Correction::new(at, &names, &before, &after);
        for (sink, _) in behind.iter().filter(|(_, acknowledged)| *acknowledged == epoch) {
            tracing::info!(sink, epoch, at, "correcting a sink after a change of the pipeline");
            corrections.insert(sink.clone(), correction.clone());
        }
    }
    Ok(corrections)
}

/// Who was a member of what at the end of an epoch.
fn view_at(history: &History<'_>, epoch: u64) -> Result<(View, Arc<DeltaNames>), Error> {
    let mut lockstep = history.at(epoch)?.lockstep;
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
