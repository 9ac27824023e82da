//! Begins checkpoints, between epochs and before the end.

use tokio::sync::oneshot;

use super::{Sequencer, message::Message, send, wait::LONGEST_WAIT};
use crate::{
    error::Error,
    threads::{self, RecvTimeoutError},
    worker::ToWorker,
};

impl Sequencer {
    /// Begins a checkpoint of the epoch cut last, if one is due or asked for. Call it between epochs.
    pub(super) fn serve_checkpoints(&mut self) -> Result<(), Error> {
        let epoch = self.assembler.epoch();
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if !checkpoints.is_due(epoch, threads::now()) {
            checkpoints.answer_known(epoch);
            if checkpoints.is_lost() {
                self.assembler.forget_messages();
            }
            return Ok(());
        }
        let all = checkpoints.is_all_next();
        checkpoints.begin(self.assembler.snapshot(all), all);
        self.workers.iter().try_for_each(|worker| send(worker, ToWorker::Snapshot { all }))
    }

    /// Before the end: a checkpoint of everything, so that the next start has nothing to replay.
    pub(super) fn last_checkpoint(&mut self) -> Result<(), Error> {
        loop {
            if self.lifecycle.is_failed() || self.lifecycle.is_abandoned() {
                return Ok(());
            }
            if let Some(checkpoints) = &mut self.checkpoints {
                // It is the engine itself that asks, and waits for no answer.
                checkpoints.ask(oneshot::channel().0);
            }
            self.serve_checkpoints()?;
            let epoch = self.assembler.epoch();
            if self.checkpoints.as_ref().is_none_or(|checkpoints| !checkpoints.has_news(epoch)) {
                return Ok(());
            }
            // One is under way, which says when it is done.
            match self.receiver.recv_timeout(LONGEST_WAIT) {
                Ok(Message::Computed(computed)) => self.note_computed(computed),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
                // Whatever raced with the end is answered there.
                Ok(message) => self.flow.postponed.push_back(message),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}
