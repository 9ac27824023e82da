//! `tidewater redrive`: refused events once more, after whatever made them unusable has been put right in the pipeline.
//!
//! An engine that runs is asked to; without one they are accepted into the log here, and the sinks get what follows from
//! them at the next `run`. Or they are dropped.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use tidewater::{Engine, Pipeline, QuarantineFilter, RejectReason, Settings, offline};
use tidewater_model::suggest;
use tidewater_storage::{NewState, StateDir, StateReader};

use crate::{
    control::{Fed, Refused, Request, client::ask, unanswered},
    exit::{Exit, Failure},
    log_store,
    output::print,
    terminal::Bars,
};

/// What `redrive` can be told.
#[derive(Debug, clap::Args)]
pub struct RedriveArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// Only events that were refused for this reason.
    #[arg(long, value_name = "REASON", value_parser = parse_reason, conflicts_with = "id")]
    pub reason: Option<RejectReason>,
    /// Only the event with this number; may stand more than once.
    #[arg(long, value_name = "N")]
    pub id: Vec<u64>,
    /// Drop them for good instead: all, or those that are chosen.
    #[arg(long)]
    pub drop: bool,
}

/// How long the engine may take to stop; it has only local work to finish.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(300);

/// How long an engine that runs may take: it computes them beside all that comes in.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Feeds refused events again, or drops them.
///
/// # Errors
/// If an engine runs on the directory that does not answer, or it can't be read or written.
pub fn redrive(args: RedriveArgs, bars: &Bars) -> Result<Exit, Failure> {
    let refused = Refused {
        reason: args.reason.map(|reason| reason.name().to_owned()),
        ids: (!args.id.is_empty()).then(|| args.id.iter().copied().collect()),
    };
    // Without a lock first: a directory that is none must not be made.
    let reader = StateReader::open(&args.state)?;
    let missing = missing_ids(&reader, &args.id)?;
    let text = match args.drop {
        true => drop_for_good(&args, refused)?,
        false => feed_again(&args, &reader, refused, bars)?,
    };
    print(text)?;
    match missing.is_empty() {
        true => Ok(Exit::Fine),
        false => {
            let ids: Vec<String> = missing.iter().map(u64::to_string).collect();
            Err(Failure::new(Exit::Differences, format!("not in quarantine: {}", ids.join(", "))))
        }
    }
}

/// Drops them; what is to be said of it.
fn drop_for_good(args: &RedriveArgs, refused: Refused) -> Result<String, Failure> {
    let filter = refused.filter();
    let count: u64 = match ask(&args.state, &Request::DropQuarantined(refused), PATIENCE)? {
        Some(count) => count,
        None => {
            offline::drop_quarantined(&args.state, &filter).map_err(|error| unanswered(error, &args.state))?
        }
    };
    Ok(format!("{count} dropped\n"))
}

/// Feeds them; what is to be said of it.
fn feed_again(
    args: &RedriveArgs,
    reader: &StateReader,
    refused: Refused,
    bars: &Bars,
) -> Result<String, Failure> {
    let filter = refused.filter();
    let done = match ask(&args.state, &Request::Redrive(refused), PATIENCE)? {
        Some(done) => done,
        None => feed_stopped(args, reader, filter, bars)?,
    };
    let Fed { accepted, duplicates, quarantined, incomplete } = done;
    let mut text = format!("{accepted} accepted, {duplicates} duplicates, {quarantined} refused again\n");
    if incomplete > 0 {
        text.push_str(&format!("{incomplete} left in quarantine: only their beginning was kept\n"));
    }
    Ok(text)
}

/// Does it with an engine of its own.
fn feed_stopped(
    args: &RedriveArgs,
    reader: &StateReader,
    filter: QuarantineFilter,
    bars: &Bars,
) -> Result<Fed, Failure> {
    let pipeline = offline::stored_pipeline(&args.state)?;
    let done = super::tokio_runtime()?.block_on(feed(&pipeline, args, filter, bars))?;
    restore_definitions(args, reader)?;
    Ok(done)
}

async fn feed(
    pipeline: &Pipeline,
    args: &RedriveArgs,
    filter: QuarantineFilter,
    bars: &Bars,
) -> Result<Fed, Failure> {
    // As large as `run` takes them: one that is refused again must not lose its end here.
    let settings = Settings { max_event_bytes: tidewater_connectors::LARGEST_EVENT, ..Settings::default() };
    let mut builder = Engine::builder(pipeline).settings(settings).state(&args.state);
    if let Some((address, store)) = log_store::of_engine(None, Some(&args.state))? {
        builder = builder.log_store(address, store);
    }
    let engine = builder.start().await.map_err(|error| unanswered(error, &args.state))?;
    let bar = bars.bytes("replaying the log", Some(engine.watch_replay().borrow().total_bytes));
    let mut replay = engine.watch_replay();
    let showing = async {
        while replay.changed().await.is_ok() {
            bar.set_position(replay.borrow_and_update().bytes);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ready = engine.ready() => ready?,
        () = showing => {}
    }
    bar.finish_and_clear();
    let done = engine.redrive(filter).await;
    engine.shutdown(SHUTDOWN_DEADLINE).await?;
    Ok(done?.into())
}

/// The definitions that were stored name sources and sinks, which this command had no use for.
fn restore_definitions(args: &RedriveArgs, reader: &StateReader) -> Result<(), Failure> {
    let meta = reader.meta();
    let new = NewState { key: meta.key, deployment: meta.deployment, definitions: meta.definitions.clone() };
    StateDir::open(&args.state, &new)?.set_definitions(meta.definitions.clone())?;
    Ok(())
}

fn missing_ids(reader: &StateReader, ids: &[u64]) -> Result<BTreeSet<u64>, Failure> {
    let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
    for record in reader.quarantine(QuarantineFilter::Ids(missing.clone()))? {
        missing.remove(&record?.id);
    }
    Ok(missing)
}

fn parse_reason(text: &str) -> Result<RejectReason, String> {
    RejectReason::from_name(text).ok_or_else(|| {
        let names = RejectReason::ALL.map(RejectReason::name);
        match suggest::nearest(text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the reasons are {}", names.join(", ")),
        }
    })
}
