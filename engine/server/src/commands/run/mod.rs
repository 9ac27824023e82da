//! `tidewater run`: a pipeline from its sources' first event to the last delta its sinks have taken.
//!
//! Whatever ends it (its sources, a signal, a failure), the engine is drained within the deadline, and what is left
//! undone is said and is in the exit code.

mod admin;
mod drain;
mod memory;
mod progress;
mod signals;

use std::{path::PathBuf, time::Duration};

use tidewater::{Engine, Pipeline, Settings, ShutdownReport, SourceState};
use tidewater_model::Millis;

use self::{admin::Admin, memory::MemoryLimit, signals::Signals};
use crate::{
    exit::{Exit, Failure},
    log_store, registry,
    terminal::Bars,
};

/// What `run` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The pipeline file.
    #[arg(default_value = super::DEFAULT_FILE)]
    pub file: PathBuf,
    /// Run a changed file on an existing state although not everything there can be kept: it is computed again from the log.
    #[arg(long)]
    pub rebuild: bool,
    /// How long the engine may take to stop.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::generate::parse_span)]
    pub shutdown_deadline: Millis,
    /// How often a checkpoint is made, at least: a restart replays what came after the last one [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = super::generate::parse_span)]
    pub checkpoint_every: Option<Millis>,
    /// How long events are kept in the log, at least: older files are removed as far as nothing needs them, and what needs
    /// all events is refused from then on [default: for ever].
    #[arg(long, value_name = "DURATION", value_parser = super::generate::parse_span)]
    pub log_keep: Option<Millis>,
    /// How large the log may get on disk: beyond that the oldest files are removed as with `--log-keep`; a size such as
    /// `10GiB` [default: no limit].
    #[arg(long, value_name = "SIZE")]
    pub log_keep_bytes: Option<MemoryLimit>,
    /// How large a file of the log gets before the next one begins: so much is compressed, moved and removed at a time
    /// [default: 256MiB].
    #[arg(long, value_name = "SIZE", value_parser = memory::parse_size)]
    pub log_file_bytes: Option<u64>,
    /// How large the quarantine may get: beyond that refused events are counted and not kept, until some are redriven or
    /// dropped [default: 1GiB].
    #[arg(long, value_name = "SIZE", value_parser = memory::parse_size)]
    pub quarantine_bytes: Option<u64>,
    /// Keep full files of the log there instead of in the state directory, which remembers it for good: `s3://BUCKET/PREFIX`, with
    /// keys, region and endpoint from the environment (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT`, …).
    /// `checkpoint --to` copies no such directory.
    #[arg(long, value_name = "URL")]
    pub log_store: Option<String>,
    /// Take no new events above this much memory: a size such as `2GiB`, or `none` [default: 80 % of what this process
    /// may use].
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<MemoryLimit>,
}

impl RunArgs {
    /// Options that are about a log, checkpoints and a quarantine on disk, where there are none.
    fn check_state(&self, pipeline: &Pipeline) -> Result<(), Failure> {
        let options = [
            ("--rebuild", self.rebuild),
            ("--checkpoint-every", self.checkpoint_every.is_some()),
            ("--log-keep", self.log_keep.is_some()),
            ("--log-keep-bytes", self.log_keep_bytes.is_some()),
            ("--log-file-bytes", self.log_file_bytes.is_some()),
            ("--quarantine-bytes", self.quarantine_bytes.is_some()),
            ("--log-store", self.log_store.is_some()),
        ];
        let given = options.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name);
        let given: Vec<&str> = given.collect();
        if given.is_empty() || pipeline.state().is_some() {
            return Ok(());
        }
        let given = given.join(", ");
        let message = format!(
            "the pipeline has no `state`, so no log, checkpoint or quarantine is kept that could need {given}"
        );
        Err(Failure::new(Exit::Config, message))
    }
}

/// Runs a pipeline.
///
/// # Errors
/// Why it can't start, or what was left undone when it ended.
pub fn run(args: RunArgs, bars: &Bars) -> Result<Exit, Failure> {
    let pipeline = super::load(&args.file)?;
    args.check_state(&pipeline)?;
    let runtime = super::tokio_runtime()?;
    let result = runtime.block_on(run_pipeline(&args, &pipeline, bars));
    // Whatever still blocks a thread has been reported as left undone, or is a start that was interrupted.
    runtime.shutdown_background();
    result
}

async fn run_pipeline(args: &RunArgs, pipeline: &Pipeline, bars: &Bars) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let admin = Admin::open(pipeline).await?;
    let engine = tokio::select! {
        engine = start_beside(args, pipeline) => engine?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it had started: there is nothing to drain");
            return Ok(Exit::Fine);
        }
    };
    admin.tell_of(&engine);
    #[cfg(unix)]
    let control = pipeline.state().and_then(|state| crate::control::server::serve(state, &engine));
    let watching = tokio::spawn(progress::show(engine.clone(), bars.clone()));
    let deadline = Duration::from_millis(args.shutdown_deadline.0.unsigned_abs());

    let end = tokio::select! {
        end = until_ended(&engine) => end,
        signal = signals.next() => {
            tracing::info!(signal, deadline = %args.shutdown_deadline, "stopping");
            End::Signal
        }
    };
    if matches!(end, End::Sources) {
        tokio::select! {
            () = drain::drain(&engine, deadline) => {}
            signal = signals.next() => {
                tracing::info!(signal, deadline = %args.shutdown_deadline, "no longer waiting for sinks");
            }
        }
    }
    // Before the engine lets go of the directory, and another one may open a socket there.
    #[cfg(unix)]
    drop(control);
    let stopped = {
        let shutdown = engine.shutdown(deadline);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                stopped = &mut shutdown => break stopped,
                signal = signals.next() => {
                    if signals.count() > 1 {
                        tracing::warn!(signal, "stopping at once");
                        std::process::exit(signals::exit_code(signal));
                    }
                    tracing::info!(signal, "already stopping; a second signal stops at once");
                }
            }
        }
    };
    watching.abort();
    finish(&engine, &stopped?)
}

/// Starts the engine on a thread of its own: a start may read all of the log, and must hold up neither signals nor the admin
/// listener. One that is not waited for to its end goes on until the process ends, which harms no state directory.
async fn start_beside(args: &RunArgs, pipeline: &Pipeline) -> Result<Engine, Failure> {
    let (args, pipeline) = (args.clone(), pipeline.clone());
    let runtime = tokio::runtime::Handle::current();
    let started = tokio::task::spawn_blocking(move || runtime.block_on(start(&args, &pipeline)));
    started.await.map_err(|_| Failure::new(Exit::Internal, "starting the engine panicked"))?
}

async fn start(args: &RunArgs, pipeline: &Pipeline) -> Result<Engine, Failure> {
    let (sources, sinks) = registry::connectors(pipeline).await?;
    if sources.is_empty() {
        tracing::warn!("the pipeline has no sources: it replays its log, delivers what is left, and ends");
    }
    if pipeline.state().is_none() {
        tracing::warn!("the pipeline has no `state`: everything is lost when it ends");
    }
    let memory_limit_bytes = memory::limit(args.memory_limit);
    // Each source has a limit of its own, which is what counts.
    let max_event_bytes = tidewater_connectors::LARGEST_EVENT;
    let usual = Settings::default();
    let settings = Settings {
        memory_limit_bytes,
        max_event_bytes,
        checkpoint_every_ms: args
            .checkpoint_every
            .map_or(usual.checkpoint_every_ms, |every| every.0.unsigned_abs()),
        log_keep_ms: args.log_keep.map(|keep| keep.0.unsigned_abs()),
        log_keep_bytes: args.log_keep_bytes.and_then(MemoryLimit::bytes),
        log_file_bytes: args.log_file_bytes.unwrap_or(usual.log_file_bytes),
        quarantine_bytes: args.quarantine_bytes.unwrap_or(usual.quarantine_bytes),
        ..usual
    };
    let mut builder = Engine::builder(pipeline).settings(settings).rebuild(args.rebuild);
    for (name, source) in sources {
        builder = builder.source(name, source);
    }
    for (name, sink) in sinks {
        builder = builder.sink(name, sink);
    }
    if let Some((address, store)) = log_store::of_engine(args.log_store.as_deref(), pipeline.state())? {
        builder = builder.log_store(address, store);
    }
    let engine = builder.start().await?;
    let state = pipeline.state().map(|path| path.display().to_string()).unwrap_or_else(|| "none".to_owned());
    let workers = pipeline.workers();
    tracing::info!(pipeline = pipeline.name(), state, workers, memory_limit_bytes, "engine started");
    Ok(engine)
}

/// Why the engine is to stop.
enum End {
    /// All sources have ended by themselves.
    Sources,
    Signal,
    /// It has failed and stopped by itself.
    Engine,
}

async fn until_ended(engine: &Engine) -> End {
    if engine.ready().await.is_err() {
        return End::Engine;
    }
    let replay = *engine.watch_replay().borrow();
    let checkpoint = engine.status().checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
    tracing::info!(checkpoint, events = replay.events, epochs = replay.epochs, "ready");
    if engine.status().sources.is_empty() {
        return End::Sources;
    }
    match engine.sources_ended().await {
        Ok(_) => End::Sources,
        Err(_) => End::Engine,
    }
}

/// What the process ends with after an orderly stop, whatever asked for it: a source may have failed long before a signal.
fn finish(engine: &Engine, report: &ShutdownReport) -> Result<Exit, Failure> {
    let status = engine.status();
    let quarantined: u64 = status.counts.quarantined.iter().map(|(_, count)| count).sum();
    let lost = status.counts.quarantine_lost;
    if lost > 0 {
        tracing::warn!(lost, "refused events found no room in the quarantine and are not kept");
    }
    tracing::info!(
        epoch = report.epoch,
        events = status.counts.events,
        duplicates = status.counts.duplicates,
        quarantined,
        deltas = status.counts.deltas,
        "stopped"
    );
    let mut undone = Vec::new();
    for source in &status.sources {
        if let SourceState::Failed(reason) = &source.state {
            undone.push(format!("source `{}` failed: {reason}", source.name));
        }
    }
    for name in &report.unfinished_sources {
        undone.push(format!("source `{name}` did not stop in time"));
    }
    for sink in status.sinks.iter().filter(|sink| report.undelivered_sinks.contains(&sink.name)) {
        undone.push(drain::describe(sink));
    }
    match undone.is_empty() {
        true => Ok(Exit::Fine),
        false => Err(Failure::new(Exit::Unavailable, undone.join("\n"))),
    }
}
