//! Crashes at any moment between "applied", "acknowledged", "kept for a checkpoint" and "checkpoint made", on a file system
//! that loses what was not synced: nothing is lost, nothing stands twice in a file, nothing has two names.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, RawEvents, Sink};
use tidewater_model::DeltaBatch;
use tidewater_storage::sim::{Fault, Operation, SimFiles};

use crate::{
    DeadLetterFilter, Engine, Pipeline, Settings, SinkState, SinkStatus, pipeline::FixedEnvironment,
};

const USERS: u32 = 60;

fn is_poison(user: u32) -> bool {
    user % 9 == 4
}

fn pipeline() -> Pipeline {
    let text = "
workers: 1
identifiers: { user_id: { from: userId } }
traits:      { orders: { count: Order Completed } }
segments:    { buyer: orders >= 1 }
";
    Pipeline::from_yaml(text, &FixedEnvironment::new()).unwrap()
}

fn orders(users: std::ops::Range<u32>) -> RawEvents {
    let order = |user| {
        format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{user}","userId":"u{user}"}}"#)
    };
    users.map(order).collect()
}

/// User, epoch and place.
type Line = (u32, u64, usize);

/// What stands at the two destinations: a file that is cut back to what was acknowledged, and a receiver of requests.
#[derive(Clone, Debug, Default)]
struct Standing {
    file: Vec<Line>,
    requests: Vec<Line>,
}

/// A crash: the disk and the destinations at one moment.
struct Moment {
    files: SimFiles,
    standing: Standing,
}

#[derive(Clone)]
struct World {
    files: SimFiles,
    standing: Arc<Mutex<Standing>>,
    moments: Arc<Mutex<Vec<Moment>>>,
    /// Calls, of which some fail.
    calls: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    /// Nothing is refused any more.
    is_cured: Arc<AtomicBool>,
}

impl World {
    fn new(files: SimFiles, standing: Standing) -> Self {
        let standing = Arc::new(Mutex::new(standing));
        Self {
            files,
            standing,
            moments: Arc::default(),
            calls: Arc::default(),
            is_over: Arc::default(),
            is_cured: Arc::default(),
        }
    }

    /// What a power cut leaves behind, at a destination that refuses nothing any more.
    fn cut_power(&self, seed: u64) -> Self {
        self.files.cut_power(seed);
        let world = Self::new(self.files.next_life(), self.standing.lock().unwrap().clone());
        world.is_cured.store(true, Ordering::SeqCst);
        world
    }

    /// Nothing arrives while it is taken.
    fn take_moment(&self) {
        let standing = self.standing.lock().unwrap();
        let moment = Moment { files: self.files.fork(), standing: standing.clone() };
        self.moments.lock().unwrap().push(moment);
    }

    async fn start(&self) -> Engine {
        let mut settings = Settings { sink_memory_bytes: 700, ..Settings::default() };
        (settings.retry.first_ms, settings.retry.longest_ms) = (1, 2);
        let sink = |is_file| Destination { world: self.clone(), is_file, committed: 0 };
        let builder = Engine::builder(&pipeline()).state("state").files(Arc::new(self.files.clone()));
        builder.settings(settings).sink("file", sink(true)).sink("hook", sink(false)).start().await.unwrap()
    }
}

struct Destination {
    world: World,
    is_file: bool,
    committed: usize,
}

impl Destination {
    fn position(&self) -> Position {
        Position((self.committed as u64).to_le_bytes().to_vec())
    }
}

impl Sink for Destination {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        let position = acknowledged.map(|acknowledged| acknowledged.position.as_bytes().try_into().unwrap());
        self.committed = position.map_or(0, |bytes| u64::from_le_bytes(bytes) as usize);
        Ok(self.position())
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let call = self.world.calls.fetch_add(1, Ordering::SeqCst);
        if call % 40 < 12 {
            return Err(DeliveryError::not_applied("it is down"));
        }
        let mut lines = Vec::new();
        for batch in batches {
            for (place, delta) in batch.iter().enumerate() {
                let user: u32 = delta.identifiers().next().unwrap().1[1..].parse().unwrap();
                lines.push((user, batch.epoch(), batch.offset() + place));
            }
        }
        let is_cured = self.world.is_cured.load(Ordering::SeqCst);
        if !is_cured && lines.iter().any(|line| is_poison(line.0)) {
            return Err(DeliveryError::refused("422"));
        }
        self.world.take_moment();
        {
            let mut standing = self.world.standing.lock().unwrap();
            if self.is_file {
                standing.file.truncate(self.committed);
                standing.file.extend(&lines);
                self.committed = standing.file.len();
            } else {
                standing.requests.extend(&lines);
            }
        }
        self.world.take_moment();
        match call % 7 {
            // Applied, and no answer.
            0 if !self.is_file => Err(DeliveryError::maybe_applied("no answer")),
            _ => Ok(self.position()),
        }
    }

    fn max_batches(&self) -> usize {
        3
    }
}

/// Sends everything, with checkpoints on the way, and waits until the sinks have it.
async fn live(world: &World) -> Engine {
    let engine = world.start().await;
    engine.ready().await.unwrap();
    for users in (0..USERS).step_by(5) {
        engine.ingest_batch(orders(users..users + 5)).await.unwrap();
        if users % 15 == 0 {
            engine.checkpoint().await.unwrap();
        }
    }
    delivered(&engine).await;
    engine
}

/// Waits until the sinks have everything, but for those that have failed.
async fn delivered(engine: &Engine) {
    let is_failed = |sink: &SinkStatus| matches!(sink.state, SinkState::Failed(_));
    loop {
        let undelivered = engine.flush().await.unwrap().undelivered_sinks;
        let status = engine.status().sinks;
        if status.iter().all(|sink| is_failed(sink) || !undelivered.contains(&sink.name)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until `condition` holds of the file.
async fn until(engine: &Engine, what: &str, mut condition: impl FnMut(&SinkStatus) -> bool) {
    let waited = async {
        while !condition(&engine.status().sinks[0]) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "never happened: {what}");
}

async fn stop(engine: &Engine) {
    engine.shutdown(Duration::from_secs(60)).await.unwrap();
}

/// The users whose letters the file has.
async fn buried(engine: &Engine) -> Vec<u32> {
    let letters = engine.dead_letters("file").await.unwrap();
    let user = |letter: &crate::DeadLetter| {
        letter.delta().unwrap().identifiers().next().unwrap().1[1..].parse().unwrap()
    };
    letters.iter().map(user).collect()
}

/// One more order, so that the file is written once more; then the users in it and in its letters, sorted.
async fn all_of_the_file(world: &World, engine: &Engine) -> Vec<u32> {
    engine.ingest_batch(orders(USERS..USERS + 1)).await.unwrap();
    delivered(engine).await;
    let mut all: Vec<u32> = world.standing.lock().unwrap().file.iter().map(|line| line.0).collect();
    all.extend(buried(engine).await);
    all.sort_unstable();
    all
}

/// What must hold in the end, whatever has happened.
async fn check(world: &World, engine: &Engine, which: &str) {
    let standing = world.standing.lock().unwrap().clone();
    let fine: BTreeSet<u32> = (0..USERS).filter(|user| !is_poison(*user)).collect();
    let mut users: Vec<u32> = standing.file.iter().map(|line| line.0).collect();
    users.sort_unstable();
    assert_eq!(users, fine.iter().copied().collect::<Vec<_>>(), "once each in the file, {which}");
    let mut names: BTreeMap<u32, BTreeSet<(u64, usize)>> = BTreeMap::new();
    for (user, epoch, place) in standing.requests {
        names.entry(user).or_default().insert((epoch, place));
    }
    assert!(names.values().all(|names| names.len() == 1), "one name each, {which}: {names:?}");
    assert_eq!(names.into_keys().collect::<BTreeSet<_>>(), fine, "{which}");
    for sink in ["file", "hook"] {
        let letters = engine.dead_letters(sink).await.unwrap();
        let dead: BTreeSet<u32> = letters
            .iter()
            .map(|letter| letter.delta().unwrap().identifiers().next().unwrap().1[1..].parse().unwrap())
            .collect();
        assert_eq!(dead, (0..USERS).filter(|user| is_poison(*user)).collect(), "{sink}, {which}");
    }
}

#[test]
fn a_crash_at_any_moment_loses_nothing_and_repeats_nothing_under_another_name() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = World::new(SimFiles::new(), Standing::default());
    // Beside what the sinks do: moments while files are written.
    let beside = {
        let world = world.clone();
        std::thread::spawn(move || {
            while !world.is_over.load(Ordering::SeqCst) {
                world.take_moment();
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    };
    runtime.block_on(async {
        let engine = live(&world).await;
        check(&world, &engine, "without a crash").await;
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    });
    world.is_over.store(true, Ordering::SeqCst);
    beside.join().unwrap();
    let moments = std::mem::take(&mut *world.moments.lock().unwrap());
    let step = (moments.len() / 80).max(1);
    println!("{} moments, every {step}th is tried", moments.len());
    for (seed, moment) in moments.into_iter().enumerate().step_by(step) {
        moment.files.crash(seed as u64);
        let world = World::new(moment.files, moment.standing);
        runtime.block_on(async {
            let engine = tokio::time::timeout(Duration::from_secs(60), live(&world)).await.expect("it hangs");
            check(&world, &engine, &format!("moment {seed}")).await;
            engine.shutdown(Duration::from_secs(60)).await.unwrap();
        });
    }
}

/// The file is cut back at the next start, and the letter must not be gone by then.
#[tokio::test]
async fn a_letter_stays_if_it_can_not_be_recorded_that_its_destination_has_it() {
    // What was written and not synced may stay or go. So many acknowledgements can be recorded: all until the letters are
    // tried again, or a few, and then epochs of which some are letters are delivered once more.
    for (seed, recorded) in (0..4).flat_map(|seed| [usize::MAX, 3, 5].map(|recorded| (seed, recorded))) {
        let world = World::new(SimFiles::new(), Standing::default());
        let left = Arc::new(AtomicUsize::new(recorded));
        let fault = |left: &Arc<AtomicUsize>| {
            let left = Arc::clone(left);
            move |operation, path: &std::path::Path| {
                let is_ack = operation == Operation::Sync && path.ends_with("acks/file.tmp");
                let is_over = is_ack
                    && left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_err();
                is_over.then_some(Fault::Error(std::io::ErrorKind::Other))
            }
        };
        world.files.on_call(Some(Arc::new(fault(&left))));
        let engine = live(&world).await;
        left.store(0, Ordering::SeqCst);
        world.is_cured.store(true, Ordering::SeqCst);
        assert!(engine.retry_dead_letters("file", DeadLetterFilter::All).await.unwrap() > 0);
        let is_over =
            |file: &SinkStatus| matches!(file.state, SinkState::Failed(_)) || file.dead_letters == 0;
        until(&engine, "it has failed", is_over).await;
        stop(&engine).await;
        world.files.on_call(None);
        let world = world.cut_power(seed);
        let engine = world.start().await;
        // Some may have become letters behind the retry.
        engine.retry_dead_letters("file", DeadLetterFilter::All).await.unwrap();
        until(&engine, "no letter is left", |file| file.dead_letters == 0).await;
        let all = all_of_the_file(&world, &engine).await;
        assert_eq!(all, (0..=USERS).collect::<Vec<_>>(), "seed {seed}, {recorded} recorded");
        stop(&engine).await;
    }
}
