//! `tidewater demo`: a made-up shop's clickstream through a whole pipeline in this process, and what comes out as it
//! happens. Nothing is read, installed or kept.

mod feed;
mod meter;
mod picture;
mod sampler;
mod summary;
mod text;
mod view;

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use tidewater::{Engine, Pipeline, pipeline::FixedEnvironment};
use tidewater_model::Millis;

use self::{feed::Control, meter::Meter, picture::Picture};
use crate::{
    exit::{Exit, Failure},
    shop::{Shop, ShopOptions},
};

/// What `demo` can be told.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop after this many events [default: on a terminal never, else 100000].
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Events a second; 0 is as many as possible [default: 10000, with --quiet 0].
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// Another seed, another shop.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Worker threads [default: one less than there are cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// Show nothing but a short summary at the end.
    #[arg(long)]
    pub quiet: bool,
}

/// The pipeline that the demo runs.
pub const PIPELINE: &str = include_str!("pipeline.yaml");
/// How many people visit the shop.
const PEOPLE: u32 = 20_000;
/// Of the shop's time, from one event to the next.
const STEP: Millis = Millis(5_000);
/// How many events there are for those who have no terminal to stop it.
const EVENTS_WITHOUT_TERMINAL: u64 = 100_000;
/// As many as nobody waits for, few enough that the shop's clock stays in range.
const ENDLESS: u64 = 10_000_000_000;

/// Runs the demo.
///
/// # Errors
/// If the engine fails or the results can't be shown.
pub fn demo(args: DemoArgs) -> Result<Exit, Failure> {
    let is_live = !args.quiet && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let events = args.events.unwrap_or(if is_live { ENDLESS } else { EVENTS_WITHOUT_TERMINAL });
    let rate = args.rate.unwrap_or(if args.quiet { 0 } else { 10_000 });
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?;
    let runtime = super::tokio_runtime()?;

    let meter = Arc::new(Meter::new(pipeline.spec().segments.len()));
    let engine = runtime.block_on(async {
        let mut builder = Engine::builder(&pipeline).in_memory().sink("view", meter.sink());
        if let Some(workers) = args.workers {
            builder = builder.workers(usize::from(workers));
        }
        builder.start().await
    })?;
    let control = Arc::new(Control::new(rate));
    let shop = Shop::new(ShopOptions {
        events,
        profiles: PEOPLE,
        seed: args.seed,
        span: Millis(STEP.0.saturating_mul(i64::try_from(events).unwrap_or(i64::MAX))),
        ..ShopOptions::default()
    });

    let picture = Arc::new(Picture::new(&pipeline, args.seed));
    let started = Instant::now();
    let feeding = runtime.spawn(feed::feed(engine.clone(), shop, Arc::clone(&control), Arc::clone(&meter)));
    let sampling = runtime.spawn(sampler::sample(
        engine.clone(),
        Arc::clone(&meter),
        Arc::clone(&picture),
        Arc::clone(&control),
    ));
    let shown = if is_live {
        view::show(&picture, &control)
    } else if args.quiet {
        Ok(())
    } else {
        text::show(&picture, &control)
    };
    if is_live || shown.is_err() {
        control.stop();
    }
    let ended = runtime.block_on(async {
        let fed = feeding
            .await
            .map_err(|error| Failure::new(Exit::Internal, format!("the demo failed: {error}")))?;
        fed?;
        let flushed = engine.flush().await?;
        let seconds = started.elapsed().saturating_sub(control.paused()).as_secs_f64();
        sampling.abort();
        let stats = engine.stats().await?;
        let status = engine.status();
        engine.shutdown(Duration::from_secs(10)).await?;
        Ok::<_, Failure>(summary::summary(&pipeline, &status, &stats, flushed.epoch, seconds, &meter))
    });
    shown?;
    summary::print(&ended?)?;
    Ok(Exit::Fine)
}
