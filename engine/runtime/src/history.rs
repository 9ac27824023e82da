//! The state of a directory as of an epoch, through every change of its pipeline.
//!
//! An *era* is the time between two changes. Each begins with an epoch without events, in which memberships change from what
//! the old definitions say to what the new ones say; who stays a member is one since when it was. So state at any epoch, and
//! since when who is a member, follow from the log and the changes alone, whatever checkpoints there are.
//!
//! Where a change leaves identifiers and clock as they are, an era's first state is put together from the last one of the era
//! before: traits that are computed as before keep their values, new ones are filled from the log, and what the dedup window
//! knows goes on to be known. Else all of the log is computed anew.

mod convert;
mod foretold;
mod point;

use std::sync::Arc;

use tidewater_model::HashKey;
use tidewater_operators::{Plan, snapshot::Conversion};
use tidewater_storage::{EpochEntry, Manifest, StateReader};

pub(crate) use self::point::Point;
use crate::{
    checkpoint::{choose::fits, restore::check},
    error::Error,
    pipeline::{Definitions, Pipeline},
    rebuild::Stored,
};

/// A state directory and the definitions it was run with, one after the other.
pub(crate) struct History<'a> {
    pub(crate) state: &'a StateReader,
    pub(crate) stored: &'a Stored,
    pub(crate) key: HashKey,
    /// How many workers compute it.
    pub(crate) workers: usize,
}

impl History<'_> {
    /// State at the end of an epoch, computed with the definitions that held then.
    pub(crate) fn at(&self, epoch: u64) -> Result<Point, Error> {
        let mut point = self.before(self.era_of(epoch), Some(epoch))?;
        point.replay(self.state, epoch, &mut |_| {})?;
        Ok(point)
    }

    /// The newest state of the present era that can be had without computing epochs of it.
    pub(crate) fn newest(&self) -> Result<Point, Error> {
        self.before(self.stored.rebuilds.len(), None)
    }

    /// The present era's first state, before its first epoch, if it is put together from the one before.
    pub(crate) fn converted(&self) -> Result<Option<Point>, Error> {
        let era = self.stored.rebuilds.len();
        if era == 0 {
            return Ok(None);
        }
        let plan = self.plan(era)?;
        self.conversion(era, &plan)?.map(|conversion| self.convert(era, &conversion, plan)).transpose()
    }

    fn before(&self, era: usize, epoch: Option<u64>) -> Result<Point, Error> {
        let plan = self.plan(era)?;
        if let Some(point) = self.checkpoint(era, epoch, &plan)? {
            return Ok(point);
        }
        if era > 0
            && let Some(conversion) = self.conversion(era, &plan)?
        {
            return self.convert(era, &conversion, plan);
        }
        Point::new(plan, self.workers)
    }

    /// The era that an epoch is in; that in which an era begins is its first.
    fn era_of(&self, epoch: u64) -> usize {
        self.stored.rebuilds.iter().take_while(|rebuild| rebuild.epoch <= epoch).count()
    }

    fn first_epoch(&self, era: usize) -> u64 {
        era.checked_sub(1).map_or(1, |before| self.stored.rebuilds[before].epoch)
    }

    fn definitions(&self, era: usize) -> &Definitions {
        self.stored.rebuilds.get(era).map_or(&self.stored.definitions, |rebuild| &rebuild.before)
    }

    fn plan(&self, era: usize) -> Result<Arc<Plan>, Error> {
        let pipeline = Pipeline::from_definitions(self.definitions(era))
            .map_err(|errors| Error::config(errors.to_string()))?;
        Ok(Plan::compile(pipeline.spec().clone(), self.key)?)
    }

    fn conversion(&self, era: usize, plan: &Plan) -> Result<Option<Conversion>, Error> {
        let old = self.plan(era - 1)?;
        Ok(Conversion::between(&old, plan))
    }

    /// The newest checkpoint of an era that is whole and not of a later epoch; without one, not behind the log.
    fn checkpoint(&self, era: usize, epoch: Option<u64>, plan: &Arc<Plan>) -> Result<Option<Point>, Error> {
        let is_of_era = |manifest: &Manifest| {
            manifest.epoch >= self.first_epoch(era)
                && fits(manifest, self.definitions(era))
                && epoch.map_or_else(|| self.is_logged(manifest.epoch), |epoch| manifest.epoch <= epoch)
        };
        for manifest in self.state.checkpoints()?.into_iter().flatten().filter(is_of_era) {
            let point = check(self.state, &manifest)
                .map_err(Error::from)
                .and_then(|()| Point::restore(self, Arc::clone(plan), &manifest));
            match point {
                Ok(point) => return Ok(Some(point)),
                // Damaged, or removed since by an engine that runs on the directory.
                Err(error) => tracing::warn!(%error, "a checkpoint is passed over"),
            }
        }
        Ok(None)
    }

    /// What is not in the log did not happen.
    fn is_logged(&self, epoch: u64) -> bool {
        let read = self.state.log(epoch).and_then(|mut log| log.read(&mut EpochEntry::default()));
        self.state.log_starts().is_ok_and(|starts| epoch + 1 == starts) || read.unwrap_or(false)
    }
}
