//! `tidewater verify`: the log twice, once through the dataflow and once through the plain batch evaluator, which share
//! no code; whatever differs is a fault of one of them. Of a log whose old events were retired the evaluator gets what is
//! left of them as plain facts, from the base checkpoint.

mod compare;

use std::path::{Path, PathBuf};

use tidewater::offline::OfflineState;
use tidewater_model::HashKey;
use tidewater_model::base::BaseFacts;
use tidewater_oracle::{Event, Outcome, Unlinked, evaluate_from};
use tidewater_storage::StateReader;

use self::compare::{Computed, Differences};
use crate::{
    exit::{Exit, Failure},
    output::print,
    terminal::Bars,
};

/// What `verify` can be told.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// How many differences are printed; all are counted.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
}

/// Compares, and prints what differs.
///
/// # Errors
/// If the directory can't be read or the output can't be written.
pub fn verify(args: VerifyArgs, bars: &Bars) -> Result<Exit, Failure> {
    // Before the log is read: an engine that runs meanwhile appends to the log first.
    let acknowledged = acknowledged(&args.state)?;
    let mut state = super::export::open(&args.state, bars)?;
    let base = state.base()?;
    let log = LoggedEvents::read(&state, base.as_ref().map_or(0, |base| base.epoch), bars)?;
    let bar = bars.count("evaluating", None);
    let expected = log.evaluate(&state, base.as_ref().map(|base| &base.facts), state.key());
    bar.finish_and_clear();
    let found = Computed {
        profiles: state.profiles()?,
        identities: state.identities()?,
        memberships: state.memberships()?,
    };
    let mut differences = Differences::between(state.spec(), &found, &expected, args.limit);
    for (sink, epoch) in acknowledged.iter().filter(|(_, epoch)| *epoch > state.epoch()) {
        let last = state.epoch();
        differences
            .add(|| format!("sink {sink} has acknowledged epoch {epoch}, but the log ends at epoch {last}"));
    }

    let mut text: String = differences.lines.iter().map(|line| format!("{line}\n")).collect();
    let unlisted = differences.count.saturating_sub(differences.lines.len() as u64);
    if unlisted > 0 {
        text.push_str(&format!("and {unlisted} more\n"));
    }
    let result = match differences.count {
        0 => "no differences".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    text.push_str(&format!(
        "{result} in {} events, {} identifiers, {} profiles and {} memberships as of epoch {}, {}\n",
        log.ends.len(),
        expected.identities.len(),
        expected.profiles.len(),
        expected.memberships.len(),
        state.epoch(),
        state.now(),
    ));
    if let Some(base) = &base {
        text.push_str(&format!(
            "old events were retired: from the state as of epoch {}, {} ({} events before), and the events since\n",
            base.epoch, base.now, base.next_place,
        ));
    }
    print(text)?;
    Ok(if differences.count == 0 { Exit::Fine } else { Exit::Differences })
}

/// How far each sink has come. No epoch is delivered before it is durable in the log.
fn acknowledged(path: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let reader = StateReader::open(path)?;
    let mut acknowledged = Vec::new();
    for sink in reader.sinks()? {
        let epoch = reader.ack(&sink)?.map_or(0, |ack| ack.epoch);
        acknowledged.push((sink, epoch));
    }
    Ok(acknowledged)
}

/// All events of a log in one buffer: the batch evaluator wants them at once.
#[derive(Default)]
struct LoggedEvents {
    bytes: Vec<u8>,
    /// Where each event ends, its place in the log, and when it was accepted.
    ends: Vec<(usize, u64, tidewater::Timestamp)>,
}

impl LoggedEvents {
    /// Those behind an epoch; 0: all of them.
    fn read(state: &OfflineState, epoch: u64, bars: &Bars) -> Result<Self, Failure> {
        let bar = bars.count("reading events", None);
        let mut log = Self::default();
        let mut events = state.events_since(epoch)?;
        while let Some(event) = events.next()? {
            log.bytes.extend_from_slice(event.bytes);
            log.ends.push((log.bytes.len(), event.place, event.accepted_at));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(log)
    }

    fn evaluate(&self, state: &OfflineState, base: Option<&BaseFacts>, key: HashKey) -> Outcome {
        let mut start = 0;
        let events: Vec<Event<'_>> = self
            .ends
            .iter()
            .map(|(end, place, accepted_at)| {
                let bytes = &self.bytes[start..*end];
                start = *end;
                Event { place: *place, accepted_at: *accepted_at, bytes }
            })
            .collect();
        let nothing = BaseFacts::default();
        let base = base.unwrap_or(&nothing);
        evaluate_from(state.spec(), key, base, &events, state.now(), &Unlinked::default())
    }
}
