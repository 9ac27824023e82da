//! Puts the workers' shares together and lets them out: in order, and only what is durable.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tidewater_model::{Change, DeltaBatch, ProfileId, delta::DeltaNames};
use tidewater_operators::{Changes, Texts, dataflow::EpochOutput, merge};

use crate::{
    assembly::Common,
    checkpoint::{
        collect::{PieceSender, ToCheckpoint},
        control::Control,
        pieces::{MemberChanges, add_members},
    },
    delivery::SinkHandle,
    metrics::Metrics,
    progress::Progress,
    sequencer::{
        intake::Intake,
        message::{At, Computed, Message},
    },
    subscription::{Mailbox, count_of},
    threads::Receiver,
};

/// A message to the publisher.
#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub(crate) enum ToPublisher {
    /// A worker's share of an epoch.
    Part { worker: usize, output: EpochOutput, sealed_at: Instant },
    /// A worker's share of the members that open a subscription.
    Members { worker: usize, at: At, members: Vec<ProfileId>, mailbox: Arc<Mailbox> },
    /// A worker has begun its part of a checkpoint of this epoch, the last one it sent a share of.
    Snapshot { worker: usize, epoch: u64 },
    /// The log is durable up to this epoch.
    Durable(u64),
}

/// The publisher's state.
pub(crate) struct Publisher {
    pub(crate) receiver: Receiver<ToPublisher>,
    names: Arc<DeltaNames>,
    texts: Arc<Texts>,
    sinks: Vec<Arc<SinkHandle>>,
    intake: Arc<Intake>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    /// What may be let out. Without a log: everything.
    durable: u64,
    shares: Shares,
    /// Complete, and waiting to be durable.
    complete: VecDeque<Complete>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// `None` without a state directory.
    checkpoints: Option<(PieceSender, Arc<Control>)>,
    /// Who entered and exited since the last checkpoint.
    members: MemberChanges,
}

/// Items of which some workers' shares are still to come. All workers send the same items in the same order.
struct Shares {
    /// The items that each worker has sent a share of.
    sent: Vec<usize>,
    /// How many items were completed before the first of `items`.
    completed: usize,
    items: VecDeque<Vec<Share>>,
}

#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
enum Share {
    Epoch(EpochOutput, Instant),
    Members(At, Vec<ProfileId>, Arc<Mailbox>),
    Snapshot(u64),
}

/// What all workers have sent their share of.
enum Complete {
    Epoch(Arc<DeltaBatch>, Instant),
    Members(At, Vec<ProfileId>, Arc<Mailbox>),
    Snapshot(u64),
}

impl Shares {
    fn new(workers: usize) -> Self {
        Self { sent: vec![0; workers], completed: 0, items: VecDeque::new() }
    }

    /// Takes a worker's share in; the shares of an item in the order of the workers once they are all there.
    fn add(&mut self, worker: usize, share: Share) -> Option<Vec<Share>> {
        let place = self.sent[worker] - self.completed;
        self.sent[worker] += 1;
        if place == self.items.len() {
            self.items.push_back(Vec::with_capacity(self.sent.len()));
        }
        self.items[place].push(share);
        if self.items[0].len() < self.sent.len() {
            return None;
        }
        self.completed += 1;
        self.items.pop_front()
    }
}

impl Publisher {
    /// A publisher of an engine whose log is durable up to the epoch `durable`; without a log that is `u64::MAX`.
    pub(crate) fn new(
        receiver: Receiver<ToPublisher>,
        names: Arc<DeltaNames>,
        texts: Arc<Texts>,
        sinks: Vec<Arc<SinkHandle>>,
        workers: usize,
        durable: u64,
        checkpoints: Option<(PieceSender, Arc<Control>)>,
        common: &Common,
    ) -> Self {
        Self {
            receiver,
            names,
            texts,
            sinks,
            intake: Arc::clone(&common.intake),
            progress: Arc::clone(&common.progress),
            metrics: Arc::clone(&common.metrics),
            durable,
            shares: Shares::new(workers),
            complete: VecDeque::new(),
            mailboxes: Vec::new(),
            checkpoints,
            members: MemberChanges::new(),
        }
    }

    /// Works until workers and log have gone, then says to sinks and subscribers that nothing more follows.
    pub(crate) fn run(mut self) {
        while let Ok(message) = self.receiver.recv() {
            match message {
                ToPublisher::Part { worker, output, sealed_at } => {
                    self.add(worker, Share::Epoch(output, sealed_at));
                }
                ToPublisher::Members { worker, at, members, mailbox } => {
                    self.add(worker, Share::Members(at, members, mailbox));
                }
                ToPublisher::Snapshot { worker, epoch } => self.add(worker, Share::Snapshot(epoch)),
                ToPublisher::Durable(epoch) => self.durable = self.durable.max(epoch),
            }
            self.let_out();
        }
    }

    fn add(&mut self, worker: usize, share: Share) {
        let Some(shares) = self.shares.add(worker, share) else { return };
        let (mut outputs, mut members, mut snapshot) = (Vec::new(), None, None);
        for share in shares {
            match share {
                Share::Epoch(output, sealed_at) => outputs.push((output, sealed_at)),
                Share::Members(at, part, mailbox) => {
                    let (_, all, _) = members.get_or_insert_with(|| (at, Vec::new(), mailbox));
                    all.extend(part);
                }
                Share::Snapshot(epoch) => snapshot = Some(epoch),
            }
        }
        if let Some(epoch) = snapshot {
            self.complete.push_back(Complete::Snapshot(epoch));
        }
        if let Some((at, mut members, mailbox)) = members {
            members.sort_unstable();
            self.complete.push_back(Complete::Members(at, members, mailbox));
        }
        if let Some(&(_, sealed_at)) = outputs.first() {
            let batch = self.computed(outputs.into_iter().map(|(output, _)| output).collect());
            self.complete.push_back(Complete::Epoch(Arc::new(batch), sealed_at));
        }
    }

    /// Tells the sequencer first, so that it goes on while the shares are merged here.
    fn computed(&self, mut outputs: Vec<EpochOutput>) -> DeltaBatch {
        let epoch = outputs[0].epoch;
        let next_timer = outputs.iter().filter_map(|output| output.next_timer).min();
        let now = outputs[0].now;
        let buffers = outputs.iter_mut().map(|output| std::mem::take(&mut output.events)).collect();
        self.progress.computed(epoch);
        self.intake.post(Message::Computed(Computed { epoch, next_timer, buffers }));
        let shares: Vec<Changes> = outputs.into_iter().map(|output| output.changes).collect();
        merge((epoch, now), &self.names, &self.texts, &shares)
    }

    fn let_out(&mut self) {
        while let Some(first) = self.complete.front() {
            let epoch = match first {
                Complete::Epoch(batch, _) => batch.epoch(),
                Complete::Members(at, _, _) => at.epoch,
                Complete::Snapshot(epoch) => *epoch,
            };
            #[cfg(feature = "planted-bugs")]
            let is_planted =
                tidewater_storage::planted::active(tidewater_storage::planted::Bug::LetOutBeforeDurable);
            #[cfg(not(feature = "planted-bugs"))]
            let is_planted = false;
            if epoch > self.durable && !is_planted {
                return;
            }
            match self.complete.pop_front() {
                Some(Complete::Epoch(batch, sealed_at)) => self.publish(&batch, sealed_at),
                Some(Complete::Members(at, members, mailbox)) => {
                    mailbox.snapshot(at.epoch, at.now, members);
                    self.mailboxes.push(mailbox);
                }
                Some(Complete::Snapshot(epoch)) => {
                    let changes = std::mem::take(&mut self.members);
                    if let Some((checkpoints, control)) = &self.checkpoints {
                        control.set_changes(0);
                        checkpoints.send(ToCheckpoint::Members { epoch, changes });
                    }
                }
                None => {}
            }
        }
    }

    fn publish(&mut self, batch: &Arc<DeltaBatch>, sealed_at: Instant) {
        #[cfg(feature = "planted-bugs")]
        let is_planted =
            tidewater_operators::planted::active(tidewater_operators::planted::Bug::SinceNotRestored);
        #[cfg(not(feature = "planted-bugs"))]
        let is_planted = false;
        let wanted = |control: &Control| !is_planted && !control.is_lost();
        if let Some((_, control)) = self.checkpoints.as_ref().filter(|(_, control)| wanted(control)) {
            let changes = batch.iter().map(|delta| {
                let since = (delta.change() == Change::Entered).then_some(batch.now());
                ((delta.segment_index() as u32, delta.profile()), since)
            });
            add_members(&mut self.members, changes);
            control.set_changes(self.members.len());
        }
        for sink in &self.sinks {
            sink.publish(batch);
        }
        self.mailboxes.retain(|mailbox| mailbox.epoch(batch, count_of(batch, mailbox.segment())));
        self.metrics.deltas.add(batch.len() as u64);
        self.metrics.epoch_published(sealed_at.elapsed());
        // Last: whoever waits for the epoch finds its deltas in every queue.
        self.progress.published(batch.epoch(), batch.now());
    }
}

impl Drop for Publisher {
    /// Also when it panics: nobody may wait for updates that never come.
    fn drop(&mut self) {
        self.sinks.iter().for_each(|sink| sink.close());
        self.mailboxes.iter().for_each(|mailbox| mailbox.end());
        let waiting = self.complete.drain(..);
        waiting.for_each(|item| {
            if let Complete::Members(_, _, mailbox) = item {
                mailbox.end()
            }
        });
    }
}
