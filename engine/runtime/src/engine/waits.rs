//! Waits for what an engine does: until it has replayed, computed, delivered or stored, or until its sources have ended.

use std::time::Duration;

use super::Engine;
use crate::{
    error::Error,
    lifecycle::EngineState,
    sequencer::message::Message,
    status::{Flushed, SourceState},
};

impl Engine {
    /// Waits until the log has been replayed, and all of it published.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] if the engine ends before.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut state = self.watch_state();
        let ready = state.wait_for(|state| *state != EngineState::Replaying);
        // The sender lives as long as the engine.
        let _ = self.shared.lifecycle.or_ended(ready).await?;
        if let Some(error) = self.shared.lifecycle.ended() {
            return Err(error);
        }
        // What was replayed last may be computed and not handed on yet.
        self.shared.until_published(self.shared.progress.epochs().durable).await
    }

    /// Waits until everything that was accepted before the call has been computed, is durable, and has been handed
    /// to subscribers and acknowledged by every sink that is able to.
    ///
    /// A sink that is parked, failed, or between two attempts is not waited for but named in the result; one that
    /// neither answers nor fails is waited for until the flush deadline of the settings.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] once the engine has ended.
    pub async fn flush(&self) -> Result<Flushed, Error> {
        let shared = &self.shared;
        let epoch = shared.cut().await?;
        shared.until_published(epoch).await?;
        let deadline = Duration::from_millis(shared.settings.flush_deadline_ms);
        let deadline = tokio::time::Instant::now() + deadline;
        let mut undelivered_sinks = Vec::new();
        for sink in &shared.sinks {
            let delivered = shared.lifecycle.or_ended(sink.until_delivered(epoch));
            match tokio::time::timeout_at(deadline, delivered).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => undelivered_sinks.push(sink.name().to_owned()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(Flushed { epoch, undelivered_sinks })
    }

    /// Seals an epoch now, also if no event waits and no timer is due; waits until it has been computed, is durable,
    /// and has been handed to subscribers. Returns its number.
    ///
    /// Events and time need no such call. It is for changes from outside that would otherwise wait for the next event,
    /// such as those of a [`Relation`](crate::dataflow::Relation). With a state directory the epoch is logged.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] once the engine has ended.
    pub async fn seal(&self) -> Result<u64, Error> {
        let epoch = self.shared.request(Message::Seal).await?;
        self.shared.until_published(epoch).await?;
        Ok(epoch)
    }

    /// Makes a checkpoint of everything that is logged by now, and waits until it counts; its epoch. Nothing else waits for
    /// it. They are also made by time and by bytes logged (see [`Settings`](crate::Settings)) and at the shutdown.
    ///
    /// # Errors
    /// [`Error::Config`] without a state directory; [`Error::Failed`] if it can't be written, which harms nothing but the
    /// time that a restart takes; [`Error::Closed`] once the engine has ended.
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        if self.shared.checkpoints.is_none() {
            return Err(Error::config("without a state directory there are no checkpoints"));
        }
        self.shared.request(Message::Checkpoint).await?
    }

    /// Waits until every source has ended, by itself or with an error; the state of each, in the order they were
    /// added. Never resolves without sources.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] if the engine ends before.
    pub async fn sources_ended(&self) -> Result<Vec<(String, SourceState)>, Error> {
        if self.shared.sources.is_empty() {
            return self.shared.lifecycle.or_ended(std::future::pending()).await;
        }
        let mut ended = Vec::new();
        for source in &self.shared.sources {
            let state = self.shared.lifecycle.or_ended(source.until_ended()).await?;
            ended.push((source.name().to_owned(), state));
        }
        Ok(ended)
    }
}
