//! Scenarios as text files: steps, and the deltas each is expected to give.
//!
//! ```text
//! # Lines that begin with # are for people.
//! pipeline
//!   identifiers: { user_id: { from: userId } }
//!   traits:      { orders: { count: Order Completed } }
//!   segments:    { loyal: orders >= 1 }
//! at 2026-01-05T10:00:00Z
//! event {"type":"track","event":"Order Completed","userId":"u1"}
//! seal
//!   + loyal user_id=u1
//! ```
//!
//! | step | meaning |
//! |---|---|
//! | `pipeline` | the definitions, indented, as in a pipeline file; comes first |
//! | `at TIME`, `wait 5m` | sets the wall clock, lets it go on |
//! | `event JSON` | an event that must be accepted |
//! | `duplicate JSON`, `refused REASON JSON` | one that must not |
//! | `unlink NAME=VALUE NAME=VALUE` | takes a link back |
//! | `seal` | cuts an epoch; the lines below it are all its deltas, in any order: `+ SEGMENT IDENTIFIERS`, `- …` |
//! | `timer TIME`, `timer none` | when the engine says that time alone next changes something |
//! | `profile NAME=VALUE TRAIT=VALUE …` | values of traits, as people read them, without spaces |
//! | `together NAME=VALUE NAME=VALUE`, `apart …` | whether two identifiers are in one cluster |
//!
//! Every script also runs against the oracle and the reference: see [`Tandem`].

use std::fmt;

use tidewater::{
    pipeline::{FixedEnvironment, Pipeline},
    testing::Acceptance,
};
use tidewater_model::{DeltaBatch, Millis, PipelineSpec, Profile, Timestamp};

use crate::{
    drive::{Setup, Tandem},
    generate::Unlink,
};

/// What is wrong with a script, or with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What was expected, and what was there.
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

/// Runs a script.
///
/// # Errors
/// The first step that can't be read or gives something else than expected.
pub fn run_script(text: &str, setup: &Setup) -> Result<(), ScriptError> {
    let mut lines = Lines { lines: text.lines().collect(), at: 0 };
    let mut run: Option<Run> = None;
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let number = lines.at;
        let below = lines.indented();
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let done = match (command, &mut run) {
            ("pipeline", None) => Run::new(&below, setup).map(|new| run = Some(new)),
            (_, Some(run)) => run.step(command, rest, &below),
            (_, None) => Err("a script begins with `pipeline`".to_owned()),
        };
        done.map_err(|what| ScriptError { line: number, what })?;
    }
    Ok(())
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    /// How many have been read.
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    /// The indented lines that follow.
    fn indented(&mut self) -> Vec<&'a str> {
        let rest = &self.lines[self.at..];
        let below: Vec<&str> = rest.iter().copied().take_while(|line| line.starts_with("  ")).collect();
        self.at += below.len();
        below
    }
}

/// A script in progress.
struct Run {
    spec: PipelineSpec,
    tandem: Tandem,
}

impl Run {
    fn new(pipeline: &[&str], setup: &Setup) -> Result<Self, String> {
        let text = pipeline.join("\n");
        let pipeline =
            Pipeline::from_yaml(&text, &FixedEnvironment::new()).map_err(|errors| errors.to_string())?;
        let spec = pipeline.spec().clone();
        let tandem = Tandem::new(&spec, setup).map_err(|difference| difference.to_string())?;
        Ok(Self { spec, tandem })
    }

    fn step(&mut self, command: &str, rest: &str, below: &[&str]) -> Result<(), String> {
        let text = |error: crate::drive::Difference| error.to_string();
        match command {
            "at" => self.tandem.set_wall(time(rest)?),
            "wait" => {
                let by = Millis::parse(rest).ok_or_else(|| format!("`{rest}` is no length of time"))?;
                self.tandem.wait(by.0);
            }
            "event" => self.accept(rest, "accepted")?,
            "duplicate" => self.accept(rest, "duplicate")?,
            "refused" => {
                let (reason, event) = rest.split_once(' ').ok_or("expected a reason and an event")?;
                self.accept(event, reason)?;
            }
            "unlink" => {
                let unlink = self.pair(rest)?;
                self.tandem.unlink(&unlink).map_err(text)?;
            }
            "seal" => {
                let batch = self.tandem.seal().map_err(text)?;
                let mut expected: Vec<String> = below.iter().map(|line| line.trim().to_owned()).collect();
                // A batch is sorted by profile id, a hash; nobody can write scripts in that order.
                let mut found = deltas(&batch);
                expected.sort();
                found.sort();
                same(&expected, &found)?;
            }
            "timer" => {
                let found = self.tandem.next_timer().map_or("none".to_owned(), |timer| timer.to_string());
                same(&rest.to_owned(), &found)?;
            }
            "profile" => self.profile(rest)?,
            "together" | "apart" => {
                let (a, b) = self.pair(rest)?;
                let is_together = self.cluster(&a)? == self.cluster(&b)?;
                same(&command, &if is_together { "together" } else { "apart" })?;
            }
            _ => return Err(format!("`{command}` is no step")),
        }
        Ok(())
    }

    fn accept(&mut self, event: &str, expected: &str) -> Result<(), String> {
        let decided = self.tandem.accept(event).map_err(|difference| difference.to_string())?;
        let found = match decided {
            Ok(Acceptance::Accepted) => "accepted",
            Ok(Acceptance::Duplicate) => "duplicate",
            Err(reason) => reason.name(),
        };
        same(&expected, &found)
    }

    fn pair(&self, text: &str) -> Result<Unlink, String> {
        let (a, b) = text.split_once(' ').ok_or("expected two identifiers")?;
        Ok((self.identifier(a)?, self.identifier(b)?))
    }

    /// Reads `NAME=VALUE`.
    fn identifier(&self, text: &str) -> Result<(usize, String), String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no identifier"))?;
        let index = self.spec.identifiers.iter().position(|spec| spec.name == name);
        Ok((index.ok_or_else(|| format!("no identifier `{name}`"))?, value.to_owned()))
    }

    fn cluster(&self, (identifier, value): &(usize, String)) -> Result<tidewater_model::ProfileId, String> {
        let mut identities = self.tandem.outcome().identities.iter();
        let found = identities.find(|(index, own, _)| index == identifier && own == value);
        found.map(|(_, _, id)| *id).ok_or_else(|| format!("`{value}` is in no cluster"))
    }

    fn profile(&self, text: &str) -> Result<(), String> {
        let mut parts = text.split(' ');
        let id = self.cluster(&self.identifier(parts.next().unwrap_or_default())?)?;
        let profiles = &self.tandem.outcome().profiles;
        let profile = profiles.iter().find(|profile| profile.id == id).ok_or("the cluster is no profile")?;
        for part in parts {
            let (name, expected) = part.split_once('=').ok_or_else(|| format!("`{part}` is no trait"))?;
            let found = self.value(profile, name)?;
            same(&format!("{name}={expected}"), &format!("{name}={found}"))?;
        }
        Ok(())
    }

    fn value(&self, profile: &Profile, name: &str) -> Result<String, String> {
        let index = self.spec.traits.iter().position(|spec| spec.name == name);
        Ok(profile.traits[index.ok_or_else(|| format!("no trait `{name}`"))?].to_string())
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text.as_bytes()).map_err(|error| format!("`{text}`: {error}"))
}

fn same<T: PartialEq + fmt::Debug>(expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("expected {expected:#?}\nfound {found:#?}")) }
}

/// A batch as the lines below `seal`.
fn deltas(batch: &DeltaBatch) -> Vec<String> {
    let line = |delta: tidewater_model::Delta<'_>| {
        let sign = if delta.change() == tidewater_model::Change::Entered { "+" } else { "-" };
        let names = delta.names().identifiers();
        let ids = delta.identifiers().map(|(index, value)| format!(" {}={value}", names[index]));
        format!("{sign} {}{}", delta.segment(), ids.collect::<String>())
    };
    batch.iter().map(line).collect()
}
