//! The start: a checkpoint, if there is one, and the log behind it through the same dataflow, with the recorded cuts and
//! times.

use std::{sync::Arc, time::Instant};

use tidewater_operators::{dataflow::EpochInput, ingest::PaddedEvent};
use tidewater_storage::{EpochEntry, EpochHeader, Manifest, StateReader};

use super::{Sequencer, message::Message};
use crate::{
    checkpoint::{pieces::kind, restore},
    error::Error,
    logger::note_positions,
    sequencer::send,
    status::ReplayProgress,
    worker::ToWorker,
};

impl Sequencer {
    /// Replays the log, and waits until all of it has been computed. False if the engine is to stop before: what the
    /// workers hold is of no use then.
    pub(super) fn replay_log(&mut self) -> Result<bool, Error> {
        if let Some((state, manifest)) = self.restore.take()
            && !self.restore(&state, &manifest)?
        {
            return Ok(false);
        }
        if let Some(mut reader) = self.replay.take() {
            let mut entry = EpochEntry::default();
            while reader.read(&mut entry)? {
                if self.lifecycle.is_stopping() {
                    return Ok(false);
                }
                self.replay_epoch(&entry)?;
            }
        }
        while self.in_flight() > 0 {
            if self.lifecycle.is_stopping() {
                return Ok(false);
            }
            match self.receiver.recv() {
                Ok(message) => self.while_replaying(message),
                Err(_) => return Ok(false),
            }
        }
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::EpochReused)
            && self.replay_progress.borrow().epochs == 0
        {
            self.assembler.forget_an_epoch();
        }
        self.decoded = self.assembler.decode_stats();
        self.replay_progress.send_modify(|progress| progress.done = true);
        Ok(true)
    }

    /// Reads a checkpoint: acceptance here, nodes at the workers, and then its epoch, which has nothing but links. False if the
    /// engine is to stop before.
    fn restore(&mut self, state: &StateReader, manifest: &Manifest) -> Result<bool, Error> {
        let Manifest { epoch, now, .. } = *manifest;
        self.assembler.resume(manifest);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.resume(&manifest.positions);
        }
        let header = EpochHeader { positions: manifest.positions.clone(), ..EpochHeader::default() };
        note_positions(&self.positions, &header);
        let whole = restore::read(state, manifest, |kind, piece| {
            if self.lifecycle.is_stopping() {
                return Err(Error::Closed);
            }
            self.assembler.read(kind, &piece).map_err(restore::unreadable)?;
            if matches!(kind, kind::NODES | kind::REST) {
                let piece: Arc<[u8]> = piece.into();
                for worker in &self.workers {
                    send(worker, ToWorker::Read { now, kind, piece: Arc::clone(&piece) })?;
                }
            }
            Ok(())
        });
        match whole {
            Err(Error::Closed) => return Ok(false),
            whole => whole?,
        }
        self.progress.sealed(epoch);
        self.progress.durable(epoch);
        for worker in &self.workers {
            let input = EpochInput { epoch, now, is_restored: true, ..EpochInput::default() };
            send(worker, ToWorker::Feed { input, sealed_at: Instant::now() })?;
        }
        Ok(true)
    }

    fn replay_epoch(&mut self, entry: &EpochEntry) -> Result<(), Error> {
        let sealed_at = Instant::now();
        let events = (0..entry.events.len()).filter_map(|index| {
            let (buffer, len) = entry.events.padded(index)?;
            PaddedEvent::new(buffer, len)
        });
        let inputs = self.assembler.replay(&entry.header, events);
        note_positions(&self.positions, &entry.header);
        self.progress.sealed(entry.header.epoch);
        self.progress.durable(entry.header.epoch);
        for (worker, input) in self.workers.iter().zip(inputs) {
            send(worker, ToWorker::Feed { input, sealed_at })?;
        }
        self.replay_progress.send_modify(|ReplayProgress { epochs, events, bytes, .. }| {
            *epochs += 1;
            *events += entry.events.len() as u64;
            *bytes += entry.events.bytes().len() as u64;
        });
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.logged(&entry.header, entry.events.bytes().len() as u64);
        }
        self.serve_checkpoints()?;
        while let Ok(message) = self.receiver.try_recv() {
            self.while_replaying(message);
        }
        Ok(())
    }

    /// Buffers come back while the replay goes on; everything else waits for its end.
    fn while_replaying(&mut self, message: Message) {
        match message {
            Message::Computed(computed) => self.note_computed(computed),
            Message::Wake => {}
            message => self.flow.postponed.push_back(message),
        }
    }
}
