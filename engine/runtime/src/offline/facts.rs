//! A checkpoint as plain facts.

use std::sync::Arc;

use tidewater_model::base::BaseFacts;
use tidewater_operators::{Plan, snapshot::FactsReader};
use tidewater_storage::{Manifest, StateReader};

use crate::{
    checkpoint::{
        pieces::kind,
        restore::{self, unreadable},
    },
    error::Error,
};

/// Reads what the nodes of a checkpoint say.
pub(super) fn read(state: &StateReader, manifest: &Manifest, plan: &Arc<Plan>) -> Result<BaseFacts, Error> {
    let mut facts = FactsReader::new(plan);
    restore::read(state, manifest, |kind, piece| {
        let read = match kind {
            kind::NODES => facts.read_nodes(&piece),
            kind::REST => facts.read_rest(&piece),
            kind::ALIASES => facts.read_aliases(&piece),
            _ => Ok(()),
        };
        read.map_err(unreadable)
    })?;
    facts.finish().map_err(unreadable)
}
