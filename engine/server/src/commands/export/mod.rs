//! `tidewater export`: what a state directory holds, in the contract's formats, sorted by key.
//!
//! It takes no lock and changes nothing, so it works beside a running engine, as of the last whole epoch.

mod csv;
mod ndjson;
mod raw;

use std::path::{Path, PathBuf};

use tidewater::{ProfileId, Timestamp, offline::OfflineState};
use tidewater_model::{Value, profile::Profile};

use self::{csv::Csv, ndjson::Ndjson};
use crate::{
    exit::{Exit, Failure},
    log_store::open_reader,
    output::Output,
    terminal::Bars,
};

/// What `export` can be told.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// What to write.
    #[arg(value_enum)]
    pub what: What,
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Of `events`: only those accepted at this time or later: RFC 3339 or epoch milliseconds. What is in compressed files
    /// is found by their index.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<Time>,
    /// Of `events`: only those accepted at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<Time>,
    /// The file to write, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

fn parse_time(text: &str) -> Result<Time, String> {
    let millis = text.parse().ok().map(Timestamp);
    millis.or_else(|| Timestamp::parse(text.as_bytes()).ok()).map(Time).ok_or_else(|| {
        "expected a time such as `2026-01-05T10:00:00Z`, or milliseconds since 1970".to_owned()
    })
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Who is in which segment, and since when.
    Memberships,
    /// Every profile with its identifiers and traits.
    Profiles,
    /// Every identifier with the profile or cluster it belongs to.
    Identities,
    /// The accepted events as received, in the order of the log.
    Events,
    /// The refused events, with why.
    Quarantine,
}

/// The formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Ndjson,
    /// Comma-separated, with a line of names.
    Csv,
    /// Not built yet.
    Parquet,
}

/// A format, as the writer of one kind of row after the other.
///
/// Identifiers and traits come with their names, in the order of the pipeline.
trait Rows {
    fn memberships(&mut self, output: &mut Output, rows: &[MembershipRow<'_>]) -> Result<(), Failure>;
    fn profiles(&mut self, output: &mut Output, names: &Names, rows: &[Profile]) -> Result<(), Failure>;
    fn identities(&mut self, output: &mut Output, rows: &[IdentityRow<'_>]) -> Result<(), Failure>;
}

/// One line of `memberships`.
struct MembershipRow<'a> {
    segment: &'a str,
    names: &'a Names,
    profile: &'a Profile,
    since: Timestamp,
}

/// One line of `identities`.
struct IdentityRow<'a> {
    identifier: &'a str,
    value: &'a str,
    profile: ProfileId,
}

/// The names of the pipeline's parts.
struct Names {
    identifiers: Vec<String>,
    traits: Vec<String>,
}

/// Writes what a state directory holds.
///
/// # Errors
/// If the directory can't be read or the output can't be written.
pub fn export(args: ExportArgs, bars: &Bars) -> Result<Exit, Failure> {
    if args.format == Format::Parquet {
        return Err(Failure::not_built("`--format parquet`"));
    }
    if args.what != What::Events && (args.from.is_some() || args.to.is_some()) {
        return Err(Failure::new(Exit::Usage, "`--from` and `--to` are for `export events`"));
    }
    match args.what {
        What::Events => raw::events(&args)?,
        What::Quarantine => raw::quarantine(&args)?,
        What::Memberships | What::Profiles | What::Identities => computed(&args, bars)?,
    }
    Ok(Exit::Fine)
}

fn computed(args: &ExportArgs, bars: &Bars) -> Result<(), Failure> {
    let mut state = open(&args.state, bars)?;
    let names = Names {
        identifiers: state.spec().identifiers.iter().map(|spec| spec.name.clone()).collect(),
        traits: state.spec().traits.iter().map(|spec| spec.name.clone()).collect(),
    };
    let mut rows: Box<dyn Rows> = match args.format {
        Format::Csv => Box::new(Csv::new(&names)),
        Format::Ndjson | Format::Parquet => Box::new(Ndjson::default()),
    };
    let mut output = Output::open(args.out.as_deref())?;
    match args.what {
        What::Memberships => {
            let profiles = state.profiles()?;
            let memberships = state.memberships()?;
            let segments: Vec<String> = state.spec().segments.iter().map(|spec| spec.name.clone()).collect();
            let row = |member: &tidewater::offline::Membership| {
                let at =
                    profiles.binary_search_by_key(&member.profile, |profile| profile.id).map_err(|_| {
                        let profile = member.profile;
                        Failure::new(
                            Exit::Internal,
                            format!("the member {profile} has no profile: run `tidewater verify`"),
                        )
                    })?;
                let (segment, since) = (segments[member.segment].as_str(), member.since);
                Ok(MembershipRow { segment, names: &names, profile: &profiles[at], since })
            };
            let mut lines = memberships.iter().map(row).collect::<Result<Vec<_>, Failure>>()?;
            lines.sort_by(|a, b| (a.segment, a.profile.id).cmp(&(b.segment, b.profile.id)));
            rows.memberships(&mut output, &lines)?;
        }
        What::Profiles => rows.profiles(&mut output, &names, &state.profiles()?)?,
        _ => {
            let identities = state.identities()?;
            let mut lines: Vec<IdentityRow<'_>> = identities
                .iter()
                .map(|identity| IdentityRow {
                    identifier: &names.identifiers[identity.identifier],
                    value: &identity.value,
                    profile: identity.profile,
                })
                .collect();
            lines.sort_by(|a, b| (a.identifier, a.value).cmp(&(b.identifier, b.value)));
            rows.identities(&mut output, &lines)?;
        }
    }
    output.finish()?;
    eprintln_note(&format!("as of epoch {}, {}", state.epoch(), state.now()));
    Ok(())
}

/// Computes the state from the log, with a progress bar.
pub(super) fn open(path: &Path, bars: &Bars) -> Result<OfflineState, Failure> {
    let mut bar = None;
    let opened = tidewater::offline::open_reader(open_reader(path)?, 1, &mut |done| {
        let bar = bar.get_or_insert_with(|| bars.bytes("reading the log", Some(done.total_bytes)));
        bar.set_position(done.bytes.min(done.total_bytes));
    });
    bar.inspect(indicatif::ProgressBar::finish_and_clear);
    Ok(opened?)
}

/// Says something beside the output, which stays what it is.
fn eprintln_note(note: &str) {
    use std::io::Write;

    // With nobody to read it, it need not be said.
    let _ = writeln!(std::io::stderr(), "{note}");
}

/// Appends a trait's value as JSON: numbers without exponent, times as RFC 3339.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    use tidewater_connector_api::json::{write_string, write_time};

    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(out, text),
        Value::Time(time) => {
            out.push(b'"');
            write_time(out, *time);
            out.push(b'"');
        }
        Value::Span(span) => write_string(out, &span.to_string()),
    }
}

#[cfg(test)]
mod tests;
