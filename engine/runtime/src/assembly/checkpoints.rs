//! The two ends of checkpoints: who begins them, and who makes them.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::Clock;
use tidewater_storage::{Checkpoints, LogArchive};

use super::Common;
use crate::{
    absent::Absent,
    checkpoint::{
        collect::{Collector, PieceReceiver, PieceSender},
        control::Control,
        earlier::Earlier,
        pieces::{MemberChanges, Messages},
        restore::Found,
        trigger::Trigger,
    },
    engine::Shared,
    retention::Retention,
};

/// What checkpoints are made with.
pub(super) struct CheckpointParts {
    pub(super) sender: PieceSender,
    pub(super) receiver: PieceReceiver,
    pub(super) store: Checkpoints,
    pub(super) definitions: Vec<u8>,
    pub(super) control: Arc<Control>,
    pub(super) found: Found,
    pub(super) absent: Absent,
    pub(super) earlier: Earlier,
    pub(super) archive: Arc<LogArchive>,
    /// The epoch with which the present definitions began.
    pub(super) changeover: u64,
}

/// Makes both of them.
pub(super) fn checkpoint_threads(
    parts: CheckpointParts,
    workers: usize,
    clock: &Arc<dyn Clock>,
    shared: &Arc<Shared>,
    common: &Common,
) -> (Trigger, Collector) {
    let CheckpointParts {
        sender,
        receiver,
        store,
        definitions,
        control,
        found,
        absent,
        earlier,
        archive,
        changeover,
    } = parts;
    let trigger = Trigger::new(sender, Arc::clone(&control), &found, &common.settings);
    let collector = Collector {
        receiver,
        store,
        definitions,
        workers,
        sinks: shared.sinks.clone(),
        absent,
        earlier,
        control,
        every: Duration::from_millis(common.settings.checkpoint_every_ms),
        lifecycle: Arc::clone(&common.lifecycle),
        intake: Arc::clone(&common.intake),
        metrics: Arc::clone(&common.metrics),
        all: found.all,
        base: found.usable,
        messages: Messages::new(),
        members: MemberChanges::new(),
        is_lost: false,
        retention: Retention::new(archive, &common.settings, Arc::clone(clock), changeover),
    };
    (trigger, collector)
}
