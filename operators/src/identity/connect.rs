//! Stage 2: a new link meets the other identifier; two labels that differ go over both their homes.

use rustc_hash::FxHashMap;

use crate::{
    identity::{
        messages::{Look, LookKind, Meeting, Merge, Outbox, Side},
        state::State,
    },
    ingest::{AliasLinkKind, AliasLinkRow, EventBatch, IdentifierRow},
    profile::record::{ALIASED, ASSIGNED, CLUSTER, First, GONE, Header, HeaderMut, Label},
};

impl State {
    /// Answers a look that came from another worker.
    pub(crate) fn answer_look(&mut self, look: &Look, out: &mut Outbox) {
        let row = IdentifierRow { hash: look.hash, text: 0, len: look.text.len() as u16, rank: look.rank };
        self.answer(&row, &look.text, look.place, look.owner, look.kind, out);
    }

    /// Takes note that an event mentions an identifier of this worker beside an owner labelled `owner`.
    pub(crate) fn answer(
        &mut self,
        row: &IdentifierRow,
        text: &[u8],
        place: u64,
        owner: Label,
        kind: LookKind,
        out: &mut Outbox,
    ) {
        match kind {
            LookKind::Link | LookKind::Mention => {
                let node = self.mention(row, text, place, out);
                if self.slab.get(node).has(ALIASED) {
                    self.changes(node);
                    self.alias.mention_ordinary(row.hash, place);
                }
                if kind == LookKind::Link {
                    self.meet(owner, self.slab.get(node).label(), out);
                }
            }
            LookKind::AliasLink { settled } => {
                let node = self.alias_mention(row, text, (place, settled), out);
                self.meet(owner, self.slab.get(node).label(), out);
            }
            LookKind::AliasMention { settled } => {
                self.alias_mention(row, text, (place, settled), out);
            }
            LookKind::AliasForget => {
                let node = self.node(row.hash);
                if let Some(node) = node {
                    self.changes(node);
                }
                self.alias.forget(row.hash, place);
                if let Some(node) = node {
                    self.settle_first(node, out);
                }
            }
            LookKind::Known => {
                // Links and the identifiers they lead to are stored together.
                if let Some(node) = self.node(row.hash) {
                    self.meet(owner, self.slab.get(node).label(), out);
                }
            }
        }
    }

    fn alias_mention(
        &mut self,
        row: &IdentifierRow,
        text: &[u8],
        (place, settled): (u64, bool),
        out: &mut Outbox,
    ) -> u32 {
        let before = self.node(row.hash).map(|node| self.slab.get(node)).filter(|node| !node.has(GONE));
        // As of now: the alias may come first in the log though it is heard of last.
        let ordinary = before.map(|node| node.first_mention().place);
        let node = self.mention(row, text, place, out);
        self.changes(node);
        self.alias.mention(row.hash, (place, settled), ordinary);
        self.slab.get_mut(node).set(ALIASED);
        self.settle_first(node, out);
        node
    }

    /// Makes a node's first mention what its alias mentions and the others say; without any it is gone.
    fn settle_first(&mut self, node: u32, out: &mut Outbox) {
        let record = self.slab.get(node);
        let (hash, old, label) = (record.hash(), record.first_mention(), record.label());
        let first = self.alias.first(hash);
        if first == Some(old.place) {
            return;
        }
        let is_alone = label == (Label { worker: self.worker as u8, record: node });
        let record = self.slab.get_mut(node);
        match first {
            Some(place) => record.set_first(&First { place, ..old }),
            None => {
                record.set(GONE);
                self.counts.identifiers -= 1;
                // With others, it is taken back when they are put together anew.
                if is_alone && record.has(ASSIGNED) {
                    record.unset(ASSIGNED);
                    self.assign(hash, hash, -1);
                }
            }
        }
        if is_alone {
            self.touch(node);
        } else {
            self.dirty(label, out);
        }
    }

    /// Applies the links that alias events assert or give up, after the epoch's events.
    ///
    /// What is asserted and given up within one epoch never was: else it could join two clusters on its way through
    /// the workers after it has been given up.
    pub(crate) fn fold_alias_links(&mut self, batch: &EventBatch, out: &mut Outbox) {
        let key = |link: &AliasLinkRow| (link.owner, link.other.hash, link.place);
        // How often each is asserted in the end, or given up if it is less than nothing.
        let mut net: FxHashMap<_, i32> = FxHashMap::default();
        if batch.alias_links.iter().any(|link| link.kind == AliasLinkKind::GivenUp) {
            for link in &batch.alias_links {
                *net.entry(key(link)).or_default() += match link.kind {
                    AliasLinkKind::Open | AliasLinkKind::Settled => 1,
                    AliasLinkKind::Again => 0,
                    AliasLinkKind::GivenUp => -1,
                };
            }
        }
        for link in &batch.alias_links {
            match (link.kind, net.get_mut(&key(link))) {
                (AliasLinkKind::Again, _) | (_, None) => {}
                (AliasLinkKind::GivenUp, Some(left)) if *left < 0 => *left += 1,
                (AliasLinkKind::Open | AliasLinkKind::Settled, Some(left)) if *left > 0 => *left -= 1,
                (_, Some(_)) => continue,
            }
            let Some(node) = self.node(link.owner) else { continue };
            let text = &batch.text[link.other.text as usize..][..usize::from(link.other.len)];
            self.changes(node);
            match link.kind {
                AliasLinkKind::Open => self.assert_alias(node, link, false, text, out),
                AliasLinkKind::Settled => self.assert_alias(node, link, true, text, out),
                AliasLinkKind::GivenUp => self.give_up_alias(node, link, text, out),
                AliasLinkKind::Again => {
                    // Unless it was taken back.
                    let list = self.slab.get(node).low(3) as usize;
                    self.links[list].extend(link.other.hash, link.time);
                }
            }
        }
    }

    fn assert_alias(&mut self, node: u32, link: &AliasLinkRow, settled: bool, text: &[u8], out: &mut Outbox) {
        let is_cut = self.is_cut(link.owner, link.other.hash);
        let is_new = !is_cut && self.links_of(node).assert(link.other.hash, link.time);
        let known = !is_cut && !is_new;
        let must_hear = self.alias.assert((link.owner, link.other.hash), (link.place, settled), known);
        if must_hear || is_new {
            let kind = match is_cut {
                true => LookKind::AliasMention { settled },
                false => LookKind::AliasLink { settled },
            };
            self.send_look(node, &link.other, text, link.place, kind, out);
        }
    }

    fn give_up_alias(&mut self, node: u32, link: &AliasLinkRow, text: &[u8], out: &mut Outbox) {
        // A link that was taken back is not there any more.
        if self.alias.give_up(link.owner, link.other.hash, link.place)
            && self.links_of(node).remove(link.other.hash)
        {
            self.dirty(self.slab.get(node).label(), out);
        }
        self.send_look(node, &link.other, text, link.place, LookKind::AliasForget, out);
    }

    /// Takes back links between identifiers, for good: each worker looks for the ones that its nodes own.
    pub(crate) fn unlink(&mut self, pairs: &[(u128, u128)], out: &mut Outbox) {
        for (a, b) in pairs {
            self.cut.insert((*a.min(b), *a.max(b)));
            for (owner, other) in [(a, b), (b, a)] {
                let Some(node) = self.node(*owner) else { continue };
                let list = self.slab.get(node).low(3) as usize;
                self.changes(node);
                if self.links[list].remove(*other) {
                    #[cfg(feature = "planted-bugs")]
                    if crate::planted::active(crate::planted::Bug::RetractedLinkKept) {
                        continue;
                    }
                    self.dirty(self.slab.get(node).label(), out);
                }
            }
        }
    }

    /// Has a cluster solved again at the end of the epoch.
    pub(crate) fn dirty(&mut self, label: Label, out: &mut Outbox) {
        if self.is_local(label) && !self.slab.get(label.record).has(CLUSTER) {
            return;
        }
        self.tell(Merge::Dirty(label), out);
    }

    /// Tells all workers, this one too, what they must know at the end of the epoch.
    pub(crate) fn tell(&mut self, merge: Merge, out: &mut Outbox) {
        if self.workers == 1 { self.epoch.merges.push(merge) } else { out.merges.push(merge) }
    }

    /// Two labels of one link: if they differ, they travel over both homes.
    fn meet(&mut self, a: Label, b: Label, out: &mut Outbox) {
        if a != b {
            self.carry(Meeting { a, met: None, b }, out);
        }
    }

    /// Takes a meeting as far as this worker can.
    pub(crate) fn carry(&mut self, mut meeting: Meeting, out: &mut Outbox) {
        if meeting.met.is_none() {
            if !self.is_local(meeting.a) {
                out.meetings.push(meeting);
                return;
            }
            meeting.met = Some(self.side(meeting.a.record));
        }
        let Some(a) = meeting.met else { return };
        if !self.is_local(meeting.b) {
            out.meetings.push(meeting);
            return;
        }
        let b = self.side(meeting.b.record);
        if a.label != b.label {
            self.tell(Merge::Join(a, b), out);
        }
    }

    /// Describes a cluster of this worker; a lone node becomes one first, so that it has a label that can survive.
    fn side(&mut self, record: u32) -> Side {
        let resolved = self.resolve(record);
        let words = self.slab.get(resolved);
        let cluster = if words.has(CLUSTER) { resolved } else { self.promote(resolved) };
        let words = self.slab.get(cluster);
        let label = Label { worker: self.worker as u8, record: cluster };
        Side { label, size: words.high(2), first: words.first_mention() }
    }
}
