//! `tidewater generate`: the made-up shop's clickstream as NDJSON.

use std::path::PathBuf;

use tidewater_model::{Millis, Timestamp};

use crate::{
    exit::{Exit, Failure},
    output::Output,
    shop::{Share, Shop, ShopOptions},
    terminal::Bars,
};

/// What `generate` can be told.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// How many events, repeated and bad ones included.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub events: u64,
    /// How many people visit the shop [default: a tenth of the events].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub profiles: Option<u32>,
    /// The same seed gives the same bytes; it is part of every messageId.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Share of events that come a second time.
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    pub duplicates: Share,
    /// Share of events that come ten minutes to three days late.
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    pub late: Share,
    /// Share of events that are up to two minutes older than the one before.
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    pub out_of_order: Share,
    /// Share of events that nobody can use.
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    pub bad: Share,
    /// The time of the first event, as RFC 3339 or epoch milliseconds.
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z", value_parser = parse_time)]
    pub start: Timestamp,
    /// How much time lies between the first event and the last.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_span)]
    pub span: Millis,
    /// The file to write, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Writes the clickstream.
///
/// # Errors
/// If it can't be written.
pub fn generate(args: GenerateArgs, bars: &Bars) -> Result<Exit, Failure> {
    // Written so often, progress costs nothing.
    const EVENTS_PER_WRITE: u64 = 1_000;
    let profiles =
        args.profiles.unwrap_or_else(|| u32::try_from(args.events / 10).unwrap_or(u32::MAX).max(1));
    let mut shop = Shop::new(ShopOptions {
        events: args.events,
        profiles,
        seed: args.seed,
        duplicates: args.duplicates,
        late: args.late,
        out_of_order: args.out_of_order,
        bad: args.bad,
        start: args.start,
        span: args.span,
    });
    let mut output = Output::open(args.out.as_deref())?;
    // With the events themselves on the terminal a bar would only be in the way.
    let bar = args.out.is_some().then(|| bars.count("generating", Some(args.events)));
    let mut lines = Vec::new();
    while shop.write_next(&mut lines) {
        lines.push(b'\n');
        if shop.written().is_multiple_of(EVENTS_PER_WRITE) {
            output.write(&lines)?;
            lines.clear();
            bar.as_ref().inspect(|bar| bar.set_position(shop.written()));
        }
    }
    output.write(&lines)?;
    output.finish()?;
    bar.inspect(|bar| bar.finish_and_clear());
    Ok(Exit::Fine)
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = match text.parse::<i64>() {
        Ok(ms) => Timestamp(ms),
        Err(_) => Timestamp::parse(text.as_bytes()).map_err(|error| error.to_string())?,
    };
    match (Timestamp::MIN..=Timestamp::MAX).contains(&time) {
        true => Ok(time),
        false => Err("the year lies beyond 9999".to_owned()),
    }
}

/// Reads a length of time such as `30d`.
pub(super) fn parse_span(text: &str) -> Result<Millis, String> {
    Millis::parse(text)
        .ok_or_else(|| "expected a length of time such as `500ms`, `30s`, `12h` or `30d`".to_owned())
}
