//! Starts the threads of an engine.

use std::sync::Arc;

use super::Common;
use crate::{
    checkpoint::collect::Collector,
    error::Error,
    lifecycle::guarded,
    logger::Logger,
    publisher::Publisher,
    retention::seal::Sealer,
    sequencer::{Sequencer, message::Message},
    threads::{self, Entry, Thread},
    worker::WorkerThread,
};

/// What runs on threads of its own.
pub(super) struct Threads {
    pub(super) workers: Vec<WorkerThread>,
    pub(super) publisher: Publisher,
    pub(super) collector: Option<Collector>,
    pub(super) sealer: Option<Sealer>,
    pub(super) logger: Option<Logger>,
    pub(super) sequencer: Sequencer,
}

impl Threads {
    /// Starts all of them; the sequencer last, since it begins the work.
    pub(super) fn start(self, common: &Common) -> Result<Vec<Thread>, Error> {
        let Self { workers, publisher, collector, sealer, logger, sequencer } = self;
        let mut threads = Vec::new();
        for worker in workers {
            let keep = worker.receiver.clone();
            let part = format!("worker {}", worker.index);
            threads.push(spawn(&part, common, keep, move || worker.run())?);
        }
        let keep = publisher.receiver.clone();
        let lifecycle = Arc::clone(&common.lifecycle);
        threads.push(spawn("publisher", common, keep, move || {
            publisher.run();
            lifecycle.published_all();
            Ok(())
        })?);
        if let Some(collector) = collector {
            threads.push(spawn("checkpoint", common, (), move || collector.run())?);
        }
        if let Some(sealer) = sealer {
            threads.push(spawn("seal", common, (), move || sealer.run())?);
        }
        if let Some(logger) = logger {
            let keep = logger.receiver.clone();
            threads.push(spawn("log", common, keep, move || logger.run())?);
        }
        threads.push(spawn("sequencer", common, (), move || sequencer.run())?);
        Ok(threads)
    }
}

/// Starts a thread. When it fails, the engine does; `keep` keeps its channel open until that is known, so that no
/// other thread fails first with less to tell.
fn spawn(
    part: &str,
    common: &Common,
    keep: impl Send + 'static,
    run: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<Thread, Error> {
    let (lifecycle, intake) = (Arc::clone(&common.lifecycle), Arc::clone(&common.intake));
    let part = part.to_owned();
    let name = format!("tidewater {part}");
    // Workers meet before they take turns: each waits for all others while its channels to them are made.
    let entry = if part.starts_with("worker") { Entry::Later } else { Entry::AtOnce };
    let spawned = threads::spawn(name, entry, move || {
        guarded(&lifecycle, &part, run);
        if lifecycle.is_failed() {
            intake.close();
            intake.post(Message::Wake);
        }
        drop(keep);
    });
    spawned.map_err(|error| {
        // Those that run already end when their channels close.
        common.lifecycle.fail("a thread could not be started");
        Error::failed(format!("a thread could not be started: {error}"))
    })
}
