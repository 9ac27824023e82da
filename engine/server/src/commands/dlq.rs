//! `tidewater dlq`: the deltas that a sink's destination would not take: look at them, have them tried again, or drop them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tidewater::{DeadLetter, DeadLetterFilter, Error, offline};
use tidewater_connector_api::json::{write_delta, write_string, write_time, write_u64};
use tidewater_storage::StateReader;

use crate::{
    control::{Letters, Request, client::ask, unanswered},
    exit::{Exit, Failure},
    output::{Output, print},
};

/// What `dlq` can be told.
#[derive(Debug, clap::Args)]
pub struct DlqArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Write one line for each; also while an engine runs.
    List(ListArgs),
    /// Write all that is known of some; also while an engine runs.
    Show(ShowArgs),
    /// Have them delivered again: at once by the engine that runs, else first thing at the next `run`. What something newer
    /// has superseded is dropped then.
    Retry(ChangeArgs),
    /// Drop them for good.
    Drop(ChangeArgs),
}

/// Which are listed, and how.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// Only those of this sink.
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    pub format: DlqFormat,
}

/// Which are shown, and how.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// The sink.
    #[arg(long, value_name = "NAME")]
    pub sink: String,
    /// The one with this number; may stand more than once.
    #[arg(long, value_name = "N", required = true)]
    pub id: Vec<u64>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    pub format: DlqFormat,
}

/// Which are tried again or dropped.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["id", "all"])))]
pub struct ChangeArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// The sink.
    #[arg(long, value_name = "NAME")]
    pub sink: String,
    /// The one with this number; may stand more than once.
    #[arg(long, value_name = "N")]
    pub id: Vec<u64>,
    /// All of the sink.
    #[arg(long)]
    pub all: bool,
}

/// How dead letters are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DlqFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Does what is asked with dead letters.
///
/// # Errors
/// If the directory can't be read or, for a change, is in use by an engine that does not answer; if there is no such sink.
pub fn dlq(args: DlqArgs) -> Result<Exit, Failure> {
    match args.action {
        Action::List(args) => list(&args),
        Action::Show(args) => show(&args),
        Action::Retry(args) => change(&args, &RETRY),
        Action::Drop(args) => change(&args, &DROP),
    }
}

/// A change of dead letters: how an engine that runs is asked for it, how it is made without one, and what is said then.
struct Change {
    request: fn(Letters) -> Request,
    stopped: fn(&Path, &str, &DeadLetterFilter) -> Result<u64, Error>,
    asked_for: &'static str,
    made: &'static str,
}

const RETRY: Change = Change {
    request: Request::RetryDeadLetters,
    stopped: |state, sink, filter| offline::retry_dead_letters(state, sink, filter),
    asked_for: "to be delivered again, now",
    made: "to be delivered again, first thing at the next `tidewater run`",
};

const DROP: Change = Change {
    request: Request::DropDeadLetters,
    stopped: |state, sink, filter| offline::drop_dead_letters(state, sink, filter),
    asked_for: "dropped",
    made: "dropped",
};

/// How long an engine may take that has only its dead letters' file to write.
const PATIENCE: Duration = Duration::from_secs(60);

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let sinks = match &args.sink {
        Some(sink) => vec![sink.clone()],
        None => StateReader::open(&args.state)?.sinks()?,
    };
    let mut output = Output::open(None)?;
    for sink in sinks {
        for letter in offline::dead_letters(&args.state, &sink)? {
            let mut line = Vec::new();
            match args.format {
                DlqFormat::Json => write_json(&mut line, &letter),
                DlqFormat::Text => line = summary(&letter).into_bytes(),
            }
            line.push(b'\n');
            output.write(&line)?;
        }
    }
    output.finish()?;
    Ok(Exit::Fine)
}

fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let letters = offline::dead_letters(&args.state, &args.sink)?;
    let mut missing: BTreeSet<u64> = args.id.iter().copied().collect();
    let mut text = Vec::new();
    for letter in letters.iter().filter(|letter| args.id.contains(&letter.id)) {
        missing.remove(&letter.id);
        match args.format {
            DlqFormat::Json => write_json(&mut text, letter),
            DlqFormat::Text => write_whole(&mut text, letter),
        }
        text.push(b'\n');
    }
    print(text)?;
    all_found(&missing)
}

fn change(args: &ChangeArgs, change: &Change) -> Result<Exit, Failure> {
    let known: BTreeSet<u64> =
        offline::dead_letters(&args.state, &args.sink)?.iter().map(|letter| letter.id).collect();
    let ids = (!args.all).then(|| args.id.iter().copied().collect::<BTreeSet<u64>>());
    let missing = ids.iter().flat_map(|ids| ids.difference(&known)).copied().collect();
    let letters = Letters { sink: args.sink.clone(), ids };
    let filter = letters.filter();
    let (count, done): (u64, _) = match ask(&args.state, &(change.request)(letters), PATIENCE)? {
        Some(count) => (count, change.asked_for),
        None => {
            let made = (change.stopped)(&args.state, &args.sink, &filter);
            (made.map_err(|error| unanswered(error, &args.state))?, change.made)
        }
    };
    print(format!("{count} {done}\n"))?;
    all_found(&missing)
}

fn all_found(missing: &BTreeSet<u64>) -> Result<Exit, Failure> {
    if missing.is_empty() {
        return Ok(Exit::Fine);
    }
    let ids: Vec<String> = missing.iter().map(u64::to_string).collect();
    Err(Failure::new(Exit::Differences, format!("no dead letter: {}", ids.join(", "))))
}

/// What has become of a letter, if anything.
fn fate(letter: &DeadLetter) -> String {
    match (letter.superseded_by, letter.is_marked) {
        (Some(epoch), _) => format!("superseded by epoch {epoch}"),
        (None, true) => "to be delivered again".to_owned(),
        (None, false) => String::new(),
    }
}

fn summary(letter: &DeadLetter) -> String {
    let delta = letter.delta();
    let what = delta.map_or(String::new(), |delta| {
        format!("{} {} {}", delta.segment(), delta.profile(), delta.change().name())
    });
    let mut line = format!(
        "{} {}: {what}, epoch {}, {} after {} attempts at {}: {}",
        letter.sink,
        letter.id,
        letter.batch().epoch(),
        letter.cause,
        letter.attempts,
        letter.last_failed_at,
        letter.reason
    );
    let fate = fate(letter);
    if !fate.is_empty() {
        line.push_str(&format!(" ({fate})"));
    }
    line
}

fn write_whole(out: &mut Vec<u8>, letter: &DeadLetter) {
    let batch = letter.batch();
    let mut row = |name: &str, value: &str| {
        out.extend_from_slice(format!("{name:<16} {value}\n").as_bytes());
    };
    row("sink", &letter.sink);
    row("id", &letter.id.to_string());
    row("epoch", &batch.epoch().to_string());
    row("place", &batch.offset().to_string());
    row("cause", &letter.cause);
    row("reason", &letter.reason);
    row("attempts", &letter.attempts.to_string());
    row("first failed at", &letter.first_failed_at.to_string());
    row("last failed at", &letter.last_failed_at.to_string());
    let fate = fate(letter);
    if !fate.is_empty() {
        row("", &fate);
    }
    if let Some(delta) = letter.delta() {
        write_delta(out, batch.epoch(), batch.now(), &delta);
        out.push(b'\n');
    }
}

fn write_json(out: &mut Vec<u8>, letter: &DeadLetter) {
    let batch = letter.batch();
    out.extend_from_slice(b"{\"sink\":");
    write_string(out, &letter.sink);
    out.extend_from_slice(b",\"id\":");
    write_u64(out, letter.id);
    out.extend_from_slice(b",\"cause\":");
    write_string(out, &letter.cause);
    out.extend_from_slice(b",\"reason\":");
    write_string(out, &letter.reason);
    out.extend_from_slice(b",\"attempts\":");
    write_u64(out, letter.attempts.into());
    out.extend_from_slice(b",\"first_failed_at\":\"");
    write_time(out, letter.first_failed_at);
    out.extend_from_slice(b"\",\"last_failed_at\":\"");
    write_time(out, letter.last_failed_at);
    out.extend_from_slice(b"\",\"place\":");
    write_u64(out, batch.offset() as u64);
    if let Some(epoch) = letter.superseded_by {
        out.extend_from_slice(b",\"superseded_by\":");
        write_u64(out, epoch);
    }
    out.extend_from_slice(if letter.is_marked { b",\"retry\":true" } else { b",\"retry\":false" });
    if let Some(delta) = letter.delta() {
        out.extend_from_slice(b",\"delta\":");
        write_delta(out, batch.epoch(), batch.now(), &delta);
    }
    out.push(b'}');
}
