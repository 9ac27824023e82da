//! What can be said of a computation before it is made, for `plan`: beside a running engine there may be no room to make it.

use tidewater_operators::snapshot::split_rest;
use tidewater_storage::{FIRST_EPOCH, Manifest};

use super::History;
use crate::{
    checkpoint::{choose::fits, pieces::kind, restore::unreadable},
    error::Error,
};

impl History<'_> {
    /// Whether state at the end of an epoch can be computed, as far as that can be said without computing it.
    pub(crate) fn can_be_at(&self, epoch: u64) -> Result<bool, Error> {
        let starts = self.state.log_starts()?;
        if epoch == 0 || starts == FIRST_EPOCH {
            return Ok(true);
        }
        let known: Vec<Manifest> = self.state.checkpoints()?.into_iter().flatten().collect();
        let (mut era, mut until) = (self.era_of(epoch), epoch);
        loop {
            let is_of_use = |manifest: &Manifest| {
                (starts..=until + 1).contains(&(manifest.epoch + 1))
                    && manifest.epoch >= self.first_epoch(era)
                    && fits(manifest, self.definitions(era))
            };
            if known.iter().any(is_of_use) {
                return Ok(true);
            }
            let plan = self.plan(era)?;
            if era == 0 || self.conversion(era, &plan)?.is_none() {
                return Ok(false);
            }
            until = self.first_epoch(era) - 1;
            era -= 1;
        }
    }

    /// Whether an event that waits for its time may be missing in the log: not if none waits in the newest checkpoint, since
    /// the log is whole from there on.
    pub(crate) fn may_lack_waiting(&self) -> Result<bool, Error> {
        let era = self.stored.rebuilds.len();
        let (plan, definitions) = (self.plan(era)?, self.definitions(era));
        let newest = self.state.checkpoints()?.into_iter().flatten().find(|known| fits(known, definitions));
        let Some(file) = newest.and_then(|newest| newest.files.first().copied()) else { return Ok(true) };
        let mut pieces = self.state.state_file(&file)?;
        while let Some((_, piece)) = pieces.find(&[kind::REST])? {
            let (_, waiting) = split_rest(&plan, &piece).map_err(unreadable)?;
            if !waiting.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
