//! Checkpoints of earlier definitions: from them follows what a sink must be told that has not come to the present ones.

use std::sync::Arc;

use tidewater_storage::{Manifest, StateReader, StorageError};

use crate::delivery::SinkHandle;

/// Those that there are, as long as a sink needs them.
#[derive(Debug)]
pub(crate) struct Earlier {
    all: Vec<Manifest>,
    /// The epoch with which the present definitions began.
    changeover: u64,
    /// A sink needs them that this engine was not given.
    is_for_absent: bool,
}

impl Earlier {
    /// Finds them, if a sink is behind: one that was given, or one of the directory that was not.
    pub(crate) fn find(
        state: &StateReader,
        changeover: u64,
        (is_given_behind, is_for_absent): (bool, bool),
    ) -> Result<Self, StorageError> {
        let mut all = Vec::new();
        if is_given_behind || is_for_absent {
            all.extend(state.checkpoints()?.into_iter().flatten());
            all.retain(|manifest| manifest.epoch < changeover);
        }
        Ok(Self { all, changeover, is_for_absent })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that have to stay. A sink that is down when it is to be corrected has nothing of it in its outbox: the next start
    /// computes the correction again, of what it has.
    pub(crate) fn needed(&mut self, sinks: &[Arc<SinkHandle>]) -> &[Manifest] {
        let is_behind = |sink: &Arc<SinkHandle>| sink.kept_epoch() < self.changeover;
        if !self.is_for_absent && !sinks.iter().any(is_behind) {
            self.all.clear();
        }
        &self.all
    }
}
