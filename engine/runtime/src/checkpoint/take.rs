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
        for piece in dataflow.begin_snapshot(all) {
            self.sender.send(ToCheckpoint::Rest { epoch, piece });
        }
        self.open = Some(Open { epoch, piece: Vec::new() });
    }

    /// Writes a little; false if there is no room for more at present.
    pub(crate) fn write(&mut self, dataflow: &mut WorkerDataflow) -> bool {
        let Some(Open { epoch, piece }) = self.open.as_mut().filter(|_| self.sender.has_room()) else {
            return false;
        };
        let complete = dataflow.write_snapshot(piece, piece.len() + SLICE_BYTES);
        let epoch = *epoch;
        if piece.len() >= PIECE_BYTES || complete {
            // Nodes that changed while there was no room come all at once.
            split(piece, |piece| self.sender.send(ToCheckpoint::Nodes { epoch, piece: piece.to_vec() }));
            piece.clear();
        }
        if complete {
            self.open = None;
            self.sender.send(ToCheckpoint::Complete { epoch });
        }
        true
    }

    /// Writes all that is left, unless nobody wants it any more.
    pub(crate) fn finish(&mut self, dataflow: &mut WorkerDataflow, is_over: impl Fn() -> bool) {
        while self.is_open() && !is_over() {
            if !self.write(dataflow) {
                crate::threads::sleep(ROOM_WAIT);
            }
        }
    }
}

/// Calls `each` with parts of a chunk of nodes, each a few whole nodes of about the size of a piece.
fn split(nodes: &[u8], mut each: impl FnMut(&[u8])) {
    let (mut from, mut end) = (0, 0);
    while let Some((len, _)) = nodes[end..].split_first_chunk::<4>() {
        end = (end + 4 + u32::from_le_bytes(*len) as usize).min(nodes.len());
        if end - from >= PIECE_BYTES || end == nodes.len() {
            each(&nodes[from..end]);
            from = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_nodes_and_together_all_of_them() {
        let node = |len: usize| [&(len as u32).to_le_bytes()[..], &vec![7; len]].concat();
        let lengths = [10, 3 * PIECE_BYTES, 0, PIECE_BYTES - 20, 30, 5];
        let nodes: Vec<u8> = lengths.into_iter().flat_map(node).collect();
        let mut parts = Vec::new();
        split(&nodes, |part| parts.push(part.to_vec()));
        assert_eq!(parts.concat(), nodes);
        assert_eq!(parts.len(), 3);
        split(&[], |_| panic!("there is nothing"));
    }
}
