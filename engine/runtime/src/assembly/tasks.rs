//! Starts the tasks of an engine: those of its sinks and sources, and the monitor.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{BoxSource, Clock};

use super::{Common, sinks::SinkParts};
use crate::{
    clock::Random,
    delivery::{
        acks,
        task::{self, Delivery},
    },
    engine::Shared,
    monitor,
    shutdown::{SinkTask, Tasks},
    sources::{self, SourceHandle},
    threads::Thread,
};

pub(super) fn tasks(
    shared: &Arc<Shared>,
    threads: Vec<Thread>,
    sources: Vec<BoxSource>,
    sinks: Vec<SinkParts>,
    (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
    common: &Common,
) -> Tasks {
    let deliver = |parts: SinkParts| {
        let queue = || Arc::clone(parts.handle.queue());
        let writer = parts.acks.map(|file| acks::spawn(parts.handle.name(), file, queue()));
        let (sender, acks) = writer.unzip();
        if let Some(sender) = &sender {
            parts.handle.watch_acks(sender.watch());
        }
        let delivery = tokio::spawn(task::run(Delivery {
            sink: parts.sink,
            handle: parts.handle,
            acknowledged: parts.acknowledged,
            acks: sender,
            retry: shared.settings.retry.clone(),
            give_up_after: Duration::from_millis(shared.settings.sink_give_up_after_ms),
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            partial: None,
        }));
        SinkTask { delivery, acks }
    };
    let read = |(source, handle): (BoxSource, &Arc<SourceHandle>)| {
        let (handle, positions) = (Arc::clone(handle), Arc::clone(&common.positions));
        tokio::spawn(sources::run(Arc::clone(shared), handle, source, positions, Arc::clone(random)))
    };
    let every = Duration::from_millis(shared.settings.sample_every_ms);
    Tasks {
        threads,
        sinks: sinks.into_iter().map(deliver).collect(),
        sources: sources.into_iter().zip(&shared.sources).map(read).collect(),
        monitor: tokio::spawn(monitor::run(Arc::downgrade(shared), every)),
    }
}
