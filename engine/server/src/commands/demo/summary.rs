//! What a demo came to, in a few lines.

use tidewater::{Pipeline, Status, WorkerStats};

use super::{
    meter::Meter,
    picture::{milliseconds, with_commas},
};
use crate::{exit::Failure, output::Output};

/// Writes the summary.
pub(super) fn summary(
    pipeline: &Pipeline,
    status: &Status,
    stats: &WorkerStats,
    epoch: u64,
    seconds: f64,
    meter: &Meter,
) -> String {
    let counts = &status.counts;
    let quarantined: u64 = counts.quarantined.iter().map(|(_, count)| count).sum();
    let seen = counts.events + counts.duplicates + quarantined;
    let rate = (seen as f64 / seconds.max(0.001)) as u64;
    let bytes: u64 = stats.bytes.iter().map(|(_, bytes)| bytes).sum();
    let mut lines = vec![
        ("events", format!("{} in {seconds:.2} s ({}/s)", with_commas(seen), with_commas(rate))),
        ("accepted", with_commas(counts.events)),
        ("duplicates", with_commas(counts.duplicates)),
        ("quarantined", with_commas(quarantined)),
        ("epochs", format!("{}, the last is {epoch}", with_commas(counts.epochs))),
        ("deltas", with_commas(counts.deltas)),
        ("profiles", with_commas(stats.profiles)),
        ("identifiers", with_commas(stats.identifiers)),
        ("merges", with_commas(stats.merges)),
        ("state", format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)),
    ];
    if let Some((median, high)) = meter.latency_ms() {
        lines.push(("latency", format!("p50 {}, p99 {}", milliseconds(median), milliseconds(high))));
    }
    let mut text: String = lines.iter().map(|(what, value)| format!("{what:<12} {value}\n")).collect();
    text.push_str("segments\n");
    for (segment, members) in pipeline.spec().segments.iter().zip(&stats.members) {
        text.push_str(&format!("  {:<16} {:>9}\n", segment.name, with_commas(*members)));
    }
    text
}

/// Prints the summary.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut output = Output::open(None)?;
    output.write(text.as_bytes())?;
    output.finish()
}
