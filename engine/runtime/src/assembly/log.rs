//! The log and what stands beside it, out of the state directory or in memory.

use std::sync::Arc;

use tidewater_storage::{LogReader, Manifest, StateReader};

use super::{Common, checkpoints::CheckpointParts};
use crate::{
    checkpoint::{collect, control::Control},
    logger::{Logger, ToLog, refused::Refused},
    opening::OpenState,
    publisher::ToPublisher,
    quarantine::{Place, Ring},
    retention::seal::{self, Sealer},
    sequencer::LogEnd,
    status::ReplayProgress,
    threads::{Sender, bounded},
};

/// Where the log ends, and what of it is to be replayed.
pub(super) struct LogParts {
    pub(super) end: LogEnd,
    pub(super) logger: Option<Logger>,
    pub(super) quarantine: Place,
    pub(super) state: Option<StateReader>,
    pub(super) progress: ReplayProgress,
    pub(super) restore: Option<(StateReader, Manifest)>,
    pub(super) replay: Option<LogReader>,
    pub(super) durable: u64,
    pub(super) sealer: Option<Sealer>,
    /// Only with a state directory.
    pub(super) checkpoints: Option<CheckpointParts>,
}

pub(super) fn log_parts(
    opened: Option<OpenState>,
    publisher: &Sender<ToPublisher>,
    common: &Common,
) -> LogParts {
    let Some(opened) = opened else {
        let ring = Arc::new(Ring::new(common.settings.quarantine_ring));
        let end = LogEnd::Memory(Arc::clone(&ring));
        return LogParts {
            end,
            logger: None,
            quarantine: Place::Memory(ring),
            state: None,
            progress: ReplayProgress::default(),
            restore: None,
            replay: None,
            durable: u64::MAX,
            sealer: None,
            checkpoints: None,
        };
    };
    let (sender, receiver) = bounded::<ToLog>(common.settings.log_queue_epochs);
    let durable = opened.log.durable_epoch();
    let archive = Arc::new(opened.archive);
    let (seal_sender, to_seal) = seal::channel();
    let logger = Logger {
        receiver,
        publisher: publisher.clone(),
        log: opened.log,
        refused: Refused::new(opened.quarantine, &common.metrics, &common.trouble),
        positions: Arc::clone(&common.positions),
        intake: Arc::clone(&common.intake),
        lifecycle: Arc::clone(&common.lifecycle),
        progress: Arc::clone(&common.progress),
        metrics: Arc::clone(&common.metrics),
        trouble: Arc::clone(&common.trouble),
        sealer: seal_sender,
    };
    let sealer =
        Sealer { archive: Arc::clone(&archive), receiver: to_seal, lifecycle: Arc::clone(&common.lifecycle) };
    let restore = opened.found.usable.clone().map(|manifest| (opened.reader.clone(), manifest));
    let control = Arc::new(Control::default());
    control.start(&opened.found);
    let (pieces, receiver) = collect::channel();
    LogParts {
        end: LogEnd::Thread(sender),
        logger: Some(logger),
        state: Some(opened.reader.clone()),
        progress: ReplayProgress { total_bytes: opened.log_bytes, ..ReplayProgress::default() },
        quarantine: Place::Disk { reader: opened.reader, intake: Arc::clone(&common.intake) },
        restore,
        replay: Some(opened.log_reader),
        durable,
        sealer: Some(sealer),
        checkpoints: Some(CheckpointParts {
            sender: pieces,
            receiver,
            store: opened.checkpoints,
            definitions: opened.definitions,
            control,
            found: opened.found,
            absent: opened.absent,
            earlier: opened.earlier,
            archive,
            changeover: opened.changeover,
        }),
    }
}
