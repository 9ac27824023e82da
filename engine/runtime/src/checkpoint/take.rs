//! A worker's part of a checkpoint: nodes, a few at a time, between the epochs that come.

use std::time::Duration;

use tidewater_operators::dataflow::WorkerDataflow;

use super::collect::{PieceSender, ToCheckpoint};

/// So much is written between two epochs: about a millisecond, so that it hardly shows in the next one's latency, and
/// enough that a stream of full epochs does not draw a checkpoint out.
const SLICE_BYTES: usize = 256 << 10;

/// A piece of at least this size is sent on; smaller ones would compress worse.
const PIECE_BYTES: usize = 1 << 20;

/// How long an idle worker waits for a message when there is no room.
pub(crate) const ROOM_WAIT: Duration = Duration::from_millis(2);

/// Takes one worker's snapshots, one after the other.
pub(crate) struct Snapshots {
    sender: PieceSender,
    open: Option<Open>,
}

/// The snapshot under way.
struct Open {
    epoch: u64,
    piece: Vec<u8>,
}

impl Snapshots {
    pub(crate) fn new(sender: PieceSender) -> Self {
        Self { sender, open: None }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Begins a snapshot; one that is still under way has failed.
    pub(crate) fn begin(&mut self, dataflow: &mut WorkerDataflow, epoch: u64, all: bool) {
        let piece = dataflow.begin_snapshot(all);
        self.sender.send(ToCheckpoint::Rest { epoch, piece });
        self.open = Some(Open { epoch, piece: Vec::new() });
    }

    /// Writes a little; false if there is no room for more at present.
    pub(crate) fn write(&mut self, dataflow: &mut WorkerDataflow) -> bool {
        self.is_open() && self.sender.has_room() && {
            self.write_on(dataflow);
            true
        }
    }

    /// Writes all that is left, whether there is room or not.
    pub(crate) fn finish(&mut self, dataflow: &mut WorkerDataflow) {
        while self.is_open() {
            self.write_on(dataflow);
        }
    }

    fn write_on(&mut self, dataflow: &mut WorkerDataflow) {
        let Some(Open { epoch, piece }) = &mut self.open else { return };
        let complete = dataflow.write_snapshot(piece, piece.len() + SLICE_BYTES);
        let epoch = *epoch;
        if piece.len() >= PIECE_BYTES || complete && !piece.is_empty() {
            self.sender.send(ToCheckpoint::Nodes { epoch, piece: std::mem::take(piece) });
        }
        if complete {
            self.open = None;
            self.sender.send(ToCheckpoint::Complete { epoch });
        }
    }
}
