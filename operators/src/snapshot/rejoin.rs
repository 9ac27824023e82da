//! When all nodes are read: what their links connect becomes clusters again.
//!
//! Nothing has been published yet of what was read. So a cluster is put together at once as far as its identifiers are
//! here, without a merge, which costs two clusters to make one. Merges are left for what is elsewhere, and for two
//! clusters that meet late.

use crate::{
    identity::{
        State,
        messages::{LookKind, Outbox},
        state::Join,
    },
    ingest::IdentifierRow,
    profile::record::{CLUSTER, GONE, Header, HeaderMut, Label},
};

/// Links are looked up for so many records at a time.
const GROUP: usize = 4_096;

/// How far ahead of use an index slot and a record are asked for.
const AHEAD_INDEX: usize = 16;
const AHEAD_RECORD: usize = 8;

impl State {
    /// Puts clusters together and has everything evaluated, before anything of the snapshot's epoch can come from another
    /// worker: it may ask how large a cluster is.
    pub(crate) fn rejoin(&mut self) {
        self.epoch.is_restored = true;
        // Of a cluster, which has two nodes or more, the first one and its own record are touched.
        self.epoch.touched.reserve_exact(self.epoch.created.len());
        // Clusters get records behind these, without links of their own.
        let end = self.slab.numbers().end;
        let mut links: Vec<(u32, u128)> = Vec::new();
        for first in (0..end).step_by(GROUP) {
            links.clear();
            for node in first..end.min(first + GROUP as u32) {
                let list = self.slab.get(node).low(3) as usize;
                links.extend(self.links[list].iter().map(|link| (node, link.other)));
            }
            for place in 0..links.len() {
                if let Some((_, ahead)) = links.get(place + AHEAD_INDEX) {
                    self.index.prefetch(*ahead);
                }
                if let Some((_, ahead)) = links.get(place + AHEAD_RECORD)
                    && let Some(record) = self.index.guess(*ahead)
                {
                    self.slab.prefetch(record);
                }
                let (node, other) = links[place];
                self.rejoin_link(node, other);
            }
        }
        for node in 0..end {
            let record = self.slab.get(node);
            if !record.has(GONE) && record.label().record == node {
                self.touch(node);
            }
        }
    }

    fn rejoin_link(&mut self, node: u32, hash: u128) {
        if crate::worker_of(hash, self.workers) != self.worker {
            self.epoch.open_links.push((node, hash));
            return;
        }
        // Links and the identifiers they lead to are stored together.
        let Some(other) = self.node(hash) else { return };
        let [a, b] = [node, other].map(|node| self.slab.get(node).label().record);
        match [a, b].map(|record| self.slab.get(record).has(CLUSTER)) {
            _ if a == b => {}
            [true, true] => self.epoch.open_links.push((node, hash)),
            [true, false] => self.take_in(b, a),
            [false, true] => self.take_in(a, b),
            [false, false] => {
                let cluster = self.promote(a);
                self.take_in(b, cluster);
            }
        }
    }

    /// Makes a lone node a member of a cluster.
    fn take_in(&mut self, node: u32, cluster: u32) {
        self.attach(node, Label { worker: self.worker as u8, record: cluster });
        self.epoch.joins.push(Join { node, cluster, founder: false });
        self.counts.merges += 1;
        let first = self.slab.get(node).first_mention();
        let record = self.slab.get_mut(cluster);
        record.set_high(2, record.high(2) + 1);
        if first.compare(&record.first_mention(), &self.texts).is_lt() {
            record.set_first(&first);
        }
    }

    /// Asserts the links that are left, as if they were new.
    pub(crate) fn assert_open_links(&mut self, out: &mut Outbox) {
        for (node, hash) in std::mem::take(&mut self.epoch.open_links) {
            let row = IdentifierRow { hash, text: 0, len: 0, rank: 0 };
            self.send_look(node, &row, &[], 0, LookKind::Known, out);
        }
    }
}
