//! The yardstick: an ordinary hand-written loop over the same bytes, built from the sources that a run is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use crate::Failure;

/// The loop's program.
#[derive(Clone, Debug)]
pub struct Handwritten {
    program: PathBuf,
}

/// What the loop says of one of its phases.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `load`, `by 1,000` or `by 10`.
    pub name: String,
    /// Events in it.
    pub events: u64,
    /// How long it took.
    pub seconds: f64,
    /// Median time of a batch in milliseconds.
    pub p50_ms: f64,
}

impl Handwritten {
    /// Builds it as given, into `target`.
    ///
    /// # Errors
    /// If cargo fails.
    pub fn build(sources: &Path, target: &Path) -> Result<Self, Failure> {
        let status = Command::new("cargo")
            .args(["build", "--release", "--quiet", "--manifest-path"])
            .arg(sources.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .status()?;
        match status.success() {
            true => Ok(Self { program: target.join("release").join("handwritten") }),
            false => Err(format!("cargo could not build {}", sources.display()).into()),
        }
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Reads what the loop printed.
///
/// # Errors
/// If it is not what the loop prints.
pub fn phases(printed: &str) -> Result<Vec<Phase>, Failure> {
    let phase = |line: &str| {
        let (name, rest) = line.split_once(": ")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |word: &str| words.get(words.iter().position(|found| *found == word)? + 1)?.parse().ok();
        let (events, seconds) = (words.first()?.parse().ok()?, words.get(2)?.parse().ok()?);
        Some(Phase { name: name.to_owned(), events, seconds, p50_ms: number("p50")? })
    };
    let phases: Vec<Phase> = printed.lines().filter_map(phase).collect();
    if phases.len() == 3 { Ok(phases) } else { Err(format!("unexpected output: {printed}").into()) }
}

/// The members it found, by segment; each cluster by its smallest identifier as `anon:a1-0`.
///
/// # Errors
/// If the file can't be read.
pub fn members(csv: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(csv)?.lines().skip(1) {
        let (segment, cluster) = line.split_once(',').ok_or("a line without a comma")?;
        members.entry(segment.to_owned()).or_default().insert(cluster.to_owned());
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn its_output_is_read() {
        let printed =
            "load: 900000 events 1.973 s 456196 events/s 91956 deltas, batch ms p50 20.7197 p99 54.3577
by 1,000: 90000 events 0.289 s 310985 events/s 9408 deltas, batch ms p50 1.9010 p99 19.6361
by 10: 10000 events 0.018 s 560639 events/s 991 deltas, batch ms p50 0.0160 p99 0.0456
peak 262 MiB, of which input 174
";
        let phases = phases(printed).unwrap();
        let last = Phase { name: "by 10".to_owned(), events: 10_000, seconds: 0.018, p50_ms: 0.016 };
        assert_eq!(phases[2], last);
        assert!(super::phases("nothing").is_err());
    }
}
