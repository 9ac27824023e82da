//! Puts epochs together: decides about each event, gives it its place, and cuts. No thread, no channel, no clock.
//!
//! The running engine, the replay, `TestEngine` and the offline reader all decide here, so they decide alike.

use std::sync::Arc;

use tidewater_model::{ClockKind, RejectReason, Timestamp};
use tidewater_operators::{
    Plan,
    dataflow::EpochInput,
    ingest::{DecodeStats, Decoder, Dedup, EventBatch, MessageKey, PaddedEvent, Scanned, Verdict},
    snapshot::Damaged,
};
use tidewater_storage::{EpochHeader, Manifest};

use crate::checkpoint::pieces::{Messages, kind, note_message, read_messages};

/// So many events are scanned ahead of being decided about, while the processor fetches what dedup will look at.
pub(crate) const BLOCK: usize = 16;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    Duplicate,
    Refused(RejectReason),
}

/// An epoch that has been cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// All of it that the log stores, but for the sources' positions.
    pub(crate) header: EpochHeader,
    /// One input a worker.
    pub(crate) inputs: Vec<EpochInput>,
}

/// What acceptance adds to a checkpoint.
pub(crate) struct Snapshot {
    pub(crate) epoch: u64,
    pub(crate) now: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) next_place: u64,
    pub(crate) aliases: Vec<Vec<u8>>,
    pub(crate) messages: Messages,
    /// Which half of the dedup window it is; messages of earlier ones than `oldest_half` are forgotten.
    pub(crate) dedup_half: i64,
    pub(crate) oldest_half: i64,
}

/// The epoch that is being put together, and what acceptance remembers.
pub(crate) struct Assembler {
    workers: usize,
    clock: ClockKind,
    decoder: Decoder,
    dedup: Dedup,
    /// Scanned and not decided about, with their indices; empty between calls.
    block: Vec<(usize, Result<Scanned, RejectReason>)>,
    batches: Vec<EventBatch>,
    spare: Vec<EventBatch>,
    /// The last epoch that was cut.
    epoch: u64,
    now: Timestamp,
    /// The place of the next event.
    place: u64,
    /// The place of the first event of the epoch.
    first_place: u64,
    /// When the first event of the epoch came in; all of them count as accepted then.
    opened_at: Option<Timestamp>,
    /// The greatest time of an accepted event.
    latest: Timestamp,
    /// Messages accepted since they were last taken, if anybody takes them.
    messages: Option<Messages>,
}

impl Assembler {
    pub(crate) fn new(plan: &Arc<Plan>, workers: usize) -> Self {
        let spec = plan.spec();
        Self {
            workers,
            clock: spec.clock,
            decoder: Decoder::new(Arc::clone(plan), workers),
            dedup: Dedup::new(spec.dedup),
            block: Vec::new(),
            batches: (0..workers).map(|_| EventBatch::default()).collect(),
            spare: Vec::new(),
            epoch: 0,
            now: Timestamp::MIN,
            place: 0,
            first_place: 0,
            opened_at: None,
            latest: Timestamp::MIN,
            messages: None,
        }
    }

    /// Takes note of what the next checkpoint needs, from now on.
    pub(crate) fn note_changes(&mut self) {
        self.messages = Some(Messages::new());
        self.decoder.note_changes();
    }

    /// Keeps them no longer: there will be no checkpoint.
    pub(crate) fn forget_messages(&mut self) {
        self.messages = None;
    }

    /// What a checkpoint of the epoch cut last needs to go on from: all, or what has changed since the last one.
    pub(crate) fn snapshot(&mut self, all: bool) -> Snapshot {
        Snapshot {
            epoch: self.epoch,
            now: self.now,
            latest: self.latest,
            next_place: self.place,
            aliases: self.decoder.write_snapshot(all),
            dedup_half: self.dedup.current_half(),
            oldest_half: self.dedup.oldest_half(),
            messages: self.messages.as_mut().map(std::mem::take).unwrap_or_default(),
        }
    }

    /// Goes on behind a checkpoint.
    pub(crate) fn resume(&mut self, manifest: &Manifest) {
        (self.epoch, self.now, self.latest) = (manifest.epoch, manifest.now, manifest.latest);
        (self.place, self.first_place) = (manifest.next_place, manifest.next_place);
        self.dedup.resume(manifest.dedup_half);
    }

    /// Reads what a checkpoint has of messages, aliases and nodes, after [`resume`](Self::resume).
    pub(crate) fn read(&mut self, kind: u8, piece: &[u8]) -> Result<(), Damaged> {
        #[cfg(feature = "planted-bugs")]
        {
            use tidewater_operators::planted::{Bug, active};
            let is_lost = active(Bug::MessagesNotRestored) || active(Bug::DedupLostOnRestart);
            if kind == kind::MESSAGES && is_lost || kind == kind::ALIASES && active(Bug::AliasesNotRestored) {
                return Ok(());
            }
        }
        match kind {
            kind::NODES => self.decoder.read_nodes(piece),
            kind::ALIASES => self.decoder.read_snapshot(piece),
            kind::MESSAGES => {
                let (half, entries) = read_messages(piece)?;
                entries.for_each(|entry| self.dedup.read(half, entry));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Decides about some events, best [`BLOCK`] of them, and says of each by its index what became of it.
    pub(crate) fn take<'a>(
        &mut self,
        wall: Timestamp,
        events: impl Iterator<Item = (usize, PaddedEvent<'a>)>,
        mut decided: impl FnMut(usize, Outcome),
    ) {
        let accepted_at = self.opened_at.unwrap_or(wall);
        let mut block = std::mem::take(&mut self.block);
        for (index, event) in events {
            let scanned = self.decoder.scan(event, accepted_at, wall);
            if let Ok(Scanned { message: Some(key), .. }) = scanned {
                self.dedup.prefetch(key);
            }
            block.push((index, scanned));
        }
        for (index, scanned) in block.drain(..) {
            decided(index, self.decide(scanned, wall));
        }
        self.block = block;
    }

    fn decide(&mut self, scanned: Result<Scanned, RejectReason>, wall: Timestamp) -> Outcome {
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(reason) => return Outcome::Refused(reason),
        };
        if let Some(key) = scanned.message {
            let now = self.present(wall);
            let outcome = match self.dedup.check(now, key) {
                Verdict::New => Outcome::Accepted,
                Verdict::Duplicate => Outcome::Duplicate,
                Verdict::Conflict => Outcome::Refused(RejectReason::DuplicateConflict),
            };
            if outcome != Outcome::Accepted {
                self.decoder.discard(scanned);
                return outcome;
            }
            self.remember(now, scanned.time, key);
        }
        // Not by one that is refused: hours may pass before there is an epoch.
        self.opened_at.get_or_insert(wall);
        self.append(scanned);
        Outcome::Accepted
    }

    /// What the engine's clock shows before the next event, if the wall clock shows this.
    fn present(&self, wall: Timestamp) -> Timestamp {
        match self.clock {
            ClockKind::Wall => self.now.max(wall),
            ClockKind::Event => self.now.max(self.latest),
        }
    }

    /// Takes note of a message that was new at `now`, of an event of this time.
    fn remember(&mut self, now: Timestamp, time: Timestamp, key: MessageKey) {
        if self.clock == ClockKind::Event {
            self.dedup.renew(now.max(time), key);
        }
        self.keep_message(key);
    }

    #[inline]
    fn keep_message(&mut self, key: MessageKey) {
        if let Some(messages) = &mut self.messages {
            let stored = self.dedup.stored(key);
            if messages.last().is_some_and(|(half, _)| *half != stored.0) {
                // What is forgotten need not wait for a checkpoint, should none be made for long.
                let oldest = self.dedup.oldest_half();
                messages.retain(|(half, _)| *half >= oldest);
            }
            note_message(messages, stored);
        }
    }

    fn append(&mut self, scanned: Scanned) {
        self.latest = self.latest.max(scanned.time);
        self.decoder.append(scanned, self.place, &mut self.batches);
        self.place += 1;
    }

    /// How many events the epoch has so far.
    pub(crate) fn len(&self) -> u64 {
        self.place - self.first_place
    }

    /// Cuts the epoch, with or without events. `wall` is the wall clock; `now` never goes back, whatever it says.
    pub(crate) fn cut(&mut self, wall: Timestamp) -> Cut {
        let now = match self.clock {
            // The clock may have been set back since the first event came in; that time was the present, too.
            ClockKind::Wall => wall.max(self.opened_at.unwrap_or(wall)),
            ClockKind::Event => self.latest,
        };
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::NowGoesBack) {
            self.now = now;
        }
        self.now = self.now.max(now);
        self.epoch += 1;
        let header = EpochHeader {
            epoch: self.epoch,
            now: self.now,
            accepted_at: self.opened_at.take().unwrap_or(wall),
            first_place: self.first_place,
            positions: Vec::new(),
        };
        self.first_place = self.place;
        Cut { inputs: self.inputs(), header }
    }

    /// The epoch as it stands in the log: decided long ago, so nothing is decided again.
    pub(crate) fn replay<'a>(
        &mut self,
        header: &EpochHeader,
        events: impl Iterator<Item = PaddedEvent<'a>>,
    ) -> Vec<EpochInput> {
        self.place = header.first_place;
        for event in events {
            match self.decoder.scan(event, header.accepted_at, Timestamp::MAX) {
                Ok(scanned) => {
                    #[cfg(feature = "planted-bugs")]
                    use tidewater_operators::planted::{Bug, active};
                    #[cfg(feature = "planted-bugs")]
                    let is_lost = active(Bug::DedupLostOnRestart);
                    #[cfg(not(feature = "planted-bugs"))]
                    let is_lost = false;
                    if let Some(key) = scanned.message.filter(|_| !is_lost) {
                        // As when it was accepted; what the wall clock showed then is known of the epoch's end.
                        let now = self.present(header.now);
                        self.dedup.restore(now, key);
                        self.remember(now, scanned.time, key);
                    }
                    self.append(scanned);
                }
                // With other definitions an event may be of no use any more; it keeps its place.
                Err(_) => self.place += 1,
            }
        }
        self.first_place = self.place;
        self.epoch = header.epoch;
        self.now = self.now.max(header.now);
        self.inputs()
    }

    fn inputs(&mut self) -> Vec<EpochInput> {
        let fresh = (0..self.workers).map(|_| self.spare.pop().unwrap_or_default()).collect();
        let batches = std::mem::replace(&mut self.batches, fresh);
        let (epoch, now) = (self.epoch, self.now);
        let input = |events| EpochInput { epoch, now, events, unlinks: Vec::new(), is_restored: false };
        batches.into_iter().map(input).collect()
    }

    /// Takes back buffers that the workers have emptied.
    pub(crate) fn recycle(&mut self, buffers: impl IntoIterator<Item = EventBatch>) {
        self.spare.extend(buffers);
    }

    /// Parts of events that could not be used, so far.
    pub(crate) fn decode_stats(&self) -> DecodeStats {
        self.decoder.stats()
    }

    /// Bytes of memory for what acceptance remembers: messages, and what aliases may refer to.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.dedup.bytes(), self.decoder.bytes())
    }

    /// The next epoch will have the number of the last.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn forget_an_epoch(&mut self) {
        self.epoch = self.epoch.saturating_sub(1);
    }

    /// The last epoch that was cut.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// `now` of the last epoch.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }
}

#[cfg(test)]
mod tests;
