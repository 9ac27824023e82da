//! The demo where there is no terminal: one line a second, and some of the deltas.

use std::{thread, time::Duration};

use super::{
    feed::Control,
    picture::{Picture, milliseconds, with_commas},
};
use crate::{exit::Failure, output::Output};

/// Deltas a second that are printed.
const DELTAS_PER_SECOND: usize = 3;

/// Prints until all events have been handed over.
pub(super) fn show(picture: &Picture, control: &Control) -> Result<(), Failure> {
    loop {
        // In small steps, so that the end is not waited for.
        for _ in 0..20 {
            if control.is_done() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let frame = picture.frame();
        let latency = frame.latency_ms.map_or_else(
            || "no deltas yet".to_owned(),
            |(median, high)| format!("p50 {}, p99 {}", milliseconds(median), milliseconds(high)),
        );
        let mut text = format!(
            "{:>11} events ({}/s) | {:>9} deltas | {:>8} profiles | {} merges | {latency}\n",
            with_commas(frame.events),
            with_commas(frame.event_rate.last()),
            with_commas(frame.deltas),
            with_commas(frame.profiles),
            with_commas(frame.merges),
        );
        for delta in frame.latest.iter().take(DELTAS_PER_SECOND) {
            let segment = frame.segments.get(delta.segment).map_or("", |row| row.name.as_str());
            let (change, who, reason) = (delta.change.name(), &delta.who, &delta.reason);
            text.push_str(&format!("{:>11} {change} {segment}: {who} ({reason})\n", ""));
        }
        // A reader that has gone away ends the demo.
        let mut output = Output::open(None)?;
        output.write(text.as_bytes())?;
        output.finish()?;
    }
}
