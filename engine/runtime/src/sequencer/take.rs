//! One pass over the events that wait: from the first one to the cut.

use std::{ops::Range, sync::Arc};

use tidewater_connector_api::{Accepted, RawEvents};
use tidewater_model::{RejectReason, Timestamp};
use tidewater_operators::ingest::PaddedEvent;

use super::{
    Sequencer,
    assembler::{BLOCK, Outcome},
    message::{Message, Submission},
};
use crate::{
    error::Error,
    logger::{LogEntry, Reject, TakenBatch},
    settings::Settings,
    threads::TryRecvError,
};

/// What has been taken in since the last cut.
#[derive(Default)]
pub(super) struct Pass {
    pub(super) entry: LogEntry,
    /// Of sources that moved: where they resume.
    pub(super) positions: Vec<(String, Vec<u8>)>,
    /// Bytes of accepted events.
    pub(super) bytes: usize,
    /// How many events were taken in, and their bytes, also of those that were refused or are known already.
    taken: (usize, usize),
}

impl Pass {
    fn begin_batch(&mut self, batch: TakenBatch, wall: Timestamp) {
        self.entry.received_at = wall;
        self.taken = (self.taken.0 + batch.events.len(), self.taken.1 + batch.events.bytes());
        self.entry.batches.push(batch);
    }

    /// Whether there is room for these events behind what was taken in. What is not accepted takes memory all the same, and
    /// somebody waits for an answer.
    fn has_room(&self, events: &RawEvents, settings: &Settings) -> bool {
        let (count, bytes) = self.taken;
        count == 0
            || count + events.len() <= settings.max_epoch_events
                && bytes + events.bytes() <= settings.max_epoch_bytes
    }

    /// Notes an accepted event of the last batch.
    fn accept(&mut self, index: usize, len: usize) {
        self.bytes += len;
        let index = index as u32;
        if let Some(batch) = self.entry.batches.last_mut() {
            match batch.accepted.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => batch.accepted.push(index..index + 1),
            }
        }
    }

    /// Notes a refused event of the last batch.
    fn refuse(&mut self, index: usize, reason: RejectReason) {
        let batch = self.entry.batches.len() - 1;
        self.entry.rejects.push(Reject { batch, index, reason });
    }

    fn moved(&mut self, source: &str, position: Vec<u8>) {
        match self.positions.iter_mut().find(|(known, _)| known == source) {
            Some((_, known)) => *known = position,
            None => self.positions.push((source.to_owned(), position)),
        }
    }
}

impl Sequencer {
    /// Takes in these events and all that wait behind them, as long as they fit one epoch or the dataflow is busy.
    pub(super) fn take_in(&mut self, first: Submission) -> Result<(), Error> {
        let mut pass = Pass::default();
        self.take(first, &mut pass)?;
        loop {
            // What was postponed came before what the channel holds.
            let message = match self.flow.postponed.pop_front().map_or_else(|| self.receiver.try_recv(), Ok) {
                Ok(message) => message,
                // One epoch is being computed and one waits: a third would only wait too, so it may as well grow.
                Err(TryRecvError::Empty) if self.in_flight() > 1 && !self.lifecycle.is_failed() => {
                    match self.receiver.recv() {
                        Ok(message) => message,
                        Err(_) => break,
                    }
                }
                Err(_) => break,
            };
            match message {
                Message::Submit(submission) => self.take(submission, &mut pass)?,
                Message::Computed(computed) => self.note_computed(computed),
                Message::Ask(question) => self.ask(question),
                Message::Wake => {}
                later => {
                    self.flow.postponed.push_front(later);
                    break;
                }
            }
        }
        self.finish(pass)?;
        // What woke the sequencer meanwhile may have been the end of a checkpoint that somebody waits behind.
        self.serve_checkpoints()
    }

    /// Takes in one batch. One that fits an epoch is not spread over two: its source resumes behind it or before it.
    fn take(&mut self, submission: Submission, pass: &mut Pass) -> Result<(), Error> {
        let Submission { source, events, position, is_again, receipt, permits } = submission;
        let limit = self.settings.max_epoch_events as u64;
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::PositionAheadOfLog)
            && let (Some(source), Some(position)) = (&source, &position)
        {
            pass.moved(source, position.0.clone());
        }
        if !pass.has_room(&events, &self.settings) {
            self.finish(std::mem::take(pass))?;
        }
        let events = Arc::new(events);
        let wall = self.clock.now();
        let mut counts = Accepted::default();
        let batch = || TakenBatch {
            events: Arc::clone(&events),
            accepted: Vec::new(),
            source: source.clone(),
            is_again,
        };
        pass.begin_batch(batch(), wall);
        let mut next = 0;
        while next < events.len() {
            if self.assembler.len() >= limit || pass.bytes >= self.settings.max_epoch_bytes {
                self.finish(std::mem::take(pass))?;
                pass.begin_batch(batch(), wall);
            }
            let room = usize::try_from(limit - self.assembler.len()).unwrap_or(BLOCK).min(BLOCK);
            let end = events.len().min(next + room);
            self.take_block(&events, next..end, wall, pass, &mut counts);
            next = end;
        }
        self.metrics.events.add(counts.events);
        self.metrics.duplicates.add(counts.duplicates);
        self.note_decode_stats();
        if let (Some(source), Some(position)) = (&source, position) {
            pass.moved(source, position.0);
        }
        pass.entry.receipts.push((receipt, counts));
        drop(permits);
        Ok(())
    }

    /// Takes in a few events that fit the epoch.
    fn take_block(
        &mut self,
        events: &RawEvents,
        range: Range<usize>,
        wall: Timestamp,
        pass: &mut Pass,
        counts: &mut Accepted,
    ) {
        let limit = self.settings.max_event_bytes;
        let too_large =
            |index: &usize| events.oversized(*index).is_some() || events.get(*index).len() > limit;
        let padded = |index: usize| {
            let (buffer, len) = events.padded(index);
            Some((index, PaddedEvent::new(buffer, len)?))
        };
        let metrics = &self.metrics;
        let mut decided = |index: usize, outcome: Outcome| match outcome {
            Outcome::Accepted => {
                counts.events += 1;
                pass.accept(index, events.get(index).len());
            }
            Outcome::Duplicate => counts.duplicates += 1,
            Outcome::Refused(reason) => {
                counts.quarantined += 1;
                metrics.quarantined(reason);
                pass.refuse(index, reason);
            }
        };
        for index in range.clone().filter(too_large) {
            decided(index, Outcome::Refused(RejectReason::TooLarge));
        }
        let usable = range.filter(|index| !too_large(index)).filter_map(padded);
        self.assembler.take(wall, usable, decided);
    }

    fn note_decode_stats(&mut self) {
        let stats = self.assembler.decode_stats();
        let before = std::mem::replace(&mut self.decoded, stats);
        self.metrics.bad_numbers.add(stats.unreadable_numbers - before.unreadable_numbers);
        self.metrics.long_identifiers.add(stats.oversized_identifiers - before.oversized_identifiers);
    }

    /// Ends a pass: with a cut if there is anything for the log to remember.
    fn finish(&mut self, pass: Pass) -> Result<(), Error> {
        if self.assembler.len() > 0 || !pass.positions.is_empty() {
            return self.cut(pass);
        }
        if pass.entry.receipts.is_empty() && pass.entry.rejects.is_empty() {
            return Ok(());
        }
        // Duplicates and refused events only. The epoch of the event that they repeat may not be durable yet, so
        // their receipts go the same way.
        let epoch = self.assembler.epoch();
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::RepetitionAnsweredAtOnce)
            && pass.entry.rejects.is_empty()
        {
            pass.entry.done(&self.intake);
            return Ok(());
        }
        self.log(pass.entry, epoch)
    }
}
