//! Strings on their way to another worker: messages carry the texts themselves, since places mean nothing elsewhere.

use super::{
    State,
    messages::{Member, RemoteFold, RemoteJoin},
};
use crate::{
    profile::{
        layout::{Kind, Layout},
        record::{Header, Label, OWNS},
    },
    store::Panes,
};

impl State {
    /// An event for a cluster whose home is elsewhere.
    pub(super) fn remote_fold(
        &self,
        label: Label,
        program: u16,
        (time, values): (i64, &[u64]),
        windowed_only: bool,
    ) -> RemoteFold {
        let (mut values, mut texts) = (values.to_vec(), Vec::new());
        let kept = &self.plan.programs[usize::from(program)];
        kept.for_each_kept(&mut values, |words| self.trait_texts.carry(words, &mut texts));
        RemoteFold { label, program, time, windowed_only, values, texts }
    }

    /// Makes the strings of an event from elsewhere texts of this worker.
    pub(crate) fn unpack_fold(&mut self, fold: &mut RemoteFold) {
        let kept = &self.plan.programs[usize::from(fold.program)];
        kept.for_each_kept(&mut fold.values, |words| self.trait_texts.take_in(words, &fold.texts));
    }

    /// A node's values for a cluster whose home is elsewhere.
    pub(super) fn remote_join(&self, node: u32, label: Label) -> RemoteJoin {
        let layout = &self.plan.layout;
        let record = self.slab.get(node);
        let windows = layout.traits.iter().filter_map(|place| place.window.as_ref().map(|w| (place, w)));
        let panes = windows.map(|(place, window)| {
            let panes = Panes::from_words(&record[usize::from(window.panes)..]);
            self.panes.get(panes, place.kind.words() + 1).to_vec()
        });
        let mut join = RemoteJoin {
            label,
            member: Member { hash: record.hash(), rank: record.rank(), text: record.text() },
            owns: record.has(OWNS),
            values: record[layout.values..layout.values + layout.value_words].to_vec(),
            panes: panes.collect(),
            texts: Vec::new(),
        };
        let mut texts = Vec::new();
        for_each_scalar(layout, &mut join, |words| self.trait_texts.carry(words, &mut texts));
        RemoteJoin { texts, ..join }
    }

    /// Makes the strings of a member from elsewhere texts of this worker.
    pub(crate) fn unpack_join(&mut self, join: &mut RemoteJoin) {
        let texts = std::mem::take(&mut join.texts);
        for_each_scalar(&self.plan.layout, join, |words| self.trait_texts.take_in(words, &texts));
    }
}

/// Calls `each` with the words of every scalar that is read where the member is taken in: the total of a windowed trait follows
/// from its panes there.
fn for_each_scalar(layout: &Layout, join: &mut RemoteJoin, mut each: impl FnMut(&mut [u64])) {
    for place in layout.scalars.iter().filter(|place| place.window.is_none()) {
        let at = usize::from(place.word);
        each(&mut join.values[at..at + 2]);
    }
    let windowed = layout.traits.iter().filter(|place| place.window.is_some());
    for (place, panes) in windowed.zip(&mut join.panes) {
        if matches!(place.kind, Kind::First | Kind::Last) {
            panes.chunks_exact_mut(place.kind.words() + 1).for_each(|pane| each(&mut pane[1..3]));
        }
    }
}
