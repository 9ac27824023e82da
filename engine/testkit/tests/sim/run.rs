//! One run: lives of an engine that end in every way, then one without faults in which everything comes to its end.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewater::{
    Engine, EngineState, Error, ErrorKind, Pipeline, RetrySettings, Settings,
    pipeline::FixedEnvironment,
    testing::{Turns, take_turns},
};
use tidewater_storage::{StateReader, sim::SimFiles};
use tokio::{task::JoinSet, time::timeout};

use super::{
    Summary,
    disk::DiskFaults,
    events::{self, PIPELINE},
    sinks::{Kind, SimSink},
    sources::{Tape, client},
    time::{SimClock, pump},
    turns::Baton,
    world::World,
};
use tidewater_testkit::random::Random;

/// The state directory on the simulated disk.
pub(super) const STATE: &str = "state";

/// How many lives there are at most before the faults end.
const LIVES: u32 = 7;

/// How long something that must come to an end is waited for, once the faults are over.
const SOON: Duration = Duration::from_secs(600);

/// What a run leaves behind.
pub(super) struct Evidence {
    pub(super) files: SimFiles,
    pub(super) world: World,
    pub(super) tape: Arc<Vec<String>>,
    pub(super) summary: Summary,
}

struct Run {
    random: Random,
    baton: Arc<Baton>,
    clock: Arc<SimClock>,
    faults: Arc<DiskFaults>,
    /// Of the present life.
    files: SimFiles,
    world: Arc<Mutex<World>>,
    tape: Arc<Vec<String>>,
    pipeline: Pipeline,
    settings: Settings,
    summary: Summary,
}

/// How a life ends.
enum End {
    /// The power went, or the process was ended, or a part of the engine failed.
    Abrupt,
    InOrder,
}

/// Randomness of the engine: ids and waits.
struct Drawn(Mutex<Random>);

impl tidewater::Random for Drawn {
    fn next(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bits()
    }
}

/// Runs it all on the calling thread and those that the engine starts, one at a time.
pub(super) fn run(seed: u64) -> Result<Evidence, String> {
    let baton = Baton::new(seed);
    take_turns(Some(Arc::clone(&baton) as Arc<dyn Turns>));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let evidence = runtime.block_on(async {
        tokio::select! {
            biased;
            evidence = Run::new(seed, &baton)?.run() => evidence,
            () = pump(Arc::clone(&baton), seed) => Err("time has ended".to_owned()),
        }
    });
    take_turns(None);
    evidence
}

impl Run {
    fn new(seed: u64, baton: &Arc<Baton>) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new());
        let files = SimFiles::new();
        let events = events::of_clients(&mut random, 60);
        let tape = events::of_the_tape(&mut random, 120);
        let settings = Settings {
            max_epoch_events: 1 + random.below(12) as usize,
            queued_epochs: 1 + random.below(4) as usize,
            log_queue_epochs: 1 + random.below(8) as usize,
            sample_every_ms: 3_600_000,
            checkpoint_every_ms: if random.chance(0.5) { 1 + random.below(3_000) } else { 3_600_000 },
            checkpoint_log_bytes: if random.chance(0.5) { 1 + random.below(3_000) } else { u64::MAX },
            retry: RetrySettings { first_ms: 50, longest_ms: 2_000 },
            sink_memory_bytes: if random.chance(0.5) { 600 } else { 1 << 20 },
            sink_spill_bytes: if random.chance(0.2) { 2_000 } else { 1 << 20 },
            flush_deadline_ms: 600_000,
            ..Settings::default()
        };
        Ok(Self {
            baton: Arc::clone(baton),
            clock: SimClock::new(Arc::clone(baton)),
            faults: DiskFaults::new(&files, baton, seed),
            files,
            world: Arc::new(Mutex::new(World::new(events, seed))),
            tape: Arc::new(tape),
            pipeline: pipeline.map_err(|errors| errors.to_string())?,
            settings,
            summary: Summary { seed, ..Summary::default() },
            random,
        })
    }

    async fn run(mut self) -> Result<Evidence, String> {
        let share = *self.random.pick(&[0.0, 0.002, 0.01]);
        let lives = 1 + self.random.below(LIVES.into()) as u32;
        // A sink that is new is given the members there are, instead of every delta: all are known before anything happens.
        let engine = self.start().await?;
        timeout(SOON, engine.flush())
            .await
            .map_err(|_| "nothing does not come to an end".to_owned())?
            .map_err(|error| error.to_string())?;
        self.end_life(engine, End::InOrder).await?;
        for _ in 0..lives {
            self.faults.allow(share);
            let engine = self.start().await?;
            let end = self.live(&engine).await;
            self.end_life(engine, end).await?;
        }
        // Now everything works, and everything must come to its end.
        self.faults.allow(0.0);
        self.world().is_healed = true;
        // A queue with no room to speak of is a fault of whoever has set it up.
        self.settings.sink_spill_bytes = 1 << 20;
        let engine = self.start().await?;
        self.converge(&engine).await?;
        self.end_life(engine, End::InOrder).await?;
        self.files.on_call(None);
        self.summary.trace = self.baton.trace();
        self.summary.virtual_ms = self.baton.elapsed().as_millis() as u64;
        self.summary.disk = self.faults.counts();
        let Self { world, files, tape, summary, .. } = self;
        let world = Arc::into_inner(world).ok_or("something still holds the world")?;
        Ok(Evidence {
            files,
            world: world.into_inner().unwrap_or_else(PoisonError::into_inner),
            tape,
            summary,
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an engine, as often as it takes: a fault may hit the start.
    async fn start(&mut self) -> Result<Engine, String> {
        for _ in 0..100 {
            match self.try_start().await {
                Ok(engine) => return Ok(engine),
                Err(error) if error.kind() == ErrorKind::Storage && !is_damage(&error) => {
                    self.summary.failed_starts += 1;
                    self.next_life().await?;
                }
                Err(error) => return Err(format!("it does not start: {error}")),
            }
        }
        Err("it does not start, as often as it is tried".to_owned())
    }

    async fn try_start(&mut self) -> Result<Engine, Error> {
        self.clock.forget_watchers();
        let (world, files) = (&self.world, &self.files);
        let tape = Tape {
            events: Arc::clone(&self.tape),
            world: Arc::clone(world),
            files: files.clone(),
            random: Random::new(self.random.bits()),
            most: self.settings.max_epoch_events as u64,
        };
        let workers = if self.random.chance(0.3) { 2 } else { 1 };
        let drawn = Drawn(Mutex::new(Random::new(self.random.bits())));
        let sink = |name, kind| SimSink::new(name, kind, world, files);
        self.summary.lives += 1;
        Engine::builder(&self.pipeline)
            .settings(self.settings.clone())
            .clock(Arc::clone(&self.clock) as _)
            .random(Arc::new(drawn))
            .workers(workers)
            .files(Arc::new(files.clone()))
            .state(STATE)
            .source("tape", tape)
            .sink("file", sink("file", Kind::CutBack))
            .sink("hook", sink("hook", Kind::Remembers))
            .sink("slow", sink("slow", Kind::Slow))
            .start()
            .await
    }

    /// What happens in a life.
    async fn live(&mut self, engine: &Engine) -> End {
        let mut clients = JoinSet::new();
        for _ in 0..3 {
            let (world, files) = (Arc::clone(&self.world), self.files.clone());
            clients.spawn(client(engine.clone(), world, files, Random::new(self.random.bits())));
        }
        let end = loop {
            tokio::time::sleep(Duration::from_millis(self.random.below(600))).await;
            if self.files.is_over() {
                break End::Abrupt;
            }
            if let EngineState::Failed(reason) = engine.state() {
                self.says_so(engine, &reason).await;
                break End::Abrupt;
            }
            match self.random.below(40) {
                0..=9 => {
                    let engine = engine.clone();
                    clients.spawn(async move { _ = engine.checkpoint().await });
                }
                10..=12 => self.clock.jump(-5_000),
                13 => self.clock.jump(3_600_000),
                14 => self.clock.jump(-3_600_000),
                15..=17 => _ = timeout(Duration::from_secs(1), engine.seal()).await,
                18..=19 => _ = timeout(Duration::from_secs(5), engine.flush()).await,
                20..=21 => self.files.set_capacity(Some(0)),
                22..=25 => self.files.set_capacity(None),
                26..=27 => self.faults.cut_power_soon(),
                28 => {
                    self.files.cut_power(self.random.bits());
                    break End::Abrupt;
                }
                29 => {
                    self.files.end_process();
                    break End::Abrupt;
                }
                30 => break End::InOrder,
                _ => {}
            }
        };
        self.files.set_capacity(None);
        clients.shutdown().await;
        end
    }

    /// An engine that has failed says why, and takes nothing any more.
    async fn says_so(&self, engine: &Engine, reason: &str) {
        let answer = engine.ingest(r#"{"type":"page","userId":"u1","messageId":"late"}"#).await;
        if reason.is_empty() || !matches!(answer, Err(Error::Failed { .. })) && !self.files.is_over() {
            self.world().wrong(format!("an engine that failed ({reason:?}) answers {answer:?}"));
        }
    }

    /// Everything is sent, answered and delivered; then time passes for whatever waits for it alone.
    async fn converge(&mut self, engine: &Engine) -> Result<(), String> {
        let soon = |what: &'static str| move |_| format!("it does not come to an end: {what}");
        timeout(SOON, engine.ready())
            .await
            .map_err(soon("the replay"))?
            .map_err(|error| error.to_string())?;
        let (world, files) = (Arc::clone(&self.world), self.files.clone());
        let clients = client(engine.clone(), world, files, Random::new(self.random.bits()));
        timeout(SOON, clients).await.map_err(soon("clients"))?;
        if !self.world().is_answered() {
            return Err(format!("clients are not answered: {:?}", engine.state()));
        }
        let ended = timeout(SOON, engine.sources_ended()).await.map_err(soon("the tape"))?;
        ended.map_err(|error| error.to_string())?;
        self.clock.jump(3_600_000);
        timeout(SOON, engine.seal()).await.map_err(soon("sealing"))?.map_err(|error| error.to_string())?;
        let flushed = timeout(SOON, engine.flush()).await.map_err(soon("delivery"))?;
        let flushed = flushed.map_err(|error| error.to_string())?;
        if !flushed.undelivered_sinks.is_empty() {
            return Err(format!("not everything is delivered to {:?}", flushed.undelivered_sinks));
        }
        Ok(())
    }

    /// Ends an engine and whatever is left of it, and begins the next life.
    async fn end_life(&mut self, engine: Engine, end: End) -> Result<(), String> {
        if matches!(end, End::Abrupt) {
            if !self.files.is_over() {
                // A part of it failed; somebody restarts the process.
                self.summary.failed_lives += 1;
            }
            self.summary.abrupt_ends += 1;
        }
        let was_over = self.files.is_over();
        let deadline = if self.world().is_healed { SOON } else { Duration::from_secs(3) };
        let ended = engine.shutdown(deadline).await;
        let log_failed = self.faults.end_life();
        if log_failed && !was_over && ended.is_ok() {
            return Err("an fsync of the log failed, and the engine went on".to_owned());
        }
        if self.world().is_healed {
            ended.map_err(|error| format!("the last stop: {error}"))?;
        }
        drop(engine);
        self.next_life().await
    }

    async fn next_life(&mut self) -> Result<(), String> {
        let broken = self.files.broken_rules();
        if let Some(broken) = broken.first() {
            return Err(broken.clone());
        }
        if !self.files.is_over() {
            self.files.end_process();
        }
        self.faults.end_life();
        let alone = async {
            while !self.baton.is_alone() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, alone).await.map_err(|_| "a thread of an engine does not end".to_owned())?;
        self.files = self.files.next_life();
        self.checkpoints_are_whole()
    }

    /// What a manifest names was durable before the manifest was, so no crash can have taken any of it.
    fn checkpoints_are_whole(&self) -> Result<(), String> {
        let disk: Arc<dyn tidewater_storage::Files> = Arc::new(self.files.fork());
        // A machine that went off while the directory was made.
        let Ok(reader) = StateReader::open_with(disk, STATE) else { return Ok(()) };
        for manifest in reader.checkpoints().map_err(|error| error.to_string())? {
            let manifest = manifest.map_err(|error| error.to_string())?;
            for file in &manifest.files {
                let checked = reader.state_file(file).and_then(tidewater_storage::StateFileReader::check);
                checked.map_err(|error| format!("checkpoint of epoch {}: {error}", manifest.epoch))?;
            }
        }
        Ok(())
    }
}

/// The simulated disk loses nothing that was synced, so there must be no damage.
fn is_damage(error: &Error) -> bool {
    let Error::Storage(error) = error else { return false };
    matches!(**error, tidewater_storage::StorageError::Damaged { .. })
}

/// The state directory as a path.
pub(super) fn state() -> &'static Path {
    Path::new(STATE)
}
