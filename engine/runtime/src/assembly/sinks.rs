//! The sinks with their queues and letters, each from where it was left.

use std::sync::Arc;

use tidewater_connector_api::{Acknowledged, BoxSink, Position};
use tidewater_storage::AckFile;

use super::Common;
use crate::{
    delivery::{SinkHandle, letters::Letters, queue::SinkQueue},
    opening::{OpenSink, OpenState},
};

/// A sink and what its task needs.
pub(super) struct SinkParts {
    pub(super) sink: BoxSink,
    pub(super) handle: Arc<SinkHandle>,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) acks: Option<AckFile>,
}

pub(super) fn sink_parts(
    sinks: Vec<(String, BoxSink)>,
    mut opened: Option<&mut OpenState>,
    common: &Common,
) -> Vec<SinkParts> {
    let mut parts = Vec::new();
    for (name, sink) in sinks {
        let state = opened.as_mut().and_then(|opened| opened.sinks.remove(&name));
        let correction = opened.as_mut().and_then(|opened| opened.corrections.remove(&name));
        let (acks, outbox, letters, has) = match state {
            Some(OpenSink { acks, outbox, letters, has }) => (Some(acks), Some(outbox), letters, has),
            None => (None, None, Letters::in_memory(common.settings.dead_letter_memory_bytes), 0),
        };
        let acknowledged = acks
            .as_ref()
            .and_then(|acks| acks.last())
            .map(|ack| Acknowledged { epoch: ack.epoch, position: Position(ack.position.clone()) });
        let epoch = acknowledged.as_ref().map_or(0, |acknowledged| acknowledged.epoch);
        let queue = SinkQueue::new((epoch, has), common.settings.sink_memory_bytes, outbox, correction);
        let handle = SinkHandle::new(&name, epoch, Arc::new(queue), letters, common.metrics.sink(&name));
        parts.push(SinkParts { sink, handle: Arc::new(handle), acknowledged, acks });
    }
    parts
}
