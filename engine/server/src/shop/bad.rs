//! Events that nobody can use, as they come in real life: every reason for quarantine that one event can have.

use super::{events::Frame, json::Line, rng::Rng};

/// How many kinds of bad event there are.
const KINDS: u64 = 9;

/// Makes the sound event in `line` (from `start` on) a bad one, or puts another in its place.
pub(super) fn spoil(line: &mut Vec<u8>, start: usize, frame: &Frame, rng: &mut Rng) {
    let time = frame.time;
    match rng.below(KINDS) {
        // Cut off in transit.
        0 => {
            let length = line.len() - start;
            line.truncate(start + 1 + rng.below(length as u64 - 1) as usize);
        }
        1 => replace(line, start, |line| {
            line.text("GET /health HTTP/1.1");
        }),
        // An ad blocker in front of the library: nothing says who it was.
        2 => event(line, start, frame, "track", "\"anonymousId\":\"null\"", |line| {
            line.text("\"").time(time).text("\"");
        }),
        3 => event(line, start, frame, "trakc", "\"userId\":\"u1\"", |line| {
            line.text("\"").time(time).text("\"");
        }),
        // Local time, of which nobody can tell when that was.
        4 => event(line, start, frame, "track", "\"userId\":\"u1\"", |line| {
            let text = time.to_string();
            line.text("\"").text(text.trim_end_matches('Z')).text("\"");
        }),
        // A device that has lost its clock.
        5 => event(line, start, frame, "track", "\"userId\":\"u1\"", |line| {
            line.number(rng.below(86_400_000));
        }),
        6 => event(line, start, frame, "track", "\"userId\":\"u1\"", |line| {
            line.text("\"2999-01-01T00:00:00Z\"");
        }),
        // Latin-1 in a world of UTF-8.
        7 => {
            event(line, start, frame, "track", "\"userId\":\"u1\",\"event\":\"Caf?\"", |line| {
                line.text("\"").time(time).text("\"");
            });
            if let Some(mark) = line[start..].iter().position(|byte| *byte == b'?') {
                line[start + mark] = 0xe9;
            }
        }
        // Put together by hand, with a comma too many.
        _ => event(line, start, frame, "track", "\"userId\":\"u1\",", |line| {
            line.text("\"").time(time).text("\"");
        }),
    }
}

fn replace(line: &mut Vec<u8>, start: usize, write: impl FnOnce(&mut Line<'_>)) {
    line.truncate(start);
    write(&mut Line(line));
}

fn event(
    line: &mut Vec<u8>,
    start: usize,
    frame: &Frame,
    kind: &str,
    who: &str,
    time: impl FnOnce(&mut Line<'_>),
) {
    replace(line, start, |line| {
        line.text("{\"messageId\":\"shop-").number(frame.seed).text("-bad-").number(frame.message);
        line.text("\",\"type\":\"").text(kind);
        line.text("\",\"timestamp\":");
        time(line);
        line.text(",").text(who).text(",\"properties\":{}}");
    });
}
