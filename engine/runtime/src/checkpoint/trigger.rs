//! The sequencer's side of checkpoints: when one is due, and what it adds to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tidewater_storage::EpochHeader;

use super::{
    collect::{Begin, PieceSender, ToCheckpoint},
    control::{Asker, Control},
    restore::Found,
};
use crate::{error::Error, sequencer::assembler::Snapshot, settings::Settings, threads};

/// More changes of members than these are not kept in memory for the next checkpoint, at 40 bytes each.
const MOST_CHANGES: u64 = 2_000_000;

/// Decides when checkpoints are made.
pub(crate) struct Trigger {
    sender: PieceSender,
    control: Arc<Control>,
    every: Duration,
    log_bytes: u64,
    /// Where each source resumes.
    positions: BTreeMap<String, Vec<u8>>,
    /// The epoch of the last one that was made here, or that this engine began with.
    last: u64,
    /// Epochs of which an earlier life has written something that may be of use to a later one.
    taken: BTreeSet<u64>,
    begun_at: Instant,
    /// Bytes of events logged since then.
    bytes: u64,
    askers: Vec<Asker>,
}

impl Trigger {
    pub(crate) fn new(
        sender: PieceSender,
        control: Arc<Control>,
        found: &Found,
        settings: &Settings,
    ) -> Self {
        let last = found.usable.as_ref().map_or(0, |usable| usable.epoch);
        Self {
            sender,
            control,
            taken: found.taken.clone(),
            every: Duration::from_millis(settings.checkpoint_every_ms),
            log_bytes: settings.checkpoint_log_bytes,
            positions: BTreeMap::new(),
            last,
            begun_at: threads::now(),
            bytes: 0,
            askers: Vec::new(),
        }
    }

    /// Takes note of where sources resumed when a checkpoint was made.
    pub(crate) fn resume(&mut self, positions: &[(String, Vec<u8>)]) {
        self.positions.extend(positions.iter().cloned());
    }

    /// Takes note of an epoch with so many bytes of events.
    pub(crate) fn logged(&mut self, header: &EpochHeader, bytes: u64) {
        self.resume(&header.positions);
        self.bytes += bytes;
    }

    /// Somebody wants one, behind everything that is logged by now.
    pub(crate) fn ask(&mut self, asker: Asker) {
        self.control.hurry();
        self.askers.push(asker);
    }

    /// Whether one is to be begun now that `epoch` is cut.
    pub(crate) fn is_due(&self, epoch: u64, now: Instant) -> bool {
        let wanted = !self.askers.is_empty()
            || self.bytes >= self.log_bytes
            || self.control.changes() >= MOST_CHANGES
            || now.duration_since(self.begun_at) >= self.every;
        wanted && self.has_news(epoch) && !self.control.is_busy()
    }

    /// Answers those who ask for what there is already.
    pub(crate) fn answer_known(&mut self, epoch: u64) {
        if !self.has_news(epoch) && !self.control.is_busy() {
            let made = self.control.status();
            let answer = match made.trouble {
                Some(trouble) if made.epoch < epoch => Err(trouble),
                _ => Ok(made.epoch),
            };
            // Whoever asked may have gone.
            self.askers.drain(..).for_each(|asker| _ = asker.send(answer.clone().map_err(Error::failed)));
        }
    }

    /// Whether anything was logged that no checkpoint holds, and one could.
    pub(crate) fn has_news(&self, epoch: u64) -> bool {
        epoch > self.last && !self.taken.contains(&epoch) && !self.is_lost()
    }

    /// Whether there can be no other one.
    pub(crate) fn is_lost(&self) -> bool {
        self.control.is_lost()
    }

    /// Whether the next one is to hold everything.
    pub(crate) fn is_all_next(&self) -> bool {
        self.control.is_all_next()
    }

    /// Begins one.
    pub(crate) fn begin(&mut self, snapshot: Snapshot, all: bool) {
        self.control.begin(!self.askers.is_empty());
        (self.last, self.begun_at, self.bytes) = (snapshot.epoch, threads::now(), 0);
        let positions = self.positions.clone().into_iter().collect();
        let askers = std::mem::take(&mut self.askers);
        let begin = Begin { snapshot, positions, all, askers };
        self.sender.send(ToCheckpoint::Begin(Box::new(begin)));
    }
}

#[cfg(test)]
mod tests {
    use tidewater_model::Timestamp;
    use tidewater_storage::{Manifest, StateFile};
    use tokio::sync::oneshot;

    use super::*;
    use crate::checkpoint::collect;

    fn manifest(chain: &[u64]) -> Manifest {
        Manifest {
            epoch: chain[0],
            now: Timestamp(0),
            latest: Timestamp(0),
            dedup_half: 0,
            next_place: 0,
            positions: Vec::new(),
            definitions: Vec::new(),
            delivered: Vec::new(),
            files: chain.iter().map(|epoch| StateFile { epoch: *epoch, bytes: 1 }).collect(),
            is_base: false,
        }
    }

    #[test]
    fn a_replay_makes_them_between_those_of_an_earlier_life() {
        // The newest ones are of no use yet, since a sink lags.
        let all = vec![manifest(&[9, 7]), manifest(&[7]), manifest(&[4])];
        let taken = BTreeSet::from([4, 7, 9]);
        let found = Found { usable: Some(all[2].clone()), all, is_certain: true, taken };
        let control = Arc::new(Control::default());
        let (sender, _receiver) = collect::channel();
        let mut trigger = Trigger::new(sender, Arc::clone(&control), &found, &Settings::default());
        trigger.ask(oneshot::channel().0);
        let due = |trigger: &Trigger| -> Vec<u64> {
            (1..12).filter(|epoch| trigger.is_due(*epoch, Instant::now())).collect()
        };
        assert_eq!(due(&trigger), [5, 6, 8, 10, 11]);
        control.begin(false);
        assert_eq!(due(&trigger), [0; 0], "one at a time");
        control.failed("no room".to_owned());
        assert_eq!(due(&trigger), [5, 6, 8, 10, 11]);
        control.lost("damaged".to_owned());
        assert_eq!(due(&trigger), [0; 0]);
    }
}
