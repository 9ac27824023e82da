//! One epoch on one worker: which stage follows which, and what is handed on.

use crate::{
    dataflow::EpochInput,
    identity::{
        State,
        messages::{Merge, Outbox, RemoteFold, RemoteJoin, Vertex},
    },
    profile::record::Label,
};

/// What other workers sent for the epoch under way, by the stage that uses it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) merges: Vec<Merge>,
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) folds: Vec<RemoteFold>,
    pub(crate) joins: Vec<RemoteJoin>,
}

impl State {
    /// Starts an epoch: time moves on, links are taken back, events are folded.
    pub(crate) fn start_epoch(&mut self, input: &EpochInput, out: &mut Outbox) {
        self.before = self.now;
        self.now = self.now.max(input.now.0);
        self.epoch.time = input.epoch;
        if input.is_restored {
            self.assert_open_links(out);
            return;
        }
        self.fold_pending(out);
        self.unlink(&input.unlinks, out);
        self.fold_events(&input.events, out);
        self.fold_alias_links(&input.events, out);
    }

    /// A whole epoch on the only worker: no stage waits for another one.
    pub(crate) fn run_epoch(&mut self, input: &EpochInput) {
        let mut out = Outbox::default();
        self.start_epoch(input, &mut out);
        let merges = std::mem::take(&mut self.epoch.merges);
        for cluster in self.unite(merges, &mut out) {
            let vertices = self.vertices(cluster);
            self.solve(cluster.record, vertices, &mut out);
        }
        for relabel in std::mem::take(&mut out.relabels) {
            self.relabel(&relabel, &mut out);
        }
        self.finish_epoch(Vec::new(), Vec::new());
        #[cfg(feature = "planted-bugs")]
        if input.is_restored && crate::planted::active(crate::planted::Bug::TimersNotRestored) {
            self.timers.clear();
        }
    }

    /// Stage 4 among several workers: solves the dirty clusters whose members have all arrived here.
    pub(crate) fn solve_all(&mut self, mut vertices: Vec<Vertex>, out: &mut Outbox) {
        vertices.sort_by_key(|vertex| vertex.cluster);
        let mut rest = vertices.into_iter().peekable();
        while let Some(first) = rest.next() {
            let cluster: Label = first.cluster;
            let mut own = vec![first];
            while let Some(next) = rest.next_if(|vertex| vertex.cluster == cluster) {
                own.push(next);
            }
            self.solve(cluster.record, own, out);
        }
    }
}
