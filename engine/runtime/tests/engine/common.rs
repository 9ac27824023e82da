//! What the tests of the running engine share: a pipeline, events, and sinks and sources that misbehave on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidewater::{
    Change, Delta, DeltaBatch, Engine, Pipeline, ProfileId, Settings, Sink, pipeline::FixedEnvironment,
};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position};
use tokio::sync::Notify;

/// Members after one order, and after three; visitors of the last hour.
pub const PIPELINE: &str = "
workers: 1
identifiers:
  user_id: { from: userId }
  email:   { from: traits.email, normalize: email }
traits:
  orders: { count: Order Completed }
  views:  { count: Page Viewed, window: 1h, resolution: 1ms }
segments:
  buyer:  orders >= 1
  loyal:  orders >= 3
  active: views >= 1
";

pub fn pipeline() -> Pipeline {
    pipeline_of(PIPELINE)
}

pub fn pipeline_of(text: &str) -> Pipeline {
    Pipeline::from_yaml(text, &FixedEnvironment::new()).unwrap()
}

pub fn order(user: &str, message: &str) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"{message}","userId":"{user}"}}"#)
}

pub fn page(user: &str, message: &str) -> String {
    format!(r#"{{"type":"page","messageId":"{message}","userId":"{user}"}}"#)
}

/// Waits until `condition` holds; tests are not timed, so only a hang ends it.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "never happened: {what}");
}

/// `future`, which must resolve.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

pub async fn stop(engine: &Engine) {
    soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
}

/// Settings under which failures are retried at once.
pub fn eager() -> Settings {
    let mut settings = Settings::default();
    (settings.retry.first_ms, settings.retry.longest_ms) = (1, 5);
    settings
}

/// What a [`TestSink`] was given and how it behaves; shared by all sinks made of it.
#[derive(Default)]
pub struct SinkRecord {
    /// The (epoch, segment, profile, change) of every delta that was taken, in order.
    pub deltas: Mutex<Vec<(u64, String, ProfileId, Change)>>,
    /// The last epoch of every call that was answered with Ok.
    pub calls: Mutex<Vec<u64>>,
    /// What `open` was told.
    pub opened: Mutex<Vec<Option<Acknowledged>>>,
    /// The next so many calls fail.
    pub failures: AtomicU64,
    /// Calls do not return until this is false.
    pub stuck: AtomicBool,
    /// A call waits for that.
    pub held: AtomicBool,
    pub released: Notify,
    pub refuse: AtomicBool,
    /// The next so many calls are refused.
    pub refusals: AtomicU64,
    /// A call with a delta of one of these users fails so, and nothing of it is taken.
    pub poison: Mutex<BTreeMap<String, DeliveryError>>,
    /// The epoch of every delta that was taken, its place there and its reason, in order.
    pub places: Mutex<Vec<(u64, usize, String)>>,
    pub panic: AtomicBool,
    pub attempts: AtomicU64,
    /// How many epochs it wants in one call; 0: as many as others.
    pub max_batches: AtomicUsize,
}

impl SinkRecord {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn release(&self) {
        self.stuck.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    /// Calls with a delta of this user fail so.
    pub fn poison(&self, user: &str, error: DeliveryError) {
        self.poison.lock().unwrap().insert(user.to_owned(), error);
    }

    fn is_poison(&self, delta: &Delta<'_>) -> Option<DeliveryError> {
        let poison = self.poison.lock().unwrap();
        delta.identifiers().find_map(|(_, value)| poison.get(value).cloned())
    }

    pub fn epochs(&self) -> Vec<u64> {
        self.deltas.lock().unwrap().iter().map(|delta| delta.0).collect()
    }

    /// The members that the deltas add up to; every one must have entered before it exits, and be out to enter.
    pub fn members(&self, segment: &str) -> BTreeSet<ProfileId> {
        let mut members = BTreeSet::new();
        for (epoch, of, profile, change) in
            self.deltas.lock().unwrap().iter().filter(|delta| delta.1 == segment)
        {
            let fits = match change {
                Change::Entered => members.insert(*profile),
                Change::Exited => members.remove(profile),
            };
            assert!(fits, "{profile} {change:?} {of} in epoch {epoch} out of turn");
        }
        members
    }
}

pub struct TestSink(pub Arc<SinkRecord>);

impl Sink for TestSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.0.opened.lock().unwrap().push(acknowledged.cloned());
        Ok(acknowledged.map_or_else(Position::default, |acknowledged| acknowledged.position.clone()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let record = &self.0;
        record.attempts.fetch_add(1, Ordering::SeqCst);
        assert!(batches.len() <= self.max_batches(), "{} epochs in one call", batches.len());
        assert!(!record.panic.load(Ordering::SeqCst), "the sink was told to panic");
        while record.stuck.load(Ordering::SeqCst) {
            let released = record.released.notified();
            if record.stuck.load(Ordering::SeqCst) {
                record.held.store(true, Ordering::SeqCst);
                released.await;
            }
        }
        record.held.store(false, Ordering::SeqCst);
        if record.refuse.load(Ordering::SeqCst) {
            return Err(DeliveryError::refused("not of my taste"));
        }
        let is_one_of = |calls: &AtomicU64| {
            calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        };
        if is_one_of(&record.refusals) {
            return Err(DeliveryError::refused("401: a wrong token"));
        }
        if is_one_of(&record.failures) {
            return Err(DeliveryError::not_applied("out of order"));
        }
        if let Some(error) = batches.iter().flat_map(|b| b.iter()).find_map(|delta| record.is_poison(&delta))
        {
            return Err(error);
        }
        let mut deltas = record.deltas.lock().unwrap();
        let mut places = record.places.lock().unwrap();
        for batch in batches {
            let place = |(place, delta): (usize, Delta<'_>)| {
                (batch.epoch(), batch.offset() + place, delta.reason().to_owned())
            };
            places.extend(batch.iter().enumerate().map(place));
            assert!(!batch.is_empty(), "epoch {} was delivered without a delta", batch.epoch());
            for delta in batch.iter() {
                deltas.push((batch.epoch(), delta.segment().to_owned(), delta.profile(), delta.change()));
            }
        }
        let last = batches.last().unwrap().epoch();
        record.calls.lock().unwrap().push(last);
        Ok(Position(last.to_be_bytes().to_vec()))
    }

    fn max_batches(&self) -> usize {
        match self.0.max_batches.load(Ordering::SeqCst) {
            0 => 64,
            most => most,
        }
    }
}
