//! Point reads of profiles and memberships, each as of the end of one published epoch.

use std::{
    future::IntoFuture,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use tidewater_model::{Profile, ProfileId, Timestamp};
use tidewater_operators::{
    dataflow::{Location, WorkerDataflow, WorkerStats},
    worker_of,
};
use tokio::sync::mpsc;

use crate::{
    engine::Shared,
    error::Error,
    sequencer::message::{At, Job, Message, Question},
};

/// A boxed query on its way.
type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A profile asked for by one of its identifiers; await it.
#[must_use = "a query does nothing until it is awaited"]
pub struct ProfileQuery {
    shared: Arc<Shared>,
    hash: Result<Option<u128>, Error>,
    epoch: u64,
}

impl ProfileQuery {
    pub(crate) fn new(shared: Arc<Shared>, identifier: &str, value: &str) -> Self {
        let names = shared.names.identifiers();
        let hash = match names.iter().position(|name| name == identifier) {
            Some(index) => Ok(shared.plan.hash_as_received(index, value)),
            None => Err(Error::unknown("identifier", identifier, names.iter().map(String::as_str))),
        };
        Self { shared, hash, epoch: 0 }
    }

    /// Waits until this epoch has been published, as the acknowledgement of an event names it.
    pub fn at_least(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }
}

impl IntoFuture for ProfileQuery {
    type Output = Result<Option<Profile>, Error>;
    type IntoFuture = Answer<Option<Profile>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(hash) = self.hash? else { return Ok(None) };
            self.shared.until_published(self.epoch).await?;
            find_profile(&self.shared, hash).await
        })
    }
}

/// Asks the worker of the identifier where its profile is, then the worker that has it.
async fn find_profile(shared: &Shared, hash: u128) -> Result<Option<Profile>, Error> {
    let home = worker_of(hash, shared.workers);
    let mut before = None;
    loop {
        // Where both are the same worker, as always with one, a single question answers.
        let here = shared.ask(home, move |state| {
            state
                .locate(hash)
                .map(|place| (place, (place.worker == home).then(|| state.profile(place, hash))))
        });
        let (located, mut at) = here.await?;
        let (found, place): (Option<Profile>, Location) = match located {
            None => return Ok(None),
            Some((place, Some(found))) => (found, place),
            Some((place, None)) => {
                let there = shared.ask(place.worker, move |state| state.profile(place, hash));
                let (found, later) = there.await?;
                at = later;
                (found, place)
            }
        };
        // Nothing found twice at the same place: the cluster has no profile. Otherwise it moved in between.
        if found.is_some() || place.worker == home || before == Some(place) {
            shared.until_published(at.epoch).await?;
            return Ok(found);
        }
        before = Some(place);
    }
}

/// The members of a segment; await it.
#[must_use = "a query does nothing until it is awaited"]
pub struct MembershipsQuery {
    shared: Arc<Shared>,
    segment: Result<usize, Error>,
    epoch: u64,
}

/// The members of a segment at the end of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memberships {
    /// The epoch.
    pub epoch: u64,
    /// Its `now`.
    pub now: Timestamp,
    /// The members, sorted.
    pub members: Vec<ProfileId>,
}

impl MembershipsQuery {
    pub(crate) fn new(shared: Arc<Shared>, segment: &str) -> Self {
        let segment = shared.segment(segment);
        Self { shared, segment, epoch: 0 }
    }

    /// Waits until this epoch has been published, as the acknowledgement of an event names it.
    pub fn at_least(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }
}

impl IntoFuture for MembershipsQuery {
    type Output = Result<Memberships, Error>;
    type IntoFuture = Answer<Memberships>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let segment = self.segment?;
            self.shared.until_published(self.epoch).await?;
            let (parts, at) = self.shared.ask_all(move |state| state.members(segment)).await?;
            self.shared.until_published(at.epoch).await?;
            let mut members: Vec<ProfileId> = parts.into_iter().flatten().collect();
            members.sort_unstable();
            Ok(Memberships { epoch: at.epoch, now: at.now, members })
        })
    }
}

impl Shared {
    /// Asks one worker between two epochs; the answer says which was the last one.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut WorkerDataflow) -> T + Send + 'static,
    ) -> Result<(T, At), Error> {
        let (sender, mut receiver) = mpsc::channel(1);
        let job: Job = Box::new(move |state, at| {
            // The one who asked may have gone.
            let _ = sender.try_send((question(state), at));
        });
        self.post_question(Question { jobs: vec![(worker, job)] })?;
        match self.lifecycle.or_ended(receiver.recv()).await? {
            Some(answer) => Ok(answer),
            None => Err(self.lifecycle.why_lost().await),
        }
    }

    /// Asks all workers between the same two epochs; answers in the order of the workers.
    pub(crate) async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut WorkerDataflow) -> T + Send + Sync + 'static,
    ) -> Result<(Vec<T>, At), Error> {
        let question = Arc::new(question);
        let (sender, mut receiver) = mpsc::channel(self.workers);
        let jobs = (0..self.workers).map(|worker| {
            let (question, sender) = (Arc::clone(&question), sender.clone());
            let job: Job = Box::new(move |state, at| {
                let _ = sender.try_send((worker, question(state), at));
            });
            (worker, job)
        });
        self.post_question(Question { jobs: jobs.collect() })?;
        drop(sender);
        let mut answers: Vec<Option<T>> = (0..self.workers).map(|_| None).collect();
        let mut last = At::default();
        for _ in 0..self.workers {
            let Some((worker, answer, at)) = self.lifecycle.or_ended(receiver.recv()).await? else {
                return Err(self.lifecycle.why_lost().await);
            };
            answers[worker] = Some(answer);
            last = at;
        }
        Ok((answers.into_iter().flatten().collect(), last))
    }

    fn post_question(&self, question: Question) -> Result<(), Error> {
        if self.intake.post(Message::Ask(question)) {
            Ok(())
        } else {
            Err(self.lifecycle.ended().unwrap_or(Error::Closed))
        }
    }

    /// Waits until `epoch` has been published.
    pub(crate) async fn until_published(&self, epoch: u64) -> Result<(), Error> {
        self.lifecycle.or_ended(self.progress.until_published(epoch)).await
    }

    /// The workers' statistics, added up.
    pub(crate) async fn stats(&self) -> Result<WorkerStats, Error> {
        let (parts, _) = self.ask_all(|state| state.stats()).await?;
        let mut stats = add_stats(parts);
        stats.bytes.push(("dedup", self.acceptance.dedup.load(Ordering::Relaxed)));
        stats.bytes.push(("aliases", self.acceptance.aliases.load(Ordering::Relaxed)));
        Ok(stats)
    }
}

/// Adds up the statistics of all workers.
pub(crate) fn add_stats(parts: impl IntoIterator<Item = WorkerStats>) -> WorkerStats {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        sum.identifiers += part.identifiers;
        sum.profiles += part.profiles;
        sum.merges += part.merges;
        sum.members.iter_mut().zip(&part.members).for_each(|(sum, members)| *sum += members);
        for (name, bytes) in part.bytes {
            match sum.bytes.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += bytes,
                None => sum.bytes.push((name, bytes)),
            }
        }
    }
    sum
}
